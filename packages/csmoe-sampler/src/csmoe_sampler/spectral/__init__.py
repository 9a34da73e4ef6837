"""What Sentinel-2 says about tiles before any chip is fetched: entropy, texture and band means, from overviews.

scenes (frozen) -> the best scene of a tile (`choice`) -> windows of its overviews (`overviews`, `reading`)
-> whose pixel is it (`lattice`) -> counts -> columns (`statistics`, `descriptor`)
"""

from csmoe_sampler.spectral.axes import axis_columns, axis_scales, diversity_weights
from csmoe_sampler.spectral.choice import Scene, SceneChooser
from csmoe_sampler.spectral.descriptor import Spectral
from csmoe_sampler.spectral.opening import open_spectral
from csmoe_sampler.spectral.overviews import Access
from csmoe_sampler.spectral.reading import Recipe
from csmoe_sampler.spectral.statistics import Statistics, Tally, count_pixels, statistics_of

__all__ = [
    "Access",
    "Recipe",
    "Scene",
    "SceneChooser",
    "Spectral",
    "Statistics",
    "Tally",
    "axis_columns",
    "axis_scales",
    "count_pixels",
    "diversity_weights",
    "open_spectral",
    "statistics_of",
]
