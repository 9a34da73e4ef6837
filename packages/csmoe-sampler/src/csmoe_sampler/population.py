"""The population: the candidates of an atlas, with the classes, strata and features that selection works on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from csmoe_sampler.chance import tile_keys
from csmoe_sampler.config import BuildConfig
from csmoe_sampler.errors import AtlasError
from csmoe_sampler.features import Block, Features, Moments, Position, Shares, Values, build_features
from csmoe_sampler.spectral.axes import axis_scales
from csmoe_sampler.strata import Classes, Strata, stratify
from csmoe_sampler.types import Bool, Float32, Float64, Int16, Int64


@dataclass(frozen=True, kw_only=True)
class Population:
    """The candidates, in ascending tile order; all arrays have their length."""

    table: pa.Table
    """Their rows of the atlas."""
    tiles: Int64
    lon: Float64
    """Centres of the cells, degrees."""
    lat: Float64
    climate: Int16
    """Position of the dominant class in the climate legend, -1 where there is none."""
    landcover: Int16
    """The same in the land-cover legend."""
    strata: Strata
    num_described: int
    """Tiles of the atlas, candidates or not."""

    def __len__(self) -> int:
        return len(self.tiles)


def population_of(atlas: pa.Table, config: BuildConfig, legends: Mapping[str, Classes]) -> Population:
    """The candidates among the tiles of an atlas.

    Args:
        atlas: All tiles with all descriptors, ascending.
        config: Decides who is a candidate, and how small a stratum may be.
        legends: The legends of `landcover` and `climate`.

    Raises:
        AtlasError: The atlas lacks a column.
    """
    table = atlas.filter(pa.array(candidates(atlas, config)))
    climate = dominant(class_shares(table, "climate", legends["climate"].labels))
    landcover = dominant(class_shares(table, "landcover", legends["landcover"].labels))
    return Population(
        table=table,
        num_described=atlas.num_rows,
        tiles=_column(table, "tile").astype(np.int64),
        lon=_column(table, "lon"),
        lat=_column(table, "lat"),
        climate=climate,
        landcover=landcover,
        strata=stratify(climate, landcover, legends["climate"], legends["landcover"], config.strata.min_size),
    )


def candidates(atlas: pa.Table, config: BuildConfig) -> Bool:
    """Tiles of which at least `candidates.min_land_share` is valid land cover and not open water."""
    land = _column(atlas, "landcover_valid") - _column(atlas, "landcover_water")
    return np.asarray(land >= np.float32(config.candidates.min_land_share))


def features_of(population: Population, config: BuildConfig, legends: Mapping[str, Classes]) -> Features:
    """The vectors between which the selection measures distances, with the weights of `selection.weights`."""
    blocks: list[Block] = []
    further = {descriptor.name: descriptor for descriptor in config.descriptors}
    for name, weight in sorted(config.selection.weights.items()):
        if name == "position":
            blocks.append(Position(lon=population.lon, lat=population.lat, weight=weight))
        elif name in legends:
            shares = class_shares(population.table, name, legends[name].labels)
            blocks.append(Shares(columns=list(shares.T), weight=weight))
        elif name == "spectral" and config.spectral is not None:
            scales = axis_scales(config.spectral)
            columns = [_column(population.table, column) for column in scales]
            blocks.append(Values(columns=columns, weight=weight, scales=list(scales.values())))
        elif further[name].use is not None:
            columns = [_column(population.table, column) for column in _columns_of(name, population.table, further)]
            blocks.append(Values(columns=columns, weight=weight, scales=[further[name].scale] * len(columns)))
        else:
            columns = [_column(population.table, f"{name}_{statistic}") for statistic in ("mean", "std")]
            blocks.append(Moments(columns=columns, weight=weight, scale=further[name].scale))
    return build_features(blocks, tile_keys(config.seed, population.tiles))


def _columns_of(name: str, table: pa.Table, further: Iterable[str]) -> list[str]:
    """Columns that begin with the name of a descriptor of the user's own, and with no longer name of another.

    Raises:
        AtlasError: There is none.
    """
    longer = tuple(f"{other}_" for other in further if other.startswith(f"{name}_"))
    own = [column for column in table.column_names if column.startswith(f"{name}_")]
    found = [column for column in own if not (longer and column.startswith(longer))]
    if not found:
        raise AtlasError(f"atlas: no column '{name}_...'; describe it again with the descriptors of this configuration")
    return found


def class_shares(table: pa.Table, name: str, labels: Sequence[str]) -> Float32:
    """Shares of the classes of descriptor `name`, (tiles, classes)."""
    shares = np.empty((table.num_rows, len(labels)), np.float32, order="F")
    for k, label in enumerate(labels):
        shares[:, k] = _column(table, f"{name}_{label}")
    return shares


def dominant(shares: Float32) -> Int16:
    """Position of each tile's largest share, the first of equal ones; -1 where all are 0."""
    largest = shares.argmax(axis=1).astype(np.int16)
    return np.where(shares.max(axis=1) > 0, largest, np.int16(-1))


def _column(table: pa.Table, name: str) -> np.ndarray:
    if name not in table.column_names:
        raise AtlasError(f"atlas: no column '{name}'; describe it again with the descriptors of this configuration")
    return np.asarray(table[name].to_numpy())
