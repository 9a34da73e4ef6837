"""The same pre-training on a sample, the same probes on the tiles held out, and their floors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from csmoe_model.evaluation.classification import ClassifyConfig
from csmoe_model.evaluation.comparison import Comparison
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.extractors.own import trained, untrained
from csmoe_model.evaluation.extractors.statistics import StatisticsExtractor
from csmoe_model.evaluation.layouts import LayoutOptions, open_set
from csmoe_model.evaluation.protocols import classified, retrieval
from csmoe_model.evaluation.records import Record
from csmoe_model.evaluation.retrieval import PAIRS, RetrievalConfig
from csmoe_model.train.checkpoint import CHECKPOINTS, checkpoints
from csmoe_model.train.config import TrainConfig
from csmoe_model.train.fabric import open_fabric
from csmoe_model.train.inputs import Inputs
from csmoe_model.train.run import pretrain

LABELS = ("landcover", "climate")
_CLASSIFY = ClassifyConfig(neighbours=(5,), distances=("cosine",), resamples=0)
_RETRIEVE = RetrievalConfig(query_split="test", archive_split="test", depths=(10,), resamples=0)


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What every model is asked: `held_out` has tiles that teach the probes and, elsewhere, tiles that are asked."""

    chips: Path
    held_out: Path

    def figures(self, extractor: Extractor) -> dict[str, float]:
        """`<label>/<method>/<view>/<figure>`, and `pairs/<direction>/<figure>` of the other sensor's view."""
        found: dict[str, float] = {}
        for label in LABELS:
            record = classified(self._comparison(label), extractor, _CLASSIFY)
            found |= {f"{label}/{name}": value for name, value in _values(record).items()}
        for record in retrieval(self._comparison(LABELS[0]), [lambda _seed: extractor], _RETRIEVE):
            found |= {name: value for name, value in _values(record).items() if name.startswith(f"{PAIRS}/")}
        return found

    def floor_of_statistics(self) -> dict[str, float]:
        """Figures of band means and deviations; a search between sensors of which finds by chance."""
        data = self._comparison(LABELS[0]).data
        chance = 1.0 / int((data.split == "test").sum())
        both = {f"{PAIRS}/{one}/pair/recall@1": chance for one in ("s1>s2", "s2>s1")}
        return both | self.figures(StatisticsExtractor(data, None))

    def floor_of_random_weights(self, config: TrainConfig, seed: int) -> dict[str, float]:
        """Figures of a model that has learned nothing."""
        return self.figures(untrained(config.model, seed=seed))

    def of_run(self, run: Path) -> dict[str, float]:
        """Figures of a trained model."""
        return self.figures(trained(run))

    def _comparison(self, label: str) -> Comparison:
        options = LayoutOptions(label=label, manifest=self.held_out)
        return Comparison(data=open_set(self.chips, "chips", options), resamples=0)


def learn(manifest: Path, chips: Path, config: TrainConfig, out: Path) -> None:
    """Pre-trains, or goes on where a run was stopped.

    Raises:
        SystemExit: It was asked to stop before the end.
    """
    begun = bool(checkpoints(out / CHECKPOINTS))
    inputs = Inputs(manifest=manifest, chips=chips, out=out, resume=begun)
    last = pretrain(config, inputs, open_fabric(config), quiet=True)
    if last.name != f"step-{config.max_steps:08d}":
        raise SystemExit(f"{out} was stopped; the same command goes on")


def _values(record: Record) -> dict[str, float]:
    return {name: value for name, (value, _, _) in record.figures.items() if value is not None}
