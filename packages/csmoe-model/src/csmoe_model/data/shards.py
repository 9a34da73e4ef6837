"""A shard of a chip store: compressed chips in one file, read one by one.

The format is that of Zarr's codec `sharding_indexed`: compressed chunks one after another, then an offset and a length
of 8 bytes each for every chunk (all ones where there is none), then the CRC-32C of these.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import zstd

from csmoe_model.errors import DataError

_NONE = np.uint64(2**64 - 1)
_CRC_BYTES = 4


class ShardFile:
    """An open shard, mapped into memory; threads may read from it at the same time. It closes with its last use.

    Raises:
        DataError: Its index is damaged.
        FileNotFoundError: There is no such file.
    """

    def __init__(self, path: Path, num_chips: int) -> None:
        self._path = path
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size < 16 * num_chips + _CRC_BYTES:
                raise self._damaged("it is cut short")
            self._view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        index = bytes(self._view[size - 16 * num_chips - _CRC_BYTES : size - _CRC_BYTES])
        if google_crc32c.value(index) != int.from_bytes(self._view[size - _CRC_BYTES :], "little"):
            raise self._damaged("the checksum of its index does not fit")
        self._index = np.frombuffer(index, "<u8").reshape(num_chips, 2)

    def read(self, place: int, out: npt.NDArray[Any]) -> bool:
        """Whether there is a chip at a place of the shard; `out`, contiguous, holds its pixels then.

        Raises:
            DataError: The chip is damaged.
        """
        start, length = self._index[place]
        if start == _NONE:
            return False
        try:
            zstd.decompress(self._view[int(start) : int(start) + int(length)], out)
        except (RuntimeError, ValueError) as error:
            raise self._damaged(f"chip {place} in it cannot be decompressed") from error
        return True

    def _damaged(self, reason: str) -> DataError:
        return DataError(
            f"chip store: shard {self._path} is damaged ({reason}): delete its entry in the journal folder beside the "
            "store, and run `csmoe-sample fetch` again"
        )
