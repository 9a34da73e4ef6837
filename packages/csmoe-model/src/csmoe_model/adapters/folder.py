"""An exported folder, with a file that loads it in another project."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from csmoe_model.adapters.backbone import layers_of
from csmoe_model.adapters.bands import OPTICAL, SAR, canonical
from csmoe_model.adapters.huggingface import export_huggingface
from csmoe_model.config import ModelConfig
from csmoe_model.errors import ConfigError
from csmoe_model.sensors import Sensor
from csmoe_model.train.checkpoint import model_config

Kind = Literal["huggingface", "terratorch", "torchgeo", "pangaea", "geobench"]
LOADERS = {
    "terratorch": "backbone.py",
    "torchgeo": "model.py",
    "pangaea": "csmoe.yaml",
    "geobench": "csmoe.yaml",
}
"""Name of the file, by kind."""
_TERRATORCH = '''\
"""The backbone of this folder in TerraTorch; in its YAML: backbone csmoe, the arguments below as backbone_NAME.

Means and deviations for the data module, in the order of `model_bands`: MEANS and STDS.
"""

from pathlib import Path

from terratorch.registry import BACKBONE_REGISTRY

import csmoe_model.adapters.terratorch  # registers it

MEANS = {means}
STDS = {stds}
backbone = BACKBONE_REGISTRY.build(
    "csmoe",
    pretrained=True,
    ckpt_path=str(Path(__file__).parent),
    modalities={modalities},
    model_bands={bands},
    out_indices={layers},
)
'''
_TORCHGEO = '''\
"""The model of this folder in TorchGeo's manner; `weights.transforms` standardises, `weights.meta` tells the bands."""

from pathlib import Path

from csmoe_model.adapters.torchgeo import csmoe, weights_of

weights = weights_of(Path(__file__).parent).FOLDER
model = csmoe(weights)
'''
_PANGAEA = """\
# configs/encoder/csmoe.yaml of pangaea-bench
_target_: csmoe_model.adapters.pangaea.CSMoEEncoder
encoder_weights: {folder}
download_url: ""
input_size: {image_px}
input_bands:
{bands}
output_layers: {layers}
output_dim: {width}
"""
_GEOBENCH = """\
# conf/model/csmoe.yaml of torchgeo-bench
_target_: csmoe_model.adapters.geobench.CSMoEBenchModel
name: {name}
checkpoint: {folder}
"""


def export_folder(
    checkpoint: Path,
    out: Path,
    kind: Kind,
    *,
    sensors: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    results: Sequence[Path] = (),
) -> Path:
    """Writes weights, configuration, model card and a loader into a new folder; its path.

    Args:
        checkpoint: Checkpoint, run or exported folder.
        out: The folder.
        kind: For whom.
        sensors: Of the loader; default: all.
        layers: Of the loader; default: four, evenly spread.
        results: Folders of `csmoe-train evaluate`, for the card.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or `out` exists.
        ConfigError: There is no such sensor or layer, or the other project knows none like it, or results are not of
            this model.
        DataError: Results cannot be read.
    """
    config = model_config(checkpoint)
    if unknown := [name for name in sensors or () if name not in config.sensors]:
        raise ConfigError(f"the model has no sensor {', '.join(unknown)}: it has {', '.join(config.sensors)}")
    text = _loader(kind, config, out, list(sensors or config.sensors), _spread(config, layers))
    export_huggingface(checkpoint, out, results)
    if kind in LOADERS:
        (out / LOADERS[kind]).write_text(text, encoding="utf-8")
    return out


def _spread(config: ModelConfig, layers: Sequence[int] | None) -> list[int]:
    depth = config.encoder.depth
    return list(layers_of(layers or [depth * part // 4 - 1 for part in range(1, 5)], depth))


def _loader(kind: Kind, config: ModelConfig, out: Path, sensors: list[str], layers: list[int]) -> str:
    own = {name: config.sensors[name] for name in sensors}
    folder = out.absolute()
    if kind == "terratorch":
        names = {_modality(name, sensor, "S1GRD", "S2L2A"): sensor for name, sensor in own.items()}
        return _TERRATORCH.format(
            modalities=list(names),
            bands={name: list(sensor.bands) for name, sensor in names.items()},
            means={name: list(sensor.mean) for name, sensor in names.items()},
            stds={name: list(sensor.std) for name, sensor in names.items()},
            layers=layers,
        )
    if kind == "pangaea":
        lines = [
            f"  {_modality(name, sensor, 'sar', 'optical')}: [{', '.join(map(_as_theirs, sensor.bands))}]"
            for name, sensor in own.items()
        ]
        width = config.encoder.dim * len(own)
        return _PANGAEA.format(
            folder=folder, image_px=config.image_px, bands="\n".join(lines), layers=layers, width=width
        )
    if kind == "geobench":
        return _GEOBENCH.format(name=out.name, folder=folder)
    return _TORCHGEO if kind == "torchgeo" else ""


def _modality(name: str, sensor: Sensor, radar: str, optical: str) -> str:
    """What another project calls a sensor; its own name where it is neither radar nor optical."""
    bands = {canonical(band) for band in sensor.bands}
    return radar if bands <= SAR else optical if bands <= OPTICAL else name


def _as_theirs(band: str) -> str:
    """`B8` of `B08`: PANGAEA's names have no zero."""
    return band.replace("B0", "B", 1)
