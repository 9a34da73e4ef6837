"""A chip store as the trainer reads it: metadata through Zarr, pixels straight from the shards."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from csmoe_model.data.pixels import Float32, Pixels, describe
from csmoe_model.data.shards import ShardFile
from csmoe_model.errors import DataError
from csmoe_model.sensors import Sensor

Window = tuple[slice, slice]
"""Rows and columns of a chip."""

FORMAT = "csmoe chips"
VERSION = 1
_OPEN_SHARDS = 256
"""An open shard holds a file descriptor, of which a process has few; a store may have thousands of shards."""
_FETCH_AGAIN = "run `csmoe-sample fetch` again"


class ChipStore:
    """Chips by row and sensor; for many threads, and, pickled, for other processes, which open it anew.

    Every array with a coordinate `<name>_band` is a sensor.

    Raises:
        DataError: It is no chip store, or an unfinished one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._group = zarr.open_group(path, mode="r")
            about: Any = self._group.attrs.get("csmoe")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"chip store {path}: is no Zarr group ({type(error).__name__}): check the path") from error
        self.about: Mapping[str, Any] = self._checked(about)
        self._pixels = {name: self._described(name) for name in self._sensors()}
        self.bands = {name: pixels.bands for name, pixels in self._pixels.items()}
        self.seasons: tuple[str, ...] = self._names("season") if "season" in self._group else ("year",)
        self._valid = {name: self._column(f"{name}_valid") for name in self._pixels}
        self._shards: OrderedDict[tuple[str, int], ShardFile] = OrderedDict()
        self._lock = threading.Lock()
        self._local = threading.local()

    def __reduce__(self) -> tuple[type[ChipStore], tuple[Path]]:
        return ChipStore, (self.path,)

    @property
    def num_rows(self) -> int:
        """Rows, with and without chips."""
        return int(next(iter(self._pixels.values())).array.shape[0])

    @property
    def size_px(self) -> int:
        """Edge of the chips."""
        return int(next(iter(self._pixels.values())).array.shape[-1])

    @property
    def gsd_m(self) -> float | None:
        """Edge of a pixel, where the store tells it."""
        return float(self.about["pixel_m"]) if "pixel_m" in self.about else None

    def check(self, sensors: Mapping[str, Sensor]) -> None:
        """Raises DataError where a sensor, band or unit is not in the store; all problems together."""
        problems = []
        for name, sensor in sensors.items():
            if name not in self._pixels:
                problems.append(f"has no sensor '{name}' (it has {', '.join(self._pixels)})")
                continue
            missing = [band for band in sensor.bands if band not in self.bands[name]]
            if missing:
                problems.append(f"sensor '{name}' lacks {', '.join(missing)} (it has {', '.join(self.bands[name])})")
            if sensor.unit != self.unit(name):
                problems.append(f"sensor '{name}' is in '{self.unit(name)}', the model takes '{sensor.unit}'")
            shape = self._pixels[name].array.shape
            if (shape[0], shape[-1]) != (self.num_rows, self.size_px):
                problems.append(f"sensor '{name}' has {shape[0]} chips of {shape[-1]} px, the others other ones")
        if problems:
            raise DataError(
                f"chip store {self.path}: {'; '.join(problems)}: change model.sensors, or fetch what is lacking"
            )

    def unit(self, sensor: str) -> str:
        """Unit of the values that `read` gives: `DN` for reflectance x 10,000, else as stored."""
        return self._pixels[sensor].unit

    def tile_ids(self) -> npt.NDArray[Any] | None:
        """Tile of each row, where the store tells it."""
        return self._column("tile_id")

    def column(self, name: str) -> npt.NDArray[Any] | None:
        """A coordinate in full, such as `bounds` or `s2_item`, where the store has it."""
        return self._column(name)

    def seasons_of(self, row: int) -> list[int]:
        """Seasons in which a row has pixels of any sensor.

        Raises:
            DataError: There are none.
        """
        found = [
            season
            for season in range(len(self.seasons))
            if any(self._expected(row, sensor, season, otherwise=True) for sensor in self.bands)
        ]
        if not found:
            raise DataError(f"chip store {self.path}: row {row} has no pixels: {_FETCH_AGAIN}")
        return found

    def read(
        self,
        row: int,
        sensor: str,
        bands: Sequence[str],
        season: int = 0,
        window: Window = (slice(None), slice(None)),
        out: Float32 | None = None,
    ) -> Float32:
        """Pixels (C, H, W) of a row, channels as in `bands`, in `unit(sensor)`, NaN where invalid.

        Args:
            row: From 0 on.
            sensor: Its name.
            bands: Names of bands, in any order.
            season: Number of the season; of no meaning for an array without seasons.
            window: Part of the chip.
            out: Filled in place of a new array; any strides.

        Raises:
            DataError: The row has no chip, or a damaged one.
        """
        pixels = self._pixels[sensor]
        if not 0 <= row < self.num_rows:
            raise DataError(
                f"chip store {self.path}: has no row {row}, only {self.num_rows}: is it of another manifest?"
            )
        stored = self._stored(pixels, row, season)[:, window[0], window[1]]
        if out is None:
            out = np.empty((len(bands), *stored.shape[1:]), np.float32)
        return pixels.decode(stored, [pixels.bands.index(band) for band in bands], out)

    def _stored(self, pixels: Pixels, row: int, season: int) -> npt.NDArray[Any]:
        """A chip as it is stored, until the thread reads the next; NaN where the store says that there is none."""
        chip = self._read_shard(pixels, row, season) if pixels.shard_chips else self._read_zarr(pixels, row, season)
        if chip is None:
            if self._expected(row, pixels.name, season, otherwise=False):
                raise self._no_chip(pixels, row)
            chip = np.full(pixels.chip_shape, np.nan, np.float32)
        return chip

    def _read_shard(self, pixels: Pixels, row: int, season: int) -> npt.NDArray[Any] | None:
        num_seasons = len(self.seasons) if pixels.seasonal else 1
        shard, place = divmod(row, pixels.shard_chips)
        try:
            file = self._shard(pixels, shard, pixels.shard_chips * num_seasons)
        except FileNotFoundError as error:
            if self._expected(row, pixels.name, season, otherwise=pixels.name in self.about["sensors"]):
                raise self._no_chip(pixels, row) from error
            return None
        except OSError as error:
            raise DataError(
                f"chip store {self.path}: {pixels.shard_key(shard)} cannot be read ({error.strerror}): check the disk"
            ) from error
        chip = self._scratch(pixels)
        return chip if file.read(place * num_seasons + (season if pixels.seasonal else 0), chip) else None

    def _read_zarr(self, pixels: Pixels, row: int, season: int) -> npt.NDArray[Any] | None:
        try:
            chip = np.asarray(pixels.array[(row, season) if pixels.seasonal else row])
        except Exception as error:  # codecs have no common family of errors
            reason = f"{type(error).__name__}: {error}"
            raise DataError(
                f"chip store {self.path}: row {row} of '{pixels.name}' is damaged ({reason}): {_FETCH_AGAIN}"
            ) from error
        valid = np.isfinite(chip) if pixels.fill is None else np.isfinite(chip) & (chip != pixels.fill)
        return chip if valid.any() else None

    def _no_chip(self, pixels: Pixels, row: int) -> DataError:
        return DataError(f"chip store {self.path}: row {row} of '{pixels.name}' has no chip: {_FETCH_AGAIN}")

    def _shard(self, pixels: Pixels, shard: int, num_chips: int) -> ShardFile:
        key = pixels.name, shard
        with self._lock:
            if key in self._shards:
                self._shards.move_to_end(key)
                return self._shards[key]
        file = ShardFile(self.path / pixels.shard_key(shard), num_chips)
        with self._lock:
            self._shards[key] = file
            while len(self._shards) > _OPEN_SHARDS:
                self._shards.popitem(last=False)  # it closes once no other thread reads from it
        return file

    def _scratch(self, pixels: Pixels) -> npt.NDArray[Any]:
        """An array of this thread for a chip as stored: pages that are there already cost nothing."""
        arrays: dict[str, npt.NDArray[Any]] = self._local.__dict__.setdefault("arrays", {})
        if pixels.name not in arrays:
            arrays[pixels.name] = np.empty(pixels.chip_shape, pixels.array.dtype.newbyteorder("<"))
        return arrays[pixels.name]

    def _expected(self, row: int, sensor: str, season: int, *, otherwise: bool) -> bool:
        """Whether a chip holds pixels by the store's own account, or `otherwise` where it gives none.

        Zarr leaves chunks out that hold nothing but missing pixels, and so does a store that it has rewritten.
        """
        valid = self._valid[sensor]
        return otherwise if valid is None else bool((valid[row] if valid.ndim == 1 else valid[row, season]) > 0)

    def _checked(self, about: Any) -> Mapping[str, Any]:
        if not isinstance(about, Mapping) or about.get("format") != FORMAT or "sensors" not in about:
            raise DataError(
                f"chip store {self.path}: is unfinished, or none of csmoe-sampler's: {_FETCH_AGAIN}, it continues"
            )
        if about.get("version") != VERSION:
            raise DataError(
                f"chip store {self.path}: is of version {about.get('version')}, this package reads {VERSION}: "
                "install the versions that go together"
            )
        return about

    def _sensors(self) -> list[str]:
        """Those that the store tells of, and arrays that a user has put beside them."""
        added = [str(name).removesuffix("_band") for name in self._group.array_keys() if str(name).endswith("_band")]
        return list(dict.fromkeys([*self.about["sensors"], *sorted(added)]))

    def _described(self, name: str) -> Pixels:
        array = self._group.get(name)
        if not isinstance(array, zarr.Array) or f"{name}_band" not in self._group:
            raise DataError(f"chip store {self.path}: array '{name}' or '{name}_band' is missing: {_FETCH_AGAIN}")
        try:
            return describe(name, array, self._names(f"{name}_band"))
        except ValueError as error:
            raise DataError(f"chip store {self.path}: array '{name}' {error}") from error

    def _names(self, axis: str) -> tuple[str, ...]:
        return tuple(map(str, np.atleast_1d(np.asarray(self._column(axis)))))

    def _column(self, name: str) -> npt.NDArray[Any] | None:
        """A coordinate in full."""
        found = self._group.get(name)
        return np.asarray(found[...]) if isinstance(found, zarr.Array) else None
