"""What decides a model: frozen, checked, saved beside every checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from csmoe_model.sensors import SENTINELS, Sensor

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the configuration."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def visible_patches(num_patches: int, ratio: float) -> int:
    """floor(num_patches (1 - ratio)), not one less for the last bits of a float."""
    return int(num_patches * (1.0 - ratio) + 1e-9)


class MoEConfig(Section):
    """Soft mixture-of-experts in place of the feed-forward layers of some blocks."""

    blocks: tuple[int, ...] | Literal["all"] = "all"
    """Which blocks, counted from 0; of an encoder the sensor-specific ones come first."""
    experts: Positive = 4
    """Experts of a block."""
    slots_per_expert: Positive = 8
    """Slots of each expert."""
    width: Annotated[float, Field(gt=0)] = 1.0
    """Hidden width of an expert, relative to that of the dense layer."""

    scale: Annotated[float, Field(gt=0)] = 1.0
    """Of the router's cosines, at the start; it is learned. At 1 all tokens weigh nearly alike in all slots."""

    def at(self, block: int) -> bool:
        """Whether a block has one."""
        return self.blocks == "all" or block in self.blocks

    def outside(self, depth: int) -> str:
        """What is wrong with `blocks` in a stack of `depth` blocks; empty: nothing."""
        if self.blocks == "all" or all(0 <= k < depth for k in self.blocks):
            return ""
        return f"moe.blocks {self.blocks} name blocks outside 0 to {depth - 1}"


class EncoderConfig(Section):
    """Sensor-specific blocks, then shared ones."""

    dim: Positive = 768
    """Width of a token; a multiple of 4 and of `heads`."""
    heads: Positive = 12
    """Heads of attention."""
    specific_depth: Annotated[int, Field(ge=0)] = 10
    """Blocks of each sensor's own; 0 makes a common encoder."""
    shared_depth: Annotated[int, Field(ge=0)] = 2
    """Blocks that all sensors pass through, one after the other, with the same weights."""
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    """Hidden width of the dense feed-forward layer, relative to `dim`."""
    drop_path: Share = 0.0
    """Share of blocks left out by chance, growing with depth; another number of processes then makes another run."""
    moe: MoEConfig | None = MoEConfig()
    """None: the dense twin."""

    @property
    def depth(self) -> int:
        """Blocks on the path of one sensor."""
        return self.specific_depth + self.shared_depth

    @model_validator(mode="after")
    def _shapes_fit(self) -> EncoderConfig:
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"encoder.dim {self.dim} must be a multiple of 4 and of encoder.heads {self.heads}")
        if not self.depth:
            raise ValueError("the encoder has no blocks: give specific_depth or shared_depth")
        if self.moe and (problem := self.moe.outside(self.depth)):
            raise ValueError(f"encoder.{problem}")
        return self


class DecoderConfig(Section):
    """Decoders of masked patches; they are left out of inference."""

    dim: Positive = 512
    """Width of a token; a multiple of 4 and of `heads`."""
    heads: Positive = 16
    """Heads of attention."""
    depth: Positive = 8
    """Blocks."""
    mlp_ratio: Annotated[float, Field(gt=0)] = 4.0
    """Hidden width of the dense feed-forward layer, relative to `dim`."""
    moe: MoEConfig | None = None
    """Mixtures in decoders: cheaper training, no difference to what inference costs."""
    separate: bool = True
    """A decoder for each target sensor; otherwise one with a head for each."""

    @model_validator(mode="after")
    def _shapes_fit(self) -> DecoderConfig:
        if self.dim % self.heads or self.dim % 4:
            raise ValueError(f"decoder.dim {self.dim} must be a multiple of 4 and of decoder.heads {self.heads}")
        if self.moe and (problem := self.moe.outside(self.depth)):
            raise ValueError(f"decoder.{problem}")
        return self


class MaskConfig(Section):
    """What is hidden in training."""

    ratio: Share = 0.5
    """Share of the patches that is hidden."""
    ratios: dict[str, Share] = {}
    """Of single sensors, where they differ."""
    correspondence: Literal["independent", "identical", "disjoint"] = "independent"
    """Hidden places by chance for each sensor, the same for all, or what the other shows."""


class LossConfig(Section):
    """Weights of the terms; 0 leaves a term out."""

    umr: Annotated[float, Field(ge=0)] = 1.0
    """Reconstruction of each sensor from itself."""
    cmr: Annotated[float, Field(ge=0)] = 1.0
    """Reconstruction of each sensor from another."""
    mim: Annotated[float, Field(ge=0)] = 1.0
    """Mutual information: contrast of the pooled features of places."""
    mde: Annotated[float, Field(ge=0)] = 0.0
    """Discrepancy: alignment of the pooled features without negatives."""
    same: Annotated[float, Field(gt=0)] = 1.0
    """Contrast of two views of each sensor's image, its visible and its hidden patches; only with retrieval heads."""
    temperature: Annotated[float, Field(gt=0)] = 0.5
    """Divides the cosines of the contrast."""
    normalise_patches: bool = False
    """Targets are standardised within each patch."""

    @model_validator(mode="after")
    def _something(self) -> LossConfig:
        if not any((self.umr, self.cmr, self.mim, self.mde)):
            raise ValueError("all weights of the loss are 0: nothing would be learned")
        return self


class HeadsConfig(Section):
    """Two heads for search: one for images of the same sensor, one for those of another.

    One space for both is a compromise. The heads learn in pre-training, the cross-sensor one from MIM and MDE, which
    then run on it and not on the pooled features, the same-sensor one from a contrast that costs a second encoding.
    """

    dim: Positive = 256
    """Width of the features to search with."""
    hidden: Positive = 512
    """Width of the hidden layer."""


class ModelConfig(Section):
    """A cross-sensor masked autoencoder, with Soft mixture-of-experts or dense."""

    sensors: dict[str, Sensor] = dict(SENTINELS)
    """Sensors by name."""
    image_px: Positive = 224
    """Edge of the images; a multiple of `patch_px`."""
    patch_px: Positive = 14
    """Edge of a patch."""
    cls_token: bool = True
    """Whether every sensor has a class token beside its patches."""
    encoder: EncoderConfig = EncoderConfig()
    decoder: DecoderConfig = DecoderConfig()
    mask: MaskConfig = MaskConfig()
    loss: LossConfig = LossConfig()
    retrieval: HeadsConfig | None = None
    """None: pooled features serve every search."""

    @property
    def grid(self) -> int:
        """Patches along an edge."""
        return self.image_px // self.patch_px

    @property
    def num_patches(self) -> int:
        """Patches of an image."""
        return self.grid**2

    def num_visible(self, sensor: str) -> int:
        """Patches of a sensor that a mask leaves to see."""
        return visible_patches(self.num_patches, self.ratios[sensor])

    @property
    def ratios(self) -> dict[str, float]:
        """Share of hidden patches, by sensor."""
        return {name: self.mask.ratios.get(name, self.mask.ratio) for name in self.sensors}

    @model_validator(mode="after")
    def _parts_fit(self) -> ModelConfig:
        problems = []
        if not self.sensors:
            problems.append("sensors: give at least one")
        if self.image_px % self.patch_px:
            problems.append(f"image_px {self.image_px} is no multiple of patch_px {self.patch_px}")
        if unknown := sorted(set(self.mask.ratios) - set(self.sensors)):
            problems.append(f"mask.ratios names {', '.join(unknown)}: sensors are {', '.join(self.sensors)}")
        hidden = [name for name in self.sensors if self.num_visible(name) < 1]
        if hidden and not problems:
            problems.append(f"mask ratio of {', '.join(hidden)} leaves no patch visible")
        if self.retrieval and not problems:
            problems.extend(self._unlearnable())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unlearnable(self) -> list[str]:
        """What keeps retrieval heads from learning."""
        found = []
        if len(self.sensors) < 2:
            found.append("retrieval: heads need two sensors or more")
        if not (self.loss.mim or self.loss.mde):
            found.append("retrieval: the cross-sensor head learns from loss.mim or loss.mde, both are 0")
        if whole := [name for name in self.sensors if self.num_visible(name) == self.num_patches]:
            found.append(f"retrieval: nothing of {', '.join(whole)} is hidden, so that there is no second view")
        return found
