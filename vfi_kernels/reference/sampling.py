"""Bilinear sampling at coordinates in pixels.

Pixel centres lie on integers. A tap is one of the four pixels around a coordinate; its weight is (1 - wx)(1 -
wy), wx (1 - wy), (1 - wx) wy or wx wy, where wx and wy are the fractional parts.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Axis(NamedTuple):
    """The two neighbours of every coordinate along one axis; all [N, H, W]."""

    low: Tensor  # int64, inside the image
    high: Tensor  # int64, inside the image
    low_counts: Tensor  # bool, False where the neighbour is outside and counts as zero
    high_counts: Tensor
    weight: Tensor  # of `high`; 1 - weight is that of `low`


class Tap(NamedTuple):
    """One of the four pixels around every coordinate; all [N, H, W]."""

    index: Tensor  # int64, y * width + x
    counts: Tensor  # bool
    weight: Tensor


def coordinates(flow: Tensor, factor: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(x + factor dx, y + factor dy) of every pixel, both [N, H, W], of flow [N, 2, H, W]; rounded once."""
    flow = flow.to(dtype)
    xs = torch.arange(flow.shape[3], dtype=dtype, device=flow.device)
    ys = torch.arange(flow.shape[2], dtype=dtype, device=flow.device)
    return xs + factor * flow[:, 0], ys[:, None] + factor * flow[:, 1]


def axis(coordinate: Tensor, size: int, padding: str) -> Axis:
    """The neighbours of each coordinate on an axis of `size` pixels."""
    zero = torch.zeros_like(coordinate)
    if padding == "border":
        # Both comparisons are false for NaN, which so reads at 0. On the border itself the gradient is zero
        # already.
        inside = (coordinate > 0) & (coordinate < size - 1)
        end = torch.where(coordinate > 0, zero + (size - 1), zero)
        coordinate = torch.where(inside, coordinate, end)
        low = coordinate.detach().floor()
        weight = coordinate - low
        low = low.long()
        counts = torch.ones_like(low, dtype=torch.bool)
        return Axis(low, (low + 1).clamp(max=size - 1), counts, counts, weight)
    # Two pixels outside nothing counts any more: the clamp changes no value and keeps the integers small.
    end = torch.where(coordinate < 0, zero - 2, zero + size)
    end = torch.where(coordinate.isnan(), zero, end)
    coordinate = torch.where((coordinate >= -2) & (coordinate <= size), coordinate, end)
    low = coordinate.detach().floor()
    weight = coordinate - low
    low = low.long()
    high = low + 1
    low_counts = (low >= 0) & (low < size)
    high_counts = (high >= 0) & (high < size)
    return Axis(low.clamp(0, size - 1), high.clamp(0, size - 1), low_counts, high_counts, weight)


def taps(x: Tensor, y: Tensor, height: int, width: int, padding: str) -> list[Tap]:
    """The four taps of every coordinate: top left, top right, bottom left, bottom right."""
    h = axis(x, width, padding)
    v = axis(y, height, padding)
    return [
        Tap(v.low * width + h.low, v.low_counts & h.low_counts, (1 - v.weight) * (1 - h.weight)),
        Tap(v.low * width + h.high, v.low_counts & h.high_counts, (1 - v.weight) * h.weight),
        Tap(v.high * width + h.low, v.high_counts & h.low_counts, v.weight * (1 - h.weight)),
        Tap(v.high * width + h.high, v.high_counts & h.high_counts, v.weight * h.weight),
    ]


def sample(image: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """Image [F, C, H, W] at x, y [N, H, W] -> [N, C, H, W] in the coordinates' dtype.

    N = F * T: image n serves the entries n*T .. n*T+T-1.
    """
    frames, channels, height, width = image.shape
    entries = x.shape[0]
    shared = entries // frames if frames else 0
    # Converted before the gather, so that the gradient of a half-precision image is summed in float32.
    pixels = image.to(x.dtype).reshape(frames, channels, height * width)
    total = 0
    for tap in taps(x, y, height, width, padding):
        index = tap.index.reshape(frames, 1, shared * height * width).expand(-1, channels, -1)
        value = pixels.gather(2, index).reshape(frames, channels, shared, height, width)
        value = value.movedim(1, 2).reshape(entries, channels, height, width)
        weight = tap.weight[:, None]
        # An Inf or NaN pixel stays where it is: with weight 0 it is no neighbour, and 0 * Inf would be NaN.
        counts = tap.counts[:, None] & ((weight != 0) | value.isfinite())
        total = total + weight * torch.where(counts, value, torch.zeros_like(value))
    return total
