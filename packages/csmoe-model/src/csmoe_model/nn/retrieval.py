"""Heads for search, beside the pooled features."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from csmoe_model.config import HeadsConfig

Role = Literal["same", "cross"]
"""Search among images of the same sensor, or among those of another."""


class RetrievalHeads(nn.ModuleDict):
    """A perceptron for each role, the same one for all sensors: pooled features (B, D) -> (B, dim)."""

    def __init__(self, dim: int, config: HeadsConfig) -> None:
        super().__init__({role: _perceptron(dim, config) for role in ("same", "cross")})

    def forward(self, pooled: Tensor, role: Role) -> Tensor:
        """Features for a role."""
        projected: Tensor = self[role](pooled)
        return projected


def _perceptron(dim: int, config: HeadsConfig) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.dim))
