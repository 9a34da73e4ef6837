"""The terms of the training objective, all in float32, over the places of all processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from csmoe_model.nn.across import Across


def patch_errors(predicted: Tensor, target: Tensor, scored: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared error of every patch over its scored pixels (B, L), 0 where it has none; and where it has any.

    Args:
        predicted: (B, L, P) Pixels of every patch.
        target: (B, L, P) Standardised pixels.
        scored: (B, L, P) True where a pixel is valid and its patch hidden.
    """
    error = functional.mse_loss(predicted.float(), target.float(), reduction="none")
    error = torch.where(scored, error, 0.0)
    pixels = scored.sum(-1)
    return error.sum(-1) / pixels.clamp(min=1), pixels > 0


def patch_statistics(patches: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, L, 1) of every patch (B, L, P) over its valid pixels."""
    count = valid.sum(-1, keepdim=True)
    mean = (patches * valid).sum(-1, keepdim=True) / count.clamp(min=1)
    square = ((patches - mean).square() * valid).sum(-1, keepdim=True)
    return mean, (square / (count - 1).clamp(min=1) + 1e-6).sqrt()


def reconstruction_loss(errors: Tensor, counted: Tensor, across: Across) -> Tensor:
    """Mean of the errors of the counted patches; 0 where there is none.

    Every process divides by its part of the patches of all, so that the mean over processes is that over patches.
    Patches count alike, however many of their pixels are valid.
    """
    return errors.sum() * across.size / across.total(counted.sum()).clamp(min=1)


def contrastive_loss(
    one: Tensor, other: Tensor, temperature: float, present: Tensor | None = None, across: Across | None = None
) -> Tensor:
    """NT-Xent over the 2 N features of N places seen by two sensors (Chen et al. 2020, arXiv 2002.05709).

    Args:
        one: (N, D) Features of one sensor.
        other: (N, D) Of the other, the same places in the same order.
        temperature: Divides the cosines.
        present: (N,) True where both sensors have the place; others take no part. Default: all.
        across: Processes whose places are told from one another. Default: this one alone.
    """
    here = torch.ones(len(one), dtype=torch.bool, device=one.device) if present is None else present
    one, other, here = (x if across is None else across.rows(x) for x in (one.float(), other.float(), here))
    features = functional.normalize(torch.cat([one, other]), dim=1)
    here = here.repeat(2)
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    with torch.autocast(features.device.type, enabled=False):  # which would take the cosines to half precision
        logits = (features @ features.T / temperature).masked_fill(itself | ~here, float("-inf"))
    positive = torch.arange(len(features), device=features.device).roll(len(one))
    # Rows of absent places hold nothing but -inf, whose gradient is NaN: they become zeros, and count nothing.
    losses = functional.cross_entropy(logits.masked_fill(~here[:, None], 0.0), positive, reduction="none")
    return (losses * here).sum() / here.sum().clamp(min=1)


def discrepancy_loss(one: Tensor, other: Tensor, present: Tensor | None = None, across: Across | None = None) -> Tensor:
    """Alignment of pairs without negatives: the mean of 1 - cosine, in [0, 2]; arguments as in `contrastive_loss`."""
    here = torch.ones(len(one), dtype=torch.bool, device=one.device) if present is None else present
    one, other, here = (x if across is None else across.rows(x) for x in (one.float(), other.float(), here))
    apart = 1.0 - functional.cosine_similarity(one, other, dim=1)
    return (apart * here).sum() / here.sum().clamp(min=1)
