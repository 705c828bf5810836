"""What the RIFE of the paper and the 4.x line share: options, scales, layers, warps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from .base import Interpolator, per_entry
from .beginnings import keep_signal, see_contrast, whisper

__all__ = ["Rife", "act", "begin_near_zero", "blend", "conv", "gather", "plane", "resized", "warp"]


def act(channels: int, *, prelu: bool = True) -> nn.Module:
    return nn.PReLU(channels) if prelu else nn.LeakyReLU(0.2)


def conv(inputs: int, outputs: int, stride: int = 1, *, prelu: bool = True) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, padding=1), act(outputs, prelu=prelu))


def resized(x: Tensor, factor: float) -> Tensor:
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def gather(parts: Sequence[Tensor], flow: Tensor | None, scale: float, layer: nn.Module) -> Tensor:
    """The input of a block that works at 1/scale of the frames' size, in the dtype of its first layer.

    Parts of N pairs stand beside parts of their N*T timesteps: they are made small before they are repeated.
    A flow is in pixels of the frames, and here in pixels of the small ones.
    """
    entries = max(part.shape[0] for part in parts)
    small = [per_entry(resized(part, 1 / scale), entries) for part in parts]
    if flow is not None:
        small.append(resized(flow, 1 / scale) / scale)
    return torch.cat(small, 1).to(layer.weight.dtype)


def warp(images: list[Tensor], flow: Tensor) -> list[Tensor]:
    """Images and features [N, C, H, W] along flows [N*T, 2, H, W]."""
    return ops.backwarp_multi(images, flow)


def blend(frame0: Tensor, frame1: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
    """Both frames along flow [N*T, 4, H, W], blended by the sigmoid of mask."""
    return ops.warp_blend(frame0, frame1, flow[:, :2], flow[:, 2:], mask, mask_is_logits=True)


def begin_near_zero(blocks: Sequence[nn.Module]) -> None:
    """For training: blocks that see differences of the frames, and at first say little of flow and mask."""
    for block in blocks:
        keep_signal(block.conv0)  # shortcuts lead the signal past the layers that follow
        see_contrast(block.conv0[0][0], 6)
        last = block.lastconv
        whisper(last[0] if isinstance(last, nn.Sequential) else last, 0.1)


class Rife(Interpolator):
    """What all versions take.

    Args:
        least: the `multiple` at scale 1.
        scale: the size at which flow is estimated, relative to the frames': 0.25, 0.5, 1, 2 or 4. The authors
            use 0.5 for 4K.
        tta: whether to average with the result for frames turned by 180 degrees.
    """

    pad_mode = "constant"

    def __init__(self, least: int, *, scale: float = 1.0, tta: bool = False) -> None:
        super().__init__()
        if scale not in (0.25, 0.5, 1, 2, 4):
            raise ValueError(f"{type(self).__name__}: scale must be 0.25, 0.5, 1, 2 or 4; got {scale!r}")
        self.scale = scale
        self.tta = tta
        self.multiple = max(least, math.ceil(least / scale))

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        made = self.estimate(frame0, frame1, times.flatten())
        if not self.tta:
            return made
        turned = self.estimate(frame0.flip(2, 3), frame1.flip(2, 3), times.flatten())
        return (made + turned.flip(2, 3)) / 2

    def estimate(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        """Frames [N, 3, H, W] and times [N*T] -> [N*T, 3, H, W]."""
        raise NotImplementedError


def plane(times: Tensor, like: Tensor) -> Tensor:
    """[N*T] -> [N*T, 1, H, W] float32, whatever the frames are, without memory of its own."""
    return times[:, None, None, None].expand(-1, 1, *like.shape[-2:])
