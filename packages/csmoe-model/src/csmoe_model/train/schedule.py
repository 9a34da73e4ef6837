"""Learning rate and weight decay."""

from __future__ import annotations

import math

import torch
from torch import nn

from csmoe_model.train.config import OptimiserConfig

NO_DECAY = ("cls", "mask_token", "scale", "phi", "b1", "b2")
"""Last parts of the names of tokens, scales, slots and biases, which may have several dimensions."""


def learning_rate(step: int, steps: int, config: OptimiserConfig) -> float:
    """The rate of a step, 0 to steps - 1: a line up to `lr` over the warm-up, then half a cosine down to `min_lr`."""
    warmup = round(config.warmup * steps)
    if step < warmup:
        return config.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return config.min_lr + (config.lr - config.min_lr) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def build_optimiser(model: nn.Module, config: OptimiserConfig) -> torch.optim.AdamW:
    """AdamW whose decay leaves out norms, biases, tokens, slots and scales."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        bare = parameter.ndim <= 1 or name.rsplit(".", 1)[-1] in NO_DECAY
        (plain if bare else decayed).append(parameter)
    groups: list[dict[str, object]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)  # several times as fast, on CPUs too
