import os
import site
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import GeneratorType

import pytest
from distributed import Client

from csmoe_sampler.engine import open_client, run_tasks
from csmoe_sampler.errors import ConfigError, LegendError, SamplerError
from sampler.atlas_fakes import Heavy, fail_at_five, fail_with_a_cause, kill_worker, slow_square, square, where
from sampler.conftest import DaskCluster


@pytest.fixture(scope="module")
def local() -> Iterator[Client]:
    with open_client(workers=3) as client:
        yield client


@pytest.fixture
def remote(dask_cluster: DaskCluster) -> Iterator[Client]:
    with open_client(dask_cluster.address) as client:
        yield client


def test_every_task_comes_back_once_with_its_result(local: Client) -> None:
    found = list(run_tasks(square, range(50), client=local))
    assert sorted(found) == [(n, n * n) for n in range(50)]


def test_no_task_is_no_result(local: Client) -> None:
    assert list(run_tasks(square, [], client=local)) == []


def test_local_tasks_run_in_as_many_threads_of_this_process_as_wanted(local: Client) -> None:
    places = {result for _, result in run_tasks(where, range(40), client=local)}
    assert {process for process, _ in places} == {os.getpid()}
    assert len(places) == 3


def test_remote_tasks_run_on_all_workers(remote: Client) -> None:
    places = {result for _, result in run_tasks(where, range(40), client=remote)}
    assert len({process for process, _ in places} - {os.getpid()}) == 2


def test_tasks_are_drawn_only_as_results_are_taken(local: Client) -> None:
    tasks = iter(range(100))
    for taken, _ in enumerate(run_tasks(square, tasks, client=local, max_pending=4), start=1):
        assert 100 - tasks.__length_hint__() <= taken + 4
    assert taken == 100


def test_workers_that_come_later_are_given_tasks_too(dask_cluster: DaskCluster) -> None:
    tasks = iter(range(200))
    with open_client(dask_cluster.address) as client:
        results = run_tasks(square, tasks, client=client)
        next(results)
        assert 200 - tasks.__length_hint__() == 1 + 16
        late = dask_cluster.start_worker(threads=20)
        try:
            client.wait_for_workers(3, timeout=30)
            next(results)
            assert 200 - tasks.__length_hint__() >= 2 + 2 * (1 + 1 + 20)
            assert len(list(results)) == 198
        finally:
            late.kill()
            late.wait()


def test_threads_that_cannot_be_counted_end_nothing(local: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost() -> dict[str, int]:
        raise OSError("in 30 s no answer")

    monkeypatch.setattr(local, "nthreads", lost)
    assert len(list(run_tasks(square, range(40), client=local))) == 40


def test_the_function_travels_once_to_each_worker(remote: Client, tmp_path: Path) -> None:
    heavy = Heavy(tmp_path / "log")
    assert len(list(run_tasks(heavy, range(60), client=remote))) == 60
    # The scheduler may look at it too.
    assert len((tmp_path / "log").read_text().split()) <= 4


@pytest.mark.parametrize("place", ["local", "remote"])
def test_the_first_error_ends_the_run_as_it_was_raised(place: str, request: pytest.FixtureRequest) -> None:
    client = request.getfixturevalue(place)
    with pytest.raises(LegendError, match=r"^raster five\.tif holds code 77: add it to the legend$"):
        list(run_tasks(fail_at_five, range(400), client=client, max_pending=400))
    _wait_until_idle(client)
    assert list(run_tasks(square, [3], client=client)) == [(3, 9)]


def test_an_error_travels_without_its_causes(remote: Client) -> None:
    with pytest.raises(LegendError, match=r"^raster a\.tif cannot be read: try again$"):
        list(run_tasks(fail_with_a_cause, [0], client=remote))


def test_leaving_the_loop_cancels_what_is_pending(local: Client) -> None:
    for _ in run_tasks(slow_square, range(400), client=local, max_pending=400):
        break
    _wait_until_idle(local)


def _wait_until_idle(client: Client) -> None:
    until = time.monotonic() + 3
    while time.monotonic() < until:
        if not any(client.processing().values()):
            return
        time.sleep(0.05)
    raise AssertionError(f"tasks are still there: {client.processing()}")


def test_the_run_completes_when_a_worker_is_killed(dask_cluster: DaskCluster) -> None:
    doomed = dask_cluster.start_worker()
    with open_client(dask_cluster.address) as client:
        found = []
        for number, pair in enumerate(run_tasks(slow_square, range(60), client=client)):
            found.append(pair)
            if number == 10:
                doomed.kill()
                doomed.wait()
    assert sorted(found) == [(n, n * n) for n in range(60)]


def test_results_that_have_come_count_whatever_happens_to_their_futures(local: Client) -> None:
    results = run_tasks(square, range(9), client=local, max_pending=9)
    assert isinstance(results, GeneratorType)
    next(results)
    inside = results.gi_frame.f_locals
    until = time.monotonic() + 10
    while inside["completed"].queue.qsize() < 8:
        assert time.monotonic() < until
        time.sleep(0.01)
    local.cancel(list(inside["pending"]), force=True)
    assert len(list(results)) == 8


@pytest.fixture
def frail_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskCluster]:
    """A scheduler without workers that gives a task up when it has killed one."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    cluster = DaskCluster(tmp_path)
    try:
        yield cluster
    finally:
        cluster.close()


def test_a_cluster_that_falls_apart_is_an_error(frail_cluster: DaskCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csmoe_sampler.engine.WORKER_TIMEOUT_S", 0.5)
    with pytest.raises(ConfigError, match="has no workers: start some with"), open_client(frail_cluster.address):
        pass
    monkeypatch.undo()
    frail_cluster.start_worker()
    with open_client(frail_cluster.address) as client:
        with pytest.raises(SamplerError, match=r"ended its worker 1 times, .* more memory .*: it continues"):
            list(run_tasks(kill_worker, [0], client=client))
        frail_cluster.start_worker()
        results = run_tasks(slow_square, range(1000), client=client)
        next(results)
        frail_cluster.scheduler.kill()
        with pytest.raises(SamplerError, match=r"dropped a task \(scheduler-connection-lost\): .*: it continues"):
            list(results)


def test_a_worker_without_the_package_is_refused(dask_cluster: DaskCluster, tmp_path: Path) -> None:
    for entry in Path(site.getsitepackages()[0]).iterdir():
        if not entry.name.startswith("csmoe"):
            (tmp_path / entry.name).symlink_to(entry)
    bare = dask_cluster.start_worker(python=sys._base_executable, python_path=tmp_path)
    try:
        with (
            pytest.raises(
                ConfigError, match=r"Dask worker tcp://127\.0\.0\.1:\d+ has no csmoe-sampler: install version"
            ),
            open_client(dask_cluster.address),
        ):
            pass
    finally:
        bare.kill()
        bare.wait()


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "127.0.0.1:1", "no such scheme://x:1", "tcp://nowhere.invalid:1"]
)
def test_a_scheduler_that_does_not_answer_is_named(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("csmoe_sampler.engine.CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(ConfigError, match=f"Dask scheduler {address} does not answer"), open_client(address):
        pass


def test_local_clusters_run_side_by_side_and_are_not_open_to_others() -> None:
    with open_client(workers=1) as one, open_client(workers=1) as two:
        assert list(run_tasks(square, [2], client=one)) == list(run_tasks(square, [2], client=two))
        listening = _listening()
        assert listening
        assert all(address.startswith("0100007F:") for address in listening)


def _listening() -> list[str]:
    """Addresses (hexadecimal) on which this process listens."""
    own = {str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    rows = [line.split() for line in lines.splitlines()]
    return [row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in own]
