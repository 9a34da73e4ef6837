"""Where a model computes."""

from __future__ import annotations

import torch

from csmoe_model.errors import ConfigError


def find_device(name: str) -> torch.device:
    """The device of a name: `cpu`, `cuda`, or `auto`, which is the GPU where there is one.

    Raises:
        ConfigError: It is unknown, or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"--device {name}: give auto, cpu or cuda")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise ConfigError("--device cuda: torch finds none on this machine; give cpu")
    return torch.device("cuda" if name != "cpu" and there else "cpu")
