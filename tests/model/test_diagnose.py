"""Collapse and idle experts: closed forms of every figure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from csmoe_model.nn.soft_moe import Experts, Routing, SoftMoE
from csmoe_model.train.diagnose import Tally, Watch, effective_rank, expert_similarity, feature_std, overall


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rank", [1, 2, 5, 12])
def test_effective_rank_is_the_rank_where_all_directions_weigh_alike(rank):
    basis = torch.linalg.qr(gaussian(30, 30))[0][:, : rank + 1]
    centred = torch.linalg.qr(basis - basis.mean(0))[0][:, :rank]  # orthonormal columns of mean 0
    centred = torch.linalg.qr(centred - centred.mean(0))[0]
    features = centred @ torch.linalg.qr(gaussian(12, 12, seed=1))[0][:rank] * 7.0 + gaussian(12, seed=2)
    assert effective_rank(features) == pytest.approx(rank, abs=1e-3)


def test_effective_rank_of_unequal_directions_follows_its_definition():
    """Singular values 3, 1: exp(-(3/4 ln 3/4 + 1/4 ln 1/4))."""
    features = torch.tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]]) + 5.0
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert effective_rank(features) == pytest.approx(expected, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(places=st.integers(2, 20), dim=st.integers(1, 9), seed=st.integers(0, 999))
def test_effective_rank_lies_between_one_and_what_the_shape_allows(places, dim, seed):
    features = gaussian(places, dim, seed=seed)
    found = effective_rank(features)
    assert 1.0 - 1e-9 <= found <= min(places - 1, dim) + 1e-6
    assert effective_rank(features * 100.0 + 3.0) == pytest.approx(found, rel=1e-3)  # scale and place do not matter


def test_collapsed_features_have_no_rank_whatever_the_rounding():
    one = gaussian(1, 40)
    assert effective_rank(one.expand(25, -1)) == 0.0
    noise = 1.0 + 5e-8 * gaussian(25, 40, seed=1)  # below what float32 can tell
    assert effective_rank(one * noise) == 0.0
    assert feature_std(one.expand(25, -1)) == 0.0
    assert math.isnan(effective_rank(torch.tensor([[1.0, math.nan], [0.0, 1.0]])))


def test_feature_std_is_one_on_a_full_sphere_and_blind_to_length():
    features = gaussian(4000, 24)
    assert feature_std(features) == pytest.approx(1.0, abs=0.02)
    assert feature_std(features * torch.rand(4000, 1, generator=torch.Generator().manual_seed(0))) == pytest.approx(
        feature_std(features), abs=1e-6
    )
    opposite = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]])
    assert feature_std(opposite) == pytest.approx(0.25 * math.sqrt(4))  # std 1 in one of four channels, x sqrt(4)


def figures_of(combine, dispatch=None, experts=2):
    tally = Tally(experts)
    tally.add(Routing(combine if dispatch is None else dispatch, combine))
    return tally.figures()


def test_uniform_routing():
    found = figures_of(torch.full((3, 5, 6), 1 / 6), torch.full((3, 5, 6), 1 / 5), experts=3)
    assert found["dispatch_entropy"] == pytest.approx(1.0)
    assert found["combine_entropy"] == pytest.approx(1.0)
    assert found["dead_slots"] == 0.0
    assert [found[f"expert_share/{k}"] for k in range(3)] == pytest.approx([1 / 3] * 3)
    assert found["expert_share_min"] == pytest.approx(1.0)
    assert found["expert_share_max"] == pytest.approx(1.0)


def test_one_hot_routing():
    """All tokens take slot 4 of 6: expert 1 of 2 has all, five slots are dead."""
    combine = torch.zeros(2, 5, 6)
    combine[:, :, 4] = 1.0
    dispatch = torch.zeros(2, 5, 6)
    dispatch[:, 2, :] = 1.0
    found = figures_of(combine, dispatch)
    assert found["dispatch_entropy"] == 0.0
    assert found["combine_entropy"] == 0.0
    assert found["dead_slots"] == pytest.approx(5 / 6)
    assert (found["expert_share/0"], found["expert_share/1"]) == (0.0, 1.0)
    assert (found["expert_share_min"], found["expert_share_max"]) == (0.0, 2.0)


def test_entropies_are_taken_over_their_own_axis():
    """Half of 8 tokens weigh alike in each slot: log 4 / log 8; two of 4 slots in each token: log 2 / log 4."""
    dispatch = torch.zeros(1, 8, 4)
    dispatch[:, ::2] = 1 / 4
    combine = torch.zeros(1, 8, 4)
    combine[:, :, :2] = 1 / 2
    found = figures_of(combine, dispatch)
    assert found["dispatch_entropy"] == pytest.approx(2 / 3)
    assert found["combine_entropy"] == pytest.approx(1 / 2)
    alone = figures_of(torch.ones(2, 3, 1), torch.full((2, 3, 1), 1 / 3), experts=1)
    assert alone["combine_entropy"] == 1.0  # one slot: no choice, no collapse


def test_dead_is_relative_to_an_even_part():
    """Of 100 slots an even part is 0.01: one of 0.0002 is alive, one of 0.00005 is dead."""
    combine = torch.full((1, 3, 100), (1 - 0.00025) / 98)
    combine[..., 7], combine[..., 8] = 0.0002, 0.00005
    assert figures_of(combine)["dead_slots"] == pytest.approx(0.01)


def test_a_slot_is_dead_over_all_images_not_within_one():
    one, other = torch.zeros(1, 3, 2), torch.zeros(1, 3, 2)
    one[..., 0], other[..., 1] = 1.0, 1.0
    tally = Tally(2)
    tally.add(Routing(one, one))
    assert tally.figures()["dead_slots"] == 0.5
    tally.add(Routing(other, other))
    assert tally.figures()["dead_slots"] == 0.0


def test_figures_do_not_depend_on_chunks():
    combine, dispatch = gaussian(7, 5, 6).softmax(2), gaussian(7, 5, 6, seed=1).softmax(1)
    whole, parts = Tally(2), Tally(2)
    whole.add(Routing(dispatch, combine))
    for chunk in (slice(0, 4), slice(4, 6), slice(6, 7)):
        parts.add(Routing(dispatch[chunk], combine[chunk]))
    assert parts.figures() == pytest.approx(whole.figures())


def experts_of(num=3, dim=64, hidden=96, seed=0):
    torch.manual_seed(seed)
    return Experts(dim, num, hidden)


def test_copies_are_alike_in_any_order_of_hidden_units_and_random_experts_are_not():
    inputs = gaussian(16, 64)
    experts = experts_of()
    assert abs(expert_similarity(experts, inputs)) < 0.2
    with torch.no_grad():
        order = torch.randperm(96, generator=torch.Generator().manual_seed(0))
        for weights, axis in ((experts.w1, 1), (experts.w2, 0)):
            weights[1] = weights[0]
            weights[2] = weights[0].index_select(axis, order)
    assert expert_similarity(experts, inputs) == pytest.approx(1.0, abs=1e-5)
    assert expert_similarity(experts_of(num=1), inputs) == 1.0


def test_similarity_is_the_mean_cosine_of_pairs():
    experts, inputs = experts_of(num=4), gaussian(5, 64)
    outputs = [experts(inputs.expand(4, 5, 64))[k] for k in range(4)]
    pairs = [functional.cosine_similarity(outputs[a], outputs[b], dim=1) for a in range(4) for b in range(a)]
    assert expert_similarity(experts, inputs) == pytest.approx(float(torch.stack(pairs).mean().detach()), abs=1e-6)


class TwoLayers(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = SoftMoE(8, 2, 3, 16), SoftMoE(8, 4, 1, 16)

    def forward(self, x, skip=False):
        x = self.first(x)
        return x if skip else self.second(x)


def test_watch_tallies_the_layers_that_ran_and_leaves_nothing_behind():
    model, x = TwoLayers(), gaussian(3, 5, 8)
    with torch.no_grad():
        model.second.router.scale.fill_(2.5)
        before = model(x)
        with Watch(model) as watch:
            assert torch.equal(model(x), before)
            model(x[:1])
        table = watch.table()
        assert torch.equal(model(x), before)
        assert watch.table() == table
    assert set(table) == {"first", "second"}
    tally = Tally(2)
    routing = model.first.router(torch.cat([x, x[:1]]))
    tally.add(Routing(routing.dispatch.detach(), routing.combine.detach()))
    assert {key: table["first"][key] for key in tally.figures()} == pytest.approx(tally.figures())
    assert table["second"]["router_scale"] == 2.5
    assert {f"expert_share/{k}" for k in range(4)} < set(table["second"])
    assert -1.0 <= table["first"]["expert_similarity"] <= 1.0
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    with torch.no_grad(), Watch(model) as watch:
        model(x, skip=True)
    assert set(watch.table()) == {"first"}
    with Watch(nn.Linear(2, 2)) as watch:
        pass
    assert watch.table() == {}


def test_watching_needs_no_gradient_and_takes_none():
    model, x = TwoLayers(), gaussian(3, 5, 8)
    model(x).sum().backward()
    plain = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    with Watch(model) as watch:
        model(x).sum().backward()
    watch.table()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, plain[name]), name


def test_overall_takes_means_and_the_extremes_of_shares():
    rows = [
        {"dead_slots": 0.0, "expert_share_min": 0.5, "expert_share_max": 1.2, "expert_share/0": 0.4},
        {"dead_slots": 0.5, "expert_share_min": 0.7, "expert_share_max": 1.9, "expert_share/0": 0.2},
    ]
    assert overall(rows) == {"dead_slots": 0.25, "expert_share_min": 0.5, "expert_share_max": 1.9}
    assert overall([]) == {}
