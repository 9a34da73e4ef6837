"""Audit: which climates and land covers somebody's places cover, and which they miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from csmoe_sampler.allocation import allocate
from csmoe_sampler.audit.places import INVALID, OUTSIDE, Places
from csmoe_sampler.config import BuildConfig
from csmoe_sampler.errors import ConfigError
from csmoe_sampler.metrics import effective_sample_size, jensen_shannon, total_variation
from csmoe_sampler.population import population_of
from csmoe_sampler.strata import UNKNOWN, Classes
from csmoe_sampler.types import Int16, Int64


@dataclass(frozen=True, kw_only=True)
class StratumCoverage:
    """How many tiles of a stratum the places hold."""

    stratum: str
    size: int
    """Candidates."""
    tiles: int
    """Different candidates that places lie in."""
    proportional: float
    """Tiles that the same number of tiles would have here in proportion to the stratum's size."""
    target: int
    """Tiles that our allocation would give it."""

    @property
    def against_proportional(self) -> float:
        """Above 1: over-represented."""
        return self.tiles / self.proportional

    @property
    def against_target(self) -> float | None:
        """Above 1: more than our allocation would give; None where that is nothing."""
        return self.tiles / self.target if self.target else None


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What places cover of a population."""

    by: str
    """How their tiles were found."""
    num_places: int
    num_invalid: int
    """Without a usable coordinate or tile id."""
    num_outside_grid: int
    num_undescribed: int
    """In tiles that the atlas does not hold: open ocean, or another region."""
    num_not_candidates: int
    """In tiles with too little land."""
    num_tiles: int
    """Different candidates hit."""
    num_repeats: int
    """Places in a candidate that an earlier place lies in already."""
    most_in_one_tile: int
    strata: tuple[StratumCoverage, ...]
    climates: tuple[str, ...]
    landcovers: tuple[str, ...]
    population: tuple[tuple[int, ...], ...]
    """Candidates per climate (rows) and dominant land cover (columns)."""
    sample: tuple[tuple[int, ...], ...]
    """The same of the candidates hit."""
    share_covered: float
    """Share of the candidates that belong to a stratum with at least one hit."""
    effective_tiles: float
    """Kish's effective sample size, were the hits weighted by stratum to stand for the population."""
    divergence_bits: float
    """Jensen-Shannon divergence of the hits' strata from the population's, 0 to 1."""
    displaced_share: float
    """Share of the hits that would have to lie in another stratum to be proportional."""

    @property
    def missing(self) -> tuple[StratumCoverage, ...]:
        """Strata without a hit, the largest first."""
        empty = [stratum for stratum in self.strata if not stratum.tiles]
        return tuple(sorted(empty, key=lambda stratum: (-stratum.size, stratum.stratum)))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        values = asdict(self)
        for line, stratum in zip(values["strata"], self.strata, strict=True):
            line["against_proportional"] = stratum.against_proportional
            line["against_target"] = stratum.against_target
        return values | {"missing": [stratum.stratum for stratum in self.missing]}

    def facts(self) -> list[tuple[str, str]]:
        """What a person reads first: name and value."""
        return [
            (f"places, by {self.by}", f"{self.num_places:,}"),
            ("without a usable place", f"{self.num_invalid:,}"),
            ("outside the grid", f"{self.num_outside_grid:,}"),
            ("in the ocean or outside the atlas", f"{self.num_undescribed:,}"),
            ("in tiles with too little land", f"{self.num_not_candidates:,}"),
            ("different tiles hit", f"{self.num_tiles:,}"),
            ("places in a tile hit before", f"{self.num_repeats:,} (at most {self.most_in_one_tile:,} in one tile)"),
            ("strata hit", f"{len(self.strata) - len(self.missing):,} of {len(self.strata):,}"),
            ("population in strata hit", f"{self.share_covered:.1%}"),
            ("effective number of tiles (Kish)", f"{self.effective_tiles:,.0f}"),
            ("divergence from the population", f"{self.divergence_bits:.4f} bits (Jensen-Shannon)"),
            ("share to move to be proportional", f"{self.displaced_share:.1%}"),
        ]

    def rows(self, limit: int | None = None) -> list[tuple[str, ...]]:
        """Heading and strata as text, the worst represented against proportion first, then the best; `limit` of each.

        Strata that are neither are left out; without a limit, all strata are there.
        """
        order = sorted(self.strata, key=lambda line: (line.against_proportional, -line.size, line.stratum))
        if limit is not None and 2 * limit < len(order):
            order = order[:limit] + order[-limit:]
        heading = ("stratum", "candidates", "tiles", "prop.", "target", "÷ prop.", "÷ target")
        return [heading, *map(_row, order)]


def audit(places: Places, atlas: pa.Table, config: BuildConfig, legends: Mapping[str, Classes]) -> Audit:
    """What `places` cover of the candidates of an atlas.

    Args:
        places: Tiles of the atlas's grid.
        atlas: All described tiles, ascending.
        config: Decides candidates, strata and allocation.
        legends: The legends of `landcover` and `climate`.

    Raises:
        ConfigError: No place lies in a candidate.
    """
    population = population_of(atlas, config, legends)
    located = places.tiles[places.tiles >= 0]
    described = np.isin(located, atlas["tile"].to_numpy())
    candidate = np.isin(located, population.tiles)
    hits, times = np.unique(located[candidate], return_counts=True)
    if not len(hits):
        raise ConfigError(
            f"audit: none of {len(places):,} places lies in a candidate tile of the atlas; is it of another region, or "
            "are longitude and latitude swapped?"
        )
    rows = np.searchsorted(population.tiles, hits)
    strata = population.strata
    counts = np.bincount(strata.of_tile[rows], minlength=len(strata)).astype(np.int64)
    climates, covers = ((*legends[name].labels, UNKNOWN) for name in ("climate", "landcover"))
    shape = (len(climates), len(covers))
    return Audit(
        by=places.by,
        num_places=len(places),
        num_invalid=int(np.count_nonzero(places.tiles == INVALID)),
        num_outside_grid=int(np.count_nonzero(places.tiles == OUTSIDE)),
        num_undescribed=int(np.count_nonzero(~described)),
        num_not_candidates=int(np.count_nonzero(described & ~candidate)),
        num_tiles=len(hits),
        num_repeats=int(times.sum()) - len(hits),
        most_in_one_tile=int(times.max()),
        strata=_coverage(strata.labels, strata.size, counts, config),
        climates=climates,
        landcovers=covers,
        population=_cells(population.climate, population.landcover, shape),
        sample=_cells(population.climate[rows], population.landcover[rows], shape),
        share_covered=float(strata.size[counts > 0].sum() / len(population)),
        effective_tiles=effective_sample_size((strata.size / np.maximum(counts, 1))[strata.of_tile[rows]]),
        divergence_bits=jensen_shannon(counts / len(hits), strata.size / len(population)),
        displaced_share=total_variation(counts / len(hits), strata.size / len(population)),
    )


def _cells(climate: Int16, landcover: Int16, shape: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Tiles per climate and land cover; negative positions are the last, `unknown`."""
    cell = (climate % shape[0]) * np.int64(shape[1]) + landcover % shape[1]
    return tuple(map(tuple, np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape).tolist()))


def _coverage(labels: tuple[str, ...], size: Int64, counts: Int64, config: BuildConfig) -> tuple[StratumCoverage, ...]:
    num_tiles = int(counts.sum())
    rule = config.allocation
    quota = allocate(size, num_tiles, alpha=rule.alpha, floor=rule.floor, cap=rule.cap).quota
    return tuple(
        StratumCoverage(
            stratum=label,
            size=int(size[h]),
            tiles=int(counts[h]),
            proportional=num_tiles * int(size[h]) / int(size.sum()),
            target=int(quota[h]),
        )
        for h, label in enumerate(labels)
    )


def _row(line: StratumCoverage) -> tuple[str, ...]:
    against = line.against_target
    return (
        line.stratum,
        f"{line.size:,}",
        f"{line.tiles:,}",
        f"{line.proportional:,.1f}",
        f"{line.target:,}",
        f"{line.against_proportional:.2f}",
        "-" if against is None else f"{against:.2f}",
    )
