"""Named models: `csmoe-{tiny,small,base,large}-p{8,14,15,16,28}` and their dense twins `csmae-...`."""

from __future__ import annotations

import re

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig, MoEConfig
from csmoe_model.cost import encoder_cost
from csmoe_model.errors import ConfigError

_SIZES = {
    # encoder width, heads, specific and shared blocks; decoder width, heads, blocks
    "tiny": ((192, 3, 10, 2), (128, 4, 4)),
    "small": ((384, 6, 10, 2), (256, 8, 4)),
    "base": ((768, 12, 10, 2), (512, 16, 8)),
    "large": ((1024, 16, 20, 4), (512, 16, 8)),
}
_IMAGE_PX = {8: 224, 14: 224, 16: 224, 28: 224, 15: 120}
"""Patch -> image; 15 px at 120 px is CSMAE's."""
PRESETS = tuple(f"{kind}-{size}-p{patch}" for kind in ("csmoe", "csmae") for size in _SIZES for patch in _IMAGE_PX)


def default_moe(dense: ModelConfig) -> MoEConfig:
    """Four experts, with as many slots and as much width as let encoding cost half of a dense model, sensors together.

    Slots are an eighth or a sixteenth of the tokens, at least sixteen, width half or a quarter of the dense one. Where
    attention leaves hardly any room, eight slots; where it leaves none (patches of 8 px in narrow models), slots for a
    sixteenth and a quarter of the width.

    Routers begin at scale 16, where the reference begins at 1: in short runs every term of the loss was lower, while
    slots and width made no difference (see dev/LOG.md).
    """
    eighth, sixteenth = (max(16, dense.num_patches // part) for part in (8, 16))
    narrow = _moe(sixteenth, 0.25)
    for moe in (_moe(eighth, 0.5), _moe(sixteenth, 0.5), narrow, _moe(8, 0.25)):
        if _cost(dense, moe) <= 0.5 * _cost(dense, None):
            return moe
    return narrow


def _moe(slots: int, width: float) -> MoEConfig:
    return MoEConfig(experts=4, slots_per_expert=slots // 4, width=width, scale=16.0)


def _cost(dense: ModelConfig, moe: MoEConfig | None) -> int:
    """Multiply-adds of encoding an image of each sensor."""
    config = dense.model_copy(update={"encoder": dense.encoder.model_copy(update={"moe": moe})})
    return sum(encoder_cost(config, sensor).macs for sensor in config.sensors)


def preset(name: str) -> ModelConfig:
    """The model of a preset.

    Raises:
        ConfigError: There is none of that name.
    """
    match = re.fullmatch(r"(csmoe|csmae)-(\w+)-p(\d+)", name)
    if not match or match[2] not in _SIZES or int(match[3]) not in _IMAGE_PX:
        raise ConfigError(
            f"preset '{name}': names are csmoe-SIZE-pPATCH or csmae-SIZE-pPATCH with a size of "
            f"{', '.join(_SIZES)} and a patch of {', '.join(map(str, _IMAGE_PX))}"
        )
    (dim, heads, specific, shared), (decoder_dim, decoder_heads, decoder_depth) = _SIZES[match[2]]
    patch_px = int(match[3])
    image_px = _IMAGE_PX[patch_px]
    dense = ModelConfig(
        image_px=image_px,
        patch_px=patch_px,
        encoder=EncoderConfig(dim=dim, heads=heads, specific_depth=specific, shared_depth=shared, moe=None),
        decoder=DecoderConfig(dim=decoder_dim, heads=decoder_heads, depth=decoder_depth),
    )
    if match[1] == "csmae":
        return dense
    return dense.model_copy(update={"encoder": dense.encoder.model_copy(update={"moe": default_moe(dense)})})
