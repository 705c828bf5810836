"""Outputs that are no container: an image file a frame, and GIF, whose frames need palettes."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from . import images
from ._av import VideoError, av

__all__ = [
    "check_rate",
    "codec_of",
    "existing",
    "is_gif",
    "is_images",
    "write_gif",
    "write_images",
    "written",
]

CODECS = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".tif": "tiff", ".tiff": "tiff"}

# What files in a folder are called.
NAME = "%06d.png"

# Of a second: what GIF counts time in. Browsers take one alone for a tenth of a second.
CENTISECOND = Fraction(1, 100)
BROWSERS = 50


def is_images(target: Path) -> bool:
    """Whether a frame becomes a file of its own: a pattern like `%04d.png`, or, without suffix, a folder."""
    return not target.suffix or target.suffix.lower() in images.SUFFIXES


def is_gif(target: Path) -> bool:
    return target.suffix.lower() == ".gif"


def codec_of(target: Path) -> str | None:
    """The encoder that the output's name asks for: of image files their own, for GIF a lossless one.

    Raises:
        VideoError: images that cannot be written, or a name without a number.
    """
    if is_gif(target):
        return "png"
    if not is_images(target):
        return None
    suffix = _pattern(target).suffix.lower()
    if suffix not in CODECS:
        raise VideoError(f"{target}: expected images in {' '.join(CODECS)}; {suffix} files are only read")
    images.numbered(_pattern(target))
    return CODECS[suffix]


def existing(target: Path) -> list[Path]:
    """The files that an output of images would replace, or stand beside."""
    pattern = _pattern(target)
    return list(images.numbers_of(pattern).values()) if pattern.parent.is_dir() else []


def written(target: Path) -> list[Path]:
    """The files that an output consists of."""
    return existing(target) if is_images(target) else [target]


def write_images(target: Path, files: Iterable[bytes], work: Path) -> int:
    """One file for each of `files`, counted from 0; they appear when all are written, until when they lie in
    a folder in `work`, on the same disk.

    Returns:
        How many there are.
    """
    pattern = _pattern(target)
    pattern.parent.mkdir(exist_ok=True)
    count = 0
    with _folder_in(work, pattern.parent.name) as temporary:
        for content in files:
            (temporary / (pattern.name % count)).write_bytes(content)
            count += 1
        for old in existing(target):
            old.unlink()
        for k in range(count):
            os.replace(temporary / (pattern.name % k), pattern.parent / (pattern.name % k))
    return count


def check_rate(target: Path, fps: Fraction, warn: Callable[[str], None]) -> None:
    """Whether a GIF can have so many frames a second.

    Raises:
        VideoError: it cannot.
    """
    most = 1 / CENTISECOND
    if fps > most:
        raise VideoError(f"{target}: GIF holds {most} frames a second at most; got {float(fps):g}")
    if fps > BROWSERS:
        warn(
            f"GIF counts hundredths of a second, and browsers show {BROWSERS} frames in one at "
            f"most; got {float(fps):g}"
        )


def write_gif(path: Path, frames: Iterable[tuple[av.VideoFrame, Fraction, Fraction]], rate: Fraction) -> None:
    """A GIF that is shown again and again, each frame in the 256 colours that suit it best.

    At a variable rate what lasts for no whole hundredth of a second is left out.

    Args:
        path: file to write.
        frames: frames with the time at which each appears and how long it stays, in seconds.
        rate: frames a second, about.
    """
    with av.open(f"file:{path}", "w", format="gif") as container:
        stream = container.add_stream("gif", rate=rate)
        stream.time_base = stream.codec_context.time_base = CENTISECOND
        lengths = {}
        graph = None
        for frame, time, length in frames:
            begin, end = (round(t / CENTISECOND) for t in (time, time + length))
            if begin == end:
                continue
            if graph is None:
                graph = _palettes(frame)
                stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "pal8"
            frame.pts, frame.time_base = begin, CENTISECOND
            lengths[begin] = end - begin
            graph.vpush(frame)
            _mux(container, stream.encode(graph.vpull()), lengths)
        _mux(container, stream.encode(None), lengths)


def _mux(container: av.container.OutputContainer, packets: list[av.Packet], lengths: dict[int, int]) -> None:
    for packet in packets:
        packet.duration = lengths.pop(packet.pts, 0)
        container.mux(packet)


def _palettes(frame: av.VideoFrame) -> av.filter.Graph:
    """To pal8, with a palette for each frame: one for all would have to be made before the first is shown."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=CENTISECOND
    )
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single")
    use = graph.add("paletteuse", "new=1")
    source.link_to(split)
    split.link_to(palette, 0, 0)
    split.link_to(use, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _pattern(target: Path) -> Path:
    return target if target.suffix else target / NAME


@contextmanager
def _folder_in(work: Path, name: str) -> Iterator[Path]:
    temporary = work / f".{name}.{secrets.token_hex(4)}.part"
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
