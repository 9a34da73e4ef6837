"""Experts that a task does not need, and slots left out."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from csmoe_model.config import EncoderConfig, MoEConfig
from csmoe_model.cost import dense_twin
from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.classification import ClassifyConfig
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.extract import load
from csmoe_model.evaluation.extractors.own import OwnExtractor, untrained
from csmoe_model.evaluation.finetune import PooledHead
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.pruning import by_chance, dispatch_mass, mixtures, pruned, task_gradient
from csmoe_model.evaluation.pruning_curve import importance_of, pruning_curve
from csmoe_model.nn.soft_moe import SoftMoE
from model.evaluation_readers import Lacking
from model.evaluation_toys import labelled_set
from model.small_models import batch_of, model_config

CPU = torch.device("cpu")
EXPERTS, SLOTS = 3, 2
LAYERS = ("specific.s1.0.mlp", "specific.s2.0.mlp", "shared.0.mlp")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def extractor_of(seed=0):
    """Three experts of two slots in each of three layers; a large scale, so that they differ."""
    moe = MoEConfig(experts=EXPERTS, slots_per_expert=SLOTS, width=0.5, scale=8.0)
    encoder = EncoderConfig(dim=32, heads=2, specific_depth=1, shared_depth=1, moe=moe)
    return untrained(model_config(encoder=encoder), seed=seed)


def outputs(model, sensor="s2"):
    images, _ = batch_of(model.config, places=3)
    with torch.no_grad():
        return model.encoder(sensor, images[sensor])


def loaded_of(extractor, data, batch=3):
    preparation = Preparation(data, extractor.inputs, extractor.image_px, "model")
    return list(load(data, data.of_split("train"), preparation, batch=batch))


def head_of(extractor, num_classes):
    with torch.random.fork_rng():
        torch.manual_seed(5)
        head = PooledHead({name: extractor.width(name) for name in extractor.inputs}, num_classes)
        nn.init.normal_(head.classify.weight)
    return head


def silence(layer, expert):
    """Makes an expert give zero, whatever it gets."""
    with torch.no_grad():
        layer.experts.w2[expert] = 0
        layer.experts.b2[expert] = 0


def gradients(extractor, data, head=None, batch=3):
    head = head or head_of(extractor, len(data.classes))
    return task_gradient(extractor, head, data, iter(loaded_of(extractor, data, batch)), CPU)


def scaled_expert(model, layer, expert, factor):
    other = copy.deepcopy(model)
    with torch.no_grad():
        mixtures(other)[layer].experts.w2[expert] *= factor
        mixtures(other)[layer].experts.b2[expert] *= factor
    return other


def loss_of(model, head, batch, data, row):
    """Of one sample."""
    pooled, has = {}, {}
    for name, images in batch.images.items():
        pooled[name] = model.encoder(name, images[row : row + 1]).pooled
        has[name] = batch.valid[name][row : row + 1].flatten(1).any(1)
    scores, label = head(pooled, has), torch.from_numpy(data.labels[batch.samples[row : row + 1]])
    if label.dim() == 1:
        return functional.cross_entropy(scores, label, reduction="sum")
    return functional.binary_cross_entropy_with_logits(scores, label.float(), reduction="sum")


@pytest.mark.parametrize(("several", "lacking"), [(False, False), (True, False), (False, True)])
def test_the_gradient_is_that_of_every_gate_by_finite_differences(several, lacking):
    data = labelled_set((6, 1, 1), several=several)
    if lacking:
        object.__setattr__(data, "reader", Lacking())
    extractor = extractor_of()
    extractor.module.double()
    head = head_of(extractor, len(data.classes)).double().eval()
    (batch,) = loaded_of(extractor, data, batch=6)
    for name in batch.images:
        batch.images[name] = batch.images[name].double()
    found = task_gradient(extractor, head, data, iter([batch]), CPU)
    assert list(found) == list(LAYERS)
    step = 1e-2  # the router is in float32 whatever the model is
    for layer in LAYERS:
        for expert in range(EXPERTS):
            up, down = (scaled_expert(extractor.module, layer, expert, 1 + sign * step) for sign in (1, -1))
            with torch.no_grad():
                slopes = [
                    (loss_of(up, head, batch, data, row) - loss_of(down, head, batch, data, row)) / (2 * step)
                    for row in range(6)
                ]
            expected = float(torch.stack(slopes).abs().mean())
            assert float(found[layer][expert]) == pytest.approx(expected, rel=2e-3, abs=1e-5)


def test_the_batch_is_nothing_to_the_gradient_and_no_hook_stays():
    data, extractor = labelled_set((7, 1, 1)), extractor_of()
    one, other = gradients(extractor, data, batch=7), gradients(extractor, data, batch=2)
    for layer in LAYERS:
        torch.testing.assert_close(one[layer], other[layer], rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in extractor.module.modules())
    assert all(parameter.grad is None for parameter in extractor.module.parameters())


def test_a_sensor_that_the_data_lack_has_no_importance():
    data = labelled_set((5, 1, 1))
    object.__setattr__(data, "sensors", {"s2": data.sensors["s2"]})
    extractor = extractor_of()
    head = PooledHead({"s2": 32}, 4)
    found = gradients(extractor, data, head)
    assert not found["specific.s1.0.mlp"].any()
    assert found["specific.s2.0.mlp"].all()
    assert found["shared.0.mlp"].all()


def test_a_silent_expert_has_no_gradient_and_goes_first():
    data, extractor = labelled_set((6, 1, 1)), extractor_of()
    for expert, layer in enumerate(mixtures(extractor.module).values()):
        silence(layer, expert)
    found = gradients(extractor, data)
    small = pruned(extractor.module, found, EXPERTS - 1)
    for expert, name in enumerate(LAYERS):
        assert found[name].argmin() == expert
        assert float(found[name][expert]) == 0
        left = [k for k in range(EXPERTS) if k != expert]
        whole, rest = mixtures(extractor.module)[name], mixtures(small)[name]
        assert torch.equal(rest.experts.w1, whole.experts.w1[left])
        assert torch.equal(rest.router.phi, whole.router.phi[:, left])
        # What the silent expert's slots took of each token is shared out: outputs grow by what was left to the others.
        x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            others = 1 - whole.router(x).combine.unflatten(2, (EXPERTS, SLOTS))[:, :, expert].sum(2, keepdim=True)
            torch.testing.assert_close(rest(x) * others, whole(x), rtol=1e-4, atol=1e-6)


def test_an_expert_that_no_token_turns_to_is_not_missed():
    extractor = extractor_of()
    model, x = extractor.module, torch.randn(2, 16, 32, generator=torch.Generator().manual_seed(2))
    (layer,) = (layer for name, layer in mixtures(model).items() if name == "shared.0.mlp")
    with torch.no_grad():
        direction = functional.normalize(torch.randn(32, generator=torch.Generator().manual_seed(3)), dim=0)
        layer.router.scale.fill_(400.0)
        layer.router.phi[:] = direction[:, None, None] + 0.01 * layer.router.phi
        layer.router.phi[:, 1] = -direction[:, None]
        x = 0.1 * x + direction
    importance = {name: torch.ones(EXPERTS) for name in LAYERS}
    importance["shared.0.mlp"] = torch.tensor([1.0, 0.0, 1.0])
    importance |= {name: torch.tensor([1.0, 1.0, 0.0]) for name in LAYERS[:2]}
    with torch.no_grad():
        small = mixtures(pruned(model, importance, 2))["shared.0.mlp"]
        assert float(layer.router(x).combine[:, :, SLOTS : 2 * SLOTS].max()) < 1e-6
        torch.testing.assert_close(small(x), layer(x), rtol=1e-4, atol=1e-5)


def test_all_experts_are_the_same_model_to_the_bit():
    model = extractor_of().module
    before, chance = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    same = pruned(model, by_chance(model, 4), EXPERTS)
    assert same.config == model.config
    assert torch.equal(torch.get_rng_state(), chance)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, same.state_dict()[name])
    for sensor in ("s1", "s2"):
        assert torch.equal(outputs(same, sensor).pooled, outputs(model, sensor).pooled)


@pytest.mark.parametrize(
    ("scores", "kept"), [((0.1, 0.3, 0.2), (1, 2)), ((0.3, 0.1, 0.2), (0, 2)), ((1, 1, 1), (0, 1))]
)
def test_the_most_important_stay_in_their_order(scores, kept):
    model = extractor_of().module
    small = pruned(model, {name: torch.tensor(scores) for name in LAYERS}, 2)
    for name in LAYERS:
        assert torch.equal(mixtures(small)[name].experts.b1, mixtures(model)[name].experts.b1[list(kept)])
        assert torch.equal(mixtures(small)[name].experts.w2, mixtures(model)[name].experts.w2[list(kept)])
    assert small.config.encoder.moe.experts == 2
    assert not small.training


def test_every_expert_less_costs_less():
    extractor = extractor_of()
    costs = [extractor.macs("s2")]
    for experts in (2, 1):
        small = OwnExtractor("x", "csmoe", pruned(extractor.module, by_chance(extractor.module, 0), experts))
        costs.append(small.macs("s2"))
        assert outputs(small.module).pooled.isfinite().all()
    assert costs[0] > costs[1] > costs[2]


@pytest.mark.parametrize("experts", [0, EXPERTS + 1])
def test_as_many_experts_as_there_are(experts):
    model = extractor_of().module
    with pytest.raises(ConfigError, match=f"{experts} experts to keep of 3 in every layer: keep 1 or more"):
        pruned(model, by_chance(model, 0), experts)


def test_a_dense_model_has_none():
    dense = untrained(dense_twin(extractor_of().module.config))
    with pytest.raises(ConfigError, match="the model is dense"):
        mixtures(dense.module)
    with pytest.raises(ConfigError, match="dense"):
        dense.use_slots(1)


def test_dispatch_mass_is_the_mean_share_of_each_expert():
    data, extractor = labelled_set((6, 1, 1)), extractor_of()
    object.__setattr__(data, "reader", Lacking())
    found = dispatch_mass(extractor, iter(loaded_of(extractor, data, 2)), CPU)
    shares = {name: [] for name in LAYERS}
    for batch in loaded_of(extractor, data, 1):
        for sensor in ("s1", "s2"):
            if not batch.valid[sensor].any():
                continue
            for name in (f"specific.{sensor}.0.mlp", "shared.0.mlp"):
                mixture = mixtures(extractor.module)[name]
                handle = mixture.register_forward_hook(
                    lambda layer, args, _, name=name: shares[name].append(layer.router(args[0]).combine)
                )
                with torch.no_grad():
                    extractor.module.encoder(sensor, batch.images[sensor])
                handle.remove()
    for name in LAYERS:
        combine = torch.cat(shares[name]).detach()
        assert len(combine) == {"specific.s1.0.mlp": 4, "specific.s2.0.mlp": 4, "shared.0.mlp": 8}[name]
        expected = combine.mean((0, 1)).unflatten(0, (EXPERTS, SLOTS)).sum(1)
        torch.testing.assert_close(found[name], expected, rtol=1e-5, atol=1e-6)
        assert float(found[name].sum()) == pytest.approx(1)
    assert not any(layer.router._forward_hooks for layer in mixtures(extractor.module).values())


def test_chance_hangs_on_its_seed_alone():
    model = extractor_of().module
    before = torch.get_rng_state()
    one, same, other = (by_chance(model, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in LAYERS)
    assert not torch.equal(one["shared.0.mlp"], other["shared.0.mlp"])
    assert not torch.equal(one["shared.0.mlp"], one["specific.s1.0.mlp"])


def test_fewer_slots_are_a_model_whose_slots_are_cut():
    extractor, cut = extractor_of(), copy.deepcopy(extractor_of())
    full = outputs(extractor.module).tokens
    extractor.use_slots(1)
    for layer in mixtures(cut.module).values():
        layer.router.phi = nn.Parameter(layer.router.phi[:, :, :1])
    assert torch.equal(outputs(extractor.module).tokens, outputs(cut.module).tokens)
    assert not torch.allclose(outputs(extractor.module).tokens, full)
    assert extractor.macs("s1") < extractor_of().macs("s1")
    extractor.use_slots(SLOTS)
    assert torch.equal(outputs(extractor.module).tokens, full)
    assert extractor.macs("s1") == extractor_of().macs("s1")


@pytest.mark.parametrize("slots", [0, SLOTS + 1, -1])
def test_as_many_slots_as_there_are(slots):
    extractor = extractor_of()
    with pytest.raises(ConfigError, match=rf"random weights: {slots} slots an expert: it has 2; give 1 to as many"):
        extractor.use_slots(slots)
    assert all(layer.slots is None for layer in extractor.module.modules() if isinstance(layer, SoftMoE))


def test_the_curve_goes_down_to_one_expert_by_every_criterion():
    data = labelled_set((24, 9, 8))
    compared, extractor = Comparison(data=data, resamples=0, batch=16), extractor_of()
    ranked = {name: importance_of(compared, extractor, name, 3) for name in ("gradient", "dispatch", "chance")}
    config = ClassifyConfig(methods=("knn",), neighbours=(3,), distances=("cosine",), resamples=0)
    found = list(pruning_curve(compared, extractor.module, ranked, config))
    assert [one.model.name for one in found] == [
        f"{k} by {name}" for name in ("gradient", "dispatch", "chance") for k in (2, 1)
    ]
    assert [one.model.curve for one in found] == [f"by {name}" for name in ranked for _ in (2, 1)]
    assert found[0].model.macs["s1"] > found[1].model.macs["s1"]
    assert all("knn3-cosine/joint/accuracy/micro" in one.figures for one in found)
    assert np.isfinite([float(value.sum()) for own in ranked.values() for value in own.values()]).all()
