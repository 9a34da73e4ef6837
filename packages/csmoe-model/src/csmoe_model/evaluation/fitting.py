"""A short training that segmentation and fine-tuning share: the epoch that is best on validation is what remains."""

from __future__ import annotations

import copy
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from csmoe_model.config import Positive, Section
from csmoe_model.errors import ConfigError, TrainingError
from csmoe_model.evaluation.dataset import SPLITS, EvaluationSet
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.prepare import Normalise
from csmoe_model.sensors import Sensor
from csmoe_model.train.config import Above0, OptimiserConfig
from csmoe_model.train.schedule import build_optimiser, learning_rate

Item = TypeVar("Item")
Found = TypeVar("Found")
Numbers = npt.NDArray[np.int64]
Weights = list[dict[str, Tensor]]
Precision = Literal["32-true", "bf16-mixed"]
"""Losses are in float32 either way."""


class FitConfig(Section):
    """A short training."""

    sensor: str | None = None
    """Of the extractor; none: all that the data set has, together."""
    normalise: Normalise = "model"
    frozen: bool = True
    """The backbone stays as it is."""
    backbone_lr: Above0 = 0.1
    """Rate of a backbone that learns, in rates of the head."""
    augment: bool = True
    """Training images are turned and mirrored by chance."""
    epochs: Positive = 20
    patience: Positive | None = None
    """Epochs in a row without a better validation after which it ends; none: never."""
    batch: Positive = 32
    optimiser: OptimiserConfig = OptimiserConfig(lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01, warmup=0.05)
    precision: Precision = "32-true"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    workers: Annotated[int, Field(ge=0)] = 2
    """Threads that read ahead."""

    def inputs(self, extractor: Extractor) -> dict[str, Sensor]:
        """Sensors of an extractor that are used; raises ConfigError for one that it does not have."""
        if self.sensor is None:
            return dict(extractor.inputs)
        if self.sensor not in extractor.inputs:
            raise ConfigError(f"{extractor.name}: has no sensor '{self.sensor}', but {', '.join(extractor.inputs)}")
        return {self.sensor: extractor.inputs[self.sensor]}


class Split(NamedTuple):
    """Numbers of samples, in the order of `SPLITS`."""

    train: Numbers
    validation: Numbers
    test: Numbers


class Epoch(NamedTuple):
    """How far an epoch came."""

    loss: float
    """Mean over its steps."""
    score: float
    """On validation, larger is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """How a training went."""

    curve: tuple[Epoch, ...]
    best: int
    """Number of the epoch whose weights remain: the first of those with the best score."""


@dataclass(frozen=True, kw_only=True)
class Course(Generic[Item]):
    """What learns from what."""

    name: str
    """For messages."""
    parts: Sequence[tuple[nn.Module, float]]
    """What learns, and its rate in those of the configuration."""
    batches: Iterator[Item]
    """Of all epochs."""
    steps: int
    """Batches of an epoch."""
    loss: Callable[[Item], Tensor]
    score: Callable[[], float]
    """On validation; the parts are in evaluation mode."""


def fit(course: Course[Item], config: FitConfig) -> Fitted:
    """The training; its parts are left in evaluation mode with the weights of the best epoch.

    Raises:
        TrainingError: A loss, gradient or score is not finite.
    """
    optimisers = [(build_optimiser(part, config.optimiser), rate) for part, rate in course.parts]
    curve: list[Epoch] = []
    best, weights = 0, _weights(course)
    for epoch in range(config.epochs):
        loss = _train(course, config, optimisers, epoch)
        _set_mode(course, training=False)
        with torch.no_grad():
            score = course.score()
        if not math.isfinite(score):
            raise TrainingError(
                f"{course.name}: the score on validation is {score} after epoch {epoch + 1}: nothing can be chosen by "
                "it, look whether the validation split has labels"
            )
        curve.append(Epoch(loss, score))
        if epoch == 0 or score > curve[best].score:
            best, weights = epoch, _weights(course)
        if config.patience and epoch - best >= config.patience:
            break
    for (part, _), state in zip(course.parts, weights, strict=True):
        part.load_state_dict(state)
    return Fitted(curve=tuple(curve), best=best)


def usable(extractor: Extractor, config: FitConfig, device: torch.device) -> Extractor:
    """An extractor on a device in evaluation mode; a copy where its backbone is to learn.

    Raises:
        ConfigError: There is nothing that could learn.
    """
    if not config.frozen:
        if extractor.module is None:
            raise ConfigError(
                f"{extractor.name}: has nothing that can be trained: compare it frozen, by a linear probe"
            )
        extractor = copy.deepcopy(extractor)
    if extractor.module is not None:
        extractor.module.eval().to(device)
    return extractor


def split_of(data: EvaluationSet) -> Split:
    """Numbers of the samples by split; raises DataError where one is missing, before any work is done."""
    return Split(*(data.of_split(name) for name in SPLITS))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """What is random in layers comes from a seed inside, and the generators are left as they were found."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def mixed(precision: Precision, device: torch.device) -> torch.autocast:
    """Context of a precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed")


def chance_of(*numbers: int) -> torch.Generator:
    """A generator of its own for the seed, epoch and place of a draw, in whichever order they are made."""
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> 1))


def shuffled(count: int, batch: int, epochs: int, seed: int) -> Iterator[tuple[int, list[int]]]:
    """Number of the epoch and positions below `count` of every batch, all of them full; each epoch in another order."""
    for epoch in range(epochs):
        order = torch.randperm(count, generator=chance_of(seed, epoch)).tolist()
        yield from ((epoch, order[k : k + batch]) for k in range(0, count - batch + 1, batch))


def ahead(read: Callable[[Item], Found], items: Iterable[Item], workers: int) -> Iterator[Found]:
    """What is read of items, in their order, a few ahead; by threads, for readers are mostly outside of Python."""
    if not workers:
        yield from map(read, items)
        return
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[Found]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(read, item))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _train(
    course: Course[Any], config: FitConfig, optimisers: Sequence[tuple[torch.optim.Optimizer, float]], epoch: int
) -> float:
    """Mean loss of an epoch."""
    _set_mode(course, training=True)
    parameters = [parameter for part, _ in course.parts for parameter in part.parameters()]
    losses = []
    for step in range(course.steps):
        loss = course.loss(next(course.batches))
        loss.backward()
        norm = nn.utils.clip_grad_norm_(parameters, config.optimiser.clip_norm or math.inf)
        losses.append(float(loss.detach()))
        if not (math.isfinite(losses[-1]) and math.isfinite(float(norm))):
            raise TrainingError(
                f"{course.name}: loss {losses[-1]:.4g} with a gradient of norm {float(norm):.4g} in epoch {epoch + 1}, "
                f"step {step + 1}: give a lower optimiser.lr, or look at the pixels"
            )
        rate = learning_rate(epoch * course.steps + step, config.epochs * course.steps, config.optimiser)
        for optimiser, factor in optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
    return sum(losses) / len(losses)


def _set_mode(course: Course[Any], *, training: bool) -> None:
    for part, _ in course.parts:
        part.train(training)


def _weights(course: Course[Any]) -> Weights:
    """A copy."""
    states: list[Mapping[str, Tensor]] = [part.state_dict() for part, _ in course.parts]
    return copy.deepcopy([dict(state) for state in states])
