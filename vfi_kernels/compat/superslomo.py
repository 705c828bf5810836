"""`from vfi_kernels.compat.superslomo import backWarp` in place of `from model import backWarp`."""

import torch
from torch import Tensor, nn

from .. import ops
from ..reference.numbers import sum_dtype


def displacement(flow: Tensor, *, align_corners: bool = True) -> Tensor:
    """The flow by which `ops.backwarp` reads where the original's backWarp reads along `flow`, [N, 2, H, W].

    The original maps a pixel x' = x + u to 2 (x' / W - 0.5), divided by W and not W - 1. What grid_sample
    makes of that depends on the torch that runs it, and neither is the identity for a flow of zero:

    - align_corners=True, torch 0.4.1, with which the weights were released: x' (W - 1) / W
    - align_corners=False, the same file in torch >= 1.3: x' - 0.5
    """
    if not align_corners:
        return flow - 0.5
    height, width = flow.shape[-2:]
    # From x to x' (W - 1) / W is (u (W - 1) - x) / W.
    xs = torch.arange(width, dtype=flow.dtype, device=flow.device)
    ys = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None]
    dx = (flow[:, 0] * (width - 1) - xs) / width
    dy = (flow[:, 1] * (height - 1) - ys) / height
    return torch.stack([dx, dy], 1)


class backWarp(nn.Module):  # The names are the original's
    """Samples an image along a flow in pixels, with the original's arithmetic; pixels outside count as zero.

    See `displacement` for what `align_corners` chooses.
    """

    def __init__(self, W: int, H: int, device: torch.device | str, *, align_corners: bool = True) -> None:
        super().__init__()
        self.W = W
        self.H = H
        self.device = device  # the original keeps its grid there; here the flow's device decides
        self.align_corners = align_corners

    def forward(self, img: Tensor, flow: Tensor) -> Tensor:
        """img [N, C, H, W], flow [N, 2, H, W] -> [N, C, H, W]."""
        if tuple(flow.shape[-2:]) != (self.H, self.W):
            raise ValueError(f"backWarp: flow must be [N, 2, {self.H}, {self.W}]; got {list(flow.shape)}")
        flow = displacement(flow.to(sum_dtype(img.dtype)), align_corners=self.align_corners)
        return ops.backwarp(img, flow, padding="zeros")
