"""Lanczos resampling, with which Super SloMo's original brings frames to its sizes."""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import without_autocast

__all__ = ["lanczos"]

LOBES = 3


def lanczos(image: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] in another size by Pillow's LANCZOS (once ANTIALIAS), without its rounding to 8 bits."""
    down, across = _weights(image, height, image.shape[-2]), _weights(image, width, image.shape[-1])
    with without_autocast(image):  # it would take products of matrices for layers
        return down @ image @ across.mT


def _weights(image: Tensor, outputs: int, inputs: int) -> Tensor:
    """[outputs, inputs]; rows sum to 1. Where there are fewer outputs, the filter is wider by as much.

    Made on the image's device, since a copy from the host would wait for it. Float64, which not every device
    has, is not needed: between centres (j + 1/2) / inputs and (i + 1/2) / outputs integers count exactly.
    """
    centres = (2 * torch.arange(outputs, device=image.device)[:, None] + 1) * inputs
    between = (2 * torch.arange(inputs, device=image.device) + 1) * outputs - centres
    distance = between.float() / (2 * max(inputs, outputs))
    weights = torch.sinc(distance) * torch.sinc(distance / LOBES) * (distance.abs() < LOBES)
    return (weights / weights.sum(1, keepdim=True)).to(image.dtype)
