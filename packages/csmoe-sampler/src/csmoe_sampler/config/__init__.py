"""The resolved configuration of a build: nested, frozen, filled by TOML; its digest travels in every output."""

from csmoe_sampler.config.build import (
    AllocationConfig,
    BuildConfig,
    CandidateConfig,
    SelectionConfig,
    SplitConfig,
    StrataConfig,
)
from csmoe_sampler.config.files import STAGES, load_config, load_section
from csmoe_sampler.config.rasters import ClimateConfig, DescriptorConfig, GridConfig, LandcoverConfig, StacConfig
from csmoe_sampler.config.scenes import S2_BANDS, ChipConfig, SceneConfig, Season, SpectralConfig

__all__ = [
    "S2_BANDS",
    "STAGES",
    "AllocationConfig",
    "BuildConfig",
    "CandidateConfig",
    "ChipConfig",
    "ClimateConfig",
    "DescriptorConfig",
    "GridConfig",
    "LandcoverConfig",
    "SceneConfig",
    "Season",
    "SelectionConfig",
    "SpectralConfig",
    "SplitConfig",
    "StacConfig",
    "StrataConfig",
    "load_config",
    "load_section",
]
