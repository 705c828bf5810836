"""Between a video's own pixels and RGB, with one matrix and one range both ways."""

from __future__ import annotations

import numpy as np

from ._av import VideoError, av

__all__ = ["Converter"]

Range = av.video.reformatter.ColorRange

# AVColorSpace (ITU-T H.273 MatrixCoefficients) to swscale's SWS_CS_*. An unknown matrix is read as BT.601,
# swscale's own reading: as the same one is used on the way back, the choice does not show.
BT709, FCC, BT601, SMPTE240M, BT2020 = 1, 4, 5, 7, 9
MATRICES = {1: BT709, 4: FCC, 5: BT601, 6: BT601, 7: SMPTE240M, 9: BT2020, 10: BT2020}

# Rounded to nearest and with every chroma sample used: the default is faster and darkens by one to two
# levels, which flickers between made frames and originals. What is left at full range is swscale's: chroma
# half a level low.
# SWS_BICUBIC, SWS_ACCURATE_RND, SWS_FULL_CHR_H_INT, SWS_FULL_CHR_H_INP, as numbers: PyAV names them since 18.
QUALITY = 0x4 | 0x40000 | 0x2000 | 0x4000


class Converter:
    """Converts frames like `first` to RGB and, for an encoder that takes `formats`, back.

    Attributes:
        rgb: name of the RGB format in between, 8 bits a channel or 16 where the source has more than 8.
        format: name of the pixel format for the encoder: the source's own where it can be kept.
        tags: colour tags for the encoder's context (H.273 numbers), the source's own.
    """

    def __init__(self, first: av.VideoFrame, codec: str = "ffv1", formats: list[str] | None = None) -> None:
        """
        Raises:
            VideoError: the encoder takes no pixel format that holds such frames.
        """
        source = first.format
        deep = source.components[0].bits > 8
        self.rgb = "rgb48le" if deep else "rgb24"
        self.size = (first.width, first.height)
        self.format = _choose(source, self.size, codec, formats) if formats else source.name
        self.full = first.color_range == Range.JPEG or source.name.startswith("yuvj")
        self.matrix = MATRICES.get(first.colorspace, BT601)
        self.tags = {
            "color_range": int(first.color_range),
            "colorspace": int(first.colorspace),
            "color_primaries": int(first.color_primaries),
            "color_trc": int(first.color_trc),
        }
        if source.is_rgb and not av.VideoFormat(self.format).is_rgb:
            self.matrix, self.full = BT709, False
            self.tags |= {"color_range": int(Range.MPEG), "colorspace": BT709}
        self._in, self._out, self._same = (av.video.reformatter.VideoReformatter() for _ in range(3))

    def to_rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """[H, W, 3] uint8 or uint16."""
        rgb = self._in.reformat(
            frame,
            format=self.rgb,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=Range.JPEG if self.full else Range.MPEG,
            dst_color_range=Range.JPEG,
            interpolation=QUALITY,
        )
        return rgb.to_ndarray()

    def from_rgb(self, image: np.ndarray) -> av.VideoFrame:
        """A frame for the encoder from [H, W, 3] uint8 or uint16."""
        frame = av.VideoFrame.from_ndarray(image, format=self.rgb)
        # PyAV 17 knows no BT.2020 argument; the tag says the same, and the numbers agree.
        frame.colorspace = self.matrix
        return self._convert(self._out, frame, Range.JPEG)

    def original(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A decoded frame for the encoder: its very planes where the encoder takes the source's format."""
        if frame.format.name == self.format:
            return frame
        full = self.full or frame.format.is_rgb
        return self._convert(self._same, frame, Range.JPEG if full else Range.MPEG)

    def _convert(self, reformatter: object, frame: av.VideoFrame, source_range: Range) -> av.VideoFrame:
        return reformatter.reformat(
            frame,
            format=self.format,
            src_colorspace=self.matrix,
            dst_colorspace=self.matrix,
            src_color_range=source_range,
            dst_color_range=Range.JPEG if self.full else Range.MPEG,
            interpolation=QUALITY,
        )


def _choose(source: av.VideoFormat, size: tuple[int, int], codec: str, formats: list[str]) -> str:
    """The first pixel format that loses nothing, among those that the encoder takes at this size."""
    deep = source.components[0].bits > 8
    plain = source.name.replace("yuva", "yuv")  # made frames have no alpha, so no frame keeps it
    wanted = [plain, plain.replace("yuvj", "yuv")]
    if source.is_rgb:
        wanted = ["gbrp16le"] if deep else ["bgr0", "gbrp"]
    wanted += ["yuv444p12le", "yuv444p10le"] if deep else []
    for name in [*wanted, "yuv444p"]:
        # Encoders want whole blocks of chroma; FFV1 does not mind.
        whole = codec == "ffv1" or not any(side % _step(name, axis) for axis, side in enumerate(size))
        if name in formats and whole:
            return name
    raise VideoError(
        f"{codec} cannot store {source.name} at {size[0]}x{size[1]}: try --codec ffv1 with an .mkv output"
    )


def _step(name: str, axis: int) -> int:
    """How many luma samples share one chroma sample along x (0) or y (1)."""
    chroma = av.VideoFormat(name, 16, 16).components[-1]
    return 16 // (chroma.width, chroma.height)[axis]
