"""Chips as the trainer reads them: by name, NaN where invalid, whoever wrote the store; what is wrong is said."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xarray as xr
import zarr

from csmoe_model.data import store as store_module
from csmoe_model.data.manifest import read_rows
from csmoe_model.data.store import ChipStore
from csmoe_model.errors import DataError
from csmoe_model.sensors import Sensor
from model.chip_stores import write_chips, write_manifest

BANDS = {"s2": ("B11", "B02", "B8A"), "s1": ("VV", "VH")}
"""In another order than the store's."""


def sensor(bands=("VV", "VH"), unit="dB"):
    return Sensor(bands=bands, unit=unit, mean=(0.0,) * len(bands), std=(1.0,) * len(bands))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("plain"), failed=(6,))


@pytest.fixture(scope="module")
def seasonal(tmp_path_factory):
    absent = ((2, 0), (5, 1), (5, 2))
    return write_chips(tmp_path_factory.mktemp("seasons"), seasons=("winter", "summer", "autumn"), absent=absent)


@pytest.fixture
def copied(written, tmp_path):
    """A store and manifest to damage."""
    shutil.copytree(written.store, tmp_path / "chips.zarr")
    shutil.copy(written.manifest, tmp_path / "sample.parquet")
    return tmp_path / "chips.zarr"


def change_attributes(path, change):
    metadata = json.loads((path / "zarr.json").read_text())
    change(metadata["attributes"])
    (path / "zarr.json").write_text(json.dumps(metadata))


def rewrite(source, target, *, chunks=(1, 2, 10, 24), fill=-32768, order=None):
    """The same store without shards, as a user would write it through zarr-python."""
    old, new = (
        zarr.open_group(source, mode="r"),
        zarr.create_group(target, attributes=dict(zarr.open_group(source, mode="r").attrs)),
    )
    for name in ("s2", "s1", "s2_band", "s1_band"):
        array, values = old[name], old[name][...]
        axis = {"s2": 1, "s1": 1, "s2_band": 0, "s1_band": 0}[name]
        values = np.flip(values, axis) if order else values
        made = new.create_array(
            name,
            shape=values.shape,
            dtype=array.dtype,
            chunks=chunks if name in ("s1", "s2") else values.shape,
            fill_value=array.fill_value,
            attributes=dict(array.attrs),
            dimension_names=array.metadata.dimension_names,
        )
        made[...] = values
    return target


def rewrite_by_xarray(source, target, *, decoded=False, change=lambda data: data):
    data = xr.open_zarr(source, chunks=None, mask_and_scale=decoded).load()
    for name in data.variables:
        data[name].encoding = {}
    change(data).to_zarr(target, zarr_format=3, consolidated=False)


@pytest.mark.parametrize("row", [0, 1, 5, 10])
@pytest.mark.parametrize("name", ["s2", "s1"])
def test_channels_go_by_name_and_missing_pixels_are_nan(written, row, name):
    found = ChipStore(written.store).read(row, name, BANDS[name])
    assert found.dtype == np.float32 and found.shape == (len(BANDS[name]), 24, 24)
    np.testing.assert_array_equal(found, written.expected(row, name, BANDS[name]))
    if (row, name) in {(0, "s2"), (1, "s1")}:
        assert np.isnan(found).any() and not np.isnan(found).all()


def test_a_store_with_its_bands_in_another_order_gives_the_same(written, tmp_path):
    """The trap of VV and VH: positions would be taken for names."""
    other = ChipStore(rewrite(written.store, tmp_path / "o.zarr", order="reversed"))
    assert other.bands["s1"] == ("VV", "VH") and ChipStore(written.store).bands["s1"] == ("VH", "VV")
    for name, bands in BANDS.items():
        np.testing.assert_array_equal(other.read(3, name, bands), written.expected(3, name, bands))


@pytest.mark.parametrize("through", ["zarr-python", "xarray", "xarray, decoded"])
def test_a_store_that_was_rewritten_gives_the_same(written, tmp_path, through):
    target = tmp_path / "new.zarr"
    if through == "zarr-python":
        rewrite(written.store, target)
    else:
        rewrite_by_xarray(written.store, target, decoded=through == "xarray, decoded")
    other = ChipStore(target)
    assert not any(pixels.shard_chips for pixels in other._pixels.values())
    for row in (0, 1, 10):
        for name, bands in BANDS.items():
            found, expected = other.read(row, name, bands), written.expected(row, name, bands)
            np.testing.assert_allclose(found, expected, rtol=2e-7)


def test_scale_offset_and_fill_of_other_arrays_are_honoured(copied):
    """A third sensor is an array with named bands beside the others; metres are not digital numbers."""
    group = zarr.open_group(copied, mode="r+")
    elevation = np.arange(11 * 24 * 24, dtype=np.int32).reshape(11, 1, 24, 24)
    elevation[4] = -1
    attributes = {"units": "m", "scale_factor": 0.5, "add_offset": -100.0, "_FillValue": -1}
    array = group.create_array(
        "dem",
        shape=elevation.shape,
        dtype="int32",
        chunks=(1, 1, 24, 24),
        fill_value=-1,
        attributes=attributes,
        dimension_names=("sample", "dem_band", "y", "x"),
    )
    array[...] = elevation
    group.create_array("dem_band", data=np.array(["height"], "T"), dimension_names=("dem_band",))
    store = ChipStore(drop_consolidated(copied))
    assert store.unit("dem") == "m" and store.bands["dem"] == ("height",)
    np.testing.assert_array_equal(store.read(2, "dem", ["height"]), elevation[2] * 0.5 - 100)
    assert np.isnan(store.read(4, "dem", ["height"])).all()  # a place without the sensor
    assert store.check({"dem": sensor(("height",), "m")}) is None


def drop_consolidated(path):
    metadata = json.loads((path / "zarr.json").read_text())
    metadata.pop("consolidated_metadata", None)
    (path / "zarr.json").write_text(json.dumps(metadata))
    return path


def test_infinite_values_are_invalid(copied):
    array = zarr.open_group(copied, mode="r+")["s1"]
    chip = array[3]
    chip[0, 2, 7] = np.inf
    array[3] = chip
    found = ChipStore(copied).read(3, "s1", ("VH",))
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 2, 7]]


def test_a_window_and_a_given_array_with_any_strides(written):
    store, window = ChipStore(written.store), (slice(3, 20), slice(10, 19))
    whole = np.zeros((3, 9, 17), np.float32)
    out = whole.transpose(0, 2, 1)[:, ::-1]
    found = store.read(0, "s2", BANDS["s2"], window=window, out=out)
    assert found is out
    np.testing.assert_array_equal(found, written.expected(0, "s2", BANDS["s2"])[:, 3:20, 10:19])


def test_seasons(seasonal):
    store = ChipStore(seasonal.store)
    assert store.seasons == ("winter", "summer", "autumn")
    assert [store.seasons_of(row) for row in (0, 2, 5)] == [[0, 1, 2], [1, 2], [0]]
    for season in (1, 2):
        found = store.read(2, "s1", BANDS["s1"], season)
        np.testing.assert_array_equal(found, seasonal.expected(2, "s1", BANDS["s1"], season))
    other = ChipStore(rewrite(seasonal.store, seasonal.store.parent / "new.zarr", chunks=(1, 1, 2, 10, 24)))
    np.testing.assert_array_equal(other.read(7, "s2", BANDS["s2"], 2), seasonal.expected(7, "s2", BANDS["s2"], 2))


def test_a_pickled_store_opens_anew_and_threads_share_one(written, monkeypatch):
    monkeypatch.setattr(store_module, "_OPEN_SHARDS", 1)  # every read closes the shard of another
    store = pickle.loads(pickle.dumps(ChipStore(written.store)))
    work = [(row, name) for row in range(11) if row != 6 for name in BANDS] * 8
    with ThreadPoolExecutor(4) as pool:
        for (row, name), found in zip(work, pool.map(lambda one: store.read(*one, BANDS[one[1]]), work), strict=True):
            np.testing.assert_array_equal(found, written.expected(row, name, BANDS[name]))
    assert len(store._shards) == 1


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 0x40
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: flip(path, -10), "the checksum of its index does not fit"),
        (lambda path: flip(path, 100), "cannot be decompressed"),
        (lambda path: path.write_bytes(path.read_bytes()[:40]), "it is cut short"),
        (lambda path: path.write_bytes(b""), "it is cut short"),
    ],
)
def test_a_damaged_shard_is_named(copied, damage, said):
    shard = copied / "s1" / "c" / "0" / "0" / "0" / "0"
    damage(shard)
    with pytest.raises(DataError, match=said) as raised:
        ChipStore(copied).read(0, "s1", ("VV",))
    assert str(shard) in str(raised.value) and "\n" not in str(raised.value)
    ChipStore(copied).read(4, "s1", ("VV",))  # the next shard is whole


def test_missing_chips_are_an_error_not_nothing(copied):
    shutil.rmtree(copied / "s2" / "c" / "1")
    store = ChipStore(copied)
    store.read(3, "s2", ("B02",))
    with pytest.raises(DataError, match="row 4 of 's2' has no chip: run `csmoe-sample fetch` again"):
        store.read(4, "s2", ("B02",))
    with pytest.raises(DataError, match="row 6 has no pixels"):
        store.seasons_of(6)
    with pytest.raises(DataError, match="has no row 11, only 11"):
        store.read(11, "s1", ("VV",))


def test_a_chunk_that_zarr_cannot_read_is_named(written, tmp_path):
    path = rewrite(written.store, tmp_path / "o.zarr", chunks=(1, 2, 24, 24))
    (path / "s1" / "c" / "2" / "0" / "0" / "0").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"row 2 of 's1' is damaged \("):
        ChipStore(path).read(2, "s1", ("VV",))


def test_all_that_a_model_wants_in_vain_is_said_together(written):
    store = ChipStore(written.store)
    assert store.check({"s1": sensor(), "s2": sensor(("B8A", "B02"), "DN")}) is None
    with pytest.raises(DataError) as raised:
        store.check({"s1": sensor(unit="1"), "s2": sensor(("B02", "B12", "B01"), "DN"), "dem": sensor(("z",), "m")})
    said = str(raised.value)
    for part in (
        "is in 'dB', the model takes '1'",
        "'s2' lacks B12, B01 (it has B02, B03",
        "no sensor 'dem' (it has s2, s1)",
    ):
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: shutil.rmtree(path), "is no Zarr group"),
        (lambda path: (path / "zarr.json").write_text("{"), "is no Zarr group"),
        (lambda path: change_attributes(path, lambda a: a.pop("csmoe")), "is unfinished"),
        (lambda path: change_attributes(path, lambda a: a["csmoe"].update(format="x")), "none of csmoe-sampler's"),
        (lambda path: change_attributes(path, lambda a: a["csmoe"].update(version=2)), "is of version 2"),
        (lambda path: shutil.rmtree(drop_consolidated(path) / "s1"), "array 's1' or 's1_band' is missing"),
    ],
)
def test_what_is_no_store(copied, spoil, said):
    spoil(copied)
    with pytest.raises(DataError, match=said) as raised:
        ChipStore(copied)
    assert str(copied) in str(raised.value) and "\n" not in str(raised.value)


def test_transposed_arrays_are_refused(written, tmp_path):
    rewrite_by_xarray(
        written.store, tmp_path / "t.zarr", change=lambda data: data.transpose("sample", "y", "x", ..., "s1_band")
    )
    with pytest.raises(DataError, match="array 's2' has the axes"):
        ChipStore(tmp_path / "t.zarr")


def test_rows_are_those_with_chips(written):
    rows = read_rows(written.manifest, ChipStore(written.store))
    assert rows.chip.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10]
    assert rows.tile_id[6] == "7U_7R" and rows.landcover[6] == "cropland" and rows.climate[6] == "Dfb"
    assert rows.of_split("validation").chip.tolist() == [2, 7]
    assert rows.take(np.array([8, 0])).lat.tolist() == rows.lat[[8, 0]].tolist()
    assert len(rows.of_split("nothing")) == 0
    with pytest.raises(
        DataError, match=r"2 rows of split 'validation' have a chip, 3 are needed \(chips by split: test 2"
    ):
        rows.of_split("validation", least=3)


def test_the_first_rows_of_a_manifest_will_do(copied):
    """Every prefix is a valid smaller sample."""
    path = copied.with_name("sample.parquet")
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 4), path)
    assert len(read_rows(path, ChipStore(copied))) == 4


def change_metadata(path, change):
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"csmoe"])
    change(metadata)
    pq.write_table(table.replace_schema_metadata({"csmoe": json.dumps(metadata)}), path)


def change_column(path, name, change):
    table = pq.read_table(path)
    values = change(table[name].to_pylist())
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b"PAR1 is what it is not"), "cannot be read as Parquet"),
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read as Parquet"),
        (
            lambda path: pq.write_table(pq.read_table(path).drop_columns(["chip"]), path),
            "no column chip: run `csmoe-sample",
        ),
        (
            lambda path: pq.write_table(pq.read_table(path).drop_columns(["split"]), path),
            "no column split: is it one of",
        ),
        (lambda path: write_manifest(path, np.zeros(11, bool)), "no row has a chip"),
        (lambda path: change_metadata(path, lambda m: m.update(config_digest="0" * 64)), "its config_digest is dddddd"),
        (
            lambda path: change_metadata(path, lambda m: m.update(scenes={"config_digest": "0"})),
            "its scenes_digest is eee",
        ),
        (
            lambda path: change_column(path, "tile_id", lambda ids: [*ids[:5], "0U_9R", *ids[6:]]),
            "its row 5 is tile 5U_5R",
        ),
        (
            lambda path: change_column(path, "chip", lambda rows: [*rows[:-1], 11]),
            "it has 11 rows, the manifest names row 11",
        ),
    ],
)
def test_what_is_no_manifest_of_the_store(copied, spoil, said):
    path = copied.with_name("sample.parquet")
    spoil(path)
    with pytest.raises(DataError, match=said) as raised:
        read_rows(path, ChipStore(copied))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_manifest_without_its_metadata_is_known_by_its_tiles(copied):
    """Tables pass through libraries that keep columns and nothing else."""
    path = copied.with_name("sample.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    assert len(read_rows(path, ChipStore(copied))) == 10
