"""A picture of the frames that a model fails at most: before, true, made, difference, after."""

from __future__ import annotations

import heapq
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from ._av import VideoError
from .encoding import complete_or_absent

__all__ = ["ROWS", "Worst", "write_sheet"]

Name = TypeVar("Name")

ROWS = 6
COLUMN = 320
DIFFERENCE = 4  # times as strong, or nobody sees it


class Worst(Generic[Name]):
    """The frames of lowest PSNR. Of each its finished row is kept: whole ones would fill the memory."""

    def __init__(self, count: int = ROWS) -> None:
        self._count = count
        self._kept: list[tuple[float, int, Name, np.ndarray]] = []
        self._seen = 0  # tells frames of one PSNR apart in the heap

    def add(self, name: Name, score: float, images: tuple[np.ndarray, ...]) -> None:
        """A frame by whatever name, its PSNR, and before, true, made, after: [H, W, 3] uint8."""
        self._seen += 1
        if len(self._kept) == self._count and -score <= self._kept[0][0]:
            return
        heapq.heappush(self._kept, (-score, self._seen, name, _row(*images)))
        if len(self._kept) > self._count:
            heapq.heappop(self._kept)

    def ordered(self) -> list[tuple[Name, float, np.ndarray]]:
        """Name, PSNR and row of the sheet, the worst first."""
        return [(name, -score, row) for score, _, name, row in sorted(self._kept, reverse=True)]


def write_sheet(path: Path, rows: list[np.ndarray]) -> None:
    """Rows one below the other, as an image.

    Raises:
        VideoError: it cannot be written.
    """
    import cv2

    with complete_or_absent(path) as unfinished:
        if not cv2.imwrite(str(unfinished), np.concatenate(rows, 0)[..., ::-1]):
            raise VideoError(f"{path}: cannot be written as an image")


def _row(before: np.ndarray, true: np.ndarray, made: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The images and the difference of the true and the made one, small and side by side."""
    gap = np.abs(true.astype(np.int16) - made).astype(np.uint16) * DIFFERENCE
    shown = (before, true, made, gap.clip(0, 255).astype(np.uint8), after)
    return np.concatenate([_small(image) for image in shown], 1)


def _small(image: np.ndarray) -> np.ndarray:
    import cv2

    height = max(1, round(image.shape[0] * COLUMN / image.shape[1]))
    return cv2.resize(image, (COLUMN, height), interpolation=cv2.INTER_AREA)
