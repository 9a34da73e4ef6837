"""Images of one scene that was cut into pieces: told by their edges, where nothing else tells it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from csmoe_model.evaluation.dataset import Float32

Bools = npt.NDArray[np.bool_]


def edges_of(image: Float32) -> Float32:
    """(4, P) Of a square image (P, P): top, bottom, left, right."""
    return np.stack([image[0], image[-1], image[:, 0], image[:, -1]])


def touching(looks: Float32, *, least: float = 0.8) -> Bools:
    """(N, N) Whether one image goes on in another, below, above or beside it.

    The pixels on both sides of a cut are nearly the same, hence correlated. Water and bare ground are alike in many
    places, so all looks (two sensors, two dates) have to agree.

    Args:
        looks: (L, N, 4, P) Edges of the same N places; pieces were cut without overlap and without turning.
        least: Correlation.
    """
    places = looks.shape[1]
    agree = np.ones((2, places, places), bool)
    for edges in looks:
        centred = edges - edges.mean(-1, keepdims=True)
        unit = centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-6)
        top, bottom, left, right = unit.swapaxes(0, 1)
        agree &= np.stack([top @ bottom.T, left @ right.T]) > least
    pairs = agree[0] | agree[1]
    np.fill_diagonal(pairs, False)
    both: Bools = pairs | pairs.T
    return both


def groups_of(pairs: Bools) -> npt.NDArray[np.int64]:
    """(N,) The first of all that each can be reached from by pairs (N, N)."""
    first = np.arange(len(pairs))
    while True:
        near = np.minimum(first, np.where(pairs, first, len(pairs)).min(1, initial=len(pairs)))
        if (near == first).all():
            return first
        first = near
