"""Parameters and multiply-adds of a model, without any memory for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from csmoe_model.config import ModelConfig
from csmoe_model.cost import encoder_cost, training_macs
from csmoe_model.nn.masking import Mask
from csmoe_model.nn.model import CSMoE

TOLERANCE = 0.01
"""Relative difference between our count and torch's from which on one of them is called wrong."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of parameters."""

    total: int
    """With the decoders."""
    encoder: int
    active: dict[str, int]
    """On the path of one sensor through the encoder; all experts of a Soft mixture are on it."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work of one task in two counts."""

    macs: int
    """From the configuration."""
    flops: int
    """By torch's counter; 2 to a multiply-add."""

    @property
    def agreement(self) -> float:
        """Torch's count by ours; 1 when they agree."""
        return self.flops / (2 * self.macs)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What can be known without running a model."""

    parameters: Parameters
    encode: dict[str, Work]
    """One whole image of each sensor through the encoder."""
    train: Work
    """A training step for one place."""

    def problems(self, name: str) -> list[str]:
        """Where the two counts of the work differ by more than the tolerance."""
        tasks = {f"encoding an image of {sensor}": work for sensor, work in self.encode.items()}
        return [
            f"{name}: torch counts {work.flops / 2e9:.4g} GMAC for {task}, the configuration says "
            f"{work.macs / 1e9:.4g}: one of the two counts is wrong, please report it"
            for task, work in {**tasks, "a training step": self.train}.items()
            if abs(work.agreement - 1) > TOLERANCE
        ]


def count_parameters(config: ModelConfig) -> Parameters:
    """Numbers of parameters of a configuration; nothing is allocated."""
    with torch.device("meta"):
        model = CSMoE(config)
    encoder = model.encoder
    common = _size(encoder.shared, encoder.shared_norm, encoder.pooled_norm)
    return Parameters(
        total=_size(model),
        encoder=_size(encoder),
        active={
            name: common + _size(encoder.tokenisers[name], encoder.specific[name], encoder.specific_norms[name])
            for name in config.sensors
        },
    )


def count(config: ModelConfig) -> Counts:
    """Parameters, and the work by our formulas and by torch's counter; nothing is allocated or computed."""
    return Counts(
        parameters=count_parameters(config),
        encode={
            name: Work(macs=encoder_cost(config, name).macs, flops=_encoding_flops(config, name))
            for name in config.sensors
        },
        train=Work(macs=training_macs(config), flops=_training_flops(config)),
    )


def _encoding_flops(config: ModelConfig, sensor: str) -> int:
    model = _shape_of(config)
    with FakeTensorMode(), torch.no_grad():
        arguments = (sensor, _blank_images(config)[sensor])
        state = _blank_state(model.encoder)
        with FlopCounterMode(display=False) as counter:
            functional_call(model.encoder, state, arguments)
    return int(counter.get_total_flops())


def _training_flops(config: ModelConfig) -> int:
    """Forward and backward for one place, without the contrast among sensors, which needs several."""
    loss = config.loss.model_copy(update={"mim": 0.0, "mde": 1.0})  # so that heads are used
    model = _shape_of(config.model_copy(update={"loss": loss}))
    with FakeTensorMode():
        masks = {
            name: Mask(
                torch.zeros(1, config.num_visible(name), dtype=torch.long),
                torch.zeros(1, config.num_patches, dtype=torch.bool),
            )
            for name in config.sensors
        }
        arguments = (_blank_images(config), masks)
        state = _blank_state(model)
        with FlopCounterMode(display=False) as counter:
            objective = functional_call(model, state, arguments)
            objective.total.backward()
    return int(counter.get_total_flops())


def _shape_of(config: ModelConfig) -> CSMoE:
    with torch.device("meta"):
        return CSMoE(config)


def _blank_images(config: ModelConfig) -> dict[str, Tensor]:
    edge = config.image_px
    return {name: torch.empty(1, sensor.num_bands, edge, edge) for name, sensor in config.sensors.items()}


def _blank_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers on the CPU, with shapes and nothing in them; on `meta` autocast is unknown."""
    learned = {name: torch.empty(value.shape, requires_grad=True) for name, value in model.named_parameters()}
    return {**learned, **{name: torch.empty(value.shape) for name, value in model.named_buffers()}}


def _size(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
