"""Land-cover counting: ours beside GDAL merely decoding the same file, exactextract and rasterstats.

    uv run --group bench benchmarks/bench_counting.py WORLDCOVER.tif [--coarse MCD12C1.tif --legend igbp]

Two files of WorldCover's layout (1024 px blocks, DEFLATE): the given one, and a synthetic one, made in a temporary
folder, that is dense all over. GDAL decodes every block once, in its best way found (small block cache, windows of
four blocks, as ours reads) and with its defaults (whole rows of blocks). Of two threads, each takes the whole file.
The peers run on some tiles, scaled by pixel. Repetitions are interleaved; medians of wall time, and of the CPU time of
the process, which other load on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from exactextract import exact_extract
from rasterio.transform import from_origin
from rasterio.windows import Window
from rasterstats import zonal_stats
from scipy.ndimage import zoom

from csmoe_sampler.descriptors import ClassShares
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.legend import load_legend
from csmoe_sampler.rasters import open_source

GRID = TileGrid()
BLOCK = 1024
CODES = np.array([60, 20, 30, 10, 90, 80, 40, 50, 100, 95], np.uint8)
SHARES = np.array([0.06, 0.09, 0.21, 0.37, 0.01, 0.03, 0.16, 0.05, 0.01, 0.01])


def write_dense(path: Path, side: int, copies: int = 3) -> None:
    """Noises of 3 to 768 px, cut into classes with the shares that they have on land, in `copies` x `copies` squares.

    It has 0.12 bytes a pixel, where the densest real maps have 0.08; runs of 9 pixels, 7 or 8 classes in a tile's row.
    """
    random = np.random.default_rng(1)
    field = np.zeros((side, side), np.float32)
    for size, amplitude in ((3, 0.25), (12, 0.5), (48, 0.8), (192, 1.0), (768, 1.0)):
        cells = side // size + 2
        noise = random.standard_normal((cells, cells)).astype(np.float32)
        field += amplitude * zoom(noise, size, order=1, grid_mode=True, mode="nearest")[:side, :side]
    pixels = CODES[np.searchsorted(np.quantile(field[::37, ::37], np.cumsum(SHARES)[:-1]), field)]
    profile = {
        "driver": "GTiff",
        "height": side * copies,
        "width": side * copies,
        "count": 1,
        "dtype": "uint8",
        "nodata": 0,
        "crs": "EPSG:4326",
        "transform": from_origin(6, 3, 1 / 12000, 1 / 12000),
        "compress": "deflate",
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
    }
    with rasterio.open(path, "w", **profile) as dataset:
        for k in range(copies**2):
            dataset.write(pixels, 1, window=Window(k % copies * side, k // copies * side, side, side))


def decode(path: Path, num_threads: int, columns: int, cache_bytes: int) -> None:
    """GDAL alone: every block once, into a buffer, `columns` at a time."""

    def read(_: int) -> None:
        with rasterio.open(path) as dataset:
            height, width = dataset.shape
            buffer = np.empty(BLOCK * min(columns, width), np.uint8)
            for top in range(0, height, BLOCK):
                rows = min(BLOCK, height - top)
                for left in range(0, width, columns):
                    cols = min(columns, width - left)
                    out = buffer[: rows * cols].reshape(rows, cols)
                    dataset.read(1, window=Window(left, top, cols, rows), out=out)

    with rasterio.Env(GDAL_CACHEMAX=cache_bytes):  # of the process, not of a thread
        in_threads(read, num_threads)


def in_threads(task: Callable[[int], object], num_threads: int) -> None:
    if num_threads == 1:
        task(0)
        return
    with ThreadPoolExecutor(num_threads) as pool:
        list(pool.map(task, range(num_threads)))


def boxes_of(tiles: np.ndarray) -> gpd.GeoDataFrame:
    west, south, east, north = GRID.bounds(tiles)
    return gpd.GeoDataFrame({"tile": tiles}, geometry=shapely.box(west, south, east, north), crs="EPSG:4326")


def medians(runs: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Median wall and CPU seconds; repetitions interleaved."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: (statistics.median(w for w, _ in times), statistics.median(c for _, c in times))
        for name, times in taken.items()
    }


def compare(path: Path, repeats: int) -> None:
    shares = ClassShares(name="c", raster=open_source(path), legend=load_legend("worldcover"))
    lattice = shares.raster.lattice
    pixels = lattice.num_rows * lattice.num_cols
    rows = (np.floor(np.array([lattice.south, lattice.north]) / GRID.step_deg)).astype(int)
    tiles = GRID.in_box(rows[0], rows[1] + 1, lattice.west - 0.1, lattice.east + 0.1)
    shares.describe(GRID, tiles[:2])
    stored = path.stat().st_size / pixels
    print(f"\n{path.name}: {pixels / 1e6:,.0f} Mpx, {len(tiles)} tiles, {stored:.3f} bytes a pixel")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for num_threads in (1, 2):
        runs = {
            "ours: decode and count": lambda n=num_threads: in_threads(lambda _: shares.describe(GRID, tiles), n),
            "GDAL decodes, as ours reads": lambda n=num_threads: decode(path, n, 4 * BLOCK, 16 * 2**20),
            "GDAL decodes, its defaults": lambda n=num_threads: decode(path, n, 10**9, memory // 20),
        }
        show(medians(runs, repeats), dict.fromkeys(runs, pixels * num_threads), f"{num_threads} threads")
    compare_peers(path, shares, tiles, repeats)


def compare_peers(path: Path, shares: ClassShares, tiles: np.ndarray, repeats: int) -> None:
    """On the tiles with most classes, in the middle of their file."""
    columns = shares.describe(GRID, tiles)
    busiest = np.argsort(-columns["c_classes"] - columns["c_valid"], kind="stable")
    some = {"ours": np.sort(tiles[busiest[:16]]), "exactextract": np.sort(tiles[busiest[:16]])}
    some["rasterstats"] = np.sort(tiles[busiest[:3]])
    frames = {name: boxes_of(chosen) for name, chosen in some.items()}
    px = {name: round(sum(1200**2 * b.area / 0.01 for b in frame.geometry)) for name, frame in frames.items()}
    runs = {
        "ours": lambda: shares.describe(GRID, some["ours"]),
        "exactextract": lambda: exact_extract(str(path), frames["exactextract"], ["frac", "unique"]),
        "rasterstats": lambda: zonal_stats(frames["rasterstats"], str(path), categorical=True, nodata=0),
    }
    show(medians(runs, min(repeats, 3)), px, "some tiles, 1 thread")
    found = exact_extract(str(path), frames["exactextract"], ["frac", "unique"], output="pandas")
    ours = shares.describe(GRID, some["ours"])
    worst = 0.0
    for k, (codes, fractions) in enumerate(zip(found["unique"], found["frac"], strict=True)):
        for code, fraction in zip(codes, fractions, strict=True):
            worst = max(worst, abs(float(ours[f"c_{shares.legend.label_of[int(code)]}"][k]) - fraction))
    print(f"    largest difference of a share from exactextract: {worst:.5f}")


def show(times: dict[str, tuple[float, float]], pixels: dict[str, int], title: str) -> None:
    first = next(iter(times))
    print(f"  {title:32} {'wall s':>8} {'CPU s':>8} {'Mpx/s':>8} {'Mpx/CPU s':>10} {'ours is':>9} {'by CPU':>8}")
    for name, (wall, cpu) in times.items():
        speed, by_cpu = pixels[name] / wall, pixels[name] / cpu
        ratios = pixels[first] / times[first][0] / speed, pixels[first] / times[first][1] / by_cpu
        print(
            f"    {name:30} {wall:8.3f} {cpu:8.3f} {speed / 1e6:8,.0f} {by_cpu / 1e6:10,.0f}"
            f" {ratios[0]:8.2f}x {ratios[1]:7.2f}x"
        )


def cover_globe(path: Path, legend: str) -> None:
    """All tiles of the globe, block by block as an atlas is made, from 10^5 to 10^7 of them."""
    shares = ClassShares(name="c", raster=open_source(path), legend=load_legend(legend))
    shares.describe(GRID, np.arange(2))
    print(f"\n{path.name}: all tiles of the globe, 1 thread\n  spacing        tiles   wall s    CPU s  tiles/s")
    for spacing_km in (71.4, 40.0, 22.6, 10.0, 7.14):
        grid = TileGrid(spacing_km)
        wall, cpu = time.perf_counter(), time.process_time()
        for block in np.array_split(np.arange(grid.size), 50):
            shares.describe(grid, block)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rule = "centres" if shares.raster.lattice.by_centres(grid) else "areas"
        print(f"  {spacing_km:5.1f} km {grid.size:12,} {wall:8.2f} {cpu:8.2f} {grid.size / wall:8,.0f}  by {rule}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="an ESA WorldCover map")
    parser.add_argument("--side", type=int, default=8192, help="rows and columns of the synthetic file, times 3")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--coarse", type=Path, help="a global map, for the growth with the number of tiles")
    parser.add_argument("--legend", default="igbp", help="its legend")
    arguments = parser.parse_args()
    compare(arguments.file, arguments.repeats)
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / "dense.tif"
        write_dense(dense, arguments.side)
        compare(dense, arguments.repeats)
    if arguments.coarse:
        cover_globe(arguments.coarse, arguments.legend)


if __name__ == "__main__":
    main()
