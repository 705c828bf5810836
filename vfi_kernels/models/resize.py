"""Lanczos resampling, with which Super SloMo's original brings frames to its sizes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["lanczos"]

LOBES = 3


def lanczos(image: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] in another size by Pillow's LANCZOS (once ANTIALIAS), without its rounding to 8 bits."""
    return _weights(image, height, image.shape[-2]) @ image @ _weights(image, width, image.shape[-1]).mT


def _weights(image: Tensor, outputs: int, inputs: int) -> Tensor:
    """[outputs, inputs]; rows sum to 1. Where there are fewer outputs, the filter is wider by as much.

    In float64, so on the CPU: not every device has that.
    """
    stretch = max(inputs / outputs, 1.0)
    centres = (torch.arange(outputs, dtype=torch.float64)[:, None] + 0.5) * (inputs / outputs)
    distance = (torch.arange(inputs, dtype=torch.float64) + 0.5 - centres) / stretch
    weights = torch.sinc(distance) * torch.sinc(distance / LOBES) * (distance.abs() < LOBES)
    return (weights / weights.sum(1, keepdim=True)).to(image)
