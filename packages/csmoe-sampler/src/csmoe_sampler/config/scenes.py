"""Scenes, chips, and what overviews of scenes say about tiles."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from csmoe_sampler.config.section import Section, Share, digest_of, file_name

Season = Literal["year", "winter", "spring", "summer", "autumn"]
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Bands of Sentinel-2 L2A by wavelength; there is no B10 in L2A."""


class SceneSearch(Section):
    """Where scenes are looked for, and of which days."""

    provider: str = "planetary-computer"
    """A shipped provider (its addresses, asset names and property names), or the path of a provider file (TOML)."""
    url: str | None = None
    """A STAC API or a static catalogue in place of the provider's; it has the provider's field layout."""
    sign: str | None = None
    """Where to ask for tokens in place of the provider's endpoint; with a `url` of one's own, none by default."""
    items: tuple[str, ...] = ()
    """STAC-GeoParquet in place of searches: files, folders, glob patterns or URLs; `bulk`: the provider's own."""
    start: date = date(2021, 1, 1)
    """The first day that counts."""
    end: date = date(2021, 12, 31)
    """The last day that counts."""

    @model_validator(mode="after")
    def _dates_ascend(self) -> Self:
        if self.end < self.start:
            raise ValueError(f"end {self.end} of the scenes is before start {self.start}")
        return self

    def portable(self) -> dict[str, Any]:
        """JSON-able, with local paths cut to file names."""
        values = self.model_dump(mode="json")
        values["items"] = [file_name(path) for path in self.items]
        for key in ("provider", "url"):
            values[key] = file_name(values[key])
        return values


class SceneConfig(SceneSearch):
    """`[scenes]`: which Sentinel-2 and Sentinel-1 scenes `pair` may choose for a tile."""

    seasons: Annotated[tuple[Season, ...], Field(min_length=1)] = ("year",)
    """One pair of scenes for each; a season is that of the tile's own hemisphere."""
    sentinel1: Literal["rtc", "grd", "none"] = "rtc"
    """Product of Sentinel-1; `fetch` refuses uncalibrated amplitudes, as `grd` of the shipped providers is."""
    max_cloud_percent: Annotated[float, Field(ge=0, le=100)] = 20.0
    """Largest cloud cover of a Sentinel-2 scene."""
    min_coverage: Share = 0.99
    """Share of the footprint that a scene must cover with data."""
    max_dt_days: Annotated[float, Field(gt=0)] = 15.0
    """Longest time between the two acquisitions."""
    dt_scale_days: Annotated[float, Field(gt=0)] = 10.0
    """score = coverage x (1 - cloud cover) x exp(-|dt| / dt_scale_days)."""
    on_missing: Literal["redraw", "drop", "keep"] = "redraw"
    """A tile without scenes is replaced by the next of its stratum, left out, or kept without scenes."""
    exclude: str | None = None
    """A CSV list of scenes that must not be chosen: a column `item`, and `tile_id` where it is for one tile only."""

    @model_validator(mode="after")
    def _seasons_differ(self) -> Self:
        if len(set(self.seasons)) < len(self.seasons):
            raise ValueError("seasons names a season twice")
        return self

    def portable(self) -> dict[str, Any]:
        """JSON-able, with local paths cut to file names."""
        return super().portable() | {"exclude": file_name(self.exclude)}

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the portable configuration."""
        return digest_of(self.portable())


class ChipConfig(Section):
    """`[chips]`: what `fetch` brings of every tile."""

    size_px: Annotated[int, Field(ge=16, le=4096)] | Literal["footprint"] = 256
    """Edge of a chip around the centre of the footprint, or the whole footprint."""
    pixel_m: Annotated[float, Field(gt=0)] = 10.0
    """Edge of a pixel in metres."""
    s2_bands: Annotated[tuple[str, ...], Field(min_length=1)] = S2_BANDS
    """Bands of Sentinel-2, in the order of the store."""
    s1_bands: tuple[str, ...] = ("VV", "VH")
    """Polarisations of Sentinel-1, in the order of the store; empty: no Sentinel-1."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    """Of bands with other pixels than the chip's; class masks always take the nearest."""
    offset: Literal["metadata", "detect"] = "metadata"
    """Whether Sentinel-2's +1000 offset is known from the processing baseline, or recognised by its statistics."""
    min_valid: Share = 0.5
    """A tile of which less is valid, in any sensor, fails."""
    guards: Literal["warn", "refuse"] = "warn"
    """What happens to chips whose statistics look wrong; empty and constant bands are always refused."""
    alignment: bool = False
    """Measure the shift between Sentinel-1 and Sentinel-2 by phase correlation."""
    shard_chips: Annotated[int, Field(ge=1, le=4096)] = 64
    """Chips in one file of the store."""

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the configuration."""
        return digest_of(self.model_dump(mode="json"))


class SpectralConfig(SceneSearch):
    """`[spectral]`: what the overviews of Sentinel-2 scenes say about tiles, before any chip is fetched."""

    max_cloud_percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    """Largest cloud cover of a Sentinel-2 scene."""
    min_coverage: Share = 0.5
    """Share of a tile that its scene must cover."""
    bands: Annotated[tuple[str, ...], Field(min_length=1)] = ("B02", "B03", "B04", "B08", "B11", "B12")
    """Bands of Sentinel-2 that are read."""
    decimation: Literal[1, 2, 4, 8, 16, 32] = 16
    """Pixels of the finest band, along each edge, that one pixel of the overviews stands for: 16 are 160 m."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """One unit of distance in the selection is this many times 1 bit of entropy, 0.1 of texture, or 0.1 of reflectance
    in all bands."""

    @model_validator(mode="after")
    def _bands_exist(self) -> Self:
        unknown = [band for band in self.bands if band not in S2_BANDS]
        if unknown:
            raise ValueError(f"bands names {', '.join(unknown)}: Sentinel-2 L2A has {', '.join(S2_BANDS)}")
        if len(set(self.bands)) < len(self.bands):
            raise ValueError("bands names a band twice")
        return self

    def scenes(self) -> SceneConfig:
        """The search for scenes that this asks for."""
        shared = {name: getattr(self, name) for name in SceneSearch.model_fields}
        return SceneConfig(
            sentinel1="none", max_cloud_percent=self.max_cloud_percent, min_coverage=self.min_coverage, **shared
        )
