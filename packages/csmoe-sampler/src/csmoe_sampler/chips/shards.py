"""One shard of a Zarr v3 array whose inner chunks are chips: written chip by chip, read chip by chip.

The format is that of Zarr's codec `sharding_indexed`: compressed chunks one after another, then the index, an offset
and a length of 8 bytes each for every chunk (all ones where there is none), then its CRC-32C. Zarr reads and writes the
same; it holds a whole shard in memory for that, and spends more time around a chip than on it.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import zstd

from csmoe_sampler.errors import ChipError

ZSTD_LEVEL = 3
_NONE = np.uint64(2**64 - 1)
_CRC_BYTES = 4


class ShardWriter:
    """An open shard file; chips come in any order, and those that never come are missing."""

    def __init__(self, file: BinaryIO, num_chips: int) -> None:
        self._file = file
        self._index = np.full((num_chips, 2), _NONE, "<u8")
        self._end = 0

    def append(self, place: int, compressed: bytes) -> None:
        """Adds the chip of a place in the shard, compressed by `compress`."""
        self._file.write(compressed)
        self._index[place] = self._end, len(compressed)
        self._end += len(compressed)

    def finish(self) -> None:
        """Writes the index."""
        index = self._index.tobytes()
        self._file.write(index + google_crc32c.value(index).to_bytes(_CRC_BYTES, "little"))


def compress(chip: npt.NDArray[Any]) -> bytes:
    """The bytes of a chip in a shard."""
    little = np.ascontiguousarray(chip, chip.dtype.newbyteorder("<"))
    return bytes(zstd.compress(little, ZSTD_LEVEL, True))


class ShardFile:
    """An open shard, mapped into memory; its index is read once, and threads may read from it at the same time."""

    def __init__(self, path: Path, num_chips: int) -> None:
        self._path = path
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._view = memoryview(self._map)
        index = self._view[len(self._view) - 16 * num_chips - _CRC_BYTES : len(self._view) - _CRC_BYTES]
        crc = int.from_bytes(self._view[len(self._view) - _CRC_BYTES :], "little")
        if len(index) != 16 * num_chips or google_crc32c.value(bytes(index)) != crc:
            raise self._damaged()
        self._index = np.frombuffer(bytes(index), "<u8").reshape(num_chips, 2)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, place: int, out: npt.NDArray[Any]) -> bool:
        """Whether there is a chip at a place of the shard; `out`, contiguous, has its pixels then.

        Raises:
            ChipError: The shard is damaged.
        """
        compressed = self.compressed(place)
        if compressed is None:
            return False
        try:
            zstd.decompress(compressed, out)
        except (RuntimeError, ValueError) as error:
            raise self._damaged() from error
        return True

    def compressed(self, place: int) -> memoryview | None:
        """The chip at a place as it stands in the file; None where there is none."""
        start, length = self._index[place]
        return None if start == _NONE else self._view[int(start) : int(start) + int(length)]

    def close(self) -> None:
        """Frees the file; where an error still holds a part of it, its last use does."""
        with suppress(BufferError):
            self._view.release()
            self._map.close()

    def _damaged(self) -> ChipError:
        return ChipError(
            f"chip store: its shard {self._path} is damaged: delete the store's entry of it in the journal folder, and "
            "fetch again"
        )
