"""This sample against as many tiles drawn otherwise, and its prefixes against random ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from csmoe_sampler.allocation import allocate
from csmoe_sampler.chance import derive_seed, tile_keys
from csmoe_sampler.config import BuildConfig
from csmoe_sampler.features import Features
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.metrics import (
    Covering,
    covering,
    entropy,
    pairwise_distance,
    share_covered,
    vendi_score,
)
from csmoe_sampler.population import Population, features_of
from csmoe_sampler.report.data import Comparison, Measure, PrefixCurve
from csmoe_sampler.types import Float64, Int32, Int64

_MAX_PREFIXES = 6
_DISTANCE = "descriptor distance"

MEASURES = (
    ("Coverage radius", "How far the most poorly represented candidate is from the nearest drawn tile.", _DISTANCE, True),
    ("Mean distance", "How far a candidate is from the nearest drawn tile, on average.", _DISTANCE, True),
    ("Vendi score", "Effective number of different tiles in the sample.", "", False),
    ("Spread", "Root mean square distance between two drawn tiles.", _DISTANCE, False),
    ("Stratum entropy", "How evenly the sample is shared among the strata.", "bits", False),
    ("Strata reached", "Share of the strata that the sample holds a tile of.", "%", False),
)
"""Title, explanation, unit, and whether less is better; in the order of `_measure`."""


@dataclass(frozen=True)
class Rivals:
    """Samples of the same population and size, by the name of how they were drawn; this one first."""

    features: Features
    rows: dict[str, Int64]


def draw_rivals(manifest: Manifest, population: Population, rows: Int64, config: BuildConfig) -> Rivals:
    """This sample, one stratified in proportion to size, and a simple random one."""
    n = len(manifest)
    keys = tile_keys(derive_seed(config.seed, "report"), population.tiles)
    by_key = np.argsort(keys, kind="stable")
    quota = allocate(population.strata.size, n, alpha=1.0, floor=0, cap=None).quota
    return Rivals(
        features=features_of(population, config, manifest.legends),
        rows={
            "this sample": rows,
            "proportional": _first_of_strata(by_key, population.strata.of_tile, quota),
            "random": by_key[:n],
        },
    )


def _first_of_strata(order: Int64, stratum: Int32, quota: Int64) -> Int64:
    """The first `quota` rows of each stratum in the given order."""
    grouped = order[np.argsort(stratum[order], kind="stable")]
    size = np.bincount(stratum, minlength=quota.size)
    place = np.arange(grouped.size) - np.repeat(np.cumsum(size) - size, size)
    return grouped[place < np.repeat(quota, size)]


def compare(rivals: Rivals, population: Population) -> tuple[Comparison, dict[str, Covering]]:
    """The comparison, and the covering of each sample for those who need it again."""
    coverings = {name: covering(rivals.features, rows) for name, rows in rivals.rows.items()}
    columns = [_measure(rivals, name, coverings[name], population) for name in rivals.rows]
    probes = next(iter(coverings.values())).num_probes
    measured = "all candidates" if probes == len(population) else f"{probes:,} candidates drawn at random"
    measures = tuple(
        Measure(title=title, explanation=text, unit=unit, smaller_is_better=smaller, values=values)
        for (title, text, unit, smaller), values in zip(MEASURES, zip(*columns, strict=True), strict=True)
    )
    note = f"Distances to the sample were measured from {measured}, the same for every sample."
    return Comparison(methods=tuple(rivals.rows), measures=measures, note=note), coverings


def _measure(rivals: Rivals, name: str, reach: Covering, population: Population) -> tuple[float, ...]:
    rows = rivals.rows[name]
    strata = population.strata
    counts = np.bincount(strata.of_tile[rows], minlength=len(strata))
    return (
        reach.radius,
        reach.mean,
        vendi_score(rivals.features.values[rows]),
        pairwise_distance(rivals.features, rows),
        entropy(counts),
        100.0 * share_covered(strata.of_tile, strata.of_tile[rows]),
    )


def follow_prefixes(rivals: Rivals, coverings: dict[str, Covering], strata_of_rows: Int64) -> PrefixCurve:
    """Quality of the prefixes at 1, 2, 5, 10, ... tiles, the last few of these, and at n.

    Args:
        rivals: The samples.
        coverings: Their coverings.
        strata_of_rows: Stratum of each row of the manifest, in the order of the rank.
    """
    n = len(strata_of_rows)
    own, random = rivals.rows["this sample"], rivals.rows["random"]
    sizes = prefix_sizes(n)
    first = [covering(rivals.features, own[:m]) for m in sizes[:-1]] + [coverings["this sample"]]
    other = [covering(rivals.features, random[:m]) for m in sizes[:-1]] + [coverings["random"]]
    return PrefixCurve(
        sizes=sizes,
        mean=tuple(reach.mean for reach in first),
        random_mean=tuple(reach.mean for reach in other),
        radius=tuple(reach.radius for reach in first),
        random_radius=tuple(reach.radius for reach in other),
        deviation=tuple(_departure(strata_of_rows, m) for m in sizes),
    )


def prefix_sizes(n: int) -> tuple[int, ...]:
    """Round numbers below `n`, the last few of them, and `n` itself."""
    ladder = [m * 10**e for e in range(12) for m in (1, 2, 5)]
    below = [size for size in ladder if 10 <= size < n]
    return (*below[-(_MAX_PREFIXES - 1) :], n)


def _departure(strata_of_rows: Int64, size: int) -> float:
    """Largest difference between a stratum's count in the prefix and its due, in tiles."""
    quota = np.bincount(strata_of_rows)
    held: Float64 = np.bincount(strata_of_rows[:size], minlength=quota.size).astype(np.float64)
    return float(np.abs(held - quota * (size / len(strata_of_rows))).max())
