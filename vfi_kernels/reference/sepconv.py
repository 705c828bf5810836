"""Adaptive separable convolution, in plain PyTorch."""

import torch
from torch import Tensor

from .numbers import finish, sum_dtype


def repeat_border(image: Tensor, taps_y: int, taps_x: int) -> Tensor:
    """Image [N, C, H, W] with its border repeated (K - 1) // 2 times before and K // 2 times after, on each
    axis.

    By index and not F.pad, whose gradient has no deterministic form on CUDA.
    """
    for dim, count in ((2, taps_y), (3, taps_x)):
        size = image.shape[dim]
        index = torch.arange(-((count - 1) // 2), size + count // 2, device=image.device)
        image = image.index_select(dim, index.clamp(0, size - 1))
    return image


def one_term(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """sum_ij image[n, c, y+i, x+j] vertical[n, i, y, x] horizontal[n, j, y, x]: rows first, then their
    sum.
    """
    taps_y, taps_x, height = vertical.shape[1], horizontal.shape[1], vertical.shape[2]
    across = horizontal.permute(0, 2, 3, 1)[:, None]  # [N, 1, H, W, Kh]
    total = 0
    for i in range(taps_y):
        row = image[:, :, i : i + height].unfold(3, taps_x, 1)  # [N, C, H, W, Kh], a view
        total = total + vertical[:, None, i] * (row * across).sum(4)
    return total


def sepconv(
    images: list[
        Tensor
    ],  # one or two, each [N, C, H + Kv - 1, W + Kh - 1] ("valid") or [N, C, H, W] ("replicate")
    verticals: list[Tensor],  # each [N, Kv, H, W]
    horizontals: list[Tensor],  # each [N, Kh, H, W]
    padding: str,  # "valid" or "replicate"
    coarse: bool,  # whether products may be coarse; here they never are
) -> Tensor:  # [N, C, H, W]
    """The sum over the terms of sum_ij image[n, c, y+i, x+j] vertical[n, i, y, x] horizontal[n, j, y, x]."""
    dtype = sum_dtype(images[0].dtype)
    total = 0
    for image, vertical, horizontal in zip(images, verticals, horizontals, strict=True):
        image = image.to(dtype)
        if padding == "replicate":
            image = repeat_border(image, vertical.shape[1], horizontal.shape[1])
        total = total + one_term(image, vertical.to(dtype), horizontal.to(dtype))
    return finish(total, images[0])
