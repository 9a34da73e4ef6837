"""The terms of the training objective, all in float32."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def reconstruction_loss(predicted: Tensor, target: Tensor, scored: Tensor) -> Tensor:
    """Mean over the scored pixels of the squared error; 0 where none is.

    The mean is taken within each patch first and then over patches, so that one with few valid pixels counts as much.

    Args:
        predicted: (B, L, P) Pixels of every patch.
        target: (B, L, P) Standardised pixels.
        scored: (B, L, P) True where a pixel is valid and its patch hidden.
    """
    error = (predicted.float() - target.float()).square().masked_fill(~scored, 0.0)
    pixels = scored.sum(-1)
    patch = error.sum(-1) / pixels.clamp(min=1)
    counted = pixels > 0
    return patch.sum() / counted.sum().clamp(min=1)


def contrastive_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """NT-Xent over the 2 N features of N places seen by two sensors (Chen et al. 2020, arXiv 2002.05709).

    Args:
        one: (N, D) Features of one sensor.
        other: (N, D) Of the other, the same places in the same order.
        temperature: Divides the cosines.
    """
    features = functional.normalize(torch.cat([one, other]).float(), dim=1)
    logits = features @ features.T / temperature
    logits = logits.masked_fill(torch.eye(len(logits), dtype=torch.bool, device=logits.device), float("-inf"))
    positive = torch.arange(len(logits), device=logits.device).roll(len(one))
    return functional.cross_entropy(logits, positive)


def discrepancy_loss(one: Tensor, other: Tensor) -> Tensor:
    """Alignment of pairs without negatives: the mean of 1 - cosine, in [0, 2]."""
    return 1.0 - functional.cosine_similarity(one.float(), other.float(), dim=1).mean()
