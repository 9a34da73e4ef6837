"""Signs of collapse and of idle experts, from features and routings; no gradients, one pass.

Shapes: N features, D width; B images, m tokens, n experts, p slots an expert, s = n p slots, d width of a layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from csmoe_model.nn.soft_moe import Experts, Routing, SoftMoE

DEAD = 0.01
"""A slot that gets less than this share of an even part of the combine weights is dead."""
_INPUTS = 32
"""Inputs on which the experts of a layer are compared."""


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the normalised singular values of centred features (N, D), Roy and Vetterli 2007.

    From 1, where they lie on a line, to min(N - 1, D); 0 where all are the same, and NaN where one is not finite.
    Singular values within the rounding of float32 count as 0.
    """
    if not features.isfinite().all():
        return math.nan
    exact = features.double()
    values = torch.linalg.svdvals(exact - exact.mean(0))
    values = values[values > torch.finfo(torch.float32).eps * exact.norm()]
    return float(torch.exp(torch.special.entr(values / values.sum()).sum())) if len(values) else 0.0


def feature_std(features: Tensor) -> float:
    """Standard deviation of unit-length features (N, D), mean over channels, in units of 1 / sqrt(D).

    1 where they fill the sphere, 0 where all point the same way: collapse.
    """
    unit = functional.normalize(features.double(), dim=1)
    return float(unit.std(0, correction=0).mean()) * math.sqrt(features.shape[1])


@torch.no_grad()
def expert_similarity(experts: Experts, inputs: Tensor) -> float:
    """Mean cosine between what different experts make of the same inputs (k, d): 1 for copies, 0 for unrelated ones.

    Of outputs and not of weights, so that the order of hidden units does not matter.
    """
    n = len(experts.w1)
    if n < 2:
        return 1.0
    outputs = experts.forward(inputs.expand(n, *inputs.shape))  # past the hooks
    unit = functional.normalize(outputs.float(), dim=-1)
    # Over all ordered pairs: |sum of n unit vectors|² = n + sum of the cosines of different ones
    cosines = (unit.sum(0).square().sum(-1) - unit.square().sum(-1).sum(0)) / (n * (n - 1))
    return float(cosines.mean())


@dataclass
class Tally:
    """What the routings of a layer add up to."""

    num_experts: int
    images: int = 0
    dispatch_entropy: float = 0.0
    combine_entropy: float = 0.0
    """Sums over the images."""
    mass: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))
    """(s,) Combine weight that each slot got, summed over images, mean over tokens."""

    @torch.no_grad()
    def add(self, routing: Routing) -> None:
        """Counts the images of one routing."""
        self.images += len(routing.combine)
        self.dispatch_entropy += _entropy(routing.dispatch, 1)
        self.combine_entropy += _entropy(routing.combine, 2)
        mass = routing.combine.double().mean(1).sum(0).cpu()
        self.mass = self.mass + mass if len(self.mass) else mass

    def figures(self) -> dict[str, float]:
        """Figures of the layer.

        `dispatch_entropy` (over tokens, of a slot) and `combine_entropy` (over slots, of a token) are relative to
        uniform: 1 where all weigh alike, 0 where one has all. `dead_slots` is a share of the slots. `expert_share/k` is
        the expert's part of the combine weights; the smallest and the largest come relative to an even part.
        """
        share = self.mass / self.mass.sum()
        of_expert = share.view(self.num_experts, -1).sum(1)
        even = of_expert * self.num_experts
        return {
            "dispatch_entropy": self.dispatch_entropy / self.images,
            "combine_entropy": self.combine_entropy / self.images,
            "dead_slots": float((share * len(share) < DEAD).double().mean()),
            "expert_share_min": float(even.min()),
            "expert_share_max": float(even.max()),
            **{f"expert_share/{k}": float(value) for k, value in enumerate(of_expert)},
        }


class Watch:
    """Context in which the routings of a model's mixture layers are tallied; nothing of them is kept."""

    def __init__(self, model: nn.Module) -> None:
        self._layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, SoftMoE)}
        self._tallies: dict[str, Tally] = {}
        self._similarity: dict[str, float] = {}
        self._hooks: list[Any] = []

    def __enter__(self) -> Watch:
        for name, layer in self._layers.items():
            self._hooks.append(layer.router.register_forward_hook(self._tally(name, layer)))
            self._hooks.append(layer.experts.register_forward_pre_hook(self._compare(name)))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def table(self) -> dict[str, dict[str, float]]:
        """Figures of each layer that was run, by the name of the module; empty for a dense model."""
        return {
            name: tally.figures()
            | {
                "expert_similarity": self._similarity[name],
                "router_scale": float(self._layers[name].router.scale.detach()),
            }
            for name, tally in self._tallies.items()
        }

    def _tally(self, name: str, layer: SoftMoE) -> Any:
        def hook(_: nn.Module, __: Any, routing: Routing) -> None:
            self._tallies.setdefault(name, Tally(layer.num_experts)).add(routing)

        return hook

    def _compare(self, name: str) -> Any:
        def hook(experts: Experts, arguments: tuple[Tensor]) -> None:
            if name not in self._similarity:  # once: weights do not change while one looks
                slots = arguments[0].flatten(0, 1)
                few = torch.linspace(0, len(slots) - 1, min(_INPUTS, len(slots)), device=slots.device).round().long()
                self._similarity[name] = expert_similarity(experts, slots[few])

        return hook


def overall(rows: list[dict[str, float]]) -> dict[str, float]:
    """Layers in one: means, and of the shares of experts the extremes; empty where there are none."""
    figures = {}
    for key in rows[0] if rows else ():
        values = [row[key] for row in rows]
        if key == "expert_share_min":
            figures[key] = min(values)
        elif key == "expert_share_max":
            figures[key] = max(values)
        elif "/" not in key:
            figures[key] = math.fsum(values) / len(values)
    return figures


def _entropy(weights: Tensor, dim: int) -> float:
    """Entropy along `dim` relative to uniform, mean over the rest of an image, sum over images; 1 without a choice."""
    if weights.shape[dim] == 1:
        return float(len(weights))
    entropy = torch.special.entr(weights.double()).sum(dim).mean(1).sum()
    return float(entropy) / math.log(weights.shape[dim])
