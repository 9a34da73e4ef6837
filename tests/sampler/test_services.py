"""A whole build against real services: a STAC API, COGs behind HTTP ranges that fail, a Dask cluster."""

import json
import os

import pyarrow.parquet as pq
import pytest

from csmoe_sampler import pipeline
from csmoe_sampler.config import load_config
from csmoe_sampler.pipeline import Outputs, Runtime
from services.http_files import Faults, serve_files
from services.stac_server import serve_stac

FAULTS = Faults(
    kinds=("429", "503", "truncate", "reset"), rate=0.33, seed=5, retry_after_s=0, only=r"\.tif$", at_most=80
)
DESIGN = ["tile_id", "landcover", "landcover_pixels", "landcover_entropy", "climate_share", "stratum", "rank", "split"]


def write_items(earth, folder, base_url):
    """The Earth's items with absolute hrefs, as an API hands them out."""
    folder.mkdir()
    items = []
    for path in sorted((earth.root / "esa-worldcover" / "items").glob("*.json")):
        item = json.loads(path.read_text())
        for asset in item["assets"].values():
            place = os.path.normpath(path.parent / asset["href"])
            asset["href"] = f"{base_url}/{os.path.relpath(place, earth.root)}"
        items.append({**item, "links": []})
    collection = json.loads((earth.root / "esa-worldcover" / "collection.json").read_text())
    (folder / "collection.json").write_text(json.dumps({**collection, "links": []}))
    (folder / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return folder / "collection.json", folder / "items.json"


def settings(earth, url):
    return load_config(
        None,
        {
            "region": "-180,-60,180,0",
            "n": 250,
            "grid.spacing_km": 25,
            "strata.min_size": 20,
            "landcover.stac.url": url,
            "climate.source": str(earth.climate),
        },
    )


@pytest.fixture(scope="module")
def local(earth, tmp_path_factory):
    """The same build from the static catalogue on disk."""
    outputs = Outputs.beside(tmp_path_factory.mktemp("local") / "out.parquet", report=False)
    pipeline.build(settings(earth, str(earth.catalog)), outputs, Runtime())
    return pq.read_table(outputs.manifest, columns=DESIGN)


@pytest.mark.parametrize("where", ["threads", "cluster"])
def test_a_failing_server_changes_nothing(earth, local, tmp_path, where, request, monkeypatch):
    monkeypatch.setattr("csmoe_sampler.rasters.reading.BACKOFF_S", (0.02,) * 12)
    scheduler = request.getfixturevalue("dask_cluster").address if where == "cluster" else None
    outputs = Outputs.beside(tmp_path / "out.parquet", report=False)
    with (
        serve_files(earth.root, FAULTS) as server,
        serve_stac(*write_items(earth, tmp_path / "api", server.url)) as api,
    ):
        pipeline.build(settings(earth, api), outputs, Runtime(scheduler=scheduler))
        faults = sum(entry.fault is not None for entry in server.requests)
        ranges = [entry for entry in server.requests if entry.range is not None]
    assert faults > 10
    assert len(ranges) > faults
    assert pq.read_table(outputs.manifest, columns=DESIGN).equals(local)
