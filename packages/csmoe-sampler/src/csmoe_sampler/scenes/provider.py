"""What differs between catalogues, as data: addresses, collections, asset names, property names, units."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from csmoe_sampler.errors import ConfigError


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Properties(_Table):
    """Names of item properties that no STAC extension fixes for all catalogues."""

    cloud_cover: str = "eo:cloud_cover"
    """Percent."""
    nodata_percent: str = "s2:nodata_pixel_percentage"
    """Percent of the granule without data."""
    baseline: str = "s2:processing_baseline"
    """Processing baseline, as `05.10`."""


class Product(_Table):
    """A collection of scenes of one sensor."""

    sensor: Literal["s1", "s2"]
    """Sentinel-1 or Sentinel-2."""
    collection: str
    """Its name in the catalogue."""
    items: str | None = None
    """Address of the provider's own STAC-GeoParquet: a file, or the prefix of its partitions."""
    partition_days: int | None = None
    """How many days of items a partition holds; None: one file holds all."""
    unit: Literal["DN", "reflectance", "linear", "amplitude", "dB"]
    """Of the pixels: Sentinel-2 as `DN` (reflectance x 10,000) or `reflectance`; Sentinel-1 as power (`linear`),
    uncalibrated `amplitude`, or `dB`."""
    nodata: float | None = None
    """Value of missing pixels where the files declare none; Sentinel-2's DN 0 is one always."""
    offset: Literal["baseline", "unknown"] | float = 0.0
    """DN to subtract: a number, `baseline` (1000 from baseline 04.00 on), or `unknown`."""
    offset_applied: str | None = None
    """A property that is true where the offset is subtracted already."""
    mask: str | None = None
    """Asset of the scene classification (SCL)."""
    bands: Annotated[dict[str, str], Field(min_length=1)]
    """Band name -> asset; `asset#3` is the third band of its file."""
    properties: Properties = Properties()


class Provider(_Table):
    """A catalogue's tables."""

    name: str = ""
    """By default that of the file."""
    api: str | None = None
    """Landing page of a STAC API, or a static catalogue."""
    sign: str | None = None
    """Endpoint of tokens for the addresses of `sign_hosts`: `{sign}/{account}/{container}`."""
    sign_hosts: tuple[str, ...] = ()
    """Domains (with the account before the first dot), or whole host names, whose addresses need a token."""
    page_items: Annotated[int, Field(ge=1)] = 500
    """Items that a search asks for at once; servers limit the size of an answer."""
    products: dict[str, Product]
    """By the names `sentinel-2-l2a`, `sentinel-1-rtc`, `sentinel-1-grd`."""

    def product(self, name: str) -> Product:
        """The product of that name; raises ConfigError."""
        if name not in self.products:
            raise ConfigError(
                f"provider '{self.name}' has no product '{name}': it has {', '.join(self.products)}; choose another "
                "provider, or change scenes.sentinel1"
            )
        return self.products[name]


def load_provider(name: str) -> Provider:
    """The shipped provider `name`, or that of a TOML file; raises ConfigError."""
    folder = files(__package__).joinpath("providers")
    shipped = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    try:
        text = (folder.joinpath(f"{name}.toml") if name in shipped else Path(name)).read_text(encoding="utf-8")
        return Provider.model_validate({"name": Path(name).stem} | tomllib.loads(text))
    except OSError as error:
        raise ConfigError(f"provider '{name}': no such provider or file; shipped are {', '.join(shipped)}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"provider '{name}': not valid TOML ({error})") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ConfigError(f"provider '{name}': {problems}") from error
