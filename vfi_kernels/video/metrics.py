"""How alike two videos are: PSNR and SSIM of 8-bit RGB frames."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from ._av import VideoError
from .colour import Converter, to_image
from .reading import Reader

__all__ = ["Score", "compare", "likeness", "mean_score", "psnr", "rgb_frames", "ssim"]

WINDOW = 7


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two images of 0 to 255, of any shape; infinite where equal."""
    error = np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2, dtype=np.float64)
    return math.inf if error == 0 else 10 * math.log10(255**2 / error)


def ssim(a: np.ndarray, b: np.ndarray, *, peak: float = 255) -> float:
    """Structural similarity of two images [H, W] or [H, W, 3], both sides at least 7; white is `peak`.

    Wang, Bovik, Sheikh, Simoncelli: Image Quality Assessment: From Error Visibility to Structural Similarity,
    IEEE TIP 2004. A flat 7 x 7 window wholly inside the image, sample covariance, the three channels
    averaged: scikit-image's defaults.

    Raises:
        VideoError: a side is shorter than the window.
    """
    if min(a.shape[:2]) < WINDOW:
        raise VideoError(f"SSIM needs frames of at least {WINDOW}x{WINDOW}; got {a.shape[1]}x{a.shape[0]}")
    import cv2

    def mean(x: np.ndarray) -> np.ndarray:
        edge = WINDOW // 2
        return cv2.blur(x, (WINDOW, WINDOW))[edge:-edge, edge:-edge]

    sample = WINDOW**2 / (WINDOW**2 - 1)
    return likeness(a.astype(np.float32), b.astype(np.float32), mean, sample=sample, peak=peak)


def likeness(
    x: np.ndarray,
    y: np.ndarray,
    mean: Callable[[np.ndarray], np.ndarray],
    *,
    sample: float = 1,
    peak: float = 255,
) -> float:
    """SSIM by any window: its kinds differ in the mean around a pixel.

    Args:
        x, y: floating.
        mean: the weighted mean around every pixel that counts.
        sample: what the variances are multiplied by: n / (n - 1) for those of a sample.
        peak: what white is above black.
    """
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mx, my = mean(x), mean(y)
    vx, vy, vxy = (
        (mean(p * q) - mp * mq) * sample for p, q, mp, mq in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
    )
    light = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
    return float((light * (2 * vxy + c2) / (vx + vy + c2)).mean(dtype=np.float64))


@dataclass(frozen=True)
class Score:
    """One pair of frames: PSNR in dB (infinite where they are the same), SSIM in [-1, 1]."""

    psnr: float
    ssim: float

    @property
    def same(self) -> bool:
        return math.isinf(self.psnr)


def mean_score(scores: list[Score]) -> Score | None:
    """Mean over the frames that differ (the PSNR of equal ones is infinite); None where all are the same."""
    differing = [s for s in scores if not s.same]
    if not differing:
        return None
    return Score(
        *(math.fsum(getattr(s, name) for s in differing) / len(differing) for name in ("psnr", "ssim"))
    )


def rgb_frames(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """The frames of a video, [H, W, 3] uint8, by the video's own matrix and range."""
    with Reader(path) as reader:
        colour = Converter(reader.first, siting=reader.siting)
        for frame, _ in reader.frames():
            yield to_image(colour.to_rgb(frame)[0])


def compare(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> tuple[list[Score], int, int]:
    """Score two videos frame by frame, paired by number.

    Returns:
        The scores of the frames that both have, and how many frames each has.

    Raises:
        VideoError: a file cannot be read, or their frames differ in size.
    """
    scores: list[Score] = []
    counts = [0, 0]
    for pair in zip_longest(rgb_frames(a), rgb_frames(b)):
        for side, image in enumerate(pair):
            counts[side] += image is not None
        one, other = pair
        if one is None or other is None:
            continue
        if one.shape != other.shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in pair]
            raise VideoError(
                f"frames must have one size to be compared; got {sizes[0]} ({a}) and {sizes[1]} ({b})"
            )
        scores.append(Score(psnr(one, other), ssim(one, other)))
    return scores, counts[0], counts[1]
