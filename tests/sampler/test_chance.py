"""Keys are SplitMix64's published outputs, distinct and uniform; seeds of sub-streams differ."""

import numpy as np

from csmoe_sampler.chance import derive_seed, key_uniform, tile_keys


def splitmix64(state):
    """One step of the published generator, in Python integers."""
    mask = 2**64 - 1
    state = (state + 0x9E3779B97F4A7C15) & mask
    z = state
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return state, z ^ (z >> 31)


def mixed(seed):
    """The finaliser alone."""
    return splitmix64((seed - 0x9E3779B97F4A7C15) & (2**64 - 1))[1]


def test_generator_of_this_test_is_the_published_one():
    state, outputs = 1234567, []
    for _ in range(3):
        state, out = splitmix64(state)
        outputs.append(out)
    assert outputs == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_keys_are_the_stream_of_the_mixed_seed():
    for seed in (0, 5, 2**63 - 1):
        state, expected = mixed(seed), []
        for _ in range(6):
            state, out = splitmix64(state)
            expected.append(out)
        np.testing.assert_array_equal(tile_keys(seed, np.arange(6)), np.array(expected, np.uint64))


def test_keys_belong_to_tiles_whatever_their_order():
    tiles = np.array([7, 3, 5_000_000, 0])
    assert (tile_keys(9, tiles[::-1]) == tile_keys(9, tiles)[::-1]).all()
    assert (tile_keys(9, tiles) != tile_keys(10, tiles)).all()


def test_keys_are_distinct_and_uniform():
    keys = tile_keys(0, np.arange(200_000))
    assert np.unique(keys).size == keys.size
    u = key_uniform(keys)
    assert u.min() >= 0 and u.max() < 1
    counts = np.histogram(u, bins=64, range=(0, 1))[0]
    chi2 = ((counts - u.size / 64) ** 2 / (u.size / 64)).sum()
    assert 20 < chi2 < 130  # 63 degrees of freedom
    assert key_uniform(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0.0, 1 - 2.0**-53]


def test_sub_streams_differ_by_seed_and_by_every_label():
    seeds = [
        derive_seed(*a)
        for a in [(0,), (1,), (0, "a"), (0, "a", "b"), (0, "ab"), (0, "b", "a"), (1, "a"), (11,), (1, "1")]
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)
    assert derive_seed(0, "split") == 385159735380740702
