"""The chip store: a Zarr v3 group made up front, filled shard by shard, finished by its coordinates and provenance."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
import zarr
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore

from csmoe_sampler.chips.layout import Columns, Layout, encode_arrays, encode_coordinates
from csmoe_sampler.chips.shards import ShardFile, ShardWriter, compress
from csmoe_sampler.errors import ChipError
from csmoe_sampler.storage import atomic_path, write_bytes

FORMAT = "csmoe chips"
VERSION = 1
Chip = Mapping[str, npt.NDArray[Any]]


def create_store(path: Path, layout: Layout) -> None:
    """Writes everything but pixels and coordinates; a store that is there already stays as it is."""
    if (path / "zarr.json").exists():
        return
    for key, content in encode_arrays(layout).items():
        write_bytes(path / key, content)
    write_bytes(path / "zarr.json", _group_json({}))


def finish_store(path: Path, layout: Layout, columns: Columns, provenance: dict[str, Any]) -> None:
    """Writes the coordinates of the rows, and at last the group's attributes with `csmoe`: the store is whole then."""
    for key, content in encode_coordinates(layout, columns).items():
        write_bytes(path / key, content)
    write_bytes(path / "zarr.json", _group_json({"Conventions": "CF-1.11", "csmoe": provenance}, path))


@contextmanager
def open_shard(path: Path, layout: Layout, shard: int) -> Iterator[dict[str, ShardWriter]]:
    """Writers of a shard, by array; the files are there once the block has ended without an error."""
    with ExitStack() as open_files:
        writers = {}
        for array in layout.arrays:
            temporary = open_files.enter_context(atomic_path(path / layout.shard_key(array, shard)))
            file = open_files.enter_context(temporary.open("wb"))
            writers[array] = ShardWriter(file, layout.shard_chips * len(layout.seasons))
        yield writers
        for writer in writers.values():
            writer.finish()


def compress_chip(layout: Layout, chip: Chip) -> dict[str, bytes]:
    """The bytes of a chip of one season, by array."""
    return {name: compress(chip[name].astype(layout.dtype(name), copy=False)) for name in layout.arrays}


def read_provenance(path: Path) -> dict[str, Any]:
    """The attribute `csmoe` of a finished store.

    Raises:
        ChipError: There is no store, it is unfinished, or of another format.
    """
    try:
        attributes = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    except FileNotFoundError as error:
        raise ChipError(f"chip store {path}: no such store: check the path") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ChipError(f"chip store {path}: is no Zarr group of format 3: check the path") from error
    provenance = attributes.get("csmoe")
    if provenance is None:
        raise ChipError(f"chip store {path}: is unfinished: run the same fetch again, it continues")
    if provenance.get("format") != FORMAT or provenance.get("version") != VERSION:
        found = f"'{provenance.get('format')}' version {provenance.get('version')}"
        raise ChipError(f"chip store {path}: is {found}, not '{FORMAT}' version {VERSION}: fetch it anew")
    return dict(provenance)


def open_chips(path: Path, *, looked_at: int = 16) -> xr.Dataset:
    """A finished store as a lazy dataset: reflectance and dB with NaN where missing, all coordinates decoded.

    The attribute `findings` lists what looks wrong in some chips that were looked at: a sentence a band and problem,
    with the figure and the remedy.

    Args:
        path: The store.
        looked_at: Number of those chips; 0: none.

    Raises:
        ChipError: There is no store, it is unfinished, or of another format.
    """
    from csmoe_sampler.chips.guards import check_store

    read_provenance(path)
    chips: xr.Dataset = xr.open_zarr(path)
    chips["s2"] = chips["s2"].astype(np.float32, keep_attrs=True)  # xarray decodes with the precision of the attribute
    chips.attrs["findings"] = [finding.message for finding in check_store(path, looked_at)] if looked_at else []
    return chips


class ChipStore:
    """Chips of a finished store by row, as they are stored; for many threads at a time.

    About twice as fast as through Zarr, which sets up some dozens of objects and a task for every chip. A context;
    shards stay open until it ends.

    Raises:
        ChipError: There is no store, it is unfinished, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.provenance = read_provenance(path)
        self.layout = _layout_of(path)
        self._shards: dict[tuple[str, int], ShardFile] = {}

    def __enter__(self) -> ChipStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.layout.num_rows

    def read(self, row: int, out: dict[str, npt.NDArray[Any]] | None = None) -> dict[str, npt.NDArray[Any]]:
        """Arrays of a row by name: ([seasons,] [bands,] H, W) in the types of the store, missing pixels as there.

        Args:
            row: From 0 on.
            out: Arrays to fill in place of new ones; only those named there are read.

        Raises:
            ChipError: A shard is damaged.
            IndexError: There is no such row.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of a chip store of {len(self)}")
        if out is None:
            out = {
                name: np.empty((*self.layout.seasons_axis, *self.layout.chip_shape(name)), self.layout.dtype(name))
                for name in self.layout.arrays
            }
        shard, place = divmod(row, self.layout.shard_chips)
        num_seasons = len(self.layout.seasons)
        for name, array in out.items():
            file = self._shard(name, shard)
            chips = array.reshape(num_seasons, *self.layout.chip_shape(name))
            for season, chip in enumerate(chips):
                if file is None or not file.read(place * num_seasons + season, chip):
                    chip[...] = self.layout.fill(name)
        return out

    def compressed(self, row: int) -> dict[int, dict[str, bytes]]:
        """The bytes of a row's chips as they stand in the shards, by season and array; raises ChipError."""
        shard, place = divmod(row, self.layout.shard_chips)
        num_seasons = len(self.layout.seasons)
        found: dict[int, dict[str, bytes]] = {}
        for season in range(num_seasons):
            for name in self.layout.arrays:
                file = self._shard(name, shard)
                chip = file.compressed(place * num_seasons + season) if file else None
                if chip is not None:
                    found.setdefault(season, {})[name] = bytes(chip)
        return found

    def close(self) -> None:
        """Frees the files."""
        while self._shards:
            self._shards.popitem()[1].close()

    def _shard(self, array: str, shard: int) -> ShardFile | None:
        file = self._shards.get((array, shard))
        if file is None:
            path = self.path / self.layout.shard_key(array, shard)
            if not path.exists():
                return None
            file = ShardFile(path, self.layout.shard_chips * len(self.layout.seasons))
            # Of two threads that open the same shard, one file is kept, and the other's map ends with its last use.
            file = self._shards.setdefault((array, shard), file)
        return file


def _layout_of(path: Path) -> Layout:
    group = zarr.open_group(path, mode="r")
    s2: Any = group["s2"]
    axes: dict[str, Any] = {name: group[name] for name in ("s2_band", "s1_band", "season") if name in group}
    names = {name: tuple(map(str, axis[:])) for name, axis in axes.items()}
    return Layout(
        num_rows=s2.shape[0],
        size_px=s2.shape[-1],
        shard_chips=s2.shards[0],
        s2_bands=names["s2_band"],
        s1_bands=names.get("s1_band", ()),
        seasons=names.get("season", ("year",)),
        mask="scl" in group,
        alignment="shift_quality" in group,
    )


def _group_json(attributes: dict[str, Any], consolidate: Path | None = None) -> bytes:
    """The group's metadata, with that of all arrays below `consolidate`: readers then open one file."""
    files: dict[str, Any] = {}
    store = MemoryStore(files)
    zarr.create_group(store, zarr_format=3, attributes=attributes)
    if consolidate is not None:
        for found in sorted(consolidate.glob("*/zarr.json")):
            files[f"{found.parent.name}/zarr.json"] = zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(
                found.read_bytes()
            )
        with warnings.catch_warnings():
            # It is not part of the specification yet; who does not know it reads the arrays' own metadata.
            warnings.simplefilter("ignore", ZarrUserWarning)
            zarr.consolidate_metadata(store, zarr_format=3)
    return bytes(files["zarr.json"].to_bytes())
