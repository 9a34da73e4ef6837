"""Real processes that run a command, started in milliseconds: forked from a clean one that has imported torch once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    *("torch.distributed.fsdp", "torch.utils.tensorboard", "lightning_fabric", "csmoe_model.cli"),
    *("csmoe_model.train.run", "csmoe_model.embedding.embedder", "csmoe_model.embedding.write"),
]
DEADLINE_S = 120


@dataclass(frozen=True, kw_only=True)
class Command:
    """Processes that run `csmoe-train` together, one or several."""

    processes: list[BaseProcess]
    log: Path

    @property
    def output(self) -> str:
        """What they have said so far, on stdout and stderr."""
        return self.log.read_text()

    def wait(self) -> list[int | None]:
        """Their exit codes."""
        until = time.monotonic() + DEADLINE_S
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        late = [process for process in self.processes if process.is_alive()]
        for process in late:
            process.kill()
            process.join()
        assert not late, f"not at its end after {DEADLINE_S} s: {self.output}"
        return [process.exitcode for process in self.processes]

    def kill(self) -> None:
        """As an outage does."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()

    def terminate(self) -> None:
        """As a cluster's scheduler does, to all of them."""
        for process in self.processes:
            if process.pid and process.is_alive():
                os.kill(process.pid, signal.SIGTERM)

    def wait_for(self, seen: Callable[[], bool]) -> None:
        """Until something is seen, or the processes end."""
        until = time.monotonic() + DEADLINE_S
        while not seen() and any(process.is_alive() for process in self.processes):
            assert time.monotonic() < until, self.output
            time.sleep(0.002)


def start(arguments: Sequence[object], log: Path, *, world: int = 1, samples: Path | None = None) -> Command:
    """Starts `csmoe-train ARGUMENTS`, in `world` processes with the environment that torchrun gives.

    Args:
        arguments: Of the command.
        log: Gets what they say.
        world: Number of processes.
        samples: File that gets a line for every batch that is used: step, place of the first row, rows.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port = _free_port()
    processes = []
    for rank in range(world):
        environment = _torchrun(rank, world, port) if world > 1 else {}
        given = (list(map(str, arguments)), str(log), environment, str(samples) if samples else None)
        processes.append(context.Process(target=_run, args=given))
        processes[-1].start()
    return Command(processes=processes, log=log)


def start_ranks(work: Callable[..., None], world: int, *args: Any) -> list[int | None]:
    """Exit codes of processes that run `work(rank, world, *args)` within one gloo group."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    port = _free_port()
    processes = [
        context.Process(target=_rank, args=(work, _torchrun(rank, world, port), *args)) for rank in range(world)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(DEADLINE_S)
        process.kill()
    return [process.exitcode for process in processes]


def used_samples(path: Path) -> dict[int, list[int]]:
    """Rows of every step, of all processes; what was done twice must have been done with the same."""
    found: dict[int, dict[int, int]] = {}
    for line in path.read_text().splitlines():
        step, first, rows = json.loads(line)
        for place, row in enumerate(rows, first):
            known = found.setdefault(step, {}).setdefault(place, row)
            assert known == row, f"step {step}, place {place}: row {row} after {known}"
    return {step: [row for _, row in sorted(places.items())] for step, places in sorted(found.items())}


def _run(arguments: list[str], log: str, environment: Mapping[str, str], samples: str | None) -> None:
    import torch

    with Path(log).open("ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.environ.update(environment)
    torch.set_num_threads(1)
    if samples:
        _note_samples(Path(samples))
    sys.argv = ["csmoe-train", *arguments]
    from csmoe_model.cli import main

    main()


def _note_samples(path: Path) -> None:
    """Writes down what `open_loader` gives and the run uses."""
    from csmoe_model.train import run

    whole = run.open_loader

    def noted(samples: Any, order: Any, place: Any, *, rank: int, world: int, **more: Any) -> Any:
        step = place.epoch * order.steps + place.step
        batches = whole(samples, order, place, rank=rank, world=world, **more)
        try:
            for batch in batches:
                step += 1
                with path.open("a") as file:
                    file.write(json.dumps([step, rank * len(batch), batch.rows.tolist()]) + "\n")
                yield batch
        finally:
            batches.close()

    run.open_loader = noted  # type: ignore[assignment]


def _rank(work: Callable[..., None], environment: Mapping[str, str], *args: Any) -> None:
    import torch
    import torch.distributed as dist

    os.environ.update(environment)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    try:
        work(dist.get_rank(), dist.get_world_size(), *args)
    finally:
        dist.destroy_process_group()


def _torchrun(rank: int, world: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
