"""Strata against a plain dictionary implementation, and what must hold for any input."""

from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csmoe_sampler.errors import SelectionError
from csmoe_sampler.strata import stratify


@dataclass(frozen=True)
class Legend:
    labels: tuple[str, ...]
    groups: tuple[str, ...]


CLIMATES = Legend(("Af", "Aw", "Cfa", "Cfb", "Dfb"), ("A", "A", "C", "C", "D"))
COVERS = Legend(("tree", "shrub", "grass", "crop"), ("woody", "woody", "herbs", "herbs"))


def codes(*pairs):
    """Climate and land-cover arrays of `(climate, cover, count)` triples."""
    climate = np.concatenate([np.full(n, c, np.int16) for c, _, n in pairs])
    cover = np.concatenate([np.full(n, v, np.int16) for _, v, n in pairs])
    return climate, cover


def stratify_plainly(climate, cover, min_size):
    """Label of each tile."""
    names = [
        [legend.labels[k] if k >= 0 else "unknown" for k in values.tolist()]
        for legend, values in ((CLIMATES, climate), (COVERS, cover))
    ]
    groups = [dict(zip((*g.labels, "unknown"), (*g.groups, "unknown"), strict=True)) for g in (CLIMATES, COVERS)]
    label_at = [
        lambda c, v: f"{c}|{v}",
        lambda c, v: f"{c}|group:{groups[1][v]}",
        lambda c, v: f"{c}|*",
        lambda c, v: f"group:{groups[0][c]}|*",
        lambda c, v: "*|*",
    ]
    result = [None] * climate.size
    pending = list(range(climate.size))
    for label in label_at:
        pools = defaultdict(list)
        for i in pending:
            pools[label(names[0][i], names[1][i])].append(i)
        pending = []
        for name, members in pools.items():
            if len(members) >= min_size or len(pools) == 1:
                for i in members:
                    result[i] = name
            else:
                pending += members
    return result


def labels_of_tiles(strata):
    return [strata.labels[h] for h in strata.of_tile]


tiles = st.lists(st.tuples(st.integers(-1, 4), st.integers(-2, 3), st.integers(1, 12)), max_size=25)


@settings(deadline=None, max_examples=200)
@given(tiles, st.integers(1, 30), st.integers(0, 2**31))
def test_equals_the_plain_implementation_and_conserves_tiles(pairs, min_size, seed):
    climate, cover = codes(*pairs, (0, 0, 0))
    shuffled = np.random.default_rng(seed).permutation(climate.size)
    climate, cover = climate[shuffled], cover[shuffled]
    strata = stratify(climate, cover, CLIMATES, COVERS, min_size)
    assert labels_of_tiles(strata) == stratify_plainly(climate, np.maximum(cover, -1), min_size)
    assert len(set(strata.labels)) == len(strata) == strata.size.size == strata.level.size
    np.testing.assert_array_equal(np.bincount(strata.of_tile, minlength=len(strata)), strata.size)
    assert (strata.size > 0).all()
    assert (strata.size < min_size).sum() <= 1
    assert (np.diff(strata.level) >= 0).all()


def test_sparse_cells_climb_level_by_level_and_only_they():
    climate, cover = codes(
        (3, 0, 100),  # Cfb|tree: big, keeps to itself
        (3, 1, 6),  # with
        (3, 2, 7),  # these two sparse herbs
        (3, 3, 8),  # a pool of its group; the lone shrub rises, and is the only one of Cfb: rises again
        (2, 0, 5),  # Cfa has two sparse covers of different groups: Cfa|*
        (2, 3, 5),
        (1, 0, 4),  # Aw alone and Dfb alone: too few for their groups, meet at the top
        (4, 2, 3),
        (-1, 1, 2),
    )
    strata = stratify(climate, cover, CLIMATES, COVERS, 10)
    assert dict(zip(strata.labels, strata.size.tolist(), strict=True)) == {
        "Cfb|tree": 100,
        "Cfb|group:herbs": 15,
        "Cfa|*": 10,
        "*|*": 15,
    }
    assert strata.level.tolist() == [0, 1, 2, 4]


def test_main_climates_pool():
    climate, cover = codes((2, 0, 4), (3, 3, 6), (0, 0, 2), (1, 1, 2))
    strata = stratify(climate, cover, CLIMATES, COVERS, 10)
    assert strata.labels == ("group:C|*", "*|*") or strata.labels == ("group:C|*", "group:A|*")
    assert Counter(labels_of_tiles(strata)) == {"group:C|*": 10, strata.labels[1]: 4}


def test_order_is_that_of_the_legends_with_unknown_last():
    climate, cover = codes((-1, 0, 3), (4, 1, 3), (0, -1, 3), (0, 3, 3), (0, 0, 3))
    strata = stratify(climate, cover, CLIMATES, COVERS, 3)
    assert strata.labels == ("Af|tree", "Af|crop", "Af|unknown", "Dfb|shrub", "unknown|tree")


def test_a_single_sparse_rest_keeps_the_label_that_says_most():
    climate, cover = codes((3, 0, 50), (2, 1, 4))
    assert stratify(climate, cover, CLIMATES, COVERS, 10).labels == ("Cfb|tree", "Cfa|group:woody")
    climate, cover = codes((3, 0, 2))
    assert stratify(climate, cover, CLIMATES, COVERS, 10).labels == ("Cfb|tree",)


def test_min_size_counts_itself():
    climate, cover = codes((3, 0, 10), (2, 0, 9), (1, 3, 9))
    strata = stratify(climate, cover, CLIMATES, COVERS, 10)
    assert strata.labels == ("Cfb|tree", "*|*")


def test_no_tiles_no_strata():
    nothing = np.empty(0, np.int16)
    strata = stratify(nothing, nothing, CLIMATES, COVERS, 10)
    assert len(strata) == 0 and strata.of_tile.size == 0 and strata.size.size == 0


@pytest.mark.parametrize(
    ("climate", "cover", "message"),
    [
        ([5], [0], "climate code 5 in a legend of 5"),
        ([0], [4], "land cover code 4 in a legend of 4"),
        ([0], [0, 1], "1 climate"),
    ],
)
def test_wrong_codes_are_refused(climate, cover, message):
    with pytest.raises(SelectionError, match=message):
        stratify(np.array(climate, np.int16), np.array(cover, np.int16), CLIMATES, COVERS, 10)
