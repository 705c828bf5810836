"""Trilinear sampling of the two-frame volume, in plain PyTorch."""

import torch
from torch import Tensor

from .numbers import finish, sum_dtype
from .sampling import coordinates, sample

FACTORS = {"interpolate": (-1, 1), "extrapolate": (-2, -1)}  # of the flow, for frame 0 and frame 1


def time(flow: Tensor) -> Tensor:
    """dt [N, 1, H, W] clamped to [0, 1], with NaN at 0. Like torch.clamp, its ends pass the gradient."""
    dt = flow[:, 2:3]
    return torch.where(dt.isnan(), torch.zeros_like(dt), dt.clamp(0, 1))


def voxel_flow(
    frame0: Tensor,  # [F, C, H, W]
    frame1: Tensor,  # [F, C, H, W]
    flow: Tensor,  # [N, 3, H, W] dx, dy in pixels, dt in [0, 1]; N a multiple of F
    mode: str,  # "interpolate" or "extrapolate"
    padding: str,  # "border" or "zeros"
) -> Tensor:  # [N, C, H, W]
    """(1 - dt) frame0(x - dx, y - dy) + dt frame1(x + dx, y + dy); "extrapolate" at -2 and -1 times it."""
    dtype = sum_dtype(frame0.dtype)
    factor0, factor1 = FACTORS[mode]
    flow = flow.to(dtype)
    dt = time(flow)
    w0 = sample(frame0, *coordinates(flow, factor0, dtype), padding)
    w1 = sample(frame1, *coordinates(flow, factor1, dtype), padding)
    return finish((1 - dt) * w0 + dt * w1, frame0)
