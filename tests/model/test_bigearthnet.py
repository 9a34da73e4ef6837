"""BigEarthNet, of both versions, from folders and from an LMDB."""

import json
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import rasterio

from csmoe_model.errors import DataError
from csmoe_model.evaluation.layouts import LayoutOptions, open_set
from csmoe_model.evaluation.layouts.bigearthnet import BANDS
from csmoe_model.evaluation.layouts.nomenclature import CLASS_OF, CLASSES, CORINE_NAMES
from model.evaluation_sets import (
    images_of,
    names_of,
    patch_pixels,
    patches,
    write_ben_v1,
    write_metadata,
    write_reben,
    write_rico,
    write_tiff,
)


def test_nineteen_classes_of_forty_three():
    assert len(CLASSES) == 19 and len(CORINE_NAMES) == 43 and list(CLASSES) == sorted(CLASSES)
    assert set(CLASS_OF.values()) == {*CLASSES, None}
    assert sum(own is None for own in CLASS_OF.values()) == 11
    assert CLASS_OF["Peatbogs"] == "Inland wetlands" and CLASS_OF["Airports"] is None


@pytest.fixture
def reben(tmp_path):
    return write_reben(tmp_path / "reben", patches(5))


def test_reben(reben):
    data = open_set(reben)
    rows = {row["patch_id"]: row for row in patches(5)[:4]}  # the last is under snow
    assert (data.name, data.task, data.classes) == ("BigEarthNet v2", "multi_label", CLASSES)
    assert set(data.ids) == set(rows)
    assert "left out: 1 with seasonal snow, cloud or shadow, as in the official split" in data.notes
    assert "countries in the table: Austria 2, Finland 2" in data.notes
    for one, row in rows.items():
        place = data.ids.tolist().index(one)
        assert names_of(data, one) == set(row["labels"])
        assert data.split[place] == row["split"]
        assert data.group[place] == ("33UUP" if "T33UUP" in one else "35VPK")
        found = data.reader.images(place)
        assert set(found) == ({"s1", "s2"} if row["s1_name"] else {"s2"})
        for sensor, name in (("s2", one), ("s1", row["s1_name"])):
            for band, pixels in zip(data.sensors[sensor].names, found.get(sensor, ()), strict=name is not None):
                own = patch_pixels(name)[band]
                np.testing.assert_array_equal(pixels, own.repeat(12 // len(own), 0).repeat(12 // len(own), 1))
    assert data.sensors["s1"].names == ("VV", "VH") and data.sensors["s1"].unit == "dB"
    assert data.sensors["s2"].names == BANDS["s2"]


def test_reben_without_all_files(reben):
    row = patches(5)[0]
    folder = reben / "BigEarthNet-S2" / row["patch_id"].rsplit("_", 2)[0] / row["patch_id"]
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    data = open_set(reben)
    assert len(data) == 4 and set(images_of(data, row["patch_id"])) == {"s1"}
    (reben / "BigEarthNet-S1").rename(reben / "elsewhere")
    data = open_set(reben)
    assert len(data) == 3 and "left out: 1 whose pixels are not there" in data.notes and set(data.sensors) == {"s2"}
    gone = next(iter((reben / "BigEarthNet-S2").glob("*/*/*_B05.tif")))
    gone.unlink()
    with pytest.raises(DataError, match=f"{gone.name}: no such file"):
        images_of(data, gone.parent.name)


def test_reben_labels_have_to_be_known(reben):
    row = patches(1)[0] | {"contains_seasonal_snow": False}
    write_metadata(reben / "metadata.parquet", [row | {"labels": ["Pastures", "Moon dust"]}])
    with pytest.raises(DataError, match="'Moon dust' is none of BigEarthNet's 19 or 43"):
        open_set(reben)
    pq.write_table(pa.table({"patch_id": ["a"]}), reben / "metadata.parquet")
    with pytest.raises(DataError, match="cannot be read as reBEN's table"):
        open_set(reben)
    (reben / "metadata.parquet").unlink()
    with pytest.raises(DataError, match=r"no metadata\.parquet"):
        open_set(reben)
    elsewhere = write_metadata(reben.parent / "x" / "table.parquet", [row])
    assert len(open_set(reben, options=LayoutOptions(metadata=elsewhere))) == 1


def test_lmdb_gives_what_the_folders_give(reben, tmp_path):
    folders = open_set(reben)
    lmdb = open_set(write_rico(tmp_path / "rico" / "Encoded-BigEarthNet", patches(5)))
    assert lmdb.split_hash() == folders.split_hash() and lmdb.fingerprint() == folders.fingerprint()
    assert open_set(tmp_path / "rico" / "Encoded-BigEarthNet", "bigearthnet-lmdb").fingerprint() == lmdb.fingerprint()


def test_lmdb_needs_the_table(tmp_path):
    write_rico(tmp_path / "rico" / "lmdb", patches(3))
    table = (tmp_path / "rico" / "metadata.parquet").rename(tmp_path / "elsewhere.parquet")
    with pytest.raises(DataError, match=r"no metadata\.parquet"):
        open_set(tmp_path / "rico" / "lmdb")
    with pytest.raises(DataError, match="no such file"):
        open_set(tmp_path / "rico" / "lmdb", options=LayoutOptions(metadata=tmp_path / "rico" / "metadata.parquet"))
    (tmp_path / "rico" / "lmdb" / "data.mdb").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be opened"):
        open_set(tmp_path / "rico" / "lmdb", options=LayoutOptions(metadata=table))


def test_the_first_version_is_mapped_to_nineteen(tmp_path):
    labels = {
        "S2A_MSIL2A_20170613T101031_87_48": ["Non-irrigated arable land", "Airports", "Rice fields"],
        "S2A_MSIL2A_20170613T101031_88_48": ["Airports", "Bare rock"],
        "S2B_MSIL2A_20170924T93020_69_24": ["Peatbogs", "Transitional woodland/shrub"],
    }
    data = open_set(write_ben_v1(tmp_path, labels))
    assert data.name == "BigEarthNet v1, 19 classes" and len(data) == 2
    assert names_of(data, "S2A_MSIL2A_20170613T101031_87_48") == {"Arable land"}
    assert names_of(data, "S2B_MSIL2A_20170924T93020_69_24") == {"Inland wetlands", "Transitional woodland, shrub"}
    assert "left out: 1 whose labels have no counterpart among the 19 classes" in data.notes
    assert any("splits made here" in note for note in data.notes)
    found = images_of(data, "S2B_MSIL2A_20170924T93020_69_24")
    np.testing.assert_array_equal(found["s1"][0], patch_pixels("S1A_IW_GRDH_1SDV_20170613T165043_33UUP_2_7")["VV"])
    assert data.group.tolist() == ["33UUP", "33UUP"]


def test_the_real_bigearthnet_pairs(shared_data, tmp_path):
    for sensor in ("S1", "S2"):
        with tarfile.open(shared_data / "sentinel" / "bigearthnet" / f"BigEarthNet-{sensor}-Example.tar.bz2") as tar:
            tar.extractall(tmp_path, filter="data")
    data = open_set(tmp_path)
    assert len(data) == 6 and data.labels.any(1).all()
    one = "S2A_MSIL2A_20171221T112501_56_35"
    about = json.loads(next(tmp_path.glob(f"*/{one}/*.json")).read_text())
    assert names_of(data, one) == {CLASS_OF[name] for name in about["labels"]}
    partner = next(
        path.parent
        for path in tmp_path.glob("*S1*/*/*.json")
        if json.loads(path.read_text())["corresponding_s2_patch"] == one
    )
    found = images_of(data, one)
    for sensor, folder in (("s2", tmp_path / "BigEarthNet-S2-Example" / one), ("s1", partner)):
        for band, pixels in zip(data.sensors[sensor].names, found[sensor], strict=True):
            with rasterio.open(folder / f"{folder.name}_{band}.tif") as source:
                expected = source.read(1, out_shape=(120, 120))  # GDAL's nearest neighbour
            np.testing.assert_array_equal(pixels, expected)
    level = np.mean([data.reader.images(k)["s1"].mean((1, 2)) for k in range(6)], 0)
    assert level[0] > level[1] + 3, "VV is stronger than VH"


def test_the_real_table_of_reben(shared_data, tmp_path):
    table = shared_data / "sentinel" / "bigearthnet" / "reben_metadata_5000.parquet"
    rows = pq.read_table(table).to_pylist()
    chosen = rows[7::1600]
    for row in chosen:
        name = row["patch_id"]
        for band, pixels in patch_pixels(name).items():
            write_tiff(tmp_path / "BigEarthNet-S2" / name.rsplit("_", 2)[0] / name / f"{name}_{band}.tif", pixels[None])
    data = open_set(tmp_path, options=LayoutOptions(metadata=table))
    assert sorted(data.ids) == sorted(row["patch_id"] for row in chosen)
    for row in chosen:
        assert names_of(data, row["patch_id"]) == set(row["labels"])
        assert data.split[data.ids.tolist().index(row["patch_id"])] == row["split"]
    assert f"left out: {5000 - len(chosen):,} whose pixels are not there" in data.notes
