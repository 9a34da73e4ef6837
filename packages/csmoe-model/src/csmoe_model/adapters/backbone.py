"""The model behind an adapter: from a checkpoint, an exported folder or a preset, with layers that it really has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from csmoe_model.config import ModelConfig
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.extractors.own import trained, untrained
from csmoe_model.nn.model import CSMoE
from csmoe_model.presets import PRESETS, preset


def opened(checkpoint: Path | str | None, name: str, image_px: int | None = None) -> CSMoE:
    """The model of a checkpoint, run or exported folder, or one with random weights in the shape of the preset `name`.

    Raises:
        CheckpointError: The checkpoint cannot be loaded.
        ConfigError: There is no such preset, or the size is no multiple of the patch.
    """
    if checkpoint is None:
        return untrained(preset(name), image_px=image_px).module
    return trained(Path(checkpoint), image_px=image_px).module


def named(config: ModelConfig) -> str | None:
    """The preset whose encoder has this width, depth and patch, `csmoe-base-p14`; none: there is none."""
    kind = "csmoe" if config.encoder.moe else "csmae"
    for name in PRESETS:
        if name.startswith(kind) and shape(preset(name)) == shape(config):
            return name
    return None


def shape(config: ModelConfig) -> tuple[int, int, int, bool]:
    """What the name of a preset tells: width, blocks, patch, whether there are mixtures."""
    return config.encoder.dim, config.encoder.depth, config.patch_px, config.encoder.moe is not None


def layers_of(asked: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """Numbers of blocks, from 0 on; negative ones count from the end, none stands for all.

    Raises:
        ConfigError: A block is asked for that there is not.
    """
    if asked is None:
        return tuple(range(depth))
    if bad := [k for k in asked if not -depth <= k < depth]:
        raise ConfigError(f"layers {bad} of an encoder of {depth} blocks: count from 0 to {depth - 1}")
    return tuple(k % depth for k in asked)


def as_maps(tokens: Tensor) -> Tensor:
    """Row-major tokens (B, L, D) of a square grid as (B, D, rows, columns)."""
    grid = round(tokens.shape[1] ** 0.5)
    maps: Tensor = tokens.transpose(1, 2).unflatten(2, (grid, grid))
    return maps
