"""What a task loses with every expert that goes, and what it costs less."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from csmoe_model.evaluation.classification import ClassifyConfig, classify
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.extractors.own import OwnExtractor
from csmoe_model.evaluation.finetune import FinetuneConfig, PooledHead, finetune, num_samples
from csmoe_model.evaluation.prepare import Preparation
from csmoe_model.evaluation.pruning import (
    Criterion,
    by_chance,
    dispatch_mass,
    mixtures,
    pruned,
    task_gradient,
    training_samples,
)
from csmoe_model.evaluation.records import Record

_HEAD_EPOCHS = 20


def importance_of(
    comparison: Comparison, extractor: OwnExtractor, criterion: Criterion, seed: int = 0
) -> Mapping[str, Tensor]:
    """Importance (n,) of the experts of every layer, measured on the training split.

    Raises:
        ConfigError: The model is dense.
        DataError: There are no labels (`gradient`), or a split is missing.
    """
    mixtures(extractor.module)
    if criterion == "random":
        return by_chance(extractor.module, seed)
    data, device = comparison.data, comparison.device
    normalise = comparison.normalisation(extractor)
    preparation = Preparation(data, extractor.inputs, extractor.image_px, normalise)
    samples = training_samples(data, extractor, preparation, comparison.batch)
    if criterion == "dispatch":
        return dispatch_mass(extractor, samples, device)
    config = FinetuneConfig(frozen=True, augment=False, epochs=_HEAD_EPOCHS, seed=seed, normalise=normalise)
    with comparison.counting("head of the task", num_samples(data, config)) as advance:
        head = finetune(data, extractor, config, device=device, advance=advance).head
    assert isinstance(head, PooledHead)
    return task_gradient(extractor, head, data, samples, device)


def pruning_curve(
    comparison: Comparison,
    extractor: OwnExtractor,
    ranked: Mapping[Criterion, Mapping[str, Tensor]],
    config: ClassifyConfig,
) -> Iterator[Record]:
    """Records of the whole model and of what is left of it, by each criterion, down to one expert a layer.

    Args:
        comparison: The data.
        extractor: The whole model.
        ranked: Importance by criterion.
        config: How features are judged.
    """
    moe = extractor.module.config.encoder.moe
    assert moe is not None
    models = [(f"{moe.experts} experts", extractor)]
    for criterion, importance in ranked.items():
        for experts in range(moe.experts - 1, 0, -1):
            name = f"{experts} by {criterion}"
            models.append((name, OwnExtractor(name, "csmoe", pruned(extractor.module, importance, experts))))
    for name, one in models:
        features, preparation = comparison.features(one, ("train", "validation", "test"))
        found = classify(features, comparison.data, config)
        record = comparison.record(
            "classification",
            one,
            preparation,
            found.figures,
            settings=config.model_dump(mode="json"),
            seed=config.seed,
            notes=found.notes,
        )
        yield record.model_copy(update={"model": record.model.model_copy(update={"name": name})})
