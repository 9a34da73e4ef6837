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


def resolve(path: Path | None, overrides: dict[str, Any]) -> BuildConfig:
    """The configuration of a file with overrides on top."""
    from csmoe_sampler.config import load_config

    return load_config(path, overrides)


def terminal_progress(quiet: bool) -> Progress:
    """Bars or log lines; nothing where it should be quiet."""
    from csmoe_sampler.progress import NoProgress, TerminalProgress

    return NoProgress() if quiet else TerminalProgress()


def runtime_of(scheduler: str | None, workers: int | None, quiet: bool) -> Runtime:
    """Scheduler, threads and progress."""
    from csmoe_sampler.pipeline import Runtime

    return Runtime(scheduler=scheduler, workers=workers, progress=terminal_progress(quiet))
