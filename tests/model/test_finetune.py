"""Fine-tuning for classification: what is learned, what chooses, what stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from csmoe_model.errors import ConfigError, DataError, TrainingError
from csmoe_model.evaluation.extractors.own import untrained
from csmoe_model.evaluation.finetune import FinetuneConfig, PooledHead, finetune, num_samples
from csmoe_model.train.config import OptimiserConfig
from model.evaluation_toys import CLASSES, ToyExtractor, labelled_set
from model.small_models import model_config

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def config_of(**changes):
    optimiser = OptimiserConfig(lr=0.03, betas=(0.9, 0.999), warmup=0.05)
    values = {"epochs": 4, "batch": 16, "workers": 0, "backbone_lr": 0.5, "optimiser": optimiser}
    return FinetuneConfig(**{**values, **changes})


def run(data=None, extractor=None, **changes):
    return finetune(data or labelled_set(), extractor or ToyExtractor(), config_of(**changes), device=CPU)


def accuracy(data, result):
    return np.mean(result.scores.argmax(1) == data.labels[result.samples])


def weights_of(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "changes",
    [{}, {"augment": False, "workers": 2}, {"precision": "bf16-mixed"}, {"frozen": True, "epochs": 8}],
    ids=["turned", "plain", "bf16", "frozen"],
)
def test_a_class_that_follows_from_the_pixels_is_learned(changes):
    data = labelled_set()
    result = run(data, **changes)
    assert accuracy(data, result) > 0.9
    assert result.scores.shape == (21, 4)
    assert result.validation_scores.shape == (15, 4)
    np.testing.assert_allclose(result.scores.sum(1), 1)
    assert result.samples.tolist() == list(range(55, 76))
    assert result.validation_samples.tolist() == list(range(40, 55))


def test_several_labels_are_learned_each_on_its_own():
    data = labelled_set(several=True)
    result = run(data)
    assert ((result.scores > 0.5) == data.labels[result.samples]).mean() > 0.9
    assert result.scores.sum(1).max() > 1.1  # they are no shares of 1: a sample may have both


def test_our_own_model_learns_too():
    data = labelled_set()
    optimiser = OptimiserConfig(lr=3e-3, warmup=0.05)
    result = run(data, untrained(model_config()), optimiser=optimiser, batch=8, epochs=6)
    assert accuracy(data, result) > 0.9


def test_one_sensor_sees_one_bit():
    data = labelled_set()
    result = run(data, sensor="s1")
    codes, found = data.labels[result.samples], result.scores.argmax(1)
    assert np.mean(codes // 2 == found // 2) > 0.9
    assert accuracy(data, result) < 0.8


def test_a_sample_that_lacks_a_sensor_takes_part():
    def lacking(sample, images, mask):
        return ({"s1": images["s1"]} if sample % 2 else images), mask

    data = labelled_set(change=lacking)
    result = run(data)
    codes, found = data.labels[result.samples], result.scores.argmax(1)
    whole = result.samples % 2 == 0
    assert np.mean(codes[whole] == found[whole]) > 0.9
    assert np.mean(codes // 2 == found // 2) > 0.9


@pytest.mark.parametrize("frozen", [False, True])
def test_the_caller_keeps_its_backbone_to_the_bit(frozen):
    extractor = ToyExtractor()
    before = weights_of(extractor.module)
    result = run(extractor=extractor, frozen=frozen)
    assert same(before, weights_of(extractor.module))
    after = weights_of(result.extractor.module)
    learned = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(learned) == (0 if frozen else len(before))


def test_the_rate_of_the_backbone_is_its_share():
    extractor, steps = ToyExtractor(), {}
    for rate in (1e-6, 1.0):
        after = weights_of(run(extractor=extractor, backbone_lr=rate, epochs=1).extractor.module)
        before = weights_of(extractor.module)
        steps[rate] = max(float((before[name] - after[name]).abs().max()) for name in before)
    assert 0 < steps[1e-6] < 1e-6 < 1e-2 < steps[1.0]


def test_equal_seeds_give_equal_weights_and_leave_chance_alone():
    before = torch.get_rng_state()
    one, again, other = run(), run(workers=3), run(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(weights_of(one.extractor.module), weights_of(again.extractor.module))
    assert (one.scores == again.scores).all()
    assert one.fitted == again.fitted
    assert not same(weights_of(one.head), weights_of(other.head))


def test_validation_chooses_and_test_has_no_say():
    data = labelled_set()
    plain = run(data)
    labels = data.labels.copy()
    labels[40:55] = 3 - labels[40:55]
    slow = OptimiserConfig(lr=3e-3, warmup=0.05)
    against = run(replace(data, labels=labels), optimiser=slow, seed=2)
    scores = [epoch.score for epoch in against.fitted.curve]
    assert against.fitted.best == int(np.argmax(scores))
    assert scores[-1] < scores[against.fitted.best]  # the better it learns, the worse these labels fit
    chosen = np.mean(against.validation_scores.argmax(1) == labels[40:55])
    assert chosen == pytest.approx(scores[against.fitted.best])
    labels = data.labels.copy()
    labels[55:] = 3 - labels[55:]
    turned = run(replace(data, labels=labels))
    assert turned.fitted == plain.fitted
    assert (turned.scores == plain.scores).all()


def test_progress_ends_at_what_was_announced():
    data, config, steps = labelled_set(), config_of(), []
    finetune(data, ToyExtractor(), config, device=CPU, advance=steps.append)
    assert sum(steps) == num_samples(data, config)


def test_bands_that_the_data_lack_are_told():
    data = labelled_set()
    sensors = {"s1": data.sensors["s1"], "s2": replace(data.sensors["s2"], names=("B11", "B99", "B8A"))}
    assert run(replace(data, sensors=sensors), epochs=1).notes == ("s2: no B03 in the data, filled with the mean",)


def test_what_cannot_be_fine_tuned_is_refused():
    extractor = ToyExtractor()
    extractor.module = None
    with pytest.raises(ConfigError, match="toy: has nothing that can be fine-tuned: compare it by a linear probe"):
        run(extractor=extractor)
    with pytest.raises(ConfigError, match="toy masks: has no labels to fine-tune for"):
        run(replace(labelled_set(), labels=None))
    data = labelled_set()
    data.split[data.split == "validation"] = "train"
    with pytest.raises(DataError, match="0 samples of split 'validation'"):
        run(data)
    assert data.reader.reads == 0


def test_a_gradient_that_is_not_finite_ends_the_training():
    extractor = ToyExtractor()
    extractor.module.layers[1].bias.data[:] = torch.inf
    extractor.module.patches["s1"].bias.data[:] = torch.nan
    with pytest.raises(TrainingError, match=r"toy: loss nan .* in epoch 1, step 1"):
        run(extractor=extractor)


def test_features_of_a_lacking_sensor_are_0_whatever_they_hold():
    torch.manual_seed(0)
    head = PooledHead({"s1": 3, "s2": 5}, len(CLASSES))
    pooled = {"s1": torch.randn(2, 3), "s2": torch.randn(2, 5)}
    has = {"s1": torch.tensor([True, False]), "s2": torch.tensor([True, True])}
    found = head(pooled, has)
    pooled["s1"][1] = 7
    assert torch.equal(found, head(pooled, has))
    normal = (pooled["s2"][1] - pooled["s2"][1].mean()) / (pooled["s2"][1].var(correction=0) + 1e-5).sqrt()
    wanted = head.classify.weight[:, 3:] @ normal + head.classify.bias
    assert torch.allclose(found[1], wanted, atol=1e-6)
