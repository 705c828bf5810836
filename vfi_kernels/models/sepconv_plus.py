"""SepConv++: SepConv with a residual network, normalised frames and normalised kernels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from .base import Interpolator
from .sepconv import TAPS, Kernels, begin_at_centre, bgr, synthesize_pair

__all__ = ["SepConvPlus"]

WIDTHS = (32, 64, 128, 256, 512)

# A sum of kernels below this does not divide.
LEAST = 0.01


class Basic(nn.Module):
    """Layers in a row, with a shortcut around them where it is asked for."""

    def __init__(self, layers: Sequence[nn.Module], *, shortcut: bool = False) -> None:
        super().__init__()
        self.netMain = nn.Sequential(*layers)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.netMain(x) + x if self.shortcut else self.netMain(x)


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1)


def _upsample() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)


class Encode(nn.Module):
    """Five rows, each half as large as the one above."""

    def __init__(self) -> None:
        super().__init__()
        self.netVer = nn.ModuleList([nn.Identity()])
        for above, width in pairwise(WIDTHS):
            self.netVer.append(Basic([nn.PReLU(), _conv(above, width, 2), nn.PReLU(), _conv(width, width)]))

    def forward(self, x: Tensor) -> list[Tensor]:
        rows = [x]
        for down in self.netVer[1:]:
            rows.append(down(rows[-1]))
        return rows


class Decode(nn.Module):
    """From the deepest row up to the second: each refined by itself, and the row below added, enlarged."""

    def __init__(self) -> None:
        super().__init__()
        widths = WIDTHS[:0:-1]
        self.netHor = nn.ModuleList()
        self.netVer = nn.ModuleList([nn.Identity()])
        for width in widths:
            layers = [nn.PReLU(), _conv(width, width), nn.PReLU(), _conv(width, width)]
            self.netHor.append(Basic(layers, shortcut=True))
        for below, width in pairwise(widths):
            layers = [nn.PReLU(), _upsample(), _conv(below, width), nn.PReLU(), _conv(width, width)]
            self.netVer.append(Basic(layers))

    def forward(self, rows: list[Tensor]) -> Tensor:
        x = self.netHor[0](rows[-1])
        for refine, enlarge, row in zip(self.netHor[1:], self.netVer[1:], rows[-2:0:-1], strict=True):
            height, width = row.shape[-2:]  # a row of odd size is smaller than twice the one below
            x = refine(row) + enlarge(x)[..., :height, :width]
        return x


class SepConvPlus(Interpolator):
    """Niklaus, Mai, Wang: Revisiting Adaptive Convolutions for Video Frame Interpolation, WACV 2021.

    Reads the weights of sniklaus/revisiting-sepconv.

    Args:
        begin_as_blend: as of `SepConv`.
    """

    multiple = 2
    middle_only = True

    def __init__(self, *, begin_as_blend: bool = False) -> None:
        super().__init__()
        self.netInput = _conv(3, WIDTHS[0] // 2)
        self.netEncode = nn.Sequential(Encode())
        self.netDecode = nn.Sequential(Decode())
        for head in ("netVerone", "netVertwo", "netHorone", "netHortwo"):
            layers = [_upsample(), _conv(WIDTHS[1], WIDTHS[1]), nn.PReLU(), _conv(WIDTHS[1], TAPS)]
            self.add_module(head, Basic(layers))
            if begin_as_blend:
                begin_at_centre(layers[-1], 0.1)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        kernels = self.kernels(frame0, frame1)
        vertical0, horizontal0, vertical1, horizontal1 = (_total(kernel) for kernel in kernels)
        # The original's fourth channel of ones: the sum of a product of kernels is the product of their sums.
        total = vertical0 * horizontal0 + vertical1 * horizontal1
        made = synthesize_pair(frame0, frame1, kernels)
        return made.float() / torch.where(total.abs() < LEAST, 1.0, total)

    def kernels(self, frame0: Tensor, frame1: Tensor) -> Kernels:
        """The kernels of the middle frame, before their normalisation.

        Both frames are brought to mean 0 and deviation 1 together.
        """
        with torch.no_grad():
            both = torch.stack([frame0, frame1], 1).float()
            deviation, mean = torch.std_mean(both, (1, 2, 3, 4), correction=0, keepdim=True)
            frames = ((both - mean) / (deviation + 1e-7)).flatten(0, 1)
        x = self.netInput(bgr(frames, self.netInput)).unflatten(0, (-1, 2)).flatten(1, 2)
        x = self.netDecode(self.netEncode(x))
        return self.netVerone(x), self.netHorone(x), self.netVertwo(x), self.netHortwo(x)


def _total(kernel: Tensor) -> Tensor:
    return kernel.sum(1, keepdim=True, dtype=torch.float32)
