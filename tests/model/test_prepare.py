"""From a data set's pixels to what an extractor takes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.prepare import Preparation, convert, own_scale, resized, statistics
from csmoe_model.sensors import Sensor
from model.evaluation_toys import ToyExtractor, labelled_set

SHAPE = (6, 9)
RED = Sensor(bands=("B04", "B8A", "B02"), unit="DN", mean=(500, 2000, 300), std=(100, 400, 50))


class Pixels:
    """Numbers of their own for every sample and band."""

    def __init__(self, bands, shape=SHAPE, change=None):
        self.bands, self.shape, self.change = bands, shape, change

    def images(self, sample):
        found = {}
        for name, bands in self.bands.items():
            chance = np.random.default_rng([sample, len(name)])
            found[name] = chance.uniform(100, 3000, (len(bands.names), *self.shape)).astype(np.float32)
        return self.change(sample, found) if self.change else found

    def mask(self, sample):
        raise DataError("no masks")


def data_of(counts=(7, 3, 4), *, change=None, **sensors):
    bands = {name: Bands(names=names, unit=unit, gsd_m=10.0) for name, (names, unit) in sensors.items()}
    num = sum(counts)
    return EvaluationSet(
        name="numbers",
        task="single_label",
        sensors=bands,
        classes=("a", "b"),
        ids=np.array([f"n{k}" for k in range(num)]),
        split=np.repeat(["train", "validation", "test"], counts),
        labels=np.arange(num) % 2,
        reader=Pixels(bands, change=change),
    )


def prepared(data, sensor, *, image_px=None, normalise="model", sample=0):
    preparation = Preparation(data, {"s2": sensor}, image_px, normalise)
    return preparation(data.reader.images(sample))["s2"]


@pytest.mark.parametrize("order", [("B02", "B04", "B8A"), ("B8A", "B01", "B02", "B11", "B04"), ("B04", "B8A", "B02")])
def test_bands_are_found_by_name_in_whichever_order(order):
    data = data_of(s2=(order, "DN"))
    image, valid = prepared(data, RED)
    pixels = dict(zip(order, data.reader.images(0)["s2"], strict=True))
    for k, band in enumerate(RED.bands):
        np.testing.assert_allclose(image[k], (pixels[band] - RED.mean[k]) / RED.std[k], rtol=1e-5)
    assert valid.all()
    assert image.shape == (3, *SHAPE)


def test_a_missing_band_is_the_mean_and_valid_where_the_others_are():
    def holes(_, images):
        images["optical"][0, :2] = np.nan
        images["optical"][:, :, 5] = np.nan
        return images

    data = data_of(radar=(("VV",), "dB"), optical=(("B02", "B04"), "DN"), change=holes)
    preparation = Preparation(data, {"s2": RED}, None, "model")
    assert preparation.feeds["s2"].source == "optical"  # another name than the model's: the bands decide
    assert preparation.feeds["s2"].missing == ("B8A",)
    assert preparation.notes() == ["s2: no B8A in the data, filled with the mean"]
    image, valid = preparation(data.reader.images(0))["s2"]
    assert not image[1].any()
    expected = np.ones((3, *SHAPE), bool)
    expected[2, :2], expected[:, :, 5] = False, False
    np.testing.assert_array_equal(valid, expected)
    assert not image[~valid].any()
    assert image.isfinite().all()


def test_a_sensor_that_is_lacking_is_left_out_and_one_without_bands_is_no_feed():
    data = data_of(s2=(RED.bands, "DN"), change=lambda sample, images: images if sample else {})
    lidar = Sensor(bands=("height",), unit="m", mean=(0,), std=(1,))
    preparation = Preparation(data, {"s2": RED, "lidar": lidar}, None, "model")
    assert list(preparation.feeds) == ["s2"]
    assert preparation(data.reader.images(0)) == {}
    assert list(preparation(data.reader.images(1))) == ["s2"]


@pytest.mark.parametrize(
    ("unit", "wanted", "value", "expected"),
    [
        ("reflectance", "DN", 0.25, 2500),
        ("DN", "reflectance", 1234, 0.1234),
        ("power", "dB", 0.01, -20),
        ("power", "dB", 0.0, -60),
        ("byte", "0-1", 51, 0.2),
        ("DN", "0-1", 1500, 0.5),
        ("DN", "0-1", 9000, 1),
        ("reflectance", "0-1", 0.15, 0.5),
        ("reflectance", "0-1", -0.1, 0),
        ("dB", "dB", -12.5, -12.5),
    ],
)
def test_units(unit, wanted, value, expected):
    found = convert(np.array([value, np.nan], np.float32), unit, wanted)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(found[1])


def test_a_unit_without_a_way_is_an_error_that_names_the_mend_and_auto_takes_the_data_s_own():
    data = data_of(s2=(RED.bands, "byte"))
    with pytest.raises(ConfigError, match=r"s2 is in 'byte', the model takes 'DN': .*--normalise data"):
        Preparation(data, {"s2": RED}, None, "model")
    assert not own_scale(data, {"s2": RED})
    assert own_scale(data_of(s2=(RED.bands, "reflectance")), {"s2": RED})
    image, _ = prepared(data, RED, normalise="data")
    mean, std = statistics(data, "s2", [0, 1, 2], ("byte", "byte"))
    np.testing.assert_allclose(image, (data.reader.images(0)["s2"] - mean) / std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("asked", "unit", "expected"),
    [
        ("auto", "DN", "model"),
        ("auto", "byte", "data"),
        ("data", "DN", "data"),
        ("model", "byte", "model"),
    ],
)
def test_whose_statistics_standardise(asked, unit, expected):
    data = labelled_set()
    if unit == "byte":
        data = replace(data, sensors={**data.sensors, "s2": replace(data.sensors["s2"], unit="byte")})
    assert Comparison(data=data, normalise=asked).normalisation(ToyExtractor()) == expected


def test_no_band_in_common_is_an_error_that_names_both_sides():
    with pytest.raises(ConfigError, match=r"none of the bands .*\(s2: B04, B8A, B02\), but radar: VV, VH"):
        Preparation(data_of(radar=(("VV", "VH"), "dB")), {"s2": RED}, None, "model")


def test_statistics_are_those_of_the_training_split_alone():
    def holes(sample, images):
        images["s2"][0, sample % 6] = np.nan
        return images

    data = data_of(s2=(("B02", "B11", "B04"), "reflectance"), change=holes)
    mean, std = statistics(data, "s2", [2, 0], ("reflectance", "DN"))
    every = np.stack([data.reader.images(k)["s2"] for k in range(7)], 1).reshape(3, -1)[[2, 0]] * 10_000.0
    np.testing.assert_allclose(mean[:, 0, 0], np.nanmean(every, 1), rtol=1e-5)
    np.testing.assert_allclose(std[:, 0, 0], np.nanstd(every, 1), rtol=1e-4)

    def other_test(sample, images):
        return {name: pixels * (50 if sample >= 7 else 1) for name, pixels in holes(sample, images).items()}

    changed = replace(data, reader=Pixels(data.sensors, change=other_test))
    assert np.array_equal(statistics(changed, "s2", [2, 0], ("reflectance", "DN"))[0], mean)


def test_statistics_read_no_more_than_enough_samples_from_all_over_the_split(monkeypatch):
    monkeypatch.setattr("csmoe_model.evaluation.prepare._SEEN", 4)
    seen = []
    data = data_of((11, 1, 1), s2=(RED.bands, "DN"), change=lambda sample, images: (seen.append(sample), images)[1])
    statistics(data, "s2", [0], ("DN", "DN"))
    assert seen == [0, 3, 6, 10]


def test_a_constant_band_has_no_statistics():
    def constant(_, images):
        images["s2"][1] = 7.0
        return images

    data = data_of(s2=(RED.bands, "DN"), change=constant)
    with pytest.raises(DataError, match="s2 B8A constant or missing in the training split"):
        Preparation(data, {"s2": RED}, None, "data")


@pytest.mark.parametrize(("shape", "size"), [((6, 9), 4), ((5, 3), 8), ((4, 4), 7)])
def test_images_are_resized_as_pillow_does_it(shape, size):
    pixels = np.random.default_rng(2).normal(size=(2, *shape)).astype(np.float32)
    found, valid = resized(torch.from_numpy(pixels), torch.ones(2, *shape, dtype=torch.bool), size)
    for one, band in zip(found, pixels, strict=True):
        expected = Image.fromarray(band).resize((size, size), Image.Resampling.BILINEAR)
        np.testing.assert_allclose(one, np.asarray(expected), atol=1e-5)
    assert valid.all()


def test_invalid_pixels_have_no_part_in_what_is_resized():
    chance = np.random.default_rng(3)
    pixels, known = chance.normal(size=(2, 12, 8)), chance.random((2, 12, 8)) < 0.6
    known[:, :6, :4] = False

    def resize(band):
        return np.asarray(Image.fromarray(band.astype(np.float32)).resize((4, 4), Image.Resampling.BILINEAR))

    image = torch.from_numpy(np.where(known, pixels, 0)).float()
    found, valid = resized(image, torch.from_numpy(known), 4)
    for k in range(2):
        weight = resize(known[k])
        expected = np.where(weight >= 0.5, resize(np.where(known[k], pixels[k], 0)) / np.maximum(weight, 0.5), 0)
        np.testing.assert_allclose(found[k], expected, atol=1e-5)
        np.testing.assert_array_equal(valid[k], weight >= 0.5)
    assert not valid[:, :2, :1].any()
    constant, _ = resized(torch.where(torch.from_numpy(known), 3.0, 0.0), torch.from_numpy(known), 4)
    np.testing.assert_allclose(constant[valid], 3.0, rtol=1e-5)  # a uniform image stays what it is


def test_a_square_image_of_the_right_size_stays_as_it_is():
    data = data_of(s2=(RED.bands, "DN"))
    square = replace(data, reader=Pixels(data.sensors, shape=(5, 5)))
    assert torch.equal(prepared(square, RED, image_px=5)[0], prepared(square, RED)[0])
    assert prepared(data, RED, image_px=5)[0].shape == (3, 5, 5)
