"""Figures of scene classification.

Macro figures are means over the classes that occur in the reference of the samples at hand; a class that does not
occur counts neither as 0 nor as 1, and has no figure of its own. A score above a threshold says that a sample has the
class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.metrics.counts import Array, Bools, Codes, Counts, macro, of_codes, of_sets, ratio
from csmoe_model.evaluation.metrics.intervals import Resampling, with_intervals

_CELLS = 2**22
"""Of resampled rankings at once."""


def single_label(
    truth: Codes, predicted: Codes, classes: Sequence[str], resampling: Resampling | None = None
) -> Figures:
    """Accuracy, overall (micro) and average (macro: mean recall of the classes), and macro F1.

    `accuracy/class/<name>` is the share of a class that was found.
    """
    own = of_codes(truth, predicted, len(classes))

    def measure(weights: Array) -> Mapping[str, Array]:
        counts = own.weighted(weights)
        return {
            "accuracy/micro": ratio(counts.both.sum(-1), weights.sum(-1)),
            "accuracy/macro": macro(counts.recall, counts.occurs),
            "f1/macro": macro(counts.f1, counts.occurs),
            **{f"accuracy/class/{name}": counts.recall[:, k] for k, name in own.named(classes)},
            **{f"f1/class/{name}": counts.f1[:, k] for k, name in own.named(classes)},
        }

    return with_intervals(measure, len(truth), resampling)


def confusion(truth: Codes, predicted: Codes, num_classes: int) -> npt.NDArray[np.int64]:
    """(K, K) Samples by true class (row) and predicted class (column)."""
    from sklearn.metrics import confusion_matrix

    matrix: npt.NDArray[np.int64] = confusion_matrix(truth, predicted, labels=np.arange(num_classes))
    return matrix


def multi_label(
    truth: Bools,
    scores: Array,
    classes: Sequence[str],
    *,
    tuned: float | None = None,
    resampling: Resampling | None = None,
) -> Figures:
    """Average precision and F1, macro and micro.

    Args:
        truth: (N, K) Classes of each sample.
        scores: (N, K) 0 to 1.
        classes: Names of the K.
        tuned: A threshold chosen on validation, see `best_threshold`: `f1@tuned`, beside `f1@0.5`.
        resampling: For intervals.

    Returns:
        `average_precision/macro` is the mean of that of each class over all samples, `/micro` that of all scores in one
        list; `/class/<name>` follow.
    """
    figures = _average_precision(truth, scores, classes, resampling)
    for label, threshold in (("0.5", 0.5), ("tuned", tuned)):
        if threshold is not None:
            measure = _f1(of_sets(truth, scores > threshold), classes, f"f1@{label}")
            figures |= with_intervals(measure, len(truth), resampling)
    return figures


def best_threshold(truth: Bools, scores: Array) -> float:
    """The threshold, one for all classes, of the best micro F1, half way between two scores; 0.5 where none is true."""
    from sklearn.metrics import precision_recall_curve

    if not truth.any():
        return 0.5
    precision, recall, at_least = precision_recall_curve(truth.ravel(), scores.ravel().astype(float))
    f1 = ratio(2 * precision * recall, precision + recall)[:-1]  # the last point has no threshold
    best = int(np.nanargmax(f1))
    below = at_least[best - 1] if best else at_least[0] - 1
    return float((at_least[best] + below) / 2)


def _f1(own: Counts, classes: Sequence[str], name: str) -> Callable[[Array], Mapping[str, Array]]:

    def measure(weights: Array) -> Mapping[str, Array]:
        counts = own.weighted(weights)
        return {
            f"{name}/macro": macro(counts.f1, counts.occurs),
            f"{name}/micro": counts.micro.f1[:, 0],
            **{f"{name}/class/{label}": counts.f1[:, k] for k, label in own.named(classes)},
        }

    return measure


def _average_precision(truth: Bools, scores: Array, classes: Sequence[str], resampling: Resampling | None) -> Figures:
    """Values are scikit-learn's; intervals come from the same formula for many resamples at once."""
    from sklearn.metrics import average_precision_score

    occurring = [k for k in range(len(classes)) if truth[:, k].any()]
    resampled = {k: _Ranking(truth[:, k : k + 1], scores[:, k : k + 1]) for k in occurring}
    together = _Ranking(truth, scores)

    def measure(weights: Array) -> Mapping[str, Array]:
        each = np.stack([resampled[k].average_precision(weights) for k in occurring], 1)
        known = np.isfinite(each)
        return {
            "average_precision/macro": macro(each, known),
            "average_precision/micro": together.average_precision(weights),
            **{f"average_precision/class/{classes[k]}": each[:, place] for place, k in enumerate(occurring)},
        }

    if not occurring:
        return {}
    values = [float(average_precision_score(truth[:, k], scores[:, k])) for k in occurring]
    micro = float(average_precision_score(truth.ravel(), scores.ravel()))
    figures = with_intervals(measure, len(truth), resampling)
    exact = zip(figures, [float(np.mean(values)), micro, *values], strict=True)
    return {name: figures[name]._replace(value=value) for name, value in exact}


class _Ranking:
    """Scores from the highest to the lowest, of which those that are equal stand together.

    What lies between two true ones is summed beforehand: only where a true one stands does precision count.
    """

    def __init__(self, truth: Bools, scores: Array) -> None:
        order = np.argsort(-scores, axis=None, kind="stable")
        ranked, true = scores.ravel()[order], truth.ravel()[order]
        first = np.r_[True, ranked[1:] != ranked[:-1]]
        holds = np.bincount(np.cumsum(first) - 1, true) > 0  # equal scores among which one is true
        ends = np.r_[np.flatnonzero(first)[1:], len(order)][holds]
        samples = order // scores.shape[1]
        self._listed, self._starts = samples[: ends[-1]], np.r_[0, ends[:-1]]
        self._true = samples[true]
        self._true_starts = np.searchsorted(np.flatnonzero(true), self._starts)

    def average_precision(self, weights: Array) -> Array:
        """(R,) Sum over the true ones of the precision where each stands, over their number, by weights (R, N)."""
        rows = max(1, _CELLS // len(self._listed))
        return np.concatenate([self._block(weights[k : k + rows].T.copy()) for k in range(0, len(weights), rows)])

    def _block(self, counts: Array) -> Array:
        listed = np.add.reduceat(counts[self._listed], self._starts, axis=0).cumsum(0)
        hits = np.add.reduceat(counts[self._true], self._true_starts, axis=0)
        found = hits.cumsum(0)
        precision = np.divide(found, listed, out=np.zeros_like(found), where=listed > 0)
        return ratio((hits * precision).sum(0), found[-1])
