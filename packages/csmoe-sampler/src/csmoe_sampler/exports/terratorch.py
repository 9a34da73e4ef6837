"""TerraTorch: GeoTIFFs in a folder a modality, lists of the splits, and the settings of its generic data module.

    S2L2A/543U_17R_S2L2A.tif  S1RTC/543U_17R_S1RTC.tif  train.txt  validation.txt  test.txt  datamodule.yaml

Means and deviations are those of the valid pixels of the training split.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from csmoe_sampler.chips.export import Job
from csmoe_sampler.chips.geotiff import write_layer
from csmoe_sampler.chips.rows import masked
from csmoe_sampler.errors import ManifestError
from csmoe_sampler.exports.chip_files import write_chips
from csmoe_sampler.exports.task import Task, record_name
from csmoe_sampler.progress import Progress
from csmoe_sampler.storage import write_bytes
from csmoe_sampler.types import Float64

MODALITIES = {"s2": "S2L2A", "s1": "S1RTC"}
"""Array of the store -> modality, as TerraTorch calls it."""
SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Split of the manifest -> that of a data module; `buffer` rows belong to none."""
SETTINGS = "datamodule.yaml"
_RGB = ("B04", "B03", "B02")


@dataclass
class _Sums:
    """Running sums of the valid pixels of each band."""

    count: Float64 | float = 0.0
    total: Float64 | float = 0.0
    squares: Float64 | float = 0.0

    def add(self, pixels: npt.NDArray[Any]) -> None:
        """Pixels (bands, H, W) with NaN where they are not valid."""
        values = pixels.reshape(len(pixels), -1).astype(np.float64)
        self.count = self.count + np.isfinite(values).sum(axis=1)
        self.total = self.total + np.nansum(values, axis=1)
        self.squares = self.squares + np.nansum(values**2, axis=1)

    def moments(self) -> dict[str, list[float]]:
        """Means and deviations; 0 and 1 of a band without valid pixels or variance."""
        count = np.maximum(self.count, 1)
        mean = self.total / count
        std = np.sqrt(np.maximum(self.squares / count - mean**2, 0))
        std = np.where(std > 0, std, 1.0)
        return {"means": np.round(mean, 4).tolist(), "stds": np.round(std, 4).tolist()}


@dataclass
class _Found:
    """What the settings are made of."""

    sums: dict[str, _Sums] = field(default_factory=dict)
    samples: dict[str, list[str]] = field(default_factory=lambda: {split: [] for split in SPLITS})


def write(task: Task, out: Path) -> str:
    """Writes files, lists and settings."""
    if "train" not in task.manifest.table["split"].unique().to_pylist():
        raise ManifestError(f"manifest {task.path}: no row has the split 'train': lower the shares of [split]")
    return write_chips(task, out, "terratorch", _write_modalities)


def _write_modalities(job: Job, out: Path, progress: Progress) -> tuple[str, ...]:
    layers = [layer for layer in MODALITIES if layer in job.rows.bands]
    found = _Found(sums={layer: _Sums() for layer in layers})
    for chip in job.rows.read(job.wanted):
        name = record_name(chip.tile_id, chip.season)
        split = job.about[chip.tile_id]["split"]
        if split in SPLITS:
            found.samples[split].append(name)
        for layer in layers:
            path = out / MODALITIES[layer] / f"{name}_{MODALITIES[layer]}.tif"
            if not path.exists():
                write_layer(chip, layer, job.rows, path)
            if split == "train":
                found.sums[layer].add(masked(chip.arrays[layer], job.rows.layers[layer]))
        if chip.season == job.rows.seasons[-1]:
            progress.advance(1)
    # An empty list too: without one, TerraTorch would take all files for the split.
    for split, names in found.samples.items():
        write_bytes(out / f"{split}.txt", "".join(f"{name}\n" for name in names).encode())
    write_bytes(out / SETTINGS, _yaml(_settings(job, layers, found.sums)).encode())
    return tuple(MODALITIES[layer] for layer in layers)


def _settings(job: Job, layers: list[str], sums: dict[str, _Sums]) -> dict[str, Any]:
    moments = {MODALITIES[layer]: sums[layer].moments() for layer in layers}
    arguments: dict[str, Any] = {
        "batch_size": 16,
        "modalities": list(moments),
        "image_grep": {modality: f"*_{modality}.tif" for modality in moments},
        "allow_substring_file_names": False,
        "dataset_bands": {MODALITIES[layer]: list(job.rows.bands[layer]) for layer in layers},
        "output_bands": {MODALITIES[layer]: list(job.rows.bands[layer]) for layer in layers},
        "means": {modality: found["means"] for modality, found in moments.items()},
        "stds": {modality: found["stds"] for modality, found in moments.items()},
        "no_data_replace": 0.0,
        "data_root": {modality: modality for modality in moments},
    }
    arguments |= {f"{name}_split": f"{split}.txt" for split, name in SPLITS.items()}
    if set(_RGB) <= set(job.rows.bands["s2"]):
        arguments["rgb_indices"] = {"S2L2A": [job.rows.bands["s2"].index(band) for band in _RGB]}
    return {"class_path": "terratorch.datamodules.GenericMultiModalDataModule", "init_args": arguments}


def _yaml(settings: dict[str, Any]) -> str:
    """Settings as YAML; JSON is a part of YAML, so that leaves are written as JSON."""
    lines = ["# Under `data:` of a TerraTorch configuration; paths are relative to this folder."]

    def add(values: dict[str, Any], indent: str) -> None:
        for key, value in values.items():
            if isinstance(value, dict):
                lines.append(f"{indent}{key}:")
                add(value, indent + "  ")
            else:
                lines.append(f"{indent}{key}: {json.dumps(value)}")

    add(settings, "")
    return "\n".join(lines) + "\n"
