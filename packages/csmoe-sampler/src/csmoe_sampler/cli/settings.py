"""What options mean: overrides of the configuration, and how to run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from csmoe_sampler.config import BuildConfig
    from csmoe_sampler.pipeline import Runtime
    from csmoe_sampler.progress import Progress


def source_overrides(
    landcover: list[str] | None,
    legend: str | None,
    climate: str | None,
    temperature: str | None,
    precipitation: str | None,
    stac_url: str | None,
    collection: str | None,
) -> dict[str, Any]:
    """Where land cover and climate come from."""
    return {
        "landcover.source": landcover or None,
        "landcover.legend": legend,
        "landcover.stac.url": stac_url,
        "landcover.stac.collection": collection,
        "climate.source": climate,
        "climate.temperature": temperature,
        "climate.precipitation": precipitation,
    }


def reading_overrides(grid_km: float | None, approximate: int | None, reproject: bool) -> dict[str, Any]:
    """How rasters are laid on tiles."""
    return {
        "grid.spacing_km": grid_km,
        "landcover.approximate": approximate,
        "landcover.reproject": reproject or None,
    }


def scene_overrides(
    *,
    provider: str | None = None,
    url: str | None = None,
    items: list[str] | None = None,
    seasons: str | None = None,
    start: str | None = None,
    end: str | None = None,
    max_cloud: float | None = None,
    sentinel1: str | None = None,
) -> dict[str, Any]:
    """Which scenes may be chosen, and where they are looked for."""
    return {
        "provider": provider,
        "url": url,
        "items": items or None,
        "seasons": [season.strip() for season in seasons.split(",")] if seasons else None,
        "start": start,
        "end": end,
        "max_cloud_percent": max_cloud,
        "sentinel1": sentinel1,
    }


def resolve(path: Path | None, overrides: dict[str, Any]) -> BuildConfig:
    """The configuration of a file with overrides on top."""
    from csmoe_sampler.config import load_config

    return load_config(path, overrides)


def diversity_override(
    config: BuildConfig, names: str | None, *, spectral: dict[str, Any] | None = None
) -> BuildConfig:
    """The configuration with the axes of `--diversity`, if given.

    Args:
        config: The configuration.
        names: Axes, separated by commas.
        spectral: Where the scenes of a spectral descriptor come from that the configuration does not have yet; None:
            it must have one.
    """
    if names is None:
        return config
    from csmoe_sampler.config import SpectralConfig
    from csmoe_sampler.spectral import diversity_weights

    axes = [name.strip() for name in names.split(",") if name.strip()]
    if spectral is not None and "spectral" in axes and config.spectral is None:
        given = {key: value for key, value in spectral.items() if value is not None}
        config = config.model_copy(update={"spectral": SpectralConfig.model_validate(given)})
    selection = config.selection.model_copy(update={"weights": diversity_weights(axes, config)})
    return config.model_copy(update={"selection": selection})


def terminal_progress(quiet: bool) -> Progress:
    """Bars or log lines; nothing where it should be quiet."""
    from csmoe_sampler.progress import NoProgress, TerminalProgress

    return NoProgress() if quiet else TerminalProgress()


def runtime_of(scheduler: str | None, workers: int | None, quiet: bool) -> Runtime:
    """Scheduler, threads and progress."""
    from csmoe_sampler.pipeline import Runtime

    return Runtime(scheduler=scheduler, workers=workers, progress=terminal_progress(quiet))
