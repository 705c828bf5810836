"""Image files read like a video: numbered files, all of a folder, one picture, an animated WebP.

Other animations (GIF, APNG) are videos to FFmpeg, and read as such.
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from . import limits
from ._av import VideoError, av
from .repairs import Shape, fitted

__all__ = ["RATE", "SUFFIXES", "Images", "files_of", "is_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff", ".bmp", ".webp")

# Images do not say how long they are shown.
RATE = Fraction(25)

NUMBER = re.compile(r"%(0\d{1,2})?d")

# Bytes of the decoded frames of an animated WebP, which are in memory at once.
MAX_ANIMATION = 4 << 30


def is_images(path: Path) -> bool:
    """Whether this names images rather than a video file: a folder, a pattern, a picture."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def files_of(path: Path, gaps: bool = False, force: bool = False) -> list[Path]:
    """The image files that a name stands for, in the order in which they are shown.

    Args:
        path: a folder: its images by name, numbers in names counted as numbers. A pattern such as
            `frame_%04d.png`: the files with such a number, from the least on, none left out. Or one file.
        gaps: name files that are missing in between as well, instead of raising.
        force: however many there are.

    Raises:
        VideoError: there are none, or one is missing; a pattern that is more than a number in a file's name.
    """
    if path.is_dir():
        found = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        kinds = sorted({p.suffix.lower() for p in found})
        if not found:
            raise VideoError(f"{path}: holds no images ({' '.join(SUFFIXES)})")
        if len(kinds) > 1:
            raise VideoError(
                f"{path}: holds {' and '.join(kinds)} files; choose with a pattern like %04d.png"
            )
        return sorted(found, key=lambda p: _natural(p.name))
    if path.is_file() or "%" not in path.name:
        if not path.is_file():
            raise VideoError(f"{path}: no such file")
        return [path]
    numbered(path)
    if not path.parent.is_dir():
        raise VideoError(f"{path.parent}: no such folder")
    numbers = numbers_of(path)
    if not numbers:
        raise VideoError(f"{path}: there are no such files")
    first, last = min(numbers), max(numbers)
    if len(numbers) <= last - first and not gaps:
        gap = next(k for k in range(first, last) if k not in numbers)
        raise VideoError(f"{path.parent / (path.name % gap)}: is missing, while later ones are there")
    if not force:
        limits.check_frames(path, last - first + 1, (last - first + 1) / RATE)
    return [path.parent / (path.name % k) for k in range(first, last + 1)]


def numbers_of(pattern: Path) -> dict[int, Path]:
    """The files that a pattern names, by number: 7.png is not one of %06d.png's."""
    before, after = numbered(pattern)
    found = {}
    for file in pattern.parent.iterdir():
        digits = file.name[len(before) : len(file.name) - len(after)]
        if re.fullmatch("[0-9]+", digits) and pattern.name % int(digits) == file.name:
            found[int(digits)] = file
    return found


def numbered(path: Path) -> tuple[str, str]:
    """What stands before and after the number in a pattern's file name.

    Raises:
        VideoError: the name is no such pattern.
    """
    parts = NUMBER.split(path.name)
    if len(parts) != 3 or "%" in parts[0] + parts[2] or "%" in str(path.parent):
        raise VideoError(f"{path}: expected one number like %04d, in the file's name only")
    return parts[0], parts[2]


class Images:
    """Image files as `Reader` gives a video: the same attributes and methods.

    Raises:
        VideoError: there are no such files, or one cannot be read or differs from the first.
    """

    audio: tuple[()] = ()
    start = Fraction(0)
    aspect = None
    siting = None
    seekable = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        rate: Fraction | None = None,
        keep_going: bool = False,
        force: bool = False,
    ) -> None:
        """
        Args:
            path: as for `files_of`.
            rate: images a second; `RATE` where it is not given. An animated WebP has its own times.
            keep_going: hold the last good image where one is missing or cannot be read, and scale those of
                another size.
            force: read pictures of any size, and however many.
        """
        self.path = Path(path)
        self.repairs: Counter[str] = Counter()
        self._keep_going = keep_going
        self._limit = limits.UNLIMITED if force else limits.MAX_PIXELS
        files = files_of(self.path, gaps=keep_going, force=force)
        if len(files) == 1 and _is_apng(files[0]):
            raise VideoError(f"{self.path}: is an animation, which is read under a name in .apng")
        self.rate = rate or RATE
        self.tick = 1 / self.rate
        self._pictures: list[Callable[[], av.VideoFrame]] = [
            lambda file=file: picture(file, self._limit) for file in files
        ]
        self._stops = [(k + 1) * self.tick for k in range(len(files))]
        if len(files) == 1 and (lengths := _animation(files[0], self._limit)):
            self._pictures = _animated(files[0])
            self.tick = Fraction(1, 1000)
            self._stops = [length * self.tick for length in accumulate(lengths)]
            self.rate = len(lengths) / self._stops[-1]
        self.end = self.duration = self._stops[-1]
        self._shape: Shape | None = None
        self.first = self._read(0) or self._nearest(0)

    def __enter__(self) -> Images:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is open between two frames."""

    def frames(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Every frame with its time in seconds after the first."""
        return self.frames_from(0)

    def frames_from(self, key: int) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """The frames from number `key` on."""
        good = None
        for number in range(key, len(self._pictures)):
            frame = self._read(number)
            self.repairs["held"] += frame is None
            good = frame or good or self._nearest(number)
            yield good, self._time(number)

    def _read(self, number: int) -> av.VideoFrame | None:
        """An image, in the size and format of the first; None where there is none to be had."""
        try:
            frame = self._pictures[number]()
        except VideoError:
            if not self._keep_going:
                raise
            return None
        frame.pts = number
        shape = Shape.of(frame)
        self._shape = self._shape or shape
        if shape == self._shape:
            return frame
        if not self._keep_going:
            raise VideoError(f"{self.path}: image {number + 1} is {shape}, the first one {self._shape}")
        self.repairs["scaled"] += 1
        return fitted(frame, self._shape)

    def _nearest(self, number: int) -> av.VideoFrame:
        """The last good image before one, or where all are bad the first after it."""
        for other in (*range(number - 1, -1, -1), *range(number + 1, len(self._pictures))):
            if frame := self._read(other):
                return frame
        raise VideoError(f"{self.path}: no image can be read")

    def marks(self) -> list[tuple[Fraction, int | None, bool]]:
        """Every frame's time, number, and that decoding can start there."""
        return [(self._time(number), number, True) for number in range(len(self._pictures))]

    def _time(self, number: int) -> Fraction:
        return self._stops[number - 1] if number else Fraction(0)


def picture(path: Path, limit: int = limits.MAX_PIXELS) -> av.VideoFrame:
    """One image file, decoded. What it is its suffix says: it cannot be a list of other files.

    Raises:
        VideoError: it cannot be read, or is larger than `limit` pixels.
    """
    options = {"pattern_type": "none", "protocol_whitelist": "file", "max_pixels": str(limit)}
    try:
        with av.open(f"file:{path}", format="image2", options=options) as container:
            stream = container.streams.video[0]
            limits.check_pixels(path, stream.width, stream.height, limit)
            codec = stream.codec_context
            codec.options = {"max_pixels": str(limit)}
            if codec.name == "mjpeg":
                codec.options |= {"err_detect": "explode"}  # else half a picture is a good one
            return next(container.decode(stream))
    except av.ArgumentError as error:
        raise VideoError(f"{path}: is more than {limit} pixels; --force lifts the limit") from error
    except (av.FFmpegError, StopIteration, IndexError) as error:
        why = getattr(error, "strerror", None) or "it is empty"
        raise VideoError(f"{path}: cannot be read as an image ({why})") from error


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value: 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _is_apng(path: Path) -> bool:
    """Whether a PNG is one of several frames, of which FFmpeg's reader of images knows the first."""
    with path.open("rb") as file:
        head = file.read(4096)
    return head.startswith(b"\x89PNG") and b"acTL" in head.partition(b"IDAT")[0]


def _animation(path: Path, limit: int) -> list[int]:
    """Milliseconds of every frame of an animated WebP; empty where it is anything else.

    FFmpeg's decoder reads still ones only.
    """
    with path.open("rb") as file:
        head = file.read(30)
        if head[:4] != b"RIFF" or head[8:16] != b"WEBPVP8X" or not head[20] & 2:
            return []
        width, height = (int.from_bytes(head[k : k + 3], "little") + 1 for k in (24, 27))
        limits.check_pixels(path, width, height, limit)
        lengths = []
        while len(chunk := file.read(8)) == 8:
            size = struct.unpack_from("<I", chunk, 4)[0]
            if chunk[:4] == b"ANMF":
                lengths.append(int.from_bytes(file.read(16)[12:15], "little"))
                size -= 16
            file.seek(size + size % 2, os.SEEK_CUR)
    if len(lengths) * width * height * 4 > MAX_ANIMATION and limit < limits.UNLIMITED:
        raise VideoError(
            f"{path}: {len(lengths)} frames of {width}x{height} need too much memory; see --force"
        )
    # Browsers show what says no time a tenth of a second.
    return [length or 100 for length in lengths]


def _animated(path: Path) -> list[Callable[[], av.VideoFrame]]:
    import cv2

    log = cv2.utils.logging
    level = log.setLogLevel(log.LOG_LEVEL_SILENT)  # else it tells of damage in its own lines as well
    try:
        whole, animation = cv2.imreadanimation(str(path))
    finally:
        log.setLogLevel(level)
    if not whole:
        raise VideoError(
            f"{path}: cannot be read as an image (OpenCV reads animated WebP where it has libwebp)"
        )

    def frame(number: int) -> av.VideoFrame:
        pixels = animation.frames[number]
        return av.VideoFrame.from_ndarray(pixels, format="bgra" if pixels.shape[2] == 4 else "bgr24")

    return [lambda number=number: frame(number) for number in range(len(animation.frames))]
