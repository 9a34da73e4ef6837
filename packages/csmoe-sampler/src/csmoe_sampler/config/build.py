"""Everything that decides what a manifest holds."""

from __future__ import annotations

import re
from typing import Annotated, Any

import tomli_w
from pydantic import Field, field_validator, model_validator

from csmoe_sampler.config.rasters import ClimateConfig, DescriptorConfig, GridConfig, LandcoverConfig
from csmoe_sampler.config.scenes import SpectralConfig
from csmoe_sampler.config.section import Section, Share, digest_of, file_name
from csmoe_sampler.extensions import REFERENCE

OBJECTIVES = ("diverse", "spread", "random", "proportional", "kmeans")


class CandidateConfig(Section):
    """Which tiles may be drawn."""

    min_land_share: Share = 0.1
    """Share of the tile's area that is valid land cover and not open water."""


class StrataConfig(Section):
    """Climate class x dominant land-cover class, sparse ones merged upwards."""

    min_size: Annotated[int, Field(ge=1)] = 200
    """A stratum with fewer tiles is pooled: first over legend groups, then all land cover of a climate, then the
    main climate group."""


class AllocationConfig(Section):
    """How the budget is shared among the strata: n_h proportional to N_h^alpha."""

    alpha: Share = 0.5
    """0 gives every stratum alike, 1 in proportion to its size."""
    floor: Annotated[int, Field(ge=0)] = 1
    """At least this many from every stratum, as far as it has them."""
    cap: Annotated[int, Field(ge=1)] | None = None
    """At most this many from one stratum."""


class SelectionConfig(Section):
    """How tiles are drawn inside a stratum."""

    objective: str = "diverse"
    """`diverse`, `spread`, `random`, `proportional`, `kmeans`, or `module:Class` of one's own."""
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={"landcover": 1.0, "climate": 0.5, "position": 0.5}
    )
    """Weight of each descriptor, by name, and of the position on the sphere in the squared distance."""

    @field_validator("objective")
    @classmethod
    def _objective_is_known(cls, name: str) -> str:
        if name not in OBJECTIVES and not re.fullmatch(REFERENCE, name):
            known = ", ".join(f"'{known}'" for known in OBJECTIVES)
            raise ValueError(f"no objective is called '{name}': known are {known}, and module:Class of your own")
        return name


class SplitConfig(Section):
    """Train, validation and test by spatial blocks with a buffer."""

    validation: Share = 0.05
    """Share of the candidates."""
    test: Share = 0.05
    """Share of the candidates."""
    block_km: Annotated[float, Field(ge=0.5, le=1000)] = 200.0
    """Edge of the blocks that go to one split as a whole."""
    buffer_km: Annotated[float, Field(ge=0)] = 20.0
    """No two footprint centres of different splits are closer; rows that would be get the split `buffer`."""

    @model_validator(mode="after")
    def _some_train(self) -> SplitConfig:
        if self.validation + self.test >= 1:
            raise ValueError("validation and test shares leave nothing to train on: their sum must stay below 1")
        return self


class BuildConfig(Section):
    """Everything that decides what a manifest holds."""

    region: str = "global"
    """Where tiles are drawn: `global`, a continent, an ISO 3166 code, `lon_min,lat_min,lon_max,lat_max`, or a vector
    file."""
    n: Annotated[int, Field(gt=0)] = 100_000
    """Tiles to draw."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of every random decision."""
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
        values["region"] = file_name(self.region)
        values["landcover"]["source"] = [file_name(path) for path in self.landcover.source]
        values["landcover"]["legend"] = file_name(self.landcover.legend)
        for key in ("source", "temperature", "precipitation"):
            values["climate"][key] = file_name(values["climate"][key])
        for descriptor in values["descriptors"]:
            descriptor["source"] = [file_name(path) for path in descriptor["source"]]
            descriptor["legend"] = file_name(descriptor["legend"])
            if descriptor["use"] is None:
                del descriptor["use"]  # the digests of builds without it are those from before there was one
        if self.spectral is None:
            del values["spectral"]  # the digests of builds without it are those from before there was one
        else:
            values["spectral"] = self.spectral.portable()
        return values

    def digest(self) -> str:
        """SHA-256 of the canonical JSON of the portable configuration, as 64 hexadecimal digits."""
        return digest_of(self.portable())

    def to_toml(self) -> str:
        """A configuration file that says the same."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))
