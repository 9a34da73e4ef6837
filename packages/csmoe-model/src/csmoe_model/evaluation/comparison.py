"""A data set that backbones are compared on: how they are fed from it, and how what they reach is written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from csmoe_model.evaluation.dataset import EvaluationSet
from csmoe_model.evaluation.extract import Features, extract
from csmoe_model.evaluation.extractor import Extractor
from csmoe_model.evaluation.figures import Figures
from csmoe_model.evaluation.prepare import Normalise, Preparation, own_scale
from csmoe_model.evaluation.records import (
    DataAbout,
    Record,
    about_data,
    about_inputs,
    about_model,
    as_values,
    versions,
    write_records,
)

Counting = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Shows so many samples of a stage; its value is told how many more are done."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A data set and how backbones are fed from it."""

    data: EvaluationSet
    normalise: Literal["auto", "model", "data"] = "auto"
    """Auto: with a model's own statistics where the units allow, else with the data's."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch: int = 64
    workers: int = 0
    resamples: int = 1000
    """Of the test samples, for intervals; 0: none."""
    counting: Counting = lambda _name, _total: nullcontext(lambda _count: None)

    @cached_property
    def about(self) -> DataAbout:
        """The data set, as records have it."""
        return about_data(self.data)

    def normalisation(self, extractor: Extractor) -> Normalise:
        """Whose statistics standardise; never chosen by a score. Image statistics are of standardised bands."""
        if extractor.kind == "statistics":
            return "data"
        if self.normalise != "auto":
            return self.normalise
        return "model" if own_scale(self.data, extractor.inputs) else "data"

    def features(self, extractor: Extractor, splits: Sequence[str]) -> tuple[dict[str, Features], Preparation]:
        """Features of some splits, those that have samples."""
        preparation = Preparation(self.data, extractor.inputs, extractor.image_px, self.normalisation(extractor))
        samples = {split: (self.data.split == split).nonzero()[0] for split in dict.fromkeys(splits)}
        samples = {split: own for split, own in samples.items() if len(own)}
        with self.counting(extractor.name, sum(map(len, samples.values()))) as advance:
            features = {
                split: extract(
                    self.data,
                    own,
                    extractor,
                    preparation,
                    device=self.device,
                    batch=self.batch,
                    workers=self.workers,
                    advance=advance,
                )
                for split, own in samples.items()
            }
        return features, preparation

    @staticmethod
    def left_out(features: Mapping[str, Features]) -> list[str]:
        """What there is to say of samples that have no pixel of any sensor of a backbone."""
        return [
            f"{own.num_empty} samples of {split} have no valid pixel of any sensor that it takes: left out"
            for split, own in features.items()
            if own.num_empty
        ]

    def record(
        self,
        task: str,
        extractor: Extractor,
        preparation: Preparation,
        figures: Figures,
        settings: Mapping[str, Any],
        notes: Sequence[str],
    ) -> Record:
        """Figures with all that they depend on."""
        return Record(
            task=task,
            settings=dict(settings),
            data=self.about,
            model=about_model(extractor, list(preparation.feeds)),
            inputs=about_inputs(preparation),
            image_px=extractor.image_px,
            normalise=preparation.normalise,
            seed=settings["seed"],
            figures=as_values(figures),
            notes=tuple(dict.fromkeys([*preparation.notes(), *notes])),
            versions=versions(),
            device=str(self.device),
        )


def write_results(folder: Path, records: Sequence[Record]) -> list[Path]:
    """Writes records, table, all figures and a plot of quality against cost into a folder; their paths.

    Raises:
        ConfigError: The records cannot be compared.
    """
    from csmoe_model.evaluation.plots import draw_costs
    from csmoe_model.evaluation.tables import long_csv, markdown

    table, figures = markdown(records), long_csv(records)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.md").write_text(table, encoding="utf-8")
    (folder / "figures.csv").write_text(figures, encoding="utf-8")
    draw_costs(records, folder / "costs.png")
    write_records(folder / "results.json", records)  # the last: where it is, all is
    return sorted(folder.glob("*"))
