"""What RIFE is trained with and scored by, as its authors compute them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["laplacian_loss", "ssim"]

LEVELS = 5
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
WINDOW, SIGMA = 11, 1.5


def laplacian_loss(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the mean absolute differences of the five bands of a Laplacian pyramid; a number.

    The low-pass image that is left after the last band does not count.

    Args:
        a, b: [N, C, H, W], sides of 33 pixels or more.
    """
    difference = a - b  # the pyramid is linear
    loss = difference.new_zeros(())
    for _ in range(LEVELS):
        smaller = _blurred(difference)[..., ::2, ::2]
        stuffed = torch.zeros_like(difference)
        stuffed[..., ::2, ::2] = smaller
        loss = loss + (difference - 4 * _blurred(stuffed)).abs().mean()
        difference = smaller
    return loss


def _blurred(x: Tensor) -> Tensor:
    kernel = x.new_tensor(BINOMIAL)
    channels = x.shape[1]
    padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
    weight = (kernel[:, None] * kernel).expand(channels, 1, -1, -1)
    return F.conv2d(padded, weight, groups=channels)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity by a Gaussian window over rows, columns and channels; a number.

    Higher than that of single channels: channels resemble each other.

    Args:
        a, b: [N, C, H, W] in [0, 1].
    """
    moments = [_windowed(x) for x in (a, b, a * a, b * b, a * b)]
    mean_a, mean_b = moments[:2]
    variance_a, variance_b = moments[2] - mean_a**2, moments[3] - mean_b**2
    covariance = moments[4] - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
    return (light * structure).mean()


def _windowed(x: Tensor) -> Tensor:
    """Weighted by the Gaussian around every value; the border is repeated, in channels as well."""
    distance = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    kernel = torch.exp(-(distance**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    volume = F.pad(x[:, None], [WINDOW // 2] * 6, mode="replicate")
    for axis in range(3):
        shape = [WINDOW if i == axis else 1 for i in range(3)]
        volume = F.conv3d(volume, kernel.view(1, 1, *shape))
    return volume[:, 0]
