import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from csmoe_sampler.runs import expand_runs, find_run, merge_runs

RUNS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9)), max_size=12)


@given(RUNS)
def test_merged_runs_hold_the_same_tiles(pairs):
    start = np.array([first for first, _ in pairs], np.int64)
    stop = np.array([first + length for first, length in pairs], np.int64)
    merged_start, merged_stop = merge_runs(start, stop)
    tiles = expand_runs(merged_start, merged_stop)
    assert tiles.dtype == np.int64
    assert tiles.tolist() == sorted({tile for first, length in pairs for tile in range(first, first + length)})
    assert (merged_start < merged_stop).all()
    assert (merged_start[1:] > merged_stop[:-1]).all()


@given(RUNS)
def test_expanded_runs_follow_each_other(pairs):
    start = np.array([first for first, _ in pairs], np.int64)
    stop = np.array([first + length for first, length in pairs], np.int64)
    expected = [tile for first, length in pairs for tile in range(first, first + length)]
    assert expand_runs(start, stop).tolist() == expected


@given(RUNS)
def test_find_run_names_the_run_that_holds_a_tile(pairs):
    start, stop = merge_runs(np.array([p[0] for p in pairs], np.int64), np.array([sum(p) for p in pairs], np.int64))
    tiles = np.arange(-2, 75)
    expected = [next((k for k in range(len(start)) if start[k] <= tile < stop[k]), -1) for tile in tiles]
    assert find_run(tiles, start, stop).tolist() == expected
