"""Lightning Fabric for a run: one process, several on this machine, or those that torchrun has started."""

from __future__ import annotations

import inspect
import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from csmoe_model.errors import ConfigError
from csmoe_model.train.config import TrainConfig


def open_fabric(config: TrainConfig, accelerator: str = "auto", devices: int = 1) -> Fabric:
    """A launched Fabric.

    Args:
        config: Precision, and whether all parameters always have a part in the loss.
        accelerator: `auto`, `cpu`, `cuda` or `mps`.
        devices: Processes on this machine; where torchrun has started them, their number goes before.

    Raises:
        ConfigError: There are not as many devices, or none of that kind.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    world = int(os.environ.get("WORLD_SIZE", local)) if "LOCAL_WORLD_SIZE" in os.environ else local
    if accelerator == "cuda" and torch.cuda.device_count() < local:
        raise ConfigError(
            f"--devices {local}: this machine has {torch.cuda.device_count()} CUDA devices: ask for fewer"
        )
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("--accelerator mps: this machine has none: leave the option out")
    loss = config.model.loss
    partial = 0.0 in (loss.umr, loss.cmr) or not (loss.mim or loss.mde)
    # Newer versions of torch have another name for it, and warn of the old one.
    named = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"
    options: dict[str, Any] = {"find_unused_parameters": partial, buffers: False}
    several = DDPStrategy(**options)
    try:
        fabric = Fabric(
            accelerator=accelerator,
            devices=local,
            num_nodes=world // local,
            strategy=several if world > 1 else "auto",
            precision=config.precision,
        )
    except ValueError as error:  # within SLURM, of tasks that do not go with the number of processes
        raise ConfigError(f"--devices {local}: {error}") from error
    fabric.launch()
    return fabric
