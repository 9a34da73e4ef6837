"""Learning rate and weight decay."""

import itertools
import math

import pytest
import torch

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.config import OptimiserConfig
from csmoe_model.train.schedule import build_optimiser, learning_rate

CONFIG = OptimiserConfig(lr=2e-3, min_lr=1e-4, warmup=0.1)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 2e-4), (4, 1e-3), (9, 2e-3), (10, 2e-3), (55, 1.05e-3), (100, 1e-4), (1000, 1e-4)],
)
def test_a_line_up_then_half_a_cosine_down(step, rate):
    assert learning_rate(step, 100, CONFIG) == pytest.approx(rate)


def test_the_rate_falls_ever_after_the_warm_up():
    rates = [learning_rate(step, 100, CONFIG) for step in range(10, 100)]
    assert all(one > other for one, other in itertools.pairwise(rates))


def test_without_warm_up_the_first_step_has_the_highest_rate():
    assert learning_rate(0, 10, CONFIG.model_copy(update={"warmup": 0.0})) == CONFIG.lr
    assert math.isfinite(learning_rate(0, 1, CONFIG))


def test_only_matrices_decay():
    encoder = EncoderConfig(dim=16, heads=2, specific_depth=1, shared_depth=1, moe=MoEConfig(experts=3))
    model = CSMoE(ModelConfig(image_px=28, encoder=encoder, decoder=DecoderConfig(dim=8, heads=2, depth=1)))
    decayed, plain = build_optimiser(model, CONFIG).param_groups
    assert decayed["weight_decay"] == CONFIG.weight_decay
    assert plain["weight_decay"] == 0
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with_decay = {names[id(parameter)] for parameter in decayed["params"]}
    without = {names[id(parameter)] for parameter in plain["params"]}
    assert with_decay | without == set(names.values())
    assert not with_decay & without
    for name in (
        "encoder.tokenisers.s1.cls",
        "encoder.specific.s2.0.mlp.router.phi",
        "encoder.specific.s2.0.mlp.router.scale",
        "encoder.specific.s2.0.mlp.experts.b1",
        "encoder.shared.0.norm1.weight",
        "encoder.tokenisers.s1.patches.proj.bias",
        "decoders.by_target.s1.mask_token",
    ):
        assert name in without
    for name in (
        "encoder.tokenisers.s1.patches.proj.weight",
        "encoder.specific.s2.0.mlp.experts.w1",
        "encoder.shared.0.attn.qkv.weight",
        "decoders.by_target.s1.heads.s1.weight",
    ):
        assert name in with_decay
    assert all(not name.endswith("bias") for name in with_decay)
    assert torch.is_tensor(decayed["params"][0])
