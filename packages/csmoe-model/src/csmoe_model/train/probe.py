"""The probe inside a run: how good are the features now, on places held out, beside floors and chance.

Features are the pooled ones of whole images, in evaluation mode, with no training on top. Comparisons run on the CPU in
float64; figures of features that are not finite are NaN.

Two classifiers ask for the labels: the nearest neighbours, and ridge regression, which finds what lies in directions of
small variance too. Their floor, which a model has to beat to be worth anything, is that of image statistics: mean and
standard deviation of each band, standardised over the training places. Statistics of different sensors share no space,
so that the floor of retrieval from one to another is chance. `knn/majority` is the share of held-out places that carry
the commonest label of training: what a classifier without features would reach.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import permutations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from csmoe_model.data.samples import Batch
from csmoe_model.errors import DataError
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.diagnose import Watch, effective_rank, feature_std, overall

K = 5
"""Neighbours that vote: small, for the rarer labels have few places."""
RIDGES = tuple(10.0**power for power in range(-2, 5))
JOINT = "joint"
"""All sensors together: their unit-length features side by side."""
Labels = npt.NDArray[np.str_]
Nearness = Callable[[Tensor, Tensor], Tensor]
"""(N, D), (M, D) -> (N, M), larger where nearer."""
Views = Mapping[str, Tensor]
"""(N, D) Features by sensor."""


def knn_scores(
    train: Tensor, labels: Labels, query: Tensor, truth: Labels, nearness: Nearness | None = None
) -> tuple[float, float]:
    """Accuracy, and the mean over the held-out labels of the share found of each (balanced accuracy).

    The `K` nearest vote, by cosine where nothing else is given; among labels with as many votes the one of the nearest
    place wins, and of places equally near the one that stands first.
    """
    if not (train.isfinite().all() and query.isfinite().all()):
        return math.nan, math.nan
    names, codes = np.unique(np.concatenate([labels, truth]), return_inverse=True)
    own, wanted = torch.from_numpy(codes[: len(labels)]), torch.from_numpy(codes[len(labels) :])
    nearest = (nearness or _cosines)(query, train).argsort(dim=1, descending=True, stable=True)[:, :K]
    # Less than half a vote in all, and each neighbour more than all further ones together
    bonus = 0.5 ** torch.arange(2, nearest.shape[1] + 2)
    votes = torch.zeros(len(query), len(names))
    votes.scatter_add_(1, own[nearest], (1.0 + bonus).expand(len(query), -1))
    found = (votes.argmax(1) == wanted).double()
    recalls = [float(found[wanted == label].mean()) for label in wanted.unique()]
    return float(found.mean()), float(np.mean(recalls))


def linear_score(train: Tensor, labels: Labels, query: Tensor, truth: Labels) -> float:
    """Accuracy of ridge regression on +-1 for every label, features standardised over the training places.

    Its strength is chosen by leaving out one training place at a time, in closed form.
    """
    from sklearn.linear_model import RidgeClassifierCV

    if not (train.isfinite().all() and query.isfinite().all()):
        return math.nan
    if len(np.unique(labels)) < 2:
        return float(np.mean(truth == labels[0]))
    std, mean = torch.std_mean(train.double(), dim=0, correction=0)
    std = std.where(std > 1e-9 * mean.abs(), 1.0)
    model = RidgeClassifierCV(alphas=RIDGES)
    model.fit(((train - mean) / std).numpy(), labels)
    return float(np.mean(model.predict(((query - mean) / std).numpy()) == truth))


def retrieval_scores(one: Tensor, other: Tensor) -> tuple[float, float]:
    """Recall at 1 and mean reciprocal rank of each place's other view (N, D) among those of all places, by cosine.

    Equal cosines are taken in random order, in expectation: features that are all the same get 1 / N, no more.
    """
    if not (one.isfinite().all() and other.isfinite().all()):
        return math.nan, math.nan
    cosines = _cosines(one, other)
    own = cosines.diagonal()[:, None]
    before = (cosines > own).sum(1)
    alike = (cosines == own).sum(1)  # itself included
    inverse = torch.cat([torch.zeros(1).double(), 1.0 / torch.arange(1, len(one) + 1).double()]).cumsum(0)
    first = (before == 0) / alike.double()
    return float(first.mean()), float(((inverse[before + alike] - inverse[before]) / alike).mean())


def image_statistics(images: Tensor, valid: Tensor) -> Tensor:
    """Mean and standard deviation of every band over the valid pixels, (B, 2 C); 0 where a band has none."""
    count = valid.sum((2, 3)).clamp(min=1)
    mean = (images * valid).sum((2, 3)) / count
    variance = ((images - mean[..., None, None]).square() * valid).sum((2, 3)) / count
    return torch.cat([mean, variance.sqrt()], dim=1)


class Probe:
    """Places to look at, whole and unaugmented.

    Args:
        train: Places that vote.
        held_out: Places that ask; retrieval runs among them.
        train_labels: A label of each place, such as land cover.
        held_out_labels: Of the others.
        chunk: Places that the model sees at once.

    Raises:
        DataError: There are not as many labels as places.
    """

    def __init__(
        self, train: Batch, held_out: Batch, train_labels: Labels, held_out_labels: Labels, *, chunk: int = 64
    ) -> None:
        for name, batch, labels in (("train", train, train_labels), ("held_out", held_out, held_out_labels)):
            if len(batch.rows) != len(labels):
                raise DataError(f"probe: {len(labels)} {name} labels for {len(batch.rows)} places: give one each")
        cpu = torch.device("cpu")
        self._train, self._held_out, self._chunk = train.to(cpu), held_out.to(cpu), chunk
        self._train_labels, self._held_out_labels = np.asarray(train_labels), np.asarray(held_out_labels)

    def figures(self, model: CSMoE, device: torch.device) -> dict[str, float]:
        """Figures of a model, which must be on `device`.

        For each sensor, over the places that have it, and for all together: `knn/...`, `knn_balanced/...` and
        `linear/...`, where places have labels; for each pair of sensors `retrieval/a>b` (recall at 1) and
        `retrieval_mrr/a>b`; for each sensor `effective_rank/...` and `feature_std/...` over the places of both splits;
        and `routing/...` over all layers (see `diagnose`). What too few places can say is left out.
        """
        train, rows = self._features(model, device, self._train)
        held_out, more = self._features(model, device, self._held_out)
        figures = self._neighbours(train, held_out)
        for one, other in permutations(held_out, 2):
            both = _has(self._held_out, one) & _has(self._held_out, other)
            if both.sum() > 1:
                views = (self._crossing(model, device, held_out[name][both]) for name in (one, other))
                scores = retrieval_scores(*views)
                figures[f"retrieval/{one}>{other}"], figures[f"retrieval_mrr/{one}>{other}"] = scores
        for name in held_out:
            seen = torch.cat([train[name][_has(self._train, name)], held_out[name][_has(self._held_out, name)]])
            if len(seen) > 1:
                figures[f"effective_rank/{name}"] = effective_rank(seen)
                figures[f"feature_std/{name}"] = feature_std(seen)
        routing = overall([*rows.values(), *more.values()])
        return figures | {f"routing/{key}": value for key, value in routing.items()}

    def layers(self, model: CSMoE, device: torch.device) -> dict[str, dict[str, float]]:
        """Figures of the routing of every layer, over the held-out places: `s2/3` is block 3 on the path of s2.

        A shared block stands there once for each sensor, so that one sees which experts serve which.
        """
        return self._features(model, device, self._held_out)[1]

    def floor(self) -> dict[str, float]:
        """The floors of `knn...`, `linear...` and `retrieval...` under the same keys, and `knn/majority`.

        Of image statistics; of k-NN by cosine and by Euclidean distance, the better figure of each.
        """
        train, held_out = self._statistics(self._train), self._statistics(self._held_out)
        for name in train:
            known = train[name][_has(self._train, name)]
            if len(known):
                mean, std = known.mean(0), known.std(0, correction=0).clamp(min=1e-6)
                train[name], held_out[name] = (train[name] - mean) / std, (held_out[name] - mean) / std
        figures = self._neighbours(train, held_out)
        for key, value in self._neighbours(train, held_out, _closeness).items():
            figures[key] = max(figures[key], value)
        for one, other in permutations(held_out, 2):
            count = int((_has(self._held_out, one) & _has(self._held_out, other)).sum())
            if count > 1:
                figures[f"retrieval/{one}>{other}"] = 1.0 / count
                figures[f"retrieval_mrr/{one}>{other}"] = float(np.mean(1.0 / np.arange(1, count + 1)))
        if self._unlabelled:
            return figures
        names, counts = np.unique(self._train_labels, return_counts=True)
        figures["knn/majority"] = float(np.mean(self._held_out_labels == names[counts.argmax()]))
        return figures

    def caveats(self) -> list[str]:
        """What makes the figures say little, a sentence each."""
        if self._unlabelled:
            return []
        labels = np.unique(self._held_out_labels)
        found = []
        if len(labels) < 2:
            found.append(f"probe: all held-out places are {labels[0]}: accuracies say little, choose another split")
        if unseen := sorted(set(labels) - set(self._train_labels)):
            found.append(f"probe: no training place is {', '.join(unseen)}: these held-out places cannot be told")
        return found

    @property
    def _unlabelled(self) -> bool:
        """Whether no place has a label, as in a data set of pairs."""
        return not any(self._train_labels) and not any(self._held_out_labels)

    def _neighbours(self, train: Views, held_out: Views, nearness: Nearness | None = None) -> dict[str, float]:
        """Scores of each sensor and of all together, these by unit-length features side by side if by cosine."""
        figures: dict[str, float] = {}
        if self._unlabelled:
            return figures
        groups = [(name, [name]) for name in held_out]
        for label, names in groups if len(groups) < 2 else [*groups, (JOINT, list(held_out))]:
            own, asking = (_all(batch, names) for batch in (self._train, self._held_out))
            if own.any() and asking.any():
                one, other = (
                    torch.cat(
                        [views[name] if nearness else functional.normalize(views[name], dim=1) for name in names], 1
                    )
                    for views in (train, held_out)
                )
                labels = self._train_labels[own.numpy()], self._held_out_labels[asking.numpy()]
                scores = knn_scores(one[own], labels[0], other[asking], labels[1], nearness)
                figures[f"knn/{label}"], figures[f"knn_balanced/{label}"] = scores
                if nearness is None:
                    figures[f"linear/{label}"] = linear_score(one[own], labels[0], other[asking], labels[1])
        return figures

    @torch.no_grad()
    def _features(
        self, model: CSMoE, device: torch.device, batch: Batch
    ) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
        """Pooled features on the CPU by sensor, 0 where a place lacks it; figures of routing by sensor and block."""
        features: dict[str, Tensor] = {}
        rows: dict[str, dict[str, float]] = {}
        with _evaluating(model):
            for name, images in batch.images.items():
                has = _has(batch, name)
                features[name] = torch.zeros(len(has), model.config.encoder.dim)
                with Watch(model) as watch:
                    for places in has.nonzero()[:, 0].split(self._chunk) if has.any() else ():
                        pooled = model.encode({name: images[places].to(device)})[name].pooled
                        features[name][places] = pooled.float().cpu()
                first = model.config.encoder.specific_depth
                rows |= {f"{name}/{_block(layer, first)}": row for layer, row in watch.table().items()}
        return features, rows

    @torch.no_grad()
    def _crossing(self, model: CSMoE, device: torch.device, pooled: Tensor) -> Tensor:
        """What a search among another sensor's images goes by."""
        return model.project(pooled.to(device), "cross").float().cpu()

    def _statistics(self, batch: Batch) -> dict[str, Tensor]:
        chunks = {
            name: zip(images.split(self._chunk), batch.valid[name].split(self._chunk), strict=True)
            for name, images in batch.images.items()
        }
        return {name: torch.cat([image_statistics(*chunk) for chunk in own]) for name, own in chunks.items()}


@contextmanager
def _evaluating(model: CSMoE) -> Iterator[None]:
    """Evaluation mode inside; every module is given back in the mode it was in."""
    before = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in before.items():
            module.training = training


def _block(layer: str, specific_depth: int) -> int:
    """Place on a sensor's path of `encoder.specific.s2.3.mlp` or `encoder.shared.0.mlp`, counted as in MoEConfig."""
    block = int(layer.split(".")[-2])
    return block if "encoder.specific." in layer else specific_depth + block


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """(N, M) In float64, rounded so that equal features give equal cosines whatever the order of the sums."""
    cosines = functional.normalize(one.double(), dim=1) @ functional.normalize(other.double(), dim=1).T
    return cosines.round(decimals=12)


def _closeness(one: Tensor, other: Tensor) -> Tensor:
    return -torch.cdist(one.double(), other.double())


def _has(batch: Batch, name: str) -> Tensor:
    """(B,) Whether a place has the sensor."""
    return batch.valid[name].flatten(1).any(dim=1)


def _all(batch: Batch, names: Sequence[str]) -> Tensor:
    return torch.stack([_has(batch, name) for name in names]).all(dim=0)
