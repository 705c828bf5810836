"""Containers: opening them, their packets, an error where some are missing, and the way to a key frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path

from . import limits
from ._av import VideoError, av
from .hardware import HWAccel

__all__ = ["opened", "packets", "seek"]

# How much earlier than its header says a Matroska file may end: writers round, and count the longest stream.
SLACK = Fraction(1, 2)

# Seconds before a key frame at which to search for it: more than it may be decoded before it is shown.
SEARCHED_EARLIER = 1


def opened(
    path: Path, limit: int = limits.MAX_PIXELS, device: HWAccel | None = None
) -> av.container.InputContainer:
    """The file for reading. Files only, and files that name others (playlists) open only files.

    Args:
        path: file.
        limit: pixels that a frame may have.
        device: what decodes it; None is the CPU.

    Raises:
        VideoError: no such file, not a video, or nothing that the device decodes.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file")
    try:
        options = {"protocol_whitelist": "file", "max_pixels": str(limit)}
        container = av.open(f"file:{path}", options=options, hwaccel=device)
    except (av.FFmpegError, RuntimeError) as error:  # the latter where a device has nothing to decode
        reason = getattr(error, "strerror", error)
        raise VideoError(f"{path}: cannot be read as a video ({reason})") from error
    try:
        for stream in container.streams.video:
            if stream.codec_context:
                limits.check_pixels(path, stream.width, stream.height, limit)
                stream.codec_context.options = {"max_pixels": str(limit)}
    except VideoError:
        container.close()
        raise
    return container


def seek(container: av.container.InputContainer, stream: av.VideoStream, key: int, start: int) -> None:
    """Go to a key frame's packet, or to others before it.

    `key` is its time stamp in ticks, `start` that of the first frame. FFmpegError: it does not get there.
    """
    # Who has no index searches for the time of decoding, which is earlier.
    indexed = "mp4" in container.format.name or "matroska" in container.format.name
    early = 0 if indexed else round(SEARCHED_EARLIER / stream.time_base)
    container.seek(max(key - early, min(key, start)), stream=stream)


def packets(
    container: av.container.InputContainer,
    path: Path,
    streams: Collection[av.stream.Stream],
    whole: bool = True,
    keep_going: bool = False,
) -> Iterator[av.Packet]:
    """The packets of `streams`, in the order of the file, and an empty one at the end of each.

    Args:
        container: as `opened` gives it.
        path: what to call it in messages.
        streams: those wanted.
        whole: whether this reads from the start, so that all of it must come.
        keep_going: pass on what is there instead of raising.

    Raises:
        VideoError: the file is damaged, or ends early. A cut file decodes without complaint up to the cut:
            only its header's promises tell.
    """
    read: Counter[int] = Counter()
    reached = Fraction(0)
    wanted = {stream.index for stream in streams}
    try:
        for packet in container.demux():
            kept = packet.stream.index in wanted
            if packet.dts is not None and packet.time_base:
                stop = (packet.pts if packet.pts is not None else packet.dts) + (packet.duration or 0)
                reached = max(reached, stop * packet.time_base)
                read[packet.stream.index] += 1
                if kept and packet.is_corrupt and not keep_going:
                    raise VideoError(f"{path}: damaged or cut short at {float(reached):.2f} s")
            if kept:
                yield packet
    except av.FFmpegError as error:
        if keep_going:
            return
        raise VideoError(f"{path}: damaged at {float(reached):.2f} s ({error.strerror})") from error
    if keep_going:
        return
    # MP4 and its kin: every packet is in the index.
    for stream in streams if whole and "mp4" in container.format.name else ():
        promised = len(stream.index_entries)
        if read[stream.index] < promised:
            have = f"{read[stream.index]} of {promised}"
            raise VideoError(f"{path}: cut short, {have} packets of {stream.type} are there")
    if "matroska" in container.format.name and container.duration:
        length = Fraction(container.duration, av.time_base)
        if reached + SLACK < length:
            raise VideoError(f"{path}: cut short, ends at {float(reached):.2f} of {float(length):.2f} s")
