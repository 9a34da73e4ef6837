"""A data set as a chip store and a manifest: the trainer reads back what was in it, and learns from it."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr
from lightning_fabric import Fabric
from typer import Typer
from typer.testing import CliRunner

from csmoe_model.cli.pack import pack as command
from csmoe_model.data.manifest import read_rows
from csmoe_model.data.samples import ChipSamples, Key
from csmoe_model.data.statistics import measure_chips, sensors_of, standard_bands
from csmoe_model.data.store import ChipStore
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.pack import pack
from csmoe_model.train.inputs import Inputs
from csmoe_model.train.logs import read_metrics
from csmoe_model.train.run import pretrain
from model.evaluation_sets import write_picture
from model.small_models import model_config, train_config

SIZE = 32
UNITS = {"s2": "DN", "s1": "dB", "view": "byte", "refl": "reflectance"}
NAMES = {"s2": ("B03", "B8A", "B11"), "s1": ("VH", "VV"), "view": ("grey",), "refl": ("B02", "B04")}


class Arrays:
    """A reader of arrays."""

    def __init__(self, images):
        self._images = images

    def images(self, sample):
        return {name: pixels.copy() for name, pixels in self._images[sample].items()}

    def mask(self, sample):
        raise DataError("no masks")


def images_of(k, size):
    chance = np.random.default_rng(k)
    s2 = chance.integers(1, 9000, (3, *size)).astype(np.float32)
    s1 = chance.normal(-15, 4, (2, *size)).astype(np.float32)
    s2[1, : k % 3], s1[0, :, : k % 2] = np.nan, np.nan
    view = chance.integers(0, 256, (1, *size)).astype(np.float32)
    return {"s2": s2, "s1": s1, "view": view, "refl": chance.random((2, *size), np.float32)}


def data_of(num=70, size=(SIZE, SIZE), lacking=()):
    """Every fifth sample is for validation, every seventh for testing; `lacking` are pairs of sample and sensor."""
    images = [images_of(k, size) for k in range(num)]
    for sample, sensor in lacking:
        del images[sample][sensor]
    split = ["test" if k % 7 == 6 else "validation" if k % 5 == 4 else "train" for k in range(num)]
    return EvaluationSet(
        name="arrays",
        task="single_label",
        sensors={name: Bands(names=NAMES[name], unit=unit, gsd_m=20.0) for name, unit in UNITS.items()},
        classes=("field", "town", "lake"),
        ids=np.array([f"p{k:03d}" for k in range(num)]),
        split=np.array(split),
        labels=np.arange(num) % 3,
        reader=Arrays(images),
        lon_lat=np.stack([np.linspace(-9, 9, num), np.linspace(40, 50, num)], 1),
        notes=("made up",),
    )


def expected_of(data, one, sensor):
    pixels = data.reader.images(data.ids.tolist().index(one))[sensor]
    return pixels * 10_000 if UNITS[sensor] == "reflectance" else pixels


def test_the_trainer_reads_back_what_was_packed(tmp_path):
    data = data_of()
    store_path, manifest = pack(data, tmp_path / "new" / "packed")
    store = ChipStore(store_path)
    rows = read_rows(manifest, store)
    kept = data.split != "test"
    assert len(rows) == store.num_rows == kept.sum() > 58
    assert sorted(rows.tile_id.tolist()) == data.ids[kept].tolist()
    of_id = {one: row for row, one in enumerate(data.ids.tolist())}
    places = [of_id[one] for one in rows.tile_id.tolist()]
    np.testing.assert_array_equal(rows.split, data.split[places])
    np.testing.assert_array_equal(rows.landcover, np.array(data.classes)[data.labels[places]])
    np.testing.assert_array_equal(np.stack([rows.lon, rows.lat], 1), data.lon_lat[places])
    assert set(rows.weight.tolist()) == {1.0}
    assert (store.size_px, store.gsd_m) == (SIZE, 20.0)
    for sensor, unit in UNITS.items():
        assert store.unit(sensor) == ("DN" if unit == "reflectance" else unit)
        wanted = NAMES[sensor][::-1]
        for row, one in zip(rows.chip.tolist(), rows.tile_id.tolist(), strict=True):
            np.testing.assert_array_equal(store.read(row, sensor, wanted), expected_of(data, one, sensor)[::-1])


def test_the_store_is_of_the_written_form(tmp_path):
    data = data_of(70)
    store_path, manifest = pack(data, tmp_path / "packed")
    group = zarr.open_group(store_path, mode="r")
    for sensor in UNITS:
        array = group[sensor]
        assert array.shards == (64, len(NAMES[sensor]), SIZE, SIZE)
        assert array.chunks == (1, len(NAMES[sensor]), SIZE, SIZE)
        assert array.dtype == (np.int16 if sensor == "s2" else np.float32)
        assert ChipStore(store_path)._pixels[sensor].shard_chips == 64  # the fast way of reading
    with xr.open_zarr(store_path) as opened:
        assert opened["s2_band"].values.tolist() == list(NAMES["s2"])
        first = str(opened["tile_id"].values[0])
        np.testing.assert_allclose(opened["s2"][0] * 10_000, expected_of(data, first, "s2"), rtol=1e-6)
    about = json.loads(pq.read_schema(manifest).metadata[b"csmoe"])
    assert about["fingerprint"] == data.fingerprint()
    assert about["notes"] == ["made up"]
    other = pack(data, tmp_path / "other", splits=("train",))[0]
    with pytest.raises(DataError, match="belongs to another manifest"):
        read_rows(manifest, ChipStore(other))


def test_samples_come_out_standardised_as_the_data_are(tmp_path):
    data = data_of(9)
    store_path, manifest = pack(data, tmp_path / "packed")
    store, config = ChipStore(store_path), model_config()
    rows = read_rows(manifest, store)
    batch = ChipSamples(store, rows, config, 0, None).batch([Key(0, 2)])
    sensor = config.sensors["s2"]
    pixels = expected_of(data, rows.tile_id[2], "s2")
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (sensor.mean, sensor.std))
    valid = np.isfinite(pixels)
    np.testing.assert_array_equal(batch.valid["s2"][0].numpy(), valid)
    np.testing.assert_allclose(batch.images["s2"][0].numpy(), np.where(valid, (pixels - mean) / std, 0), rtol=1e-6)


def test_what_a_sample_lacks_is_missing_and_not_zero(tmp_path):
    lacking = [(0, "s1"), (3, "s2"), *((1, sensor) for sensor in UNITS)]
    store_path, manifest = pack(data_of(12, lacking=lacking), tmp_path / "packed")
    store = ChipStore(store_path)
    rows = read_rows(manifest, store)
    assert "p001" not in rows.tile_id.tolist()  # nothing to learn from
    row = dict(zip(rows.tile_id.tolist(), rows.chip.tolist(), strict=True))
    assert np.isnan(store.read(row["p000"], "s1", NAMES["s1"])).all()
    assert np.isnan(store.read(row["p003"], "s2", NAMES["s2"])).all()
    assert np.isfinite(store.read(row["p003"], "s1", NAMES["s1"])).any()
    assert zarr.open_group(store_path, mode="r")["s1_valid"][row["p000"]] == 0


def test_images_are_resized_where_a_size_is_wanted(tmp_path):
    data = data_of(6, size=(20, 44))
    with pytest.raises(DataError, match=r"p000: is 20 x 44 px, chips are squares of one size, 44 px here: give a size"):
        pack(data, tmp_path / "none")
    store_path, _ = pack(data, tmp_path / "packed", size_px=11)
    store = ChipStore(store_path)
    assert (store.size_px, store.gsd_m) == (11, 80.0)
    whole, small = expected_of(data, "p000", "view"), store.read(0, "view", ("grey",))
    assert abs(float(small.mean() - whole.mean())) < 2
    assert small.std() < 0.6 * whole.std()
    assert not list(tmp_path.glob(".none*"))


@pytest.mark.parametrize("splits", [("train", "validation", "test"), ("test",)])
def test_the_test_split_comes_when_asked_for(tmp_path, splits):
    data = data_of(14)
    store_path, manifest = pack(data, tmp_path / "packed", splits=splits)
    assert set(read_rows(manifest, ChipStore(store_path)).split.tolist()) == set(splits)


def test_nothing_is_overwritten_or_left_half_done(tmp_path):
    data = data_of(9)
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="is there already"):
        pack(data, tmp_path / "there")

    class Broken(Arrays):
        def images(self, sample):
            if sample == 5:
                raise DataError("chip 5 is damaged")
            return super().images(sample)

    broken = replace(data, reader=Broken([images_of(k, (SIZE, SIZE)) for k in range(9)]))
    with pytest.raises(DataError, match="chip 5"):
        pack(broken, tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        pack(data, tmp_path / "file" / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "there"]


def test_a_model_learns_from_it(tmp_path):
    store_path, manifest = pack(data_of(30), tmp_path / "packed")
    store = ChipStore(store_path)
    bands = {name: own for name, own in standard_bands(store, every=True).items() if name in ("view", "s1")}
    sensors = sensors_of(store, measure_chips(store, range(store.num_rows), bands), bands)
    assert sensors["view"].unit == "byte"
    config = train_config(model_config(sensors=sensors), max_steps=3, batch=4)
    inputs = Inputs(manifest=manifest, chips=store_path, out=tmp_path / "run")
    pretrain(config, inputs, Fabric(accelerator="cpu", devices=1), quiet=True)
    losses = [line["loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert len(losses) == 3
    assert np.isfinite(losses).all()


def test_the_command_packs_a_folder(tmp_path):
    chance = np.random.default_rng(0)
    for k in range(12):
        for label in ("field", "town"):
            pixels = chance.integers(0, 256, (3, 10, 14), np.uint8)
            write_picture(tmp_path / "data" / label / f"{label}_{k}.png", pixels)
    app = Typer()
    app.command()(command)
    arguments = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "packed"), "--size-px", "16", "--quiet"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    store = ChipStore(tmp_path / "packed" / "chips.zarr")
    rows = read_rows(tmp_path / "packed" / "sample.parquet", store)
    assert f"{len(rows)} samples of folders data" in done.output
    assert set(rows.split.tolist()) == {"train", "validation"}
    assert set(rows.landcover.tolist()) == {"field", "town"}
    assert store.size_px == 16
