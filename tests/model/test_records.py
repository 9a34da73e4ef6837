"""What a result carries, and which results may stand side by side."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from csmoe_model.errors import ConfigError, DataError
from csmoe_model.evaluation.classification import ClassifyConfig
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.dataset import Bands
from csmoe_model.evaluation.extractors.own import untrained
from csmoe_model.evaluation.extractors.statistics import StatisticsExtractor
from csmoe_model.evaluation.figures import Figure
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.protocols import classification
from csmoe_model.evaluation.records import (
    about_inputs,
    about_model,
    as_figure,
    as_values,
    comparable,
    read_records,
    write_records,
)
from csmoe_model.profiling.count import count_parameters
from model.evaluation_records import DATA, record
from model.evaluation_toys import ToyExtractor, ToyReader, labelled_set, segmentation_set
from model.small_models import model_config


def reordered(data, order):
    """The same samples in another order of files."""

    class Reader:
        def images(self, sample):
            return data.reader.images(order[sample])

        def mask(self, sample):
            return data.reader.mask(order[sample])

    return replace(data, ids=data.ids[order], split=data.split[order], labels=data.labels[order], reader=Reader())


def pixel(data):
    """With one pixel of one sample changed."""

    def change(sample, images, mask):
        images["s2"][1, 3, 2] += sample == 8
        return images, mask

    return replace(data, reader=ToyReader(data.reader.shape, change))


def masked(data):
    """With another mask of the first sample."""
    return replace(data, reader=ToyReader(data.reader.shape, lambda k, images, mask: (images, mask if k else 3 - mask)))


def bands(data, **changes):
    return replace(data, sensors={**data.sensors, "s2": replace(data.sensors["s2"], **changes)})


LABELLED = replace(labelled_set((6, 3, 4)), reader=segmentation_set((6, 3, 4)).reader)
OTHERS = {
    "pixels": pixel,
    "a label": lambda data: replace(data, labels=np.where(np.arange(len(data)) == 5, 0, data.labels)),
    "order of bands": lambda data: bands(data, names=("B03", "B11", "B8A")),
    "name of a band": lambda data: bands(data, names=("B11", "B03", "B08")),
    "unit": lambda data: bands(data, unit="reflectance"),
    "classes": lambda data: replace(data, classes=("marsh", "dune", "ice", "reef")),
    "ids": lambda data: replace(data, ids=np.array([f"scene-{k + 1}" for k in range(len(data))])),
    "a sensor": lambda data: replace(data, sensors={"s2": data.sensors["s2"]}),
}


@pytest.mark.parametrize("name", list(OTHERS))
def test_the_fingerprint_tells_another(name):
    data = replace(LABELLED, labels=np.arange(13) % 4)
    assert OTHERS[name](data).fingerprint() != data.fingerprint()


def test_the_fingerprint_tells_other_masks_and_what_they_ignore():
    data = segmentation_set((3, 1, 2))
    found = {one.fingerprint() for one in (data, masked(data), replace(data, ignore_index=3))}
    assert len(found) == 3


def test_the_order_of_files_and_sensors_is_nothing_to_the_fingerprint():
    order = np.random.default_rng(0).permutation(len(LABELLED))
    other = reordered(LABELLED, order)
    assert other.fingerprint() == LABELLED.fingerprint()
    assert other.split_hash() == LABELLED.split_hash()
    turned = replace(LABELLED, sensors=dict(reversed(LABELLED.sensors.items())))
    assert turned.fingerprint() == LABELLED.fingerprint()


def test_the_split_hash_tells_who_is_where():
    swapped = LABELLED.split.copy()
    swapped[[0, 12]] = swapped[[12, 0]]  # as many in each
    assert replace(LABELLED, split=swapped).split_hash() != LABELLED.split_hash()
    assert replace(LABELLED, split=swapped).fingerprint() == LABELLED.fingerprint()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": np.arange(13) % 5}, "labels from 0 to 4 for 4 classes"),
        ({"labels": np.zeros((13, 4), bool)}, "labels of 2 dimensions, 1 are those of the task single_label"),
        ({"classes": ("marsh", "dune", "dune", "ice")}, "class 'dune' stands twice"),
        ({"ids": np.array(["x"] * 13)}, "id 'x' stands twice"),
        ({"sensors": {"s2": Bands(names=("B1", "B2", "B1"), unit="DN", gsd_m=10)}}, "band of s2 'B1' stands twice"),
        ({"split": np.array(["train"] * 12 + ["val"])}, "splits val: they are train, validation, test"),
        ({"group": np.array(["a"])}, "1 of group for 13 samples"),
    ],
)
def test_a_set_that_would_give_wrong_figures_is_refused(changes, message):
    with pytest.raises(DataError, match=message):
        replace(LABELLED, **changes)


def test_records_come_back_as_they_were(tmp_path):
    records = [
        record("one", {"linear/s2/accuracy/micro": (0.5, 0.25, 0.75), "linear/s2/f1": (None, None, None)}),
        record("two", {}, settings={"seed": 3, "curves": {"linear/s2": {"0.01": 0.5}}, "layers": [1, 2]}, seed=3),
    ]
    write_records(tmp_path / "r.json", records)
    assert read_records(tmp_path / "r.json") == records
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


def test_what_is_measured_comes_back_as_it_was_too_and_holds_no_nan(tmp_path):
    data = labelled_set((12, 6, 7))
    compared = Comparison(data=data, resamples=20)
    config = ClassifyConfig(neighbours=(3,), resamples=20)
    records = list(classification(compared, [lambda _: ToyExtractor()], config))
    write_records(tmp_path / "r.json", records)
    assert read_records(tmp_path / "r.json") == records
    json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    found = records[1]
    assert found.data.samples == {"train": 12, "validation": 6, "test": 7}
    assert found.inputs["s1"].bands == ("VV", "VH")
    assert found.inputs["s1"].unit == ("dB", "dB")
    assert found.normalise == "model"
    assert set(found.settings["chosen_c"]) == {"linear/s1", "linear/s2", "linear/joint"}
    for view, c in found.settings["chosen_c"].items():
        curve = found.settings["curves"][view]
        assert curve[f"{c:g}"] == max(curve.values())


def test_numbers_that_are_none_are_null(tmp_path):
    figures = {"a": Figure(0.5), "b": Figure(math.nan, 0.0, math.inf)}
    assert as_values(figures) == {"a": (0.5, None, None), "b": (None, 0.0, None)}
    assert as_figure((0.5, None, None))[0] == 0.5
    assert math.isnan(as_figure((0.5, None, None)).low)
    write_records(tmp_path / "r.json", [record("x", {}, settings={"seed": 0, "curve": [math.nan, math.inf]})])
    assert "NaN" not in (tmp_path / "r.json").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"r\.json: cannot be read \(No such file"),
        ("{}", r"are no results of this version \(1 problems\)"),
        ("[{}]", r"are no results of this version"),
        ("no json", r"are no results of this version"),
    ],
)
def test_files_that_hold_no_records(tmp_path, text, message):
    if text is not None:
        (tmp_path / "r.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_records(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": DATA.model_copy(update={"fingerprint": "f2"})}, r"fingerprint of the data \(f1 and f2\)"),
        ({"data": DATA.model_copy(update={"split_hash": "s2"})}, r"hash of the splits \(s1 and s2\)"),
        ({"task": "retrieval"}, r"task \(classification and retrieval\)"),
        ({"settings": {"seed": 0, "protocol": "queries: test"}}, r"protocol \(none and queries: test\)"),
    ],
)
def test_what_stands_on_other_data_is_not_compared(changes, message):
    comparable([record("one", {}), record("two", {}, normalise="data", image_px=32)])
    with pytest.raises(ConfigError, match=f"results: differ in the {message}"):
        comparable([record("one", {}), record("two", {}, **changes)])
    with pytest.raises(ConfigError, match="there are none"):
        comparable([])


def test_parameters_are_those_that_encode_and_weights_tell_models_apart():
    config = model_config()
    one, other = (about_model(untrained(config, seed=seed), ["s1", "s2"]) for seed in (0, 1))
    assert one.num_parameters == count_parameters(config).encoder < count_parameters(config).total
    assert one.weights != other.weights
    assert one.weights == about_model(untrained(config, seed=0), ["s2"]).weights
    assert one.macs == {"s1": untrained(config).macs("s1"), "s2": untrained(config).macs("s2")}
    statistics = about_model(StatisticsExtractor(LABELLED), ["s1"])
    assert statistics.weights is None
    assert statistics.num_parameters == 0


def test_the_digest_sees_buffers_too():
    extractor = ToyExtractor()
    extractor.module.register_buffer("level", torch.zeros(()))
    before = about_model(extractor, []).weights
    extractor.module.level += 1
    assert about_model(extractor, []).weights != before


def test_inputs_say_what_was_standardised_with_what():
    extractor = untrained(model_config())
    found = about_inputs(Preparation(LABELLED, extractor.inputs, 32, "data"))
    assert found["s2"].bands == ("B03", "B8A", "B11")
    assert found["s2"].mean != extractor.inputs["s2"].mean
    named = about_inputs(Preparation(LABELLED, extractor.inputs, 32, "model"))
    assert named["s2"].mean == pytest.approx(extractor.inputs["s2"].mean, rel=1e-6)


@pytest.mark.parametrize(
    ("view", "expected"),
    [("s1", 2.0), ("s2", 4.0), ("joint", 6.0), ("s1>s2", 6.0), ("s2>s2", 4.0), ("joint>joint", 6.0), ("lidar", None)],
)
def test_the_cost_of_a_view(view, expected):
    found = record("one", {}).gflop(view)
    assert found is None if expected is None else found == pytest.approx(expected)
    assert record("one", {}, macs={"s1": None, "s2": 5}).gflop("joint") is None
