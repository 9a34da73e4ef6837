"""The model card (Mitchell et al. 2019, in the layout of the Hugging Face Hub): what is known of a model, and what not.

Nothing is claimed that the checkpoint or results do not hold; what only authors know is left as a question with
`<!-- to be written -->`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from csmoe_model import __version__
from csmoe_model.adapters.backbone import named
from csmoe_model.adapters.card_results import NO_RESULTS, evaluation
from csmoe_model.config import ModelConfig
from csmoe_model.cost import dense_twin, encoder_cost, training_macs
from csmoe_model.errors import CheckpointError
from csmoe_model.nn.blocks import DECODER_EPS, ENCODER_EPS
from csmoe_model.profiling.count import count_parameters
from csmoe_model.train.checkpoint import STATE, load_model, read_config, resolve
from csmoe_model.train.config import TrainConfig

NOT_RECORDED = "not recorded"
_VERSION = f"csmoe-model {__version__}"
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

**Who made it, for which uses, and for which not?** <!-- to be written -->

## Input

Square images of {image_px} x {image_px} px, patches of {patch_px} px. Channels in this order and unit, standardised as
`(value - mean) / std`, then 0 where a pixel is not valid:

{sensors}

## Model

{model}

## Cost

{cost}

## Training data

{data}

## Training

{training}

## Evaluation

{evaluation}

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

## Licence

None of the weights is stated here: it depends on the training data, and who publishes them has to name it. The code,
csmoe-model, is under Apache-2.0.
"""
_USE = """\
from pathlib import Path

import torch
from csmoe_model.train.checkpoint import load_model

model = load_model(Path("{name}"))
features = model.encode({images})"""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a checkpoint folder tells of how its weights came about."""

    config: TrainConfig
    state: Mapping[str, Any] | None
    """Of the run; None: the folder holds a model alone."""

    @staticmethod
    def of(folder: Path) -> Origin:
        """That of a checkpoint folder; raises CheckpointError where it has no configuration."""
        path = folder / STATE
        return Origin(config=read_config(folder), state=json.loads(path.read_bytes()) if path.exists() else None)


def model_card(
    config: ModelConfig, parameters: int, use: str, *, origin: Origin | None = None, tables: str = NO_RESULTS
) -> str:
    """A README of the Hugging Face Hub.

    Args:
        config: The model.
        parameters: Of what is in the folder.
        use: Python that loads it.
        origin: How it was trained; None: not recorded.
        tables: Of `evaluation`.
    """
    moe = config.encoder.moe
    return _CARD.format(
        title=named(config) or ("csmoe" if moe else "csmae"),
        kind="with Soft mixture-of-experts" if moe else "with dense feed-forward layers",
        tag="soft-moe" if moe else "vit",
        image_px=config.image_px,
        patch_px=config.patch_px,
        sensors=_sensors(config),
        model=_table(("", ""), _model_facts(config, parameters).items()),
        cost=_cost(config, origin),
        data=_data(origin),
        training=_training(origin),
        evaluation=tables,
        use=use,
    )


def write_card(checkpoint: Path, out: Path, results: Sequence[Path] = ()) -> Path:
    """Writes the card of a checkpoint or run into a new file; its path.

    Raises:
        CheckpointError: It cannot be loaded, or `out` exists.
        ConfigError: Results are not of this model.
        DataError: They cannot be read.
    """
    if out.exists():
        raise CheckpointError(f"card {out}: exists; choose another --out")
    model = load_model(checkpoint)
    use = _USE.format(name=checkpoint.resolve().name, images=blank_images(model.config))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    tables, origin = evaluation(checkpoint, results), Origin.of(resolve(checkpoint))
    out.write_text(model_card(model.config, parameters, use, origin=origin, tables=tables), encoding="utf-8")
    return out


def blank_images(config: ModelConfig) -> str:
    """Python for an image of every sensor."""
    edge = config.image_px
    images = (f'"{name}": torch.zeros(1, {one.num_bands}, {edge}, {edge})' for name, one in config.sensors.items())
    return f"{{{', '.join(images)}}}"


def _model_facts(config: ModelConfig, parameters: int) -> dict[str, object]:
    own, moe = config.encoder, config.encoder.moe
    facts: dict[str, object] = {
        "Encoder": f"width {own.dim}, {own.heads} heads, {own.specific_depth} blocks of each sensor and "
        f"{own.shared_depth} shared ones, MLP ratio {own.mlp_ratio:g}",
        "Decoder": f"width {config.decoder.dim}, {config.decoder.heads} heads, {config.decoder.depth} blocks, "
        f"{'one for each sensor' if config.decoder.separate else 'one for all sensors'}; not needed for features",
        "LayerNorm eps": f"{ENCODER_EPS:g} in the encoder, {DECODER_EPS:g} in decoders",
        "Class token": "yes" if config.cls_token else "no",
        "Retrieval heads": f"two, of width {config.retrieval.dim}" if config.retrieval else "none",
        "Parameters in the folder": f"{parameters:,}",
    }
    if moe:
        facts["Mixtures"] = (
            f"blocks {moe.blocks}, {moe.experts} experts of {moe.slots_per_expert} slots, "
            f"{moe.width:g} of the dense width"
        )
    return facts


def _sensors(config: ModelConfig) -> str:
    lines = [
        (name, band, sensor.unit, f"{mean:g}", f"{std:g}", f"{sensor.gsd_m:g} m")
        for name, sensor in config.sensors.items()
        for band, mean, std in zip(sensor.bands, sensor.mean, sensor.std, strict=True)
    ]
    return _table(("sensor", "band", "unit", "mean", "std", "ground sampling"), lines)


def _cost(config: ModelConfig, origin: Origin | None) -> str:
    """Counted from the configuration, beside the dense twin."""
    configs = [config, dense_twin(config)] if config.encoder.moe else [config]
    counted = [count_parameters(one) for one in configs]
    figures = {"parameters of the encoder": [one.encoder for one in counted]}
    for name in config.sensors:
        figures[f"parameters on the path of {name}"] = [one.active[name] for one in counted]
        figures[f"multiply-adds, an image of {name}"] = [encoder_cost(one, name).macs for one in configs]
    figures["multiply-adds, a place in a training step"] = list(map(training_macs, configs))
    head = ("", "this model", "its dense twin", "share")[: 2 * len(configs)]
    shown = [
        (what, *(f"{value:,}" for value in values), *([f"{values[0] / values[1]:.2f}"] if values[1:] else []))
        for what, values in figures.items()
    ]
    said = "Counted from the configuration; a multiply-add is two FLOP. Time and memory: `csmoe-train profile`."
    if origin and origin.state and origin.state["step"]:
        total = training_macs(config) * origin.config.batch * origin.state["step"]
        said += f" The steps done took {2 * total:.3g} FLOP, steps that were left out or lost in a kill not counted."
    return f"{_table(head, shown)}\n\n{said}"


def _data(origin: Origin | None) -> str:
    state = origin.state if origin else None
    if origin is None or state is None:
        return "Not recorded: the weights come without the state of a run."
    sample = state.get("sample", {})
    facts = {
        "Region": sample.get("region", NOT_RECORDED),
        "Rows": f"{sample['rows']:,}" if "rows" in sample else NOT_RECORDED,
        "Split": origin.config.data.split,
        "Held out for probes": origin.config.data.held_out,
        "Rows drawn by their weights": "yes" if origin.config.data.weighted else "no",
        "Seed of the sample": sample.get("seed", NOT_RECORDED),
        "Digest of the sample's configuration": sample.get("config_digest", NOT_RECORDED),
        "Fingerprint of rows and chips": state.get("data") or NOT_RECORDED,
    }
    said = "Of the manifest itself `csmoe-sample export --to datasheet` makes a data sheet."
    return f"{_table(('', ''), facts.items())}\n\n{said}\n\n**Where can it be had?** <!-- to be written -->"


def _training(origin: Origin | None) -> str:
    if origin is None:
        return "Not recorded."
    config, state = origin.config, origin.state
    own, model = config.optimiser, config.model
    losses = {name: getattr(model.loss, name) for name in ("umr", "cmr", "mim", "mde")}
    betas = ", ".join(f"{beta:g}" for beta in own.betas)
    facts = {
        "Steps done": state["step"] if state else NOT_RECORDED,
        "Steps planned": f"{config.max_steps:,}" if config.max_steps else f"{config.epochs} epochs",
        "Batch": f"{config.batch} places" + (f" in {config.accumulate} parts" if config.accumulate > 1 else ""),
        "Optimiser": f"AdamW, lr {own.lr:g} to {own.min_lr:g} by a cosine, warm-up {100 * own.warmup:g} % of "
        f"the steps, betas {betas}, weight decay {own.weight_decay:g}, largest norm of the gradient "
        f"{f'{own.clip_norm:g}' if own.clip_norm else 'any'}",
        "Terms of the loss": ", ".join(f"{name} {weight:g}" for name, weight in losses.items() if weight),
        "Hidden patches": ", ".join(f"{100 * share:g} % of {name}" for name, share in model.ratios.items())
        + f", {model.mask.correspondence}",
        "Crops": "edges of {:g} to {:g} image edges".format(*config.data.crop_scale)
        if config.data.crop_scale
        else "none",
        "Precision": config.precision,
        "Seed": config.seed,
        "Hardware and hours": NOT_RECORDED,
    }
    if state:
        said = f"`csmoe-train pretrain`; everything that decided the run is in its `config.json` (read by {_VERSION})."
    else:
        said = (
            "The settings are those of `config.json`. The weights come without the state of a run, so that nothing "
            "shows whether they were trained with them."
        )
    return f"{said}\n\n{_table(('', ''), facts.items())}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
