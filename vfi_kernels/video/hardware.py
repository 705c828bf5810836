"""Decoding on a device that FFmpeg drives. Its frames come back as the planes that the CPU's decoder gives.

NVDEC and its like give the same codes in another packing: NV12, where the two kinds of chroma take turns, or
P010, where 10 bits are the upper ones of 16.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np

from ._av import VideoError, av
from .colour import repacked, views
from .yuv import Layout

__all__ = ["Decoder", "HWAccel", "check", "decoder_of", "opened_by"]

HWAccel = av.codec.hwaccel.HWAccel
Opened = TypeVar("Opened")


def check(name: str) -> None:
    """
    Raises:
        ValueError: not "none", "auto" or a kind of device that this FFmpeg knows, with or without a number.
    """
    known = ["none", "auto", *av.codec.hwaccel.hwdevices_available()]
    kind, colon, number = name.partition(":")
    if kind not in known or (colon and (kind in known[:2] or not number)):
        raise ValueError(f"hwaccel must be one of {', '.join(known)}, or like cuda:1; got {name!r}")


def opened_by(name: str, path: Path, how: Callable[[HWAccel | None], Opened]) -> Opened:
    """What `how` opens with the named device, for "auto" with the first that can, or the CPU: None.

    Raises:
        VideoError: the file cannot be read, or the device does not decode it.
    """
    kind, _, number = name.partition(":")
    for each in av.codec.hwaccel.hwdevices_available() if kind == "auto" else ():
        with suppress(VideoError):
            return how(_device(each))
    if kind in ("none", "auto"):
        return how(None)
    try:
        return how(_device(kind, number))
    except VideoError as error:
        how(None).close()  # else the file is to blame
        raise VideoError(
            f"{path}: cannot be decoded by {name}, which is not there or does not know its kind "
            f"({error.__cause__ or error}); --hwaccel none decodes it"
        ) from error


def _device(kind: str, number: str = "") -> HWAccel:
    # FFmpeg's own fall-back says nothing.
    return HWAccel(kind, number or None, allow_software_fallback=False)


class Decoder:
    """A stream's decoder on a device, whose frames have the pixel format that the CPU's would have."""

    def __init__(self, stream: av.VideoStream) -> None:
        """
        Raises:
            VideoError: the device does not decode the stream.
        """
        self._decoder = stream.codec_context
        if not self._decoder.is_hwaccel:
            raise VideoError(f"no device for {self._decoder.codec.canonical_name}")
        self._reformatter = av.video.reformatter.VideoReformatter()
        self.flush_buffers = self._decoder.flush_buffers

    def decode(self, packet: av.Packet) -> list[av.VideoFrame]:
        """As PyAV's.

        Raises:
            FFmpegError: a damaged packet.
            VideoError: the device gives other codes.
        """
        return [self._unpacked(frame) for frame in self._decoder.decode(packet)]

    def _unpacked(self, frame: av.VideoFrame) -> av.VideoFrame:
        wanted = self._decoder.sw_format
        if Layout.of(frame.format) != Layout.of(wanted):
            raise VideoError(f"the device gives {frame.format.name} for {wanted.name}")
        unpacked = repacked(self._reformatter, frame, wanted.name)
        unpacked.color_range = frame.color_range
        bits = wanted.components[0].bits
        if bits > 8 and frame.width % 2:
            # Of an odd number of columns swscale (FFmpeg 8) now and then gets one wrong.
            luma, chroma = (np.frombuffer(plane, "<u2").reshape(plane.height, -1) for plane in frame.planes)
            for view, codes in zip(views(unpacked), (luma, chroma[:, ::2], chroma[:, 1::2]), strict=True):
                view[:] = codes[:, : view.shape[1]] >> (16 - bits)
        return unpacked


def decoder_of(stream: av.VideoStream, on_device: bool) -> av.VideoCodecContext | Decoder:
    """The stream's own; where there is alpha beside VP8 or VP9, which it leaves, one that reads it."""
    own = stream.codec_context
    own.thread_type = "AUTO"
    name = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(own.codec.canonical_name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if not name or tags.get("alpha_mode") != "1":
        return Decoder(stream) if on_device else own
    if on_device:
        raise VideoError("no device reads its alpha")
    decoder = av.CodecContext.create(name, "r")
    decoder.options, decoder.thread_type = own.options, "AUTO"
    return decoder
