"""The numbers of a report: everything that the page shows, nothing about how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from csmoe_sampler.report.maps import MapLayers
from csmoe_sampler.types import Float64, Int64


@dataclass(frozen=True)
class Category:
    """A class of a legend."""

    label: str
    title: str
    color: str
    """`#rrggbb`"""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """How an axis is shared out among its classes; each array sums to 1."""

    categories: tuple[Category, ...]
    population: Float64
    sample: Float64
    weighted: Float64
    """The sample with its weights: an estimate of the population."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Tiles per climate (rows) and dominant land cover (columns)."""

    climates: tuple[Category, ...]
    landcovers: tuple[Category, ...]
    population: Int64
    target: Float64
    """The quota of each stratum, shared among its cells in proportion to their tiles."""
    sample: Int64


@dataclass(frozen=True, kw_only=True)
class Stratum:
    """A line of the allocation."""

    name: str
    size: int
    target: float
    """What the allocation rule alone would give."""
    quota: int
    """After floors, caps and sizes, in whole tiles."""
    taken: int
    reason: str
    """Why less than the target was taken; empty where it was not."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A quality of samples, of this one and of others of the same size."""

    title: str
    explanation: str
    unit: str
    smaller_is_better: bool
    values: tuple[float, ...]
    """One per method of the comparison, this sample first."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """This sample against the same number of tiles drawn otherwise."""

    methods: tuple[str, ...]
    """This sample first."""
    measures: tuple[Measure, ...]
    note: str
    """How the figures were computed: on how many tiles, with which seed."""


@dataclass(frozen=True, kw_only=True)
class PrefixCurve:
    """Quality of the first tiles of the ranking, against as many random ones."""

    sizes: tuple[int, ...]
    mean: tuple[float, ...]
    """Mean distance of the candidates to the nearest tile of the prefix."""
    random_mean: tuple[float, ...]
    radius: tuple[float, ...]
    """The same, of the candidate that is farthest."""
    random_radius: tuple[float, ...]
    deviation: tuple[float, ...]
    """Largest departure of a stratum's count from its due, in tiles."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The distribution of the weights."""

    minimum: float
    median: float
    maximum: float
    total: float
    effective: float
    """Kish's effective sample size, (sum w)^2 / sum w^2."""
    edges: Float64
    """Edges of the histogram's bins."""
    counts: Int64


@dataclass(frozen=True, kw_only=True)
class SplitTable:
    """How the rows are divided."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    distances_km: tuple[tuple[str, str, float], ...]
    """Smallest distance of the footprint centres of two splits; none for rows of the buffer."""
    buffer_km: float


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How often each of some values, or ranges of values, occurs."""

    title: str
    note: str
    """What is counted, or the median."""
    labels: tuple[str, ...]
    counts: tuple[int, ...]
    num_shown: int
    """The first so many get a bar; after them come the rarer values together."""


@dataclass(frozen=True, kw_only=True)
class Unfilled:
    """A stratum with places for which no tile has scenes."""

    stratum: str
    quota: int
    taken: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class SceneSummary:
    """The scenes that pairing has chosen."""

    provider: str
    window: str
    """First and last day."""
    seasons: tuple[tuple[str, int], ...]
    """Name, and tiles with scenes; one with the name `year` where no seasons were asked for."""
    redrawn: int
    """Tiles that took the place of one without scenes."""
    distributions: tuple[Counts, ...]
    unfilled: tuple[Unfilled, ...]


@dataclass(frozen=True, kw_only=True)
class ChipPicture:
    """A tile as two pictures."""

    tile_id: str
    rank: int
    season: str
    """Empty where the store has none."""
    s2_date: str
    s1_date: str
    """Empty where unknown."""
    landcover: Category
    climate: str
    optical: bytes
    """PNG: true colour."""
    radar: bytes
    """PNG: VV, VH and their difference; empty without Sentinel-1."""


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """The pixels of a band, of all chips looked at."""

    sensor: str
    band: str
    unit: str
    mean: float
    std: float
    valid_share: float


@dataclass(frozen=True, kw_only=True)
class ChipSummary:
    """The pixels that fetching has brought."""

    num_fetched: int
    num_rows: int
    size_px: int
    pixel_m: float
    pictures: tuple[ChipPicture, ...]
    bands: tuple[BandStatistics, ...]
    num_measured: int
    """Chips that the statistics are of."""
    failures: tuple[tuple[str, str], ...]
    """Tile and reason."""
    findings: tuple[str, ...]
    """What looks wrong."""


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """Everything on the page. Arrays apart, it is JSON-able."""

    metadata: dict[str, Any]
    """The `csmoe` key of the manifest."""
    num_rows: int
    num_described: int
    num_candidates: int
    matrix: Matrix
    climate: Balance
    landcover: Balance
    strata: tuple[Stratum, ...]
    comparison: Comparison
    prefixes: PrefixCurve
    weights: Weights
    splits: SplitTable
    layers: MapLayers
    config_toml: str
    """The configuration as the command line reads it."""
    scenes: SceneSummary | None = None
    chips: ChipSummary | None = None
