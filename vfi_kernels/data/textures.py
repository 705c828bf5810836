"""Textures for synthetic scenes: noise of several octaves with stripes, checks or spots, or photographs."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .frames import IMAGES, read_image

__all__ = ["Photographs", "procedural"]

# Sides of the coarsest octave, about.
COARSEST = 4

# The last octave that bends patterns.
SLOW = 2

# Texels over which the edge of a pattern fades: less, and half a pixel of motion makes it flicker.
EDGE = 2.0

PATTERNS = ("none", "stripes", "checks", "spots")


def procedural(count: int, side: int, numbers: torch.Generator, noise: torch.Generator) -> Tensor:
    """Textures [count, 3, side, side] in [0, 1], on the device of `noise`.

    Args:
        numbers: for what is drawn once a texture; on the CPU.
        noise: for what is drawn for every texel.
    """
    drawn = torch.rand(count, 18, generator=numbers).to(noise.device)
    colours = _colours(drawn[:, :9].view(count, 3, 3, 1, 1))
    kind = (drawn[:, 9] * len(PATTERNS)).long().view(-1, 1, 1, 1)
    parts = drawn[:, 10:].view(count, 8, 1, 1, 1).unbind(1)
    rough, contrast, strength, warp, angle, skew, phase, period = parts
    # How much of an octave's strength the next finer one has: from clouds to gravel. Photographs are near 1.
    octaves, slow = _octaves(0.65 + 0.55 * rough, side, noise)
    tone = (octaves * (0.5 + contrast)).sigmoid()
    texture = torch.lerp(colours[:, 0], colours[:, 1], tone)

    wave = torch.pi / (4 + 28 * period.square())  # half a period is 4 to 32 texels
    angle, skew = torch.pi * angle, torch.pi * (0.5 + 0.2 * (skew - 0.5))
    x = torch.arange(side, device=noise.device) - (side - 1) / 2
    x, y = x.view(1, 1, 1, -1), x.view(1, 1, -1, 1)
    bent = 2 * torch.pi * phase + 2 * warp.square() * slow
    first = (wave * (x * angle.cos() + y * angle.sin()) + bent).sin()
    second = (wave * (x * (angle + skew).cos() + y * (angle + skew).sin()) + bent).sin()
    height = torch.where(kind == 1, first, torch.where(kind == 2, first * second, first + second - 1))
    # A wave climbs by `wave` a texel where it crosses zero.
    pattern = (0.5 + height / (EDGE * wave)).clamp(0, 1) * (kind > 0)
    return torch.lerp(texture, colours[:, 2], pattern * (0.2 + 0.8 * strength))


def _colours(drawn: Tensor) -> Tensor:
    """Numbers in [0, 1] as RGB in their last three dimensions but two: greyer than they come."""
    grey = drawn.mean(-3, keepdim=True)
    return (1.6 * (grey - 0.5) + 0.5 + 0.6 * (drawn - grey)).clamp(0, 1)


def _octaves(share: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise [count, 1, side, side] of mean 0 and deviation 1, and the same without its finer octaves."""
    count, device = share.shape[0], share.device
    sides = [side]
    while sides[-1] > COARSEST:
        sides.append((sides[-1] + 1) // 2)
    noise = torch.zeros(count, 1, sides[-1], sides[-1], device=device)
    slow = noise
    for level, size in enumerate(reversed(sides)):
        if level:
            noise = F.interpolate(noise, (size, size), mode="bicubic", align_corners=False)
        noise = noise + share**level * torch.randn(noise.shape, generator=generator, device=device)
        if level == SLOW:
            slow = F.interpolate(noise, (side, side), mode="bicubic", align_corners=False)
    # White noise changes as much from texel to texel as it ever does; no camera sees that.
    for axis in (-1, -2):
        noise = F.pad(noise, (1, 1, 0, 0) if axis == -1 else (0, 0, 1, 1), mode="reflect")
        noise = (noise.narrow(axis, 0, side) + noise.narrow(axis, 2, side)) / 4 + noise.narrow(
            axis, 1, side
        ) / 2
    deviation, mean = torch.std_mean(noise, (1, 2, 3), keepdim=True)
    return (noise - mean) / deviation, slow


class Photographs:
    """Squares out of the images in a folder and the folders in it.

    Raises:
        ValueError: there is no image.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.paths = sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGES)
        if not self.paths:
            raise ValueError(f"{folder}: holds no photographs ({', '.join(sorted(IMAGES))})")

    def square(self, side: int, numbers: torch.Generator) -> Tensor:
        """[3, side, side] in [0, 1]; a photograph that is smaller is enlarged."""
        which, share, x, y = torch.rand(4, generator=numbers).tolist()
        image = _kept(self.paths[int(which * len(self.paths))])
        height, width = image.shape[:2]
        # From all of the shorter side to as many of its pixels as there are texels.
        whole = min(height, width)
        edge = round(whole - share * max(0, whole - side))
        top, left = int(y * (height - edge + 1)), int(x * (width - edge + 1))
        crop = torch.from_numpy(image[top : top + edge, left : left + edge]).permute(2, 0, 1)[None] / 255
        square = F.interpolate(crop, (side, side), mode="bilinear", align_corners=False, antialias=True)
        return square[0].clamp(0, 1)


@lru_cache(16)  # a photograph takes tens of megabytes
def _kept(path: Path) -> np.ndarray:
    return read_image(path)
