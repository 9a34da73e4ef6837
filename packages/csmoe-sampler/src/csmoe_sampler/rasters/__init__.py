"""Rasters to be summarised per tile: files and mosaics, local or remote, known by their pixels. GDAL reads them here.

source = open_source("maps/*.tif")                                    # reads the headers
source = RasterSource.from_table(records, sign=sign, origin=origin)   # a catalogue's records; opens nothing
"""

from csmoe_sampler.rasters.reading import RasterReader, View
from csmoe_sampler.rasters.source import RasterFile, RasterSource, Record, open_source

__all__ = ["RasterFile", "RasterReader", "RasterSource", "Record", "View", "open_source"]
