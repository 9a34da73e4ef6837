"""The workflows in their small settings, from beginning to end, as they are typed."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tarfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from csmoe_model.train.logs import read_metrics
from csmoe_sampler.audit import read_places
from csmoe_sampler.grid import TileGrid
from csmoe_sampler.synthetic import LAYOUTS, write_earth, write_scenes
from workflows.sampling_ablation.pool import Pool
from workflows.sampling_ablation.samples import draw_sample
from workflows.sampling_ablation.table import MEASURED, SHOWN

ROOT = Path(__file__).resolve().parents[1]
BANDS_DEG = ((-39, -30), (-13, -7), (8, 16), (43, 50))
ARMS = ("random", "proportional", "climate", "landcover", "joint", "diverse", "spectral")
BUFFER_KM = 20.0


@pytest.fixture(scope="module")
def earth(tmp_path_factory):
    """A synthetic Earth with scenes of four places, three times as coarse as those of `demo earth`."""
    root = tmp_path_factory.mktemp("workflows") / "earth"
    write_scenes(write_earth(root, "small", 0), replace(LAYOUTS["tiny"], name="workflows", climates=BANDS_DEG))
    return root


@pytest.fixture
def start(earth, tmp_path):
    """Starts a workflow; what it says."""

    def start(name):
        words = ["--small", "--out", str(tmp_path), "--earth", str(earth)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "-m", f"workflows.{name}", *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return start


def stamps(folder):
    """When what took long was written."""
    lasting = [path for path in folder.rglob("*") if path.suffix in {".json", ".safetensors", ".parquet", ".tar"}]
    return {path: path.stat().st_mtime_ns for path in lasting if path.name != "first.parquet"}


def nearest_km(one, other):
    """Great circles from (lon, lat) to the nearest of others."""
    (lon, lat), (lons, lats) = (np.radians(np.asarray(places).T) for places in (one, other))
    cosine = np.sin(lat)[:, None] * np.sin(lats) + np.cos(lat)[:, None] * np.cos(lats) * np.cos(lon[:, None] - lons)
    return 6371.0 * np.arccos(np.clip(cosine, -1, 1)).min(1)


def places_of(table):
    return np.column_stack([table["lon"].to_numpy(), table["lat"].to_numpy()])


def test_global_pretraining(start, tmp_path):
    said = start("global_pretraining")
    stages = [line.split()[1:3] for line in said.splitlines() if line.startswith("$ ")]
    verbs = ["plan", "build", "pair", "fetch", "validate", "validate", "stats", "--standalone"]
    verbs += ["evaluate", "evaluate", "embed", "export"]
    assert [verb for _, verb in stages] == verbs
    assert "--nproc-per-node 2" in said
    manifest = pq.read_table(tmp_path / "sample.parquet")
    assert 40 <= len(manifest) <= 60
    assert manifest["chip"].null_count == 0
    assert manifest["s1_item"].null_count == 0
    assert "spectral_entropy" in manifest.column_names
    assert (tmp_path / "run" / "checkpoints" / "step-00000003" / "model.safetensors").exists()
    losses = [
        entry["loss/total"] for entry in read_metrics(tmp_path / "run" / "metrics.jsonl") if "loss/total" in entry
    ]
    assert np.isfinite(losses).all()
    for name in ("landcover", "search"):
        results = json.loads((tmp_path / "results" / name / "results.json").read_text())
        assert "run" in {record["model"]["name"] for record in results}
        assert any("random" in record["model"]["name"] for record in results)
    embeddings = pq.read_table(tmp_path / "embeddings.parquet")
    assert len(embeddings) == 2 * len(manifest)
    assert {path.name for path in (tmp_path / "hub").iterdir()} >= {"README.md", "config.json", "model.safetensors"}
    before = stamps(tmp_path)
    assert "\n$ " not in start("global_pretraining")
    assert stamps(tmp_path) == before


def test_sampling_ablation(start, tmp_path):
    start("sampling_ablation")
    check_samples(tmp_path)
    check_strata(tmp_path)
    found = defaultdict(dict)
    with (tmp_path / "results.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            found[line["arm"], int(line["seed"])][line["figure"]] = float(line["value"])
    assert set(found) == {(arm, seed) for arm in (*ARMS, "random weights") for seed in (0, 1)} | {
        ("image statistics", 0)
    }
    for (arm, _), figures in found.items():
        assert SHOWN.keys() <= figures.keys()
        assert arm not in ARMS or MEASURED.keys() <= figures.keys()
        assert all(0 <= figures[name] <= 1 for name in SHOWN)
    table = (tmp_path / "table.md").read_text().splitlines()
    rows = Counter(line.split("|")[1].strip() for line in table if line.startswith("| "))
    assert {arm: rows[arm] for arm in ARMS} == {"random": 2} | {arm: 3 for arm in ARMS if arm != "random"}
    name = "landcover/linear/joint/accuracy/micro"
    mean = np.mean([found["joint", seed][name] for seed in (0, 1)])
    shown = next(line for line in table if line.startswith("| joint |")).split("|")[list(SHOWN).index(name) + 2]
    assert f" {mean:.3f} ± " in shown
    assert (tmp_path / "results.png").stat().st_size > 10_000
    before = stamps(tmp_path)
    assert "$ csmoe" not in start("sampling_ablation")
    assert stamps(tmp_path) == before


def check_samples(out):
    """Equal sizes, no tile twice, and all of them away from what is held out, which is the same for all."""
    pool = pq.read_table(out / "pool.parquet")
    split = np.array(pool["split"].to_pylist())
    held_out = np.isin(split, ["validation", "test"])
    probed = pq.read_table(out / "held_out.parquet")
    asked = {tile for tile, name in zip(pool["tile_id"].to_pylist(), split, strict=True) if name == "test"}
    probed_split = np.array(probed["split"].to_pylist())
    assert {
        tile for tile, name in zip(probed["tile_id"].to_pylist(), probed_split, strict=True) if name == "test"
    } == asked
    assert {"train", "validation", "test"} == set(probed_split)
    samples = sorted((out / "samples").glob("*.parquet"))
    assert [path.stem for path in samples] == sorted(f"{arm}-{seed}" for arm in ARMS for seed in (0, 1))
    drawn = {}
    for path in samples:
        table = pq.read_table(path)
        mine = np.array(table["split"].to_pylist()) == "train"
        tiles = np.array(table["tile_id"].to_pylist())
        assert mine.sum() == len(set(tiles[mine])) == 8
        assert set(tiles[~mine]) == set(np.array(pool["tile_id"].to_pylist())[held_out])
        assert nearest_km(places_of(table)[mine], places_of(pool)[held_out]).min() >= BUFFER_KM
        drawn[path.stem] = frozenset(tiles[mine])
    assert len(set(drawn.values())) > len(ARMS)
    learned = places_of(probed)[probed_split != "test"]
    assert nearest_km(places_of(probed)[probed_split == "test"], learned).min() >= BUFFER_KM


def check_strata(out):
    """Each axis alone, both, and none, are what strata of the arms tell apart; equal seeds draw equal samples."""
    atlases = {name: out / f"{name}.atlas.parquet" for name in ("climate", "landcover")}
    pool = Pool(manifest=out / "pool.parquet", atlases=atlases | {"joint": out / "pool.atlas.parquet"})
    labels = {
        atlas: {label.split("|")[k] for label in pool.population(atlas, {"strata": {"min_size": 1}})[0].strata.labels}
        for atlas, k in (("climate", 1), ("landcover", 0))
    }
    assert labels == {"climate": {"land"}, "landcover": {"Af"}}
    both = pool.population("joint", {"strata": {"min_size": 1}})[0].strata.labels
    assert len({label.split("|")[0] for label in both}) > 1
    assert len({label.split("|")[1] for label in both}) > 1
    assert pool.population("joint", {"strata": {"min_size": 1_000_000}})[0].strata.labels == ("*|*",)
    again = draw_sample(pool, {"strata": {"min_size": 3}, "selection": {"objective": "random"}}, 8, 1)
    assert again == pq.read_table(out / "samples" / "joint-1.parquet")["tile_id"].to_pylist()[:8]


def test_reuse_for_other_models(start, tmp_path):
    said = start("reuse_for_other_models")
    manifest = pq.read_table(tmp_path / "sample.parquet")
    about = json.loads(manifest.schema.metadata[b"csmoe"])
    assert about["objective"] == "workflows.reuse_for_other_models.our_sampling:Evenly"
    assert about["grid"]["spacing_km"] == 20.0
    assert {"landcover_woodland", "landcover_settled", "novelty_km"} <= set(manifest.column_names)
    with (tmp_path / "places.csv").open(newline="") as file:
        places = [(float(line["lon"]), float(line["lat"])) for line in csv.DictReader(file)]
    grid = TileGrid(20.0)
    centres = np.column_stack(grid.centre(grid.parse(manifest["tile_id"].to_pylist())))
    np.testing.assert_allclose(manifest["novelty_km"].to_numpy(), nearest_km(centres, places), atol=0.1)
    assert manifest["novelty_km"].to_numpy().max() > 1_000
    check_exports(tmp_path, manifest)
    train = manifest["split"].to_pylist().count("train")
    assert f"\n{train} tiles for training, mean backscatter -" in said
    audits = {name: json.loads((tmp_path / f"audit_{name}.json").read_text()) for name in ("places", "sample")}
    assert audits["places"]["share_covered"] < audits["sample"]["share_covered"]
    before = stamps(tmp_path)
    assert "$ csmoe" not in start("reuse_for_other_models")
    assert stamps(tmp_path) == before


def check_exports(out, manifest):
    """Every format has every tile."""
    tiles = set(manifest["tile_id"].to_pylist())
    assert set(pq.read_table(out / "majortom.parquet")["grid_cell"].to_pylist()) == tiles
    assert set(pq.read_table(out / "items.parquet")["id"].to_pylist()) == tiles
    assert {path.parent.name for path in (out / "rslearn" / "windows").rglob("metadata.json")} == tiles
    images = sorted((out / "torchgeo").rglob("*.tif"))
    assert Counter(path.relative_to(out / "torchgeo").parts[0] for path in images)["s2"] == len(tiles)
    with rasterio.open(next(path for path in images if "s2" in path.parts)) as image:
        assert (image.count, image.width, image.height) == (12, 64, 64)
    names = []
    for shard in (out / "webdataset").glob("*.tar"):
        with tarfile.open(shard) as tar:
            names += tar.getnames()
    assert Counter(name.split(".", 1)[1] for name in names if not name.endswith("scl.npy")) == {
        "s1.npy": len(tiles),
        "s2.npy": len(tiles),
        "json": len(tiles),
    }
    assert len(read_places(out / "places.csv", TileGrid(20.0))) == 36
