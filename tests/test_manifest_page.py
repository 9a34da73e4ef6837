"""The page of the manifest and the chip store is what the code writes, in both directions; its Python runs."""

import dataclasses
import json
import re
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from csmoe_sampler import pipeline
from csmoe_sampler.chips.journal import Failure
from csmoe_sampler.chips.layout import Layout, encode_arrays, encode_coordinates
from csmoe_sampler.config import ChipConfig, SceneConfig, load_config
from csmoe_sampler.descriptors import ClassShares, Moments
from csmoe_sampler.legend import load_legend
from csmoe_sampler.manifest import CHIP, schema_for
from csmoe_sampler.manifest.schema import NULLABLE
from csmoe_sampler.scenes.table import choice_schema
from csmoe_sampler.spectral.descriptor import Spectral
from pages import ROOT, run_python

PAGE = ROOT / "docs" / "manifest.md"
NUM_TILES = 12


def section(title):
    """From a heading to the next of its level."""
    _, _, rest = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def rows(title):
    """Names in backticks of the first cell of each row of a section's tables -> the other cells."""
    found = {}
    for line in section(title).splitlines():
        first, *others = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] or [""]
        names = re.findall(r"`([^`]+)`", first)
        assert not set(names) & found.keys(), names
        found |= dict.fromkeys(names, others)
    return found


@pytest.fixture(scope="module")
def sample(sensed_earth, tmp_path_factory):
    """A folder with `sample.parquet` and `chips.zarr`: all stages, every kind of descriptor."""
    folder, world = tmp_path_factory.mktemp("sample"), sensed_earth
    elevation = {"name": "elevation", "source": [str(world.root / "elevation.tif")]}
    overrides = {
        "region": str(world.region),
        "n": NUM_TILES,
        "landcover.stac.url": str(world.catalog),
        "climate.source": str(world.root / "koppen_geiger_0p1.tif"),
        "strata.min_size": 5,
        "descriptors": [elevation],
        "spectral": {"url": str(world.catalog), "decimation": 2, "bands": ["B03", "B11"]},
    }
    outputs = pipeline.Outputs.beside(folder / "sample.parquet", report=False)
    scenes, runtime = SceneConfig(url=str(world.catalog)), pipeline.Runtime(workers=1)
    pipeline.build(load_config(None, overrides), outputs, runtime, scenes=scenes)
    chips = ChipConfig(size_px=32, pixel_m=300, alignment=True)
    pipeline.fetch(outputs.manifest, folder / "chips.zarr", chips, scenes, runtime)
    return folder


def described(name, descriptor):
    """Columns of a descriptor under the page's names, as Arrow calls their types."""
    return {column.replace("X", f"<{name}>"): str(pa.from_numpy_dtype(kind)) for column, kind in descriptor.items()}


def schema_types():
    """Every column that some manifest has, under the page's name, with its type."""
    legend = dataclasses.replace(load_legend("worldcover"), labels=("<class>",), codes=((1,),), groups=("X",))
    shares = ClassShares(name="X", raster=None, legend=legend).columns
    moments = Moments(name="X", raster=None).columns
    further = {name: shares[f"X_{name}"] for name in ("water", "pixels")}
    types = {field.name: str(field.type).split("<")[0] for field in schema_for(["<class>"])}
    types |= {f"landcover_{name}": str(pa.from_numpy_dtype(kind)) for name, kind in further.items()}
    types |= described("name", shares) | described("name", moments)
    spectral = Spectral(chooser=None, recipe=SimpleNamespace(bands=("B04",))).columns
    types |= {name.replace("B04", "<band>"): str(pa.from_numpy_dtype(kind)) for name, kind in spectral.items()}
    types |= {field.name: str(field.type) for field in choice_schema(("year",), ("s2", "s1"))}
    types |= dict.fromkeys(("scene_missing", "replaces", "replaces_reason"), "string")
    return types | {CHIP: "int64"}


def test_the_columns_are_those_of_the_schema():
    assert {name: cells[0] for name, cells in rows("Columns").items()} == schema_types()


def test_only_what_may_be_null_says_so_among_the_fixed_columns():
    fixed = schema_for(["<class>"]).names
    said = {name for name, cells in rows("Columns").items() if name in fixed and "may be null" in cells[1]}
    assert said == NULLABLE


def test_a_real_manifest_has_no_other_columns(sample):
    table = pq.read_table(sample / "sample.parquet")
    labels = json.loads(table.schema.metadata[b"csmoe"])["legends"]["landcover"]["labels"]
    written = {re.sub(r"^elevation_", "<name>_", name) for name in table.column_names}
    written = {re.sub(r"^(spectral_mean)_B\d\d$", r"\1_<band>", name) for name in written}
    written = {"landcover_<class>" if name.removeprefix("landcover_") in labels else name for name in written}
    absent = {"scene_missing", *(f"<name>_{key}" for key in ("<class>", "water", "entropy", "classes", "pixels"))}
    assert written == rows("Columns").keys() - absent


def fields(values, path=""):
    """Names of fields as the page writes them; objects that follow the configuration or the sources are not opened."""
    found = set()
    for key, value in values.items():
        name = f"{path}{key}"
        found.add(name)
        if isinstance(value, dict) and key in ("candidates", "scenes", "chips"):
            found |= fields(value, f"{name}.")
        elif key == "legends":
            found |= {one for legend in value.values() for one in fields(legend, "legends.<descriptor>.")}
        elif key == "strata":
            found |= {one for line in value for one in fields(line, "strata[].")}
    return found


def test_the_metadata_are_those_of_a_real_manifest(sample):
    about = json.loads(pq.read_schema(sample / "sample.parquet").metadata[b"csmoe"])
    assert rows("Metadata").keys() == fields(about)


def test_the_arrays_are_those_of_the_store():
    layout = Layout(
        num_rows=3,
        size_px=16,
        shard_chips=2,
        s2_bands=("B04",),
        s1_bands=("VV", "VH"),
        seasons=("winter", "summer"),
        mask=True,
        alignment=True,
    )
    shapes = {"bounds": (3, 4)} | dict.fromkeys(("tile_id", "lon", "lat", "crs", "status"), (3,))
    texts_of = ("tile_id", "crs", "s2_item", "s1_item")
    columns = {
        name: np.full(shapes.get(name, (3, 2)), "" if name in texts_of else 0, object if name in texts_of else int)
        for name in layout.coordinates
    }
    files = encode_arrays(layout) | encode_coordinates(layout, columns)
    stored = {path.partition("/")[0]: json.loads(text) for path, text in files.items() if path.endswith("zarr.json")}
    found = rows("Chip store")
    said = {name: found[name] for name in found.keys() & stored.keys()}
    assert said.keys() == stored.keys()
    for name, array in stored.items():
        kind, dimensions, fill, _ = said[name]
        assert (kind, dimensions.split(", ")) == (array["data_type"], array["dimension_names"]), name
        written = "" if array["data_type"] == "string" else str(array["fill_value"]).removesuffix(".0")
        assert fill.replace("-2^63", str(-(2**63))) == written, name


def test_no_other_arrays_and_all_members_are_on_the_page(sample):
    found = rows("Chip store").keys()
    with (sample / "chips.zarr" / "zarr.json").open() as file:
        about = json.load(file)["attributes"]["csmoe"]
    arrays = {path.parent.name for path in (sample / "chips.zarr").glob("*/zarr.json")}
    assert found == arrays | about.keys() | {"season", "csmoe"}
    text = section("Chip store")
    inside = {*about["manifest"], *(key for sensor in about["sensors"].values() for key in sensor)}
    inside |= {field.name for field in dataclasses.fields(Failure)} - {"passing", "unread"}
    for name in inside:
        assert f"`{name}`" in text
    for path in ("chips.failed.csv", "chips.journal/run.json", "chips.journal/shard-000000.json"):
        assert (sample / path).exists()
        assert f"`{path.rpartition('/')[2]}`" in text
    assert (sample / "chips.failed.csv").read_text() == "tile_id,item,sensor,reason\n"


def test_the_python_of_the_page_runs(sample, monkeypatch):
    monkeypatch.chdir(sample)
    assert run_python(PAGE) >= 6
