"""The order of samples: a function of seed, epoch and cursor, whatever the number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from csmoe_model.errors import ConfigError, DataError

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run is in its data; all that a checkpoint has to keep of it."""

    epoch: int = 0
    step: int = 0
    """Steps done in the epoch; always fewer than it has."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """The part of one process in a step."""

    epoch: int
    first: int
    """Position of its first row among all rows of the epoch."""
    rows: Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleOrder:
    """Epochs of steps over `num_rows` rows; a step is one pass forwards and backwards, of all processes together.

    Without weights an epoch is a permutation. With weights every row comes as often as its share of them says, rounded
    up or down by chance (systematic sampling), in random order. What fills no step is left out.

    Raises:
        DataError: Fewer rows than a batch, or weights that are no weights.
    """

    num_rows: int
    batch: int
    """Rows in a step, of all processes together."""
    seed: int
    weights: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.num_rows < self.batch:
            raise DataError(
                f"{self.num_rows} rows do not fill a batch of {self.batch}: choose a smaller batch, or more rows"
            )
        if self.weights is not None:
            sound = len(self.weights) == self.num_rows and np.isfinite(self.weights).all() and self.weights.min() >= 0
            if not sound or not self.weights.sum() > 0:
                raise DataError("the manifest's weights are not all finite and positive: draw without them")

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self.num_rows // self.batch

    def epoch(self, epoch: int) -> Int64:
        """Rows of an epoch, (steps, batch)."""
        chance = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], np.uint64)))
        count = self.steps * self.batch
        if self.weights is None:
            return chance.permutation(self.num_rows)[:count].reshape(self.steps, self.batch)
        edges = np.cumsum(self.weights)
        marks = (np.arange(count) + chance.random()) * (edges[-1] / count)
        last = int(np.flatnonzero(self.weights)[-1])  # for marks that rounding has put beyond the last edge
        rows = np.minimum(np.searchsorted(edges, marks, side="right"), last)
        return chance.permutation(rows).reshape(self.steps, self.batch)

    def after(self, place: Place, steps: int) -> Place:
        """The place some steps later."""
        epochs, step = divmod(place.step + steps, self.steps)
        return Place(epoch=place.epoch + epochs, step=step)

    def draws(self, place: Place, rank: int, world: int) -> Iterator[Draws]:
        """What process `rank` of `world` takes in each step from a place on, without end.

        Raises:
            ConfigError: The batch does not divide among the processes.
        """
        if self.batch % world:
            raise ConfigError(f"a batch of {self.batch} does not divide among {world} processes: choose a multiple")
        share = self.batch // world
        while True:
            rows = self.epoch(place.epoch)
            for step in range(place.step, self.steps):
                mine = rows[step, rank * share : (rank + 1) * share]
                yield Draws(epoch=place.epoch, first=step * self.batch + rank * share, rows=mine)
            place = Place(epoch=place.epoch + 1)
