"""Between the code values of a picture's planes and RGB: ITU-T H.273's arithmetic, in torch, on any device.

Nothing is clamped and nothing rounded on the way to RGB, and the filters that shrink the chroma are left
inverses of those that widen it, so `encode` returns every code that `decode` was given. Values outside [0, 1]
are codes that no RGB colour has; cameras and lossy codecs make plenty.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ._av import VideoError, av

__all__ = ["Coding", "Layout"]

# H.273 MatrixCoefficients -> the weights of red and blue in luma. BT.2020 with constant luminance (10) is
# read as without: as the way back is the inverse, that only changes what a model sees.
WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}


class Layout(NamedTuple):
    """What a pixel format holds, however it packs it."""

    kind: str  # "yuv", "rgb" or "gray"
    bits: int  # a sample; 32 is a float
    across: int  # how often the width of the chroma is halved
    down: int  # and its height
    alpha: bool

    @classmethod
    def of(cls, pixels: av.VideoFormat) -> Layout:
        """The layout of a pixel format; up to 8 bits count as 8, short floats as long."""
        kind = "rgb" if pixels.is_rgb or pixels.has_palette else "yuv"
        colours = [c for c in pixels.components if not c.is_alpha]
        across = down = 0
        if kind == "yuv" and len(colours) < 3:
            kind = "gray"
        elif kind == "yuv":
            probe = av.VideoFormat(pixels.name, 16, 16).components[1]
            across, down = (16 // probe.width).bit_length() - 1, (16 // probe.height).bit_length() - 1
        alpha = len(colours) < len(pixels.components) or pixels.has_palette
        bits = 32 if "f16" in pixels.name else max(8, *(c.bits for c in pixels.components))
        return cls(kind, bits, across, down, alpha)

    @property
    def planar(self) -> str:
        """FFmpeg's name of the pixel format with one plane a channel, little-endian.

        Gray with alpha is the exception, which has no such format: its two channels are interleaved.
        """
        alpha = "a" if self.alpha else ""
        depth = {8: "", 32: "f32le"}.get(self.bits, f"{self.bits}le")
        if self.kind == "rgb":
            return f"gbr{alpha}p{depth}"
        if self.kind == "gray":
            return ("ya8" if self.bits == 8 else "ya16le") if alpha else f"gray{depth}"
        chroma = {(0, 0): "444", (1, 0): "422", (1, 1): "420", (0, 1): "440", (2, 0): "411", (2, 2): "410"}
        if (self.across, self.down) not in chroma:
            raise VideoError(f"chroma at 1/{1 << self.across} by 1/{1 << self.down} is not supported")
        return f"yuv{alpha}{chroma[self.across, self.down]}p{depth}"


@dataclass(frozen=True)
class Coding:
    """How planes stand for colours.

    Attributes:
        layout: which planes there are.
        matrix: H.273 MatrixCoefficients; unknown ones are read as BT.601.
        full: whether black and white are the least and the greatest code.
        siting: where chroma samples lie among the luma samples they serve: "left", "center", "topleft" or
            "top"; "bottomleft" and "bottom" are read as the middle of the two rows.
    """

    layout: Layout
    matrix: int
    full: bool
    siting: str = "left"

    def decode(self, planes: list[Tensor]) -> Tensor:
        """Planes [H, W] of codes, in FFmpeg's order -> [1 or, with alpha, 2, 3, H, W] float32.

        The second picture is the alpha, as grey.
        """
        planes = [plane.to(torch.float32, copy=True) for plane in planes]
        height, width = planes[0].shape
        pictures = planes[0].new_empty(1 + self.layout.alpha, 3, height, width)
        self._decode_colour(planes, pictures[0])
        if self.layout.alpha:
            pictures[1] = planes[-1] / self._top
        return pictures

    def encode(self, pictures: Tensor) -> list[Tensor]:
        """[N, 3, H, W] -> planes [H, W] of codes, as FFmpeg keeps them: uint8 or uint16, or float32."""
        planes = self._encode_colour(pictures[0])
        if self.layout.alpha:
            alpha = pictures[1, 0] if len(pictures) > 1 else torch.ones_like(planes[0]) / self._top
            planes.append(alpha * self._top)
        if self.layout.bits == 32:
            return planes
        dtype = torch.uint8 if self.layout.bits == 8 else torch.uint16
        return [plane.round_().clamp_(0, self._top).to(dtype) for plane in planes]

    @property
    def _top(self) -> int:
        return 1 if self.layout.bits == 32 else (1 << self.layout.bits) - 1

    @property
    def _weights(self) -> tuple[float, float, float]:
        red, blue = WEIGHTS.get(self.matrix, WEIGHTS[5])
        return red, 1 - red - blue, blue

    @property
    def _luma(self) -> tuple[int, int]:
        """The code of black, and what white has more."""
        unit = 1 << (self.layout.bits - 8 if self.layout.bits < 32 else 0)
        return (0, self._top) if self.full or self.layout.bits == 32 else (16 * unit, 219 * unit)

    @property
    def _chroma(self) -> tuple[int, int]:
        """The code of grey, and what from one end to the other is."""
        unit = 1 << (self.layout.bits - 8)
        return 128 * unit, self._top if self.full else 224 * unit

    def _decode_colour(self, planes: list[Tensor], rgb: Tensor) -> None:
        if self.layout.kind == "rgb":
            for channel, plane in zip((1, 2, 0), planes, strict=False):
                torch.div(plane, self._top, out=rgb[channel])
            return
        zero, span = self._luma
        luma = planes[0].sub_(zero).div_(span)
        if self.layout.kind == "gray":
            rgb[:] = luma
            return
        zero, span = self._chroma
        blue, red = (self._widen(plane.sub_(zero).div_(span), *luma.shape) for plane in planes[1:3])
        weight_red, weight_green, weight_blue = self._weights
        torch.add(luma, red, alpha=2 * (1 - weight_red), out=rgb[0])
        torch.add(luma, blue, alpha=2 * (1 - weight_blue), out=rgb[2])
        torch.add(luma, red, alpha=-2 * (1 - weight_red) * weight_red / weight_green, out=rgb[1])
        rgb[1].sub_(blue, alpha=2 * (1 - weight_blue) * weight_blue / weight_green)

    def _encode_colour(self, rgb: Tensor) -> list[Tensor]:
        if self.layout.kind == "rgb":
            return [rgb[channel] * self._top for channel in (1, 2, 0)]
        red, green, blue = self._weights
        luma = (rgb[0] * red).add_(rgb[1], alpha=green).add_(rgb[2], alpha=blue)
        chroma = []
        if self.layout.kind == "yuv":
            zero, span = self._chroma
            for channel, weight in ((2, blue), (0, red)):
                difference = self._narrow(rgb[channel] - luma)
                chroma.append(difference.mul_(span / 2 / (1 - weight)).add_(zero))
        zero, span = self._luma
        return [luma.mul_(span).add_(zero), *chroma]

    def _widen(self, plane: Tensor, height: int, width: int) -> Tensor:
        """Chroma to the size of the luma."""
        for axis, halvings, size, beside in self._axes(height, width):
            for left in range(halvings - 1, -1, -1):
                plane = _double(plane, axis, -(-size >> left), beside)
        return plane

    def _narrow(self, plane: Tensor) -> Tensor:
        """The inverse of `_widen` for what comes from it, and a low-pass for all else."""
        for axis, halvings, _, beside in reversed(self._axes(*plane.shape)):
            for _ in range(halvings):
                plane = _halve(plane, axis, beside)
        return plane

    def _axes(self, height: int, width: int) -> list[tuple[int, int, int, bool]]:
        """For rows and columns: the axis, halvings, size, and whether chroma lies on every second sample."""
        return [
            (0, self.layout.down, height, self.siting.startswith("top")),
            (1, self.layout.across, width, self.siting.endswith("left")),
        ]


def _double(plane: Tensor, axis: int, size: int, beside: bool) -> Tensor:
    """Twice as many samples, or one less, by linear interpolation; the ends continue as they are."""
    after = _shifted(plane, axis, 1)
    wide = plane.new_empty([size if d == axis else n for d, n in enumerate(plane.shape)])
    even, odd = _halves(wide, axis)
    after, plane_odd = (p.narrow(axis, 0, odd.shape[axis]) for p in (after, plane))
    if beside:
        even.copy_(plane)
        torch.lerp(plane_odd, after, 0.5, out=odd)
    else:
        torch.lerp(plane, _shifted(plane, axis, -1), 0.25, out=even)
        torch.lerp(plane_odd, after, 0.25, out=odd)
    return wide


def _halve(plane: Tensor, axis: int, beside: bool) -> Tensor:
    """Half as many samples: the biorthogonal partner of `_double` (Cohen-Daubechies-Feauveau 2.2 or 3.1)."""
    even, odd = _halves(plane, axis)
    if plane.shape[axis] == 1:
        return even.clone()
    if even.shape[axis] > odd.shape[axis]:
        # One sample more, such that the rule below recovers the last one of what `_double` cut short.
        end = even.narrow(axis, odd.shape[axis], 1)
        before = odd.narrow(axis, odd.shape[axis] - 1, 1)
        odd = torch.cat([odd, end if beside else torch.lerp(before, end, 1.5)], axis)
    if beside:
        # What linear interpolation does not predict; none beyond the last sample of an odd number.
        detail = odd - torch.lerp(even, _shifted(even, axis, 1), 0.5)
        return even + (detail + _shifted(detail, axis, -1)) * 0.25
    first, last = even.narrow(axis, 0, 1), odd.narrow(axis, odd.shape[axis] - 1, 1)
    outer = torch.cat([first, odd.narrow(axis, 0, odd.shape[axis] - 1)], axis)
    outer += torch.cat([even.narrow(axis, 1, even.shape[axis] - 1), last], axis)
    return (even + odd).mul_(0.75).sub_(outer, alpha=0.25)


def _halves(plane: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Views of the even and the odd rows (axis 0) or columns (1)."""
    return (plane[::2], plane[1::2]) if axis == 0 else (plane[:, ::2], plane[:, 1::2])


def _shifted(plane: Tensor, axis: int, by: int) -> Tensor:
    """Each sample's neighbour after (1) or before (-1) it; the last or first is its own."""
    size = plane.shape[axis]
    if by > 0:
        parts = [plane.narrow(axis, 1, size - 1), plane.narrow(axis, size - 1, 1)]
    else:
        parts = [plane.narrow(axis, 0, 1), plane.narrow(axis, 0, size - 1)]
    return torch.cat(parts, axis)
