"""Bands as Cloud Optimized GeoTIFFs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from csmoe_sampler.storage import write_bytes
from csmoe_sampler.synthetic.sensing.frames import Frame

_BLOCK = 512


def write_band(path: Path, values: npt.NDArray[Any], frame: Frame, nodata: float, resampling: str) -> None:
    """Write (H, W) values of a frame atomically, with overviews down to one block.

    Raises:
        StorageError: The disk is full, or the place is not writable.
    """
    # GDAL stops at overviews of one block; a small raster gets one all the same, as the large ones that it is for.
    overviews = max(1, int(np.ceil(np.log2(max(values.shape) / _BLOCK))))
    profile = {
        "driver": "GTiff",
        "width": frame.width,
        "height": frame.height,
        "count": 1,
        "dtype": values.dtype.name,
        "nodata": nodata,
        "crs": f"EPSG:{frame.epsg}",
        "transform": frame.transform,
    }
    with MemoryFile() as draft, MemoryFile(filename="cog.tif") as final:
        with draft.open(**profile) as dataset:
            dataset.write(values, 1)
        rasterio.shutil.copy(
            draft.name,
            final.name,
            driver="COG",
            compress="deflate",
            level=6,
            predictor="yes",
            blocksize=_BLOCK,
            overview_count=overviews,
            overview_resampling=resampling,
        )
        write_bytes(path, final.getbuffer())
