"""Pairing: 500,000 tiles with a week of Sentinel-2 and the month of Sentinel-1 around it, beside geopandas.

    uv run benchmarks/bench_pairing.py [--tiles 500000] [--optical 100000] [--radar 40000] [--peer 20000]

The world is a band of 105 degrees of longitude, whose area is that of all land, so that tiles and scenes are as dense
as real ones. Granules are boxes of 109.8 km every 100 km in their UTM zones, seven or so in a week; half are cut by
the edge of a swath. Clouds do not thin out the scenes. The peer answers the same question for the first scenes alone:
`geopandas.sjoin`, areas of intersections, a merge in time, the best by group; rates are per pair of tile and
Sentinel-2 scene. Seconds are of the CPU, which other load on the machine disturbs less than the clock; all run on one.
"""

from __future__ import annotations

import argparse
import resource
import time
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj
import shapely

from csmoe_sampler.config import SceneConfig
from csmoe_sampler.footprints import project_footprints
from csmoe_sampler.scenes import Tiles
from csmoe_sampler.scenes.matching import Matcher
from csmoe_sampler.scenes.outlines import Cover
from csmoe_sampler.scenes.table import SCENES

WEST, EAST, SOUTH, NORTH = -50.0, 55.0, -56.0, 75.0
CONFIG = SceneConfig(max_cloud_percent=100, start="2021-06-01", end="2021-06-30")
WEEK_S, MONTH_S = 7 * 86400, 37 * 86400


def make_tiles(count: int, random: np.random.Generator) -> Tiles:
    """Even over the area of the band."""
    lon = random.uniform(WEST, EAST, count)
    lat = np.degrees(np.arcsin(random.uniform(np.sin(np.radians(SOUTH)), np.sin(np.radians(NORTH)), count)))
    found = project_footprints(lon, lat, 10)
    crs = np.char.add("EPSG:", found.epsg.astype(str))
    ids = np.char.add("T", np.arange(count).astype(str))
    return Tiles(ids=ids, geometry=found.geometry, lat=found.lat, lon=found.lon, crs=crs)


def make_granules() -> tuple[np.ndarray, np.ndarray]:
    """Outlines and CRS of all granules of the band."""
    outlines, codes = [], []
    for zone in range(int((WEST + 180) // 6) + 1, int((EAST + 180) // 6) + 2):
        meridian = zone * 6 - 183
        project = pyproj.Proj(f"+proj=utm +zone={zone} +ellps=WGS84")
        for row in range(-62, 84):
            width = project(meridian + 3, row * 0.9)[0] - 500_000
            x = np.arange(500_000 - np.ceil(width / 1e5) * 1e5, 500_000 + width, 1e5)
            left, low = np.meshgrid(x, [row * 1e5])
            corner = np.column_stack([left.ravel(), low.ravel()])
            ring = corner[:, None] + np.array([[0, 0], [109_800, 0], [109_800, 109_800], [0, 109_800]])
            lon, lat = project(ring[..., 0], ring[..., 1], inverse=True)
            outlines.append(shapely.polygons(np.stack([lon, lat], -1)))
            codes.append(np.full(len(corner), f"EPSG:{32600 + zone if row >= 0 else 32700 + zone}"))
    return np.concatenate(outlines), np.concatenate(codes)


def to_table(kind: str, geometry: np.ndarray, crs: np.ndarray, seconds: np.ndarray) -> pa.Table:
    count = len(geometry)
    start = int(datetime(2021, 6, 10, tzinfo=UTC).timestamp() * 1e6)
    optical = kind == "s2"
    values = {
        "item": [f"{kind}_{number:07d}_of_a_name_as_long_as_those_of_genuine_scenes" for number in range(count)],
        "datetime": pa.array(start + (seconds * 1e6).astype(np.int64), pa.timestamp("us", "UTC")),
        "geometry": shapely.to_wkb(geometry),
        "crs": crs,
        "cloud_cover": np.random.default_rng(3).uniform(0, 100, count).astype(np.float32) if optical else None,
        "polarizations": None if optical else ["VV,VH"] * count,
        "href": [f"https://account.blob.core.windows.net/container/scene/{number:07d}/" for number in range(count)],
        "stem": ["B"] * count,
        "files": ['{"B02":"*02.tif"}'] * count,
    }
    columns = {name: values.get(name) for name in SCENES.names}
    return pa.table({n: pa.nulls(count) if v is None else v for n, v in columns.items()}).cast(SCENES)


def make_optical(count: int, random: np.random.Generator) -> pa.Table:
    granules, codes = make_granules()
    chosen = random.integers(0, len(granules), count)
    geometry = granules[chosen]
    for row in np.flatnonzero(random.random(count) < 0.5):  # the edge of a swath, slanted
        west, south, east, north = geometry[row].bounds
        middle = random.uniform(west, east)
        slant = 0.2 * (east - west)
        half = [(west - 1, south - 1), (middle + slant, south - 1), (middle - slant, north + 1), (west - 1, north + 1)]
        geometry[row] = shapely.intersection(geometry[row], shapely.Polygon(half))
    return to_table("s2", geometry, codes[chosen], random.uniform(0, WEEK_S, count))


def make_radar(count: int, random: np.random.Generator) -> pa.Table:
    lat = np.degrees(np.arcsin(random.uniform(np.sin(np.radians(SOUTH)), np.sin(np.radians(NORTH)), count)))
    lon = random.uniform(WEST, EAST, count)
    half = np.stack([1.12 / np.cos(np.radians(lat)), np.full(count, 0.75)], -1)
    ring = np.array([[-0.9, -1], [1, -0.8], [0.9, 1], [-1, 0.8]])
    geometry = shapely.polygons(np.column_stack([lon, lat])[:, None] + ring * half[:, None])
    return to_table("s1", geometry, np.full(count, "EPSG:32632"), random.uniform(0, MONTH_S, count) - 15 * 86400)


def pair_with_geopandas(tiles: Tiles, radar: pa.Table, optical: pa.Table) -> tuple[pd.DataFrame, int]:
    """The same rule in tables; the best of every tile, and the number of Sentinel-2 pairs joined."""
    footprints = gpd.GeoDataFrame({"tile": np.arange(len(tiles))}, geometry=tiles.geometry, crs="EPSG:4326")

    def join(table: pa.Table) -> pd.DataFrame:
        frame = table.select(["item", "datetime", "cloud_cover"]).to_pandas()
        outline = shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False))
        scenes = gpd.GeoDataFrame(frame, geometry=outline, crs="EPSG:4326")
        pairs = gpd.sjoin(footprints, scenes, predicate="intersects")
        inside = shapely.intersection(pairs.geometry.to_numpy(), outline[pairs["index_right"].to_numpy()])
        return pairs.assign(coverage=shapely.area(inside) / shapely.area(pairs.geometry.to_numpy()))

    joined = join(optical)
    enough = joined[joined.coverage >= 0.99].sort_values("datetime")
    seen = join(radar).query("coverage >= 0.99").sort_values("datetime")[["tile", "datetime", "item"]]
    seen = seen.assign(seen=seen["datetime"])
    both = pd.merge_asof(enough, seen, on="datetime", by="tile", direction="nearest", suffixes=("", "_s1")).dropna()
    days = (both["seen"] - both["datetime"]).abs() / pd.Timedelta(days=1)
    both = both.assign(score=(both.coverage * (1 - both.cloud_cover / 100) * np.exp(-days / 10)).round(6))[days <= 15]
    best = both.sort_values(["score", "item"], ascending=[False, True]).drop_duplicates("tile")
    return best.set_index("tile").sort_index(), len(joined)


def run(tiles: Tiles, radar: pa.Table, optical: pa.Table) -> tuple[pa.Table, float]:
    start = time.process_time()
    matcher = Matcher(tiles, CONFIG)
    matcher.add_radar(radar)
    matcher.close_radar()
    matcher.add_optical(optical)
    return matcher.result(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tiles", 500_000), ("optical", 100_000), ("radar", 40_000), ("peer", 20_000)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    tiles = make_tiles(args.tiles, random)
    optical, radar = make_optical(args.optical, random), make_radar(args.radar, random)
    before_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    table, seconds = run(tiles, radar, optical)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    found = len(tiles) - table["s2_item"].null_count
    print(
        f"{args.tiles:,} tiles, {args.optical:,} + {args.radar:,} scenes: {seconds:.1f} s, "
        f"{args.tiles / seconds:,.0f} tiles/s, {found:,} tiles paired"
    )
    print(f"peak memory {peak_gb:.2f} GiB, of which {before_gb:.2f} GiB were there before")

    some = optical.slice(0, args.peer)
    radar = radar.slice(0, args.peer // 2)
    ours, our_s = run(tiles, radar, some)
    start = time.process_time()
    best, num_pairs = pair_with_geopandas(tiles, radar, some)
    peer_s = time.process_time() - start
    rows = np.flatnonzero(~ours["s2_item"].is_null().to_numpy())
    same = (ours["s2_item"].to_numpy()[best.index] == best["item"]).mean() if len(best) else 1.0
    print(
        f"{args.peer:,} + {args.peer // 2:,} scenes, {num_pairs:,} pairs of tile and Sentinel-2 scene: "
        f"ours {our_s:.1f} s ({num_pairs / our_s:,.0f} pairs/s), geopandas {peer_s:.1f} s, "
        f"ratio {peer_s / our_s:.2f}; {len(rows):,} and {len(best):,} tiles paired, {same:.2%} alike"
    )
    start = time.process_time()
    Cover(tiles.geometry)
    print(f"of ours, {time.process_time() - start:.1f} s are the tree of the tiles, built once a pairing")


if __name__ == "__main__":
    main()
