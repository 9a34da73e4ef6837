"""Scenes and tiles made up for tests, and a plain loop that pairs them."""

from __future__ import annotations

import copy
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import shapely

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.footprints import project_footprints
from csmoe_sampler.scenes import Tiles
from csmoe_sampler.scenes.table import SCENES

NORTH = {12: "winter", 1: "winter", 2: "winter", 3: "spring", 4: "spring", 5: "spring"}
NORTH |= {6: "summer", 7: "summer", 8: "summer", 9: "autumn", 10: "autumn", 11: "autumn"}
OPPOSITE = {"winter": "summer", "summer": "winter", "spring": "autumn", "autumn": "spring"}


def tiles_at(lon: list[float], lat: list[float], spacing_km: float = 10) -> Tiles:
    found = project_footprints(np.array(lon, float), np.array(lat, float), spacing_km)
    return Tiles(
        ids=np.array([f"T{number:03d}" for number in range(len(lon))]),
        geometry=found.geometry,
        lat=found.lat,
        lon=found.lon,
        crs=np.array([f"EPSG:{code}" for code in found.epsg]),
    )


def scene_row(item: str, time: datetime, geometry: shapely.Geometry, **more: object) -> dict:
    """A row of `SCENES`; Sentinel-2 unless `polarizations` are given."""
    optical = "polarizations" not in more
    row = dict.fromkeys(SCENES.names)
    row |= {"item": item, "collection": "sentinel-2-l2a" if optical else "sentinel-1-rtc", "datetime": time}
    row |= {"geometry": shapely.to_wkb(geometry), "platform": "sentinel-2a" if optical else "sentinel-1a"}
    row |= {"cloud_cover": 0.0 if optical else None, "crs": "EPSG:32632", "href": f"https://x.org/{item}/"}
    return row | {"stem": "B", "files": '{"B02":"*02.tif"}'} | more


def scene_table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(sorted(rows, key=lambda row: row["item"]), SCENES)


def pair_by_loop(tiles: Tiles, radar: list[dict], optical: list[dict], config: SceneConfig) -> list[dict]:
    """The rule of `scenes.matching`, pair by pair."""

    def share(row: dict, tile: int) -> float:
        footprint = tiles.geometry[tile]
        return round(shapely.from_wkb(row["geometry"]).intersection(footprint).area / footprint.area, 6)

    chosen = []
    for tile in range(len(tiles)):
        passes = [row for row in radar if {"VV", "VH"} <= set(row["polarizations"].split(","))]
        passes = [row for row in passes if share(row, tile) >= config.min_coverage]
        found = {}
        for season in config.seasons:
            candidates = []
            for row in optical:
                name = NORTH[row["datetime"].month]
                name = OPPOSITE[name] if tiles.lat[tile] < 0 else name
                covered = share(row, tile)
                cloud = np.float32(row["cloud_cover"])
                clear = cloud <= config.max_cloud_percent
                if season not in ("year", name) or not clear or covered < config.min_coverage or covered == 0:
                    continue
                score, dt, partner = covered * (1 - float(cloud) / 100), timedelta(0), {"item": None}
                if config.sentinel1 != "none":
                    near = [(abs(one["datetime"] - row["datetime"]), one["item"], one) for one in passes]
                    near = [one for one in near if one[0] <= timedelta(days=config.max_dt_days)]
                    if not near:
                        continue
                    dt, _, partner = min(near, key=lambda one: one[:2])
                    score *= math.exp(-dt / timedelta(days=config.dt_scale_days))
                key = (-round(score, 6), row["crs"] != tiles.crs[tile], dt, row["item"])
                candidates.append((key, partner["item"]))
            if candidates:
                key, partner = min(candidates)
                found[season] = (key[3], partner, -key[0])
            else:
                found[season] = (None, None, None)
        chosen.append(found)
    return chosen


def shifted(item: dict, *, lon: float, lat: float, days: float, name: str, match_epsg: int | None = None) -> dict:
    """A genuine item elsewhere, at another time and under another name."""
    new = copy.deepcopy(item)
    new["id"] = name
    ring = new["geometry"]["coordinates"][0]
    new["geometry"]["coordinates"] = [[[x + lon, y + lat] for x, y in ring]]
    west, south, east, north = new["bbox"]
    new["bbox"] = [west + lon, south + lat, east + lon, north + lat]
    for field in ("datetime", "start_datetime", "end_datetime"):
        if field in new["properties"]:
            time = datetime.fromisoformat(new["properties"][field]) + timedelta(days=days)
            new["properties"][field] = time.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if match_epsg:
        new["properties"]["proj:epsg"] = match_epsg
    return new


def write_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path
