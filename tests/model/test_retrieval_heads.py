"""Heads for search: what they learn from, what they cost, where they are used."""

import pytest
import torch
from pydantic import ValidationError

from csmoe_model.config import HeadsConfig, LossConfig, MaskConfig
from csmoe_model.cost import training_macs
from csmoe_model.nn.losses import contrastive_loss
from csmoe_model.nn.model import CSMoE
from csmoe_model.profiling.count import count
from model.small_models import SENSORS, batch_of, built, model_config, take_step, train_config

HEADS = HeadsConfig(dim=12, hidden=20)


def test_without_heads_pooled_features_serve_every_search():
    model, _ = built(train_config())
    pooled = torch.randn(3, 32)
    assert model.project(pooled, "same") is pooled
    assert not any(name.startswith("retrieval") for name in model.state_dict())


def test_terms_run_on_the_heads_and_the_second_view_is_what_the_first_hides():
    config = model_config(retrieval=HEADS, loss=LossConfig(mde=0.5), mask=MaskConfig(ratios={"s1": 0.7}))
    model, _ = built(train_config(config))
    images, masks = batch_of(config, places=5)
    found = model(images, masks)
    for name in SENSORS:
        rest = masks[name].rest
        assert rest.shape[1] + masks[name].visible.shape[1] == config.num_patches
        assert torch.equal(torch.cat([rest, masks[name].visible], 1).sort(1).values, torch.arange(16).expand(5, -1))
        views = (model.encoder(name, images[name], seen).pooled for seen in (masks[name].visible, rest))
        same = contrastive_loss(*(model.retrieval(view, "same") for view in views), 0.5)
        torch.testing.assert_close(found.terms[f"same/{name}"], same)
    cross = contrastive_loss(*(model.retrieval(found.features[name], "cross") for name in ("s1", "s2")), 0.5)
    torch.testing.assert_close(found.terms["mim/s1,s2"], cross)
    weighted = sum((0.5 if name.startswith("mde") else 1.0) * term for name, term in found.terms.items())
    torch.testing.assert_close(found.total, weighted)
    found.total.backward()
    assert all(parameter.grad is not None for parameter in model.retrieval.parameters())


def test_heads_learn_to_tell_places():
    config = model_config(retrieval=HEADS)
    model, optimiser = built(train_config(config))
    images, masks = batch_of(config)
    before = model(images, masks).terms
    for _ in range(60):
        take_step(model, optimiser)
    after = model(images, masks).terms
    for name in ("same/s1", "same/s2", "mim/s1,s2"):
        assert after[name] < before[name] - 0.2, name


def test_cost_with_heads_agrees_with_the_counter():
    config = model_config(retrieval=HEADS)
    counted = count(config)
    assert counted.train.macs == training_macs(config)
    assert abs(counted.train.flops / 2 / counted.train.macs - 1) < 0.01
    assert training_macs(config) > training_macs(model_config())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sensors": {"s2": SENSORS["s2"]}}, "need two sensors"),
        ({"loss": LossConfig(mim=0)}, "learns from loss.mim or loss.mde"),
        ({"mask": MaskConfig(ratios={"s1": 0.0})}, "nothing of s1 is hidden"),
    ],
)
def test_heads_that_could_not_learn_are_refused(changes, problem):
    with pytest.raises(ValidationError, match=problem):
        model_config(retrieval=HEADS, **changes)


def test_the_probe_searches_with_the_cross_sensor_head():
    from csmoe_model.data.batch import Batch
    from csmoe_model.train.probe import Probe

    config = model_config(retrieval=HEADS)
    torch.manual_seed(0)
    model = CSMoE(config).eval()
    images, _ = batch_of(config, places=6)
    valid = {name: torch.ones_like(x, dtype=torch.bool) for name, x in images.items()}
    batch = Batch(images=images, valid=valid, noise={}, rows=torch.arange(6))
    labels = [f"{k % 2}" for k in range(6)]
    for parameter in model.retrieval["cross"].parameters():
        torch.nn.init.zeros_(parameter)  # all places alike: 1 / N
    figures = Probe(batch, batch, labels, labels).figures(model, torch.device("cpu"))
    assert figures["retrieval/s1>s2"] == pytest.approx(1 / 6)
