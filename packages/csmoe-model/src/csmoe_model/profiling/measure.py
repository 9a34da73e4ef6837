"""Times of several tasks side by side."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import torch

MIN_ROUNDS, MAX_ROUNDS = 3, 200


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Times of one task, a round each, in the order of the rounds."""

    rounds_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle one."""
        return median(self.rounds_s)

    @property
    def spread(self) -> float:
        """Distance of the quartiles relative to the median."""
        low, _, high = quantiles(self.rounds_s, n=4, method="inclusive")
        return (high - low) / self.median_s

    def ratio(self, other: Timing) -> float:
        """Median over rounds of this time by the other one of the same round, so that drift falls out."""
        return median(a / b for a, b in zip(self.rounds_s, other.rounds_s, strict=True))


def interleave(tasks: Mapping[str, Callable[[], object]], seconds: float, *, device: str) -> dict[str, Timing]:
    """Times of tasks that take turns (A B C A B C ...), so that what disturbs the machine hits all alike.

    One unmeasured round comes first; then there are as many as fit into `seconds`, at least three, at most 200.
    """
    for task in tasks.values():
        task()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    started, done = time.perf_counter(), 0
    while done < MIN_ROUNDS or (done < MAX_ROUNDS and time.perf_counter() - started < seconds):
        for name, task in tasks.items():
            times[name].append(_elapsed_s(task, device))
        done += 1
    return {name: Timing(rounds_s=tuple(found)) for name, found in times.items()}


def _elapsed_s(task: Callable[[], object], device: str) -> float:
    _finish(device)
    started = time.perf_counter()
    task()
    _finish(device)
    return time.perf_counter() - started


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def describe_machine(device: str) -> dict[str, str | int | float]:
    """What figures depend on: device, threads, versions, and how busy the machine is."""
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count() or 0,
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        for line in listing.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
