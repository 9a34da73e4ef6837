"""Configuration of a run: preset, file, options."""

import pytest

from csmoe_model.errors import ConfigError
from csmoe_model.presets import preset
from csmoe_model.train.config import MAY_CHANGE, TrainConfig
from csmoe_model.train.files import load_config
from csmoe_model.train.inputs import differences

FILE = """
preset = "csmoe-tiny-p14"
batch = 64
[model]
image_px = 112
[model.encoder.moe]
slots_per_expert = 3
[model.sensors.s1]
bands = ["VH"]
unit = "dB"
mean = [-19.0]
std = [5.0]
[optimiser]
lr = 1e-3
[data]
crop_scale = [0.5, 1.0]
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(FILE)
    return path


def test_options_go_before_the_file_and_the_file_before_the_preset(file):
    config = load_config(file, {"batch": 32, "optimiser.lr": None, "data.workers": 0})
    assert (config.batch, config.optimiser.lr, config.data.workers) == (32, 1e-3, 0)
    assert config.model.image_px == 112
    assert config.model.encoder.dim == 192
    assert (config.model.encoder.moe.slots_per_expert, config.model.encoder.moe.experts) == (3, 4)
    assert config.data.crop_scale == (0.5, 1.0)


def test_a_sensor_is_replaced_as_a_whole_and_others_stay(file):
    config = load_config(file, {})
    assert config.model.sensors["s1"].bands == ("VH",)
    assert config.model.sensors["s2"] == preset("csmoe-tiny-p14").sensors["s2"]


def test_the_preset_of_the_command_goes_before_that_of_the_file(file):
    assert load_config(file, {}, preset_name="csmae-small-p28").model.encoder.dim == 384


def test_of_several_files_later_ones_go_before(file, tmp_path):
    later = tmp_path / "sensors.toml"
    later.write_text('batch = 16\n[model.sensors.s2]\nbands = ["B03"]\nunit = "DN"\nmean = [9.0]\nstd = [2.0]\n')
    config = load_config([file, later], {"seed": 5})
    assert (config.batch, config.seed, config.model.image_px) == (16, 5, 112)
    assert {name: sensor.bands for name, sensor in config.model.sensors.items()} == {"s1": ("VH",), "s2": ("B03",)}
    later.write_text("batch = 0")
    with pytest.raises(ConfigError, match=r"run.toml with .*sensors.toml: batch = 0"):
        load_config([file, later], {})


def test_none_leaves_out_what_the_preset_has(file, tmp_path):
    later = tmp_path / "less.toml"
    later.write_text('optimiser.clip_norm = "none"\n[model]\nencoder.moe = "none"\nsensors.s2 = "none"\n')
    config = load_config([file, later], {})
    assert list(config.model.sensors) == ["s1"]
    assert (config.model.encoder.moe, config.optimiser.clip_norm) == (None, None)
    later.write_text('[model]\nsensors.s1 = "none"\nsensors.s2 = "none"\n')
    with pytest.raises(ConfigError, match="sensors: give at least one"):
        load_config([file, later], {})


def test_without_anything_there_are_the_defaults():
    assert load_config(None, {}) == TrainConfig()


def test_all_problems_come_together(file):
    file.write_text(FILE.replace("lr = 1e-3", "lr = -1.0\nspeed = 3").replace("batch = 64", "batchsize = 64"))
    with pytest.raises(ConfigError) as caught:
        load_config(file, {"seed": -1})
    line = str(caught.value)
    assert "\n" not in line
    for part in (
        "run.toml",
        "batchsize: no such key",
        "optimiser.speed: no such key",
        "optimiser.lr = -1.0",
        "seed = -1",
    ):
        assert part in line


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("preset = 'csmoe-huge-p14'", "preset 'csmoe-huge-p14': names are"),
        ("batch = 10\naccumulate = 3", "batch 10 is no multiple of accumulate 3"),
        ("[data]\ncrop_scale = [1.2, 0.8]", "data.crop_scale (1.2, 0.8): the smaller edge comes first"),
        ("[model]\nimage_px = 100", "image_px 100 is no multiple of patch_px 14"),
        ("batch = ", "not valid TOML"),
        ("precision = '16-mixed'", "precision"),
    ],
)
def test_bad_files(tmp_path, text, told):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert told in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml: no such file"):
        load_config(tmp_path / "none.toml", {})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, ["seed"]),
        ({"data.crop_scale": (0.5, 1.0), "batch": 64}, ["data.crop_scale", "batch"]),
        ({"model.encoder.moe.experts": 8}, ["model.encoder"]),
        ({"data.workers": 7, "keep": 1, "log_every": 1, "probe_every": 0, "save_minutes": 1.0, "compile": True}, []),
        ({"epochs": 3, "optimiser.lr": 1e-3}, ["epochs", "optimiser.lr"]),
    ],
)
def test_what_a_resumed_run_may_have_otherwise(changes, named):
    before = TrainConfig()
    assert sorted(differences(before, load_config(None, changes, base=before))) == sorted(named)


def test_what_may_change_exists():
    assert set(MAY_CHANGE) <= set(TrainConfig.model_fields)
