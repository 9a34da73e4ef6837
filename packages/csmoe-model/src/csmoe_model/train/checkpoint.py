"""Checkpoints: a folder with weights and optimiser state as safetensors and everything else as JSON; no pickle, ever.

    step-00001200/model.safetensors  optimiser.safetensors  state.json  config.json

A folder is written under another name, flushed and then renamed, so that one which is there is whole. A model for
inference is the same folder with `model.safetensors` and `config.json` alone.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from csmoe_model.config import ModelConfig
from csmoe_model.data.order import Place
from csmoe_model.errors import CheckpointError
from csmoe_model.nn.across import Across
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.config import TrainConfig
from csmoe_model.train.files import problems
from csmoe_model.train.tensors import (
    PICKLE_ADVICE,
    check_tensors,
    collect_whole,
    fill_optimiser,
    is_pickle,
    optimiser_tensors,
    read_tensors,
)

CHECKPOINTS = "checkpoints"
"""Folder of a run in which they stand."""
WEIGHTS, OPTIMISER, STATE, CONFIG = "model.safetensors", "optimiser.safetensors", "state.json", "config.json"
_NAME = re.compile(r"step-(\d{8,})")
_LEFT_OVER = ".step-*"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(kw_only=True)
class State:
    """Where a run is."""

    step: int = 0
    """Optimiser steps done."""
    place: Place = field(default_factory=Place)
    losses: list[float] = field(default_factory=list)
    """The recent ones, for the guard."""
    left_out: int = 0
    """Steps in a row that the guard has just left out."""
    data: str = ""
    """Fingerprint of the rows that it learns from."""
    sample: dict[str, str | int] = field(default_factory=dict)
    """What their manifest says of itself, and how many they are."""


def save_checkpoint(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, state: State, config: TrainConfig, keep: int
) -> Path:
    """Writes `folder/step-...`, then removes all but the last `keep`; its path.

    All processes call this, the first one writes, and all return when it has, or raise. A step that has its checkpoint
    already keeps it. What killed processes have left half-written is removed.

    Raises:
        CheckpointError: It cannot be written; those of before are as they were.
    """
    target = folder / f"step-{state.step:08d}"
    across = Across()
    first = across.size == 1 or dist.get_rank() == 0
    weights = collect_whole(model.state_dict(), keep=first)
    states = collect_whole(optimiser_tensors(model, optimiser), keep=first)
    failure: CheckpointError | None = None
    if first:
        try:
            remove_left_over(folder)
            if not target.exists():
                _write(target, weights, states, state, config)
            _rotate(folder, keep)
        except (OSError, SafetensorError) as error:
            failure = _unwritten(target, error)
    flag = torch.tensor(int(failure is not None), device=next(model.parameters()).device)
    if across.total(flag) and not failure:
        failure = CheckpointError(f"checkpoint {target}: the first process could not write it, and says why")
    if failure:
        raise failure
    return target


def save_model(folder: Path, model: nn.Module, config: TrainConfig) -> Path:
    """Writes a model for inference, weights and configuration, into a new folder; its path.

    Raises:
        CheckpointError: There is something already, or it cannot be written.
    """
    if folder.exists():
        raise CheckpointError(f"checkpoint {folder}: exists; choose another --out")
    try:
        _write(folder, collect_whole(model.state_dict(), keep=True), None, None, config)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {folder}: cannot be written ({_reason(error)[0]})") from error
    return folder


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in a folder, oldest first."""
    found = [(int(match[1]), path) for path in folder.glob("step-*") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


def remove_left_over(folder: Path) -> None:
    """Removes what processes that were killed while writing or rotating have left in a run's folder of checkpoints."""
    for path in folder.glob(_LEFT_OVER):
        shutil.rmtree(path)


def load_model(path: Path) -> CSMoE:
    """The model of a checkpoint folder, or of a run (its last one), on the CPU and in evaluation mode.

    Raises:
        CheckpointError: It is missing, damaged, a pickle, or its weights do not fit its configuration.
    """
    folder = resolve(path)
    config = read_config(folder).model
    with torch.random.fork_rng(devices=[]):  # initial weights, all of them replaced, must not cost random numbers
        model = CSMoE(config)
    load_weights(model, folder)
    return model.eval()


def model_config(path: Path) -> ModelConfig:
    """The configuration of the model of a checkpoint or run; raises CheckpointError."""
    return read_config(resolve(path)).model


def resolve(path: Path) -> Path:
    """The checkpoint folder that is meant: itself, or the last of a run.

    Raises:
        CheckpointError: There is none, or it is a file.
    """
    if path.is_file() and path.name == WEIGHTS:
        return path.parent
    if path.is_file():
        known = PICKLE_ADVICE if is_pickle(path) else f"is a file: name a run, or a folder with {WEIGHTS} and {CONFIG}"
        raise CheckpointError(f"checkpoint {path}: {known}")
    if (path / WEIGHTS).exists():
        return path
    if found := checkpoints(path / CHECKPOINTS) or checkpoints(path):
        return found[-1]
    if pickles := sorted(other for other in path.glob("*") if other.is_file() and is_pickle(other)):
        raise CheckpointError(f"checkpoint {pickles[0]}: {PICKLE_ADVICE}")
    raise CheckpointError(f"checkpoint {path}: there is none: name a run, or a folder with {WEIGHTS} and {CONFIG}")


def read_config(folder: Path) -> TrainConfig:
    """The configuration of a checkpoint.

    Raises:
        CheckpointError: There is none, or it is not one of this version.
    """
    try:
        return TrainConfig.model_validate_json((folder / CONFIG).read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {folder}: has no {CONFIG}: weights open only through the configuration they were made with"
        ) from error
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"checkpoint {folder}: its {CONFIG} cannot be used: {_why(error)}") from error


def load_weights(model: nn.Module, folder: Path) -> None:
    """Weights into a model that nothing has wrapped; every name, shape and type must fit.

    Raises:
        CheckpointError: They do not, and how.
    """
    weights = read_tensors(folder / WEIGHTS)
    check_tensors(weights, model.state_dict(), f"checkpoint {folder}: is of another architecture")
    model.load_state_dict(weights)


def load_state(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> State:
    """Where a run was; fills the optimiser of the model, before it is wrapped or (FSDP) after.

    Raises:
        CheckpointError: A file is missing or damaged, or the state is of other parameters.
    """
    try:
        state = TypeAdapter(State).validate_json((folder / STATE).read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"checkpoint {folder}: has no {STATE}: it is a model and not a run; begin a run from it with --init-from"
        ) from error
    except (OSError, ValidationError) as error:
        raise CheckpointError(f"checkpoint {folder}: its {STATE} cannot be used: {_why(error)}") from error
    fill_optimiser(read_tensors(folder / OPTIMISER), model, optimiser, folder)
    return state


def _write(
    target: Path,
    weights: dict[str, Tensor],
    states: dict[str, Tensor] | None,
    state: State | None,
    config: TrainConfig,
) -> None:
    """A whole folder or none."""
    draft = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        save_file(weights, draft / WEIGHTS, metadata={"format": "pt"})
        if states is not None:
            save_file(states, draft / OPTIMISER)
        if state:
            (draft / STATE).write_bytes(TypeAdapter(State).dump_json(state, indent=1))
        (draft / CONFIG).write_text(config.model_dump_json(indent=1), encoding="utf-8")
        _flush(*draft.iterdir(), draft)
        draft.rename(target)
        _flush(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _rotate(folder: Path, keep: int) -> None:
    for old in checkpoints(folder)[:-keep]:
        gone = old.with_name(f".{old.name}.old")  # a kill leaves no half of one under its name
        old.rename(gone)
        shutil.rmtree(gone)


def _unwritten(target: Path, error: OSError | SafetensorError) -> CheckpointError:
    reason, number = _reason(error)
    advice = "free space" if number in _NO_SPACE else "see to the folder"
    before = checkpoints(target.parent)
    last = f"the last one is {before[-1].name}" if before else "there is none of before"
    return CheckpointError(f"checkpoint {target}: cannot be written ({reason}): {advice}, then --resume; {last}")


def _reason(error: OSError | SafetensorError) -> tuple[str, int | None]:
    """What the system says, and its number; safetensors has both in the text of an error of its own."""
    match = re.search(r"os error (\d+)", str(error))
    number = error.errno if isinstance(error, OSError) else int(match[1]) if match else None
    return (os.strerror(number) if number else str(error)), number


def _why(error: OSError | ValidationError) -> str:
    return problems(error) if isinstance(error, ValidationError) else str(error.strerror)


def _flush(*paths: Path) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
