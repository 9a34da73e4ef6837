"""The model: tokens in order, any subset of sensors, masks, losses, costs, presets."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from csmoe_model.config import DecoderConfig, EncoderConfig, LossConfig, MaskConfig, ModelConfig, MoEConfig
from csmoe_model.cost import decoder_macs, dense_twin, encoder_cost, slimmed
from csmoe_model.errors import CheckpointError, ConfigError, DataError
from csmoe_model.nn.across import Across
from csmoe_model.nn.losses import contrastive_loss, discrepancy_loss, patch_errors, reconstruction_loss
from csmoe_model.nn.masking import draw_masks
from csmoe_model.nn.model import CSMoE
from csmoe_model.nn.positions import sine_cosine_positions
from csmoe_model.official import convert_official, official_config
from csmoe_model.presets import PRESETS, preset
from csmoe_model.sensors import SENTINELS, Sensor

ELEVATION = Sensor(bands=("height",), unit="m", mean=(300.0,), std=(500.0,))


def small(**changes):
    values = {
        "image_px": 40,
        "patch_px": 8,
        "encoder": EncoderConfig(
            dim=24, heads=3, specific_depth=2, shared_depth=1, moe=MoEConfig(experts=2, slots_per_expert=3, width=0.5)
        ),
        "decoder": DecoderConfig(dim=16, heads=2, depth=1),
        **changes,
    }
    return ModelConfig(**values)


def built(config, seed=0):
    torch.manual_seed(seed)
    return CSMoE(config).eval()


def images_of(config, batch=3, seed=1):
    chance = torch.Generator().manual_seed(seed)
    shape = (config.image_px, config.image_px)
    return {name: torch.randn(batch, s.num_bands, *shape, generator=chance) for name, s in config.sensors.items()}


def masks_of(config, batch=3, seed=2):
    chance = torch.Generator().manual_seed(seed)
    noise = {name: torch.rand(batch, config.num_patches, generator=chance) for name in config.sensors}
    return draw_masks(noise, config.ratios, config.mask.correspondence)


def test_patches_are_rows_columns_bands_and_come_back():
    config = small()
    model = built(config)
    x = images_of(config)["s2"]
    patches = model.patchify(x)
    assert patches.shape == (3, 25, 8 * 8 * 10)
    row, col, py, px, band = 1, 3, 5, 2, 7
    expected = x[2, band, row * 8 + py, col * 8 + px]
    assert patches[2, row * 5 + col, (py * 8 + px) * 10 + band] == expected
    assert torch.equal(model.unpatchify(patches), x)
    with pytest.raises(DataError, match="images of 40 x 48 px: the model takes 40 x 40"):
        model.patchify(torch.zeros(1, 10, 40, 48))


def test_positions_code_columns_first():
    table = sine_cosine_positions(3, 5, 8)
    assert table.shape == (15, 8)
    assert torch.equal(table[0 * 5 + 2, :4], table[2 * 5 + 2, :4])  # the same column
    assert torch.equal(table[1 * 5 + 0, 4:], table[1 * 5 + 4, 4:])  # the same row
    assert table[7, 0] == pytest.approx(math.sin(2))
    with pytest.raises(ValueError, match="multiple of 4"):
        sine_cosine_positions(2, 2, 6)


def test_tokens_leave_in_row_major_order_whatever_is_hidden():
    """A visible token of a one-block, attention-free model depends on its own patch alone."""
    config = small()
    model = built(config)
    images, masks = images_of(config), masks_of(config)
    visible = masks["s1"].visible
    assert (visible.diff(dim=1) > 0).all()
    tokens = model.encoder.tokenisers["s1"](images["s1"], visible)[:, 1:]
    whole = model.encoder.tokenisers["s1"](images["s1"], None)[:, 1:]
    torch.testing.assert_close(tokens, whole.gather(1, visible[..., None].expand(-1, -1, 24)))
    changed = images["s1"].clone()
    changed[0, :, 8:16, 24:32] += 5  # the patch of row 1, column 3
    moved = (model.encoder.tokenisers["s1"](changed, None)[:, 1:] - whole).abs().sum(-1)
    assert moved[0].nonzero().flatten().tolist() == [1 * 5 + 3]


@pytest.mark.parametrize("names", [("s1",), ("s2",), ("s1", "s2")])
def test_any_subset_of_the_sensors_works_and_gives_the_same(names):
    config = small()
    model, images = built(config), images_of(config)
    both = model.encode(images)
    found = model.encode({name: images[name] for name in names}, layers=(0, 2))
    for name in names:
        torch.testing.assert_close(found[name].pooled, both[name].pooled)
        assert found[name].tokens.shape == (3, 25, 24)
        assert [layer.shape for layer in found[name].layers] == [(3, 25, 24)] * 2


def test_a_third_sensor_needs_configuration_alone():
    config = small(sensors={**SENTINELS, "dem": ELEVATION})
    model = built(config)
    found = model(images_of(config), masks_of(config))
    assert {"umr/dem", "cmr/dem>s1", "cmr/s2>dem", "mim/s1,dem"} <= set(found.terms)
    assert len(found.terms) == 3 + 6 + 3
    found.total.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_unknown_sensors_and_layers_are_refused():
    config = small()
    model = built(config)
    with pytest.raises(ConfigError, match="no sensor 'dem': it has s1, s2"):
        model.encode({"dem": torch.zeros(1, 1, 40, 40)})
    with pytest.raises(ConfigError, match=r"layers \[3\] of an encoder of 3 blocks: count from 0 to 2"):
        model.encode(images_of(config), layers=(0, 3))


@pytest.mark.parametrize(
    ("correspondence", "ratio"), [("independent", 0.5), ("identical", 0.75), ("disjoint", 0.5), ("independent", 0.0)]
)
def test_masks(correspondence, ratio):
    config = small(mask=MaskConfig(ratio=ratio, correspondence=correspondence), image_px=48)
    masks = masks_of(config)
    visible = int(36 * (1 - ratio))
    for mask in masks.values():
        assert mask.visible.shape == (3, visible)
        assert mask.hidden.sum(1).tolist() == [36 - visible] * 3
        assert not mask.hidden.gather(1, mask.visible).any()
    same = torch.equal(masks["s1"].hidden, masks["s2"].hidden)
    assert same == (correspondence == "identical" or ratio == 0)
    if correspondence == "disjoint":
        assert torch.equal(masks["s1"].hidden, ~masks["s2"].hidden)


def test_ratios_may_differ_by_sensor():
    config = small(mask=MaskConfig(ratio=0.5, ratios={"s2": 0.8}))
    assert {name: mask.visible.shape[1] for name, mask in masks_of(config).items()} == {"s1": 12, "s2": 5}


def test_what_is_hidden_is_not_seen():
    config = small()
    model, images, masks = built(config), images_of(config), masks_of(config)
    before = model(images, masks)
    patches = model.patchify(images["s1"])
    other = {**images, "s1": model.unpatchify(torch.where(masks["s1"].hidden[..., None], 9.0, patches))}
    after = model(other, masks)
    torch.testing.assert_close(before.pixels["s1", "s2"], after.pixels["s1", "s2"])
    torch.testing.assert_close(before.features["s1"], after.features["s1"])
    assert not torch.allclose(before.terms["umr/s1"], after.terms["umr/s1"])


def test_reconstruction_counts_hidden_and_valid_pixels_alone():
    chance = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(2, 4, 6, generator=chance) for _ in range(2))
    scored = torch.rand(2, 4, 6, generator=chance) < 0.5
    scored[1, 2] = False
    patches = [
        (predicted[b, k] - target[b, k])[scored[b, k]].square().mean()
        for b in range(2)
        for k in range(4)
        if scored[b, k].any()
    ]
    errors = patch_errors(predicted, target, scored)
    torch.testing.assert_close(reconstruction_loss(*errors, Across()), torch.stack(patches).mean())
    assert reconstruction_loss(*patch_errors(predicted, target, torch.zeros_like(scored)), Across()) == 0


def test_contrast_equals_a_plain_loop():
    chance = torch.Generator().manual_seed(0)
    one, other = (torch.randn(5, 7, generator=chance) for _ in range(2))
    features = functional.normalize(torch.cat([one, other]), dim=1)
    losses = []
    for k in range(10):
        weights = [torch.exp(features[k] @ features[j] / 0.3) for j in range(10) if j != k]
        losses.append(-torch.log(torch.exp(features[k] @ features[(k + 5) % 10] / 0.3) / sum(weights)))
    torch.testing.assert_close(contrastive_loss(one, other, 0.3), torch.stack(losses).mean())
    assert discrepancy_loss(one, one) == pytest.approx(0, abs=1e-6)
    assert discrepancy_loss(one, -one) == pytest.approx(2, abs=1e-6)


def test_the_contrast_is_the_same_under_autocast():
    one, other = (torch.randn(6, 32, generator=torch.Generator().manual_seed(k)) for k in range(2))
    plain = contrastive_loss(one, other, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrastive_loss(one, other, 0.1) == plain


def test_places_without_a_sensor_take_no_part_in_its_terms():
    config = small()
    model, images, masks = built(config), images_of(config, batch=4), masks_of(config, batch=4)
    valid = {name: torch.ones(4, 40, 40, dtype=torch.bool) for name in images}
    valid["s1"][1] = False
    lacking = model({**images, "s1": images["s1"].masked_fill(~valid["s1"][:, None], 0.0)}, masks, valid)
    keep = torch.tensor([0, 2, 3])
    few = {name: x[keep] for name, x in images.items()}
    kept = {name: type(mask)(mask.visible[keep], mask.hidden[keep]) for name, mask in masks.items()}
    without = model(few, kept)
    for term in ("umr/s1", "cmr/s1>s2", "cmr/s2>s1", "mim/s1,s2"):
        torch.testing.assert_close(lacking.terms[term], without.terms[term])
    assert not torch.allclose(lacking.terms["umr/s2"], without.terms["umr/s2"])


def test_weights_of_the_loss_choose_the_terms():
    config = small(loss=LossConfig(umr=0.0, cmr=2.0, mim=0.0, mde=0.5))
    found = built(config)(images_of(config), masks_of(config))
    assert set(found.terms) == {"cmr/s1>s2", "cmr/s2>s1", "mde/s1,s2"}
    expected = 2 * (found.terms["cmr/s1>s2"] + found.terms["cmr/s2>s1"]) + 0.5 * found.terms["mde/s1,s2"]
    torch.testing.assert_close(found.total, expected)


def test_recomputing_blocks_changes_no_gradient():
    config = small()
    gradients = []
    for checkpointing in (False, True):
        model = built(config).train()
        model.encoder.checkpointing = checkpointing
        model(images_of(config), masks_of(config)).total.backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", ["csmoe-tiny-p28", "csmae-tiny-p15"])
def test_costs_are_those_that_torch_counts(name):
    config = preset(name)
    model = built(config)
    images = torch.randn(1, 10, config.image_px, config.image_px)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.encode({"s2": images})
    assert counter.get_total_flops() / 2 == pytest.approx(encoder_cost(config, "s2").macs, rel=0.01)


@pytest.mark.parametrize("moe", [None, MoEConfig(blocks=(0,), experts=3, slots_per_expert=2, width=0.5)])
def test_costs_of_a_decoder_pass_are_those_that_torch_counts(moe):
    config = small(decoder=DecoderConfig(dim=32, heads=2, depth=2, moe=moe))
    model, images, masks = built(config), images_of(config, batch=1), masks_of(config, batch=1)
    with torch.no_grad():
        seen = model.encoder("s2", images["s2"], masks["s2"].visible)
        with FlopCounterMode(display=False) as counter:
            model.decoders(seen, masks["s2"], "s1")
    assert counter.get_total_flops() / 2 == pytest.approx(decoder_macs(config, "s2", "s1"), rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_models_and_mixtures_cost_less_than_their_twins(name):
    config = preset(name)
    assert config.num_patches in (64, 196, 256, 784)
    cost, twin = (sum(encoder_cost(one, s).macs for s in ("s1", "s2")) for one in (config, dense_twin(config)))
    if name.startswith("csmoe"):  # attention alone is more than half of the two narrow models with the smallest patches
        assert cost <= {"csmoe-tiny-p8": 0.66, "csmoe-small-p8": 0.54}.get(name, 0.5) * twin
    else:
        assert cost == twin
    control = slimmed(config, cost / twin)
    assert control.encoder.moe is None
    assert control.encoder.dim <= config.encoder.dim


def test_unknown_presets():
    with pytest.raises(ConfigError, match=r"preset 'csmoe-huge-p14'.*tiny, small, base, large.*8, 14, 16, 28, 15"):
        preset("csmoe-huge-p14")


BAD_CONFIGS = {
    "patches do not fit": ({"image_px": 41}, "image_px 41 is no multiple of patch_px 8"),
    "all is hidden": ({"mask": MaskConfig(ratio=0.99)}, "leaves no patch visible"),
    "ratio of no sensor": ({"mask": MaskConfig(ratios={"dem": 0.5})}, "mask.ratios names dem"),
    "no sensor": ({"sensors": {}}, "give at least one"),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_bad_configurations(name):
    changes, message = BAD_CONFIGS[name]
    with pytest.raises(ValidationError, match=message):
        small(**changes)


def test_bad_sections():
    with pytest.raises(ValidationError, match=r"must be a multiple of 4 and of encoder\.heads"):
        EncoderConfig(dim=50, heads=3)
    with pytest.raises(ValidationError, match="blocks outside 0 to 11"):
        EncoderConfig(moe=MoEConfig(blocks=(3, 12)))
    with pytest.raises(ValueError, match=r"decoder\.moe\.blocks .* outside 0 to 1"):
        DecoderConfig(depth=2, moe=MoEConfig(blocks=(2,)))
    with pytest.raises(ValidationError, match="nothing would be learned"):
        LossConfig(umr=0, cmr=0, mim=0)
    with pytest.raises(ValidationError, match="std has 1 values for 2 bands"):
        Sensor(bands=("VV", "VH"), unit="dB", mean=(1.0, 2.0), std=(1.0,))


def test_bands_are_found_by_name():
    stored = ["B12", "B02", "B8A", "B03"]
    sensor = Sensor(bands=("B03", "B12"), unit="DN", mean=(1, 1), std=(1, 1))
    assert sensor.positions(stored) == [3, 0]
    with pytest.raises(KeyError):
        sensor.positions(["B03"])


@pytest.mark.parametrize("variant", ["cecd", "cesd", "secd", "sesd"])
def test_parameters_of_the_official_variants(variant):
    """114.1, 139.7, 185.0 and 210.6 million, as counted in the official code."""
    with torch.device("meta"):
        model = CSMoE(official_config(variant))
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert millions == pytest.approx({"cecd": 114.1, "cesd": 139.7, "secd": 185.0, "sesd": 210.6}[variant], abs=0.06)


def test_official_names():
    state = {
        "backbone.pos_embed": torch.zeros(1),
        "backbone.cls_token_s2": torch.zeros(1),
        "backbone.blocks_s1.3.attn.qkv.weight": torch.zeros(1),
        "backbone.blocks.0.mlp.fc1.bias": torch.zeros(1),
        "decoder_s1_to_s2.decoder_pred.weight": torch.zeros(1),
        "decoder_s2_to_s1.decoder_blocks.1.norm1.bias": torch.zeros(1),
        "decoder.decoder_pred_s2_to_s1.bias": torch.zeros(1),
        "decoder.mask_token": torch.zeros(1),
    }
    assert list(convert_official(state)) == [
        "encoder.tokenisers.s2.cls",
        "encoder.specific.s1.3.attn.qkv.weight",
        "encoder.shared.0.mlp.fc1.bias",
        "decoders.by_target.s2.heads.s2.weight",
        "decoders.by_target.s1.blocks.1.norm1.bias",
        "decoders.by_target.common.heads.s1.bias",
        "decoders.by_target.common.mask_token",
    ]
    with pytest.raises(CheckpointError, match=r"'head\.weight' is not one of CSMAE's"):
        convert_official({"head.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="variant 'abcd' is unknown"):
        official_config("abcd")
