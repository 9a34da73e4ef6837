"""PNG images with a palette, for maps of coloured cells, and in true colour, for pictures of chips."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_png(index: npt.NDArray[np.uint8], palette: npt.NDArray[np.uint8]) -> bytes:
    """A PNG of palette indices.

    Args:
        index: (H, W) positions in the palette, row 0 at the top.
        palette: (at most 256, 4) red, green, blue and opacity, 0 to 255.
    """
    height, width = index.shape
    rows = np.zeros((height, width + 1), dtype=np.uint8)  # the leading zero of a row: no filter
    rows[:, 1:] = index
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = (
        (b"IHDR", header),
        (b"PLTE", palette[:, :3].tobytes()),
        (b"tRNS", palette[:, 3].tobytes()),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def encode_rgba(picture: npt.NDArray[np.uint8]) -> bytes:
    """A PNG in true colour; the opacity is left out where all of it is full.

    Args:
        picture: (H, W, 4) red, green, blue and opacity, 0 to 255, row 0 at the top.
    """
    opaque = bool((picture[:, :, 3] == 255).all())
    colors = picture[:, :, :3] if opaque else picture
    height, width, channels = colors.shape
    # Filter 2 (up): each row is stored as its difference from the one above, which is what compresses photographs.
    above = np.concatenate([np.zeros((1, width, channels), np.uint8), colors[:-1]])
    rows = np.full((height, 1 + width * channels), 2, dtype=np.uint8)
    rows[:, 1:] = (colors - above).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if opaque else 6, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
