"""Processes that bring batches: what they are asked for, whose memory they fill, how they start and end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import weakref
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.data import Sampler

from csmoe_model.data.order import Draws


class Key(NamedTuple):
    """Names a sample; with the run's seed it decides all chance in it."""

    epoch: int
    row: int
    position: int = 0
    """In the epoch: a row that is drawn twice differs from itself."""


class Asked(NamedTuple):
    """What the trainer asks a worker for."""

    slot: int
    """Number of the piece of memory to fill."""
    keys: list[Key]


class Requests(Sampler[Asked]):
    """What is asked for, batch by batch from a place on, without end.

    PyTorch gives batch k to worker k modulo their number. A slot is asked for again when nothing in this process refers
    to its memory any more.
    """

    def __init__(self, draws: Iterator[Draws], workers: int) -> None:
        self._draws = draws
        self._slots: list[dict[int, StorageWeakRef | None]] = [{} for _ in range(workers)]
        """Of each worker: slot -> its memory here; None while it is under way."""

    def __iter__(self) -> Iterator[Asked]:
        for number, draws in enumerate(self._draws):
            keys = [Key(draws.epoch, row, draws.first + k) for k, row in enumerate(draws.rows.tolist())]
            yield Asked(self._free_slot(number) if self._slots else -1, keys)

    def _free_slot(self, number: int) -> int:
        workers = len(self._slots)
        slots = self._slots[number % workers]
        free = (slot for slot, memory in slots.items() if memory is not None and memory.expired())
        slot = next(free, len(slots) * workers + number % workers)
        slots[slot] = None
        return slot

    def received(self, slot: int, memory: Tensor) -> None:
        """Notes what has come."""
        if self._slots:
            self._slots[slot % len(self._slots)][slot] = StorageWeakRef(memory.untyped_storage())


def end_workers(answers: weakref.ref[Any]) -> None:
    """Ends the workers of an iterator of PyTorch, if it is still there."""
    found: Any = answers()
    if hasattr(found, "_shutdown_workers"):
        found._shutdown_workers()


def start_worker(_: int) -> None:
    """Signals are for the trainer, which may still want batches when all are told to stop; workers end with it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_trainer, daemon=True).start()


def _end_with_trainer() -> None:
    """PyTorch looks whether the parent lives, which is the fork server, and that waits for its children."""
    trainer = multiprocessing.parent_process()
    if trainer is not None:
        trainer.join()
        os._exit(1)


def clean_context() -> Any:
    """Workers are forked from a clean process that has imported torch once; never from one with threads and a GPU."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["csmoe_model.data.samples"])
    return context
