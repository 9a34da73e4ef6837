"""Retrieval in every direction between the sensors at hand, and with all of them together.

Protocol: samples of the query split ask, those of the archive split are found (by default validation and test). Where
both are the same split, a query does not find itself; its views by other sensors it may find. Besides, each sample of
the archive split asks one sensor's archive by another sensor's view for its own pair.

Neighbours may share pixels with a query. So where scenes or places are known, figures stand twice: with all items, and
without those of the query's own group or near it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from torch import Tensor

from csmoe_model.config import Positive, Section
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extract import JOINT, Features
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.metrics.intervals import Resampling
from csmoe_model.evaluation.metrics.retrieval import LabelSets, pair_figures, per_query, retrieval
from csmoe_model.evaluation.search import Exclusion, Ints, place_of, search
from csmoe_model.nn.retrieval import Role

Head = Callable[[str, Role, Tensor], Tensor]
"""Features (N, D) of a sensor as a role compares them."""
Floats = npt.NDArray[np.float64]
ALL, OTHER_GROUPS, PAIRS = "all", "other groups", "pairs"
_AT_ONCE = 1024


class RetrievalConfig(Section):
    """What is asked and reported."""

    query_split: str = "validation"
    archive_split: str = "test"
    depths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (5, 10)
    """The k of the figures."""
    beyond_km: Annotated[float, Field(gt=0)] | None = None
    """Figures once more without items this near to the query."""
    resamples: Annotated[int, Field(ge=0)] = 1000
    """For intervals; 0: none."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Direction:
    """Queries by one view in an archive of another."""

    source: str
    target: str
    queries: Ints
    """(Q,) Numbers of samples."""
    found: Ints
    """(Q, k) Numbers of samples, best first; -1 where the archive had no more."""
    cosines: Floats
    scores: Floats
    """(Q,) How well each query fared, 0 to 1; NaN: it cannot be said."""
    scored: str
    """What the scores are: `f1@10/C`, or `pair/mrr`."""
    num_items: int
    figures: dict[str, Figures] = field(default_factory=dict)
    """By what the archive holds: `all`, `other groups`, `beyond 10 km`; `pairs`: of co-located pairs."""
    left_out: dict[str, float] = field(default_factory=dict)
    """Mean number of items that a query could not find for that reason."""

    @property
    def name(self) -> str:
        """`s1>s2`."""
        return f"{self.source}>{self.target}"


@dataclass(frozen=True, kw_only=True, eq=False)
class RetrievalResult:
    """All directions."""

    directions: dict[str, Direction]
    protocol: str
    notes: tuple[str, ...] = ()
    """Directions that were left out, and why."""


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Those samples that have a view."""

    samples: Ints
    view: Tensor


def retrieve(
    queries: Features, archive: Features, data: EvaluationSet, config: RetrievalConfig, head: Head | None = None
) -> RetrievalResult:
    """Figures of every direction; without labels, those of pairs alone.

    Args:
        queries: Features of the query split.
        archive: Features of the archive split.
        data: What they are of.
        config: What is asked.
        head: Projects features by role; none: as they are. Views of all sensors together are never projected.

    Raises:
        DataError: Features are not finite.
    """
    directions, notes = {}, []
    for source, target in _directions(archive):
        role: Role = "same" if source == target else "cross"
        asking, items = _side(queries, source, role, head), _side(archive, target, role, head)
        found = None
        if asking.view.shape[1] != items.view.shape[1]:
            notes.append(f"{source}>{target}: features of different widths cannot be compared")
            continue
        if data.labels is not None and len(asking.samples) and len(items.samples):
            found = _by_labels(data, config, asking, items, (source, target))
        if role == "cross":
            found = _by_pairs(data, config, _side(archive, source, role, head), items, (source, target), found)
        if found is not None:
            directions[found.name] = found
    return RetrievalResult(directions=directions, protocol=_protocol(data, config), notes=tuple(notes))


def _directions(features: Features) -> Iterator[tuple[str, str]]:
    yield from product(features.pooled, repeat=2)
    if JOINT in features.views:
        yield JOINT, JOINT


def _side(features: Features, name: str, role: Role, head: Head | None) -> _Side:
    view, has = features.view(name)
    rows = np.flatnonzero(has)
    projected = view[rows] if head is None or name == JOINT else head(name, role, view[rows])
    return _Side(features.samples[rows], projected)


def _by_labels(
    data: EvaluationSet, config: RetrievalConfig, asking: _Side, items: _Side, names: tuple[str, str]
) -> Direction:
    assert data.labels is not None
    wanted, labels = (LabelSets.of(data.labels[side.samples]) for side in (asking, items))
    resampling = _resampling(data, config, asking.samples)
    figures: dict[str, Figures] = {}
    left_out: dict[str, float] = {}
    controls = _controls(data, config, asking.samples, items.samples, itself=names[0] == names[1])
    nearest = search(asking.view, items.view, max(config.depths), controls[ALL])
    fewest = _mean_excluded(controls[ALL], asking, items)
    for reason, excluded in controls.items():
        ranked = nearest[0]
        if reason != ALL:
            left_out[reason] = _mean_excluded(excluded, asking, items) - fewest
            if not left_out[reason]:
                figures[reason] = figures[ALL]
                continue
            ranked = search(asking.view, items.view, max(config.depths), excluded)[0]
        figures[reason] = retrieval(wanted, labels, ranked, config.depths, excluded=excluded, resampling=resampling)
    scored = f"f1@{max(config.depths)}/C"
    scores = per_query(wanted, labels, nearest[0], [max(config.depths)])[scored]
    return _direction(names, asking, items, nearest, (scored, scores), (figures, left_out))


def _by_pairs(
    data: EvaluationSet,
    config: RetrievalConfig,
    asking: _Side,
    items: _Side,
    names: tuple[str, str],
    found: Direction | None,
) -> Direction | None:
    """With figures of pairs; where nothing was found by labels, what is found is that of pairs."""
    _, rows, pairs = np.intersect1d(asking.samples, items.samples, return_indices=True)
    if not len(rows):
        return found
    both = _Side(asking.samples[rows], asking.view[rows])
    ranks = place_of(both.view, items.view, pairs.astype(np.int64)).astype(float)
    figures = pair_figures(ranks, _resampling(data, config, both.samples))
    if found is None:
        nearest = search(both.view, items.view, max(config.depths))
        found = _direction(names, both, items, nearest, ("pair/mrr", 1 / ranks))
    return replace(found, figures=found.figures | {PAIRS: figures})


def _direction(
    names: tuple[str, str],
    asking: _Side,
    items: _Side,
    nearest: tuple[Ints, Floats],
    scores: tuple[str, Floats],
    kinds: tuple[dict[str, Figures], dict[str, float]] = ({}, {}),
) -> Direction:
    rows, cosines = nearest
    return Direction(
        source=names[0],
        target=names[1],
        queries=asking.samples,
        found=np.where(rows >= 0, items.samples[rows], -1),
        cosines=cosines,
        scores=scores[1],
        scored=scores[0],
        num_items=len(items.samples),
        figures=kinds[0],
        left_out=kinds[1],
    )


def _controls(
    data: EvaluationSet, config: RetrievalConfig, asking: Ints, items: Ints, *, itself: bool
) -> dict[str, Exclusion]:
    """What may not be found, by name."""
    own = ((asking, items),) if itself else ()
    controls = {ALL: Exclusion(codes=own)}
    if data.group is not None:
        names, codes = np.unique(data.group, return_inverse=True)
        codes = np.where(names == "", -1, np.arange(len(names)))[codes]
        controls[OTHER_GROUPS] = Exclusion(codes=(*own, (codes[asking], codes[items])))
    if data.lon_lat is not None and config.beyond_km is not None:
        places = data.lon_lat[asking], data.lon_lat[items]
        near = Exclusion(codes=own, lon_lat=places, within_km=config.beyond_km)
        controls[f"beyond {config.beyond_km:g} km"] = near
    return controls


def _mean_excluded(excluded: Exclusion, asking: _Side, items: _Side) -> float:
    """Items that a query may not find."""
    rows = np.arange(len(asking.samples))
    parts = np.array_split(rows, len(rows) // _AT_ONCE + 1)
    everything = slice(0, len(items.samples))
    return sum(int(excluded.between(part, everything).sum()) for part in parts) / len(rows)


def _resampling(data: EvaluationSet, config: RetrievalConfig, samples: Ints) -> Resampling | None:
    if not config.resamples:
        return None
    groups = None if data.group is None else data.group[samples]
    return Resampling(resamples=config.resamples, seed=config.seed, groups=groups)


def _protocol(data: EvaluationSet, config: RetrievalConfig) -> str:
    pairs = f"pairs: samples of {config.archive_split} among the other sensor's views of {config.archive_split}"
    if data.labels is None:
        return pairs
    itself = " without the query itself" if config.query_split == config.archive_split else ""
    return f"queries: {config.query_split}; archive: {config.archive_split}{itself}; {pairs}; cosine"
