"""What a task loses with every expert that goes, and what it costs less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from csmoe_model.evaluation.classification import ClassifyConfig
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.extract import load
from csmoe_model.evaluation.extractors.own import OwnExtractor
from csmoe_model.evaluation.finetune import FinetuneConfig, PooledHead, finetune, num_samples
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.protocols import classified
from csmoe_model.evaluation.pruning import (
    Criterion,
    Importance,
    by_chance,
    dispatch_mass,
    mixtures,
    pruned,
    task_gradient,
)
from csmoe_model.evaluation.records import Record
from csmoe_model.nn.model import CSMoE

_HEAD_EPOCHS = 20


def importance_of(comparison: Comparison, extractor: OwnExtractor, criterion: Criterion, seed: int = 0) -> Importance:
    """Importance (n,) of the experts of every layer, measured on the training split.

    Raises:
        ConfigError: The model is dense.
        DataError: There are no labels (`gradient`), or a split is missing.
    """
    mixtures(extractor.module)
    if criterion == "chance":
        return by_chance(extractor.module, seed)
    data, device = comparison.data, comparison.device
    normalise = comparison.normalisation(extractor)
    preparation = Preparation(data, extractor.inputs, extractor.image_px, normalise)
    samples = load(data, data.of_split("train"), preparation, batch=comparison.batch, workers=comparison.workers)
    if criterion == "dispatch":
        return dispatch_mass(extractor, samples, device)
    config = FinetuneConfig(frozen=True, augment=False, epochs=_HEAD_EPOCHS, seed=seed, normalise=normalise)
    with comparison.counting("head of the task", num_samples(data, config)) as advance:
        head = finetune(data, extractor, config, device=device, advance=advance).head
    assert isinstance(head, PooledHead)
    return task_gradient(extractor, head, data, samples, device)


def pruning_curve(
    comparison: Comparison,
    model: CSMoE,
    ranked: Mapping[Criterion, Importance],
    config: ClassifyConfig,
) -> Iterator[Record]:
    """Records of what is left of a model by each criterion, from one expert a layer less than it has down to one.

    Args:
        comparison: The data.
        model: The whole one.
        ranked: Importance by criterion.
        config: How features are judged.
    """
    num = next(iter(mixtures(model).values())).num_experts
    for criterion, importance in ranked.items():
        for experts in range(num - 1, 0, -1):
            small = OwnExtractor(f"{experts} by {criterion}", "csmoe", pruned(model, importance, experts))
            small.curve = f"by {criterion}"
            yield classified(comparison, small, config)
