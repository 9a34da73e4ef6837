"""Models in the layouts and interfaces of other projects, against those projects wherever they are installed."""

import importlib
import json
import re
import runpy
import sys
import warnings

import numpy as np
import pytest
import timm
import torch
import typer
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional
from typer.testing import CliRunner

from csmoe_model.adapters import timm_registry, torchgeo
from csmoe_model.adapters.backbone import as_maps, layers_of, named
from csmoe_model.adapters.bands import Standardise, canonical, channels, chosen, sensor_of
from csmoe_model.adapters.folder import export_folder
from csmoe_model.adapters.huggingface import HubModel, export_huggingface
from csmoe_model.cli.export import export
from csmoe_model.errors import CheckpointError, ConfigError, DataError
from csmoe_model.presets import PRESETS, preset
from csmoe_model.sensors import SENTINELS, sentinel
from csmoe_model.train.checkpoint import load_model
from model.adapter_stands import ADAPTERS, checkpoint_of, forget, real, stand_in
from model.small_models import model_config, train_config


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint and its model."""
    return checkpoint_of(tmp_path_factory.mktemp("run") / "checkpoints")


@pytest.fixture(scope="module")
def exported(written, tmp_path_factory):
    return export_huggingface(written[0], tmp_path_factory.mktemp("hub") / "model")


def adapter(library):
    """Our module for a library, the library itself or a stand-in."""

    @pytest.fixture(name=library)
    def found(monkeypatch):
        if not real(library):
            stand_in(monkeypatch, library)
        forget(library)
        yield importlib.import_module(f"csmoe_model.adapters.{ADAPTERS[library]}")
        forget(library)

    return found


terratorch_fixture = adapter("terratorch")
pangaea_fixture = adapter("pangaea")
bench_fixture = adapter("torchgeo_bench")


def images_of(model, sensor, batch=2, seed=5):
    config = model.config
    chance = torch.Generator().manual_seed(seed)
    shape = (batch, config.sensors[sensor].num_bands, config.image_px, config.image_px)
    return torch.randn(shape, generator=chance)


# Bands and layers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "band"),
    [
        ("B8", "B08"),
        ("B08", "B08"),
        ("B8a", "B8A"),
        ("B12", "B12"),
        ("NIR_NARROW", "B8A"),
        ("NIR_BROAD", "B08"),
        ("nir", "B08"),
        ("red_edge_4", "B8A"),
        ("RED", "B04"),
        ("swir_2", "B12"),
        ("water_vapour", "B09"),
        ("vh", "VH"),
        ("elevation", "elevation"),
    ],
)
def test_bands_have_one_name_whatever_others_call_them(name, band):
    assert canonical(name) == band


def test_channels_are_found_by_name():
    sensor = sentinel(("B03", "B8A", "B11"), "DN")
    assert channels(sensor, ("SWIR_1", "RED", "GREEN", "NIR_NARROW"), "x") == [2, 3, 0]
    with pytest.raises(ConfigError, match=r"x: no B8A, B11 among GREEN, NIR_BROAD: the model takes B03, B8A, B11"):
        channels(sensor, ("GREEN", "NIR_BROAD"), "x")
    with pytest.raises(ConfigError, match="B03 stands more than once"):
        channels(sensor, ("GREEN", "B3", "B8A", "B11"), "x")


def test_standardising_by_name_is_that_of_the_sensor():
    sensor = sentinel(("VV", "VH"), "dB")
    values = torch.randn(2, 3, 4, 5) * 4 - 15
    values[1, 2, 3, 4] = torch.nan
    found = Standardise(sensor, ("vh", "angle", "vv"))(values)
    wanted = (values[:, [2, 0]] - torch.tensor(sensor.mean)[:, None, None]) / torch.tensor(sensor.std)[:, None, None]
    assert found[1, 0, 3, 4] == 0
    torch.testing.assert_close(found, wanted.nan_to_num(0.0))
    with pytest.raises(DataError, match=r"shape \(2, 2, 4, 5\): \(batch, 3, rows, columns\)"):
        chosen(values[:, :2], (2, 0), 3)


def test_modalities_of_others_are_our_sensors():
    config = model_config()
    assert [sensor_of(config, name) for name in ("S2L2A", "S1GRD", "S1RTC", "optical", "sar", "s1")] == [
        *("s2", "s1", "s1", "s2", "s1", "s1")
    ]
    with pytest.raises(ConfigError, match="modality 'DEM': fits none of the model's sensors s1, s2"):
        sensor_of(config, "DEM")
    twice = model_config(sensors={"a": sentinel(("B02",), "DN"), "b": sentinel(("B03",), "DN")})
    with pytest.raises(ConfigError, match="fits a, b"):
        sensor_of(twice, "optical")


@pytest.mark.parametrize("asked", [[2], [0, -3], [12], [2, 5, 8, 11]])
def test_layers_that_there_are_not_are_refused(asked):
    with pytest.raises(ConfigError, match="of an encoder of 2 blocks: count from 0 to 1"):
        layers_of(asked, 2)


@given(st.integers(1, 30), st.data())
def test_layers_count_as_lists_do(depth, data):
    asked = data.draw(st.lists(st.integers(-depth, depth - 1)))
    assert list(layers_of(asked, depth)) == [list(range(depth))[k] for k in asked]
    assert layers_of(None, depth) == tuple(range(depth))


def test_maps_are_row_major():
    tokens = torch.arange(2 * 9 * 4).reshape(2, 9, 4)
    maps = as_maps(tokens)
    assert maps.shape == (2, 4, 3, 3)
    assert torch.equal(maps[1, 2], tokens[1, :, 2].reshape(3, 3))


@pytest.mark.parametrize("name", ["csmoe-base-p14", "csmae-tiny-p28"])
def test_a_preset_is_recognised(name):
    assert named(preset(name)) == name
    assert named(model_config()) is None


# Hugging Face Hub --------------------------------------------------------------------------------------------------


def test_the_hub_layout_comes_back_to_the_bit(written, exported, tmp_path):
    model = written[1]
    again = HubModel.from_pretrained(str(exported))
    assert again.config == model.config
    assert not again.training
    again.save_pretrained(tmp_path / "again")
    for other in (
        load_model(exported),
        again,
        load_model(tmp_path / "again"),
        HubModel.from_pretrained(tmp_path / "again"),
    ):
        assert model.state_dict().keys() == other.state_dict().keys()
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())
    assert {path.name for path in (tmp_path / "again").iterdir()} == {"config.json", "model.safetensors", "README.md"}


def test_the_hub_layout_is_strict_where_the_mixin_is_not(exported, tmp_path):
    (tmp_path / "config.json").write_bytes((exported / "config.json").read_bytes())
    weights = load_file(exported / "model.safetensors")
    name = next(iter(weights))
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"lacks {name}"):
        HubModel.from_pretrained(str(tmp_path))
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle"):
        HubModel.from_pretrained(str(tmp_path))


def test_the_card_says_what_is_known(exported, written):
    card = ModelCard.load(exported / "README.md")
    assert {"earth-observation", "soft-moe"} <= set(card.data.tags)
    text = card.content
    for line in ("| s2 | B8A | DN | 2235.5 | 1356.8 | 10 m |", "| Steps done | 7 |", "| Seed | 0 |", "d1935t", "1e-06"):
        assert line in text
    assert "32 x 32 px, patches of 8 px" in text


def test_the_code_on_the_cards_runs(exported, written, tmp_path, monkeypatch):
    model = written[1]
    monkeypatch.chdir(exported)
    found = run_python(exported / "README.md")
    wanted = model.encode({"s1": torch.zeros(1, 2, 32, 32), "s2": torch.zeros(1, 3, 32, 32)})
    assert all(torch.equal(found["features"][name].pooled, wanted[name].pooled) for name in ("s1", "s2"))
    monkeypatch.chdir(timm_registry.export_timm(written[0], tmp_path / "timm", "s1"))
    found = run_python(tmp_path / "timm" / "README.md")
    assert torch.equal(found["features"], wanted["s1"].pooled)


def run_python(readme):
    (code,) = re.findall(r"```python\n(.*?)```", readme.read_text(), re.DOTALL)
    names = {}
    exec(compile(code, str(readme), "exec"), names)
    return names


# timm --------------------------------------------------------------------------------------------------------------


def test_timm_knows_every_preset():
    assert {name.replace("-", "_") for name in PRESETS} | {"csmoe"} == {
        name for name in timm.list_models() if name.startswith(("csmoe", "csmae"))
    }


@pytest.mark.parametrize("sensor", ["s1", "s2"])
def test_an_exported_folder_is_timms_own(written, tmp_path, sensor):
    checkpoint, model = written
    folder = timm_registry.export_timm(checkpoint, tmp_path / sensor, sensor)
    found = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images, own = images_of(model, sensor), model.config.sensors[sensor]
    features = model.encoder(sensor, images, layers=(0, 1))
    with torch.no_grad():
        tokens = found.forward_features(images)
        assert torch.equal(tokens, features.tokens)
        assert torch.equal(found.forward_head(tokens, pre_logits=True), features.pooled)
        assert torch.equal(found(images), features.pooled)
        last, maps = found.forward_intermediates(images, indices=[1, 0])
        assert torch.equal(last, features.tokens)
        assert torch.equal(maps[0], as_maps(features.layers[1]))
        assert torch.equal(maps[1], as_maps(features.layers[0]))
        (only,) = found.forward_intermediates(images, indices=1, output_fmt="NLC", intermediates_only=True)
        assert torch.equal(only, features.layers[1])
    data = timm.data.resolve_data_config(model=found)
    assert tuple(data["mean"]) == own.mean
    assert tuple(data["std"]) == own.std
    assert tuple(data["input_size"]) == (own.num_bands, 32, 32)
    config = json.loads((folder / "config.json").read_text())
    assert config["model_args"]["config"]["encoder"]["heads"] == 2
    assert (config["bands"], config["unit"], config["patch_size"]) == (list(own.bands), own.unit, 8)
    assert config["layer_norm_eps"] == found.encoder.pooled_norm.eps
    assert not any(name.startswith("decoders") for name in load_file(folder / "model.safetensors"))


def test_a_timm_model_has_a_head_of_any_size(written):
    model = timm.create_model("csmoe", checkpoint=written[0], sensor="s2", num_classes=5)
    images = torch.zeros(2, 3, 32, 32)
    assert model(images).shape == (2, 5)
    assert (model.num_features, model.num_classes, model.pretrained_cfg["classifier"]) == (32, 5, "head")
    model.reset_classifier(7)
    assert model.get_classifier() is model.head
    assert model(images).shape == (2, 7)
    model.reset_classifier(0)
    assert model(images).shape == (2, 32)


def test_a_timm_model_of_a_preset_and_another_size():
    model = timm.create_model("csmae_tiny_p28", sensor="s1", img_size=56)
    assert model(torch.zeros(1, 2, 56, 56)).shape == (1, 192)
    assert model.pretrained_cfg["architecture"] == "csmae_tiny_p28"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sensor": "s3"}, "no sensor 's3': it has s1, s2"),
        ({"in_chans": 4}, "in_chans 4: 's2' has 3 bands, B03, B8A, B11"),
        ({"global_pool": "token"}, "global_pool 'token'"),
        ({"img_size": 30}, "img_size 30: images are square, a multiple of patches of 8 px"),
        ({"img_size": (32, 40)}, r"img_size \(32, 40\)"),
    ],
)
def test_a_timm_model_that_cannot_be_is_refused(written, changes, message):
    with pytest.raises(ConfigError, match=message):
        timm.create_model("csmoe", checkpoint=written[0], **changes)


def test_timm_layers_and_names_are_checked(written):
    model = timm.create_model("csmoe", checkpoint=written[0])
    for asked in ([2], [-3], 3):
        with pytest.raises(ConfigError, match="of an encoder of 2 blocks"):
            model.forward_intermediates(torch.zeros(1, 3, 32, 32), indices=asked)
    with pytest.raises(CheckpointError, match="is no csmoe-tiny-p14: take architecture 'csmoe'"):
        timm.create_model("csmoe_tiny_p14", checkpoint=written[0])
    with pytest.raises(ConfigError, match="give config or checkpoint"):
        timm.create_model("csmoe")


# TerraTorch --------------------------------------------------------------------------------------------------------

BANDS = {"S2L2A": ["RED", "SWIR_1", "NIR_NARROW", "GREEN"], "S1GRD": ["VH", "VV"]}


def terratorch_images(model):
    """Channels as in `BANDS`, and the sensors' own."""
    s2, s1 = images_of(model, "s2"), images_of(model, "s1")
    given = {"S2L2A": torch.stack([torch.full_like(s2[:, 0], 9.0), s2[:, 2], s2[:, 1], s2[:, 0]], 1)}
    return given | {"S1GRD": s1.flip(1)}, {"s1": s1, "s2": s2}


@pytest.mark.parametrize("method", ["mean", "max", "concat"])
def test_a_terratorch_backbone_merges_modalities(written, terratorch, method):
    checkpoint, model = written
    registry = sys.modules["terratorch.registry"].BACKBONE_REGISTRY
    backbone = registry.build(
        "csmoe",
        pretrained=True,
        ckpt_path=str(checkpoint),
        model_bands=BANDS,
        modalities=["S1GRD", "S2L2A"],
        out_indices=[1, -2],
        merge_method=method,
    ).eval()
    given, own = terratorch_images(model)
    layers = {name: [as_maps(x) for x in model.encoder(name, own[name], layers=(1, 0)).layers] for name in own}
    found = backbone(given)
    for place in (0, 1):
        pair = [layers["s1"][place], layers["s2"][place]]
        wanted = {
            "mean": torch.stack(pair).mean(0),
            "max": torch.maximum(*pair),
            "concat": torch.cat(pair, 1),
        }[method]
        torch.testing.assert_close(found[place], wanted)
        assert backbone.out_channels[place] == wanted.shape[1]
    if method == "concat":
        with pytest.raises(DataError, match="concat needs all of them"):
            backbone({"S1GRD": given["S1GRD"]})
    else:
        torch.testing.assert_close(backbone({"S1GRD": given["S1GRD"]})[0], layers["s1"][0])
        torch.testing.assert_close(backbone(given["S1GRD"])[1], layers["s1"][1])
    with pytest.raises(DataError, match="images of DEM: modalities are S1GRD, S2L2A"):
        backbone({"DEM": given["S1GRD"]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_bands": ["RED", "GREEN", "BLUE"]}, "modality S2L2A: no B8A, B11 among RED, GREEN, BLUE"),
        ({"model_bands": {"S1GRD": ["VV"]}}, "model_bands: S1GRD is none of modalities S2L2A"),
        ({"out_indices": [2, 5, 8, 11]}, r"layers \[2, 5, 8, 11\] of an encoder of 2 blocks"),
        ({"modalities": ["DEM"]}, "modality 'DEM'"),
        ({"merge_method": "sum"}, "merge_method 'sum'"),
        ({"num_frames": 3}, "takes no num_frames"),
        ({"image_px": 30}, "no multiple of the model's patches"),
        ({"ckpt_path": None, "pretrained": True}, "no weights are published"),
    ],
)
def test_a_terratorch_backbone_that_cannot_be_is_refused(written, terratorch, changes, message):
    with pytest.raises(ConfigError, match=message):
        terratorch.csmoe(**{"ckpt_path": str(written[0]), **changes})


def test_terratorch_builds_whole_models_on_it(written, tmp_path, terratorch):
    if not real("terratorch.models"):
        pytest.skip("terratorch is not installed")
    from terratorch.models import EncoderDecoderFactory

    folder = export_folder(written[0], tmp_path / "x", "terratorch", layers=[0, 1, 0, 1])
    common = {"backbone": "csmoe", "backbone_ckpt_path": str(folder), "backbone_pretrained": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TerraTorch's own parts
        for task, decoder in (("segmentation", "UperNetDecoder"), ("classification", "IdentityDecoder")):
            model = EncoderDecoderFactory().build_model(
                task=task,
                decoder=decoder,
                num_classes=3,
                backbone_modalities=["S2L2A", "S1GRD"],
                backbone_out_indices=[0, 1, 0, 1],
                **common,
            )
            images = {"S2L2A": torch.randn(2, 3, 32, 32), "S1GRD": torch.randn(2, 2, 32, 32)}
            shape = model.eval()(images).output.shape
            assert shape == ((2, 3, 32, 32) if task == "segmentation" else (2, 3))


# TorchGeo ----------------------------------------------------------------------------------------------------------


def test_torchgeo_weights_tell_and_standardise(written, exported):
    model = written[1]
    weights = torchgeo.weights_of(exported).FOLDER
    assert torchgeo.FolderWeights in type(weights).__mro__
    assert weights.meta["bands"] == {"sar": ["VV", "VH"], "optical": ["B03", "B8A", "B11"]}
    assert (weights.meta["in_chans"], weights.meta["ssl_method"]) == ({"sar": 2, "optical": 3}, "csmoe")
    values = torch.rand(2, 3, 32, 32) * 4000
    found = torchgeo.csmoe(weights)
    standardised = weights.transforms({"optical": values})
    torch.testing.assert_close(standardised["optical"], Standardise(model.config.sensors["s2"])(values))
    out = found(x_optical=standardised["optical"])
    assert set(out) == {"optical_encodings", "optical_GAP"}
    assert torch.equal(out["optical_GAP"], model.encoder("s2", standardised["optical"]).pooled)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in weights.get_state_dict(True).items())


def test_torchgeo_outputs_are_named_as_cromas(written, exported):
    model = written[1]
    found = torchgeo.csmoe(torchgeo.weights_of(exported).FOLDER)
    s1, s2 = images_of(model, "s1"), images_of(model, "s2")
    out = found(s1, s2)
    keys = {f"{name}_{kind}" for name in ("sar", "optical", "joint") for kind in ("encodings", "GAP")}
    pooled = [functional.normalize(out[f"{name}_GAP"], dim=1) for name in ("sar", "optical")]
    assert torch.equal(out["joint_GAP"], torch.cat(pooled, 1))
    assert torch.equal(out["joint_encodings"][..., 32:], out["optical_encodings"])
    assert torch.equal(out["sar_encodings"], model.encoder("s1", s1).tokens)
    if real("torchgeo.models"):
        from torchgeo.models import CROMA, ResNet50_Weights

        croma = CROMA(encoder_dim=32, encoder_depth=2, num_heads=16, patch_size=8, image_size=32)
        theirs = croma(torch.randn(2, 2, 32, 32), torch.randn(2, 12, 32, 32))
        keys = set(theirs)
        assert out["sar_encodings"].shape == theirs["sar_encodings"].shape
        own = set(torchgeo.weights_of(exported).FOLDER.meta)
        assert {"bands", "in_chans", "model", "publication", "ssl_method"} <= own
        assert {"bands", "in_chans", "model", "publication"} <= set(ResNet50_Weights.SENTINEL2_ALL_MOCO.meta)
    assert set(out) == keys


def test_torchgeo_builders_are_sizes(exported):
    assert torchgeo.csmoe_tiny(patch_size=28).model.config == preset("csmoe-tiny-p28")
    assert torchgeo.csmoe_tiny(patch_size=28, image_size=56).image_size == 56
    with pytest.raises(ConfigError, match=r"width 32 and 2 blocks, csmoe_base has 768 and 12: take csmoe\(weights\)"):
        torchgeo.csmoe_base(torchgeo.weights_of(exported).FOLDER)
    with pytest.raises(DataError, match="images of nothing: the model takes sar, optical"):
        torchgeo.csmoe_tiny(patch_size=28)()


# PANGAEA -----------------------------------------------------------------------------------------------------------


def test_a_pangaea_encoder_gives_a_map_of_each_layer(written, pangaea):
    checkpoint, model = written
    s1, s2 = images_of(model, "s1"), images_of(model, "s2")
    bands = {"optical": ["B11", "B3", "B8A"], "sar": ["VV", "VH"]}
    encoder = pangaea.CSMoEEncoder(checkpoint, bands, [1, 0], output_dim=64)
    assert (encoder.output_dim, encoder.output_layers, encoder.input_size) == ([64, 64], [1, 0], 32)
    found = encoder({"optical": s2[:, [2, 0, 1]].unsqueeze(2), "sar": s1.unsqueeze(2)})
    for place, layer in enumerate((1, 0)):
        parts = [model.encoder(name, x, layers=(layer,)).layers[0] for name, x in (("s2", s2), ("s1", s1))]
        assert torch.equal(found[place], as_maps(torch.cat(parts, -1)))
    (alone,) = pangaea.CSMoEEncoder(checkpoint, {"sar": ["VH", "VV"]}, [0])({"sar": s1.flip(1)})
    assert torch.equal(alone, as_maps(model.encoder("s1", s1, layers=(0,)).layers[0]))


def test_a_pangaea_encoder_loads_its_weights_anew(written, pangaea):
    checkpoint, model = written
    encoder = pangaea.CSMoEEncoder(checkpoint, {"sar": ["VV", "VH"]}, [0])
    for parameter in encoder.parameters():
        torch.nn.init.zeros_(parameter)
    said = []
    encoder.load_encoder_weights(type("Logger", (), {"info": lambda _, *words: said.append(words)})())
    assert torch.equal(encoder.model.encoder.shared[0].attn.qkv.weight, model.encoder.shared[0].attn.qkv.weight)
    assert said


def test_a_pangaea_encoder_refuses_what_it_does_not_know(written, pangaea):
    checkpoint = written[0]
    for bands, layers, extra, message in (
        ({"optical": ["B3", "B8A"]}, [0], {}, "input_bands optical: no B11 among B3, B8A"),
        ({"dem": ["height"]}, [0], {}, "modality 'dem'"),
        ({"sar": ["VV", "VH"]}, [3, 5, 7, 11], {}, r"layers \[3, 5, 7, 11\] of an encoder of 2 blocks"),
        ({"sar": ["VV", "VH"]}, [0], {"output_dim": 768}, "output_dim 768: maps of sar have 32 channels"),
        ({"sar": ["VV", "VH"]}, [0], {"input_size": 30}, "no multiple"),
    ):
        with pytest.raises(ConfigError, match=message):
            pangaea.CSMoEEncoder(checkpoint, bands, layers, **extra)
    encoder = pangaea.CSMoEEncoder(checkpoint, {"optical": ["B3", "B8A", "B11"]}, [0])
    images = torch.randn(2, 3, 1, 32, 32)
    with pytest.raises(DataError, match="2 dates, the model takes one"):
        encoder({"optical": images.expand(-1, -1, 2, -1, -1)})
    with pytest.raises(DataError, match="no optical"):
        encoder({"sar": images})
    images[:, 1] = 0
    with pytest.raises(DataError, match="B8A is 0 everywhere"):
        encoder({"optical": images})


def test_pangaea_builds_whole_models_on_it(written, pangaea):
    if not real("pangaea.decoders.upernet"):
        pytest.skip("PANGAEA is not on the path")
    from pangaea.decoders.upernet import SegUPerNet

    encoder = pangaea.CSMoEEncoder(written[0], {"optical": ["B3", "B8A", "B11"]}, [0, 1, 0, 1])
    model = SegUPerNet(encoder, num_classes=3, finetune=False, channels=16).eval()
    assert model({"optical": torch.randn(2, 3, 1, 32, 32)}, output_shape=torch.Size((32, 32))).shape == (2, 3, 32, 32)


# torchgeo-bench ----------------------------------------------------------------------------------------------------

SPECS = {
    "b11": ("s2", 1577, 1065, 0, 15351),
    "green": ("s2", 612, 596, 0, 18640),
    "nir_narrow": ("s2", 2236, 1339, 1, 16071),
    "vv": ("s1", -12.6, 5.1, -65, 33),
    "vh": ("s1", -19.4, 5.6, -66, 24),
}


def bands_of(*names, **changes):
    spec = sys.modules["torchgeo_bench.datasets.base"].BandSpec
    return [
        spec(sensor, name, name.upper(), mean=mean, std=std, min=low, max=high)
        for name in names
        for sensor, mean, std, low, high in [changes.get(name, SPECS[name])]
    ]


def test_a_bench_model_standardises_by_name(written, torchgeo_bench):
    checkpoint, model = written
    chance = torch.Generator().manual_seed(0)
    s2 = torch.rand(2, 3, 32, 32, generator=chance) * 3000
    s1 = torch.rand(2, 2, 32, 32, generator=chance) * 20 - 25
    own = {name: Standardise(model.config.sensors[name]) for name in ("s1", "s2")}
    wanted = {name: model.encoder(name, own[name](x)).pooled for name, x in (("s1", s1), ("s2", s2))}
    bench = torchgeo_bench.CSMoEBenchModel(bands_of("nir_narrow", "b11", "green"), checkpoint=str(checkpoint), name="x")
    torch.testing.assert_close(bench(s2[:, [1, 2, 0]]), wanted["s2"])
    both = torchgeo_bench.CSMoEBenchModel(bands_of(*SPECS), checkpoint=str(checkpoint))
    pair = torch.cat([functional.normalize(wanted[name], dim=1) for name in ("s1", "s2")], 1)
    torch.testing.assert_close(both(torch.cat([s2[:, [2, 0, 1]], s1], 1)), pair)
    reflectance = {name: ("s2", mean / 1e4, std / 1e4, 0, 1.8) for name, (_, mean, std, *_) in SPECS.items()}
    bench = torchgeo_bench.CSMoEBenchModel(
        bands_of("green", "nir_narrow", "b11", **reflectance), checkpoint=str(checkpoint)
    )
    torch.testing.assert_close(bench(s2 / 1e4), wanted["s2"], rtol=1e-4, atol=1e-4)
    assert bench(torch.rand(1, 3, 20, 44)).shape == (1, 32)


def test_exchanged_polarisations_of_a_bench_are_not_overlooked(written, torchgeo_bench):
    checkpoint, model = str(written[0]), written[1]
    swapped = {"vv": SPECS["vh"], "vh": SPECS["vv"]}
    bands = bands_of("vv", "vh", **swapped)
    with pytest.raises(ConfigError, match="VH is the brighter"):
        torchgeo_bench.CSMoEBenchModel(bands, checkpoint=checkpoint)
    s1 = torch.rand(2, 2, 32, 32) * 20 - 25
    wanted = model.encoder("s1", Standardise(model.config.sensors["s1"])(s1)).pooled
    for exchanged, images in ((False, s1), (True, s1.flip(1))):
        bench = torchgeo_bench.CSMoEBenchModel(bands, checkpoint=checkpoint, vv_vh_exchanged=exchanged)
        torch.testing.assert_close(bench(images), wanted)


@pytest.mark.parametrize(
    ("names", "changes", "message"),
    [
        (("green", "b11"), {}, "hold no sensor of the model in full"),
        (
            ("green", "nir_narrow", "b11"),
            {"green": ("landsat", 612, 596, 0, 18640)},
            "bands landsat green, B8A, B11: hold no sensor",
        ),
        (("vv", "vh"), {"vv": ("s1", 0.2, 0.1, 0, 9), "vh": ("s1", 0.02, 0.1, 0, 4)}, "no known way to 'dB'"),
        (
            ("green", "nir_narrow", "b11"),
            dict.fromkeys(("green", "nir_narrow", "b11"), ("s2", 90, 40, 0, 255)),
            "no known way to 'DN'",
        ),
    ],
)
def test_a_bench_model_refuses_bands_that_it_cannot_take(written, torchgeo_bench, names, changes, message):
    with pytest.raises(ConfigError, match=message):
        torchgeo_bench.CSMoEBenchModel(bands_of(*names, **changes), checkpoint=str(written[0]))


# The command -------------------------------------------------------------------------------------------------------


def run_export(*words):
    app = typer.Typer()
    app.command()(export)
    return CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)


@pytest.mark.parametrize("kind", ["huggingface", "timm", "terratorch", "torchgeo", "pangaea", "geobench"])
def test_the_command_writes_a_folder_that_loads(written, tmp_path, request, kind):
    library = {"geobench": "torchgeo_bench"}.get(kind, kind)
    if library in ADAPTERS:
        request.getfixturevalue(library)
    checkpoint, model = written
    out = tmp_path / "out"
    chosen_sensor = ["--sensor", "s2"] if kind in ("timm", "pangaea") else []
    found = run_export("--checkpoint", checkpoint, "--to", kind, "--out", out, *chosen_sensor, "--layer", "-1")
    assert found.exit_code == 0
    assert "model.safetensors" in found.output
    images = images_of(model, "s2")
    features = model.encoder("s2", images, layers=(1,))
    with torch.no_grad():
        if kind == "terratorch":
            backbone = runpy.run_path(str(out / "backbone.py"))["backbone"].eval()
            assert torch.equal(backbone({"S2L2A": images})[0], as_maps(features.layers[0]))
        elif kind == "torchgeo":
            loaded = runpy.run_path(str(out / "model.py"))["model"]
            assert torch.equal(loaded(x_optical=images)["optical_GAP"], features.pooled)
        elif kind == "pangaea":
            assert torch.equal(from_yaml(out / "csmoe.yaml")({"optical": images})[0], as_maps(features.layers[0]))
        elif kind == "geobench":
            values = images * torch.tensor(SENTINELS["s2"].std[1]) + 500
            bench = from_yaml(out / "csmoe.yaml", bands=bands_of("green", "nir_narrow", "b11"))
            assert bench(values).shape == (2, 32)
        elif kind == "timm":
            loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
            assert torch.equal(loaded(images), features.pooled)
        else:
            assert torch.equal(load_model(out).encoder("s2", images).pooled, features.pooled)


def from_yaml(path, **more):
    values = yaml.safe_load(path.read_text())
    module, _, name = values.pop("_target_").rpartition(".")
    return getattr(importlib.import_module(module), name)(**values, **more)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("--to", "timm"), ConfigError, "give one --sensor"),
        (("--to", "torchgeo", "--sensor", "s9"), ConfigError, "no sensor s9: it has s1, s2"),
        (("--to", "terratorch", "--layer", "11"), ConfigError, r"layers \[11\] of an encoder of 2 blocks"),
        (("--to", "onnx", "--layer", "11"), ConfigError, r"layers \[11\] of an encoder of 2 blocks"),
    ],
)
def test_the_command_refuses_what_it_cannot_do(written, tmp_path, words, error, message):
    with pytest.raises(error, match=message):
        run_export("--checkpoint", written[0], "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["huggingface", "timm", "onnx"])
def test_the_command_overwrites_nothing(written, tmp_path, kind):
    (tmp_path / "mine").write_text("x")
    with pytest.raises(CheckpointError, match="exists; choose another --out"):
        run_export("--checkpoint", written[0], "--to", kind, "--sensor", "s2", "--out", tmp_path)
    assert (tmp_path / "mine").read_text() == "x"


@pytest.mark.parametrize("library", list(ADAPTERS))
def test_a_library_that_is_lacking_is_named(library, monkeypatch):
    forget(library)
    monkeypatch.setitem(sys.modules, library, None)
    for name in [one for one in sys.modules if one.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigError, match=r"cannot be imported|is not installed"):
        importlib.import_module(f"csmoe_model.adapters.{ADAPTERS[library]}")
    forget(library)


def test_a_dense_twin_is_exported_as_well(tmp_path):
    encoder = model_config().encoder.model_copy(update={"moe": None})
    path, model = checkpoint_of(tmp_path / "run", train_config(model_config(encoder=encoder, cls_token=False)))
    found = HubModel.from_pretrained(export_huggingface(path, tmp_path / "out"))
    images = images_of(model, "s1")
    assert torch.equal(found.encoder("s1", images).pooled, model.encoder("s1", images).pooled)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "with dense feed-forward layers" in card
    assert "soft-moe" not in card
    assert np.isclose(found.encoder.pooled_norm.eps, 1e-6)
