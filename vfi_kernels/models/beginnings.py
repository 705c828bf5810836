"""Weights to begin short trainings with. Ours: what the authors' networks begin with takes days of a GPU."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["keep_signal", "see_contrast", "whisper"]

# Frames differ from their neighbours by a fifth of their range and less.
CONTRAST = 5


@torch.no_grad()
def keep_signal(network: nn.Module) -> None:
    """Draws convolutions as He, Zhang, Ren, Sun do, ICCV 2015: each layer's output is as strong as its input.

    PyTorch's own halve it and more; of the frames nothing is left after a dozen layers without normalisation.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)


@torch.no_grad()
def see_contrast(layer: nn.Conv2d, channels: int) -> None:
    """Makes the first channels, the frames, count by how they differ and not by how bright they are."""
    frames = layer.weight[:, :channels]
    frames.sub_(frames.mean((1, 2, 3), keepdim=True)).mul_(CONTRAST)


@torch.no_grad()
def whisper(layer: nn.Module, share: float) -> None:
    """Leaves a share of what a last layer says."""
    layer.weight.mul_(share)
    nn.init.zeros_(layer.bias)
