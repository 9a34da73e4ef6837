"""What the tests send to Dask workers: importable there, and without any state."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from csmoe_sampler.errors import LegendError


def square(number: int) -> int:
    return number * number


def where(number: int) -> tuple[int, int]:
    """Process and thread."""
    time.sleep(0.01)
    return os.getpid(), threading.get_ident()


def slow_square(number: int) -> int:
    time.sleep(0.05)
    return number * number


def fail_at_five(number: int) -> int:
    if number == 5:
        raise LegendError("raster five.tif holds code 77: add it to the legend")
    time.sleep(0.01)
    return number


def kill_worker(_: int) -> None:
    os.kill(os.getpid(), 9)


class Heavy:
    """Counts how often it is unpickled, in a file, and is called like a function."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        with self.log.open("a") as file:
            file.write(f"{os.getpid()}\n")

    def __call__(self, number: int) -> int:
        return number
