"""What a stream says about its colours where PyAV has no attribute for it, and how encoders are told."""

from __future__ import annotations

import re
import struct
import threading
from contextlib import suppress
from fractions import Fraction

import torch

from ._av import av

__all__ = ["chroma_siting", "encoder_options", "side_data"]

# The encoders that write HDR10's static data into the stream: the option with their own parameters, and in
# them the names of the mastering display and of the content light level.
HDR10 = {
    "libx264": ("x264-params", "mastering-display", "cll"),
    "libx265": ("x265-params", "master-display", "max-cll"),
    "libsvtav1": ("svtav1-params", "mastering-display", "content-light"),
}

SITINGS = ("left", "center", "topleft", "top", "bottomleft", "bottom")
LEVELS = threading.Lock()


def chroma_siting(stream: av.VideoStream) -> str | None:
    """Where a stream says its chroma samples lie, by FFmpeg's name, or None.

    FFmpeg's own description of a file tells; it is given to the log, which is quiet otherwise. While it is
    not, no stream may be decoded or encoded, this one neither: FFmpeg's threads would log too, for which they
    wait for Python's lock, and who holds that may wait for them, as to free a decoder is to wait for its
    threads.
    """
    with LEVELS:
        level = av.logging.get_level()
        av.logging.set_level(av.logging.VERBOSE)
        av.logging.set_libav_level(av.logging.VERBOSE)
        try:
            described = stream.container.dumps_format()
        finally:
            av.logging.set_libav_level(av.logging.INFO)
            av.logging.set_level(level)
    line = re.search(rf"Stream #0:{stream.index}\b[^\n]*", described)
    said = re.search(rf"[(, ]({'|'.join(SITINGS)})\)", line[0]) if line else None
    return said[1] if said else None


def side_data(frame: av.VideoFrame) -> dict[str, bytes]:
    """What comes with a frame, by name; nothing where there is some of a kind that PyAV does not know."""
    with suppress(ValueError):
        return {side.type.name: bytes(side) for side in frame.side_data}
    return {}


def encoder_options(first: av.VideoFrame, codec: str, siting: str | None) -> tuple[dict[str, str], list[str]]:
    """Options by which the encoder signals what `first` and its stream do, and what it has no place for.

    Returns:
        Options by name, and one line for each loss.
    """
    options = {"chroma_sample_location": siting} if siting else {}
    data = side_data(first)
    losses = []
    own, display, light = HDR10.get(codec, ("", "", ""))
    parameters = ["log-level=error"] if codec == "libx265" else []  # else it reports on stderr
    if codec == "libx264" and torch.backends.cpu.get_cpu_capability() == "AVX512":
        # x264's macroblock tree reads what nobody wrote where AVX-512 goes past the end of a row (of 20
        # macroblocks, not of 8): now and then the same frames give other bytes.
        parameters.append("asm=AVX2")
    if "MASTERING_DISPLAY_METADATA" in data:
        values = _mastering(data["MASTERING_DISPLAY_METADATA"], whole=codec != "libsvtav1")
        if not own:
            losses.append(f"HDR: {codec} does not keep the mastering display's data")
        elif values:
            parameters.append(f"{display}={values}")
    if "CONTENT_LIGHT_LEVEL" in data:
        if own:
            levels = struct.unpack_from("=II", data["CONTENT_LIGHT_LEVEL"])
            parameters.append("{}={},{}".format(light, *levels))
        else:
            losses.append(f"HDR: {codec} does not keep the content light level")
    if parameters:
        options[own] = ":".join(parameters)
    if {"DOVI_METADATA", "DOVI_RPU_BUFFER", "DYNAMIC_HDR_PLUS"} & data.keys():
        losses.append("HDR: Dolby Vision's and HDR10+'s data for each frame are not kept")
    return options, losses


def _mastering(data: bytes, whole: bool) -> str:
    """FFmpeg's AVMasteringDisplayMetadata as encoders read it: whole numbers of H.265's units, or decimals.

    Empty where primaries or luminance are missing: encoders ask for both.
    """
    numbers = struct.unpack_from("=22i", data)
    if not (numbers[20] and numbers[21]):
        return ""
    values = [
        Fraction(above, below or 1) for above, below in zip(numbers[:20:2], numbers[1:20:2], strict=True)
    ]
    units = [50_000 if whole else 1] * 8 + [10_000 if whole else 1] * 2
    shown = [
        str(round(value * unit)) if whole else f"{float(value):g}"
        for value, unit in zip(values, units, strict=True)
    ]
    red, green, blue, white = (",".join(shown[k : k + 2]) for k in (0, 2, 4, 6))
    return f"G({green})B({blue})R({red})WP({white})L({shown[9]},{shown[8]})"
