"""Lightning Fabric for a run: one process, several on this machine, or those that torchrun has started."""

from __future__ import annotations

import inspect
import os
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.nn.parallel import DistributedDataParallel

from csmoe_model.device import find_device
from csmoe_model.errors import ConfigError
from csmoe_model.train.config import TrainConfig


def open_fabric(config: TrainConfig, device: str = "auto", processes: int = 1) -> Fabric:
    """A launched Fabric.

    Args:
        config: Precision, and whether all parameters always have a part in the loss.
        device: `auto`, `cpu` or `cuda`.
        processes: On this machine; where torchrun has started them, their number goes before.

    Raises:
        ConfigError: There are not as many GPUs, or none.
    """
    local = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    world = int(os.environ.get("WORLD_SIZE", local)) if "LOCAL_WORLD_SIZE" in os.environ else local
    place = find_device(device)
    if place.type == "cuda" and torch.cuda.device_count() < local:
        raise ConfigError(f"--processes {local}: this machine has {torch.cuda.device_count()} GPUs: ask for fewer")
    loss = config.model.loss
    partial = 0.0 in (loss.umr, loss.cmr) or not (loss.mim or loss.mde)
    # Newer versions of torch have another name for it, and warn of the old one.
    named = inspect.signature(DistributedDataParallel.__init__).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in named else "broadcast_buffers"
    options: dict[str, Any] = {"find_unused_parameters": partial, buffers: False}
    several = DDPStrategy(**options)
    try:
        fabric = Fabric(
            accelerator=place.type,
            devices=local,
            num_nodes=world // local,
            strategy=several if world > 1 else "auto",
            precision=config.precision,
        )
    except ValueError as error:  # within SLURM, of tasks that do not go with the number of processes
        raise ConfigError(f"--processes {local}: {error}") from error
    fabric.launch()
    return fabric
