"""Interleaving: an order in which several queues are merged so that every prefix holds each in its proportion."""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit

from csmoe_sampler.types import Int64, UInt64


def interleave(quota: Int64, keys: UInt64) -> Int64:
    """The queue of each place in the merged order, where queue h stands `quota[h]` times among n = sum(quota).

    Among the first m places, queue h stands floor(m quota[h] / n) or ceil(m quota[h] / n) times, for every m at once.
    Place s (from 0) of the j-th item lies in the window [floor(j n / q), ceil((j + 1) n / q)); serving the earliest
    deadline among the open windows meets all of them (Baruah, Cohen, Plaxton & Varvel 1996, "Proportionate progress: a
    notion of fairness in resource allocation", Algorithmica 15; Tijdeman 1980, "The chairman assignment problem").
    Sorting by (j + 1/2) / q instead would put every queue of one item in the middle.

    Args:
        quota: Length of each queue, zero or more.
        keys: Order of queues with equal deadlines: the smaller first.
    """
    n = int(quota.sum())
    by_turn = np.argsort(keys, kind="stable")
    turn = np.argsort(by_turn, kind="stable")
    queue = np.repeat(np.arange(quota.size), quota)
    item = np.arange(n) - np.repeat(np.cumsum(quota) - quota, quota)
    opens = item * n // quota[queue]
    closes = -(-(item + 1) * n // quota[queue])
    by_opening = np.argsort(opens, kind="stable")
    urgency = closes * quota.size + turn[queue]
    served = _earliest_deadline(opens[by_opening], urgency[by_opening])
    return by_turn[served % quota.size] if n else served


@njit(cache=True, nogil=True)
def _earliest_deadline(opens: Int64, urgency: Int64) -> Int64:
    """The urgencies in the order of service; one per slot, the least among those open."""
    waiting = [np.int64(0) for _ in range(0)]
    served = np.empty_like(urgency)
    arrived = 0
    for slot in range(urgency.size):
        while arrived < urgency.size and opens[arrived] <= slot:
            heapq.heappush(waiting, urgency[arrived])
            arrived += 1
        served[slot] = heapq.heappop(waiting)
    return served
