"""Coverage, balance and diversity of a sample, for reports and audits: plain functions of arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy.spatial import cKDTree

from csmoe_sampler.chance import tile_keys
from csmoe_sampler.features import Features
from csmoe_sampler.types import Float64, Int64

MAX_PROBES = 10_000
"""Tiles of the population from which distances to the sample are measured."""


@dataclass(frozen=True, kw_only=True)
class Covering:
    """Distances from the tiles of a population to the nearest sampled one, in the units of the features' D."""

    radius: float
    """The largest: every tile has a sampled one within it."""
    mean: float
    num_probes: int
    """Tiles that were measured; with fewer than the population, `radius` is a lower bound."""


def covering(features: Features, rows: Int64, *, max_probes: int = MAX_PROBES, workers: int = -1) -> Covering:
    """Distances of the population to its sample.

    The radius max_p min_s D(p, s) is what k-centre minimises (Gonzalez 1985, Theor. Comput. Sci. 38). Exact for the
    tiles measured: all of them, or a random sample that is the same whatever `rows` are. Sampled tiles count too,
    with distance 0.

    Args:
        features: The population.
        rows: The sampled ones, at least one.
        max_probes: At most so many tiles are measured.
        workers: Threads; -1: all cores.
    """
    # Hashed again: objectives draw by the order of the keys themselves.
    probes = np.argsort(tile_keys(0, features.keys.view(np.int64)), kind="stable")[:max_probes]
    # Integer coordinates: squared distances stay below 2^53, so that doubles hold them exactly in any order.
    tree = cKDTree(features.values[rows].astype(np.float64), balanced_tree=False)
    nearest = tree.query(features.values[probes].astype(np.float64), workers=workers)[0] / features.scale
    return Covering(radius=float(nearest.max()), mean=math.fsum(nearest) / probes.size, num_probes=probes.size)


def pairwise_distance(features: Features, rows: Int64) -> float:
    """Root mean square of the distance D over all pairs of different sampled tiles; 0 for fewer than two.

    sum_{i<j} |x_i - x_j|^2 = n sum |x_i|^2 - |sum x_i|^2, in integers.
    """
    n = rows.size
    if n < 2:
        return 0.0
    squares, total = 0, np.zeros(features.values.shape[1], np.int64)
    for part in np.array_split(rows, max(1, n // 65536)):
        values = features.values[part].astype(np.int64)
        squares += int((values * values).sum())
        total += values.sum(axis=0)
    pairs = n * squares - sum(t * t for t in total.tolist())
    return math.sqrt(pairs / (n * (n - 1) / 2)) / features.scale


def entropy(counts: npt.ArrayLike) -> float:
    """Shannon entropy -sum p log2 p in bits of counts or shares (Shannon 1948); 0 where there is nothing."""
    values = np.asarray(counts, np.float64)
    p = values[values > 0] / math.fsum(values)
    return -math.fsum(share * math.log2(share) for share in p.tolist())


def evenness(counts: npt.ArrayLike) -> float:
    """Entropy over its maximum log2(number of classes), 0 to 1 (Pielou 1966, J. Theor. Biol. 13); 1 for one class."""
    num_classes = np.size(counts)
    return entropy(counts) / math.log2(num_classes) if num_classes > 1 else 1.0


def vendi_score(vectors: npt.ArrayLike) -> float:
    """The effective number of different rows, 1 to n (Friedman & Dieng 2023, "The Vendi Score", TMLR).

    exp(-sum l log l) over the eigenvalues l of K / n, with K the cosine similarity. The d x d matrix X'X / n of the
    normalised rows has the same non-zero eigenvalues as the n x n matrix. Rows of zeros are similar to each other
    and to nothing else.

    Args:
        vectors: (n, d), n at least 1. The score is at most d + 1.
    """
    values = np.ascontiguousarray(vectors, dtype=np.float64)
    gram, zeros = _cosine_gram(values)
    eigenvalues = np.append(np.linalg.eigvalsh(gram), zeros) / len(values)
    return math.exp(-math.fsum(x * math.log(x) for x in eigenvalues.tolist() if x > 0))


@njit(cache=True, nogil=True)
def _cosine_gram(values: Float64) -> tuple[Float64, int]:
    """X'X of the normalised rows, summed in the order of the rows, and the number of rows of zeros."""
    gram = np.zeros((values.shape[1], values.shape[1]))
    zeros = 0
    for i in range(len(values)):
        norm = 0.0
        for k in range(values.shape[1]):
            norm += values[i, k] * values[i, k]
        if norm == 0.0:
            zeros += 1
            continue
        for k in range(values.shape[1]):
            scaled = values[i, k] / norm
            if scaled != 0.0:
                for m in range(values.shape[1]):
                    gram[k, m] += scaled * values[i, m]
    return gram, zeros


def mean_shares(shares: npt.ArrayLike, area: npt.ArrayLike) -> Float64:
    """Area-weighted mean of class shares, scaled to sum 1; zeros where nothing has a class.

    Args:
        shares: (n, classes).
        area: Weight of each tile, for example its area times its valid share.
    """
    total = _weighted_sum(np.asarray(shares, np.float64), np.asarray(area, np.float64))
    return total / (math.fsum(total) or 1.0)


@njit(cache=True, nogil=True)
def _weighted_sum(shares: Float64, area: Float64) -> Float64:
    total = np.zeros(shares.shape[1])
    for i in range(len(shares)):
        for k in range(shares.shape[1]):
            total[k] += area[i] * shares[i, k]
    return total


def total_variation(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """Half the sum of |p - q|: the share that would have to change its class, 0 to 1."""
    return math.fsum(np.abs(np.asarray(p, np.float64) - np.asarray(q, np.float64))) / 2


def jensen_shannon(p: npt.ArrayLike, q: npt.ArrayLike) -> float:
    """H((p + q) / 2) - (H(p) + H(q)) / 2 of distributions in bits, 0 to 1 (Lin 1991, IEEE Trans. Inf. Theory 37)."""
    middle = (np.asarray(p, np.float64) + np.asarray(q, np.float64)) / 2
    return max(0.0, entropy(middle) - (entropy(p) + entropy(q)) / 2)


def effective_sample_size(weights: npt.ArrayLike) -> float:
    """(sum w)^2 / sum w^2 (Kish 1965, "Survey Sampling"): rows of equal weight worth as much; 0 for none."""
    w = np.asarray(weights, np.float64)
    return math.fsum(w) ** 2 / math.fsum(w * w) if w.size else 0.0


def share_covered(population: npt.ArrayLike, sample: npt.ArrayLike) -> float:
    """Share of the different values (strata, classes, climates) of a population that its sample holds; 1 for none."""
    known = np.unique(np.asarray(population))
    return float(np.isin(known, np.asarray(sample)).mean()) if known.size else 1.0
