"""Real processes to be killed, started in milliseconds: forked from a clean one that has imported what they use."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    *("pandas", "xarray", "zarr", "csmoe_sampler.cli", "csmoe_sampler.pipeline", "csmoe_sampler.atlas"),
    *("csmoe_sampler.chips", "csmoe_sampler.chips.export", "csmoe_sampler.scenes.pairing", "csmoe_sampler.report"),
]

DEADLINE_S = 120


def start(work: Callable[..., object], *args: Any) -> BaseProcess:
    """A process that runs `work(*args)`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=work, args=args)
    process.start()
    return process


def start_command(arguments: Sequence[object], folder: Path) -> BaseProcess:
    """A process that runs `csmoe-sample ARGUMENTS` in a folder."""
    return start(_run_command, list(map(str, arguments)), folder)


def ended(process: BaseProcess) -> int | None:
    """Its exit code, or None where it is not at its end in time."""
    process.join(DEADLINE_S)
    return process.exitcode


def killed_after(process: BaseProcess, seconds: float) -> bool:
    """Whether it was killed then, as an outage does; or else it had come to its end."""
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"failed by itself: exit code {process.exitcode}"
    return process.exitcode != 0


def _run_command(arguments: Sequence[str], folder: Path) -> None:
    os.chdir(folder)
    sys.argv = ["csmoe-sample", *arguments]
    from csmoe_sampler.cli import main

    main()
