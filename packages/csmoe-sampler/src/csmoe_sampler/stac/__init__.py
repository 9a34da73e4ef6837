"""A STAC search -> the files of a raster, from an API or a static catalogue."""

from csmoe_sampler.stac.catalogue import Search, search
from csmoe_sampler.stac.items import GLOBE, Box, RasterRecord

__all__ = ["GLOBE", "Box", "RasterRecord", "Search", "search"]
