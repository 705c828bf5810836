"""SepConv and SepConv++: a kernel of 51 x 51 for every pixel and frame, as a product of two vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from .base import Interpolator, like_weights
from .beginnings import keep_signal, see_contrast, whisper

__all__ = ["TAPS", "SepConv", "begin_at_centre", "bgr", "synthesize_pair"]

TAPS = 51
HEADS = ("netVertical1", "netVertical2", "netHorizontal1", "netHorizontal2")

Kernels = tuple[Tensor, Tensor, Tensor, Tensor]
"""Vertical and horizontal of frame 0, vertical and horizontal of frame 1, [N, 51, H, W] each."""


def bgr(frame: Tensor, layer: nn.Module) -> Tensor:
    """What both networks see of an RGB frame."""
    return like_weights(frame.flip(1), layer)


def synthesize_pair(frame0: Tensor, frame1: Tensor, kernels: Kernels) -> Tensor:
    """Both frames under their kernels, summed, the border repeated.

    The kernels are large: where autocast made them float16 the frames follow, not they the frames. In
    bfloat16 those would lose codes, half a one of 8-bit video and two of 10-bit: beside frames of more digits
    such kernels become float32, three times the memory while both are there.
    """
    if kernels[0].dtype == torch.bfloat16 and frame0.dtype != torch.bfloat16:
        kernels = tuple(kernel.float() for kernel in kernels)
    vertical0, horizontal0, vertical1, horizontal1 = kernels
    frame0, frame1 = frame0.to(vertical0.dtype), frame1.to(vertical0.dtype)
    return ops.sepconv_pair(frame0, vertical0, horizontal0, frame1, vertical1, horizontal1)


@torch.no_grad()
def begin_at_centre(layer: nn.Conv2d, share: float) -> None:
    """Makes the kernels of a last layer the root of 1/2 at the centre, with a share of what they are.

    Two frames under such kernels are their mean. From random ones a network has to find that first, and near
    zero each of two factors learns in proportion to the other: slowly.
    """
    whisper(layer, share)
    layer.bias[TAPS // 2] = 0.5**0.5


def _basic(inputs: int, outputs: int, last: int | None = None) -> list[nn.Module]:
    """Three convolutions, each with a ReLU."""
    widths = (inputs, outputs, outputs, last or outputs)
    return [
        layer for i in range(3) for layer in (nn.Conv2d(widths[i], widths[i + 1], 3, padding=1), nn.ReLU())
    ]


def _upsample() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)


class SepConv(Interpolator):
    """Niklaus, Mai, Liu: Video Frame Interpolation via Adaptive Separable Convolution, ICCV 2017.

    Reads the weights of sniklaus/sepconv-slomo, "l1" and "lf".

    Args:
        padding: None, to multiples of 32, the least that the network takes; "improved", to multiples of 128,
            the original's default; or "paper", 25 pixels on all sides first. The border is repeated. The
            network sees different borders, so results differ a little.
        begin_as_blend: whether a network without weights begins close to the mean of the frames. Ours, for
            short trainings; the authors train for a day.
        centred: whether the kernels see the frames without their mean colour, which the sum gets back. Where
            they do not sum to 1, contrast then suffers and not brightness, and a network without weights
            learns in minutes. Ours, for training; released weights had it not.
    """

    multiple = 32
    middle_only = True

    def __init__(
        self, *, padding: str | None = None, begin_as_blend: bool = False, centred: bool = False
    ) -> None:
        super().__init__()
        if padding not in (None, "improved", "paper"):
            raise ValueError(f"SepConv: padding must be None, 'improved' or 'paper'; got {padding!r}")
        self.margin = TAPS // 2 if padding == "paper" else 0
        self.centred = centred
        if padding is not None:
            self.multiple = 128
        widths = (6, 32, 64, 128, 256, 512)
        for level in range(1, 6):
            self.add_module(f"netConv{level}", nn.Sequential(*_basic(widths[level - 1], widths[level])))
        for level in range(5, 1, -1):
            width = widths[level]
            inputs = widths[min(level + 1, 5)]
            self.add_module(f"netDeconv{level}", nn.Sequential(*_basic(inputs, width)))
            up = nn.Sequential(_upsample(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
            self.add_module(f"netUpsample{level}", up)
        for head in HEADS:
            layers = [*_basic(64, 64, TAPS), _upsample(), nn.Conv2d(TAPS, TAPS, 3, padding=1)]
            self.add_module(head, nn.Sequential(*layers))
        if begin_as_blend:
            keep_signal(self)
            see_contrast(self.netConv1[0], 6)
            for head in HEADS:
                begin_at_centre(getattr(self, head)[-1], 0.01)

    def fit(self, frame: Tensor) -> Tensor:
        return super().fit(F.pad(frame, [self.margin] * 4, mode="replicate") if self.margin else frame)

    def restore(self, made: Tensor, height: int, width: int) -> Tensor:
        return super().restore(made[..., self.margin :, self.margin :], height, width)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        kernels = self.kernels(frame0, frame1)
        if not self.centred:
            return synthesize_pair(frame0, frame1, kernels)
        mean = ((frame0 + frame1) / 2).mean((2, 3), keepdim=True)
        return synthesize_pair(frame0 - mean, frame1 - mean, kernels) + mean

    def kernels(self, frame0: Tensor, frame1: Tensor) -> Kernels:
        """The kernels of the middle frame; signed, and their sum is not 1."""
        first = self.netConv1[0]
        x = self.netConv1(torch.cat([bgr(frame0, first), bgr(frame1, first)], 1))
        skips = []
        for level in range(2, 6):
            x = getattr(self, f"netConv{level}")(F.avg_pool2d(x, 2))
            skips.append(x)
        x = F.avg_pool2d(x, 2)
        for level in range(5, 1, -1):
            x = getattr(self, f"netUpsample{level}")(getattr(self, f"netDeconv{level}")(x)) + skips.pop()
        return self.netVertical1(x), self.netHorizontal1(x), self.netVertical2(x), self.netHorizontal2(x)
