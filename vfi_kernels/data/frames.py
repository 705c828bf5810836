"""Reading single images, and single frames of videos at any place."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

__all__ = ["IMAGES", "VIDEOS", "LayoutError", "image_paths", "read_image"]

IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})
VIDEOS = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".ts"})


class LayoutError(ValueError):
    """A folder that is not laid out as expected; the message shows how."""


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
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{os.fspath(path)}: is no image, or damaged")
    return np.ascontiguousarray(image[..., ::-1])


def image_paths(folder: Path) -> list[Path]:
    """The images in a folder, by name; numbers count as numbers, so that 10 follows 9."""
    return sorted((path for path in folder.iterdir() if path.suffix.lower() in IMAGES), key=_natural)


def _natural(path: Path) -> tuple[int, str] | tuple[float, str]:
    digits = "".join(letter for letter in path.stem if letter.isdigit())
    return (int(digits) if digits else -1, path.name)
