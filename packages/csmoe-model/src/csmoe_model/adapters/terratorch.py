"""TerraTorch's registry of backbones: `csmoe`. Importing this module registers it.

    BACKBONE_REGISTRY.build("csmoe", ckpt_path="exported", modalities=["S2L2A", "S1GRD"], out_indices=[2, 5, 8, 11])

Images come standardised, as TerraTorch's data modules give them: with the means and deviations of the model
(`config.json` of the exported folder has them by band), in the order of `model_bands`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from csmoe_model.adapters.backbone import as_maps, layers_of, opened
from csmoe_model.adapters.bands import channels, chosen, sensor_of
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.nn.model import CSMoE

try:
    from terratorch.registry import TERRATORCH_BACKBONE_REGISTRY
except ImportError as error:
    raise ConfigError("TerraTorch is not installed: pip install terratorch") from error

Merge = Literal["mean", "max", "concat"]


class TerraTorchCSMoE(nn.Module):
    """A CSMoE whose forward gives a list of maps (B, D, h, w), one a layer: no neck has to guess a class token.

    Args:
        model: Whose encoder.
        modalities: S2L2A, S1GRD, S1RTC, or sensors of the model.
        model_bands: By modality, the names of the channels that come; a modality that is not in it comes in the
            model's own order.
        layers: Blocks whose maps are given, as they are before any norm.
        merge_method: How maps of several modalities become one.

    Raises:
        ConfigError: A modality or band is not the model's.
    """

    def __init__(
        self,
        model: CSMoE,
        modalities: Sequence[str],
        model_bands: Mapping[str, Sequence[str]],
        layers: Sequence[int],
        merge_method: Merge,
    ) -> None:
        super().__init__()
        self.encoder, self.layers, self.merge_method = model.encoder, tuple(layers), merge_method
        self.patch_size = model.config.patch_px
        self.sensors = {modality: sensor_of(model.config, modality) for modality in modalities}
        if unknown := sorted(set(model_bands) - set(self.sensors)):
            raise ConfigError(f"model_bands: {', '.join(unknown)} is none of modalities {', '.join(self.sensors)}")
        own = {modality: model.config.sensors[sensor] for modality, sensor in self.sensors.items()}
        given = {modality: [str(band) for band in model_bands.get(modality, own[modality].bands)] for modality in own}
        self.num_given = {modality: len(names) for modality, names in given.items()}
        self.places = {name: channels(sensor, given[name], f"modality {name}") for name, sensor in own.items()}
        width = model.config.encoder.dim * (len(self.sensors) if merge_method == "concat" else 1)
        self.out_channels = [width] * len(self.layers)

    def forward(self, images: Tensor | Mapping[str, Tensor], **_: Any) -> list[Tensor]:
        """Images (B, C, H, W), by modality where there are several -> a map (B, D, h, w) of each layer.

        Raises:
            DataError: A modality is not one of the model's, or is lacking where `concat` needs all.
        """
        by_name = {next(iter(self.sensors)): images} if isinstance(images, Tensor) else dict(images)
        wrong = set(by_name) - set(self.sensors)
        lacking = set(self.sensors) - set(by_name) if self.merge_method == "concat" else set()
        if wrong or lacking or not by_name:
            raise DataError(
                f"images of {', '.join(by_name) or 'nothing'}: modalities are {', '.join(self.sensors)}"
                + (", and concat needs all of them" if lacking else "")
            )
        found = [
            self.encoder(self.sensors[name], chosen(x, self.places[name], self.num_given[name]), layers=self.layers)
            for name, x in sorted(by_name.items(), key=lambda item: list(self.sensors).index(item[0]))
        ]
        layers = zip(*([as_maps(tokens) for tokens in one.layers] for one in found), strict=True)
        return [_merged(parts, self.merge_method) for parts in layers]


@TERRATORCH_BACKBONE_REGISTRY.register  # type: ignore[untyped-decorator, unused-ignore]
def csmoe(
    pretrained: bool = False,
    ckpt_path: str | None = None,
    model_bands: Mapping[str, Sequence[str]] | Sequence[str] | None = None,
    out_indices: Sequence[int] | None = None,
    modalities: Sequence[str] = ("S2L2A",),
    merge_method: Merge = "mean",
    preset: str = "csmoe-base-p14",
    image_px: int | None = None,
    **kwargs: Any,
) -> TerraTorchCSMoE:
    """The backbone.

    Args:
        pretrained: Weights are wanted: then `ckpt_path` must say where they are.
        ckpt_path: A checkpoint, run or exported folder of this package.
        model_bands: Names of the channels that come, TerraTorch's (RED, NIR_NARROW, VV) or ours (B04, B8A), by
            modality, or of the only one; default: the model's own order.
        out_indices: Blocks, from 0 on, negative ones from the end; default: all.
        modalities: What comes; a plain tensor is of the first.
        merge_method: mean, max or concat (along the channels) of the modalities' maps.
        preset: Shape of a model without weights.
        image_px: Edge of the images, where not the model's own; positions are computed.
        kwargs: None are known.

    Raises:
        ConfigError: An argument does not fit the model.
        CheckpointError: The weights cannot be loaded.
    """
    if kwargs:
        raise ConfigError(f"backbone csmoe: takes no {', '.join(kwargs)}")
    if pretrained and ckpt_path is None:
        raise ConfigError("backbone csmoe: no weights are published: give ckpt_path, or pretrained=False")
    if merge_method not in get_args(Merge):
        raise ConfigError(f"merge_method '{merge_method}': is one of {', '.join(get_args(Merge))}")
    model = opened(ckpt_path, preset, image_px)
    if model_bands is not None and not isinstance(model_bands, Mapping):
        if len(modalities) != 1:
            raise ConfigError(f"model_bands: name them by modality, there are {', '.join(modalities)}")
        model_bands = {modalities[0]: model_bands}
    layers = layers_of(out_indices, model.config.encoder.depth)
    return TerraTorchCSMoE(model, modalities, model_bands or {}, layers, merge_method)


def _merged(parts: Sequence[Tensor], method: Merge) -> Tensor:
    if method == "concat":
        return torch.cat(list(parts), dim=1)
    stacked = torch.stack(list(parts))
    return stacked.mean(0) if method == "mean" else stacked.amax(0)
