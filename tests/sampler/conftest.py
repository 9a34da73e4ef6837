"""Fixtures that start real services: a Dask cluster of several processes, a disk that fills up."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
START_TIMEOUT_S = 60


class DaskCluster:
    """A scheduler and workers, each a process of its own on loopback, started as a user starts them."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._processes: list[subprocess.Popen[bytes]] = []
        self.scheduler, self.address = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", says="Scheduler at:"
        )

    def start_worker(
        self, python: str = sys.executable, python_path: Path = TESTS, threads: int = 1
    ) -> subprocess.Popen[bytes]:
        """A worker that imports from `python_path`."""
        command = ["worker", self.address, "--nthreads", str(threads), "--no-nanny"]
        return self._start(*command, says="Registered to:", python=python, python_path=python_path)[0]

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()

    def _start(
        self, *command: str, says: str, python: str = sys.executable, python_path: Path = TESTS
    ) -> tuple[subprocess.Popen[bytes], str]:
        """The process, and what follows `says` in its log."""
        log = self._logs / f"{len(self._processes)}.log"
        dask = [python, "-m", "dask", *command, "--dashboard-address", "127.0.0.1:0"]
        environment = os.environ | {"PYTHONPATH": str(python_path)}
        with log.open("wb") as output:
            process = subprocess.Popen(dask, env=environment, stderr=output, cwd=self._logs)
        self._processes.append(process)
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and process.poll() is None:
            _, said, rest = log.read_text().partition(says)
            if said and "\n" in rest:
                return process, rest.split()[0]
            time.sleep(0.02)
        raise RuntimeError(f"dask {command[0]} did not say '{says}', but: {log.read_text()}")


@pytest.fixture(scope="session")
def dask_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaskCluster]:
    """A scheduler with two workers of one thread; a test may start more, and kill those."""
    cluster = DaskCluster(tmp_path_factory.mktemp("dask"))
    try:
        cluster.start_worker()
        cluster.start_worker()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def short_delays() -> Iterator[None]:
    """GDAL asks a failing server again as often as ever, but after a hundredth of a second."""
    from csmoe_sampler.rasters import patience

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(patience.REOPENING, "GDAL_HTTP_RETRY_DELAY", "0.01")
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 1 MiB; needs the right to mount."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mount.returncode:
        pytest.skip(f"no right to mount a small file system: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
