"""The resolved configuration of a build: nested, frozen, filled by TOML; its digest travels in every output."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from csmoe_sampler.errors import ConfigError

Share = Annotated[float, Field(ge=0, le=1)]
Season = Literal["year", "winter", "spring", "summer", "autumn"]
S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
"""Bands of Sentinel-2 L2A by wavelength; there is no B10 in L2A."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GridConfig(_Section):
    """The Major TOM grid."""

    spacing_km: Annotated[float, Field(ge=0.5, le=1000)] = 10.0
    """Nominal edge of a tile."""
    lat_max_deg: Annotated[float, Field(gt=0, le=90)] = 85.0
    """Rows whose southern edge lies outside +-this latitude do not exist."""


class StacConfig(_Section):
    """A STAC search that yields the files of a raster."""

    url: str = "https://planetarycomputer.microsoft.com/api/stac/v1"
    collection: str = "esa-worldcover"
    asset: str = "map"
    query: dict[str, str | int | float] = {"esa_worldcover:product_version": "2.0.0"}
    """Properties that an item must carry; WorldCover keeps two versions in one collection."""


class LandcoverConfig(_Section):
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


class ClimateConfig(_Section):
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


class DescriptorConfig(_Section):
    """A further descriptor of the user's: a raster, a statistic, a name."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    source: tuple[str, ...]
    """Paths, URLs or glob patterns."""
    statistic: Literal["shares", "moments"] = "moments"
    """`shares` of the classes of a categorical raster, or `moments` (mean, standard deviation) of a numeric one."""
    legend: str | None = None
    """For `shares`: legend name or path."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """For `moments`: the difference that counts as one unit of distance in the selection."""
    reproject: bool = False

    @model_validator(mode="after")
    def _shares_need_a_legend(self) -> DescriptorConfig:
        if self.statistic == "shares" and self.legend is None:
            raise ValueError(f"descriptor '{self.name}': statistic 'shares' needs a legend")
        if self.name in {"landcover", "climate", "position", "spectral"}:
            raise ValueError(f"descriptor name '{self.name}' is taken: choose another")
        return self


class CandidateConfig(_Section):
    """Which tiles may be drawn."""

    min_land_share: Share = 0.1
    """Share of the tile's area that is valid land cover and not open water."""


class StrataConfig(_Section):
    """Climate class x dominant land-cover class, sparse ones merged upwards."""

    min_size: Annotated[int, Field(ge=1)] = 200
    """A stratum with fewer tiles is pooled: first over legend groups, then all land cover of a climate, then the
    main climate group."""


class AllocationConfig(_Section):
    """How the budget is shared among the strata: n_h proportional to N_h^alpha."""

    alpha: Share = 0.5
    floor: Annotated[int, Field(ge=0)] = 1
    """At least this many from every stratum, as far as it has them."""
    cap: Annotated[int, Field(ge=1)] | None = None
    """At most this many from one stratum."""


class SelectionConfig(_Section):
    """How tiles are drawn inside a stratum."""

    objective: Literal["diverse", "spread", "random", "proportional", "kmeans"] = "diverse"
    weights: dict[str, Annotated[float, Field(ge=0)]] = {"landcover": 1.0, "climate": 0.5, "position": 0.5}
    """Weight of each descriptor, by name, and of the position on the sphere in the squared distance."""


class SplitConfig(_Section):
    """Train, validation and test by spatial blocks with a buffer."""

    validation: Share = 0.05
    test: Share = 0.05
    block_km: Annotated[float, Field(ge=0.5, le=1000)] = 200.0
    """Edge of the blocks that go to one split as a whole."""
    buffer_km: Annotated[float, Field(ge=0)] = 20.0
    """No two footprint centres of different splits are closer; rows that would be get the split `buffer`."""

    @model_validator(mode="after")
    def _some_train(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test shares leave nothing to train on: their sum must stay below 1")
        return self


class SceneConfig(_Section):
    """`[scenes]`: which Sentinel-2 and Sentinel-1 scenes `pair` may choose for a tile."""

    provider: str = "planetary-computer"
    """A shipped provider (its addresses, asset names and property names), or the path of a provider file (TOML)."""
    url: str | None = None
    """A STAC API or a static catalogue in place of the provider's; it has the provider's field layout."""
    sign: str | None = None
    """Where to ask for tokens in place of the provider's endpoint; with a `url` of one's own, none by default."""
    items: tuple[str, ...] = ()
    """STAC-GeoParquet in place of searches: files, folders, glob patterns or URLs; `bulk`: the provider's own."""
    start: date = date(2021, 1, 1)
    end: date = date(2021, 12, 31)
    """The last day that counts."""
    seasons: Annotated[tuple[Season, ...], Field(min_length=1)] = ("year",)
    """One pair of scenes for each; a season is that of the tile's own hemisphere."""
    sentinel1: Literal["rtc", "grd", "none"] = "rtc"
    max_cloud_percent: Annotated[float, Field(ge=0, le=100)] = 20.0
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
    def _dates_and_seasons(self) -> SceneConfig:
        if self.end < self.start:
            raise ValueError(f"scenes.end {self.end} is before scenes.start {self.start}")
        if len(set(self.seasons)) < len(self.seasons):
            raise ValueError("scenes.seasons names a season twice")
        return self

    def portable(self) -> dict[str, Any]:
        """JSON-able, with local paths cut to file names."""
        values = self.model_dump(mode="json")
        values["items"] = [_file_name(path) for path in self.items]
        for key in ("provider", "url", "exclude"):
            values[key] = _file_name(values[key])
        return values

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the portable configuration."""
        return _digest(self.portable())


class ChipConfig(_Section):
    """`[chips]`: what `fetch` brings of every tile."""

    size_px: Annotated[int, Field(ge=16, le=4096)] | Literal["footprint"] = 256
    """Edge of a chip around the centre of the footprint, or the whole footprint."""
    pixel_m: Annotated[float, Field(gt=0)] = 10.0
    s2_bands: Annotated[tuple[str, ...], Field(min_length=1)] = S2_BANDS
    s1_bands: tuple[str, ...] = ("VV", "VH")
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
        return _digest(self.model_dump(mode="json"))


class SpectralConfig(_Section):
    """`[spectral]`: what the overviews of Sentinel-2 scenes say about tiles, before any chip is fetched."""

    provider: str = "planetary-computer"
    """As in `[scenes]`, and so are the next three."""
    url: str | None = None
    sign: str | None = None
    items: tuple[str, ...] = ()
    start: date = date(2021, 1, 1)
    end: date = date(2021, 12, 31)
    """The last day that counts."""
    max_cloud_percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    min_coverage: Share = 0.5
    """Share of a tile that its scene must cover."""
    bands: Annotated[tuple[str, ...], Field(min_length=1)] = ("B02", "B03", "B04", "B08", "B11", "B12")
    decimation: Literal[1, 2, 4, 8, 16, 32] = 16
    """Pixels of the finest band, along each edge, that one pixel of the overviews stands for: 16 are 160 m."""
    scale: Annotated[float, Field(gt=0)] = 1.0
    """One unit of distance in the selection is this many times 1 bit of entropy, 0.1 of texture, or 0.1 of reflectance
    in all bands."""

    @model_validator(mode="after")
    def _dates_and_bands(self) -> SpectralConfig:
        if self.end < self.start:
            raise ValueError(f"spectral.end {self.end} is before spectral.start {self.start}")
        unknown = [band for band in self.bands if band not in S2_BANDS]
        if unknown:
            raise ValueError(f"spectral.bands names {', '.join(unknown)}: Sentinel-2 L2A has {', '.join(S2_BANDS)}")
        if len(set(self.bands)) < len(self.bands):
            raise ValueError("spectral.bands names a band twice")
        return self

    def scenes(self) -> SceneConfig:
        """The search for scenes that this asks for."""
        shared = ("provider", "url", "sign", "items", "start", "end", "max_cloud_percent", "min_coverage")
        return SceneConfig(sentinel1="none", **{name: getattr(self, name) for name in shared})

    def portable(self) -> dict[str, Any]:
        """JSON-able, with local paths cut to file names."""
        places = self.scenes().portable()
        return self.model_dump(mode="json") | {key: places[key] for key in ("provider", "url", "items")}


class BuildConfig(_Section):
    """Everything that decides what a manifest holds."""

    region: str = "global"
    n: Annotated[int, Field(gt=0)] = 100_000
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    strict: bool = False
    """Fail where fewer tiles are found than were asked for, instead of taking all of them."""
    grid: GridConfig = GridConfig()
    landcover: LandcoverConfig = LandcoverConfig()
    climate: ClimateConfig = ClimateConfig()
    descriptors: tuple[DescriptorConfig, ...] = ()
    spectral: SpectralConfig | None = None
    """None: no spectral descriptor."""
    candidates: CandidateConfig = CandidateConfig()
    strata: StrataConfig = StrataConfig()
    allocation: AllocationConfig = AllocationConfig()
    selection: SelectionConfig = SelectionConfig()
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _weights_name_descriptors(self) -> BuildConfig:
        unknown = sorted(set(self.selection.weights) - self.axes)
        if unknown:
            raise ValueError(f"selection.weights names {', '.join(unknown)}: known are {', '.join(sorted(self.axes))}")
        if len({descriptor.name for descriptor in self.descriptors}) < len(self.descriptors):
            raise ValueError("two descriptors share a name")
        return self

    @property
    def axes(self) -> frozenset[str]:
        """Names that may have a weight in the selection: the descriptors, and the position."""
        spectral = () if self.spectral is None else ("spectral",)
        return frozenset({"landcover", "climate", "position", *spectral, *(one.name for one in self.descriptors)})

    def portable(self) -> dict[str, Any]:
        """JSON-able, with local paths cut to file names: equal on every machine that holds equal inputs."""
        values = self.model_dump(mode="json")
        values["region"] = _file_name(self.region)
        values["landcover"]["source"] = [_file_name(path) for path in self.landcover.source]
        values["landcover"]["legend"] = _file_name(self.landcover.legend)
        for key in ("source", "temperature", "precipitation"):
            values["climate"][key] = _file_name(values["climate"][key])
        for descriptor in values["descriptors"]:
            descriptor["source"] = [_file_name(path) for path in descriptor["source"]]
            descriptor["legend"] = _file_name(descriptor["legend"])
        if self.spectral is None:
            del values["spectral"]  # the digests of builds without it are those from before there was one
        else:
            values["spectral"] = self.spectral.portable()
        return values

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the portable configuration, as 64 hexadecimal digits."""
        return _digest(self.portable())

    def to_toml(self) -> str:
        """A configuration file that says the same."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


STAGES: dict[str, type[_Section]] = {"scenes": SceneConfig, "chips": ChipConfig}
"""Tables of a configuration file that belong to later stages, which have digests of their own."""


def load_config(path: Path | None, overrides: Mapping[str, Any], *, base: BuildConfig | None = None) -> BuildConfig:
    """The configuration of a TOML file, with dotted `overrides` (`{"grid.spacing_km": 5}`) on top.

    Args:
        path: The file; None: no file.
        overrides: Keys with the value None override nothing.
        base: What holds where neither says anything; default: the defaults.

    Raises:
        ConfigError: The file is missing or malformed, or values are not usable; all problems in one message.
    """
    values: dict[str, Any] = base.model_dump(mode="json") if base else {}
    if path:
        _merge(values, {key: table for key, table in _read_toml(path).items() if key not in STAGES})
        for name in STAGES:
            load_section(path, cast(Any, name), {})  # a mistake there is told now, not hours later
    for dotted, value in overrides.items():
        if value is not None:
            _merge(values, _nested(dotted, value))
    try:
        return BuildConfig.model_validate(values)
    except ValidationError as error:
        where = f"configuration {path}" if path else "configuration"
        raise ConfigError(f"{where}: {'; '.join(_problem(e) for e in error.errors())}") from error


def load_section(path: Path | None, name: Literal["scenes", "chips"], overrides: Mapping[str, Any]) -> Any:
    """The `SceneConfig` or `ChipConfig` of a TOML file, with `overrides` on top; raises ConfigError.

    The other tables of the file belong to other stages.
    """
    values = dict(_read_toml(path).get(name, {})) if path else {}
    values |= {key: value for key, value in overrides.items() if value is not None}
    try:
        return STAGES[name].model_validate(values)
    except ValidationError as error:
        where = f"configuration {path}, [{name}]" if path else f"configuration [{name}]"
        raise ConfigError(f"{where}: {'; '.join(_problem(e) for e in error.errors())}") from error


def _digest(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _nested(dotted: str, value: Any) -> dict[str, Any]:
    first, _, rest = dotted.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _merge(values: dict[str, Any], more: dict[str, Any]) -> None:
    """Tables are merged key by key, but tables of free keys (weights, queries) and everything else are replaced."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict) and key not in {"weights", "query"}:
            _merge(values[key], value)
        else:
            values[key] = value


def _file_name(path: str | None) -> str | None:
    """Local paths without their folders; names and URLs as they are."""
    return path if path is None or "://" in path else Path(path).name or path


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"configuration {path}: no such file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration {path}: not valid TOML ({error})") from error


def _problem(error: Any) -> str:
    # Of alternatives, pydantic names each as a further part of the place.
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("constrained-", "literal[")))
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key"
    message = error["msg"].removeprefix("Value error, ")
    return f"{key} = {error['input']!r}: {message}" if key and error["type"] != "value_error" else message
