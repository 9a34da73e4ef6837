"""The decoders: visible tokens of a source sensor -> pixels of all patches of a target sensor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from csmoe_model.config import ModelConfig
from csmoe_model.nn.blocks import DECODER_EPS, Block
from csmoe_model.nn.encoder import Features
from csmoe_model.nn.masking import Mask
from csmoe_model.nn.positions import sine_cosine_positions


class Decoder(nn.Module):
    """One decoder; it serves one target sensor, or all of them through a head for each."""

    def __init__(self, config: ModelConfig, targets: tuple[str, ...]) -> None:
        super().__init__()
        own = config.decoder
        self.embed = nn.Linear(config.encoder.dim, own.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, own.dim))
        self.positions: Tensor
        self.register_buffer("positions", sine_cosine_positions(config.grid, config.grid, own.dim), persistent=False)
        self.blocks = nn.ModuleList(
            Block(
                own.dim, own.heads, own.mlp_ratio, moe=own.moe if own.moe and own.moe.at(k) else None, eps=DECODER_EPS
            )
            for k in range(own.depth)
        )
        self.norm = nn.LayerNorm(own.dim, eps=DECODER_EPS)
        pixels = config.patch_px**2
        self.heads = nn.ModuleDict(
            {name: nn.Linear(own.dim, pixels * config.sensors[name].num_bands) for name in targets}
        )

    def forward(self, features: Features, mask: Mask, target: str) -> Tensor:
        """Pixels (B, L, P) of `target`, P = rows x columns x bands of a patch, from the visible tokens."""
        seen = self.embed(features.tokens)
        batch, _, dim = seen.shape
        places = mask.visible[..., None].expand(-1, -1, dim)
        tokens = self.mask_token.to(seen.dtype).expand(batch, mask.hidden.shape[1], dim).scatter(1, places, seen)
        x = tokens + self.positions
        if features.cls is not None:
            x = torch.cat([self.embed(features.cls), x], dim=1)
        for block in self.blocks:
            x = block(x)
        pixels: Tensor = self.heads[target](self.norm(x)[:, -mask.hidden.shape[1] :])
        return pixels


class Decoders(nn.Module):
    """The decoder of each target sensor, its own or the common one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        names = tuple(config.sensors)
        self.separate = config.decoder.separate
        groups = [(name, (name,)) for name in names] if self.separate else [("common", names)]
        self.by_target = nn.ModuleDict({key: Decoder(config, targets) for key, targets in groups})

    def forward(self, features: Features, mask: Mask, target: str) -> Tensor:
        """As `Decoder.forward`."""
        pixels: Tensor = self.by_target[target if self.separate else "common"](features, mask, target)
        return pixels
