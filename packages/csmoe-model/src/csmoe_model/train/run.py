"""A pre-training run: setup -> fit."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from csmoe_model.data.manifest import Rows
from csmoe_model.data.order import SampleOrder
from csmoe_model.data.samples import Batch, ChipSamples, open_loader
from csmoe_model.errors import CheckpointError
from csmoe_model.nn.masking import draw_masks
from csmoe_model.nn.model import CSMoE, Objective
from csmoe_model.train.checkpoint import (
    CHECKPOINTS,
    State,
    checkpoints,
    load_state,
    load_weights,
    resolve,
    save_checkpoint,
)
from csmoe_model.train.config import TrainConfig
from csmoe_model.train.curves import draw_curves
from csmoe_model.train.guard import StepGuard
from csmoe_model.train.inputs import Inputs, Loaded, check_folder, load_inputs
from csmoe_model.train.logs import METRICS
from csmoe_model.train.metrics import Metrics
from csmoe_model.train.pictures import draw_reconstructions
from csmoe_model.train.probe import Probe
from csmoe_model.train.schedule import build_optimiser, learning_rate
from csmoe_model.train.signals import StopRequest


@dataclass(kw_only=True)
class Run:
    """All that `fit` needs."""

    config: TrainConfig
    out: Path
    fabric: Fabric
    model: Any
    """The model as Fabric wraps it."""
    optimiser: Any
    state: State
    samples: ChipSamples
    order: SampleOrder
    rows: Rows
    metrics: Metrics
    probe: Probe | None
    shown: tuple[Batch, list[str]] | None
    """Places to draw, and their titles."""

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.config.max_steps or self.config.epochs * self.order.steps // self.config.accumulate


def pretrain(config: TrainConfig, inputs: Inputs, fabric: Fabric, *, quiet: bool = False) -> Path:
    """Trains a model to the end, or until somebody asks to stop; the folder of the last checkpoint.

    Raises:
        ModelError: Data, configuration or checkpoint cannot be used, or the training has gone astray.
    """
    run = setup(config, inputs, fabric, quiet=quiet)
    with run.metrics, StopRequest() as stop, closing(_open_batches(run)) as batches:
        return fit(run, batches, stop)


def setup(config: TrainConfig, inputs: Inputs, fabric: Fabric, *, quiet: bool = False) -> Run:
    """A run, new or continued; raises ModelError where something cannot be used."""
    check_folder(config, inputs)
    loaded = load_inputs(config, inputs, fabric.world_size, main=fabric.is_global_zero)
    torch.manual_seed(config.seed)
    model = CSMoE(config.model)
    model.encoder.checkpointing = config.checkpointing
    optimiser = build_optimiser(model, config.optimiser)
    state = State(data=loaded.fingerprint, sample={**loaded.rows.about, "rows": len(loaded.rows)})
    if inputs.init_from:
        load_weights(model, resolve(inputs.init_from))
    if inputs.resume:
        state = _restore(inputs, model, optimiser, loaded)
    if config.compile:
        model.compile()
    wrapped, optimiser = fabric.setup(model, optimiser)
    metrics = Metrics(
        inputs.out, main=fabric.is_global_zero, quiet=quiet, wandb=inputs.wandb, config=config.model_dump(mode="json")
    )
    for note in loaded.notes:
        metrics.note(f"note: {note}")
    return Run(
        config=config,
        out=inputs.out,
        fabric=fabric,
        model=wrapped,
        optimiser=optimiser,
        state=state,
        samples=loaded.samples,
        order=loaded.order,
        rows=loaded.rows,
        metrics=metrics,
        probe=loaded.probe,
        shown=loaded.shown,
    )


def fit(run: Run, batches: Iterator[Batch], stop: StopRequest) -> Path:
    """Takes steps until the end or until `stop`; the folder of the last checkpoint."""
    config, state, fabric, metrics = run.config, run.state, run.fabric, run.metrics
    guard = StepGuard(config.guard, state.losses, state.left_out)
    _begin(run)
    saved_s, stopping = time.monotonic(), False
    while state.step < run.steps and not stopping:
        with metrics.waiting():
            parts = [next(batches).to(fabric.device) for _ in range(config.accumulate)]
        rate = learning_rate(state.step, run.steps, config.optimiser)
        objectives, loss = _backward(run, parts)
        norm = _clip(run)
        if guard.admits(loss, norm):
            _step(run, rate)
        else:
            metrics.note(guard.report(state.step + 1, loss, _errors(run, parts, objectives)))
        run.optimiser.zero_grad(set_to_none=True)
        state.step, state.place = state.step + 1, run.order.after(state.place, config.accumulate)
        state.losses, state.left_out = guard.recent, guard.left_out
        logged = state.step % config.log_every == 0 or state.step == run.steps
        metrics.step(state.step, _figures(run, objectives, rate, norm) if logged else None, loss)
        if config.probe_every and state.step % config.probe_every == 0:
            _look(run)
        stopping, due = _any(fabric, stop.noted, time.monotonic() - saved_s > config.save_minutes * 60)
        if due:
            _save(run)
            saved_s = time.monotonic()
    _save(run)
    if state.step == run.steps and (not config.probe_every or state.step % config.probe_every):
        _look(run)
    if state.step < run.steps:
        metrics.note(f"stopped at step {state.step:,} of {run.steps:,}; the same command with --resume goes on")
    return checkpoints(run.out / CHECKPOINTS)[-1]


def _begin(run: Run) -> None:
    """The run's folder; a new run first of all has a checkpoint, so that there is something to go on with."""
    if run.state.step == 0:
        _save(run)
    if run.fabric.is_global_zero:
        (run.out / "config.json").write_text(run.config.model_dump_json(indent=1), encoding="utf-8")
    run.metrics.start(run.steps, run.state.step, run.config.batch, run.order.steps / run.config.accumulate)
    if run.state.step == 0:
        _look(run, floor=True)


def _open_batches(run: Run) -> Generator[Batch]:
    return open_loader(
        run.samples,
        run.order,
        run.state.place,
        rank=run.fabric.global_rank,
        world=run.fabric.world_size,
        workers=run.config.data.workers,
        pin=run.fabric.device.type == "cuda",
    )


def _backward(run: Run, parts: list[Batch]) -> tuple[list[Objective], float]:
    """Gradients of a step; the losses of its parts in this process, and the mean over parts and processes."""
    objectives = []
    for k, part in enumerate(parts):
        torch.manual_seed(_chance(run, k))
        masks = draw_masks(part.noise, run.config.model.ratios, run.config.model.mask.correspondence)
        with run.fabric.no_backward_sync(run.model, enabled=k + 1 < len(parts)):
            objective: Objective = run.model(part.images, masks, part.valid)
            run.fabric.backward(objective.total / len(parts))
        objectives.append(objective)
    mean = torch.stack([objective.total.detach() for objective in objectives]).mean()
    return objectives, float(_reduced(run.fabric, mean))


def _clip(run: Run) -> float:
    """The norm of the gradient, which is cut to the largest allowed."""
    most = run.config.optimiser.clip_norm or math.inf
    norm = run.fabric.clip_gradients(run.model, run.optimiser, max_norm=most, error_if_nonfinite=False)
    assert norm is not None
    return float(norm)


def _step(run: Run, rate: float) -> None:
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    run.optimiser.step()


def _figures(run: Run, objectives: list[Objective], rate: float, norm: float) -> dict[str, float]:
    """Figures of a step over its parts and all processes."""
    names = list(objectives[0].terms)
    terms = torch.stack([torch.stack([one.terms[name].detach() for name in names]) for one in objectives]).mean(0)
    return {**dict(zip(names, _reduced(run.fabric, terms).tolist(), strict=True)), "lr": rate, "grad_norm": norm}


def _errors(run: Run, parts: list[Batch], objectives: list[Objective]) -> list[tuple[str, float]]:
    """Tile and reconstruction error of every place of a step, of all processes."""
    rows = torch.cat([part.rows for part in parts]).to(run.fabric.device)
    errors = torch.cat([objective.errors for objective in objectives])
    if run.fabric.world_size > 1:
        rows, errors = (torch.as_tensor(run.fabric.all_gather(x)).flatten() for x in (rows, errors))
    return [(str(run.rows.tile_id[k]), error) for k, error in zip(rows.tolist(), errors.tolist(), strict=True)]


def _save(run: Run) -> None:
    """A checkpoint, by all processes together; raises CheckpointError in all of them."""
    with run.metrics.aside():
        folder, optimiser = run.out / CHECKPOINTS, run.optimiser.optimizer
        save_checkpoint(folder, run.model.module, optimiser, run.state, run.config, run.config.keep)


def _look(run: Run, *, floor: bool = False) -> None:
    """Figures of the probe, pictures of reconstructions and of the curves so far, by the main process."""
    model: CSMoE = run.model.module
    with run.metrics.aside():
        if run.probe:
            if floor:
                run.metrics.record(0, run.probe.floor(), under="floor")
            figures = run.probe.figures(model, run.fabric.device)
            run.metrics.record(run.state.step, figures, under="probe")
            run.metrics.note(f"step {run.state.step:,}: {_shown(figures)}")
        if run.shown:
            batch, titles = run.shown
            masks = draw_masks(batch.noise, model.config.ratios, model.config.mask.correspondence)
            draw_reconstructions(model, batch, masks, run.out / "reconstructions.png", titles)
        if run.fabric.is_global_zero and run.state.step:
            draw_curves(run.out / METRICS, run.out / "curves.png")


def _shown(figures: Mapping[str, float]) -> str:
    kinds: dict[str, list[str]] = {"knn": [], "retrieval": []}
    for name, value in figures.items():
        kind, _, whose = name.partition("/")
        if kind in kinds:
            kinds[kind].append(f"{whose} {value:.2f}")
    return "; ".join(f"{kind} {', '.join(found)}" for kind, found in kinds.items() if found)


def _restore(inputs: Inputs, model: CSMoE, optimiser: torch.optim.Optimizer, loaded: Loaded) -> State:
    """The state of the last checkpoint; model and optimiser have theirs."""
    last = checkpoints(inputs.out / CHECKPOINTS)[-1]
    load_weights(model, last)
    state = load_state(last, model, optimiser)
    if state.data != loaded.fingerprint:
        raise CheckpointError(
            f"run {inputs.out}: was begun with other data (another manifest, split or store): give those, or begin "
            "another"
        )
    return state


def _any(fabric: Fabric, *asked: bool) -> list[bool]:
    """Whether any process asks, for each question."""
    if fabric.world_size == 1:
        return list(asked)
    flags = torch.tensor(asked, dtype=torch.float32, device=fabric.device)
    return [bool(flag > 0) for flag in _reduced(fabric, flags)]


def _reduced(fabric: Fabric, x: Tensor) -> Tensor:
    """The mean over processes."""
    mean: Tensor = fabric.all_reduce(x, reduce_op="mean")  # type: ignore[assignment]
    return mean


def _chance(run: Run, part: int) -> int:
    """Seed of what is random inside the model (drop path), whichever way the run got to its step."""
    state = np.random.SeedSequence([run.config.seed, run.state.step, part, run.fabric.global_rank])
    return int(state.generate_state(1, np.uint64)[0] >> 1)
