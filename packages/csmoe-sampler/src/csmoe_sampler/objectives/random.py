"""Simple random sampling without replacement."""

from __future__ import annotations

import numpy as np

from csmoe_sampler.features import Features
from csmoe_sampler.types import Int64


class Random:
    """Tiles in the order of their keys: every prefix is a simple random sample."""

    name = "random"
    probability_design = True
    nested = True
    alpha: float | None = None

    def order(self, features: Features, quota: int, rng_seed: int) -> Int64:
        """The `quota` tiles with the smallest keys."""
        return np.argsort(features.keys, kind="stable")[:quota]
