"""Frames made in overlapping squares, for models that need more memory than there is for a whole one."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

__all__ = ["Tiled", "tiled"]


class Tiled(torch.nn.Module):
    """A model that is given squares of a frame one after the other; smaller frames it gets whole.

    Neighbours overlap by a quarter of their side at least. The outer quarters of an overlap are only for the
    model to look at: between them one square fades into the other. So what moves by less than a sixteenth of
    the side is seen by both, and there is no seam where they agree.
    """

    def __init__(self, model: torch.nn.Module, side: int) -> None:
        """
        Args:
            model: one of `vfi_kernels.models`.
            side: of the squares, pixels.
        """
        super().__init__()
        self.model, self.side = model, side
        self.middle_only = getattr(model, "middle_only", False)

    def interpolate(self, frame0: Tensor, frame1: Tensor, timesteps: Sequence[float]) -> Tensor:
        """As the model's own: [N, 3, H, W] twice -> [N, T, 3, H, W]."""
        height, width = frame0.shape[-2:]
        if height <= self.side and width <= self.side:
            return self.model.interpolate(frame0, frame1, timesteps)
        whole = frame0.new_zeros((frame0.shape[0], len(timesteps), *frame0.shape[1:]))
        for top, down in _parts(height, self.side):
            for left, across in _parts(width, self.side):
                part = (..., slice(top, top + len(down)), slice(left, left + len(across)))
                made = self.model.interpolate(frame0[part].contiguous(), frame1[part].contiguous(), timesteps)
                weight = torch.outer(down, across).to(made)
                whole[part] += made * weight
        return whole


def tiled(model: torch.nn.Module, side: int | None) -> torch.nn.Module:
    """The model in squares, or as it is."""
    return Tiled(model, side) if side else model


def _parts(length: int, side: int) -> list[tuple[int, Tensor]]:
    """Where the squares start along one axis, and the weight of each of their pixels; the weights at one
    place sum to one."""
    if length <= side:
        return [(0, torch.ones(length))]
    overlap = side // 4
    count = ceil((length - overlap) / (side - overlap))
    starts = [round(k * (length - side) / (count - 1)) for k in range(count)]
    weights = [torch.ones(side) for _ in starts]
    for k in range(1, count):
        shared = starts[k - 1] + side - starts[k]
        # From 0 in the first quarter of the overlap to 1 in the last.
        rise = (((torch.arange(shared) + 0.5) / shared - 0.25) * 2).clamp(0, 1)
        weights[k][:shared] *= rise
        weights[k - 1][side - shared :] *= 1 - rise
    return list(zip(starts, weights, strict=True))
