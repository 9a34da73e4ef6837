"""Image statistics, and other people's backbones behind our protocol."""

import pickle

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from csmoe_model.errors import CheckpointError, ConfigError
from csmoe_model.evaluation.dataset import Bands, EvaluationSet
from csmoe_model.evaluation.extract import extract
from csmoe_model.evaluation.extractors.statistics import StatisticsExtractor
from csmoe_model.evaluation.extractors.timm_models import timm_model
from csmoe_model.evaluation.prepare import Preparation
from model.adapter_stands import real


class Reader:
    """Random values from 0 to 3,000, some of them missing; the third sample has no radar."""

    def __init__(self, px, num_bands):
        chance = np.random.default_rng(0)
        self.s2 = (chance.random((5, num_bands, px, px)) * 3000).astype(np.float32)
        self.s2[:, :, 0, :3] = np.nan
        self.s1 = chance.normal(-15, 4, (5, 2, px, px)).astype(np.float32)

    def images(self, sample):
        radar = {"s1": self.s1[sample]} if sample != 2 else {}
        return {"s2": self.s2[sample], **radar}


def data_of(px=12, bands=("B02", "B03", "B04", "B08")):
    return EvaluationSet(
        name="random",
        task="single_label",
        sensors={
            "s1": Bands(names=("VV", "VH"), unit="dB", gsd_m=10.0),
            "s2": Bands(names=bands, unit="DN", gsd_m=10.0),
        },
        classes=("a", "b"),
        ids=np.array(list("abcde")),
        split=np.array(["train", "train", "train", "test", "test"]),
        labels=np.array([0, 1, 0, 1, 0]),
        reader=Reader(px, len(bands)),
    )


def features(data, extractor):
    preparation = Preparation(data, extractor.inputs, extractor.image_px, "model")
    return extract(data, range(5), extractor, preparation, device=torch.device("cpu"), batch=2)


def test_statistics_are_those_of_the_valid_values_in_their_unit():
    data = data_of()
    extractor = StatisticsExtractor(data)
    found = features(data, extractor)
    s2 = data.reader.s2.astype(np.float64)
    wanted = np.concatenate([np.nanmean(s2, (2, 3)), np.nanstd(s2, (2, 3))], 1)
    np.testing.assert_allclose(found.pooled["s2"].numpy(), wanted, rtol=1e-4)
    np.testing.assert_allclose(found.pooled["s1"][0, :2].numpy(), data.reader.s1[0].mean((1, 2)), rtol=1e-5)
    assert found.has["s1"].tolist() == [True, True, False, True, True]
    assert (extractor.width("s1"), extractor.width("s2"), extractor.num_layers, extractor.module) == (4, 8, 1, None)
    assert extractor.macs("s2") == 2 * 4 * 144


def test_the_map_of_statistics_is_that_of_cells():
    chance = torch.Generator().manual_seed(3)
    images = torch.randn(2, 3, 10, 12, generator=chance)
    valid = torch.rand(2, 3, 10, 12, generator=chance) > 0.3
    valid[0, 1, 4:8, 8:12] = False
    (found,) = StatisticsExtractor(data_of())("s2", images.where(valid, 7.0), valid, layers=(0,)).dense
    assert found.shape == (2, 6, 3, 3)  # the last row of cells is half as high
    for place, band, row, col in np.ndindex(2, 3, 3, 3):
        cell = place, band, slice(4 * row, 4 * row + 4), slice(4 * col, 4 * col + 4)
        values = images[cell][valid[cell]].numpy()
        wanted = (values.mean(), values.std()) if len(values) else (0.0, 0.0)
        np.testing.assert_allclose(found[place, [band, band + 3], row, col], wanted, atol=1e-4)


def test_statistics_have_one_layer_and_no_other_sensors():
    extractor = StatisticsExtractor(data_of())
    images = torch.zeros(1, 4, 12, 12)
    with pytest.raises(ConfigError, match=r"layers \[1\] of 1"):
        extractor("s2", images, images > 0, layers=(0, 1))
    with pytest.raises(ConfigError, match="no sensor 'dem'"):
        extractor("dem", images, images > 0)


@pytest.mark.parametrize(
    ("name", "stages", "width"), [("resnet10t", 5, 512), ("vit_tiny_patch16_224", 12, 192)], ids=["resnet", "vit"]
)
def test_a_timm_model_sees_red_green_blue_as_it_wants_them(name, stages, width):
    extractor = timm_model(name, image_px=32)
    assert extractor.name == f"timm:{name} (random 0)"
    assert (extractor.kind, extractor.num_layers, extractor.width("s2")) == ("timm", stages, width)
    data = data_of(32)
    found = features(data, extractor)
    rgb = np.clip(np.nan_to_num(data.reader.s2[:, [2, 1, 0]], nan=0.0) / 3000, 0, 1)
    about = extractor.module.pretrained_cfg
    images = (torch.from_numpy(rgb) - torch.tensor(about["mean"])[:, None, None]) / torch.tensor(about["std"])[
        :, None, None
    ]
    images[torch.from_numpy(np.isnan(data.reader.s2[:, [2, 1, 0]]))] = 0.0
    with torch.no_grad():
        wanted = extractor.module.forward_head(extractor.module.forward_features(images), pre_logits=True)
        dense = extractor("s2", images, images > 0, layers=(stages - 1, 0))
        (last,) = extractor.module.forward_intermediates(images, indices=[stages - 1], intermediates_only=True)
    torch.testing.assert_close(found.pooled["s2"], wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dense.pooled, wanted)
    torch.testing.assert_close(dense.dense[0], last)
    assert dense.dense[1].shape[0] == 5
    assert found.pooled["s2"].shape == (5, width)


def test_the_cost_of_a_timm_model_is_counted():
    extractor = timm_model("vit_tiny_patch16_224", image_px=32)
    tokens, dim, blocks = 5, 192, 12
    per_block = 12 * tokens * dim**2 + 2 * tokens**2 * dim
    assert extractor.macs("s2") == pytest.approx(blocks * per_block + 4 * 3 * 16 * 16 * dim, rel=0.01)


def test_weights_of_a_timm_model_come_from_the_disk(tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("resnet10t", num_classes=3)  # another head than ImageNet's
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    images = torch.randn(2, 3, 32, 32)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        extractor = timm_model("resnet10t", path, image_px=32)
        assert extractor.name == "timm:resnet10t"
        with torch.no_grad():
            wanted = model.eval().forward_head(model.forward_features(images), pre_logits=True)
            assert torch.equal(extractor("s2", images, images > 0).pooled, wanted)
    with pytest.raises(CheckpointError, match="of another architecture"):
        timm_model("resnet18", tmp_path)


def test_random_weights_are_of_their_seed_alone():
    before = torch.random.get_rng_state()
    one, other, third = (timm_model("resnet10t", image_px=32, seed=seed).module.fc.weight for seed in (4, 4, 5))
    assert torch.equal(one, other)
    assert not torch.equal(one, third)
    assert torch.equal(before, torch.random.get_rng_state())


def test_weights_that_are_no_safetensors_are_refused(tmp_path):
    pickled = tmp_path / "resnet10t.pth"
    pickled.write_bytes(pickle.dumps({"never": "opened"}))
    with pytest.raises(CheckpointError, match="is a pickle"):
        timm_model("resnet10t", pickled)
    with pytest.raises(CheckpointError, match="nothing is downloaded"):
        timm_model("resnet10t", tmp_path / "lacking.safetensors")


def test_timm_models_and_layers_that_there_are_not_are_refused():
    with pytest.raises(ConfigError, match="timm has no model 'resnet5o'"):
        timm_model("resnet5o")
    extractor = timm_model("resnet10t", image_px=32)
    images = torch.zeros(1, 3, 32, 32)
    for layers in ((5,), (-1,)):
        with pytest.raises(ConfigError, match="of 5: count from 0 to 4"):
            extractor("s2", images, images > 0, layers=layers)
    with pytest.raises(ConfigError, match="no sensor 's1'"):
        extractor("s1", images, images > 0)


def test_torchgeo_that_is_lacking_is_named(monkeypatch):
    from csmoe_model.evaluation.extractors.torchgeo_models import torchgeo_model

    monkeypatch.setitem(__import__("sys").modules, "torchgeo.models", None)
    with pytest.raises(ConfigError, match="TorchGeo is not installed"):
        torchgeo_model("resnet50:SENTINEL2_ALL_MOCO")


@pytest.fixture
def torchgeo_model():
    if not real("torchgeo.models"):
        pytest.skip("torchgeo is not installed")
    from csmoe_model.evaluation.extractors.torchgeo_models import torchgeo_model

    return torchgeo_model


def test_torchgeo_weights_tell_bands_and_standardisation(torchgeo_model):
    all_bands = torchgeo_model("resnet18:SENTINEL2_ALL_MOCO", image_px=32)
    (s2,) = all_bands.inputs.values()
    assert s2.bands == (*(f"B{k:02}" for k in range(1, 9)), "B8A", "B09", "B10", "B11", "B12")
    assert (s2.unit, set(s2.mean), set(s2.std)) == ("DN", {0.0}, {10_000.0})
    assert all_bands.name == "torchgeo:resnet18:SENTINEL2_ALL_MOCO (random 0)"
    radar = torchgeo_model("resnet50:SENTINEL1_GRD_SOFTCON", image_px=32)
    assert radar.inputs["s1"].bands == ("VV", "VH")
    assert radar.inputs["s1"].unit == "dB"
    assert radar.inputs["s1"].mean == pytest.approx((-12.59, -20.26))
    data = data_of(32, bands=("B02", "B03", "B04", "B08", "B8A"))
    preparation = Preparation(data, all_bands.inputs, 32, "model")
    assert preparation.feeds["s2"].missing == ("B01", "B05", "B06", "B07", "B09", "B10", "B11", "B12")
    assert features(data, all_bands).pooled["s2"].shape == (5, 512)


def test_torchgeo_weights_come_from_the_disk(torchgeo_model, tmp_path):
    torch.manual_seed(1)
    model = timm.create_model("resnet18", in_chans=13)
    save_file({k: v for k, v in model.state_dict().items() if not k.startswith("fc.")}, tmp_path / "model.safetensors")
    extractor = torchgeo_model("resnet18:SENTINEL2_ALL_MOCO", tmp_path, image_px=32)
    images = torch.randn(2, 13, 32, 32)
    with torch.no_grad():
        wanted = model.eval().forward_head(model.forward_features(images), pre_logits=True)
        assert torch.equal(extractor("s2", images, images > 0).pooled, wanted)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18", "has no weights '': name one of SENTINEL2"),
        ("resnet18:SENTINEL2_ALL", "has no weights 'SENTINEL2_ALL'"),
        ("resnet18:LANDSAT_TM_TOA_MOCO", "is not for Sentinel-2 in DN"),
        ("resnet18:SENTINEL2_RGB_SECO", "is not for Sentinel-2 in DN"),
        ("lenet:SENTINEL2", "TorchGeo has no model 'lenet'"),
    ],
)
def test_torchgeo_weights_that_do_not_fit_are_refused(torchgeo_model, name, message):
    with pytest.raises(ConfigError, match=message):
        torchgeo_model(name)
