"""Soft mixture-of-experts (Puigcerver et al. 2023, arXiv 2308.00951), all experts and slots at once.

Shapes: B images, m tokens, d width, n experts, p slots an expert, s = n p slots, h hidden width of an expert.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Routing:
    """Where tokens go and come from; both float32."""

    dispatch: Tensor
    """(B, m, s) Weight of each token in each slot; sums to 1 over tokens."""
    combine: Tensor
    """(B, m, s) Weight of each slot in each token; sums to 1 over slots."""


class Router(nn.Module):
    """Logits between tokens and learned slots, in float32 whatever autocast says.

    Tokens and slots are brought to unit length and their cosine is multiplied by one learned scale, so that logits stay
    bounded in wide models. The unit-length tokens serve the logits only; experts get mixes of the raw ones.
    """

    def __init__(self, dim: int, num_experts: int, slots_per_expert: int, scale: float = 1.0) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.empty(dim, num_experts, slots_per_expert))
        self.scale = nn.Parameter(torch.full((1,), scale))
        nn.init.trunc_normal_(self.phi, std=dim**-0.5)  # LeCun

    def forward(self, x: Tensor, slots: int | None = None) -> Routing:
        """Routing of tokens (B, m, d) through the first `slots` slots of every expert (None: all)."""
        with torch.autocast(x.device.type, enabled=False):
            phi = functional.normalize(self.phi[:, :, :slots].flatten(1).float(), dim=0, eps=1e-6)
            tokens = x.float()
            length = torch.linalg.vector_norm(tokens, dim=-1, keepdim=True).clamp(min=1e-6)
            logits = (tokens @ phi) * (self.scale.float() / length)  # fewer numbers to divide than tokens have
            return Routing(logits.softmax(dim=1), logits.softmax(dim=2))


class Experts(nn.Module):
    """n independent two-layer perceptrons with GELU, evaluated in two batched products."""

    def __init__(self, dim: int, num_experts: int, hidden: int) -> None:
        super().__init__()
        self.w1 = nn.Parameter(torch.empty(num_experts, dim, hidden))
        self.b1 = nn.Parameter(torch.zeros(num_experts, 1, hidden))
        self.w2 = nn.Parameter(torch.empty(num_experts, hidden, dim))
        self.b2 = nn.Parameter(torch.zeros(num_experts, 1, dim))
        for weight in (self.w1, self.w2):
            for expert in weight:  # each expert is initialised as the dense layer would be
                nn.init.xavier_uniform_(expert)

    def forward(self, slots: Tensor) -> Tensor:
        """(n, B p, d) -> the same shape."""
        hidden = functional.gelu(torch.baddbmm(self.b1.to(slots.dtype), slots, self.w1.to(slots.dtype)))
        return torch.baddbmm(self.b2.to(slots.dtype), hidden, self.w2.to(slots.dtype))


class SoftMoE(nn.Module):
    """A drop-in for the feed-forward layer of a block.

    Y = C experts(Dᵀ X): every slot is a convex mix of all tokens, every expert works on its own p slots, every token is
    a convex mix of all slots. Nothing is dropped, nothing needs balancing, and an image never sees another.

    Args:
        dim: Width d.
        num_experts: n.
        slots_per_expert: p.
        hidden: h.
        scale: Of the router's cosines, at the start.
    """

    def __init__(self, dim: int, num_experts: int, slots_per_expert: int, hidden: int, scale: float = 1.0) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.slots_per_expert = slots_per_expert
        self.router = Router(dim, num_experts, slots_per_expert, scale)
        self.experts = Experts(dim, num_experts, hidden)
        self.slots: int | None = None
        """Slots an expert uses at inference; None: all. Fewer cost less and are less exact."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, m, d) -> (B, m, d)."""
        batch, _, dim = x.shape
        routing = self.router(x, self.slots)
        # (B, s, m) @ (B, m, d) -> (B, s, d) -> experts first: (n, B p, d)
        slots = routing.dispatch.to(x.dtype).transpose(1, 2) @ x
        slots = slots.view(batch, self.num_experts, -1, dim).transpose(0, 1).reshape(self.num_experts, -1, dim)
        slots = self.experts(slots)
        slots = slots.view(self.num_experts, batch, -1, dim).transpose(0, 1).reshape(batch, -1, dim)
        mixed: Tensor = routing.combine.to(slots.dtype) @ slots
        return mixed
