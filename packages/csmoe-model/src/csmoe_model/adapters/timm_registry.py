"""timm's registry: `csmoe_base_p14`, its dense twin `csmae_base_p14`, and so on, for images of one sensor.

Importing this module registers them. `csmoe` builds any configuration; it is what an exported folder names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from timm.models import build_model_with_cfg, create_model, register_model, save_for_hf
from torch import Tensor, nn

from csmoe_model.adapters.backbone import as_maps, layers_of, shape
from csmoe_model.adapters.card import Origin, model_card
from csmoe_model.adapters.card_results import evaluation
from csmoe_model.config import ModelConfig
from csmoe_model.errors import CheckpointError, ConfigError
from csmoe_model.nn.blocks import ENCODER_EPS
from csmoe_model.nn.encoder import Encoder
from csmoe_model.presets import PRESETS, preset
from csmoe_model.train.checkpoint import load_model, model_config, read_config, resolve

__all__: list[str] = []
_USE = """\
import timm
import torch

import csmoe_model.adapters.timm_registry  # puts the architecture into timm's registry

model = timm.create_model("local-dir:.", pretrained=True).eval()  # or hf-hub:NAME
tokens = model.forward_features(torch.zeros({shape}))
features = model.forward_head(tokens, pre_logits=True)"""


class TimmCSMoE(nn.Module):
    """The encoder of one sensor, as timm wants a model.

    Args:
        config: Of the model; other sensors are left out.
        sensor: Whose images come.
        num_classes: Of the head; 0: none.
        in_chans: Must be the sensor's; timm gives it.
        global_pool: `avg`, which is the only way.
        img_size: Edge of the images, where not the configuration's; positions are computed.

    Raises:
        ConfigError: The sensor, size or number of channels is not to be had.
    """

    def __init__(
        self,
        config: ModelConfig | Mapping[str, Any],
        sensor: str,
        num_classes: int = 0,
        in_chans: int | None = None,
        global_pool: str = "avg",
        img_size: int | Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.sensor = one_sensor(ModelConfig.model_validate(config), sensor, img_size), sensor
        bands = self.config.sensors[sensor].bands
        if in_chans not in (None, len(bands)):
            raise ConfigError(f"in_chans {in_chans}: '{sensor}' has {len(bands)} bands, {', '.join(bands)}")
        _check_pool(global_pool)
        self.in_chans, self.global_pool = len(bands), "avg"
        self.num_features = self.head_hidden_size = self.embed_dim = self.config.encoder.dim
        self.encoder = Encoder(self.config)
        self.head: nn.Module
        self.reset_classifier(num_classes)

    def forward_features(self, images: Tensor) -> Tensor:
        """Standardised images (B, C, H, W) -> patch tokens (B, L, D), row-major."""
        return self.encoder(self.sensor, images).tokens  # type: ignore[no-any-return]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Tokens (B, L, D) -> classes (B, K), or the pooled feature (B, D) that pre-training made."""
        pooled: Tensor = self.encoder.pooled_norm(x.mean(dim=1))
        return pooled if pre_logits else self.head(pooled)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K); (B, D) without classes."""
        return self.forward_head(self.forward_features(images))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | Sequence[int] | None = None,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Maps (B, D, h, w) after blocks, as they are before any norm, and the tokens of `forward_features`.

        Args:
            x: Standardised images.
            indices: Blocks, negative ones from the end; a number: so many last ones; None: all.
            output_fmt: NCHW, or NLC for tokens (B, L, D).
            intermediates_only: Leave the tokens out.

        Raises:
            ConfigError: There is no such block or format.
        """
        depth = self.config.encoder.depth
        layers = layers_of(range(-indices, 0) if isinstance(indices, int) else indices, depth)
        if output_fmt not in ("NCHW", "NLC"):
            raise ConfigError(f"output_fmt '{output_fmt}': is NCHW or NLC")
        features = self.encoder(self.sensor, x, layers=layers)
        found = [as_maps(tokens) if output_fmt == "NCHW" else tokens for tokens in features.layers]
        return found if intermediates_only else (features.tokens, found)

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Puts a new head of so many classes; 0: none."""
        _check_pool(global_pool or "avg")
        self.num_classes = num_classes
        self.head = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()


def one_sensor(config: ModelConfig, sensor: str, img_size: int | Sequence[int] | None = None) -> ModelConfig:
    """A configuration with one of its sensors, and another size of images where wanted.

    Raises:
        ConfigError: There is no such sensor, or the size does not do.
    """
    if sensor not in config.sensors:
        raise ConfigError(f"the model has no sensor '{sensor}': it has {', '.join(config.sensors)}")
    sizes = {img_size} if isinstance(img_size, int) else set(img_size or (config.image_px,))
    size = sizes.pop()
    if sizes or size % config.patch_px:
        raise ConfigError(f"img_size {img_size}: images are square, a multiple of patches of {config.patch_px} px")
    mask = config.mask.model_copy(update={"ratios": {}})
    return config.model_copy(update={"sensors": {sensor: config.sensors[sensor]}, "image_px": size, "mask": mask})


def export_timm(checkpoint: Path, out: Path, sensor: str, results: Sequence[Path] = ()) -> Path:
    """Writes the encoder of one sensor as `local-dir:` and `hf-hub:` of timm read it, into a new folder; its path.

    `results` become tables on its card.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or `out` exists.
        ConfigError: There is no such sensor, or results are not of this model.
        DataError: Results cannot be read.
    """
    if out.exists():
        raise CheckpointError(f"folder {out}: exists; choose another --out")
    folder = resolve(checkpoint)
    training = read_config(folder)
    config, tables = one_sensor(training.model, sensor), evaluation(checkpoint, results)
    args: dict[str, Any] = {"config": config.model_dump(mode="json"), "sensor": sensor}
    model: Any = create_model("csmoe", checkpoint=folder, **args)
    own = config.sensors[sensor]
    about = {"layer_norm_eps": ENCODER_EPS, "bands": list(own.bands), "unit": own.unit, "patch_size": config.patch_px}
    model._model_args = args
    save_for_hf(model, str(out), model_config=about, safe_serialization=True)
    parameters = sum(p.numel() for p in model.parameters())
    use = _USE.format(shape=f"1, {own.num_bands}, {config.image_px}, {config.image_px}")
    card = model_card(config, parameters, use, origin=Origin.of(folder), tables=tables)
    (out / "README.md").write_text(card, encoding="utf-8")
    return out


def _check_pool(name: str) -> None:
    if name != "avg":
        raise ConfigError(f"global_pool '{name}': the pooled feature is the normalised mean of the tokens, 'avg'")


def _about(config: ModelConfig, sensor: str) -> dict[str, Any]:
    """What timm's data pipeline asks; timm crops and standardises with it."""
    own = config.sensors[sensor]
    return {
        "input_size": (own.num_bands, config.image_px, config.image_px),
        "fixed_input_size": True,
        "mean": own.mean,
        "std": own.std,
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "num_classes": 0,
        "first_conv": None,  # bands have an order, and are never adapted to another number of channels
        "classifier": "head",
    }


@register_model
def csmoe(
    pretrained: bool = False,
    *,
    config: Mapping[str, Any] | None = None,
    sensor: str = "s2",
    checkpoint: Path | str | None = None,
    **kwargs: Any,
) -> TimmCSMoE:
    """A model of any configuration, or of a checkpoint of this package."""
    if checkpoint is not None and config is None:
        config = model_config(Path(checkpoint)).model_dump(mode="json")
    if config is None:
        raise ConfigError("architecture 'csmoe': give config or checkpoint, or name a size: csmoe_base_p14")
    return _built("csmoe", ModelConfig.model_validate(config), sensor, checkpoint, pretrained=pretrained, **kwargs)


def _built(
    name: str, config: ModelConfig, sensor: str, checkpoint: Path | str | None, *, pretrained: bool, **kwargs: Any
) -> TimmCSMoE:
    single = one_sensor(config, sensor, kwargs.pop("img_size", None))
    kwargs["pretrained_cfg"] = kwargs.get("pretrained_cfg") or _about(single, sensor)
    model: TimmCSMoE = build_model_with_cfg(TimmCSMoE, name, pretrained, config=single, sensor=sensor, **kwargs)
    if checkpoint is not None:
        whole = load_model(Path(checkpoint)).encoder.state_dict()
        model.encoder.load_state_dict({key: whole[key] for key in model.encoder.state_dict()})
    return model


def _register(name: str) -> None:
    def entry(
        pretrained: bool = False, *, sensor: str = "s2", checkpoint: Path | str | None = None, **kwargs: Any
    ) -> TimmCSMoE:
        config = preset(name)
        if checkpoint is not None:
            found = model_config(Path(checkpoint))
            if shape(found) != shape(config):
                raise CheckpointError(f"checkpoint {checkpoint}: is no {name}: take architecture 'csmoe'")
            config = found
        return _built(entry.__name__, config, sensor, checkpoint, pretrained=pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = name.replace("-", "_")
    entry.__doc__ = f"The encoder of one sensor of {name}."
    register: Callable[..., Any] = register_model
    globals()[entry.__name__] = register(entry)  # timm names it in __all__


for _name in PRESETS:
    _register(_name)
