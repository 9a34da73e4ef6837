"""ONNX: what onnxruntime gives is what torch gives."""

import json
from types import SimpleNamespace

import pytest
import torch

from csmoe_model.adapters.onnx import OPSET, TOLERANCE, export_onnx
from csmoe_model.errors import ConfigError, ModelError
from model.adapter_stands import checkpoint_of
from model.small_models import model_config, train_config

onnx = pytest.importorskip("onnx", reason="the extra 'onnx' is not installed")
runtime = pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'onnx' is not installed")


ENCODER = model_config().encoder.model_copy(update={"specific_depth": 0})
CONFIG = train_config(model_config(encoder=ENCODER))  # one block: exporting takes its time


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return checkpoint_of(tmp_path_factory.mktemp("run"), CONFIG)


@pytest.fixture(scope="module")
def exported(written, tmp_path_factory):
    return export_onnx(written[0], tmp_path_factory.mktemp("onnx") / "model.onnx", layers=[-1])


@pytest.mark.parametrize("batch", [1, 5])
def test_both_sensors_with_any_batch(written, exported, batch):
    model = written[1]
    chance = torch.Generator().manual_seed(batch)
    noise = {
        name: torch.randn(batch, s.num_bands, 32, 32, generator=chance) for name, s in model.config.sensors.items()
    }
    values = {
        name: noise[name] * torch.tensor(s.std)[:, None, None] + torch.tensor(s.mean)[:, None, None]
        for name, s in model.config.sensors.items()
    }
    values["s2"][0, 1, 2, 3] = torch.nan  # not valid: the mean
    noise["s2"][0, 1, 2, 3] = 0.0
    session = runtime.InferenceSession(str(exported.path), providers=["CPUExecutionProvider"])
    found = dict(zip(exported.outputs, session.run(None, {k: v.numpy() for k, v in values.items()}), strict=True))
    assert list(found) == ["s1_pooled", "s1_layer0", "s2_pooled", "s2_layer0"]
    for name in ("s1", "s2"):
        with torch.no_grad():
            wanted = model.encoder(name, noise[name], layers=[0])
        torch.testing.assert_close(torch.from_numpy(found[f"{name}_pooled"]), wanted.pooled, atol=1e-4, rtol=1e-4)
        maps = wanted.layers[0].transpose(1, 2).reshape(batch, 32, 4, 4)
        torch.testing.assert_close(torch.from_numpy(found[f"{name}_layer0"]), maps, atol=1e-4, rtol=1e-4)


def test_the_file_says_what_it_takes(written, exported):
    proto = onnx.load(exported.path)
    onnx.checker.check_model(proto)
    assert {one.domain: one.version for one in proto.opset_import}[""] == exported.opset == OPSET
    (about,) = [json.loads(one.value) for one in proto.metadata_props if one.key == "sensors"]
    assert about["s2"]["bands"] == ["B03", "B8A", "B11"]
    assert about["s1"]["unit"] == "dB"
    assert exported.size_bytes == exported.path.stat().st_size
    assert exported.difference < TOLERANCE
    assert "ReduceL2" in {node.op_type for node in proto.graph.node}  # the router's unit length is inside


def test_a_file_that_is_off_is_not_left(exported, tmp_path, monkeypatch):
    proto = onnx.load(exported.path)
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: SimpleNamespace(model_proto=proto))
    other, _ = checkpoint_of(tmp_path / "run", CONFIG, seed=4)
    with pytest.raises(ModelError, match="onnxruntime is off by"):
        export_onnx(other, tmp_path / "m.onnx", layers=[-1])
    assert not (tmp_path / "m.onnx").exists()


def test_sensors_and_layers_are_checked(written, tmp_path):
    with pytest.raises(ConfigError, match="no sensor s3"):
        export_onnx(written[0], tmp_path / "m.onnx", ["s3"])
    with pytest.raises(ConfigError, match=r"layers \[1\]"):
        export_onnx(written[0], tmp_path / "m.onnx", layers=[1])
