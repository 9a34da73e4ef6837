"""The official CSMAE (github jakhac/CSMAE) and ours: its names in a state dict -> our names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig
from csmoe_model.errors import CheckpointError
from csmoe_model.sensors import sentinel

S1_BANDS = ("VH", "VV")
S2_BANDS = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A")
_DEPTHS = {"cecd": (0, 12), "cesd": (0, 12), "secd": (10, 2), "sesd": (10, 2)}
_RULES = (
    (r"backbone\.patch_embed\.(.+)", r"encoder.tokenisers.s1.patches.\1"),
    (r"backbone\.patch_embed_s2\.(.+)", r"encoder.tokenisers.s2.patches.\1"),
    (r"backbone\.cls_token", r"encoder.tokenisers.s1.cls"),
    (r"backbone\.cls_token_s2", r"encoder.tokenisers.s2.cls"),
    (r"backbone\.blocks_(s[12])\.(.+)", r"encoder.specific.\1.\2"),
    (r"backbone\.norm_(s[12])\.(.+)", r"encoder.specific_norms.\1.\2"),
    (r"backbone\.blocks\.(.+)", r"encoder.shared.\1"),
    (r"backbone\.norm\.(.+)", r"encoder.shared_norm.\1"),
    (r"backbone\.fc_norm\.(.+)", r"encoder.pooled_norm.\1"),
    # Decoders are named by their direction, but chosen by their target.
    (r"decoder_s[12]_to_(s[12])\.decoder_pred\.(.+)", r"decoders.by_target.\1.heads.\1.\2"),
    (r"decoder\.decoder_pred_s[12]_to_(s[12])\.(.+)", r"decoders.by_target.common.heads.\1.\2"),
)
_DECODER = (
    ("decoder_embed.", "embed."),
    ("decoder_blocks.", "blocks."),
    ("decoder_norm.", "norm."),
    ("mask_token", "mask_token"),
)
_POSITIONS = re.compile(r"(backbone\.pos_embed|.*decoder_pos_embed)$")


def official_config(
    variant: str, *, image_px: int = 120, patch_px: int = 15, dim: int = 768, heads: int = 12
) -> ModelConfig:
    """The configuration of an official variant: `cecd`, `cesd`, `secd` or `sesd`.

    Raises:
        CheckpointError: There is no such variant.
    """
    if variant not in _DEPTHS:
        raise CheckpointError(f"CSMAE variant '{variant}' is unknown: it is one of {', '.join(_DEPTHS)}")
    specific, shared = _DEPTHS[variant]
    return ModelConfig(
        sensors={"s1": sentinel(S1_BANDS, "dB"), "s2": sentinel(S2_BANDS, "DN")},
        image_px=image_px,
        patch_px=patch_px,
        encoder=EncoderConfig(dim=dim, heads=heads, specific_depth=specific, shared_depth=shared, moe=None),
        decoder=DecoderConfig(separate=variant.endswith("sd")),
    )


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of an official one; fixed positions fall away.

    Raises:
        CheckpointError: A name is not one of CSMAE's.
    """
    converted = {}
    for name, value in state.items():
        if not _POSITIONS.match(name):
            converted[_translate(name)] = value
    return converted


def _translate(name: str) -> str:
    for pattern, ours in _RULES:
        if match := re.fullmatch(pattern, name):
            return match.expand(ours)
    decoder, _, rest = name.partition(".")
    match = re.fullmatch(r"decoder(?:_s[12]_to_(s[12]))?", decoder)
    for start, ours in _DECODER:
        if match and rest.startswith(start):
            return f"decoders.by_target.{match[1] or 'common'}.{ours}{rest.removeprefix(start)}"
    raise CheckpointError(f"checkpoint entry '{name}' is not one of CSMAE's: is it a checkpoint of that model?")
