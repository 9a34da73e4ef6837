"""Balanced sampling over clusters, as data curation for self-supervised learning does it.

The stratum is clustered in feature space, the quota is shared evenly among the clusters as far as they have tiles, and
each cluster gives tiles at random (Vo et al. 2024, "Automatic data curation for self-supervised learning: a
clustering-based approach", arXiv 2405.15613, with random draws from the clusters of a single level). Tiles nearest to
the centroids would show the core of every cluster only. Ranks take turns among the clusters, so that every prefix is
balanced too.

Chance, the final assignment and the quotas are exact; the centroids come from floating-point linear algebra, so that
on another processor or with another version of scikit-learn a tile midway between two of them may change sides.
"""

from __future__ import annotations

import threading

import numpy as np
from numba import njit
from sklearn.cluster import KMeans as Clustering
from threadpoolctl import threadpool_limits

from csmoe_sampler.allocation import allocate
from csmoe_sampler.chance import tile_keys
from csmoe_sampler.features import Features
from csmoe_sampler.interleave import interleave
from csmoe_sampler.types import Int16, Int64

MAX_CLUSTERS = 64
"""Clusters of one stratum."""
MAX_FITTED = 4096
"""Tiles, drawn at random, from which the centroids are learnt."""

_ONE_AT_A_TIME = threading.Lock()  # thread limits are global to the process


class KMeans:
    """Random tiles from k-means clusters in turn."""

    name = "kmeans"
    probability_design = False
    nested = False
    alpha: float | None = None

    def order(self, features: Features, quota: int, rng_seed: int) -> Int64:
        """`quota` tiles, the clusters taking turns."""
        by_key = np.argsort(features.keys, kind="stable")
        centroids = _centroids(features.values[by_key[:MAX_FITTED]], min(quota, MAX_CLUSTERS), rng_seed)
        cluster = _nearest_centroid(features.values, centroids)[by_key]
        size = np.bincount(cluster, minlength=len(centroids))
        share = allocate(size, quota, alpha=0, floor=0, cap=None).quota
        turns = interleave(share, tile_keys(rng_seed, np.arange(share.size)))
        members = by_key[np.argsort(cluster, kind="stable")]
        first = np.cumsum(size) - size
        chosen = np.empty(quota, np.int64)
        for k in range(share.size):
            chosen[turns == k] = members[first[k] : first[k] + share[k]]
        return chosen


def _centroids(values: Int16, num_clusters: int, seed: int) -> Int16:
    """At most `num_clusters` centroids, rounded to the integers of the features."""
    rows, count = np.unique(values, axis=0, return_counts=True)
    if len(rows) <= num_clusters:
        return rows
    clustering = Clustering(num_clusters, n_init=1, random_state=seed % 2**32)
    with _ONE_AT_A_TIME, threadpool_limits(limits=1):
        clustering.fit(rows.astype(np.float64), sample_weight=count)
    centroids: Int16 = np.rint(clustering.cluster_centers_).astype(np.int16)
    return centroids


@njit(cache=True, nogil=True)
def _nearest_centroid(values: Int16, centroids: Int16) -> Int64:
    """The centroid nearest to each row; the first of equals."""
    nearest = np.zeros(len(values), np.int64)
    for i in range(len(values)):
        best = np.int32(2**31 - 1)
        for c in range(len(centroids)):
            distance = np.int32(0)
            for k in range(values.shape[1]):
                step = np.int32(values[i, k]) - np.int32(centroids[c, k])
                distance = np.int32(distance + step * step)
            if distance < best:
                best, nearest[i] = distance, c
    return nearest
