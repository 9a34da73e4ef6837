"""Reading chips: our store through Zarr and through ChipStore, beside memory-mapped arrays, tar shards, GeoTIFFs.

    python benchmarks/bench_chips.py [--chips 2000] [--size 128] [--seed 0] [--folder DIR] [--layouts]
    python benchmarks/bench_chips.py --requests
    python benchmarks/bench_chips.py --memory 1000 20000

The first prints chips/s and MB/s (of decoded pixels) of random and of sequential reading with one and two threads, and
the ratio to the memory-mapped file of chips compressed alike. The files are in the page cache for all of them.
`--requests` counts requests and bytes of a tile against what the blocks of its files allow, `--memory` the largest
resident size of a fetch for numbers of tiles.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import rasterio
import zarr
from numcodecs import zstd

from csmoe_sampler.chips import shards
from csmoe_sampler.chips.fetch import fetch_chips
from csmoe_sampler.chips.journal import Measured, Outcome
from csmoe_sampler.chips.layout import Layout
from csmoe_sampler.chips.store import ChipStore, compress_chip, create_store, finish_store, open_shard
from csmoe_sampler.chips.tally import Tally
from csmoe_sampler.config import S2_BANDS, ChipConfig, SceneConfig
from csmoe_sampler.engine import open_client
from csmoe_sampler.manifest import Manifest


def texture(chip, size, generator):
    """Smooth fields with speckle and steps, in the ranges of Sentinel-2 and Sentinel-1."""
    coarse = generator.normal(size=(size // 16 + 2, size // 16 + 2))
    smooth = np.kron(coarse, np.ones((16, 16)))[:size, :size]
    for _ in range(3):
        smooth = (smooth + np.roll(smooth, 3, 0) + np.roll(smooth, 3, 1)) / 3
    level = np.linspace(300, 2500, len(S2_BANDS))[:, None, None]
    s2 = level * (1 + 0.35 * smooth) + generator.normal(scale=0.03, size=(len(S2_BANDS), size, size)) * level
    power = np.array([0.05, 0.01])[:, None, None] * np.exp(0.3 * smooth)
    s1 = 10 * np.log10(power * generator.gamma(4.4, 1 / 4.4, size=(2, size, size)))
    return {"s2": np.clip(np.rint(s2), -32767, 32767).astype(np.int16), "s1": s1.astype(np.float16).astype(np.float32)}


def write_store(path, chips, shard_chips):
    size = chips[0]["s2"].shape[-1]
    layout = Layout(
        num_rows=len(chips), size_px=size, shard_chips=shard_chips, s2_bands=S2_BANDS, s1_bands=("VV", "VH")
    )
    create_store(path, layout)
    for shard in range(layout.num_shards):
        with open_shard(path, layout, shard) as writers:
            for place, row in enumerate(layout.rows_of(shard)):
                for name, content in compress_chip(layout, chips[row]).items():
                    writers[name].append(place, content)
    number = len(chips)
    tally = Tally(layout)
    tally.add([Outcome(status=0, seasons=(Measured(),))] * number)
    columns = {**tally.columns(), "lon": np.zeros(number), "lat": np.zeros(number)}
    columns |= dict.fromkeys(("tile_id", "s2_item", "s1_item"), np.full(number, "", object))
    columns |= {"s2_time": np.zeros(number, np.int64), "s1_time": np.zeros(number, np.int64)}
    finish_store(path, layout, columns, {"format": "csmoe chips", "version": 1})


class Arrays:
    """Memory-mapped raw arrays."""

    def __init__(self, folder, chips):
        for name in ("s2", "s1"):
            np.save(folder / f"{name}.npy", np.stack([chip[name] for chip in chips]))
        self._arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("s2", "s1")]

    def read(self, row):
        """The arrays of a row."""
        return [np.array(array[row]) for array in self._arrays]


class Compressed:
    """A memory-mapped file of chips compressed as in the store: the target."""

    def __init__(self, folder, chips):
        self._places, end = [], 0
        with (folder / "compressed.bin").open("wb") as file:
            for chip in chips:
                place = []
                for name in ("s2", "s1"):
                    content = shards.compress(chip[name])
                    file.write(content)
                    place.append((end, len(content)))
                    end += len(content)
                self._places.append(place)
        self._like = [(chips[0][name].shape, chips[0][name].dtype) for name in ("s2", "s1")]
        self._bytes = memoryview(np.memmap(folder / "compressed.bin", np.uint8, "r"))
        self.size = end

    def read(self, row):
        """The arrays of a row."""
        found = []
        for (start, length), (shape, dtype) in zip(self._places[row], self._like, strict=True):
            out = np.empty(shape, dtype)
            zstd.decompress(self._bytes[start : start + length], out)
            found.append(out)
        return found


class Zarr:
    """Our store through zarr-python, a chip at a time."""

    def __init__(self, path):
        group = zarr.open_group(path, mode="r")
        self._arrays = [group[name] for name in ("s2", "s1")]

    def read(self, row):
        """The arrays of a row."""
        return [array[row] for array in self._arrays]


class Store:
    """Our store through ChipStore."""

    def __init__(self, path):
        self._store = ChipStore(path)

    def read(self, row):
        """The arrays of a row."""
        return self._store.read(row)


class GeoTiffs:
    """A GeoTIFF a chip and sensor, through rasterio."""

    def __init__(self, folder, chips):
        self._folder = folder / "tifs"
        self._folder.mkdir()
        for row, chip in enumerate(chips):
            for name, array in (("s2", chip["s2"]), ("s1", chip["s1"].astype(np.float32))):
                profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
                profile |= {"dtype": array.dtype, "crs": "EPSG:32633", "compress": "zstd"}
                profile["zstd_level"] = shards.ZSTD_LEVEL
                profile["transform"] = rasterio.Affine(10.0, 0.0, 5e5, 0.0, -10.0, 5e6)
                with rasterio.open(self._folder / f"{row}_{name}.tif", "w", **profile) as dataset:
                    dataset.write(array)

    def read(self, row):
        """The arrays of a row."""
        found = []
        for name in ("s2", "s1"):
            with rasterio.open(self._folder / f"{row}_{name}.tif") as dataset:
                found.append(dataset.read())
        return found


class Tars:
    """Tar shards as WebDataset has them, with chips compressed as in the store; only in sequence."""

    def __init__(self, folder, chips, shard_chips=64):
        self._folder, self._like = folder / "tars", [(chips[0][n].shape, chips[0][n].dtype) for n in ("s2", "s1")]
        self._folder.mkdir()
        for shard in range(0, len(chips), shard_chips):
            with tarfile.open(self._folder / f"{shard:06}.tar", "w") as tar:
                for row in range(shard, min(len(chips), shard + shard_chips)):
                    for name in ("s2", "s1"):
                        content = shards.compress(chips[row][name])
                        entry = tarfile.TarInfo(f"{row:06}.{name}.zst")
                        entry.size = len(content)
                        tar.addfile(entry, io.BytesIO(content))

    def shards(self):
        """Paths."""
        return sorted(self._folder.iterdir())

    def read_shard(self, path):
        """Decodes all chips of a shard."""
        with tarfile.open(path, "r|") as tar:
            for number, entry in enumerate(tar):
                shape, dtype = self._like[number % 2]
                out = np.empty(shape, dtype)
                zstd.decompress(tar.extractfile(entry).read(), out)


def clock(read, work, threads):
    """Seconds for all of `work`, the better of two runs."""
    best = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(lambda part: [read(item) for item in part] and None, np.array_split(work, 4 * threads)):
                pass
        best = min(best, time.perf_counter() - start)
    return best


def compare(folder, chips, seed):
    order = np.random.default_rng(seed).permutation(len(chips))
    megabytes = sum(array.nbytes for array in chips[0].values()) * len(chips) / 1e6
    write_store(folder / "chips.zarr", chips, 64)
    target = Compressed(folder, chips)
    readers = {
        "memory-mapped, compressed alike": target,
        "memory-mapped, raw": Arrays(folder, chips),
        "store through ChipStore": Store(folder / "chips.zarr"),
        "store through zarr-python": Zarr(folder / "chips.zarr"),
        "GeoTIFFs through rasterio": GeoTiffs(folder, chips),
    }
    tars = Tars(folder, chips)
    print(f"{len(chips)} chips, {megabytes:.0f} MB decoded, {target.size / 1e6:.0f} MB compressed")
    print(f"{'':34}{'order':12}{'threads':>8}{'chips/s':>10}{'MB/s':>8}{'of target':>11}")
    for threads in (1, 2):
        for name, work in (("random", order), ("sequential", np.arange(len(chips)))):
            first = None
            for label, reader in readers.items():
                report(label, name, threads, clock(reader.read, work, threads), len(chips), megabytes, first)
                first = first or LAST[-1]
            if name == "sequential":
                taken = clock(tars.read_shard, np.array(tars.shards()), threads)
                report("tar shards, compressed alike", name, threads, taken, len(chips), megabytes, first)


def count_requests(folder, seed):
    """A tile with twelve bands of 10, 20 and 60 m, its mask and two polarisations, from COGs on loopback."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from sampler.chip_inputs import Chosen, manifest_of, write_provider
    from services.http_files import serve_files

    crs, corner, generator = "EPSG:32633", (500_000.0, 5_300_040.0), np.random.default_rng(seed)
    pixel_m = dict.fromkeys(S2_BANDS, 20) | dict.fromkeys(("B02", "B03", "B04", "B08"), 10) | {"B01": 60, "B09": 60}
    for band, step in (pixel_m | {"SCL": 20, "vv": 10, "vh": 10}).items():
        edge = 30_000 // step
        smooth = np.add.outer(np.arange(edge), 2 * np.arange(edge)) % 977
        noise = generator.integers(0, 200, (edge, edge))
        dtype = "uint8" if band == "SCL" else "float32" if band[0] == "v" else "uint16"
        values = smooth % 12 if band == "SCL" else (500 + smooth + noise) / (1 if band[0] == "B" else 1e4)
        profile = {"driver": "COG", "count": 1, "height": edge, "width": edge, "dtype": dtype, "crs": crs}
        profile |= {"transform": rasterio.Affine(step, 0, corner[0], 0, -step, corner[1]), "compress": "deflate"}
        with rasterio.open(folder / f"{band}.tif", "w", **profile) as dataset:
            dataset.write(values.astype(dtype), 1)
    scenes = SceneConfig(provider=str(write_provider(folder / "p.toml", s1_unit="linear", mask="SCL")))
    with serve_files(folder) as server:
        address = {name: f"{server.url}/{name}.tif" for name in (*S2_BANDS, "SCL", "vv", "vh")}
        files = {"s2": {band: address[band] for band in (*S2_BANDS, "SCL")}}
        files["s1"] = {"VV": address["vv"], "VH": address["vh"]}
        centre = (corner[0] + 14_321.0, corner[1] - 13_579.0)
        scenes = scenes.model_copy(update={"url": server.url})
        with open_client(workers=1) as client:
            manifest = manifest_of([Chosen("0U_0R", crs, centre, files, 0.0)])
            fetch_chips(manifest, folder / "c.zarr", ChipConfig(), scenes, client=client)
        requests = list(server.requests)
    ranges = [tuple(map(int, one.range.removeprefix("bytes=").split("-"))) for one in requests if one.range]
    least, blocks = 0, 0
    with ChipStore(folder / "c.zarr") as store:
        bounds = store_bounds(folder / "c.zarr")
        assert len(store) == 1
    for name in address:
        with rasterio.open(folder / f"{name}.tif") as dataset:
            window = rasterio.windows.from_bounds(*bounds, dataset.transform).round_lengths().round_offsets()
            rows, cols = dataset.block_shapes[0]
            for row in range(int(window.row_off) // rows, -(-int(window.row_off + window.height) // rows)):
                for col in range(int(window.col_off) // cols, -(-int(window.col_off + window.width) // cols)):
                    least += int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
                    blocks += 1
    number, headers = len(address), sum(end + 1 for start, end in ranges if start == 0)
    brought = sum(end - start + 1 for start, end in ranges)
    heads = sum(one.method == "HEAD" for one in requests)
    print(f"{number} files; {blocks} blocks under the chip, {least / 1e6:.2f} MB; headers {headers / 1e6:.2f} MB")
    print(f"requests: {heads} for sizes (HEAD), {number} for headers, {len(requests) - heads - number} for pixels")
    print(f"bytes: {brought / 1e6:.2f} MB, {(brought - headers) / least:.3f} of the blocks' own")


def store_bounds(path):
    return zarr.open_array(path / "bounds", mode="r")[0]


MEMORY = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bench_chips import fetch_many
fetch_many(Path(sys.argv[2]), int(sys.argv[3]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def measure_memory(folder, numbers):
    """Largest resident size of a fetch of chips of 32 pixels, in a process of its own that reads its manifest."""
    for number in numbers:
        write_many(folder, number)
        command = [sys.executable, "-c", MEMORY, str(Path(__file__).parent), str(folder), str(number)]
        start = time.perf_counter()
        answer = subprocess.run(command, capture_output=True, text=True, check=True)
        taken = time.perf_counter() - start
        print(f"{number:>8} tiles: {float(answer.stdout.split()[-1]):7.0f} MiB, {taken:.0f} s", flush=True)


def write_many(folder, number):
    """A file of three bands, and a manifest of many tiles that read windows of it."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from sampler.chip_inputs import Chosen, manifest_of, write_band, write_provider

    crs, corner, generator = "EPSG:32633", (500_000.0, 5_300_040.0), np.random.default_rng(0)
    field = generator.integers(300, 3000, (3, 1000, 1000)).astype(np.uint16)
    write_band(folder / "s2.tif", field, crs, corner, 10, tiled=True, blockxsize=128, blockysize=128)
    files = {"s2": {band: f"s2.tif#{k}" for k, band in enumerate(("B02", "B03", "B04"), 1)}}
    places = generator.uniform(1000, 9000, (number, 2))
    tiles = [Chosen(f"{k}U_0R", crs, (corner[0] + x, corner[1] - y), files, 0.0) for k, (x, y) in enumerate(places)]
    write_provider(folder / "p.toml")
    manifest = manifest_of(tiles)
    pq.write_table(manifest.table, folder / f"{number}.parquet")
    (folder / f"{number}.json").write_text(json.dumps(manifest.metadata))


def fetch_many(folder, number):
    manifest = Manifest(
        table=pq.read_table(folder / f"{number}.parquet"), metadata=json.loads((folder / f"{number}.json").read_text())
    )
    scenes = SceneConfig(provider=str(folder / "p.toml"), url=str(folder), sentinel1="none")
    config = ChipConfig(size_px=32, s2_bands=("B02", "B03", "B04"))
    with open_client(workers=2) as client:
        fetch_chips(manifest, folder / f"{number}.zarr", config, scenes, client=client)


LAST = []


def report(label, order, threads, taken, number, megabytes, target):
    LAST.append(taken)
    ratio = (target or taken) / taken
    print(f"{label:34}{order:12}{threads:8}{number / taken:10.0f}{megabytes / taken:8.0f}{ratio:11.2f}", flush=True)


def layouts(folder, chips, seed):
    """Random reading by chips in a shard, and size and speed by level of zstd."""
    order = np.random.default_rng(seed).permutation(len(chips))
    megabytes = sum(array.nbytes for array in chips[0].values()) * len(chips) / 1e6
    print(f"{'chips in a shard':>18}{'files':>8}{'ChipStore MB/s':>16}{'zarr MB/s':>11}")
    for shard_chips in (1, 16, 64, 256):
        path = folder / f"{shard_chips}.zarr"
        write_store(path, chips, shard_chips)
        speeds = [megabytes / clock(reader(path).read, order, 1) for reader in (Store, Zarr)]
        print(f"{shard_chips:18}{2 * -(-len(chips) // shard_chips):8}{speeds[0]:16.0f}{speeds[1]:11.0f}", flush=True)
    print(f"{'level of zstd':>18}{'MB':>8}{'write MB/s':>16}{'read MB/s':>11}")
    before = shards.ZSTD_LEVEL
    for level in (1, 3, 5, 9):
        shards.ZSTD_LEVEL = level
        start = time.perf_counter()
        reader = Compressed(folder, chips[:300])
        write = 300 / len(chips) * megabytes / (time.perf_counter() - start)
        read = 300 / len(chips) * megabytes / clock(reader.read, order[order < 300], 1)
        print(f"{level:18}{reader.size / 300 * len(chips) / 1e6:8.0f}{write:16.0f}{read:11.0f}", flush=True)
    shards.ZSTD_LEVEL = before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=2000)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--layouts", action="store_true", help="shard sizes and levels of zstd")
    parser.add_argument("--requests", action="store_true", help="requests and bytes of a tile")
    parser.add_argument("--memory", type=int, nargs="+", help="numbers of tiles")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        if arguments.requests:
            count_requests(Path(folder), arguments.seed)
        elif arguments.memory:
            measure_memory(Path(folder), arguments.memory)
        else:
            generator = np.random.default_rng(arguments.seed)
            chips = [texture(row, arguments.size, generator) for row in range(arguments.chips)]
            (layouts if arguments.layouts else compare)(Path(folder), chips, arguments.seed)


if __name__ == "__main__":
    main()
