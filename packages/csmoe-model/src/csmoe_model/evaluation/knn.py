"""k-nearest neighbours on frozen features, exactly.

Two conventions of what is near: the cosine, and the Euclidean distance (`l2`). Every neighbour has one vote. Of classes
with as many votes that one wins whose neighbours are nearer in sum, and where they are equally near the first class. In
multi-label sets a class's score is the share of the neighbours that have it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor
from torch.nn import functional

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.metrics.counts import Array, Codes, Labels

Distance = Literal["cosine", "l2"]
_QUERIES = 2**14
"""At once."""


class Neighbours(NamedTuple):
    """Of each query, nearest first."""

    numbers: Codes
    """(N, k) Training samples."""
    nearness: Array
    """(N, k) 0 to 1: (1 + cosine) / 2, or 1 - distance / the largest distance in the row."""

    def first(self, k: int) -> Neighbours:
        """The k nearest of them."""
        return Neighbours(self.numbers[:, :k], self.nearness[:, :k])


def knn(train: Tensor, labels: Labels, query: Tensor, k: int, *, num_classes: int, distance: Distance) -> Array:
    """(N, K) Scores of the classes of each query, 0 to 1; the largest is the one that wins.

    Args:
        train: (M, D) Features.
        labels: (M,) or (M, K) Of them.
        query: (N, D) Features.
        k: Neighbours.
        num_classes: K.
        distance: What is near.

    Raises:
        ConfigError: k is more than there are training samples.
        DataError: Features are not finite.
    """
    return votes(neighbours(train, query, k, distance), labels, num_classes)


def neighbours(train: Tensor, query: Tensor, k: int, distance: Distance) -> Neighbours:
    """The k nearest training samples of each query; see `knn`. Of those equally near faiss decides."""
    if k > len(train):
        raise ConfigError(f"k-NN: {k} neighbours of {len(train)} training samples: take fewer")
    if not (train.isfinite().all() and query.isfinite().all()):
        raise DataError("k-NN: features are not finite: look at what made them")
    if distance == "cosine":  # of unit vectors the squared distance is 2 - 2 cosine
        train, query = (functional.normalize(part.double(), dim=1) for part in (train, query))
        numbers, squares = _nearest(train, query, k)
        return Neighbours(numbers, 1 - squares / 4)
    numbers, squares = _nearest(train.double(), query.double(), k)
    distances = np.sqrt(squares)
    return Neighbours(numbers, 1 - distances / np.maximum(distances.max(1, keepdims=True), 1e-30))


def votes(found: Neighbours, labels: Labels, num_classes: int) -> Array:
    """(N, K) Scores from neighbours; see the module."""
    k = found.numbers.shape[1]
    if labels.ndim == 2:
        return np.concatenate(
            [labels[rows].mean(1) for rows in np.array_split(found.numbers, len(found.numbers) // _QUERIES + 1)]
        )
    # The sum of nearness, at most k, counts for less than one vote
    scores = np.zeros((len(found.numbers), num_classes))
    every = np.arange(len(scores))[:, None]
    np.add.at(scores, (every, labels[found.numbers]), (1 + found.nearness / (k + 1)) / (k + 1))
    return scores


def _nearest(train: Tensor, query: Tensor, k: int) -> tuple[Codes, Array]:
    """Numbers and squared distances by faiss, around the mean: far from 0 float32 would lose what tells them apart."""
    import faiss

    mean = train.mean(0)
    index = faiss.IndexFlatL2(train.shape[1])
    index.add((train - mean).float().numpy())
    squares, numbers = index.search((query - mean).float().numpy(), k)
    return numbers, np.maximum(squares.astype(np.float64), 0)
