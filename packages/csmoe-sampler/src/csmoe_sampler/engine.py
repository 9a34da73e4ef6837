"""Dask, as far as the stages use it: a client for this machine or for a cluster, and tasks in bounded number."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import count, islice
from typing import Any, TypeVar
from uuid import uuid4

import dask.config
from dask.system import CPU_COUNT
from distributed import Client, Future, KilledWorker, LocalCluster, as_completed
from distributed.utils import silence_logging_cmgr

from csmoe_sampler.errors import ConfigError, SamplerError

CONNECT_TIMEOUT_S = 10
WORKER_TIMEOUT_S = 30
_PACKAGE = "csmoe-sampler"

Task = TypeVar("Task")
Result = TypeVar("Result")


@contextmanager
def open_client(scheduler: str | None = None, workers: int | None = None) -> Iterator[Client]:
    """A Dask client, closed at the end of the block.

    Without `scheduler`, the tasks run in `workers` threads of this process (default: one a CPU); the kernels and GDAL
    leave the interpreter lock, and nothing is copied between processes. The cluster of a `scheduler` stays as it is.

    Raises:
        ConfigError: The scheduler cannot be reached, has no workers, or runs another version of this package.
    """
    if scheduler is None:
        with _local_cluster(workers or CPU_COUNT) as cluster, Client(cluster, set_as_default=False) as client:
            yield client
    else:
        # What goes wrong is said by our errors; Dask would print the traceback of every attempt to connect.
        with silence_logging_cmgr(logging.CRITICAL), _connect(scheduler) as client:
            _check_cluster(client, scheduler)
            yield client


def run_tasks(
    fn: Callable[[Task], Result], tasks: Iterable[Task], *, client: Client, max_pending: int | None = None
) -> Iterator[tuple[Task, Result]]:
    """Every task with its `fn(task)`, as they end.

    `tasks` is drawn from as results are taken, so that the scheduler never knows more than `max_pending` of them
    (default: twice the threads that the cluster has by then, at least 16). `fn` travels to each worker once. The tasks
    of a worker that dies run again on another.

    Raises:
        SamplerError: The first error of a task, as the task raised it (any other exception likewise), after the other
            tasks were cancelled; or the cluster was lost.
    """
    label, numbers, waiting = f"{_PACKAGE}-{uuid4().hex}", count(), iter(tasks)
    shared = client.submit(_same, fn, key=f"{label}-function")
    completed = as_completed(with_results=True, raise_errors=False, loop=client.loop)
    pending: dict[Future[Any], Task] = {}

    def submit() -> None:
        limit = max_pending or _twice_the_threads(client)
        for task in islice(waiting, max(limit - len(pending), 0)):
            future = client.submit(_call, shared, task, key=(label, next(numbers)))
            pending[future] = task
            completed.add(future)

    try:
        submit()
        for future, result in completed:
            task = pending.pop(future)
            _raise_failure(future, result)
            future.release()
            submit()
            yield task, result
    finally:
        client.cancel([*pending, shared])


def _local_cluster(threads: int) -> LocalCluster:
    # Dask serves HTTP even without a dashboard: leave no pages, and no port open to others. Its profiler and its logs
    # of events grow with the run, and nobody would look at them.
    lean: dict[str, Any] = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
        "distributed.admin.low-level-log-length": 10,
    }
    with dask.config.set(lean):
        return LocalCluster(
            processes=False,
            n_workers=1,
            threads_per_worker=threads,
            memory_limit=None,  # Dask would pause the worker, which shares its process with the tables gathered here
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address="127.0.0.1:0",
            scheduler_kwargs={"dashboard": False},
            silence_logs=logging.CRITICAL,
        )


def _twice_the_threads(client: Client) -> int:
    """As many tasks as keep the workers busy that there are now; at least 16."""
    try:
        threads = sum(client.nthreads().values()) if client.status == "running" else 0
    except OSError:  # the scheduler is lost, which whoever waits for results is told
        threads = 0
    return max(16, 2 * threads)


def _same(fn: Callable[[Task], Result]) -> Callable[[Task], Result]:
    return fn


def _call(fn: Callable[[Task], Result], task: Task) -> Result:
    try:
        return fn(task)
    except SamplerError as error:
        alone = type(error)(*error.args)
    # Without its causes: GDAL's cannot travel, and Dask would hand over another class with the text of this one.
    raise alone


def _raise_failure(future: Future[Any], result: Any) -> None:
    """Raises what went wrong; a result that has come counts, whatever becomes of its worker and its future later."""
    if isinstance(result, CancelledError):
        raise SamplerError(
            f"the Dask cluster has dropped a task ({getattr(result, 'reason', 'cancelled')}): see that its scheduler "
            "runs, then run the same command again: it continues"
        )
    if future.status == "error":
        _, error, trace = result
        if isinstance(error, KilledWorker):
            raise SamplerError(
                f"one task ended its worker {error.allowed_failures + 1} times, the last was "
                f"{error.last_worker.address}: give the workers more memory or fewer threads, then run the same "
                "command again: it continues"
            ) from error
        raise error.with_traceback(trace)


def _connect(scheduler: str) -> Client:
    try:
        return Client(scheduler, timeout=CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Dask scheduler {scheduler} does not answer: check the address (as tcp://host:8786), or start one "
            "with 'dask scheduler'"
        ) from error


def _check_cluster(client: Client, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=WORKER_TIMEOUT_S)
    except TimeoutError as error:
        raise ConfigError(
            f"Dask scheduler {scheduler} has no workers: start some with 'dask worker {scheduler}'"
        ) from error
    try:
        found = {f"scheduler {scheduler}": client.run_on_scheduler(version, _PACKAGE)}
    except PackageNotFoundError as error:
        found = {f"scheduler {scheduler}": error}
    workers = client.run(version, _PACKAGE, on_error="return")
    found |= {f"worker {address}": answer for address, answer in workers.items()}
    for who, answer in found.items():
        if answer != version(_PACKAGE):
            has = "no" if isinstance(answer, Exception) else f"version {answer} of"
            raise ConfigError(f"Dask {who} has {has} {_PACKAGE}: install version {version(_PACKAGE)} there")
