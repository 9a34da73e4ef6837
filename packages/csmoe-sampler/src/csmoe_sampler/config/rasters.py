"""The grid, and the rasters that are laid on it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from csmoe_sampler.config.section import Section
from csmoe_sampler.extensions import REFERENCE


class GridConfig(Section):
    """The Major TOM grid."""

    spacing_km: Annotated[float, Field(ge=0.5, le=1000)] = 10.0
    """Nominal edge of a tile."""
    lat_max_deg: Annotated[float, Field(gt=0, le=90)] = 85.0
    """Rows whose southern edge lies outside +-this latitude do not exist."""


class StacConfig(Section):
    """A STAC search that yields the files of a raster."""

    url: str = "https://planetarycomputer.microsoft.com/api/stac/v1"
    """STAC API or static catalogue."""
    collection: str = "esa-worldcover"
    """Collection that holds the raster."""
    asset: str = "map"
    """Asset that holds the raster's file."""
    query: dict[str, str | int | float] = Field(default={"esa_worldcover:product_version": "2.0.0"})
    """Properties that an item must carry; WorldCover keeps two versions in one collection."""


class LandcoverConfig(Section):
    """The thematic descriptor: shares of the classes of a categorical raster."""

    source: tuple[str, ...] = ()
    """Paths, URLs or glob patterns of the raster's files; empty: the STAC search."""
    stac: StacConfig = StacConfig()
    legend: str = "worldcover"
    """Name of a shipped legend, or path of a legend file (TOML)."""
    approximate: Annotated[int, Field(ge=2)] | None = None
    """Count on the overview of this decimation factor instead of full resolution. Biased: see the report."""
    reproject: bool = False
    """Read rasters in a projected CRS through a nearest-neighbour warp to longitude and latitude."""


class ClimateConfig(Section):
    """The climatic descriptor: shares of the Köppen-Geiger classes."""

    source: str = "beck2023"
    """`beck2023` (fetched once, checksummed, cached), `terraclimate`, or the path of a class map."""
    temperature: str | None = None
    """Monthly mean temperature normals in °C (NetCDF, Zarr or a 12-band GeoTIFF); replaces `source`."""
    precipitation: str | None = None
    """Monthly precipitation normals in mm a month; goes with `temperature`."""
    rule: Literal["peel2007", "beck_compat"] = "peel2007"
    """How normals are classified; a ready map is taken as it is."""

    @model_validator(mode="after")
    def _both_normals(self) -> ClimateConfig:
        if (self.temperature is None) != (self.precipitation is None):
            raise ValueError("temperature and precipitation normals go together: give both or neither")
        return self


class DescriptorConfig(Section):
    """A further descriptor of the user's: a raster, a statistic, a name; or a class of one's own."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """Its columns begin with it; `selection.weights` knows it by it."""
    source: tuple[str, ...] = ()
    """Paths, URLs or glob patterns."""
    use: Annotated[str, Field(pattern=REFERENCE)] | None = None
    """`module:Class` of one's own in place of a statistic of a raster; made from the name and the source."""
    statistic: Literal["shares", "moments"] = "moments"
    """`shares` of the classes of a categorical raster, or `moments` (mean, standard deviation) of a numeric one."""
    legend: str | None = None
    """For `shares`: legend name or path."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """For numbers: the difference that counts as one unit of distance in the selection."""
    reproject: bool = False
    """Warp rasters in a projected CRS to longitude and latitude."""

    @model_validator(mode="after")
    def _says_what_it_needs(self) -> DescriptorConfig:
        if self.use is None and not self.source:
            raise ValueError(f"descriptor '{self.name}': needs a source, or a class of your own to use")
        if self.use is not None and (self.statistic != "moments" or self.legend is not None or self.reproject):
            raise ValueError(f"descriptor '{self.name}': statistic, legend and reproject do not go with 'use'")
        if self.statistic == "shares" and self.legend is None:
            raise ValueError(f"descriptor '{self.name}': statistic 'shares' needs a legend")
        if self.name in {"landcover", "climate", "position", "spectral"}:
            raise ValueError(f"descriptor name '{self.name}' is taken: choose another")
        return self
