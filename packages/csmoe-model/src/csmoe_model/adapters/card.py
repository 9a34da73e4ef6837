"""The model card: what is known of a model, and what is not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from csmoe_model import __version__
from csmoe_model.adapters.backbone import named
from csmoe_model.config import ModelConfig
from csmoe_model.cost import encoder_cost
from csmoe_model.nn.blocks import DECODER_EPS, ENCODER_EPS
from csmoe_model.train.checkpoint import STATE
from csmoe_model.train.config import TrainConfig

_CARD = """\
---
library_name: csmoe-model
pipeline_tag: image-feature-extraction
tags:
- earth-observation
- remote-sensing
- masked-autoencoder
- {tag}
---

# {title}

A cross-sensor masked autoencoder {kind}.
It turns one image of one sensor into patch tokens in row-major order and one pooled feature (the normalised mean of the
tokens); features of several sensors of a place lie in one space.

## Input

Square images of {image_px} x {image_px} px, patches of {patch_px} px. Channels in this order and unit, standardised as
`(value - mean) / std`, then 0 where a pixel is not valid:

{sensors}

## Model

| | |
|---|---|
{facts}

## Training

| | |
|---|---|
{training}

## Use

```python
{use}
```

## Limits

- Other units, orders of bands or offsets (reflectance against DN, linear power against dB, Sentinel-2's +1000) give
  features of no worth, and nothing tells.
- A band that is lacking cannot be left out: fill it with its mean, and say so.
- Features of layers are those of the blocks as they are, before any norm.
- It has seen no more than its training data: places, seasons and sensors beside them are untested. Compare it with
  image statistics and with random weights on the task at hand (`csmoe-train evaluate`) before relying on it.
- No licence of the weights is stated here: it depends on the training data, and who publishes them has to name it.
"""


def model_card(config: ModelConfig, parameters: int, training: str, use: str) -> str:
    """A README of the Hugging Face Hub: sensors, sizes, training, use, limits; `parameters` are those in the folder."""
    kind = "with Soft mixture-of-experts" if config.encoder.moe else "with dense feed-forward layers"
    return _CARD.format(
        title=named(config) or ("csmoe" if config.encoder.moe else "csmae"),
        kind=kind,
        tag="soft-moe" if config.encoder.moe else "vit",
        image_px=config.image_px,
        patch_px=config.patch_px,
        sensors=_sensors(config),
        facts=_facts(config, parameters),
        training=training,
        use=use,
    )


def training_facts(folder: Path, config: TrainConfig) -> str:
    """Rows of a table: what a checkpoint folder tells of its training."""
    path = folder / STATE
    state = json.loads(path.read_bytes()) if path.exists() else {}
    rows = {
        "Steps done": state.get("step", "not recorded"),
        "Batch": config.batch,
        "Precision": config.precision,
        "Seed": config.seed,
        "Training data, digest": state.get("data") or "not recorded",
        "Split": config.data.split,
        "Command": f"`csmoe-train pretrain` of csmoe-model {__version__}; everything that decided the run is in the "
        "`config.json` of its checkpoint",
    }
    return _rows(rows)


def _sensors(config: ModelConfig) -> str:
    lines = ["| sensor | band | unit | mean | std | ground sampling |", "|---|---|---|---|---|---|"]
    for name, sensor in config.sensors.items():
        lines += [
            f"| {name} | {band} | {sensor.unit} | {mean:g} | {std:g} | {sensor.gsd_m:g} m |"
            for band, mean, std in zip(sensor.bands, sensor.mean, sensor.std, strict=True)
        ]
    return "\n".join(lines)


def _facts(config: ModelConfig, parameters: int) -> str:
    own, moe = config.encoder, config.encoder.moe
    rows = {
        "Encoder": f"width {own.dim}, {own.heads} heads, {own.specific_depth} blocks of each sensor and "
        f"{own.shared_depth} shared ones, MLP ratio {own.mlp_ratio:g}",
        "LayerNorm eps": f"{ENCODER_EPS:g} in the encoder, {DECODER_EPS:g} in decoders",
        "Class token": "yes" if config.cls_token else "no",
        "Parameters": f"{parameters:,}",
    }
    if moe:
        rows["Mixtures"] = (
            f"blocks {moe.blocks}, {moe.experts} experts of {moe.slots_per_expert} slots, "
            f"{moe.width:g} of the dense width"
        )
    for name in config.sensors:
        rows[f"Multiply-adds of an image of {name}"] = f"{encoder_cost(config, name).macs:,}"
    return _rows(rows)


def _rows(rows: Mapping[str, object]) -> str:
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())
