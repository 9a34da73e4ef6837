"""The encoder: patches of one sensor -> tokens in row-major order and a pooled feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from timm.layers.patch_embed import PatchEmbed
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from csmoe_model.config import EncoderConfig, ModelConfig
from csmoe_model.errors import ConfigError
from csmoe_model.nn.blocks import ENCODER_EPS, Block
from csmoe_model.nn.positions import sine_cosine_positions


@dataclass(frozen=True, slots=True)
class Features:
    """What the encoder makes of images of one sensor."""

    tokens: Tensor
    """(B, L or v, D) Patch tokens in row-major order, all of them or the visible ones."""
    pooled: Tensor
    """(B, D) Normalised mean of the patch tokens."""
    cls: Tensor | None
    """(B, 1, D) Class token, where the model has one."""
    layers: tuple[Tensor, ...] = ()
    """Tokens after the blocks that were asked for, (B, L, D) each."""


class Tokeniser(nn.Module):
    """Patches of one sensor as tokens, with positions, and the sensor's class token."""

    def __init__(self, config: ModelConfig, num_bands: int) -> None:
        super().__init__()
        dim = config.encoder.dim
        self.patches = PatchEmbed(config.image_px, config.patch_px, num_bands, dim, strict_img_size=True)
        self.cls = nn.Parameter(torch.zeros(1, 1, dim)) if config.cls_token else None
        self.positions: Tensor
        self.register_buffer("positions", sine_cosine_positions(config.grid, config.grid, dim), persistent=False)

    def forward(self, images: Tensor, visible: Tensor | None) -> Tensor:
        """(B, C, H, W) -> (B, [1 +] m, d); `visible` (B, m) keeps those patches."""
        tokens = self.patches(images) + self.positions
        if visible is not None:
            tokens = tokens.gather(1, visible[..., None].expand(-1, -1, tokens.shape[-1]))
        return tokens if self.cls is None else torch.cat([self.cls.expand(tokens.shape[0], -1, -1), tokens], dim=1)


class Encoder(nn.Module):
    """Tokeniser and specific blocks of each sensor, then blocks that all sensors share; sensors never mix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        own = config.encoder
        self.cls_token = config.cls_token
        drops = [own.drop_path * k / max(1, own.depth - 1) for k in range(own.depth)]
        self.tokenisers = nn.ModuleDict({name: Tokeniser(config, s.num_bands) for name, s in config.sensors.items()})
        first = range(own.specific_depth)
        self.specific = nn.ModuleDict({name: _stack(own, first, drops) for name in config.sensors})
        self.specific_norms = nn.ModuleDict(
            {name: _norm(own.dim) if own.specific_depth else nn.Identity() for name in config.sensors}
        )
        self.shared = _stack(own, range(own.specific_depth, own.depth), drops)
        self.shared_norm = _norm(own.dim) if own.shared_depth else nn.Identity()
        self.pooled_norm = _norm(own.dim)
        self.checkpointing = False
        """Trade compute for memory: blocks are recomputed in the backward pass."""

    def forward(
        self, sensor: str, images: Tensor, visible: Tensor | None = None, layers: Sequence[int] = ()
    ) -> Features:
        """Features of standardised images (B, C, H, W) of one sensor.

        Args:
            sensor: Its name.
            images: Channels in the order of its bands.
            visible: (B, v) Positions of the patches to look at, ascending; None: all.
            layers: Blocks whose tokens are wanted too, 0 to depth - 1.

        Raises:
            ConfigError: There is no such sensor, or no such block.
        """
        if sensor not in self.tokenisers:
            raise ConfigError(f"the model has no sensor '{sensor}': it has {', '.join(self.tokenisers)}")
        stacks = [(self.specific[sensor], self.specific_norms[sensor]), (self.shared, self.shared_norm)]
        blocks = [list(stack.children()) for stack, _ in stacks]
        depth = sum(map(len, blocks))
        if bad := [k for k in layers if not 0 <= k < depth]:
            raise ConfigError(f"layers {bad} of an encoder of {depth} blocks: count from 0 to {depth - 1}")
        x = self.tokenisers[sensor](images, visible)
        first, kept, k = int(self.cls_token), {}, 0
        for stack, (_, norm) in zip(blocks, stacks, strict=True):
            for block in stack:
                x = checkpoint(block, x, use_reentrant=False) if self.checkpointing and self.training else block(x)
                if k in layers:
                    kept[k] = x[:, first:]
                k += 1
            x = norm(x)
        tokens = x[:, first:]
        pooled = self.pooled_norm(tokens.mean(dim=1))
        return Features(tokens, pooled, x[:, :first] if first else None, tuple(kept[k] for k in layers))


def _norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=ENCODER_EPS)


def _stack(config: EncoderConfig, places: range, drops: Sequence[float]) -> nn.ModuleList:
    """Blocks at `places` of the path of a sensor."""
    return nn.ModuleList(
        Block(
            config.dim,
            config.heads,
            config.mlp_ratio,
            moe=config.moe if config.moe and config.moe.at(k) else None,
            drop_path=drops[k],
        )
        for k in places
    )
