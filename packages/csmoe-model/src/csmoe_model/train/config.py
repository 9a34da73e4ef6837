"""What decides a training run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from csmoe_model.config import ModelConfig, Positive, Section, Share

NotNegative = Annotated[float, Field(ge=0)]
Above0 = Annotated[float, Field(gt=0)]


class DataConfig(Section):
    """How chips become samples."""

    split: str = "train"
    """The split that is trained on."""
    held_out: str = "validation"
    """The split that the probe asks about."""
    label: Literal["landcover", "climate"] = "landcover"
    """What the probe asks."""
    crop_scale: tuple[Above0, Above0] | None = (1.0, 1.0)
    """Smallest and largest edge of the crops, in image edges; none: the middle of the chip, not turned or flipped."""
    weighted: bool = False
    """An epoch has every row as often as its share of the manifest's weights says."""
    workers: Annotated[int, Field(ge=0)] = 2
    """Processes that bring samples, for each training process."""


class OptimiserConfig(Section):
    """AdamW with warm-up and a cosine."""

    lr: Above0 = 1e-4
    """Largest learning rate."""
    min_lr: NotNegative = 0.0
    """Learning rate at the end."""
    betas: tuple[Share, Share] = (0.9, 0.95)
    """Of AdamW."""
    weight_decay: NotNegative = 0.05
    """Of matrices; norms, biases, tokens, slots and scales have none."""
    warmup: Share = 0.07
    """Share of all steps."""
    clip_norm: Above0 | None = 1.0
    """Largest norm of the gradient; none: any."""


class GuardConfig(Section):
    """When a step is left out, and when a run gives up."""

    spike: Annotated[float, Field(gt=1)] = 5.0
    """A loss of more than so many times the recent median is a spike."""
    patience: Positive = 5
    """Steps in a row that may be left out."""


class TrainConfig(Section):
    """A pre-training run."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimiser: OptimiserConfig = OptimiserConfig()
    guard: GuardConfig = GuardConfig()
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of all chance."""
    epochs: Positive = 150
    """Passes over the training rows."""
    max_steps: Positive | None = None
    """Steps of the whole run, in place of `epochs`."""
    batch: Positive = 128
    """Places in an optimiser step, of all processes and accumulated parts together."""
    accumulate: Positive = 1
    """Parts that a step is computed in; the contrast runs over the places of a part."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """Losses and routers are in float32 either way."""
    compile: bool = False
    """`torch.compile` the model."""
    checkpointing: bool = False
    """Compute blocks anew in the backward pass, to save memory."""
    save_minutes: Above0 = 15.0
    """Minutes between checkpoints."""
    keep: Positive = 3
    """Checkpoints that are kept, the last ones."""
    log_every: Positive = 10
    """Steps between lines of the metrics."""
    probe_every: Annotated[int, Field(ge=0)] = 500
    """Steps between probes; 0: none."""
    probe_places: Annotated[int, Field(ge=2)] = 500
    """Places of each split that a probe looks at, at most; they stay in memory."""

    @model_validator(mode="after")
    def _parts_fit(self) -> TrainConfig:
        problems = []
        if self.batch % self.accumulate:
            problems.append(f"batch {self.batch} is no multiple of accumulate {self.accumulate}")
        if self.data.crop_scale and self.data.crop_scale[0] > self.data.crop_scale[1]:
            problems.append(f"data.crop_scale {self.data.crop_scale}: the smaller edge comes first")
        if problems:
            raise ValueError("; ".join(problems))
        return self


MAY_CHANGE = ("guard", "compile", "checkpointing", "save_minutes", "keep", "log_every", "probe_every", "probe_places")
"""What a resumed run may have otherwise; so may be `data.workers`."""
