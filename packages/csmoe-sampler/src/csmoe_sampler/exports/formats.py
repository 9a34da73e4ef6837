"""The formats, and what each needs before it can be written."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

from csmoe_sampler.errors import ConfigError, ManifestError, StorageError
from csmoe_sampler.exports.task import Task
from csmoe_sampler.manifest import read_manifest
from csmoe_sampler.progress import NoProgress, Progress


@dataclass(frozen=True, kw_only=True)
class Format:
    """A target of `export`."""

    module: str
    """Of this package, imported late; its `write` takes a task and a path, and returns what was written in words."""
    chips: Literal["none", "may", "must"] = "none"
    """Whether it takes a chip store."""
    scenes: bool = False
    """Whether the manifest must have been paired."""
    resumes: bool = False
    """Whether it continues in a folder that an earlier run has begun."""


FORMATS: dict[str, Format] = {
    "majortom": Format(module="majortom", scenes=True),
    "rslearn": Format(module="rslearn", scenes=True, chips="may"),
    "olmoearth": Format(module="olmoearth"),
    "torchgeo": Format(module="torchgeo", chips="must", resumes=True),
    "terratorch": Format(module="terratorch", chips="must", resumes=True),
    "stac-geoparquet": Format(module="stac_geoparquet", scenes=True),
    "geojson": Format(module="geojson"),
    "csv": Format(module="csv_table"),
    "croissant": Format(module="croissant", chips="may"),
    "datasheet": Format(module="datasheet", chips="may"),
    "webdataset": Format(module="webdataset", chips="must", resumes=True),
    "geotiff": Format(module="geotiff", chips="must", resumes=True),
}
"""Name of `--to` -> format."""


def export(manifest: Path, to: str, out: Path, *, chips: Path | None = None, progress: Progress | None = None) -> str:
    """What was written, in a few words.

    Args:
        manifest: A manifest.
        to: One of `FORMATS`.
        out: The file or folder to write; nothing is replaced. Formats that are folders of chips continue where an
            earlier run of the same export was stopped.
        chips: The chip store of the manifest, for formats with pixels.
        progress: Told of rows or chips.

    Raises:
        ConfigError: There is no such format, or it takes no chips, or needs some.
        ManifestError: The manifest lacks a stage that the format needs, or is not that of the chips.
        StorageError: `out` is there already, or cannot be written.
        ChipError: The store is missing or unfinished, or its pixels do not fit the format.
    """
    if to not in FORMATS:
        raise ConfigError(f"format '{to}': no such format; known are {', '.join(FORMATS)}")
    target = FORMATS[to]
    if target.chips == "must" and chips is None:
        raise ConfigError(f"format '{to}' is one of pixels: name the chip store with --chips (`fetch` brings it)")
    if target.chips == "none" and chips is not None:
        raise ConfigError(f"format '{to}' holds no pixels: leave --chips out")
    loaded = read_manifest(manifest)
    if target.scenes and "scenes" not in loaded.metadata:
        raise ManifestError(f"manifest {manifest}: has no scenes, which '{to}' needs: run `csmoe-sample pair` first")
    if out.exists() and not (target.resumes and out.is_dir()):
        raise StorageError(f"{out} is there already: choose another --out, or remove it")
    task = Task(path=manifest, manifest=loaded, chips=chips, progress=progress or NoProgress())
    return str(import_module(f"{__package__}.{target.module}").write(task, out))
