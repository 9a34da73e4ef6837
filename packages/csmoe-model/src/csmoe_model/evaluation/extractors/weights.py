"""Weights of other people's models from the disk: safetensors only, nothing downloaded, nothing left unsaid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from csmoe_model.errors import CheckpointError
from csmoe_model.train.tensors import PICKLE_ADVICE, check_tensors, is_pickle, read_tensors

_WEIGHTS = "model.safetensors"


def weights_file(path: Path) -> Path:
    """The safetensors file that is meant: itself, or `model.safetensors` of a folder.

    Raises:
        CheckpointError: There is none, or it is a pickle.
    """
    file = path / _WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(f"weights {file}: no such file: put a safetensors file there; nothing is downloaded")
    if is_pickle(file):
        raise CheckpointError(f"weights {file}: {PICKLE_ADVICE}")
    return file


def fill(module: nn.Module, path: Path, heads: tuple[str, ...] = ()) -> None:
    """Weights of a file into a module; entries of `heads` (such as `fc`), which is not used, may differ or be lacking.

    Raises:
        CheckpointError: There is no such file, or it is of another architecture.
    """
    file = weights_file(path)
    skipped = tuple(f"{head}." for head in heads)
    found = _without(read_tensors(file), skipped)
    own = _without(module.state_dict(), skipped)
    check_tensors(found, own, f"weights {file}: are of another architecture")
    module.load_state_dict(found, strict=False)


def counted_macs(module: nn.Module, run: Callable[[], object]) -> int:
    """Multiply-adds of what `run` does with a module, by torch's counter: half of its operations."""
    before = module.training
    module.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    module.train(before)
    return int(counter.get_total_flops()) // 2


def _without(tensors: dict[str, Tensor], skipped: tuple[str, ...]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if not (skipped and name.startswith(skipped))}
