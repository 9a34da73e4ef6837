"""Selection: every stratum's tiles in the order of its objective, merged into one global rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np

from csmoe_sampler.allocation import Allocation
from csmoe_sampler.chance import derive_seed
from csmoe_sampler.features import Features
from csmoe_sampler.interleave import interleave
from csmoe_sampler.objectives import Objective
from csmoe_sampler.progress import NoProgress, Progress
from csmoe_sampler.strata import Strata
from csmoe_sampler.types import Float64, Int32, Int64


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The sample in the order of its rank, 0 first."""

    rows: Int64
    """Rows of `features`. Every prefix of length m holds floor or ceil of m quota_h / n tiles of each stratum h, and
    within the stratum the prefix that its objective gave."""
    stratum: Int32
    """Stratum of each."""
    weight: Float64
    """Tiles of the stratum that each stands for: population / taken."""
    inclusion_probability: Float64
    """taken / population where the objective is a probability design, NaN where it is purposive."""


def select(
    strata: Strata,
    allocation: Allocation,
    features: Features,
    objective: Objective,
    *,
    seed: int,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Selection:
    """The sample that `objective` draws; it does not depend on `workers`.

    Args:
        strata: Strata of the tiles, in the order of `features`.
        allocation: Quotas of the strata.
        features: All candidate tiles.
        objective: How tiles are drawn inside a stratum.
        seed: Seed of the run; strata get sub-streams named by their labels.
        workers: Threads; all cores by default.
        progress: Told of the tiles drawn.
    """
    assert len(features) == strata.of_tile.size, "features and strata are of different tiles"
    progress = progress or NoProgress()
    progress.start("select", int(allocation.quota.sum()), "tiles")
    drawn: list[Int64] = [np.empty(0, np.int64)] * len(strata)
    for h, rows in _draw(strata, allocation, features, objective, seed, workers or os.cpu_count() or 1):
        assert rows.size == allocation.quota[h], f"{objective.name} broke the quota of {strata.labels[h]}"
        drawn[h] = rows
        progress.advance(rows.size)
    progress.finish()
    ties = np.array([derive_seed(seed, "rank", label) for label in strata.labels], np.uint64)
    stratum = interleave(allocation.quota, ties).astype(np.int32)
    rows = np.empty(stratum.size, np.int64)
    rows[np.argsort(stratum, kind="stable")] = np.concatenate([*drawn, np.empty(0, np.int64)])
    taken, size = allocation.quota[stratum], strata.size[stratum]
    known = taken / size if objective.probability_design else np.full(stratum.size, np.nan)
    return Selection(rows=rows, stratum=stratum, weight=size / taken, inclusion_probability=known)


def _draw(
    strata: Strata, allocation: Allocation, features: Features, objective: Objective, seed: int, workers: int
) -> Iterator[tuple[int, Int64]]:
    """Strata and their chosen rows, as they are done; the largest are begun first."""
    members = np.split(np.argsort(strata.of_tile, kind="stable"), np.cumsum(strata.size)[:-1])

    def draw(h: int) -> Int64:
        rows = members[h]
        stratum_seed = derive_seed(seed, "objective", strata.labels[h])
        return rows[objective.order(features.take(rows), int(allocation.quota[h]), stratum_seed)]

    wanted = [int(h) for h in np.argsort(-strata.size, kind="stable") if allocation.quota[h]]
    with ThreadPoolExecutor(workers) as pool:
        running: dict[Future[Int64], int] = {pool.submit(draw, h): h for h in wanted}
        try:
            for done in as_completed(running):
                yield running.pop(done), done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
