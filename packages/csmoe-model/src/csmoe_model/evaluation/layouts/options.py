"""What a user may say of a data set beside its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from csmoe_model.config import Section
from csmoe_model.evaluation.dataset import Unit


class LayoutOptions(Section):
    """How a data set is to be read, where its files leave it open."""

    label: str | None = None
    """Column of the manifest that holds the classes (`chips`, by default its land cover)."""
    manifest: Path | None = None
    """Of the chip store (`chips`)."""
    metadata: Path | None = None
    """Table of BigEarthNet's labels and splits, where it is not beside the images."""
    own_split: bool = False
    """Splits by place in place of the data set's own, whose test images may lie beside training ones."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of splits that a data set does not bring itself."""
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
    """Of train, validation and test in such splits; of validation alone where it is taken out of train."""
    bands: tuple[str, ...] | None = None
    """Names, in the order of the files (`folders`)."""
    unit: Unit | None = None
    """Of the values (`folders`)."""
    gsd_m: Annotated[float, Field(gt=0)] | None = None
    """Edge of a pixel (`folders`)."""
    part: str | None = None
    """Of a data set that is more than one: `before` or `both` (`ombria`), `bolivia` (`sen1floods11`)."""
    classes: tuple[str, ...] | None = None
    """Names, by the code in the masks (`pairs`)."""
    ignore_index: int | None = None
    """Code in the masks that counts for nothing (`pairs`)."""

    @model_validator(mode="after")
    def _shares_fit(self) -> LayoutOptions:
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6:
            raise ValueError(f"shares {self.shares} of train, validation and test: none negative, 1 together")
        return self
