"""The rows of a paired manifest as fetch needs them: footprints, and the scenes of every season."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from csmoe_sampler.chips.grid import Footprint
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.manifest import Manifest
from csmoe_sampler.scenes.assets import SceneFiles

_PLACE = ("tile_id", "lon", "lat", "crs", "x_min", "y_min", "x_max", "y_max")
_SCENE = ("item", "datetime", "crs", "href", "stem", "files")
_NO_TIME = -(2**63)
_DIGESTED_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A scene that a tile's pixels come from."""

    item: str
    crs: str
    files: SceneFiles
    offset: float | None = None
    """DN to subtract; None where unknown, and for Sentinel-1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A row of the manifest."""

    tile_id: str
    footprint: Footprint
    seasons: tuple[Mapping[str, Scene], ...]
    """Sensor -> scene of each season; empty where the manifest names none."""


class TileTable:
    """The tiles of a manifest, in the order of its rows.

    Raises:
        ManifestError: It has no scenes of these sensors and seasons.
    """

    def __init__(self, manifest: Manifest, sensors: Sequence[str], seasons: Sequence[str]) -> None:
        self.sensors, self.seasons = tuple(sensors), tuple(seasons)
        names = [*_PLACE, *(self._name(*place) for place in self._scene_columns())]
        missing = [name for name in names if name not in manifest.table.column_names]
        if missing:
            raise ManifestError(
                f"manifest: has no column {', '.join(missing[:3])}: choose its scenes with `pair`, for the same "
                "seasons and sensors"
            )
        self.table = manifest.table.select(names).combine_chunks()

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def tiles(self, rows: range) -> list[Tile]:
        """The tiles of consecutive rows."""
        lines = self.table.slice(rows.start, len(rows)).to_pylist()
        return [
            Tile(
                tile_id=line["tile_id"],
                footprint=Footprint(crs=line["crs"], **{name: line[name] for name in _PLACE[4:]}),
                seasons=tuple(self._scenes(line, season) for season in self.seasons),
            )
            for line in lines
        ]

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """The coordinates of a store that the manifest tells: tile_id, lon, lat, times, items."""
        found = {name: self._column(name) for name in ("tile_id", "lon", "lat")}
        for sensor in self.sensors:
            for kind in ("item", "datetime"):
                each = [self._column(self._name(sensor, kind, season)) for season in self.seasons]
                name = f"{sensor}_{'time' if kind == 'datetime' else kind}"
                found[name] = each[0] if len(each) == 1 else np.column_stack(each)
        return found

    def digest(self) -> str:
        """SHA-256 of all that fetch reads of the manifest."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _DIGESTED_ROWS):
            rows = self.table.slice(start, _DIGESTED_ROWS)
            columns = [
                column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in rows.columns
            ]
            values = [rows.column_names, *(column.to_pylist() for column in columns)]
            digest.update(json.dumps(values, separators=(",", ":")).encode())
        return digest.hexdigest()

    def _scenes(self, line: Mapping[str, Any], season: str) -> dict[str, Scene]:
        found = {}
        for sensor in self.sensors:
            value = {name: line[self._name(sensor, name, season)] for name in _SCENE}
            if value["item"] is None:
                return {}
            offset = line[self._name("s2", "offset", season)] if sensor == "s2" else None
            found[sensor] = Scene(
                item=value["item"],
                crs=value["crs"] or "",
                files=SceneFiles(value["href"], value["stem"], value["files"]),
                offset=None if offset is None or np.isnan(offset) else float(offset),
            )
        return found

    def _column(self, name: str) -> npt.NDArray[Any]:
        column = self.table[name]
        if pa.types.is_timestamp(column.type):
            times = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
            return np.asarray(pc.fill_null(times, _NO_TIME).to_numpy())
        if pa.types.is_string(column.type):
            return np.asarray(pc.fill_null(column, "").to_numpy(zero_copy_only=False), dtype=object)
        return np.asarray(column.to_numpy())

    def _scene_columns(self) -> list[tuple[str, str, str]]:
        kinds = {"s2": (*_SCENE, "offset"), "s1": _SCENE}
        return [(sensor, kind, season) for season in self.seasons for sensor in self.sensors for kind in kinds[sensor]]

    def _name(self, sensor: str, kind: str, season: str) -> str:
        end = "" if len(self.seasons) == 1 else f"_{season}"
        return f"{sensor}_{kind}{end}"
