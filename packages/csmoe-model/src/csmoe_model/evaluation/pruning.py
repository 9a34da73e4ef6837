"""Which experts a task needs, and models that have no others.

Every layer keeps as many experts, so that the pruned model is one of the same family with a smaller `experts`. What
slots of other experts would have given a token is shared out among the slots that stay, by the softmax itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from csmoe_model.errors import ConfigError
from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extract import Loaded
from csmoe_model.evaluation.extractors.own import OwnExtractor
from csmoe_model.evaluation.finetune import PooledHead
from csmoe_model.nn.model import CSMoE
from csmoe_model.nn.soft_moe import SoftMoE

Criterion = Literal["gradient", "dispatch", "chance"]
Importance = Mapping[str, Tensor]
"""(n,) Of the experts of each layer, by the layer's name."""
_PARTS = {"router.phi": 1, "experts.w1": 0, "experts.b1": 0, "experts.w2": 0, "experts.b2": 0}
"""Parameters of a layer that experts have a share in, and the axis that counts these."""


def mixtures(model: CSMoE) -> dict[str, SoftMoE]:
    """The encoder's Soft mixture layers, by name; raises ConfigError where there are none."""
    found = {name: module for name, module in model.encoder.named_modules() if isinstance(module, SoftMoE)}
    if not found:
        raise ConfigError("the model is dense: it has no experts to prune")
    return found


def task_gradient(
    extractor: OwnExtractor, head: PooledHead, data: EvaluationSet, loaded: Iterator[Loaded], device: torch.device
) -> dict[str, Tensor]:
    """How much the loss of a task would change without an expert, to first order (Molchanov et al. 2017, 1611.06440).

    The mean over samples of |dL/dg|, where a gate g = 1 multiplies what the expert gives; one gate for all sensors that
    pass through it.

    Args:
        extractor: The model.
        head: Trained on its pooled features.
        data: Labels.
        loaded: Training samples.
        device: Where to compute.
    """
    assert data.labels is not None
    layers = mixtures(extractor.module)
    sums = {name: torch.zeros(layer.num_experts) for name, layer in layers.items()}
    count = 0
    head.to(device).eval()
    extractor.module.to(device).eval()
    for batch in loaded:
        labels = torch.from_numpy(data.labels[batch.samples]).to(device)
        with _gates(layers) as gates:
            scores = head(*_pooled(extractor, batch, device))
        # The sum, not the mean, so that each gate's gradient is that of its own sample.
        if labels.dim() == 1:
            loss = functional.cross_entropy(scores, labels, reduction="sum")
        else:
            loss = functional.binary_cross_entropy_with_logits(scores, labels.float(), reduction="sum")
        names = [name for name, calls in gates.items() for _ in calls]
        gradients = torch.autograd.grad(loss, [gate for calls in gates.values() for gate in calls])
        for name in dict.fromkeys(names):
            own = [gradient for called, gradient in zip(names, gradients, strict=True) if called == name]
            sums[name] += torch.stack(own).sum(0).abs().sum(1).cpu()
        count += len(batch.samples)
    return {name: total / max(count, 1) for name, total in sums.items()}


@torch.no_grad()
def dispatch_mass(extractor: OwnExtractor, loaded: Iterator[Loaded], device: torch.device) -> dict[str, Tensor]:
    """Share of what tokens get that comes from each expert, over the images that there are; needs no labels."""
    layers = mixtures(extractor.module)
    sums = {name: torch.zeros(layer.num_experts) for name, layer in layers.items()}

    def watch(name: str, layer: SoftMoE) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, routing: Any) -> None:
            mass = routing.combine.sum((0, 1)).unflatten(0, (layer.num_experts, -1)).sum(1)
            sums[name] += mass.cpu()

        return hook

    handles = [layer.router.register_forward_hook(watch(name, layer)) for name, layer in layers.items()]
    extractor.module.to(device).eval()
    try:
        for batch in loaded:
            for name, images in batch.images.items():
                if (own := batch.has(name)).any():
                    extractor(name, images[own].to(device), batch.valid[name][own].to(device))
    finally:
        for handle in handles:
            handle.remove()
    return {name: total / total.sum().clamp(min=1e-12) for name, total in sums.items()}


def by_chance(model: CSMoE, seed: int) -> dict[str, Tensor]:
    """No importance at all: the control."""
    chance = torch.Generator().manual_seed(seed)
    return {name: torch.rand(layer.num_experts, generator=chance) for name, layer in mixtures(model).items()}


def pruned(model: CSMoE, importance: Importance, experts: int) -> CSMoE:
    """A model with the most important experts of every layer of the encoder; of equal ones the first stays.

    Raises:
        ConfigError: There are not as many.
    """
    moe = model.config.encoder.moe
    layers = mixtures(model)
    if moe is None or not 1 <= experts <= moe.experts:
        raise ConfigError(f"{experts} experts to keep of {moe.experts if moe else 0} in every layer: keep 1 or more")
    encoder = model.config.encoder.model_copy(update={"moe": moe.model_copy(update={"experts": experts})})
    with torch.random.fork_rng(devices=[]):
        small = CSMoE(model.config.model_copy(update={"encoder": encoder}))
    state = dict(model.state_dict())
    for name in layers:
        keep = importance[name].argsort(descending=True, stable=True)[:experts].sort().values
        for part, axis in _PARTS.items():
            key = f"encoder.{name}.{part}"
            state[key] = state[key].index_select(axis, keep.to(state[key].device))
    small.load_state_dict(state)
    return small.eval()


@contextmanager
def _gates(layers: Mapping[str, SoftMoE]) -> Iterator[dict[str, list[Tensor]]]:
    """Gates (n, B), one a sample and expert, of every call of every layer: a shared one is called by each sensor."""
    gates: dict[str, list[Tensor]] = {name: [] for name in layers}

    def gate(name: str, layer: SoftMoE) -> Callable[..., Tensor]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            slots = layer.slots or layer.slots_per_expert
            parts = output.unflatten(1, (-1, slots))
            own = torch.ones(parts.shape[:2], device=output.device, requires_grad=True)
            gates[name].append(own)
            gated: Tensor = (parts * own[..., None, None]).flatten(1, 2)
            return gated

        return hook

    handles = [layer.experts.register_forward_hook(gate(name, layer)) for name, layer in layers.items()]
    try:
        yield gates
    finally:
        for handle in handles:
            handle.remove()


def _pooled(
    extractor: OwnExtractor, batch: Loaded, device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Pooled features of every sensor, and who has it; of the others the head takes nothing."""
    pooled = {
        name: extractor(name, images.to(device), batch.valid[name].to(device)).pooled
        for name, images in batch.images.items()
    }
    return pooled, {name: batch.has(name).to(device) for name in batch.images}
