"""Transformer blocks: attention, then a dense or a Soft mixture-of-experts feed-forward layer."""

from __future__ import annotations

from timm.layers.attention import Attention
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from csmoe_model.config import MoEConfig
from csmoe_model.nn.soft_moe import SoftMoE

ENCODER_EPS, DECODER_EPS = 1e-6, 1e-5
"""Of the LayerNorms, as CSMAE has them."""


class Block(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x)); fused attention wherever torch has it."""

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: float,
        *,
        moe: MoEConfig | None = None,
        drop_path: float = 0.0,
        eps: float = ENCODER_EPS,
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads=heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp: nn.Module
        if moe is None:
            self.mlp = Mlp(dim, hidden)
        else:
            width = max(1, round(hidden * moe.width))
            self.mlp = SoftMoE(dim, moe.experts, moe.slots_per_expert, width, moe.scale)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, m, d) -> (B, m, d)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y
