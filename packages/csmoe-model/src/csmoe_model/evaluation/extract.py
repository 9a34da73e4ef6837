"""Features of samples, batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from csmoe_model.data.workers import clean_context
from csmoe_model.errors import DataError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.prepare import Preparation

JOINT = "joint"
"""All sensors together: their unit-length features side by side."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loaded:
    """A batch of prepared samples."""

    samples: npt.NDArray[np.int64]
    """(B,) Numbers."""
    images: dict[str, Tensor]
    """(B, C, H, W) By sensor of the extractor; 0 where a sample lacks it."""
    valid: dict[str, Tensor]
    """(B, C, H, W)"""

    def has(self, sensor: str) -> Tensor:
        """(B,) Whether a sample has anything of a sensor."""
        return self.valid[sensor].flatten(1).any(1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Features:
    """Pooled features of some samples."""

    samples: npt.NDArray[np.int64]
    """(N,) Numbers in the data set."""
    pooled: dict[str, Tensor]
    """(N, D) float32 by sensor, on the CPU; 0 where a sample lacks it."""
    has: dict[str, npt.NDArray[np.bool_]]
    """(N,) By sensor."""

    @property
    def num_empty(self) -> int:
        """Samples that have nothing of any sensor; no view has them."""
        return int((~np.logical_or.reduce(list(self.has.values()))).sum())

    @property
    def views(self) -> list[str]:
        """Sensors, and `joint` where there are several."""
        return [*self.pooled, JOINT] if len(self.pooled) > 1 else list(self.pooled)

    def view(self, name: str) -> tuple[Tensor, npt.NDArray[np.bool_]]:
        """Features (N, D) of a sensor or of all together, and who has them."""
        if name != JOINT:
            return self.pooled[name], self.has[name]
        parts = [functional.normalize(part, dim=1) for part in self.pooled.values()]
        return torch.cat(parts, 1), np.logical_and.reduce(list(self.has.values()))


def load(
    data: EvaluationSet,
    samples: Sequence[int] | npt.NDArray[np.int64],
    preparation: Preparation,
    *,
    batch: int = 64,
    workers: int = 0,
) -> Iterator[Loaded]:
    """Prepared samples in their order, batch by batch.

    Args:
        data: Where they are from.
        samples: Numbers.
        preparation: Bands, units, size.
        batch: Samples at once.
        workers: Processes that load ahead.

    Raises:
        DataError: A sample cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        _Samples(data, preparation),
        batch_sampler=[list(map(int, part)) for part in _parts(samples, batch)],
        num_workers=workers,
        collate_fn=_as_it_is,
        multiprocessing_context=clean_context() if workers else None,
        generator=torch.Generator(),  # it would take a number from the global one
    )
    for found in loader:
        if isinstance(found, DataError):
            raise found
        yield found


@torch.no_grad()
def extract(
    data: EvaluationSet,
    samples: Sequence[int] | npt.NDArray[np.int64],
    extractor: Extractor,
    preparation: Preparation,
    *,
    device: torch.device,
    batch: int = 64,
    workers: int = 0,
    advance: Callable[[int], None] = lambda _: None,
) -> Features:
    """Pooled features of samples, in evaluation mode; `advance` is told how many more are done.

    Raises:
        DataError: A sample cannot be read, or features are not finite.
    """
    if extractor.module is not None:
        extractor.module.eval().to(device)
    names = list(preparation.feeds)
    pooled = {name: torch.zeros(len(samples), extractor.width(name)) for name in names}
    has = {name: np.zeros(len(samples), bool) for name in names}
    first = 0
    for loaded in load(data, samples, preparation, batch=batch, workers=workers):
        for name in names:
            own = loaded.has(name)
            rows = first + own.nonzero()[:, 0]
            has[name][rows.numpy()] = True
            if own.any():
                images, valid = loaded.images[name][own].to(device), loaded.valid[name][own].to(device)
                found = extractor(name, images, valid).pooled.float().cpu()
                if not (sound := found.isfinite().all(1)).all():
                    place = int(rows[(~sound).nonzero()[0, 0]])
                    raise DataError(
                        f"{extractor.name}: features of {name} of sample {data.ids[samples[place]]} are not finite: "
                        "look at its pixels and at the weights"
                    )
                pooled[name][rows] = found
        first += len(loaded.samples)
        advance(len(loaded.samples))
    return Features(samples=np.asarray(samples, np.int64), pooled=pooled, has=has)


class _Samples(Dataset[Any]):
    """Whole batches; our own errors come as values, since PyTorch would hide them in the text of a traceback."""

    def __init__(self, data: EvaluationSet, preparation: Preparation) -> None:
        self._reader, self._preparation, self._ids = data.reader, preparation, data.ids

    def __getitems__(self, samples: list[int]) -> Loaded | DataError:
        try:
            return self._loaded(samples)
        except DataError as error:
            return DataError(str(error))

    def _loaded(self, samples: list[int]) -> Loaded:
        prepared = [self._preparation(self._reader.images(sample)) for sample in samples]
        images: dict[str, Tensor] = {}
        valid: dict[str, Tensor] = {}
        for name, feed in self._preparation.feeds.items():
            shape = next((own[name][0].shape for own in prepared if name in own), None)
            if shape is None:
                size = self._preparation.image_px or 1
                shape = torch.Size((len(feed.channels), size, size))
            nothing = torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
            both = [own.get(name, nothing) for own in prepared]
            if differing := [sample for sample, (image, _) in zip(samples, both, strict=True) if image.shape != shape]:
                raise DataError(f"sample {self._ids[differing[0]]} has another size than its neighbours: give a size")
            images[name], valid[name] = (torch.stack(part) for part in zip(*both, strict=True))
        return Loaded(samples=np.array(samples), images=images, valid=valid)


def _parts(samples: Sequence[int] | npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    numbers = np.asarray(samples, np.int64)
    return [numbers[k : k + size] for k in range(0, len(numbers), size)]


def _as_it_is(found: Any) -> Any:
    return found
