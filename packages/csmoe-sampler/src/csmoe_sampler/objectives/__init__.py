"""How tiles are drawn inside a stratum: `diverse`, `spread`, `random`, `proportional`, `kmeans` behind one protocol.

| objective | draws | inclusion probabilities |
|---|---|---|
| `diverse` | the farthest from those drawn before | - |
| `spread` | by the local pivotal method: even in feature space | quota / size, exactly |
| `random` | simple random sampling | quota / size, exactly |
| `proportional` | the same, with strata in proportion to their size | quota / size, exactly |
| `kmeans` | evenly from the clusters of the stratum | - |
| `module:Class` | as a class of the user's says (docs/extending.md) | its own |
"""

from __future__ import annotations

from importlib import import_module
from typing import Protocol, cast

from csmoe_sampler.errors import ConfigError
from csmoe_sampler.extensions import load
from csmoe_sampler.features import Features
from csmoe_sampler.types import Int64

OBJECTIVES = {
    "diverse": "Diverse",
    "spread": "Spread",
    "random": "Random",
    "proportional": "Proportional",
    "kmeans": "KMeans",
}
"""Module of this package -> class; imported late, since each brings its own heavy imports."""


class Objective(Protocol):
    """A way to draw tiles inside one stratum."""

    @property
    def name(self) -> str:
        """As in `selection.objective`."""

    @property
    def probability_design(self) -> bool:
        """Whether every tile of a stratum is drawn with the same, known probability quota / size."""

    @property
    def nested(self) -> bool:
        """Whether a larger quota draws the same tiles first, in the same order."""

    @property
    def alpha(self) -> float | None:
        """The exponent that the objective imposes on the allocation; None leaves it to the configuration."""

    def order(self, features: Features, quota: int, rng_seed: int) -> Int64:
        """Rows of the `quota` chosen tiles of one stratum, ordered so that every prefix is a good smaller sample.

        Runs in worker threads.

        Args:
            features: The stratum's tiles.
            quota: 1 to the number of tiles.
            rng_seed: Seed of this stratum; chance comes from it and from `features.keys` alone.
        """


def get_objective(name: str) -> Objective:
    """The objective called `name`, or the user's own that `module:Class` names.

    Raises:
        ConfigError: There is none, or it needs a package that is not installed.
    """
    if ":" in name:
        return cast(Objective, load(name)())
    if name not in OBJECTIVES:
        raise ConfigError(f"objective '{name}': no such objective; known are {', '.join(OBJECTIVES)}")
    try:
        module = import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in {"sklearn", "threadpoolctl"}:
            raise
        raise ConfigError(
            "objective 'kmeans' needs scikit-learn, which is not installed: "
            "pip install 'csmoe-sampler[kmeans]', or choose another objective"
        ) from error
    return cast(Objective, getattr(module, OBJECTIVES[name])())
