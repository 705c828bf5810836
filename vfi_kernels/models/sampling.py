"""Backward warps that keep more of what is fine than bilinear ones do."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops

__all__ = ["cubic_warp"]


def cubic_warp(frame: Tensor, flow: Tensor, sharpness: Tensor) -> Tensor:
    """Backward warp by the cubic of Catmull and Rom along each axis.

    Keys: Cubic Convolution Interpolation for Digital Image Processing, IEEE Trans. ASSP 1981, with a = -1/2.
    A position that is `a` of the way between two pixels gets their linear interpolation less a (1 - a) / 2
    times the second difference, which is interpolated linearly itself: the same numbers. So one bilinear warp
    of nine channels does it. The product of both axes' differences is left out. Beyond the border, the
    border's pixel.

    Args:
        frame: [N, 3, H, W].
        flow: [N*T, 2, H, W], dx and dy in pixels.
        sharpness: [N*T, 1, H, W], how much of the differences counts: 1 is the cubic, 0 bilinear.

    Returns:
        [N*T, 3, H, W] float32.
    """
    across, down = torch.zeros_like(frame), torch.zeros_like(frame)
    across[..., 1:-1] = frame.diff(dim=3).diff(dim=3)
    down[..., 1:-1, :] = frame.diff(dim=2).diff(dim=2)
    warped, across, down = ops.backwarp(torch.cat([frame, across, down], 1), flow).split(3, 1)
    part = flow - flow.floor()
    weight = part * (1 - part) * (sharpness / 2)
    return warped - weight[:, :1] * across - weight[:, 1:] * down
