"""Loading batches: samples/s and MB/s by worker processes, beside zarr-python and a memory-mapped npy.

    python benchmarks/bench_loader.py [--num 512] [--size 256] [--image 224] [--batch 32] [--seconds 10]
    python benchmarks/bench_loader.py --chips chips.zarr --manifest out.parquet

All readers bring the same chips in the same random order; MB are those of decoded pixels of the chips read. The peers
only read, and give int16 and float32 as stored; the loader crops, resizes, turns, standardises and stacks as well. Once
with crops at the image's own scale, once with a scale by chance, where most images are resized. Everything is in the
page cache. Times are of this process's wall clock, after the first batches.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr

from csmoe_model.config import ModelConfig
from csmoe_model.data.manifest import read_rows
from csmoe_model.data.order import Place, SampleOrder
from csmoe_model.data.samples import ChipSamples, open_loader
from csmoe_model.data.store import ChipStore
from csmoe_model.sensors import SENTINELS

NAMES = ("s2", "s1")
WARM_UP = 4


def write_demo(folder, num, size):
    """A store with the sampler's own writer, twelve bands and two polarisations with texture and speckle."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import bench_chips

    from model.chip_stores import write_manifest

    chance = np.random.default_rng(0)
    bench_chips.write_store(folder / "chips.zarr", [bench_chips.texture(None, size, chance) for _ in range(num)], 64)
    tiles, split = np.full(num, ""), np.full(num, "train")
    group = zarr.open_group(folder / "chips.zarr", mode="r+")
    sensors = {"s2": {}, "s1": {}}
    group.attrs["csmoe"] = {**group.attrs["csmoe"], "sensors": sensors}
    for name in NAMES:
        group[f"{name}_valid"][...] = 1.0
    write_manifest(folder / "sample.parquet", np.ones(num, bool), tile_id=tiles, split=split)
    return folder / "chips.zarr", folder / "sample.parquet"


class Zarr:
    """The store through zarr-python, a chip at a time."""

    def __init__(self, path):
        group = zarr.open_group(path, mode="r")
        self._arrays = [group[name] for name in NAMES]

    def read(self, row):
        """The arrays of a row."""
        return [array[row] for array in self._arrays]


class Npy:
    """Memory-mapped arrays, decoded beforehand: what no decoding can beat."""

    def __init__(self, folder, path, rows):
        reader = Zarr(path)
        found = [reader.read(row) for row in rows]
        self._place = {row: k for k, row in enumerate(rows)}
        for k, name in enumerate(NAMES):
            np.save(folder / f"{name}.npy", np.stack([arrays[k] for arrays in found]))
        self._arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES]

    def read(self, row):
        """The arrays of a row."""
        return [np.array(array[self._place[row]]) for array in self._arrays]


class Store:
    """The store through our reader: every band of every chip as float32."""

    def __init__(self, path):
        self._store = ChipStore(path)

    def read(self, row):
        """The arrays of a row."""
        return [self._store.read(row, name, self._store.bands[name]) for name in NAMES]


def pace_of_reads(reader, rows, seconds):
    """Samples/s of plain reads."""
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        reader.read(int(rows[done % len(rows)]))
        done += 1
    return done / (time.perf_counter() - start)


def pace_of_loader(samples, order, workers, seconds):
    """Samples/s of batches that are only taken."""
    batches = open_loader(samples, order, Place(), rank=0, world=1, workers=workers, pin=False)
    for _ in range(max(WARM_UP, 3 * workers)):
        next(batches)
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(batches)
        done += order.batch
    pace = done / (time.perf_counter() - start)
    batches.close()
    return pace


def compare(folder, chips, manifest, arguments):
    store = ChipStore(chips)
    rows = read_rows(manifest, store).of_split("train", least=arguments.batch)
    sensors = {name: sensor for name, sensor in SENTINELS.items() if name in store.bands}
    store.check(sensors)
    model = ModelConfig(sensors=sensors, image_px=arguments.image, patch_px=arguments.image // 8)
    megabytes = (
        sum(np.prod(zarr.open_group(chips, mode="r")[name].shape[1:]) * size for name, size in (("s2", 2), ("s1", 4)))
        / 1e6
    )
    print(f"{len(rows)} chips of {store.size_px} px, {megabytes:.2f} MB each; images of {arguments.image} px")
    print(f"{'':46}{'samples/s':>10}{'MB/s':>8}{'of zarr':>9}{'of npy':>8}")
    drawn = np.random.default_rng(1).permutation(rows.chip)
    readers = {
        "zarr-python, reads alone": Zarr(chips),
        "memory-mapped npy, reads alone": Npy(folder, chips, rows.chip.tolist()),
        "ChipStore, reads alone (to float32, NaN)": Store(chips),
    }
    paces = {name: pace_of_reads(reader, drawn, arguments.seconds) for name, reader in readers.items()}
    order = SampleOrder(num_rows=len(rows), batch=arguments.batch, seed=0)
    for label, scale in (("crops", (1.0, 1.0)), ("crops and scale", (0.8, 1.2))):
        samples = ChipSamples(store, rows, model, 0, scale)
        for workers in arguments.workers:
            paces[f"batches, {label}, {workers} workers"] = pace_of_loader(samples, order, workers, arguments.seconds)
    plain, mapped = list(paces.values())[:2]
    for name, pace in paces.items():
        print(f"{name:46}{pace:10.0f}{pace * megabytes:8.0f}{pace / plain:9.2f}{pace / mapped:8.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=512)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--image", type=int, default=224)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each line")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--chips", type=Path, help="a store of one season, with its --manifest")
    parser.add_argument("--manifest", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        chips, manifest = arguments.chips, arguments.manifest
        if chips is None:
            chips, manifest = write_demo(Path(folder), arguments.num, arguments.size)
        compare(Path(folder), chips, manifest, arguments)


if __name__ == "__main__":
    main()
