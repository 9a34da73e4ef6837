"""The dense twin against the official CSMAE with copied weights: pixels, features and losses of all four variants.

    git clone https://github.com/jakhac/CSMAE && uv run benchmarks/csmae_parity.py --source CSMAE

The official modules are imported from their checkout as they are; of the training frameworks that they name, only empty
modules stand in, since nothing of them is used. Small widths, random weights and images, the official masks.
"""

from __future__ import annotations

import argparse
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import torch

from csmoe_model.config import DecoderConfig
from csmoe_model.nn.masking import Mask
from csmoe_model.nn.model import CSMoE
from csmoe_model.official import convert_official, official_config

DIM, HEADS, DECODER = 96, 3, {"dim": 64, "heads": 4, "depth": 2}
ABSENT = (
    *("omegaconf", "pl_bolts", "pl_bolts.optimizers", "pl_bolts.optimizers.lr_scheduler"),
    *("pytorch_lightning", "pytorch_lightning.callbacks"),
)


def import_official(source):
    """The official backbone, decoder and losses."""
    setattr(np, "float", float)  # noqa: B010 - numpy has dropped the name that the positions use
    for name in ABSENT:
        sys.modules[name] = types.ModuleType(name)
    sys.modules["omegaconf"].DictConfig = sys.modules["omegaconf"].OmegaConf = dict
    sys.modules["pl_bolts.optimizers.lr_scheduler"].LinearWarmupCosineAnnealingLR = object
    sys.modules["pytorch_lightning"].LightningModule = torch.nn.Module
    sys.modules["pytorch_lightning"].Trainer = sys.modules["pytorch_lightning.callbacks"].Callback = object
    sys.path.insert(0, str(source))
    from src.csmae import CSMAEDecoder
    from src.csmae_backbone import CSMAEBackbone
    from src.loss import mim_loss_func, mse_loss_func

    return CSMAEBackbone, CSMAEDecoder, mse_loss_func, mim_loss_func


def official_model(variant, backbone_type, decoder_type):
    specific, shared = (3, 1) if variant[0] == "s" else (0, 4)
    backbone = backbone_type(
        img_size=120,
        patch_size=15,
        embed_dim=DIM,
        num_heads=HEADS,
        mlp_ratio=4,
        multi_sensor_encoder_depth=specific,
        cross_sensor_encoder_depth=shared,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-6),
        global_pool="avg",
        masking_strategy="random",
    )
    shape = {"in_dim": DIM, "embed_dim": 64, "depth": 2, "num_heads": 4, "num_patches": 64, "patch_size": 15}
    if variant[2] == "c":
        decoders = {"decoder": decoder_type(**shape, decoding_strategy="common")}
    else:
        decoders = {
            f"decoder_{names}": decoder_type(**shape, decoding_strategy="specific", decoder_in_chans=bands)
            for names, bands in (("s2_to_s1", 2), ("s1_to_s2", 10))
        }
    return backbone.eval(), decoders, (specific, shared)


def our_model(variant, backbone, decoders, depths):
    config = official_config(variant, dim=DIM, heads=HEADS)
    encoder = config.encoder.model_copy(update={"specific_depth": depths[0], "shared_depth": depths[1]})
    decoder = DecoderConfig(**DECODER, separate=variant[2] == "s")
    model = CSMoE(config.model_copy(update={"encoder": encoder, "decoder": decoder})).eval()
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    for prefix, part in decoders.items():
        state |= {f"{prefix}.{name}": value for name, value in part.state_dict().items()}
    model.load_state_dict(convert_official(state), strict=True)
    return model


def masks_of(found):
    """The official masks as ours."""
    masks = {}
    for name in ("s1", "s2"):
        hidden = found[name][2].bool()
        masks[name] = Mask((~hidden).nonzero()[:, 1].view(len(hidden), -1), hidden)
    return masks


@torch.no_grad()
def compare(variant, backbone_type, decoder_type, mse, mim):
    torch.manual_seed(1)
    backbone, decoders, depths = official_model(variant, backbone_type, decoder_type)
    model = our_model(variant, backbone, decoders, depths)
    stacked = torch.randn(5, 12, 120, 120)
    images = {"s1": stacked[:, 10:], "s2": stacked[:, :10]}
    found = backbone(stacked, 0.5)
    ours = model(images, masks_of(found))
    worst, total = 0.0, torch.zeros(())
    for source in images:
        for target in images:
            name = "decoder" if variant[2] == "c" else f"decoder_{'s2_to_s1' if target == 's1' else 's1_to_s2'}"
            pixels = decoders[name](found[source][1], found[source][3], target)
            worst = max(worst, float((pixels - ours.pixels[source, target]).abs().max()))
            bands = images[target].shape[1]
            total += mse(images[target], pixels, found[source][2], 15, norm_pix_loss=False, num_channels=bands)
    total += mim({"feats_s1": [found["s1"][0]], "feats_s2": [found["s2"][0]]}, 0.5)
    features = max(float((found[name][0] - ours.features[name]).abs().max()) for name in images)
    print(f"{variant}: pixels {worst:.1e}, pooled features {features:.1e}, loss {abs(float(total - ours.total)):.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="checkout of the official code")
    official = import_official(parser.parse_args().source)
    print("largest difference from the official code")
    for variant in ("cecd", "cesd", "secd", "sesd"):
        compare(variant, *official)


if __name__ == "__main__":
    main()
