"""Simple random sampling with strata in proportion to their size: what a uniform random draw would give on average."""

from __future__ import annotations

from csmoe_sampler.objectives.random import Random


class Proportional(Random):
    """Random sampling that imposes alpha = 1 on the allocation."""

    name = "proportional"
    alpha = 1.0
