"""Weights of the official CSMAE, as they are published, become a checkpoint that opens."""

import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors.torch import save_file
from typer import Typer
from typer.testing import CliRunner

from csmoe_model.cli.convert import convert
from csmoe_model.errors import CheckpointError
from csmoe_model.official import convert_weights, read_official
from csmoe_model.train.checkpoint import load_model, read_config

DIM, DECODER_DIM, PATCH_PX, IMAGE_PX = 192, 32, 5, 20


def linear(name, rows, cols):
    return {f"{name}.weight": torch.randn(rows, cols) * 0.02, f"{name}.bias": torch.randn(rows) * 0.02}


def norm(name, dim):
    return {f"{name}.weight": torch.rand(dim) + 0.5, f"{name}.bias": torch.randn(dim) * 0.1}


def block(name, dim):
    return {
        **norm(f"{name}.norm1", dim),
        **linear(f"{name}.attn.qkv", 3 * dim, dim),
        **linear(f"{name}.attn.proj", dim, dim),
        **norm(f"{name}.norm2", dim),
        **linear(f"{name}.mlp.fc1", 4 * dim, dim),
        **linear(f"{name}.mlp.fc2", dim, 4 * dim),
    }


def decoder(name, heads):
    state = {
        f"{name}.mask_token": torch.randn(1, 1, DECODER_DIM),
        f"{name}.decoder_pos_embed": torch.zeros(1, 17, DECODER_DIM),
        **linear(f"{name}.decoder_embed", DECODER_DIM, DIM),
        **block(f"{name}.decoder_blocks.0", DECODER_DIM),
        **norm(f"{name}.decoder_norm", DECODER_DIM),
    }
    for head, bands in heads.items():
        state |= linear(f"{name}.{head}", PATCH_PX**2 * bands, DECODER_DIM)
    return state


def official(variant, *, specific=2, shared=1):
    """The state dict that training saves, with few and narrow blocks."""
    torch.manual_seed(0)
    state = {"backbone.pos_embed": torch.zeros(1, 17, DIM)}
    for suffix, sensor, bands in (("", "s1", 2), ("_s2", "s2", 10)):
        state[f"backbone.cls_token{suffix}"] = torch.randn(1, 1, DIM)
        state[f"backbone.patch_embed{suffix}.proj.weight"] = torch.randn(DIM, bands, PATCH_PX, PATCH_PX) * 0.1
        state[f"backbone.patch_embed{suffix}.proj.bias"] = torch.randn(DIM)
        for k in range(specific if variant[0] == "s" else 0):
            state |= block(f"backbone.blocks_{sensor}.{k}", DIM)
        if variant[0] == "s":
            state |= norm(f"backbone.norm_{sensor}", DIM)
    for k in range(shared if variant[0] == "s" else specific + shared):
        state |= block(f"backbone.blocks.{k}", DIM)
    state |= norm("backbone.norm", DIM) | norm("backbone.fc_norm", DIM)
    if variant[2] == "s":
        return (
            state | decoder("decoder_s1_to_s2", {"decoder_pred": 10}) | decoder("decoder_s2_to_s1", {"decoder_pred": 2})
        )
    return state | decoder("decoder", {"decoder_pred_s1_to_s2": 10, "decoder_pred_s2_to_s1": 2})


def converted(tmp_path, state, variant, **sizes):
    save_file(state, tmp_path / "weights.safetensors")
    return convert_weights(
        tmp_path / "weights.safetensors",
        tmp_path / "out",
        variant,
        **{"image_px": IMAGE_PX, "patch_px": PATCH_PX, **sizes},
    )


@pytest.mark.parametrize("variant", ["cecd", "cesd", "secd", "sesd"])
@pytest.mark.parametrize("wrapper", ["", "model.", "model._orig_mod.", "module."])
def test_every_variant_opens(tmp_path, variant, wrapper):
    state = official(variant)
    folder = converted(tmp_path, {f"{wrapper}{name}": value for name, value in state.items()}, variant)
    config = read_config(folder).model
    assert (config.encoder.specific_depth, config.encoder.shared_depth) == ((2, 1) if variant[0] == "s" else (0, 3))
    assert (config.encoder.dim, config.encoder.heads, config.encoder.moe) == (DIM, 3, None)
    assert (config.decoder.dim, config.decoder.heads, config.decoder.depth) == (DECODER_DIM, 16, 1)
    assert config.decoder.separate == (variant[2] == "s")
    assert config.sensors["s2"].bands == ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A")
    model = load_model(folder)
    own = model.state_dict()
    assert torch.equal(own["encoder.tokenisers.s2.cls"], state["backbone.cls_token_s2"])
    assert torch.equal(own["encoder.shared.0.mlp.fc2.weight"], state["backbone.blocks.0.mlp.fc2.weight"])
    target = "s2" if variant[2] == "s" else "common"
    head = "decoder_s1_to_s2.decoder_pred.bias" if variant[2] == "s" else "decoder.decoder_pred_s1_to_s2.bias"
    assert torch.equal(own[f"decoders.by_target.{target}.heads.s2.bias"], state[head])
    assert len(own) == len([name for name in state if not name.endswith("pos_embed")])
    pooled = model.encode({"s1": torch.zeros(2, 2, IMAGE_PX, IMAGE_PX)})["s1"].pooled
    assert pooled.shape == (2, DIM)


def test_half_precision_becomes_single(tmp_path):
    state = {name: value.half() for name, value in official("secd").items()}
    assert {value.dtype for value in load_model(converted(tmp_path, state, "secd")).state_dict().values()} == {
        torch.float32
    }


def without(*starts):
    return lambda state: {name: value for name, value in state.items() if not name.startswith(starts)}


def encoder_alone(state):
    return {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}


def narrow(state):
    return state | {"backbone.patch_embed.proj.weight": torch.zeros(100, 2, PATCH_PX, PATCH_PX)}


WRONG = [
    (
        "secd",
        None,
        {},
        "2 specific and 1 shared blocks and a decoder for each sensor are variant 'sesd', not 'secd': give --variant",
    ),
    ("cesd", None, {}, "2 specific and 1 shared blocks and .* are variant 'sesd', not 'cesd'"),
    ("sesd", None, {"patch_px": 4}, "patches of 5 px, not 4: give --patch-px 5"),
    ("sesd", None, {"image_px": 120}, "images of 20 px, not 120: give --image-px 20"),
    ("sesd", without("backbone.blocks."), {}, "2 specific and no shared blocks, which the official configurations"),
    ("sesd", without("backbone.norm.bias"), {}, r"are not those of 'sesd' \(lacks encoder.shared_norm.bias\)"),
    ("sesd", encoder_alone, {}, r"\(these are the names of the encoder alone\): give CSMAE's whole state dict"),
    ("sesd", lambda state: {"head.weight": torch.zeros(3)}, {}, "no entry 'backbone.patch_embed.proj.weight': give"),
    ("sesd", lambda state: {**state, "head.weight": torch.zeros(3)}, {}, "'head.weight' is not one of CSMAE's"),
    ("sesd", narrow, {}, "a width of 100 and decoders of 1 blocks of 32: CSMAE is 192, 384, 768, 1024 wide"),
    ("abcd", None, {}, "variant 'abcd' is unknown: it is one of cecd, cesd, secd, sesd"),
]


@pytest.mark.parametrize(("variant", "change", "sizes", "says"), WRONG, ids=[str(k) for k in range(len(WRONG))])
def test_what_does_not_fit_is_said(tmp_path, variant, change, sizes, says):
    state = official("sesd")
    with pytest.raises(
        CheckpointError, match=f"^weights {re.escape(str(tmp_path))}/weights.safetensors: .*{says}"
    ) as caught:
        converted(tmp_path, change(state) if change else state, variant, **sizes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def app():
    app = Typer(rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(convert)
    return app


def test_the_command(app, tmp_path):
    save_file(official("cecd"), tmp_path / "weights.safetensors")
    given = [str(tmp_path / "weights.safetensors"), "--variant", "cecd", "--image-px", "20", "--patch-px", "5"]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout == f"checkpoint -> {tmp_path / 'out'}\n"
    assert load_model(tmp_path / "out").config == read_official(official("cecd"), "cecd", image_px=20, patch_px=5)
    with pytest.raises(CheckpointError, match="out: exists; choose another --out"):
        CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out")], catch_exceptions=False)


def test_pickles_and_missing_files_are_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "weights.ckpt")
    with pytest.raises(CheckpointError, match=r"weights\.ckpt: is a pickle, .* `csmoe-train convert --help` says how"):
        convert_weights(tmp_path / "weights.ckpt", tmp_path / "out", "sesd")
    with pytest.raises(CheckpointError, match=r"weights\.pt: no such file"):
        convert_weights(tmp_path / "weights.pt", tmp_path / "out", "sesd")


def test_the_lines_of_the_help_leave_a_pickle_behind(app, tmp_path, monkeypatch):
    """They are run as they stand."""
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(app, ["--help"]).stdout
    lines = [line.strip() for line in shown.splitlines() if "state" in line and "(" in line]
    assert len(lines) == 3
    torch.save({"state_dict": official("secd"), "epoch": 3}, "weights.ckpt")
    exec("\n".join(lines), {"torch": torch, "safetensors": safetensors})
    folder = convert_weights(Path("weights.safetensors"), Path("out"), "secd", image_px=IMAGE_PX, patch_px=PATCH_PX)
    assert torch.equal(load_model(folder).encoder.pooled_norm.bias, official("secd")["backbone.fc_norm.bias"])
