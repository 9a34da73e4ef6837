"""An encoder for PANGAEA (pangaea-bench): `_target_: csmoe_model.adapters.pangaea.CSMoEEncoder`.

PANGAEA fills bands that its data do not have with zeros after it has standardised the others. Such a band is refused
here: name only bands of the data, which then have to be those of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from logging import Logger
from pathlib import Path

import torch
from torch import Tensor

from csmoe_model.adapters.backbone import as_maps, layers_of, opened
from csmoe_model.adapters.bands import channels, chosen, sensor_of
from csmoe_model.errors import ConfigError, DataError
from csmoe_model.train.checkpoint import WEIGHTS, load_weights, resolve

try:
    from pangaea.encoders.base import Encoder
except ImportError as error:
    raise ConfigError(f"PANGAEA cannot be imported ({error}): put pangaea-bench on the path") from error


class CSMoEEncoder(Encoder):
    """A CSMoE, or its dense twin, of one date and one or several sensors, whose maps lie side by side.

    Args:
        encoder_weights: A checkpoint, run or exported folder of this package.
        input_bands: By modality (`optical`, `sar`), the bands in the order in which they come: B1, B8A, VV.
        output_layers: Blocks, from 0 on, negative ones from the end.
        input_size: Edge of the images; default: the model's own. Positions are computed.
        output_dim: Checked where given.
        download_url: Nothing is loaded from there.

    Raises:
        ConfigError: A band, layer or size is not the model's.
        CheckpointError: The weights cannot be loaded.
    """

    def __init__(
        self,
        encoder_weights: str | Path,
        input_bands: Mapping[str, Sequence[str]],
        output_layers: Sequence[int],
        input_size: int | None = None,
        output_dim: int | None = None,
        download_url: str | None = None,
    ) -> None:
        folder = resolve(Path(encoder_weights))
        model = opened(folder, "", input_size)
        config = model.config
        layers = layers_of(output_layers, config.encoder.depth)
        width = config.encoder.dim * len(input_bands)
        if output_dim not in (None, width):
            raise ConfigError(f"output_dim {output_dim}: maps of {', '.join(input_bands)} have {width} channels")
        super().__init__(
            model_name="csmoe" if config.encoder.moe else "csmae",
            input_bands={name: list(bands) for name, bands in input_bands.items()},
            input_size=config.image_px,
            embed_dim=config.encoder.dim,
            output_layers=list(layers),
            output_dim=width,
            multi_temporal=False,
            multi_temporal_output=False,
            pyramid_output=False,
            encoder_weights=str(folder / WEIGHTS),
            download_url="",
        )
        self.model = model
        self.sensors = {name: sensor_of(config, name) for name in self.input_bands}
        self.places = {
            name: channels(config.sensors[sensor], self.input_bands[name], f"input_bands {name}")
            for name, sensor in self.sensors.items()
        }

    def load_encoder_weights(self, logger: Logger) -> None:
        """Weights anew from the folder; every name, shape and type must fit."""
        load_weights(self.model, Path(self.encoder_weights).parent)
        logger.info("weights of %s from %s", self.model_name, self.encoder_weights)

    def forward(self, image: Mapping[str, Tensor]) -> list[Tensor]:
        """Standardised images (B, C, [1,] H, W) by modality -> a map (B, D, H', W') of each layer.

        Raises:
            DataError: A modality is lacking, there are several dates, or a band is 0 everywhere.
        """
        if missing := set(self.sensors) - set(image):
            raise DataError(f"images of {', '.join(image)}: no {', '.join(sorted(missing))}")
        found = [
            self.model.encoder(sensor, self._chosen(name, image[name]), layers=self.output_layers)
            for name, sensor in self.sensors.items()
        ]
        return [as_maps(torch.cat(parts, dim=-1)) for parts in zip(*(one.layers for one in found), strict=True)]

    def _chosen(self, name: str, x: Tensor) -> Tensor:
        if x.dim() == 5:
            if x.shape[2] != 1:
                raise DataError(f"images of {name}: {x.shape[2]} dates, the model takes one: choose one, or merge maps")
            x = x.squeeze(2)
        bands = self.input_bands[name]
        x = chosen(x, self.places[name], len(bands))
        if not (some := (x != 0).any(dim=3).any(dim=2).any(dim=0)).all():
            empty = [bands[place] for place, any_ in zip(self.places[name], some.tolist(), strict=True) if not any_]
            raise DataError(
                f"images of {name}: {', '.join(empty)} is 0 everywhere: do the data have it? PANGAEA fills lacking "
                "bands with 0, which the model takes for a measurement"
            )
        return x
