"""Soft mixture-of-experts against a plain loop and its closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from csmoe_model.nn.soft_moe import SoftMoE


def layer(dim=12, experts=3, slots=2, hidden=20, seed=0):
    torch.manual_seed(seed)
    moe = SoftMoE(dim, experts, slots, hidden)
    with torch.no_grad():
        moe.router.scale.fill_(3.0)
        for parameter in (moe.experts.b1, moe.experts.b2):
            parameter.normal_()
    return moe


def plain(moe, x):
    """One image, expert, slot and token at a time, in float64."""
    phi, scale = moe.router.phi.double(), moe.router.scale.double()
    _, num_experts, num_slots = phi.shape
    result = torch.zeros_like(x, dtype=torch.float64)
    for image in range(x.shape[0]):
        tokens = x[image].double()
        logits = {}
        for m, token in enumerate(tokens):
            for e in range(num_experts):
                for p in range(num_slots):
                    slot = phi[:, e, p]
                    logits[m, e, p] = scale * (token / token.norm()) @ (slot / slot.norm())
        outputs = {}
        for e in range(num_experts):
            for p in range(num_slots):
                weight = torch.stack([logits[m, e, p] for m in range(len(tokens))]).softmax(0)
                mixed = sum(weight[m] * tokens[m] for m in range(len(tokens)))
                hidden = functional.gelu(mixed @ moe.experts.w1[e].double() + moe.experts.b1[e, 0].double())
                outputs[e, p] = hidden @ moe.experts.w2[e].double() + moe.experts.b2[e, 0].double()
        for m in range(len(tokens)):
            keys = list(outputs)
            weight = torch.stack([logits[m, e, p] for e, p in keys]).softmax(0)
            result[image, m] = sum(w * outputs[key] for w, key in zip(weight, keys, strict=True))
    return result


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3), st.integers(1, 9), st.integers(0, 99)
)
def test_it_equals_a_plain_loop(batch, tokens, experts, slots, hidden, seed):
    moe = layer(dim=8, experts=experts, slots=slots, hidden=hidden, seed=seed)
    x = torch.randn(batch, tokens, 8)
    with torch.no_grad():
        torch.testing.assert_close(moe(x).double(), plain(moe, x), atol=1e-5, rtol=1e-5)


def test_zero_logits_give_the_mean_of_the_experts_at_the_mean_token():
    moe = layer()
    with torch.no_grad():
        moe.router.scale.zero_()
        x = torch.randn(2, 5, 12)
        mean = x.mean(1)
        experts = moe.experts(mean.expand(3, 2, 12))
        torch.testing.assert_close(moe(x), experts.mean(0)[:, None].expand_as(x), atol=1e-5, rtol=1e-5)


def test_identity_experts_give_combine_times_dispatch():
    class Identity(torch.nn.Module):
        def forward(self, slots):
            return slots

    moe = layer()
    moe.experts = Identity()
    x = torch.randn(2, 5, 12)
    routing = moe.router(x)
    torch.testing.assert_close(moe(x), routing.combine @ (routing.dispatch.transpose(1, 2) @ x))


def test_weights_sum_to_one_and_stay_float32_under_autocast():
    moe = layer()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        routing = moe.router(torch.randn(2, 5, 12, dtype=torch.bfloat16))
        assert moe(torch.randn(2, 5, 12, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert routing.dispatch.dtype == routing.combine.dtype == torch.float32
    torch.testing.assert_close(routing.dispatch.sum(1), torch.ones(2, 6))
    torch.testing.assert_close(routing.combine.sum(2), torch.ones(2, 5))


def test_tokens_may_come_in_any_order_and_images_do_not_meet():
    moe = layer()
    x = torch.randn(3, 7, 12)
    order = torch.tensor([4, 0, 6, 2, 1, 5, 3])
    torch.testing.assert_close(moe(x)[:, order], moe(x[:, order]))
    torch.testing.assert_close(moe(x)[1:2], moe(x[1:2]))


def test_the_length_of_tokens_does_not_move_them_between_slots():
    """Unit-length tokens serve the logits only: what the experts get grows with the tokens."""
    moe = layer()
    x = torch.randn(1, 5, 12)
    torch.testing.assert_close(moe.router(x).dispatch, moe.router(7 * x).dispatch)
    assert not torch.allclose(moe(x), moe(7 * x))


def test_fewer_slots_are_the_first_of_every_expert():
    moe, x = layer(slots=4), torch.randn(2, 5, 12)
    moe.slots = 1
    small = layer(slots=1)
    with torch.no_grad():
        small.router.phi.copy_(moe.router.phi[:, :, :1])
    small.experts = moe.experts
    torch.testing.assert_close(moe(x), small(x))
    assert not torch.allclose(moe(x), layer(slots=4)(x))


def test_every_parameter_learns():
    moe = layer()
    moe(torch.randn(2, 5, 12)).square().sum().backward()
    for name, parameter in moe.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_the_router_starts_mild():
    """Cosines of random directions have a deviation of 1 / sqrt(dim); slots see all tokens at first."""
    torch.manual_seed(0)
    moe = SoftMoE(64, 4, 4, 8)
    dispatch = moe.router(torch.randn(4, 49, 64)).dispatch
    assert dispatch.max() < 3 / 49
    assert float(moe.router.phi.detach().std()) == pytest.approx(1 / math.sqrt(64), rel=0.1)


def test_the_scale_begins_where_it_is_told_and_sharpens_the_routing():
    x = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(0))
    sharpest = []
    for scale in (1.0, 16.0):
        torch.manual_seed(0)
        moe = SoftMoE(12, 3, 2, 20, scale)
        assert moe.router.scale.tolist() == [scale]
        sharpest.append(moe.router(x).dispatch.max())
    assert sharpest[0] < 0.3 < sharpest[1]
