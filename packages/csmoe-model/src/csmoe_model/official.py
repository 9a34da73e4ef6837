"""The official CSMAE (github jakhac/CSMAE) and ours: its names in a state dict -> our names.

What its weights do not say:

- The number of attention heads. Its training builds 3, 6, 12 or 16 for widths of 192, 384, 768 and 1024, and 16 in
  decoders; so do we. (The loader in its README builds 16 whatever the width, and the weights load without a word.)
- Its loader transposes images. To get the features that its own code gives, pass `images.transpose(2, 3)`.
- Its configurations of the common encoders (CECD, CESD) give 12 specific and no shared blocks, where the paper has it
  the other way round. Such a model ends in two norms, one after the other, which ours has not: refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig
from csmoe_model.errors import CheckpointError
from csmoe_model.nn.model import CSMoE
from csmoe_model.sensors import sentinel
from csmoe_model.train.checkpoint import save_model
from csmoe_model.train.config import TrainConfig
from csmoe_model.train.tensors import check_tensors, read_tensors

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
_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16}
_DECODER_HEADS = 16
_WRAPPERS = re.compile(r"^(?:(?:state_dict|model|module|_orig_mod)\.)+")
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


def convert_weights(weights: Path, out: Path, variant: str, *, image_px: int = 120, patch_px: int = 15) -> Path:
    """Writes a checkpoint folder from a safetensors file of the official state dict; the folder.

    Args:
        weights: Named as Lightning saves them: `backbone.`, `decoder...`, with or without `model.` or `module.` before.
        out: A folder that is not there yet.
        variant: `cecd`, `cesd`, `secd` or `sesd`.
        image_px: Edge of the images.
        patch_px: Edge of the patches.

    Raises:
        CheckpointError: The file is missing, a pickle, or of another model, variant or size.
    """
    if not weights.is_file():
        raise CheckpointError(f"weights {weights}: no such file: give a safetensors file")
    if out.exists():
        raise CheckpointError(f"checkpoint {out}: exists; choose another --out")
    state = read_tensors(weights)
    try:
        config = read_official(state, variant, image_px=image_px, patch_px=patch_px)
        converted = convert_official(state)
    except CheckpointError as error:
        raise CheckpointError(f"weights {weights}: {error}") from error
    with torch.device("meta"):
        model = CSMoE(config)
    check_tensors(converted, model.state_dict(), f"weights {weights}: are not those of '{variant}'")
    model.load_state_dict(converted, assign=True)
    return save_model(out, model, TrainConfig(model=config))


def read_official(state: Mapping[str, Tensor], variant: str, *, image_px: int = 120, patch_px: int = 15) -> ModelConfig:
    """The configuration of an official state dict, as far as names and shapes tell it, held against what is said of it.

    Raises:
        CheckpointError: It is of another model, variant or size.
    """
    state = _unwrapped(state)
    config = official_config(variant, image_px=image_px, patch_px=patch_px)
    patches = state.get("backbone.patch_embed.proj.weight")
    if patches is None or patches.ndim != 4:
        bare = " (these are the names of the encoder alone)" if "patch_embed.proj.weight" in state else ""
        raise CheckpointError(f"no entry 'backbone.patch_embed.proj.weight'{bare}: give CSMAE's whole state dict")
    specific, shared = (_num_blocks(state, f"backbone.{blocks}.") for blocks in ("blocks_s1", "blocks"))
    separate = any(name.startswith("decoder_s1_to_s2.") for name in state)
    _check_variant(variant, specific, shared, separate=separate)
    _check_sizes(state, patches, image_px, patch_px)
    decoder = "decoder_s1_to_s2." if separate else "decoder."
    dim, decoder_dim = len(patches), len(state.get(f"{decoder}decoder_embed.bias", ()))
    depth = _num_blocks(state, f"{decoder}decoder_blocks.")
    if dim not in _HEADS or decoder_dim % _DECODER_HEADS or not depth:
        raise CheckpointError(
            f"a width of {dim} and decoders of {depth} blocks of {decoder_dim}: CSMAE is {', '.join(map(str, _HEADS))} "
            "wide, its decoders have 8 blocks of 512"
        )
    encoder = EncoderConfig(dim=dim, heads=_HEADS[dim], specific_depth=specific, shared_depth=shared, moe=None)
    decoders = DecoderConfig(dim=decoder_dim, heads=_DECODER_HEADS, depth=depth, separate=separate)
    return config.model_copy(update={"encoder": encoder, "decoder": decoders})


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict of an official one; fixed positions fall away.

    Raises:
        CheckpointError: A name is not one of CSMAE's.
    """
    return {
        _translate(name): value.to(torch.float32)
        for name, value in _unwrapped(state).items()
        if not _POSITIONS.match(name)
    }


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without the names that trainers and compilers put before."""
    return {_WRAPPERS.sub("", name): value for name, value in state.items()}


def _num_blocks(names: Iterable[str], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)})


def _check_variant(variant: str, specific: int, shared: int, *, separate: bool) -> None:
    if specific and not shared:
        raise CheckpointError(
            f"{specific} specific and no shared blocks, which the official configurations of common encoders give, but "
            "not the paper: no such model can be built here"
        )
    found = f"{'s' if specific else 'c'}e{'s' if separate else 'c'}d"
    if found != variant:
        decoders = "a decoder for each sensor" if separate else "one decoder"
        raise CheckpointError(
            f"{specific} specific and {shared} shared blocks and {decoders} are variant '{found}', not '{variant}': "
            f"give --variant {found}"
        )


def _check_sizes(state: Mapping[str, Tensor], patches: Tensor, image_px: int, patch_px: int) -> None:
    if (found := patches.shape[-1]) != patch_px:
        raise CheckpointError(f"patches of {found} px, not {patch_px}: give --patch-px {found}")
    positions = state.get("backbone.pos_embed")
    if positions is not None and (found := math.isqrt(positions.shape[-2] - 1) * patch_px) != image_px:
        raise CheckpointError(f"images of {found} px, not {image_px}: give --image-px {found}")


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
