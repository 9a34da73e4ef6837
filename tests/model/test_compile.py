"""What may not change the numbers: compilation, recomputed blocks; and what stays float32 under autocast."""

import shutil

import pytest
import torch
from torch.nn import functional

from csmoe_model.config import DecoderConfig, EncoderConfig, LossConfig, ModelConfig, MoEConfig
from csmoe_model.nn.masking import draw_masks
from csmoe_model.nn.model import CSMoE
from csmoe_model.nn.soft_moe import SoftMoE

CONFIG = ModelConfig(
    image_px=24,
    patch_px=8,
    encoder=EncoderConfig(
        dim=16, heads=2, specific_depth=1, shared_depth=1, moe=MoEConfig(experts=2, slots_per_expert=3, width=0.5)
    ),
    decoder=DecoderConfig(dim=16, heads=2, depth=1),
    loss=LossConfig(mde=0.5),
)
BATCH = 3
BRIEF = CONFIG.model_copy(
    update={
        "encoder": CONFIG.encoder.model_copy(update={"specific_depth": 0}),
        "loss": LossConfig(umr=0.0, mde=0.5),
    }
)
"""One block and two decoder passes, since the compiler takes seconds for every one of them."""

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler, g++")


def built(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    return CSMoE(config)


@pytest.fixture(scope="module")
def places():
    """Images, masks and valid pixels; the second place lacks S1, and S2 has a hole."""
    chance = torch.Generator().manual_seed(1)
    edge = CONFIG.image_px
    images = {name: torch.randn(BATCH, s.num_bands, edge, edge, generator=chance) for name, s in CONFIG.sensors.items()}
    noise = {name: torch.rand(BATCH, CONFIG.num_patches, generator=chance) for name in images}
    valid = {name: torch.ones(BATCH, edge, edge, dtype=torch.bool) for name in images}
    valid["s1"][1] = False
    valid["s2"][0, :5, 3:17] = False
    images = {name: x.masked_fill(~valid[name][:, None], 0.0) for name, x in images.items()}
    return images, draw_masks(noise, CONFIG.ratios, "independent"), valid


def gradients(model, places):
    """The objective and the gradient of every parameter."""
    model.zero_grad(set_to_none=True)
    objective = model(*places)
    objective.total.backward()
    return objective, {name: parameter.grad for name, parameter in model.named_parameters()}


@needs_compiler
@pytest.mark.filterwarnings("default")  # what torch says about its own compiler is not ours to mend
def test_the_compiled_encoder_gives_the_same(places):
    images, _, _ = places
    eager, compiled = built(BRIEF).eval(), built(BRIEF).eval()
    compiled.encoder.compile(dynamic=False, fullgraph=True)
    with torch.no_grad():
        want, got = eager.encode({"s2": images["s2"]})["s2"], compiled.encode({"s2": images["s2"]})["s2"]
    torch.testing.assert_close(got.tokens, want.tokens, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.pooled, want.pooled, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got.cls, want.cls, atol=1e-5, rtol=1e-5)


@needs_compiler
@pytest.mark.filterwarnings("default")
def test_the_compiled_objective_and_its_gradients_are_the_same(places):
    eager, compiled = built(BRIEF).train(), built(BRIEF).train()
    compiled.compile(dynamic=False)
    assert list(compiled.state_dict()) == list(eager.state_dict())
    (want, expected), (got, found) = gradients(eager, places), gradients(compiled, places)
    torch.testing.assert_close(got.total, want.total, atol=1e-5, rtol=1e-5)
    assert got.terms.keys() == want.terms.keys()
    for term, value in want.terms.items():
        torch.testing.assert_close(got.terms[term], value, atol=1e-5, rtol=1e-5)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, n=name: f"{n}: {text}")


def test_recomputed_blocks_give_the_same(places):
    plain, recomputed = built().train(), built().train()
    recomputed.encoder.checkpointing = True
    calls = []
    for name, model in (("plain", plain), ("recomputed", recomputed)):
        block = model.encoder.specific["s1"][0]
        block.register_forward_pre_hook(lambda *_, name=name: calls.append(name))
    (want, expected), (got, found) = gradients(plain, places), gradients(recomputed, places)
    assert calls == ["plain", "recomputed", "recomputed"]
    assert torch.equal(got.total, want.total)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, n=name: f"{n}: {text}")


def test_routing_and_losses_stay_float32_under_autocast(places, monkeypatch):
    """Matrix products run in bfloat16; cosines, softmax, terms and gradients do not."""
    model = built().train()
    kept, inputs, products = [], [], []
    for module in model.modules():
        if isinstance(module, SoftMoE):
            module.router.register_forward_hook(lambda *values: kept.append(values[2]))
            module.experts.register_forward_pre_hook(lambda _, values: inputs.append(values[0].dtype))
    model.decoders.by_target["s2"].heads["s2"].register_forward_hook(lambda *values: products.append(values[2].dtype))
    softmaxed = []
    original = torch.Tensor.softmax
    monkeypatch.setattr(torch.Tensor, "softmax", lambda x, dim: softmaxed.append(x.dtype) or original(x, dim=dim))
    normalised = []
    normalize = functional.normalize
    monkeypatch.setattr(functional, "normalize", lambda x, **given: normalised.append(x.dtype) or normalize(x, **given))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective = model(*places)
    objective.total.backward()
    assert len(kept) == 4  # two blocks of each of two sensors
    assert (
        {routing.dispatch.dtype for routing in kept} == {routing.combine.dtype for routing in kept} == {torch.float32}
    )
    assert len(softmaxed) >= 8
    assert set(softmaxed) == set(normalised) == {torch.float32}
    assert set(inputs) == set(products) == {torch.bfloat16}
    assert {term.dtype for term in (*objective.terms.values(), objective.total)} == {torch.float32}
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.float32, name
        assert parameter.grad.isfinite().all(), name


def test_half_precision_stays_near(places):
    model = built().train()
    want, expected = gradients(model, places)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        objective = model(*places)
    for term, value in want.terms.items():
        torch.testing.assert_close(objective.terms[term], value, atol=0.02, rtol=0.02)
    model.zero_grad(set_to_none=True)
    objective.total.backward()
    whole = torch.cat([gradient.flatten() for gradient in expected.values()])
    rough = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    assert functional.cosine_similarity(rough, whole, dim=0) > 0.995
