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
from csmoe_sampler.progress import Progress
from csmoe_sampler.report.data import Comparison, Measure, PrefixCurve
from csmoe_sampler.report.quantities import count
from csmoe_sampler.types import Float64, Int32, Int64

OWN, PROPORTIONAL, RANDOM = "this sample", "proportional", "random"
_MAX_PREFIXES = 6
_DISTANCE = "descriptor distance"

MEASURES = (
    (
        "Coverage radius",
        "How far the worst covered candidate is from the nearest drawn tile.",
        _DISTANCE,
        True,
    ),
    ("Mean distance", "How far a candidate is from the nearest drawn tile, on average.", _DISTANCE, True),
    ("Vendi score", "Effective number of different tiles in the sample.", "", False),
    ("Spread", "Root mean square distance between two drawn tiles.", _DISTANCE, False),
    ("Stratum entropy", "How evenly the sample is shared among the strata.", "bits", False),
    ("Strata reached", "Share of the strata of which at least one tile was drawn.", "%", False),
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
            OWN: rows,
            PROPORTIONAL: _first_of_strata(by_key, population.strata.of_tile, quota),
            RANDOM: by_key[:n],
        },
    )


def _first_of_strata(order: Int64, stratum: Int32, quota: Int64) -> Int64:
    """The first `quota` rows of each stratum in the given order."""
    grouped = order[np.argsort(stratum[order], kind="stable")]
    size = np.bincount(stratum, minlength=quota.size)
    place = np.arange(grouped.size) - np.repeat(np.cumsum(size) - size, size)
    return grouped[place < np.repeat(quota, size)]


def cover(rivals: Rivals, sizes: tuple[int, ...], progress: Progress) -> dict[tuple[str, int], Covering]:
    """Covering by each sample in full, the last of `sizes`, and by the shorter prefixes of this and the random one."""
    wanted = [(name, sizes[-1]) for name in rivals.rows]
    wanted += [(name, size) for size in sizes[:-1] for name in (OWN, RANDOM)]
    progress.start("report", len(wanted), "samples")
    coverings = {}
    for name, size in wanted:
        coverings[name, size] = covering(rivals.features, rivals.rows[name][:size])
        progress.advance(1)
    progress.finish()
    return coverings


def compare(rivals: Rivals, coverings: dict[tuple[str, int], Covering], population: Population) -> Comparison:
    """All measures of all samples."""
    n = len(rivals.rows[OWN])
    columns = [_measure(rivals, name, coverings[name, n], population) for name in rivals.rows]
    probes = coverings[OWN, n].num_probes
    measured = "all candidates" if probes == len(population) else f"{count(probes)} candidates drawn at random"
    measures = tuple(
        Measure(title=title, explanation=text, unit=unit, smaller_is_better=smaller, values=values)
        for (title, text, unit, smaller), values in zip(MEASURES, zip(*columns, strict=True), strict=True)
    )
    note = f"Distances to the sample were measured from {measured}, the same for every sample."
    return Comparison(methods=tuple(rivals.rows), measures=measures, note=note)


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


def follow_prefixes(
    coverings: dict[tuple[str, int], Covering], sizes: tuple[int, ...], strata_of_rows: Int64
) -> PrefixCurve:
    """Quality of the prefixes.

    Args:
        coverings: From `cover`.
        sizes: Lengths of the prefixes; the last is the whole.
        strata_of_rows: Stratum of each row of the manifest, in the order of the rank.
    """
    own = [coverings[OWN, size] for size in sizes]
    random = [coverings[RANDOM, size] for size in sizes]
    return PrefixCurve(
        sizes=sizes,
        mean=tuple(reach.mean for reach in own),
        random_mean=tuple(reach.mean for reach in random),
        radius=tuple(reach.radius for reach in own),
        random_radius=tuple(reach.radius for reach in random),
        deviation=tuple(_departure(strata_of_rows, size) for size in sizes),
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
