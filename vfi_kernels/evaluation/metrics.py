"""Measures of one made frame, in all the kinds that published figures are in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from ..video.metrics import likeness, psnr, ssim

__all__ = [
    "IE",
    "PSNR",
    "PSNR_FLOOR",
    "SSIM",
    "SSIM_3D",
    "SSIM_3D_EXACT",
    "SSIM_LUMA",
    "WITHIN_MASK",
    "Metric",
    "Pair",
]

# The Gaussian window of SSIM's authors.
RADIUS, SIGMA = 5, 1.5
SIDE = 2 * RADIUS + 1

# ITU-R BT.601: what MATLAB's rgb2gray takes, and the luma of rgb2ycbcr, 16 to 235.
GRAY = (0.2989, 0.5870, 0.1140)
LUMA = (0.256788235294118, 0.504129411764706, 0.097905882352941)


@dataclass(frozen=True)
class Pair:
    """A made frame and the true one, [H, W, 3] RGB.

    Attributes:
        exact: float32, 0 to 255, as the model made it.
        made: uint8, as the benchmark rounds it.
        truth: uint8.
        mask: [H, W] bool, where the benchmark's mask is white; None without one.
    """

    exact: np.ndarray
    made: np.ndarray
    truth: np.ndarray
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Metric:
    """A column of the report. What `measure` returns is not finite where the frame does not count."""

    name: str
    digits: int
    measure: Callable[[Pair], float]


@cache
def _taps() -> np.ndarray:
    weights = np.exp(-(np.arange(-RADIUS, RADIUS + 1) ** 2) / (2 * SIGMA**2))
    return weights / weights.sum()


@cache
def _channels() -> np.ndarray:
    """What a channel takes of each, in a window that also goes over the channels with its ends repeated."""
    mix = np.zeros((3, 3))
    for channel in range(3):
        for offset, weight in zip(range(-RADIUS, RADIUS + 1), _taps(), strict=True):
            mix[channel, min(max(channel + offset, 0), 2)] += weight
    return mix


def _gaussian(x: np.ndarray) -> np.ndarray:
    return cv2.sepFilter2D(x, -1, _taps(), _taps(), borderType=cv2.BORDER_REPLICATE)


def ssim_gaussian(a: np.ndarray, b: np.ndarray) -> float:
    """scikit-image's with `gaussian_weights`: windows wholly inside the image, sample covariance, channels
    averaged. Sides of 11 or more."""
    inside = slice(RADIUS, -RADIUS)
    sample = SIDE**2 / (SIDE**2 - 1)
    return likeness(
        a.astype(np.float64), b.astype(np.float64), lambda x: _gaussian(x)[inside, inside], sample=sample
    )


def ssim_matlab(a: np.ndarray, b: np.ndarray) -> float:
    """MATLAB's `ssim` of gray images: the border repeated."""
    return likeness(a.astype(np.float64), b.astype(np.float64), _gaussian)


def ssim_3d(a: np.ndarray, b: np.ndarray) -> float:
    """`ssim_matlab` of CAIN, RIFE and those after them: a window over rows, columns and channels.

    The same number as the loss `training.losses.ssim`, which has a gradient. This one serves 4K frames: three
    channels with their ends repeated are a 3 x 3 matrix, not a third convolution.
    """
    mix = _channels()
    return likeness(a.astype(np.float64), b.astype(np.float64), lambda x: cv2.transform(_gaussian(x), mix))


def ssim_luma(a: np.ndarray, b: np.ndarray) -> float:
    """XVFI's: of the luma alone, and white is what the range of the made frame `a` is."""
    made, truth = (image @ np.array(LUMA) + 16 for image in (a, b))
    peak = np.ptp(made)
    return ssim(made, truth, peak=peak) if peak else math.nan


def mean_error(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference."""
    return float(np.abs(a.astype(np.float64) - b).mean())


def mean_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of colours, [..., 3]."""
    return float(np.linalg.norm(a.astype(np.float64) - b, axis=-1).mean())


def _floored(pair: Pair) -> float:
    """CAIN's: 1e-8 is added to the mean square, so that equal frames have 80 dB."""
    return -10 * math.log10(10 ** (-psnr(pair.made, pair.truth) / 10) + 1e-8)


def _dvf_psnr(pair: Pair) -> float:
    return psnr(pair.made[pair.mask], pair.truth[pair.mask]) if pair.mask.any() else math.nan


def _dvf_ssim(pair: Pair) -> float:
    """Of the whole frame, gray and black outside of the mask; no equal frames, as for the PSNR."""
    if not math.isfinite(_dvf_psnr(pair)):
        return math.nan
    images = (np.where(pair.mask[..., None], image, 0) @ np.array(GRAY) for image in (pair.made, pair.truth))
    return ssim_matlab(*(np.rint(image) for image in images))


def _box(pair: Pair) -> tuple[slice, slice] | None:
    """Around what is black in the mask, if that is large enough for a window."""
    rows, columns = (np.flatnonzero(~pair.mask.all(axis)) for axis in (1, 0))
    if min(map(np.size, (rows, columns))) == 0:
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return box if min(side.stop - side.start for side in box) >= SIDE else None


def _boxed(measure: Callable[[np.ndarray, np.ndarray], float]) -> Callable[[Pair], float]:
    def measured(pair: Pair) -> float:
        box = _box(pair)
        return math.nan if box is None else measure(pair.made[box], pair.truth[box])

    return measured


def _slomo_ie(pair: Pair) -> float:
    if _box(pair) is None:
        return math.nan
    return mean_distance(pair.made[~pair.mask], pair.truth[~pair.mask])


PSNR = Metric("PSNR", 2, lambda pair: psnr(pair.made, pair.truth))
PSNR_FLOOR = Metric("PSNR", 2, _floored)
SSIM = Metric("SSIM", 4, lambda pair: ssim(pair.made, pair.truth))
SSIM_3D = Metric("SSIM 3-D", 4, lambda pair: ssim_3d(pair.made, pair.truth))
SSIM_3D_EXACT = Metric("SSIM 3-D", 4, lambda pair: ssim_3d(pair.exact, pair.truth))
SSIM_LUMA = Metric("SSIM luma", 4, lambda pair: ssim_luma(pair.made, pair.truth))
IE = Metric("IE", 3, lambda pair: mean_error(pair.made, pair.truth))

WITHIN_MASK = (
    Metric("PSNR (DVF)", 2, _dvf_psnr),
    Metric("SSIM (DVF)", 4, _dvf_ssim),
    Metric("PSNR (SloMo)", 2, _boxed(psnr)),
    Metric("SSIM (SloMo)", 4, _boxed(ssim_gaussian)),
    Metric("IE (SloMo)", 2, _slomo_ie),
)
"""UCF101 by its motion masks. Deep Voxel Flow's script looks at what is white in them, that of Super SloMo's
authors at what is black: PSNR and SSIM in the box around it, IE, the mean distance of colours, in itself."""
