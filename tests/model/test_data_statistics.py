"""Statistics of bands, against numpy on all pixels of all seasons; and the command that writes them."""

import tomllib
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from csmoe_model.cli.progress import counting
from csmoe_model.cli.stats import stats
from csmoe_model.config import ModelConfig
from csmoe_model.data import statistics
from csmoe_model.data.statistics import Moments, as_toml, measure_chips, sensors_of, standard_bands
from csmoe_model.data.store import ChipStore
from csmoe_model.errors import DataError
from model.chip_stores import write_chips

BANDS = {"s1": ("VV", "VH"), "s2": ("B02", "B03", "B8A", "B11")}
app = Typer()
app.command()(stats)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    seasons = ("winter", "summer")
    return write_chips(tmp_path_factory.mktemp("seasons"), seasons=seasons, absent=((0, 1),), failed=(6,))


def whole(written, rows, name):
    chips = [
        written.expected(row, name, BANDS[name], season) for row in rows for season in (0, 1) if (row, season) != (0, 1)
    ]
    return np.concatenate([chip.reshape(len(chip), -1) for chip in chips], axis=1).astype(np.float64)


@settings(max_examples=50, deadline=None)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=4),
    level=st.sampled_from([0.0, -20.0, 3000.0, 1e6]),
    seed=st.integers(0, 99),
)
def test_moments_of_parts_are_those_of_the_whole(cuts, level, seed):
    chance = np.random.default_rng(seed)
    pixels = (level + chance.normal(size=(2, 1, 60))).astype(np.float32)
    pixels[1][chance.random((1, 60)) < 0.4] = np.nan
    edges = sorted({0, *cuts, 60})
    parts = [Moments.of(pixels[:, :, a:b]) for a, b in pairwise(edges)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merged(part)
    values = pixels[:, 0].astype(np.float64)
    np.testing.assert_array_equal(merged.count, np.isfinite(values).sum(1))
    np.testing.assert_allclose(merged.mean, np.nanmean(values, 1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(merged.std, np.nanstd(values, 1), rtol=1e-9)


def test_nothing_valid_is_nothing():
    nothing = Moments.of(np.full((1, 2, 3), np.nan, np.float32))
    some = Moments.of(np.arange(6, dtype=np.float32).reshape(1, 2, 3))
    for both in (nothing.merged(some), some.merged(nothing)):
        assert (both.count, both.mean, both.std**2) == (6, 2.5, pytest.approx(35 / 12))
    assert nothing.count == 0 and nothing.std == 0


def test_chips_of_all_seasons_that_are_there(written, monkeypatch):
    rows, store = [0, 1, 4, 9, 10], ChipStore(written.store)
    advanced = []
    monkeypatch.setattr(statistics, "_ROWS_AT_ONCE", 2)
    found = measure_chips(store, rows, BANDS, advanced.append)
    assert advanced == [2, 2, 1]
    for name, moments in found.items():
        values = whole(written, rows, name)
        np.testing.assert_array_equal(moments.count, np.isfinite(values).sum(1))
        np.testing.assert_allclose(moments.mean, np.nanmean(values, 1), rtol=1e-12)
        np.testing.assert_allclose(moments.std, np.nanstd(values, 1), rtol=1e-10)


def test_threads_do_not_change_a_bit(written, monkeypatch):
    store, found = ChipStore(written.store), []
    for threads in (1, 4):
        monkeypatch.setattr(statistics.os, "cpu_count", lambda threads=threads: threads)
        found.append(measure_chips(store, [0, 1, 2, 3, 4, 5], BANDS))
    for name in BANDS:
        for part in ("mean", "squares"):
            assert np.array_equal(getattr(found[0][name], part), getattr(found[1][name], part))


def test_bands_are_those_a_model_takes_or_all(written, tmp_path):
    store = ChipStore(written.store)
    assert standard_bands(store) == BANDS
    assert standard_bands(store, every=True) == {"s1": ("VH", "VV"), "s2": BANDS["s2"]}


def test_a_band_that_does_not_vary_is_an_error(written):
    store = ChipStore(written.store)
    moments = measure_chips(store, [1, 2], BANDS)
    moments["s2"].squares[2] = 0.0
    with pytest.raises(DataError, match="band B8A of 's2' does not vary: leave it out"):
        sensors_of(store, moments, BANDS)


def test_the_text_is_a_configuration(written):
    store = ChipStore(written.store)
    sensors = sensors_of(store, measure_chips(store, [0, 5], BANDS), BANDS)
    read = tomllib.loads(as_toml(sensors))
    model = ModelConfig(**read["model"])
    assert model.sensors == sensors and list(model.sensors) == ["s1", "s2"]
    assert model.sensors["s2"].unit == "DN" and model.sensors["s1"].unit == "dB" and model.sensors["s1"].gsd_m == 10
    store.check(model.sensors)


def test_the_command(written, tmp_path):
    options = ["--manifest", str(written.manifest), "--quiet"]
    printed = CliRunner().invoke(app, options)
    assert printed.exit_code == 0
    rows = [0, 1, 3, 5, 8, 10]  # for training, with chips
    found = tomllib.loads(printed.stdout)["model"]["sensors"]
    np.testing.assert_allclose(found["s1"]["mean"], np.nanmean(whole(written, rows, "s1"), 1), rtol=1e-5)
    out = tmp_path / "new" / "sensors.toml"
    again = CliRunner().invoke(app, [*options, "--chips", str(written.store), "--out", str(out)])
    assert out.read_text() == printed.stdout and again.stdout == f"6 chips of split 'train' -> {out}\n"
    assert [path.name for path in out.parent.iterdir()] == ["sensors.toml"]
    other = CliRunner().invoke(app, [*options, "--split", "validation", "--every-band"])
    assert tomllib.loads(other.stdout)["model"]["sensors"]["s1"]["bands"] == ["VH", "VV"]
    assert tomllib.loads(other.stdout)["model"]["sensors"]["s2"]["mean"] != found["s2"]["mean"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--split", "tests"], "0 rows of split 'tests' have a chip, 1 are needed"),
        (["--out", "/proc/nowhere/x.toml"], "/proc/nowhere/x.toml cannot be written"),
    ],
)
def test_what_the_command_refuses(written, more, said):
    result = CliRunner().invoke(app, ["--manifest", str(written.manifest), "--quiet", *more])
    assert isinstance(result.exception, DataError) and said in str(result.exception)


def test_lines_of_a_log_where_there_is_no_terminal(capsys, monkeypatch):
    from csmoe_model.cli import progress

    clock = iter([0.0, 1.0, 11.0, 11.0, 12.0, 20.0, 20.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with counting("stats", 40, "chips") as advance:
        advance(5)
        advance(17)
        advance(18)
    said = capsys.readouterr().err.splitlines()
    assert said == ["stats: 22 of 40 chips, 2/s, 9 s left", "stats: 40 of 40 chips, 2/s"]
