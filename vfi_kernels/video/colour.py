"""Frames as pictures for a model and back, and which of an encoder's pixel formats holds them.

Originals keep their planes bit for bit; made frames come back by the exact inverse of what the model was
shown, so what does not change in the picture does not flicker in the file.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ._av import VideoError, av
from .yuv import Coding, Layout

__all__ = ["Converter", "repacked", "to_image", "to_tensor", "views"]

Range = av.video.reformatter.ColorRange

BT709, BT601, UNSPECIFIED = 1, 6, 2

# Encoders that take sides which are no multiple of the chroma's steps.
ANY_SIZE = ("ffv1", "libvpx-vp9", "libaom-av1", "libsvtav1", "png", "mjpeg")

# These list formats with alpha, and keep it beside their packets, where it gets lost on the way, or fail.
LOSE_ALPHA = ("libvpx", "libvpx-vp9", "libx265")


class Converter:
    """Converts frames like `first` to RGB tensors and, for an encoder that takes `formats`, back.

    A source that does not say how it codes colours is read as players do: yuvj formats and gray as full
    range, all else as limited; BT.709 from 1280 pixels of width or 577 of height on, BT.601 below; chroma
    centred at full range, else to the left. The output is tagged as the source is, or is not.

    Not for several threads at once.

    Attributes:
        format: name of the pixel format for the encoder: the source's own where it can be kept.
        size: width and height.
        tags: colour tags for the encoder's context (H.273 numbers), the source's own.
        losses: one line for each thing that the encoder cannot hold.
    """

    def __init__(
        self,
        first: av.VideoFrame,
        codec: str = "ffv1",
        formats: list[str] | None = None,
        siting: str | None = None,
    ) -> None:
        """
        Args:
            first: a frame of the source.
            codec: name of the encoder.
            formats: the pixel formats it takes; None where nothing is encoded.
            siting: where chroma samples lie, as `Coding` has it; None where the source does not say.
        """
        self.size = (first.width, first.height)
        source = Layout.of(first.format)
        full = first.color_range == Range.JPEG or first.format.name.startswith("yuvj")
        if source.kind != "yuv" and first.color_range != Range.MPEG:
            full = True
        matrix = first.colorspace
        if matrix == UNSPECIFIED:
            matrix = BT709 if self.size[0] >= 1280 or self.size[1] > 576 else BT601
        self._source = Coding(source, matrix, full, siting or ("center" if full else "left"))
        self._unpack, self._pack = (av.video.reformatter.VideoReformatter() for _ in range(2))
        self.format, self.losses = self._choose(first, codec, formats)
        target = Layout.of(av.VideoFormat(self.format))
        # Alpha that is dropped is not computed.
        self._shown = replace(self._source, layout=source._replace(alpha=source.alpha and target.alpha))
        self._target = replace(self._source, layout=target)
        self.tags = {
            "color_range": int(first.color_range),
            "colorspace": int(first.colorspace),
            "color_primaries": int(first.color_primaries),
            "color_trc": int(first.color_trc),
        }
        if source.kind == "rgb" and target.kind != "rgb":
            self._target = replace(self._target, matrix=BT709, full=False, siting="left")
            self.tags |= {"color_range": int(Range.MPEG), "colorspace": BT709}
        elif source.kind == "yuv" and target.kind == "rgb":
            self.tags |= {"color_range": int(Range.JPEG), "colorspace": 0}
        elif source.kind == "gray" and target.kind == "yuv":
            self.tags["color_range"] = int(Range.JPEG if full else Range.MPEG)
        if self.format.startswith("yuvj") and self.format != first.format.name:
            # JPEG files cannot say otherwise.
            self._target = replace(self._target, matrix=BT601, full=True, siting="center")
            self.tags |= {"color_range": int(Range.JPEG), "colorspace": BT601}

    def planes(self, frame: av.VideoFrame) -> list[np.ndarray]:
        """The codes [H, W] of every channel that the output keeps, as they lie in memory."""
        planes = views(repacked(self._unpack, frame, self._source.layout.planar))
        return planes[:-1] if self._source.layout.alpha and not self._shown.layout.alpha else planes

    def decode(self, planes: list[Tensor]) -> Tensor:
        """[1, 3, H, W] float32, black 0 and white 1, neither clamped nor rounded; with alpha [2, 3, H, W].

        The second picture is the alpha, as grey, where the encoder keeps it.
        """
        return self._shown.decode(planes)

    def pixels(self, planes: list[np.ndarray], rows: np.ndarray, columns: np.ndarray) -> Tensor:
        """The colours of some pixels of `planes`, rows [R, 1] by columns [1, C]: [R, C, 3] float32 in [0, 1].

        Chroma is that of the nearest sample above and to the left.
        """
        layout = self._shown.layout
        picked = []
        for channel, plane in enumerate(planes):
            down, across = (layout.down, layout.across) if channel in (1, 2) else (0, 0)
            picked.append(torch.from_numpy(plane[rows >> down, columns >> across]))
        coding = replace(self._shown, layout=layout._replace(down=0, across=0))
        return coding.decode(picked)[0].clamp(0, 1).permute(1, 2, 0)

    def to_rgb(self, frame: av.VideoFrame) -> Tensor:
        """`decode` of `planes`."""
        return self.decode([torch.from_numpy(plane) for plane in self.planes(frame)])

    def codes(self, pictures: Tensor) -> list[Tensor]:
        """The planes [H, W] of what `decode` gives, for the encoder, on the same device. For any thread."""
        return self._target.encode(pictures.float())

    def packed(self, planes: list[Tensor]) -> av.VideoFrame:
        """A frame for the encoder from `codes` that have come to the CPU."""
        return self._frame([plane.numpy() for plane in planes])

    def from_rgb(self, pictures: Tensor) -> av.VideoFrame:
        """A frame for the encoder from what `to_rgb` gives, on the CPU."""
        return self.packed(self.codes(pictures))

    def original(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A decoded frame for the encoder: its very planes where the encoder takes the source's layout."""
        if frame.format.name == self.format:
            return frame
        if self._target == self._shown:
            return self._frame(self.planes(frame))
        return self.from_rgb(self.to_rgb(frame))

    def _frame(self, planes: list[np.ndarray]) -> av.VideoFrame:
        frame = av.VideoFrame(*self.size, self._target.layout.planar)
        for view, plane in zip(views(frame), planes, strict=True):
            np.copyto(view, plane)
        return repacked(self._pack, frame, self.format)

    def _choose(self, first: av.VideoFrame, codec: str, formats: list[str] | None) -> tuple[str, list[str]]:
        """The pixel format that loses least among those the encoder takes, and what it loses, in words."""
        own, source = first.format.name, self._source.layout
        if formats is None:
            return own, []
        layouts = {name: Layout.of(av.VideoFormat(name)) for name in formats if _usable(name, codec)}
        if own in layouts and self._fits(source, codec):
            return own, []
        fitting = [name for name, layout in layouts.items() if self._fits(layout, codec)]
        if not fitting:
            raise VideoError(
                f"{codec} cannot store {own} at {self.size[0]}x{self.size[1]}: "
                "try --codec ffv1 with an .mkv output"
            )

        def cost(name: str) -> tuple[int, ...]:
            layout = layouts[name]
            foreign = layout.kind != source.kind, name.startswith("yuvj")
            excess = layout.bits, layout.alpha, -layout.across - layout.down
            return (*_lost(source, layout).values(), *foreign, *excess, name != layout.planar)

        name = min(fitting, key=cost)
        lost = _lost(source, layouts[name])
        if lost["transparency"] and views(repacked(self._unpack, first, source.planar))[-1].min() == (
            1 if source.bits == 32 else (1 << source.bits) - 1
        ):
            lost["transparency"] = 0  # GIFs and palettes have it by default; nothing is seen through this one
        losses = [
            f"{codec} does not hold the {what} of {own}: stored as {name}" for what in lost if lost[what]
        ]
        if not losses and not self._fits(source, codec):
            size = f"{self.size[0]}x{self.size[1]}"
            losses = [f"{codec} needs even sides for {own}; {size} is stored as {name}"]
        return name, losses

    def _fits(self, layout: Layout, codec: str) -> bool:
        steps = (1 << layout.across, 1 << layout.down)
        return codec in ANY_SIZE or not any(side % step for side, step in zip(self.size, steps, strict=True))


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """[H, W, 3] uint8 or uint16 -> [1, 3, H, W] float32 in [0, 1]."""
    scale = np.iinfo(image.dtype).max
    # torch computes little with uint16, so the step to float32 is NumPy's
    pixels = image if image.dtype == np.uint8 else image.astype(np.float32)
    return torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float().div(scale).contiguous()


def to_image(frame: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """[3, H, W] float -> [H, W, 3] uint8 or uint16, clamped and rounded to nearest."""
    scaled = frame.float().clamp(0, 1).mul(np.iinfo(dtype).max).round()
    pixels = scaled.to(torch.uint8) if dtype == np.uint8 else scaled
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy().astype(dtype))


def _lost(source: Layout, target: Layout) -> dict[str, int]:
    """How much of each property of `source` does not fit into `target`."""
    coarser = max(target.across - source.across, 0) + max(target.down - source.down, 0)
    return {
        "colours": target.kind == "gray" and source.kind != "gray",
        "transparency": source.alpha and not target.alpha,
        f"{source.bits} bits": max(source.bits - target.bits, 0),
        "full chroma": coarser if target.kind == "yuv" and source.kind != "gray" else 0,
    }


def _usable(name: str, codec: str) -> bool:
    """Whether frames can be packed as the pixel format, and the encoder encodes them.

    No palettes; no floats, which FFV1 has as an experiment; nothing that lies in a device's memory and has no
    components; and JPEG is of full range, whatever is listed.
    """
    pixels = av.VideoFormat(name)
    if codec in LOSE_ALPHA and any(c.is_alpha for c in pixels.components):
        return False
    deep = all(8 <= c.bits <= 16 for c in pixels.components) and "f16" not in name
    return (
        bool(pixels.components)
        and deep
        and not pixels.has_palette
        and (codec != "mjpeg" or name.startswith("yuvj"))
    )


def repacked(reformatter: object, frame: av.VideoFrame, name: str) -> av.VideoFrame:
    """The same codes in another packing of the same layout: swscale moves them and computes nothing."""
    if frame.format.name == name:
        return frame
    same = {"src_color_range": Range.JPEG, "dst_color_range": Range.JPEG}
    return reformatter.reformat(frame, format=name, **same)


def views(frame: av.VideoFrame) -> list[np.ndarray]:
    """Every channel of a planar frame, [H, W], as it lies in memory."""
    first = frame.format.components[0]
    dtype = "u1" if first.bits <= 8 else "<f4" if first.bits == 32 else "<u2"
    found = []
    for plane in frame.planes:
        line = abs(plane.line_size) // np.dtype(dtype).itemsize
        rows = np.frombuffer(plane, dtype).reshape(plane.height, line)
        if plane.line_size < 0:
            rows = rows[::-1].copy()  # torch takes no negative strides
        if frame.format.name.startswith("ya"):
            found += [rows[:, k : 2 * plane.width : 2] for k in range(2)]
        else:
            found.append(rows[:, : plane.width])
    return found
