"""Figures of retrieval: what the labels of the first k say of each query.

A query q and an archive item r carry sets of labels; one label is a set of one. An item is relevant when both share a
label. Of an item precision is #(q and r) / #r, recall #(q and r) / #q, F1 their harmonic mean. Where fewer than k items
were found, means are over these.

- `f1@k/A`: harmonic mean of the two averages of precision and recall over all queries and items.
- `f1@k/C`: for each query the harmonic mean of its two averages over items, then the mean over queries.
- `f1@k/B`: the mean F1 of items. Since a harmonic mean is concave, A >= C >= B.
- `precision@k`: share of the k that are relevant; `recall@k`: share of all relevant items that are among the k.
- `map@k/found`: precision at each relevant place, summed, over the number of relevant among the k;
  `map@k/possible`: over min(k, number of relevant in the archive).
- `ndcg@k`: gain #(q and r) / #(q or r), discount 1 / log2(place + 1), over that of the best order of the archive.

A query without labels has no figure; one with no relevant item in the archive has none of recall, map and ndcg.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.metrics.counts import Array, Bools, Codes, Labels, ratio
from csmoe_model.evaluation.metrics.intervals import Resampling, mean_of, means, with_intervals
from csmoe_model.evaluation.search import Exclusion

NOBODY = -1
"""In lists of archive items: this place holds none."""
_QUERIES = 2**12
"""At once."""
_SETS = 2**24
"""Pairs of label sets at once."""
_WORD = 64


@dataclass(frozen=True, slots=True, eq=False)
class LabelSets:
    """Sets of labels as bits."""

    words: npt.NDArray[np.uint64]
    """(N, W)"""

    @classmethod
    def of(cls, labels: Labels) -> LabelSets:
        """From one code each (N,), or from who carries what (N, K)."""
        if labels.ndim == 1:
            words = np.zeros((len(labels), int(labels.max(initial=0)) // _WORD + 1), np.uint64)
            words[np.arange(len(labels)), labels // _WORD] = np.uint64(1) << (labels % _WORD).astype(np.uint64)
            return cls(words)
        packed = np.packbits(np.pad(labels, ((0, 0), (0, -labels.shape[1] % _WORD))), axis=1, bitorder="little")
        return cls(np.ascontiguousarray(packed).view(np.uint64))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: npt.NDArray[np.int64] | slice) -> LabelSets:
        return LabelSets(self.words[rows])

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """(...) Labels in each set."""
        return np.asarray(np.bitwise_count(self.words).sum(-1, dtype=np.int64))

    def shared(self, other: LabelSets) -> npt.NDArray[np.int64]:
        """(...) Labels that both have, broadcast."""
        width = max(self.words.shape[-1], other.words.shape[-1])
        return LabelSets(_wide(self.words, width) & _wide(other.words, width)).sizes


def retrieval(
    query: LabelSets,
    archive: LabelSets,
    ranked: Codes,
    depths: Sequence[int],
    *,
    excluded: Exclusion | None = None,
    resampling: Resampling | None = None,
) -> Figures:
    """All figures at each k of `depths`; samples of the intervals are queries.

    Args:
        query: (Q) Labels of the queries.
        archive: (N) Labels of the items.
        ranked: (Q, >= max(depths)) Numbers of the items found, best first, `NOBODY` where there were no more.
        depths: The k.
        excluded: What could not be found, hence does not count as missed.
        resampling: For intervals.
    """
    mean = mean_of(per_query(query, archive, ranked, depths, excluded=excluded))

    def measure(weights: Array) -> Mapping[str, Array]:
        values = dict(mean(weights))
        parts = {k: (values.pop(f"item_precision@{k}"), values.pop(f"item_recall@{k}")) for k in depths}
        return {f"f1@{k}/A": _harmonic(*part) for k, part in parts.items()} | values

    return with_intervals(measure, len(query), resampling)


def per_query(
    query: LabelSets, archive: LabelSets, ranked: Codes, depths: Sequence[int], *, excluded: Exclusion | None = None
) -> dict[str, Array]:
    """(Q,) Figures of each query, by name, NaN where there is none; see `retrieval`.

    Of `f1@k/A` the two parts: averages of precision and of recall over the items, `item_precision@k`, `item_recall@k`.
    """
    possible = _Possible(query, archive, excluded)
    blocks = []
    for first in range(0, len(query), _QUERIES):
        rows = slice(first, first + _QUERIES)
        found = _Found.of(query[rows], archive, ranked[rows, : max(depths)])
        gains, counts = possible.gains, possible.counts(np.arange(len(query))[rows])
        blocks.append({name: value for k in depths for name, value in _at(k, found, gains, counts).items()})
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]} if blocks else {}


def pair_ranks(ranked: Codes, pairs: Codes) -> Array:
    """(Q,) Place, from 1, of each query's own pair (Q,) in its list; infinite where it is not in it."""
    here = ranked == pairs[:, None]
    return np.where(here.any(1), here.argmax(1) + 1.0, np.inf)


def pair_figures(ranks: Array, resampling: Resampling | None = None) -> Figures:
    """`pair/mrr` and `pair/recall@k` from the places (Q,) of the co-located pairs; an infinite one counts 0."""
    within = {f"pair/recall@{k}": (ranks <= k).astype(float) for k in (1, 5, 10)}
    return means({"pair/mrr": 1 / ranks, **within}, resampling)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Of the items found, by query and place (q, k); 0 where there is none."""

    there: Bools
    known: Bools
    """(q,) Queries with labels."""
    precision: Array
    recall: Array
    f1: Array
    gain: Array

    @classmethod
    def of(cls, query: LabelSets, archive: LabelSets, ranked: Codes) -> _Found:
        there = ranked != NOBODY
        items = archive[np.where(there, ranked, 0)]
        asking = LabelSets(query.words[:, None])
        shared = np.where(there, asking.shared(items), 0)
        sizes, wanted = items.sizes, asking.sizes
        return cls(
            there=there,
            known=wanted[:, 0] > 0,
            precision=shared / np.maximum(sizes, 1),
            recall=shared / np.maximum(wanted, 1),
            f1=2 * shared / np.maximum(sizes + wanted, 1),
            gain=shared / np.maximum(sizes + wanted - shared, 1),
        )


def _at(k: int, found: _Found, gains: Array, counts: npt.NDArray[np.int64]) -> dict[str, Array]:
    """Figures of queries at one depth, with what the archive has for them: how often (q, J) each gain (J,)."""
    relevant = (found.gain[:, :k] > 0).astype(float)
    num_found, num_relevant = found.there[:, :k].sum(1), counts[:, gains > 0].sum(1)
    precision, recall, f1 = (ratio(part[:, :k].sum(1), num_found) for part in (found.precision, found.recall, found.f1))
    summed = (relevant * relevant.cumsum(1) / np.arange(1, relevant.shape[1] + 1)).sum(1)
    # Whatever the query gains at no place is 0 there, in the best order too
    dcg = found.gain[:, :k] @ (1 / np.log2(np.arange(2, relevant.shape[1] + 2)))
    values = {
        f"item_precision@{k}": precision,
        f"item_recall@{k}": recall,
        f"f1@{k}/C": _harmonic(precision, recall),
        f"f1@{k}/B": f1,
        f"precision@{k}": ratio(relevant.sum(1), num_found),
    }
    some = {
        f"recall@{k}": ratio(relevant.sum(1), num_relevant),
        f"map@{k}/found": ratio(summed, np.maximum(relevant.sum(1), 1)),
        f"map@{k}/possible": ratio(summed, np.minimum(k, num_relevant)),
        f"ndcg@{k}": ratio(dcg, _best(k, gains, counts)),
    }
    for name, value in some.items():
        values[name] = np.where(num_relevant > 0, value, np.nan)
    return {name: np.where(found.known, value, np.nan) for name, value in values.items()}


def _best(k: int, gains: Array, counts: npt.NDArray[np.int64]) -> Array:
    """(q,) DCG of the best order, in which `counts` (q, J) items have each of the rising `gains` (J,)."""
    discounts = np.r_[0, (1 / np.log2(np.arange(2, k + 2))).cumsum()]
    upto = np.minimum(counts[:, ::-1].cumsum(1), k)
    before = np.pad(upto[:, :-1], ((0, 0), (1, 0)))
    return np.asarray((discounts[upto] - discounts[before]) @ gains[::-1])


class _Possible:
    """How often each gain occurs between a query and the archive; equal sets of labels are compared only once."""

    def __init__(self, query: LabelSets, archive: LabelSets, excluded: Exclusion | None) -> None:
        self._query, self._archive, self._excluded = query, archive, excluded
        most = int(query.sizes.max(initial=0)), int(archive.sizes.max(initial=0))
        shared, every = np.arange(min(most) + 1), np.arange(sum(most) + 1)[:, None]
        self.gains, place = np.unique(np.minimum(shared / np.maximum(every, 1), 1.0), return_inverse=True)
        self._place = place.reshape(len(every), len(shared))
        """Of a gain among all, by the number of labels in either set and in both."""
        asking, self._kind = np.unique(query.words, axis=0, return_inverse=True)
        items, times = np.unique(archive.words, axis=0, return_counts=True)
        self._counts = np.zeros((len(asking), len(self.gains)), np.int64)
        rows = max(1, _SETS // max(1, len(items)))
        for first in range(0, len(asking), rows):
            places = self._places(LabelSets(asking[first : first + rows, None]), LabelSets(items))
            for kind, place in enumerate(places, first):
                self._counts[kind] = np.bincount(place, times, minlength=len(self.gains))

    def counts(self, rows: Codes) -> npt.NDArray[np.int64]:
        """(q, J) For some queries, without what is excluded."""
        counts = self._counts[self._kind[rows]]
        if self._excluded is None:
            return counts
        step = max(1, _SETS // len(rows))
        for first in range(0, len(self._archive), step):
            items = slice(first, min(first + step, len(self._archive)))
            asking, place = np.nonzero(self._excluded.between(rows, items).numpy())
            places = self._places(self._query[rows[asking]], self._archive[first + place])
            np.subtract.at(counts, (asking, places), 1)
        return counts

    def _places(self, one: LabelSets, other: LabelSets) -> npt.NDArray[np.int64]:
        shared = one.shared(other)
        return np.asarray(self._place[one.sizes + other.sizes - shared, shared])


def _harmonic(one: Array, other: Array) -> Array:
    """Harmonic mean; 0 where both are."""
    return np.where(one + other == 0, 0.0, ratio(2 * one * other, one + other))


def _wide(words: npt.NDArray[np.uint64], width: int) -> npt.NDArray[np.uint64]:
    return np.pad(words, [(0, 0)] * (words.ndim - 1) + [(0, width - words.shape[-1])])
