"""Splits of data sets that bring none, or not all.

A split hangs on nothing but the seed and the name of the group, so that it is the same on every machine, in every
order of the files, and for the samples that a smaller copy of the data set still has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from csmoe_model.evaluation.dataset import SPLITS, Strings
from csmoe_model.evaluation.layouts.options import LayoutOptions


def split_by_group(groups: Iterable[str], shares: tuple[float, float, float], seed: int) -> Strings:
    """(N,) Train, validation or test; all of a group fall into one, the shares are met on average."""
    drawn = _draws(groups, seed)
    bounds = np.cumsum(shares)[:2]
    return np.array(SPLITS, np.str_)[np.searchsorted(bounds, drawn, side="right")]


def completed(given: Strings, groups: Iterable[str], options: LayoutOptions) -> tuple[Strings, list[str]]:
    """The splits of a data set, and what was done to them.

    Args:
        given: (N,) Its own, empty where it has none.
        groups: (N,) What must not straddle splits.
        options: Shares and seed.
    """
    found = set(given.tolist())
    if found == {""}:
        shares = "/".join(f"{share:g}" for share in options.shares)
        note = f"splits made here: {shares} of train/validation/test by a hash of the place's name, seed {options.seed}"
        return split_by_group(groups, options.shares, options.seed), [note]
    if found != {"train", "test"}:
        return given, []
    share = options.shares[1] / max(options.shares[0] + options.shares[1], 1e-9)
    chosen = (given == "train") & (_draws(groups, options.seed) < share)
    note = f"validation made here: {share:.3g} of its train by a hash of the place's name, seed {options.seed}"
    return np.where(chosen, "validation", given).astype(np.str_), [note]


def _draws(groups: Iterable[str], seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(N,) Numbers in [0, 1), one a group."""
    drawn: dict[str, float] = {}
    values = []
    for group in groups:
        if group not in drawn:
            digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
            drawn[group] = int.from_bytes(digest[:6], "big") / 2**48
        values.append(drawn[group])
    return np.array(values, np.float64)
