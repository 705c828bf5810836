"""Single images, and single frames of a clip: a folder of images or a video."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from ..video._av import av

__all__ = ["IMAGES", "VIDEOS", "ImageFolder", "Video", "clips", "read_image"]

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"})


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """[H, W, 3] uint8 RGB.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no image, or damaged.
        ImportError: OpenCV is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError("reading images needs OpenCV: pip install 'vfi-kernels[video]'") from error
    content = np.fromfile(path, np.uint8)
    image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    if image is None:
        raise ValueError(f"{os.fspath(path)}: is no image, or damaged")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


class ImageFolder:
    """The images in a folder, in the order of the numbers in their names, then of their names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        found = (entry for entry in path.iterdir() if entry.suffix.lower() in IMAGES)
        self.paths = sorted(found, key=lambda entry: _natural(entry.name))

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(read_image, self.paths)

    def frames(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """[H, W, 3] uint8 RGB each."""
        return [read_image(self.paths[number]) for number in numbers]


class Video:
    """The frames of a video, from any place in it: what lies before the key frame there is not decoded.

    Opening it reads the file once for the times of its frames; nothing is decoded then. Where they do not
    tell the frames (AVI with B-frames: FFmpeg makes them up in the order of decoding), or do not lead to a
    key frame, frames are decoded from the first on and counted.

    Raises:
        VideoError: it cannot be read, or holds no pictures.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return len(self._contents.stamps)

    def __iter__(self) -> Iterator[np.ndarray]:
        from ..video.metrics import rgb_frames

        return rgb_frames(self.path)

    @cached_property
    def _contents(self) -> _Contents:
        from ..video._av import VideoError, av
        from ..video.demuxing import opened
        from ..video.signalling import chroma_siting
        from ..video.streams import pictures_of

        try:
            with opened(self.path) as container:
                stream = pictures_of(container)
                if stream is None:
                    raise VideoError(f"{self.path}: holds no video stream")
                siting = chroma_siting(stream)
                packets = [p for p in container.demux(stream) if p.size and not p.is_discard]
                made_up = container.format.name == "avi" and stream.codec_context.has_b_frames
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: cannot be read as a video ({error.strerror})") from error
        stamps = {packet.pts for packet in packets}
        keys = [packet.pts for packet in packets if packet.is_keyframe]
        if made_up or not keys or None in stamps or len(stamps) != len(packets):
            return _Contents([None] * len(packets), [], siting)
        # What is shown before the first key frame needs frames that are not there, and is not decoded.
        shown = sorted(stamp for stamp in stamps if stamp >= keys[0])
        numbers = {stamp: number for number, stamp in enumerate(shown)}
        return _Contents(shown, sorted(numbers[key] for key in keys if key in numbers), siting)

    def frames(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """[H, W, 3] uint8 RGB each, numbers in any order."""
        from ..video._av import VideoError, av

        wanted = set(numbers)
        keys = self._contents.keys
        key = keys[max(bisect_right(keys, min(wanted)) - 1, 0)] if keys else 0
        try:
            found = self._found(wanted, key)
            if key and len(found) < len(wanted):
                found = self._found(wanted, 0)
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged ({error.strerror})") from error
        if missing := wanted - found.keys():
            raise VideoError(f"{self.path}: frame {min(missing)} cannot be decoded")
        return [found[number] for number in numbers]

    def _found(self, wanted: set[int], first: int) -> dict[int, np.ndarray]:
        """Those of the wanted frames that come when decoding starts at a key frame, or at frame 0."""
        from ..video.colour import Converter, to_image

        found: dict[int, np.ndarray] = {}
        colour = None
        for number, frame in self._decoded(first):
            if number in wanted:
                if colour is None:
                    colour = Converter(frame, siting=self._contents.siting)
                found[number] = to_image(colour.to_rgb(frame)[0])
            if len(found) == len(wanted):
                break
        return found

    def _decoded(self, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Frames with their numbers, up to the first that is not the one that its place promises."""
        from ..video._av import av
        from ..video.demuxing import opened, seek
        from ..video.streams import pictures_of

        with opened(self.path) as container:
            stream = pictures_of(container)
            stream.thread_count = 1  # workers are processes already
            if not first:
                yield from enumerate(container.decode(stream))
                return
            stamps = self._contents.stamps
            key = stamps[first]
            with suppress(av.FFmpegError):  # where it does not get there, packets come from the start
                seek(container, stream, key, stamps[0])
            packets = dropwhile(lambda packet: packet.pts != key, container.demux(stream))
            frames = (frame for packet in packets for frame in packet.decode())
            for number, (frame, stamp) in enumerate(zip(frames, stamps[first:], strict=False), first):
                if frame.pts != stamp:
                    return
                yield number, frame


class _Contents(NamedTuple):
    """What is known of a video before it is decoded; its frames in the order in which they are shown."""

    stamps: list[int | None]  # None: they cannot be told by them
    keys: list[int]  # numbers of the key frames that can be searched for
    siting: str | None  # where the stream says its chroma samples lie


def clips(root: Path) -> list[ImageFolder | Video]:
    """Every video below a folder, and every folder of images, in the order of their paths."""
    found: list[ImageFolder | Video] = []
    for folder, folders, names in os.walk(root):
        folders.sort(key=_natural)
        here = Path(folder)
        suffixes = {Path(name).suffix.lower() for name in names}
        if suffixes & IMAGES:
            found.append(ImageFolder(here))
        videos = [name for name in names if Path(name).suffix.lower() in VIDEOS]
        found += [Video(here / name) for name in sorted(videos, key=_natural)]
    return found


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers count as numbers, so that 10 follows 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
