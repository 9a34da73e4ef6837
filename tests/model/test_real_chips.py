"""Real Sentinel-1 and Sentinel-2 chips, fetched by the one package and learned from by the other."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from lightning_fabric import Fabric

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from csmoe_model.data.store import ChipStore
from csmoe_model.train.config import DataConfig, OptimiserConfig, TrainConfig
from csmoe_model.train.inputs import Inputs
from csmoe_model.train.logs import read_metrics
from csmoe_model.train.run import pretrain
from csmoe_sampler.chips.fetch import fetch_chips
from csmoe_sampler.config import ChipConfig, SceneConfig
from csmoe_sampler.engine import open_client
from model.chip_stores import write_manifest
from sampler.chip_inputs import manifest_of, terramesh, write_provider

PLACES = ("637U_59R_1_3", "433D_629L_3_1", "282D_485L_3_3")


@pytest.fixture(scope="module")
def written(shared_data, tmp_path_factory):
    """Store, manifest and the folder of the files."""
    folder, out = shared_data / "sentinel" / "terramesh", tmp_path_factory.mktemp("real")
    scenes = SceneConfig(provider=str(write_provider(out / "terramesh.toml")), url=str(folder))
    config = ChipConfig(size_px=224, offset="detect", shard_chips=2)
    tiles = terramesh(folder, PLACES)
    with open_client(workers=1) as client:
        fetch_chips(manifest_of(tiles), out / "chips.zarr", config, scenes, client=client)
    names = [tile.tile_id for tile in tiles]
    path = write_manifest(out / "sample.parquet", np.ones(3, bool), tile_id=names, split=["train"] * 3)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    return out / "chips.zarr", path, folder


def test_the_trainer_reads_the_values_of_the_files(written):
    path, _, folder = written
    store = ChipStore(path)
    for row, name in enumerate(PLACES):
        with (
            rasterio.open(folder / "S2L2A" / f"{name}.tif") as s2,
            rasterio.open(folder / "S1RTC" / f"{name}.tif") as s1,
        ):
            red, swir, vh = s2.read(4), s2.read(12), s1.read(2)
        offset = 1000 if name.startswith("433D") else 0
        np.testing.assert_array_equal(store.read(row, "s2", ("B12", "B04")), np.stack([swir, red]) - np.float32(offset))
        np.testing.assert_array_equal(store.read(row, "s1", ("VH",))[0], vh.astype(np.float16))


def test_a_model_learns_from_them(written, tmp_path, capsys):
    store, manifest, _ = written
    encoder = EncoderConfig(dim=48, heads=3, specific_depth=1, shared_depth=1, moe=MoEConfig(slots_per_expert=4))
    model = ModelConfig(patch_px=28, encoder=encoder, decoder=DecoderConfig(dim=32, heads=2, depth=1))
    config = TrainConfig(
        model=model,
        data=DataConfig(workers=0),
        optimiser=OptimiserConfig(lr=3e-3),
        max_steps=40,
        batch=3,
        log_every=1,
        probe_every=0,
    )
    inputs = Inputs(manifest=manifest, chips=store, out=tmp_path / "run")
    pretrain(config, inputs, Fabric(accelerator="cpu", devices=1))
    losses = [line["loss"] for line in read_metrics(tmp_path / "run" / "metrics.jsonl")]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert "after standardisation" not in capsys.readouterr().err  # BigEarthNet's statistics fit
