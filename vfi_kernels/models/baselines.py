"""What any interpolation has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Interpolator

__all__ = ["Blend", "Repeat"]


class Blend(Interpolator):
    """The two frames faded into each other: (1 - t) frame0 + t frame1."""

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, timesteps: Tensor) -> Tensor:
        t = timesteps[:, :, None, None, None].to(frame0.dtype)
        return torch.lerp(frame0[:, None], frame1[:, None], t)


class Repeat(Interpolator):
    """The earlier frame again: what a player shows of the source."""

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, timesteps: Tensor) -> Tensor:
        return frame0[:, None].repeat(1, timesteps.shape[1], 1, 1, 1)
