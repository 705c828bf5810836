"""Where one shot ends and another begins, and which frames only repeat the one before.

Frames are images [H, W, 3]: arrays uint8 or uint16, or tensors with black 0 and white 1 on any device, as the
pipeline converts them anyway; cuts are sought in thumbnails of them.
"""

from __future__ import annotations

from collections import deque
from itertools import product

import numpy as np
from torch import Tensor

__all__ = ["THRESHOLD", "CutDetector", "distance", "repeats", "thumbnail"]

# Cuts between unlike shots score 0.5 to 0.7; eight times the speed of ordinary motion stays below 0.16.
THRESHOLD = 0.3

# A cut also stands out by this factor from the mean of the last RECENT scores: in confetti and whip pans
# every frame differs.
STANDS_OUT = 1.5
RECENT = 8

CELLS = (32, 48)
SAMPLES = 4  # pixels of a cell along each side: all of them would cost more than they tell
REACH = 4  # cells that a pan may move a thumbnail
BINS = 8  # a channel
# Variance of luma below which a thumbnail is flat, noise and all: (5 / 255)^2.
FLAT = 4e-4
LUMA = np.float32([0.299, 0.587, 0.114])

BLOCK = 8
# Mean difference in a block, of full scale, that encoders make of repeats: about two of 255 levels.
CODED_NOISE = 0.008


def thumbnail(image: np.ndarray | Tensor) -> np.ndarray:
    """[H, W, 3] -> [32, 48, 3] float32 in [0, 1]."""
    rows, columns = (
        ((np.arange(cells * SAMPLES) + 0.5) * side / (cells * SAMPLES)).astype(np.intp)
        for cells, side in zip(CELLS, image.shape, strict=False)
    )
    samples, white = _levels(image[rows[:, None], columns])
    cells = samples.reshape(CELLS[0], SAMPLES, CELLS[1], SAMPLES, 3)
    return cells.mean((1, 3), dtype=np.float32) / np.float32(white)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """How much two thumbnails look like different shots, in [0, 1].

    The geometric mean of two measures, each blind to what the other sees through: a flash or a fade changes
    the colours and keeps the structure, noise and movement change the structure and keep the colours.
    """
    return float(np.sqrt(_structure(a @ LUMA, b @ LUMA) * _colours(a, b)))


class CutDetector:
    """Tells, thumbnail by thumbnail, whether a shot begins with it."""

    def __init__(self, threshold: float = THRESHOLD) -> None:
        """
        Raises:
            ValueError: threshold is not in (0, 1].
        """
        if not 0 < threshold <= 1:
            raise ValueError(f"scene_threshold must be above 0 and at most 1; got {threshold}")
        self.threshold = threshold
        self._before: np.ndarray | None = None
        self._scores: deque[float] = deque([0.0] * RECENT, RECENT)

    def __call__(self, thumb: np.ndarray) -> bool:
        """Whether there is a cut between the thumbnail given before and this one; False for the first."""
        before, self._before = self._before, thumb
        if before is None:
            return False
        score = distance(before, thumb)
        level = sum(self._scores) / RECENT
        # Bounded, so that plain cuts never hide others: in a slide show every frame is one.
        self._scores.append(min(score, self.threshold))
        return score > self.threshold and score > STANDS_OUT * level


def repeats(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> bool:
    """Whether image b shows what a does, but for what an encoder adds.

    Judged by the block that differs most, as little may move: a mouth. Every second pixel of every second row
    is looked at.
    """
    (sparse_a, white), (sparse_b, _) = (_levels(image[::2, ::2]) for image in (a, b))
    gap = np.abs(sparse_a.astype(np.float32) - sparse_b).mean(2)
    # The last blocks of ragged sides are completed with their own last pixels.
    gap = np.pad(gap, [(0, -side % BLOCK) for side in gap.shape], mode="edge")
    blocks = gap.reshape(gap.shape[0] // BLOCK, BLOCK, -1, BLOCK).mean((1, 3))
    return bool(blocks.max() <= CODED_NOISE * white)


def _levels(image: np.ndarray | Tensor) -> tuple[np.ndarray, int]:
    """The image as an array, and what white is in it."""
    if isinstance(image, Tensor):
        return image.cpu().numpy(), 1
    return image, np.iinfo(image.dtype).max


def _structure(a: np.ndarray, b: np.ndarray) -> float:
    """One minus the correlation of luma at the best global shift: blind to brightness, contrast and pans."""
    best = 0.0
    for dy, dx in product(range(-REACH, REACH + 1), repeat=2):
        p, q = _shifted(a, dy, dx), _shifted(b, -dy, -dx)
        p, q = p - p.mean(), q - q.mean()
        # Two flat frames are alike, a flat one and another are not.
        likeness = (np.mean(p * q) + FLAT) / np.sqrt((np.mean(p * p) + FLAT) * (np.mean(q * q) + FLAT))
        best = max(best, float(likeness))
    return 1 - min(best, 1.0)


def _shifted(thumb: np.ndarray, dy: int, dx: int) -> np.ndarray:
    """What is left when `thumb` loses dy rows and dx columns at the start, or at the end where negative."""
    height, width = thumb.shape
    return thumb[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]


def _colours(a: np.ndarray, b: np.ndarray) -> float:
    """The part of all cells that changed its colour, wherever they lie: half the L1 of colour histograms."""
    return min(1.0, float(np.abs(_histogram(a) - _histogram(b)).sum() / 2))


def _histogram(thumb: np.ndarray) -> np.ndarray:
    """[BINS ** 3], sums to 1; every colour is spread over the bins beside it, so that no step is abrupt."""
    place = thumb.reshape(-1, 3) * (BINS - 1)
    low = np.minimum(place.astype(np.intp), BINS - 2)
    part = place - low
    strides = np.array([BINS * BINS, BINS, 1])
    found = np.zeros(BINS**3)
    for corner in product((0, 1), repeat=3):
        weights = np.where(corner, part, 1 - part).prod(1)
        found += np.bincount((low + corner) @ strides, weights, BINS**3)
    return found / len(place)
