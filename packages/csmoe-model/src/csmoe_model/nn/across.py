"""Other processes of a training run: their places and their counts."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class Across:
    """The processes that train together; one alone where there is no process group."""

    @property
    def size(self) -> int:
        """Number of processes."""
        return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1

    def rows(self, x: Tensor) -> Tensor:
        """(n, ...) of every process -> (size n, ...), in the order of the ranks.

        All must bring as many rows. Gradients go back to where the rows came from, such that the mean of the gradients
        over processes is the gradient of a loss over all rows that every process computes.
        """
        if self.size == 1:
            return x
        if x.dtype == torch.bool:  # which not every backend gathers
            return _gathered(x.to(torch.uint8)).bool()
        if not x.is_floating_point():
            return _gathered(x)
        gathered: Tensor = _Rows.apply(x)
        return gathered

    def total(self, count: Tensor) -> Tensor:
        """The sum over all processes; no gradient."""
        if self.size == 1:
            return count
        whole = count.detach().clone()
        dist.all_reduce(whole)
        return whole


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _gathered(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Every process has computed the same loss: the sum is `size` times what is wanted, and the mean of gradients
        # over processes that follows divides by that again.
        whole = gradient.contiguous().clone()
        dist.all_reduce(whole)
        return whole.tensor_split(dist.get_world_size())[dist.get_rank()]


def _gathered(x: Tensor) -> Tensor:
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
