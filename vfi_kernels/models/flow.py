"""Interpolation by classical optical flow: no weights, any size, CPU flow and compiled synthesis."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .. import ops
from .base import Interpolator
from .superslomo import approximate

__all__ = ["Flow"]

# ITU-R BT.601 luma
LUMA = (0.299, 0.587, 0.114)

# Squared forward-backward gap, in tolerances, at which half of the trust is gone.
DOUBT = 16

# Shortest side that is searched. Of 40 to 45 columns and no more rows OpenCV's result depends on what the
# same search was given before.
SMALLEST = 46


class _Search:
    """OpenCV's search. It holds nothing but buffers: the copy of a model, say for a mean of weights, has its
    own.
    """

    def __init__(self) -> None:
        try:
            import cv2
        except ImportError as error:
            raise ImportError("the model 'flow' needs OpenCV: pip install 'vfi-kernels[video]'") from error
        self.calc = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc

    def __reduce__(self) -> tuple[type[_Search], tuple[()]]:
        return _Search, ()


class Flow(Interpolator):
    """Dense inverse search both ways, then Super SloMo's synthesis.

    Flow: Kroeger, Timofte, Dai, Van Gool: Fast Optical Flow using Dense Inverse Search, ECCV 2016 (OpenCV's,
    preset medium).
    Synthesis: Jiang, Sun, Jampani, Yang, Learned-Miller, Kautz: Super SloMo, CVPR 2018: flows from time t to
    both frames by eq. 4, frames blended by visibility and closeness in time by eq. 5. There the visibility is
    learned; here it comes from how well the two flows undo each other.

    Convention: F01[y, x] = (dx, dy) in pixels, frame0 at (x, y) is seen in frame1 at (x + dx, y + dy).
    """

    def __init__(self) -> None:
        """
        Raises:
            ImportError: OpenCV is not installed.
        """
        super().__init__()
        self._search = _Search()

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        flow, visible = self.between(frame0, frame1, times)
        mask = visible[:, :1] / visible.sum(1, keepdim=True)
        return ops.warp_blend(frame0, frame1, flow[:, :2], flow[:, 2:], mask, timestep=times.flatten())

    def between(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """What the flows between the frames say of times [N, T].

        Returns:
            Flows to frame 0 and frame 1, [N*T, 4, H, W] in pixels, and how far each pixel is to be trusted to
            be seen in frame 0 and frame 1, [N*T, 2, H, W] in (1, 2].
        """
        flow01, flow10 = self.flows(frame0, frame1)
        # Both flows are taken at (x, y) itself, which is right where motion is smooth.
        flow_t0, flow_t1 = approximate(flow01, flow10, times.flatten())
        visible0 = ops.backwarp(_visibility(flow01, flow10), flow_t0)
        visible1 = ops.backwarp(_visibility(flow10, flow01), flow_t1)
        return torch.cat([flow_t0, flow_t1], 1), torch.cat([visible0, visible1], 1)

    @torch.compiler.disable  # OpenCV's part; what follows is compiled
    def flows(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """F01 and F10, [N, 2, H, W] float32 each, in pixels, for frames [N, 3, H, W]."""
        n, _, height, width = frame0.shape
        flows = np.zeros((2, n, height, width, 2), np.float32)
        for i, (a, b) in enumerate(zip(_grey(frame0), _grey(frame1), strict=True)):
            flows[0, i] = self._search.calc(a, b, None)[:height, :width]
            flows[1, i] = self._search.calc(b, a, None)[:height, :width]
        forward, backward = torch.from_numpy(flows).to(frame0.device).permute(0, 1, 4, 2, 3).contiguous()
        return forward, backward


def _grey(frames: Tensor) -> np.ndarray:
    """[N, 3, H, W] in [0, 1] -> [N, H, W] uint8, tiny ones with their border repeated."""
    luma = sum(weight * channel for weight, channel in zip(LUMA, frames.float().unbind(1), strict=True))
    grey = luma.clamp(0, 1).mul(255).round().to(torch.uint8).cpu().numpy()
    missing = [(0, max(0, SMALLEST - side)) for side in grey.shape[1:]]
    return np.pad(grey, [(0, 0), *missing], mode="edge")


def _visibility(flow: Tensor, back: Tensor) -> Tensor:
    """How far each pixel of a frame can be trusted to be seen in the other: [N, 1, H, W] in (1, 2].

    A pixel seen in both frames comes back to itself along the two flows. The tolerance is that of Sundaram,
    Brox, Keutzer: Dense Point Trajectories by GPU-Accelerated Large Displacement Optical Flow, ECCV 2010, eq.
    5. Search by patches breaks it in many places where the frames still agree, and there an even blend
    averages the noise away: so the measure is soft, and doubt halves a frame's weight at most.
    """
    returned = ops.backwarp(back, flow)
    gap = (flow + returned).square().sum(1, keepdim=True)
    length = flow.square().sum(1, keepdim=True) + returned.square().sum(1, keepdim=True)
    return 1 + 1 / (1 + gap / (DOUBT * (0.01 * length + 0.5)))
