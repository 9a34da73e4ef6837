"""Which patches each sensor hides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from csmoe_model.config import visible_patches

Correspondence = Literal["independent", "identical", "disjoint"]


class Mask(NamedTuple):
    """A choice of hidden patches for a batch; a tuple, for those who wrap models look into what goes into them."""

    visible: Tensor
    """(B, v) Positions of the visible patches in row-major order, ascending."""
    hidden: Tensor
    """(B, L) True where a patch is hidden."""

    @property
    def rest(self) -> Tensor:
        """(B, L - v) Positions of the hidden patches, ascending: the other view of the image."""
        num_hidden = self.hidden.shape[1] - self.visible.shape[1]
        return self.hidden.byte().argsort(dim=1, descending=True, stable=True)[:, :num_hidden]


def draw_masks(
    noise: Mapping[str, Tensor], ratios: Mapping[str, float], correspondence: Correspondence
) -> dict[str, Mask]:
    """A mask for every sensor; L - floor(L (1 - ratio)) patches of each are hidden.

    Args:
        noise: (B, L) Uniform numbers of each sensor; the patches with the smallest are visible.
        ratios: Share hidden, by sensor.
        correspondence: `independent` permutations; the `identical` one for all, from the first sensor's noise; or
            `disjoint`: every second sensor takes that permutation in reverse, so that at ratio 1/2 it hides what the
            others see.
    """
    masks: dict[str, Mask] = {}
    first = next(iter(noise))
    for k, (name, own) in enumerate(noise.items()):
        order = (own if correspondence == "independent" else noise[first]).argsort(dim=1, stable=True)
        turned = order.flip(1) if correspondence == "disjoint" and k % 2 else order
        visible = turned[:, : visible_patches(order.shape[1], ratios[name])].sort(dim=1).values
        hidden = torch.ones_like(order, dtype=torch.bool).scatter_(1, visible, False)
        masks[name] = Mask(visible, hidden)
    return masks
