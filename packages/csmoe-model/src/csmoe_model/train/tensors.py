"""The tensors of a checkpoint by name: weights, and the optimiser's state by the parameter that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from csmoe_model.errors import CheckpointError

_PICKLES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_SHOWN = 3


def optimiser_tensors(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as `parameter/key`, such as `encoder.shared.0.norm1.bias/exp_avg`."""
    states: Mapping[int, Mapping[str, Any]] = optimiser.state_dict()["state"]
    names = _names(model, optimiser)
    return {
        f"{names[k]}/{key}": torch.as_tensor(value) for k, values in states.items() for key, value in values.items()
    }


def fill_optimiser(
    found: Mapping[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer, folder: Path
) -> None:
    """Puts what `optimiser_tensors` gave into an optimiser, wherever the parameters stand in it now.

    Parameters that never had a gradient have no state, in the file as in the optimiser.

    Raises:
        CheckpointError: It is the state of other parameters than the model's; names `folder`.
    """
    parameters = dict(model.named_parameters())
    entries = [name.rpartition("/") for name in found]
    keys = {key for _, _, key in entries}
    like = {
        f"{owner}/{key}": parameters[owner] if key != "step" else torch.zeros(())
        for owner in {owner for owner, _, _ in entries} & parameters.keys()
        for key in keys
    }
    check_tensors(found, like, f"checkpoint {folder}: holds the optimiser's state of another architecture")
    states = {
        k: {key: _spread(found[f"{name}/{key}"], like[f"{name}/{key}"]) for key in keys}
        for k, name in _names(model, optimiser).items()
        if any(f"{name}/{key}" in found for key in keys)
    }
    optimiser.load_state_dict({**optimiser.state_dict(), "state": states})


def collect_whole(state: Mapping[str, Tensor], *, keep: bool) -> dict[str, Tensor]:
    """Whole tensors on the CPU; where FSDP has spread them all processes take part, those that `keep` get them."""
    collected = {}
    for name, value in state.items():
        whole: Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
        if keep:
            collected[name] = whole.detach().contiguous().cpu()
    return collected


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        CheckpointError: It is missing, damaged, or something else, such as a pickle.
    """
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"checkpoint {path.parent}: has no {path.name}") from error
    except (OSError, SafetensorError) as error:
        if is_pickle(path):
            raise CheckpointError(f"checkpoint file {path}: {PICKLE_ADVICE}") from error
        raise CheckpointError(
            f"checkpoint file {path}: is damaged ({str(error).splitlines()[0]}): take an earlier one, or copy it again"
        ) from error


PICKLE_ADVICE = (
    "is a pickle, which can run any code when it is opened and is not read: `csmoe-train convert --help` says how to "
    "turn it into safetensors"
)


def is_pickle(path: Path) -> bool:
    """Whether a file is a pickle, or torch's archive of one, by its first bytes or its name."""
    with path.open("rb") as file:
        start = file.read(4)
    return path.suffix in _PICKLES or start.startswith(
        (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    )


def check_tensors(found: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Compares names, shapes and types.

    Raises:
        CheckpointError: They differ; says `what`, and up to three differences.
    """
    problems = [f"lacks {name}" for name in own if name not in found]
    problems += [f"has {name}, which the model has not" for name in found if name not in own]
    for name, value in found.items():
        if name in own and (one := _kind(value)) != (other := _kind(own[name])):
            problems.append(f"{name} is {one}, the model's is {other}")
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise CheckpointError(f"{what} ({'; '.join(problems[:_SHOWN])}{more})")


def _names(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[int, str]:
    """Name of each parameter by its number in the optimiser's state dict."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    return {k: names[id(parameter)] for k, parameter in enumerate(parameters)}


def _spread(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, spread over processes as FSDP has spread `like`."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        return value
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)


def _kind(value: Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
