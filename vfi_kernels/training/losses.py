"""What training minimises: functions of tensors, each a number that is zero where the images agree.

All are computed in float32 (float64 for float64), also under autocast.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import ops
from ..models.precision import without_autocast

__all__ = [
    "charbonnier",
    "end_point_error",
    "l1",
    "laplacian",
    "log_mse",
    "mse",
    "ssim",
    "total_variation",
    "warping",
]

LEVELS = 5
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
WINDOW, SIGMA = 11, 1.5


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (_wide(a) - _wide(b)).abs().mean()


def mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference."""
    return (_wide(a) - _wide(b)).square().mean()


def log_mse(a: Tensor, b: Tensor, floor: float = 1e-5) -> Tensor:
    """Mean of the decimal logarithms of images' mean squared differences [N, ...]: PSNR, in units of -10 dB.

    Below the floor, 50 dB, there is little to gain: images in which nothing moves would otherwise decide.
    """
    return ((_wide(a) - _wide(b)).square().flatten(1).mean(1) + floor).log10().mean()


def charbonnier(a: Tensor, b: Tensor, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(difference^2 + epsilon^2) - epsilon: the absolute difference, smooth at zero.

    Charbonnier, Blanc-Feraud, Aubert, Barlaud: Two deterministic half-quadratic regularization algorithms,
    ICIP 1994. The constant has no gradient; without it equal images would not give zero.
    """
    difference = _wide(a) - _wide(b)
    return (difference.square() + epsilon**2).sqrt().mean() - epsilon


def total_variation(x: Tensor) -> Tensor:
    """Mean absolute difference of neighbours in a row, and of those in a column, summed.

    Deep Voxel Flow's prior of flow and mask; Super SloMo's smoothness of a flow.

    Args:
        x: [N, C, H, W]; a side of one pixel has no neighbours and counts as smooth.
    """
    x = _wide(x)
    changes = [x.diff(dim=axis).abs() for axis in (-1, -2)]
    return sum((change.mean() for change in changes if change.numel()), x.new_zeros(()))


def end_point_error(flow: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean length of the difference of two flows, in pixels.

    Args:
        flow, truth: [N, 2, H, W].
        weight: [N, 1, H, W]; the mean is weighted, and zero where all weights are.
    """
    # A norm, and not the root of a sum: its gradient is zero and not NaN where the flows are equal.
    length = torch.linalg.vector_norm(_wide(flow) - _wide(truth), dim=1, keepdim=True)
    if weight is None:
        return length.mean()
    weight = weight.to(length.dtype)
    return (length * weight).sum() / weight.sum().clamp(min=1)


def warping(
    frame0: Tensor,
    frame1: Tensor,
    truth: Tensor,
    flow01: Tensor,
    flow10: Tensor,
    flow_t0: Tensor,
    flow_t1: Tensor,
    *,
    padding: str = "zeros",
) -> Tensor:
    """How far each frame, brought along a flow, is from the frame that the flow comes from: four times L1.

    Jiang, Sun, Jampani, Yang, Learned-Miller, Kautz: Super SloMo, CVPR 2018, eq. 9. The flows from time t are
    those that the flows between the frames imply, not yet refined.

    Args:
        frame0, frame1, truth: [N, C, H, W]; the truth is the frame at time t.
        flow01, flow10, flow_t0, flow_t1: [N, 2, H, W] in pixels; the first number is where a flow starts, the
            second where it points.
        padding: as for `backwarp`. The authors' is "zeros", for frames without their mean.
    """
    toward0 = l1(ops.backwarp(frame0, flow_t0, padding=padding), truth)
    toward1 = l1(ops.backwarp(frame1, flow_t1, padding=padding), truth)
    back = l1(ops.backwarp(frame0, flow10, padding=padding), frame1)
    forth = l1(ops.backwarp(frame1, flow01, padding=padding), frame0)
    return toward0 + toward1 + back + forth


def laplacian(a: Tensor, b: Tensor) -> Tensor:
    """Sum of the mean absolute differences of the five bands of a Laplacian pyramid, as RIFE computes it.

    The low-pass image that is left after the last band does not count.

    Args:
        a, b: [N, C, H, W], sides of 33 pixels or more.
    """
    difference = _wide(a) - _wide(b)  # the pyramid is linear
    loss = difference.new_zeros(())
    for _ in range(LEVELS):
        smaller = _blurred(difference)[..., ::2, ::2]
        stuffed = torch.zeros_like(difference)
        stuffed[..., ::2, ::2] = smaller
        loss = loss + (difference - 4 * _blurred(stuffed)).abs().mean()
        difference = smaller
    return loss


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity by a Gaussian window over rows, columns and channels, as RIFE reports it.

    Higher than that of single channels: channels resemble each other.

    Args:
        a, b: [N, C, H, W] in [0, 1].
    """
    a, b = _wide(a), _wide(b)
    moments = [_windowed(x) for x in (a, b, a * a, b * b, a * b)]
    mean_a, mean_b = moments[:2]
    variance_a, variance_b = moments[2] - mean_a**2, moments[3] - mean_b**2
    covariance = moments[4] - mean_a * mean_b
    light = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_a + variance_b + 0.03**2)
    return (light * structure).mean()


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _blurred(x: Tensor) -> Tensor:
    kernel = x.new_tensor(BINOMIAL)
    channels = x.shape[1]
    padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
    weight = (kernel[:, None] * kernel).expand(channels, 1, -1, -1)
    with without_autocast(x):  # convolutions would be in half precision
        return F.conv2d(padded, weight, groups=channels)


def _windowed(x: Tensor) -> Tensor:
    """Weighted by the Gaussian around every value; the border is repeated, in channels as well."""
    distance = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    kernel = torch.exp(-(distance**2) / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    volume = F.pad(x[:, None], [WINDOW // 2] * 6, mode="replicate")
    with without_autocast(x):
        for axis in range(3):
            shape = [WINDOW if i == axis else 1 for i in range(3)]
            volume = F.conv3d(volume, kernel.view(1, 1, *shape))
    return volume[:, 0]
