"""What the stages hand to each other: small frozen types, and the protocols that may be implemented elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from csmoe_sampler.grid import TileGrid

Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int16 = npt.NDArray[np.int16]
UInt64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ReadCost:
    """What reading a raster for some tiles takes, estimated from headers alone."""

    files: int
    requests: int
    """Range requests for remote files; block reads for local ones."""
    bytes: int
    """Compressed bytes to bring."""
    pixels: int
    """Pixels to decode."""


class Descriptor(Protocol):
    """A raster and a statistic under a name; the atlas asks each for its columns, block by block."""

    @property
    def name(self) -> str:
        """Prefix of every column, for example `landcover`."""

    @property
    def columns(self) -> dict[str, str]:
        """Column name -> numpy dtype name, in the order of the table."""

    @property
    def pixel_deg(self) -> float:
        """Edge of a pixel as read; the atlas sizes its blocks by the finest."""

    def provenance(self) -> dict[str, Any]:
        """JSON-able: sources with version and hash, legend, options. Equal provenance means equal columns."""

    def cost(self, grid: TileGrid, tiles: Int64) -> ReadCost:
        """The cost of describing `tiles`."""

    def describe(self, grid: TileGrid, tiles: Int64) -> dict[str, npt.NDArray[Any]]:
        """Columns of `tiles` (ascending tile indices of one compact block), each of the length of `tiles`.

        Must not depend on how the tiles are cut into blocks. Runs in worker threads and on remote workers.
        """
