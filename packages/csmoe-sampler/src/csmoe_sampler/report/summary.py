"""A manifest and its population -> the numbers of the report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from csmoe_sampler.config import BuildConfig
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.grid_rows import EARTH_RADIUS_KM
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.manifest.schema import SPLITS, LegendClasses
from csmoe_sampler.metrics import effective_sample_size, mean_shares
from csmoe_sampler.population import Population, class_shares
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.report.chip_numbers import summarise_chips
from csmoe_sampler.report.comparison import compare, cover, draw_rivals, follow_prefixes, prefix_sizes
from csmoe_sampler.report.data import (
    Balance,
    Category,
    ChipSummary,
    Matrix,
    ReportData,
    SplitTable,
    Stratum,
    Weights,
)
from csmoe_sampler.report.maps import draw_layers
from csmoe_sampler.report.scene_numbers import summarise_scenes
from csmoe_sampler.strata import UNKNOWN
from csmoe_sampler.types import Float64, Int16, Int64

_UNKNOWN_COLOR = "#8a8a8a"
_WEIGHT_BINS = 24


def summarise(
    manifest: Manifest, population: Population, progress: Progress | None = None, chips: Path | None = None
) -> ReportData:
    """The numbers of the report.

    Args:
        manifest: A valid manifest.
        population: The candidates that it was drawn from.
        progress: Told of the samples that were compared and of the chips that were read.
        chips: Its chip store, of which pictures and statistics are shown.

    Raises:
        ManifestError: A tile of the manifest is not a candidate of that population, or the chips are of another one.
        ChipError: There is no such chip store, or it is unfinished.
    """
    manifest = Manifest(table=manifest.table, metadata=json.loads(json.dumps(manifest.metadata, sort_keys=True)))
    rows = _rows_of(manifest, population)
    config = BuildConfig.model_validate(manifest.metadata["config"])
    splits = manifest.column("split").astype(np.str_)
    rivals = draw_rivals(manifest, population, rows, config)
    sizes = prefix_sizes(len(manifest))
    coverings = cover(rivals, sizes, progress or NoProgress())
    strata_of_rows = np.unique(manifest.column("stratum").astype(np.str_), return_inverse=True)[1]
    return ReportData(
        metadata=manifest.metadata,
        num_rows=len(manifest),
        num_described=population.num_described,
        num_candidates=len(population),
        matrix=_matrix(manifest, population, rows),
        climate=_climate_balance(manifest, population, rows),
        landcover=_landcover_balance(manifest, population, rows),
        strata=_strata(manifest),
        comparison=compare(rivals, coverings, population),
        prefixes=follow_prefixes(coverings, sizes, strata_of_rows),
        weights=_weights(manifest.column("weight")),
        splits=_splits(manifest, splits, config.split.buffer_km),
        layers=draw_layers(
            (population.lon, population.lat),
            (population.lon[rows], population.lat[rows]),
            np.array([SPLITS.index(split) for split in splits.tolist()], np.int16),
            num_splits=len(SPLITS),
            tile_km=manifest.grid.spacing_km,
        ),
        config_toml=config.to_toml(),
        scenes=summarise_scenes(manifest),
        chips=_chips(manifest, chips, progress or NoProgress()) if chips else None,
    )


def _chips(manifest: Manifest, path: Path, progress: Progress) -> ChipSummary:
    climates, covers = (categories_of(manifest.legends[name]) for name in ("climate", "landcover"))
    return summarise_chips(manifest, path, climates, covers, progress)


def _strata(manifest: Manifest) -> tuple[Stratum, ...]:
    return tuple(
        Stratum(name=line.pop("stratum"), reason=line.pop("reason") or "", **line)
        for line in map(dict, manifest.metadata["strata"])
    )


def _rows_of(manifest: Manifest, population: Population) -> Int64:
    """Positions of the manifest's tiles in the population."""
    tiles = manifest.grid.parse(manifest.column("tile_id").astype(np.str_))
    rows = np.searchsorted(population.tiles, tiles)
    known = population.tiles[np.minimum(rows, len(population) - 1)] == tiles
    if not known.all():
        first = manifest.column("tile_id")[int(np.argmin(known))]
        raise ManifestError(
            f"manifest: tile {first} and {np.count_nonzero(~known) - 1} more are no candidates of this atlas; "
            "give the atlas that the manifest was drawn from"
        )
    return rows


def categories_of(legend: LegendClasses) -> tuple[Category, ...]:
    """The classes of a legend, and `unknown` at the end."""
    named = [
        Category(label=label, title=label.replace("_", " "), color=color)
        for label, color in zip(legend.labels, legend.colors, strict=True)
    ]
    return (*named, Category(label=UNKNOWN, title=UNKNOWN, color=_UNKNOWN_COLOR))


def _matrix(manifest: Manifest, population: Population, rows: Int64) -> Matrix:
    climates = categories_of(manifest.legends["climate"])
    covers = categories_of(manifest.legends["landcover"])
    shape = (len(climates), len(covers))
    climate, cover = _codes(population.climate, len(climates)), _codes(population.landcover, len(covers))
    cell = climate * len(covers) + cover
    quotas = {line["stratum"]: line["quota"] for line in manifest.metadata["strata"]}
    strata = population.strata
    quota = np.array([quotas.get(label, 0) for label in strata.labels], np.float64)
    counts = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
    due = np.bincount(cell, (quota / strata.size)[strata.of_tile], minlength=counts.size).astype(np.float64)
    sample = np.bincount(cell[rows], minlength=counts.size).reshape(shape)
    in_use = [np.flatnonzero(counts.sum(axis=1)), np.flatnonzero(counts.sum(axis=0))]
    window = np.ix_(*in_use)
    return Matrix(
        climates=tuple(climates[k] for k in in_use[0]),
        landcovers=tuple(covers[k] for k in in_use[1]),
        population=counts[window],
        target=due.reshape(shape)[window],
        sample=sample[window],
    )


def _codes(positions: Int16, num_categories: int) -> Int64:
    """Positions among the categories; a negative one is the last, `unknown`."""
    return np.where(positions < 0, num_categories - 1, positions).astype(np.int64)


def _climate_balance(manifest: Manifest, population: Population, rows: Int64) -> Balance:
    categories = categories_of(manifest.legends["climate"])
    code = _codes(population.climate, len(categories))
    weight = manifest.column("weight")
    counts = [
        np.bincount(code, minlength=len(categories)).astype(np.float64),
        np.bincount(code[rows], minlength=len(categories)).astype(np.float64),
        np.bincount(code[rows], weight, minlength=len(categories)),
    ]
    return _balance(categories, [count / count.sum() for count in counts])


def _landcover_balance(manifest: Manifest, population: Population, rows: Int64) -> Balance:
    """Mean class shares: of the area that is valid, not of the dominant class."""
    categories = categories_of(manifest.legends["landcover"])[:-1]
    shares = class_shares(population.table, "landcover", [category.label for category in categories])
    valid = np.asarray(population.table["landcover_valid"].to_numpy(), np.float64)
    weight = manifest.column("weight")
    means = [
        mean_shares(shares, valid),
        mean_shares(shares[rows], valid[rows]),
        mean_shares(shares[rows], valid[rows] * weight),
    ]
    return _balance(categories, means)


def _balance(categories: Sequence[Category], shares: Sequence[Float64]) -> Balance:
    used = np.flatnonzero(np.sum(shares, axis=0) > 0)
    population, sample, weighted = (share[used] for share in shares)
    return Balance(
        categories=tuple(categories[int(k)] for k in used), population=population, sample=sample, weighted=weighted
    )


def _weights(weight: Float64) -> Weights:
    low, high = float(weight.min()), float(weight.max())
    edges = np.geomspace(low, high, _WEIGHT_BINS + 1) if high > low else np.array([low / 1.5, low * 1.5])
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    return Weights(
        minimum=low,
        median=float(np.median(weight)),
        maximum=high,
        total=float(weight.sum()),
        effective=effective_sample_size(weight),
        edges=edges,
        counts=np.histogram(weight, edges)[0],
    )


def _splits(manifest: Manifest, splits: npt.NDArray[np.str_], buffer_km: float) -> SplitTable:
    lon, lat = np.radians(manifest.column("lon")), np.radians(manifest.column("lat"))
    points = np.column_stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
    members = {name: points[splits == name] for name in SPLITS}
    distances: list[tuple[str, str, float]] = []
    for one, two in combinations(SPLITS[:3], 2):
        few, many = sorted((members[one], members[two]), key=len)
        if len(few):
            chord = float(cKDTree(many).query(few)[0].min())
            distances.append((one, two, 2.0 * EARTH_RADIUS_KM * float(np.arcsin(min(chord / 2.0, 1.0)))))
    return SplitTable(
        names=SPLITS,
        rows=tuple(len(members[name]) for name in SPLITS),
        distances_km=tuple(distances),
        buffer_km=buffer_km,
    )
