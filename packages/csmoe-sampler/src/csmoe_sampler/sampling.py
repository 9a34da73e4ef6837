"""Drawing the sample: population -> allocation -> selection -> manifest."""

from __future__ import annotations

from collections.abc import Mapping, Set
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import shapely

from csmoe_sampler.allocation import Allocation, allocate
from csmoe_sampler.chance import derive_seed
from csmoe_sampler.config import BuildConfig
from csmoe_sampler.errors import SelectionError
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.interleave import interleave
from csmoe_sampler.legend import RESERVED_LABELS, Legend
from csmoe_sampler.manifest import SCHEMA_VERSION, Manifest, schema_for
from csmoe_sampler.manifest.schema import BBOX
from csmoe_sampler.objectives import Objective, get_objective
from csmoe_sampler.population import Population, class_shares, features_of
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.selection import Selection, select
from csmoe_sampler.splits import SplitBlocks, hold_out_blocks
from csmoe_sampler.strata import UNKNOWN
from csmoe_sampler.types import Float64, Int64

ATLAS_PLACE = frozenset({"tile", "tile_id", "lon", "lat"})
"""Columns of the atlas that a manifest states in its own way."""


def draw(
    population: Population,
    config: BuildConfig,
    legends: Mapping[str, Legend],
    *,
    sources: Mapping[str, Any],
    workers: int | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """A sample of `config.n` candidates; it does not depend on `workers`.

    Where fewer can be taken (too few candidates, or caps), all that can be are, and the manifest's notes say so.

    Args:
        population: The candidates.
        config: What to draw.
        legends: Legends of the descriptors with class shares, by name.
        sources: Provenance of the descriptors, by name; goes into the metadata.
        workers: Threads; all cores by default.
        progress: Told of the tiles drawn.

    Raises:
        SelectionError: There is no candidate, or `config.strict` and there are fewer than wanted.
    """
    if not len(population):
        raise SelectionError(
            f"region '{config.region}': no tile has at least {config.candidates.min_land_share:.0%} of valid land; "
            "choose another region, or lower candidates.min_land_share"
        )
    objective = get_objective(config.selection.objective)
    allocation = allocate_budget(population, config, objective)
    notes = _shortfall_notes(allocation, population, config)
    features = features_of(population, config, legends)
    selection = select(
        population.strata,
        allocation,
        features,
        objective,
        seed=config.seed,
        workers=workers,
        progress=progress or NoProgress(),
    )
    del features
    blocks = hold_out_blocks(population.lon, population.lat, config.split, config.seed)
    columns, extra = _columns(population, selection, config, legends, blocks)
    metadata = _metadata(population, allocation, selection, config)
    metadata |= {
        "sources": dict(sources),
        "legends": {name: legend.to_json() for name, legend in legends.items()},
        "extra_columns": {name: str(column.type) for name, column in extra.items()},
        "notes": [*notes, *blocks.notes],
    }
    return Manifest(table=pa.table(columns | extra), metadata=metadata)


def describe_rows(
    population: Population, rows: Int64, weight: Float64, config: BuildConfig, legends: Mapping[str, Legend]
) -> pa.Table:
    """Rows of a manifest for some candidates, without inclusion probabilities, in the order given.

    Args:
        population: The candidates.
        rows: Which of them.
        weight: Weight of each.
        config: The configuration of the manifest.
        legends: Legends of the descriptors with class shares, by name.
    """
    selection = Selection(
        rows=rows,
        stratum=population.strata.of_tile[rows].astype(np.int32),
        weight=weight,
        inclusion_probability=np.full(rows.size, np.nan),
    )
    blocks = hold_out_blocks(population.lon, population.lat, config.split, config.seed)
    columns, extra = _columns(population, selection, config, legends, blocks)
    return pa.table(columns | extra)


def leave_out(manifest: Manifest, ranks: Int64, changed: Set[str], reasons: Mapping[str, str]) -> Manifest:
    """The manifest without the rows `ranks`; ranks, weights and the strata table follow.

    Args:
        manifest: The manifest.
        ranks: Rows to leave out.
        changed: Strata of which rows were replaced or left out: their inclusion probabilities hold no more.
        reasons: Why, by stratum.
    """
    keep = np.ones(len(manifest), np.bool_)
    keep[ranks] = False
    table = manifest.table.filter(pa.array(keep))
    labels, code = np.unique(table["stratum"].to_numpy().astype(np.str_), return_inverse=True)
    taken = np.bincount(code, minlength=labels.size)
    if ranks.size:
        ties = np.array([derive_seed(manifest.metadata["seed"], "rank", str(label)) for label in labels], np.uint64)
        order = np.empty(code.size, np.int64)
        order[np.argsort(interleave(taken, ties), kind="stable")] = np.argsort(code, kind="stable")
        table, code = table.take(pa.array(order)), code[order]
    weight = table["stratum_size"].to_numpy() / taken[code]
    unknown = table["inclusion_probability"].is_null().to_numpy() | np.isin(labels, sorted(changed))[code]
    columns = {
        "weight": pa.array(weight),
        "rank": pa.array(np.arange(table.num_rows)),
        "inclusion_probability": pa.array(1.0 / weight, mask=unknown),
    }
    for name, values in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), values)
    counts = dict(zip(labels.tolist(), taken.tolist(), strict=True))
    strata = [
        {
            **line,
            "taken": counts.get(line["stratum"], 0),
            "reason": "; ".join(filter(None, (line["reason"], reasons.get(line["stratum"])))) or None,
        }
        for line in manifest.metadata["strata"]
    ]
    notes = list(manifest.metadata["notes"])
    if ranks.size:
        notes.append(f"{ranks.size:,} places have no tile with scenes and were left out; their strata are listed")
    candidates = {**manifest.metadata["candidates"], "taken": table.num_rows}
    changes = {"strata": strata, "candidates": candidates, "notes": notes}
    return Manifest(table=table.combine_chunks(), metadata=manifest.metadata | changes)


def _columns(
    population: Population,
    selection: Selection,
    config: BuildConfig,
    legends: Mapping[str, Legend],
    blocks: SplitBlocks,
) -> tuple[dict[str, pa.Array], dict[str, pa.ChunkedArray]]:
    """The fixed columns of the manifest, and those of further descriptors."""
    columns = _place_columns(population, selection, config)
    columns |= _descriptor_columns(population, selection, legends)
    columns |= _design_columns(population, selection)
    columns["split"] = pa.array(blocks.assign(columns["lon"].to_numpy(), columns["lat"].to_numpy()))
    return columns, _extra_columns(population, selection, legends)


def allocate_budget(population: Population, config: BuildConfig, objective: Objective) -> Allocation:
    """The quotas of the strata; an objective that fixes the exponent has its way."""
    alpha = config.allocation.alpha if objective.alpha is None else objective.alpha
    return allocate(
        population.strata.size, config.n, alpha=alpha, floor=config.allocation.floor, cap=config.allocation.cap
    )


def _shortfall_notes(allocation: Allocation, population: Population, config: BuildConfig) -> list[str]:
    if not allocation.shortfall:
        return []
    taken = int(allocation.quota.sum())
    found = f"region '{config.region}' has {len(population):,} tiles on land, {config.n:,} were asked for"
    if taken < len(population):
        found += f", and allocation.cap allows {taken:,}"
    if config.strict:
        raise SelectionError(f"{found}; lower --n, widen the region, or leave out --strict to take {taken:,}")
    return [f"{found}: {'all of them' if taken == len(population) else f'{taken:,}'} were taken"]


def _place_columns(population: Population, selection: Selection, config: BuildConfig) -> dict[str, pa.Array]:
    grid = TileGrid(config.grid.spacing_km, config.grid.lat_max_deg)
    tiles = population.tiles[selection.rows]
    prints = grid.footprints(tiles)
    west, south, east, north = shapely.bounds(prints.geometry).T
    crs = pa.array(prints.epsg).cast(pa.string())
    bbox = [pa.array(edge) for edge in (west, south, east, north)]
    return {
        "tile_id": pa.array(grid.ids(tiles)),
        "geometry": pa.array(shapely.to_wkb(prints.geometry), pa.binary()),
        "bbox": pa.StructArray.from_arrays(bbox, fields=list(BBOX)),
        "lon": pa.array(prints.lon),
        "lat": pa.array(prints.lat),
        "crs": pc.binary_join_element_wise("EPSG", crs, ":"),
        "x_min": pa.array(prints.x_min),
        "y_min": pa.array(prints.y_min),
        "x_max": pa.array(prints.x_max),
        "y_max": pa.array(prints.y_max),
    }


def _descriptor_columns(
    population: Population, selection: Selection, legends: Mapping[str, Legend]
) -> dict[str, pa.Array]:
    atlas, rows = population.table, pa.array(selection.rows)
    names = [f"landcover_{label}" for label in legends["landcover"].labels]
    columns = {name: atlas[name].take(rows) for name in names}
    columns["landcover"] = _labels(legends["landcover"], population.landcover[selection.rows])
    for name in ("landcover_valid", "landcover_entropy", "landcover_classes"):
        columns[name] = atlas[name].take(rows)
    columns["climate"] = _labels(legends["climate"], population.climate[selection.rows])
    shares = class_shares(atlas, "climate", legends["climate"].labels)
    columns["climate_share"] = pa.array(shares.max(axis=1)[selection.rows])
    return columns


def _labels(legend: Legend, positions: np.ndarray) -> pa.Array:
    return pa.array(np.array([*legend.labels, UNKNOWN])[positions])  # position -1 is the last: unknown


def _design_columns(population: Population, selection: Selection) -> dict[str, pa.Array]:
    probability = selection.inclusion_probability
    return {
        "stratum": pa.array(np.array(population.strata.labels)[selection.stratum]),
        "stratum_size": pa.array(population.strata.size[selection.stratum]),
        "inclusion_probability": pa.array(probability, mask=np.isnan(probability)),
        "weight": pa.array(selection.weight),
        "rank": pa.array(np.arange(selection.rows.size)),
    }


def _extra_columns(
    population: Population, selection: Selection, legends: Mapping[str, Legend]
) -> dict[str, pa.ChunkedArray]:
    """What the atlas knows beyond the fixed columns of a manifest, but for the shares of all climates."""
    atlas, rows = population.table, pa.array(selection.rows)
    climate = {f"climate_{name}" for name in (*legends["climate"].labels, *RESERVED_LABELS)}
    known = {*schema_for(legends["landcover"].labels).names, *ATLAS_PLACE, *climate}
    return {name: atlas[name].take(rows) for name in atlas.column_names if name not in known}


def _metadata(
    population: Population, allocation: Allocation, selection: Selection, config: BuildConfig
) -> dict[str, Any]:
    portable = config.portable()
    return {
        "schema_version": SCHEMA_VERSION,
        "package_version": version("csmoe-sampler"),
        "config": portable,
        "config_digest": config.digest(),
        "seed": config.seed,
        "objective": config.selection.objective,
        "grid": config.grid.model_dump(mode="json"),
        "region": portable["region"],
        "strata": _strata_table(population, allocation, selection),
        "candidates": {
            "described": population.num_described,
            "candidates": len(population),
            "wanted": config.n,
            "taken": int(allocation.quota.sum()),
        },
    }


def _strata_table(population: Population, allocation: Allocation, selection: Selection) -> list[dict[str, Any]]:
    strata = population.strata
    taken = np.bincount(selection.stratum, minlength=len(strata))
    return [
        {
            "stratum": label,
            "size": int(strata.size[h]),
            "target": float(allocation.target[h]),
            "quota": int(allocation.quota[h]),
            "taken": int(taken[h]),
            "reason": allocation.reason[h],
        }
        for h, label in enumerate(strata.labels)
    ]
