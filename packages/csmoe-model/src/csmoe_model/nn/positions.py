"""Fixed two-dimensional sine-cosine positions."""

from __future__ import annotations

import torch
from torch import Tensor


def sine_cosine_positions(rows: int, cols: int, dim: int) -> Tensor:
    """Positions of a grid of patches in row-major order, (rows * cols, dim).

    The first half of the channels codes the column, the second the row; within a half come the sines, then the cosines,
    of frequencies 10000^(-k / (dim / 4)) (as in He et al. 2022, after Vaswani et al. 2017).

    Raises:
        ValueError: `dim` is no multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"positions of width {dim}: the width must be a multiple of 4")
    frequency = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    row, col = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
    parts = [torch.outer(axis.reshape(-1).double(), frequency) for axis in (col, row)]
    return torch.cat([wave for part in parts for wave in (part.sin(), part.cos())], dim=1).float()
