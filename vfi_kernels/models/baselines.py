"""What any interpolation has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Interpolator

__all__ = ["Blend", "Repeat"]


class Blend(Interpolator):
    """The two frames faded into each other: (1 - t) frame0 + t frame1."""

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        t = times[:, :, None, None, None].to(frame0.dtype)
        return torch.lerp(frame0[:, None], frame1[:, None], t).flatten(0, 1)


class Repeat(Interpolator):
    """The earlier frame again: what a player shows of the source."""

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        return frame0.repeat_interleave(times.shape[1], 0)
