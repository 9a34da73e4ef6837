"""Two real processes learn what one does from the whole batch, whatever is missing where."""

import pytest
import torch

from csmoe_model.nn.across import Across
from csmoe_model.nn.losses import contrastive_loss
from csmoe_model.train.checkpoint import State, load_state, load_weights, resolve
from model import processes
from model.halves import LOSSES, Two, double, gradients, learn_in_halves, made, part_of, whole_batch
from model.small_models import built, take_step, train_config


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """What two processes have written down; all checks that need them are in one go."""
    folder = tmp_path_factory.mktemp("across")
    assert processes.start_ranks(learn_in_halves, 2, folder) == [0, 0]
    return folder


@pytest.mark.parametrize("k", range(len(LOSSES)))
def test_two_processes_have_the_gradient_of_one(learned, k):
    """To 1e-6 of a gradient's length; the model is in double precision, the losses are in single either way."""
    found, terms = torch.load(learned / f"{k}.pt")
    model = made(LOSSES[k])
    wanted, objective = gradients(model, double(whole_batch(model.config)))
    assert found.keys() >= wanted.keys()
    for name, value in found.items():
        expected = wanted.get(name, torch.zeros_like(value))
        assert (value - expected).norm() <= 1e-6 * expected.norm(), name
    assert terms.keys() == objective.terms.keys()
    for name, value in terms.items():
        torch.testing.assert_close(value, objective.terms[name].detach(), rtol=1e-6, atol=0)


def test_the_gradient_depends_on_the_other_process():
    """Or the comparison above would say nothing: halves by themselves have other gradients."""
    model = made(LOSSES[0])
    batch = double(whole_batch(model.config))
    whole, _ = gradients(model, batch)
    model.zero_grad(set_to_none=True)
    half, _ = gradients(model, part_of(batch, slice(3)))
    assert not torch.allclose(whole["encoder.shared_norm.weight"], half["encoder.shared_norm.weight"], rtol=1e-2)


def test_a_sharded_model_opens_in_one_process(learned):
    model = Two()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    folder = resolve(learned / "sharded")
    load_weights(model, folder)
    assert load_state(folder, model, optimiser) == State(step=2)
    torch.manual_seed(0)
    alone = Two()
    other = torch.optim.AdamW(alone.parameters(), lr=0.1)
    for _ in range(2):
        alone(torch.ones(2, 5)).square().sum().backward()
        other.step()
        other.zero_grad()
    for one, two in zip(model.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(one, two)
        torch.testing.assert_close(optimiser.state[one]["exp_avg_sq"], other.state[two]["exp_avg_sq"])


def test_one_process_alone_is_as_if_there_were_none():
    across = Across()
    x = torch.randn(4, 3, requires_grad=True)
    assert across.rows(x) is x
    assert across.total(torch.tensor([3, 4])).tolist() == [3, 4]
    config = train_config()
    model, optimiser = built(config)
    assert take_step(model, optimiser) > 0
    one, other = torch.randn(5, 7), torch.randn(5, 7)
    assert torch.equal(contrastive_loss(one, other, 0.5, across=across), contrastive_loss(one, other, 0.5))
