"""GEO-Bench v1: no pickle is opened, names that do not fit the values are mended."""

import pickle

import numpy as np
import pytest

from csmoe_model.errors import DataError
from csmoe_model.evaluation.layouts import open_set
from csmoe_model.evaluation.layouts.eurosat import BANDS as EUROSAT_BANDS
from model.evaluation_sets import (
    EUROSAT_IN_GEOBENCH,
    KILNS,
    LEVEL_1C,
    geobench,
    images_of,
    write_geobench,
)


def test_geobench_without_opening_a_pickle(tmp_path):
    root, samples, labels = geobench(tmp_path / "m-sample", LEVEL_1C)
    data = open_set(root)
    assert (data.task, data.classes) == ("single_label", ("0", "1", "2"))
    assert {one: int(code) for one, code in zip(data.ids, data.labels, strict=True)} == labels
    assert data.split.tolist() == ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    bands = data.sensors["s2"]
    assert bands.unit == "DN" and bands.names[8:10] == ("B8A", "B09")
    for one, arrays in samples.items():
        np.testing.assert_array_equal(images_of(data, one)["s2"], np.stack(list(arrays.values())))
    with pytest.raises(DataError, match="no mask"):
        data.reader.mask(0)
    data.fingerprint()
    assert not (tmp_path / "fuse").exists()
    pickle.loads((root / "task_specs.pkl").read_bytes())
    assert (tmp_path / "fuse").exists(), "an opened pickle would have been seen"


def test_shifted_names_of_m_eurosat_are_mended(tmp_path):
    root, samples, _ = geobench(tmp_path / "m-eurosat", EUROSAT_IN_GEOBENCH)
    data = open_set(root)
    assert data.sensors["s2"].names == EUROSAT_BANDS and data.classes[:2] == ("AnnualCrop", "Forest")
    assert any("shifted by one from B8A on" in note for note in data.notes)
    pixels = images_of(data, "id_0003")["s2"]
    by_name = dict(zip(data.sensors["s2"].names, pixels, strict=True))
    np.testing.assert_array_equal(by_name["B8A"], samples["id_0003"]["12 - SWIR"])
    np.testing.assert_array_equal(by_name["B10"], samples["id_0003"]["09 - Water vapour"])


def test_names_of_m_brick_kiln_are_mended(tmp_path):
    root, samples, _ = geobench(tmp_path / "m-brick-kiln", KILNS)
    data = open_set(root)
    assert data.sensors["s2"].names == ("B01", "B02", "B03", "B04", "B05", "B07", "B8A", "B08", "B11", "B12")
    assert any("names of bands did not fit" in note for note in data.notes) and "left out: 10" in str(data.notes)
    np.testing.assert_array_equal(images_of(data, "id_0001")["s2"][8], samples["id_0001"]["08A - Vegetation Red Edge"])


def test_geobench_multi_label_radar_and_reflectance(tmp_path):
    chance = np.random.default_rng(0)
    keys = ("01 - VH.Real", "05 - VH.LEE Filtered", "06 - VV.LEE Filtered", "02 - Blue", "04 - Red")
    samples = {f"id_{k}": {key: chance.uniform(0.01, 0.4, (4, 6)) for key in keys} for k in range(5)}
    labels = {name: [k % 2, 1, 0] for k, name in enumerate(samples)}
    data = open_set(write_geobench(tmp_path / "m-so2sat", samples, labels=labels, fuse=tmp_path / "fuse"))
    assert data.task == "multi_label" and data.labels.tolist()[1] == [True, True, False]
    assert data.sensors["s1"].names == ("VV", "VH") and data.sensors["s1"].unit == "power"
    assert data.sensors["s2"].names == ("B02", "B04") and data.sensors["s2"].unit == "reflectance"
    np.testing.assert_allclose(images_of(data, "id_2")["s1"][1], samples["id_2"]["05 - VH.LEE Filtered"], rtol=1e-6)
    assert "left out: 01 - VH.Real" in data.notes


def test_geobench_dates_landsat_and_masks(tmp_path):
    chance = np.random.default_rng(0)
    keys = ("04 - Red_2015-03-01", "05 - NIR_2015-03-01", "05 - NIR_2014-03-01")
    samples = {f"a{k}": {key: chance.integers(0, 255, (4, 6), np.uint8) for key in keys} for k in range(4)}
    for arrays in samples.values():
        arrays["label_2015-03-01"] = chance.integers(0, 2, (4, 6))
    labels = {name: [0.25, 0.75] for name in samples}
    data = open_set(write_geobench(tmp_path / "m-x", samples, labels=labels, fuse=tmp_path / "fuse"))
    assert data.task == "segmentation" and data.labels is None and data.classes == ("0", "1")
    assert data.sensors["landsat8"].names == ("B04", "B8A") and data.sensors["landsat8"].unit == "byte"
    np.testing.assert_array_equal(images_of(data, "a1")["landsat8"][1], samples["a1"]["05 - NIR_2014-03-01"])
    np.testing.assert_array_equal(data.reader.mask(0), samples["a0"]["label_2015-03-01"])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("label_map.json", None, "are pickles, which are not opened"),
        ("label_map.json", '{"0": ["id_0000"]}', "has no label for 7 samples, say id_0001"),
        ("label_map.json", "[1", "cannot be read as JSON"),
        ("default_partition.json", "{}", "names no sample"),
        ("id_0000.hdf5", None, "no such file"),
        ("id_0000.hdf5", "no HDF5", "cannot be read"),
    ],
)
def test_a_damaged_geobench_set_is_refused(tmp_path, file, content, message):
    root, _, _ = geobench(tmp_path / "m-sample", LEVEL_1C)
    (root / file).unlink()
    if content is not None:
        (root / file).write_text(content)
    with pytest.raises(DataError, match=message):
        open_set(root)
    assert not (tmp_path / "fuse").exists()
