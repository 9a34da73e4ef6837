"""The nearest of an archive by cosine, exactly.

Cheap arithmetic screens, exact arithmetic decides: products in bfloat16, where the machine is quick at them, leave some
candidates, whose cosines are computed in float64; a bound on the error of the products then says whether anything else
can be among the k nearest. Queries for which it can are screened again in float32, and at last all their cosines are
computed in float64. So the result depends on neither machine nor blocks.

Screening takes the mean of the archive from its items. That changes the order of no query, and tells features apart
that lie close together, as those of untrained models do.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from csmoe_model.errors import DataError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
RADIUS_KM = 6371.0
_BLOCK, _STRIP = 16_384, 256
"""Items at once, and where they are rounded: few enough to stay in the cache."""
_QUERIES, _FEW = 256, 64
"""Queries at once, and where each brings rows of its own."""
_TRIED = 4
"""Blocks from which on it is tried first whether bfloat16 will do."""
_GROUP = 32
"""Items of which only the nearest is looked at first."""
_STEPS = 1_000_000_000
"""Cosines are told apart in steps of 1e-9: float32 features carry no more."""
_NUMBERS = 1 << 32
_NOBODY = -(1 << 62)


@dataclass(frozen=True, kw_only=True, eq=False)
class Exclusion:
    """Pairs of a query and an archive item that are not to be found: equal in a code, or near on the sphere."""

    codes: tuple[tuple[Ints, Ints], ...] = ()
    """Of the queries (Q,) and the archive (N,), say numbers of samples or scenes; a negative one excludes nothing."""
    lon_lat: tuple[Floats, Floats] | None = None
    """(Q, 2) and (N, 2) Degrees; NaN excludes nothing."""
    within_km: float = 0.0

    def between(self, queries: Ints, items: slice) -> Tensor:
        """(q, n) True where an item is excluded."""
        wanted = [(asking[queries][:, None], archive[items]) for asking, archive in self.codes]
        found = [(one == other) & (one >= 0) for one, other in wanted]
        if self.lon_lat is not None:
            asking, archive = (_on_sphere(places) for places in (self.lon_lat[0][queries], self.lon_lat[1][items]))
            found.append(asking @ archive.T >= np.cos(min(self.within_km / RADIUS_KM, np.pi)))
        nothing = np.zeros((len(queries), items.stop - items.start), bool)
        return torch.from_numpy(np.logical_or.reduce([nothing, *found]))


def search(queries: Tensor, archive: Tensor, k: int, excluded: Exclusion | None = None) -> tuple[Ints, Floats]:
    """Numbers of the k nearest items of each query (Q, k), nearest first, and their cosines.

    Of items equally near the first goes first. Where fewer than k are left, -1 and -inf fill up. Memory is bounded.

    Args:
        queries: (Q, D) Of any lengths, float32.
        archive: (N, D) The same; may be mapped from a file.
        k: How many.
        excluded: What is not to be found.

    Raises:
        DataError: Features are not finite, or of different widths.
    """
    if queries.shape[1] != archive.shape[1]:
        raise DataError(f"search: queries of {queries.shape[1]} features in an archive of {archive.shape[1]}")
    _check(queries, "the queries")
    nearest = min(k, len(archive))
    keys = torch.full((len(queries), k), _NOBODY)
    pending = torch.arange(len(queries) if nearest else 0)
    for kind in quick_kinds():
        if not len(pending):
            break
        if kind == torch.bfloat16 and not _promising(queries, archive, nearest):
            continue
        found, proven = _tried(queries, pending, archive, kind, nearest, excluded)
        keys[pending[proven], :nearest] = found[proven]
        pending = pending[~proven]
    for few in _blocks(len(pending), _QUERIES // 4):
        rows = pending[few]
        keys[rows, :nearest] = _compared(queries, rows, archive, nearest, excluded)
    there = keys > _NOBODY
    numbers = (_NUMBERS - 1 - keys % _NUMBERS).where(there, -1)
    cosines = ((keys >> 32).double() / _STEPS).where(there, -torch.inf)
    return numbers.numpy(), cosines.numpy()


def place_of(queries: Tensor, archive: Tensor, items: Ints) -> Ints:
    """Place (Q,), from 1, at which `search` would give each query the item that belongs to it (Q,).

    Raises:
        DataError: Features are not finite.
    """
    _check(queries, "the queries")
    places = torch.ones(len(queries), dtype=torch.int64)
    for few in _blocks(len(queries), _QUERIES):
        asking = functional.normalize(queries[few].double(), dim=1)
        wanted = torch.from_numpy(items[few])
        own = _keys_of(queries[few], wanted[:, None], archive)
        for block in _blocks(len(archive), _BLOCK):
            numbers = torch.arange(block.start, block.stop)
            keys = _keys(asking @ _unit(archive[block].double()).T, numbers)
            places[few] += ((keys > own) & (numbers != wanted[:, None])).sum(1)
    return places.numpy()


@cache
def quick_kinds() -> tuple[torch.dtype, ...]:
    """What to screen in, one after the other: bfloat16 only where this machine multiplies it much faster."""
    taken: dict[torch.dtype, list[float]] = {kind: [] for kind in (torch.bfloat16, torch.float32)}
    for kind, times in 4 * list(taken.items()):
        one, other = torch.ones(256, 768, dtype=kind), torch.ones(4096, 768, dtype=kind)
        start = time.perf_counter()
        one @ other.T
        times.append(time.perf_counter() - start)
    best = {kind: min(times) for kind, times in taken.items()}
    return tuple(taken) if best[torch.bfloat16] < 0.6 * best[torch.float32] else (torch.float32,)


def _tried(
    queries: Tensor, rows: Tensor, archive: Tensor, kind: torch.dtype, k: int, excluded: Exclusion | None
) -> tuple[Tensor, Tensor]:
    """Keys (q, k) of the nearest of some queries, and for which of these that is certain."""
    numbers, limit = _screened(queries, rows, archive, kind, k, excluded)
    found = _keys_of(queries[rows], numbers, archive).topk(k).values
    return found, (found[:, -1] >> 32).double() / _STEPS > limit + 1.0 / _STEPS


def _promising(queries: Tensor, archive: Tensor, k: int) -> bool:
    """Whether bfloat16 tells apart what a few queries find in a part of a large archive."""
    if len(archive) < _TRIED * _BLOCK:
        return True
    some = archive[:: len(archive) // _BLOCK]
    few = torch.arange(0, len(queries), max(1, len(queries) // _FEW))
    return bool(_tried(queries, few, some, torch.bfloat16, k, None)[1].float().mean() > 0.5)


def _screened(
    queries: Tensor, rows: Tensor, archive: Tensor, kind: torch.dtype, k: int, excluded: Exclusion | None
) -> tuple[Tensor, Tensor]:
    """Candidates (q, m) of some queries, -1 for none, and a cosine (q,) that nothing else exceeds."""
    asking = functional.normalize(queries[rows], dim=1)
    short = asking.to(kind)
    mean = functional.normalize(archive[:: max(1, len(archive) // 1024)], dim=1).mean(0)
    count = min(len(archive), max(2 * k, k + 32))
    best = torch.full((len(rows), count), -torch.inf, dtype=kind)
    numbers = torch.full((len(rows), count), -1)
    lost, longest = 0.0, 0.0
    for items in _blocks(len(archive), _BLOCK):
        block, *errors = _rounded(archive[items], mean, kind)
        lost, longest = max(lost, errors[0]), max(longest, errors[1])
        for few in _blocks(len(rows), _QUERIES):
            products = short[few] @ block.T
            if excluded:
                products.masked_fill_(excluded.between(rows[few].numpy(), items), -torch.inf)
            values, places = _largest(products, count)
            best[few], kept = torch.cat([best[few], values], 1).topk(count)
            numbers[few] = torch.cat([numbers[few], places + items.start], 1).gather(1, kept)
    numbers.masked_fill_(best == -torch.inf, -1)
    least = best[:, -1].double()
    if count == len(archive):
        least.fill_(-torch.inf)
    # What queries and items lose in rounding, then the rounding of the product, of its sum, and of unit lengths
    error = (asking - short).norm(dim=1).double() * longest + lost
    error += least.abs() * torch.finfo(kind).eps / 2 + asking.shape[1] * 2.0**-23 * longest + 2.0**-20
    limit = least + error + asking.double() @ mean.double()
    return numbers, limit.where(least.isfinite(), -torch.inf)


def _rounded(rows: Tensor, mean: Tensor, kind: torch.dtype) -> tuple[Tensor, float, float]:
    """Unit-length items less the mean, what the worst loses in rounding, and the length of the longest."""
    rounded = torch.empty(rows.shape, dtype=kind)
    lost, longest = [], []
    for part, place in zip(rows.split(_STRIP), rounded.split(_STRIP), strict=True):
        exact = _unit(part).sub_(mean)
        place.copy_(exact)
        longest.append(exact.norm(dim=1).max())
        lost.append(exact.sub_(place).norm(dim=1).max())
    return rounded, float(max(lost)), float(max(longest))


def _largest(products: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Values and places of the largest of each row; they lie in the groups with the largest maxima."""
    groups = products.shape[1] // _GROUP
    if groups < 2 * count or products.shape[1] % _GROUP:
        return products.topk(min(count, products.shape[1]))
    grouped = products.unflatten(1, (_GROUP, groups))
    which = grouped.amax(1).topk(count).indices
    values, places = grouped.gather(2, which[:, None].expand(-1, _GROUP, -1)).flatten(1).topk(count)
    return values, places // count * groups + which.gather(1, places % count)


def _keys_of(queries: Tensor, numbers: Tensor, archive: Tensor) -> Tensor:
    """Keys (q, m) of candidates."""
    keys = torch.full(numbers.shape, _NOBODY)
    for part in _blocks(len(queries), _FEW):
        asking = functional.normalize(queries[part].double(), dim=1)
        found = functional.normalize(archive[numbers[part].clamp(min=0)].double(), dim=2)
        cosines = (found @ asking[:, :, None])[..., 0]
        keys[part] = _keys(cosines, numbers[part]).where(numbers[part] >= 0, _NOBODY)
    return keys


def _compared(queries: Tensor, rows: Tensor, archive: Tensor, k: int, excluded: Exclusion | None) -> Tensor:
    """Keys (q, k) of the nearest of some queries, from all cosines in float64."""
    asking = functional.normalize(queries[rows].double(), dim=1)
    best = torch.full((len(rows), k), _NOBODY)
    for items in _blocks(len(archive), _BLOCK):
        keys = _keys(asking @ _unit(archive[items].double()).T, torch.arange(items.start, items.stop))
        if excluded:
            keys.masked_fill_(excluded.between(rows.numpy(), items), _NOBODY)
        best = torch.cat([best, keys], 1).topk(k).values
    return best


def _keys(cosines: Tensor, numbers: Tensor) -> Tensor:
    """One integer for cosine and number: the larger, the nearer, then the one that stands first."""
    return (cosines * _STEPS).round().long() * _NUMBERS + (_NUMBERS - 1 - numbers)


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _unit(items: Tensor) -> Tensor:
    """Items of the archive at unit length; those of length 0 stay as they are."""
    lengths = torch.linalg.vector_norm(items, dim=1, keepdim=True)
    _check(lengths, "the archive")
    return torch.div(items, lengths.clamp(min=1e-12))


def _check(features: Tensor, whose: str) -> None:
    if not features.isfinite().all():
        raise DataError(f"search: features of {whose} are not finite: look at what made them")


def _on_sphere(lon_lat: Floats) -> Floats:
    lon, lat = np.radians(lon_lat).T
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)
