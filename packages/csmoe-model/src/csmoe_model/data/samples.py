"""Samples of a training run, and batches of them without end, brought ahead by processes of their own.

A sample is images, what of them is valid, and what the masks are drawn from.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from csmoe_model.config import ModelConfig
from csmoe_model.data.augment import centre_view, draw_view, resize, turned
from csmoe_model.data.batch import Batch as Batch
from csmoe_model.data.batch import BatchLayout
from csmoe_model.data.manifest import Rows
from csmoe_model.data.order import Place, SampleOrder
from csmoe_model.data.store import ChipStore
from csmoe_model.data.workers import Asked, Requests, clean_context, end_workers, start_worker
from csmoe_model.data.workers import Key as Key
from csmoe_model.errors import DataError
from csmoe_model.sensors import Sensor

Float32 = npt.NDArray[np.float32]
_AHEAD = 2
"""Batches that each worker prepares ahead."""


class ChipSamples(Dataset[Batch]):
    """Samples by key; the same key gives the same sample in any process.

    Args:
        store: The chips.
        rows: Which of them.
        model: Sensors and sizes.
        seed: Seed of the run.
        scale: Edges of the crops, as `draw_view` takes them; None: the middle of the chip, as it is in its first
            season.
    """

    def __init__(
        self, store: ChipStore, rows: Rows, model: ModelConfig, seed: int, scale: tuple[float, float] | None
    ) -> None:
        self._store = store
        self._chips = rows.chip
        self._model = model
        self._seed = seed
        self._scale = scale
        self._standards = {name: _standard(sensor) for name, sensor in model.sensors.items()}

    def __len__(self) -> int:
        return len(self._chips)

    def __getitem__(self, key: tuple[int, ...]) -> Batch:
        """A batch of one sample; raises DataError."""
        return self.batch([Key(*key)])

    def batch(self, keys: Sequence[Key], memory: Tensor | None = None) -> Batch:
        """The samples of some keys, in their order.

        Args:
            keys: Names of samples.
            memory: Where the batch shall lie, as `layout` says; its tensors are views of it. Default: new.

        Raises:
            DataError: A chip is missing or damaged.
        """
        layout = self.layout(len(keys))
        if memory is None:
            memory = torch.empty(layout.num_bytes, dtype=torch.uint8)
        batch = layout.carve(memory, [key.row for key in keys])
        for place, key in enumerate(keys):
            self._fill(batch, place, key)
        return batch

    def layout(self, num: int) -> BatchLayout:
        """How a batch of `num` samples lies in memory."""
        return BatchLayout(self._model, num)

    def _fill(self, batch: Batch, place: int, key: Key) -> None:
        chance = torch.Generator().manual_seed(_mix(self._seed, *key))
        chip, chip_px = int(self._chips[key.row]), self._store.size_px
        seasons = self._store.seasons_of(chip)
        season = seasons[0]
        if self._scale:
            view = draw_view(chip_px, self._model.image_px, self._scale, chance)
            season = seasons[int(torch.randint(len(seasons), (), generator=chance))]
        else:
            view = centre_view(chip_px, self._model.image_px)
        for name, sensor in self._model.sensors.items():
            pixels = self._store.read(chip, name, sensor.bands, season, view.window)
            if view.size != self._model.image_px:
                pixels = resize(pixels, self._model.image_px)
            image, valid = batch.images[name][place].numpy(), batch.valid[name][place].numpy()
            _standardise(turned(pixels, view), *self._standards[name], image, valid)
            torch.rand(self._model.num_patches, generator=chance, out=batch.noise[name][place])


def open_loader(
    samples: ChipSamples, order: SampleOrder, place: Place, *, rank: int, world: int, workers: int, pin: bool
) -> Generator[Batch]:
    """The batches of a process from a place on, without end; the same for any number of workers.

    Workers start at once, and end when the iterator is closed, is forgotten, or its process dies.

    Args:
        samples: The samples.
        order: Their order.
        place: The place to start from.
        rank: Number of this process.
        world: Number of processes; each gets its part of every batch.
        workers: Processes that bring batches ahead; 0: none, they are made when asked for.
        pin: Bring batches into page-locked memory, for a GPU.

    Raises:
        DataError: A chip is missing or damaged, or a worker was killed; from the iterator, in the place of the batch.
    """
    requests = Requests(order.draws(place, rank, world), workers)
    loader: DataLoader[Any] = DataLoader(
        _Feed(samples),
        batch_sampler=requests,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=_as_it_is,
        pin_memory=pin,
        prefetch_factor=_AHEAD if workers else None,
        multiprocessing_context=clean_context() if workers else None,
        worker_init_fn=start_worker,
        generator=torch.Generator(),  # it would take a number from the global one
    )
    answers = iter(loader)
    # The end of Python asks workers to end, which they do not hear, and waits for them.
    atexit.register(end_workers, weakref.ref(answers))
    return _stream(samples, requests, answers)


def _standard(sensor: Sensor) -> tuple[Float32, Float32]:
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (sensor.mean, sensor.std))
    return mean, std


def _standardise(pixels: Float32, mean: Float32, std: Float32, image: Float32, valid: npt.NDArray[np.bool_]) -> None:
    """Fills a place of a batch, (C, H, W)."""
    np.subtract(pixels, mean, out=image)
    image /= std
    np.isfinite(image, out=valid)
    if not valid.all():
        np.copyto(image, 0, where=~valid)


def _mix(*numbers: int) -> int:
    """A seed of 63 bits from some numbers."""
    high, low = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return int(high) << 31 | int(low) >> 1


class _Feed(Dataset[Any]):
    """Whole batches as pieces of memory; a worker's are shared, and filled again once the trainer lets go of them.

    Fresh pages cost as much as decoding what is written to them. Our own errors come as values, since PyTorch would
    hide them in the text of a traceback.
    """

    def __init__(self, samples: ChipSamples) -> None:
        self._samples = samples
        self._memory: dict[int, Tensor] = {}

    def __getitem__(self, key: Key) -> Batch:
        return self._samples[key]

    def __getitems__(self, asked: Asked) -> _Answer:
        size = self._samples.layout(len(asked.keys)).num_bytes
        memory = self._memory.get(asked.slot)
        if memory is None or len(memory) != size:
            memory = torch.empty(size, dtype=torch.uint8)
            if get_worker_info() is not None:
                self._memory[asked.slot] = memory.share_memory_()
        try:
            self._samples.batch(asked.keys, memory)
        except DataError as error:
            return _Answer(asked.slot, [], DataError(str(error)))
        return _Answer(asked.slot, [key.row for key in asked.keys], memory)


class _Answer(NamedTuple):
    slot: int
    rows: list[int]
    memory: Tensor | DataError


def _stream(samples: ChipSamples, requests: Requests, answers: Any) -> Generator[Batch]:
    try:
        while True:
            slot, rows, memory = _next(answers)
            if isinstance(memory, DataError):
                raise memory
            requests.received(slot, memory)
            batch = samples.layout(len(rows)).carve(memory, rows)
            del memory
            yield batch
            del batch
    finally:
        end_workers(weakref.ref(answers))  # also where a traceback keeps the iterator alive


def _next(answers: Any) -> _Answer:
    try:
        return _Answer(*next(answers))
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"a process that loads chips has died ({reason}): give the run more memory, shared memory too, or set "
            "data.workers = 0"
        ) from error


def _as_it_is(batch: Any) -> Any:
    return batch
