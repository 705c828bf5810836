"""Backward sampling along a flow, in plain PyTorch."""

from torch import Tensor

from .numbers import finish, sum_dtype
from .sampling import coordinates, sample


def backwarp(
    images: list[Tensor],  # each [F, C, H, W]
    flow: Tensor,  # [N, 2, H, W] dx, dy in pixels; N a multiple of F
    padding: str,  # "border" or "zeros"
) -> list[Tensor]:  # each [N, C, H, W]
    """Every image at (x + dx, y + dy)."""
    # One conversion for all images, so that the gradient of a half-precision flow is summed in float32.
    x, y = coordinates(flow, 1, sum_dtype(images[0].dtype))
    return [finish(sample(image, x, y, padding), image) for image in images]
