"""`from vfi_kernels.compat.rife import warp` in place of `from model.warplayer import warp`."""

from torch import Tensor

from .. import ops


def warp(tenInput: Tensor, tenFlow: Tensor) -> Tensor:  # The names are the original's
    """Samples tenInput [N, C, H, W] at (x + dx, y + dy), tenFlow [N, 2, H, W] in pixels, with the border
    repeated.

    The original normalises the flow, samples with align_corners=True and keeps every grid it has ever made;
    in half precision its coordinates are off by up to a pixel. Neither is the case here.
    """
    return ops.backwarp(tenInput, tenFlow, padding="border")
