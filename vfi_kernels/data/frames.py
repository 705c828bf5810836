"""Single images, and single frames of a clip: a folder of images or a video."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

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

    Opening it reads the file once for the times of its frames; nothing is decoded then.

    Raises:
        VideoError: it cannot be read, or its frames have no times (AVI: convert it).
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __len__(self) -> int:
        return len(self._stamps)

    def __iter__(self) -> Iterator[np.ndarray]:
        from ..video.metrics import rgb_frames

        return rgb_frames(self.path)

    @cached_property
    def _stamps(self) -> list[int]:
        from ..video._av import VideoError, av

        try:
            with av.open(f"file:{self.path}") as container:
                stream = container.streams.video[0]
                packets = [packet for packet in container.demux(stream) if packet.size]
        except (av.FFmpegError, IndexError) as error:
            raise VideoError(f"{self.path}: cannot be read as a video ({error})") from error
        kept = [packet.pts for packet in packets if not packet.is_discard]
        if None in kept or len(set(kept)) != len(kept):
            raise VideoError(f"{self.path}: frames cannot be told by their times; convert it to MP4 or MKV")
        return sorted(kept)

    def frames(self, numbers: Sequence[int]) -> list[np.ndarray]:
        """[H, W, 3] uint8 RGB each, numbers in any order."""
        from ..video._av import VideoError, av
        from ..video.colour import Converter, to_image

        wanted = {self._stamps[number] for number in numbers}
        found: dict[int, np.ndarray] = {}
        colour = None
        try:
            with av.open(f"file:{self.path}") as container:
                stream = container.streams.video[0]
                stream.thread_count = 1  # workers are processes already
                container.seek(min(wanted), stream=stream)
                for frame in container.decode(stream):
                    if frame.pts in wanted:
                        if colour is None:
                            colour = Converter(frame)
                        found[frame.pts] = to_image(colour.to_rgb(frame)[0])
                    if len(found) == len(wanted):
                        break
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged ({error.strerror})") from error
        if missing := wanted - found.keys():
            number = self._stamps.index(min(missing))
            raise VideoError(f"{self.path}: frame {number} cannot be decoded")
        return [found[self._stamps[number]] for number in numbers]


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
