"""Classical flow, corrected by a small network: the frames of `flow` until it is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import padded
from .flow import Flow
from .rife_4x import Estimate, IFBlock
from .rife_parts import blend, plane, warp
from .rife_table import Design

__all__ = ["FlowRefined"]

# The planes of a block: flow 4, mask 1, and 3 of what is added to the picture.
DESIGN = Design(widths=(96, 64, 48), scales=(4, 2, 1), planes=8, carries=True, replaces_mask=False)

# What a block sees: both frames brought to the time, how visible each is, time, mask, addition, flow.
SEEN = 3 + 3 + 2 + 1 + 1 + 3 + 4

# Half of the ends of time, where the logit of a frame's weight would be infinite.
NEAR = 1e-6


class FlowRefined(Flow):
    """`Flow`, and three blocks like RIFE 4.x's, coarse to fine. Of no paper.

    Each corrects the flows and the weights of the frames, and adds to the picture. Their last layers begin at
    zero: an untrained model makes the frames of `flow`. A flow is corrected in proportion to time from its
    frame, and the picture to the time from both: at 0 and 1 the frames stay as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(IFBlock(SEEN, width, DESIGN) for width in DESIGN.widths)
        for block in self.blocks:
            for parameter in block.lastconv.parameters():
                nn.init.zeros_(parameter)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        return self.picture(frame0, frame1, self.flow(frame0, frame1, times.flatten()))

    def picture(self, frame0: Tensor, frame1: Tensor, estimate: Estimate) -> Tensor:
        """[N*T, 3, H, W] of what `flow` returns."""
        made = blend(frame0, frame1, estimate.flow, estimate.mask)
        return made + estimate.told.to(made.dtype)

    def flow(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Estimate:
        """For frames [N, 3, H, W] and times [N*T]; what is told is to be added to the picture."""
        height, width = frame0.shape[-2:]
        flow, visible = self.between(frame0, frame1, times.view(frame0.shape[0], -1))
        frame0, frame1, flow, visible = (
            padded(x, DESIGN.multiple, "replicate") for x in (frame0, frame1, flow, visible)
        )
        t = times.clamp(NEAR, 1 - NEAR)[:, None, None, None]
        mask = visible.log().diff(dim=1).neg() + ((1 - t) / t).log()
        share = torch.cat([t, t, 1 - t, 1 - t], 1)
        last = Estimate(flow, mask, flow.new_zeros(flow.shape[0], 3, *flow.shape[-2:]))
        for block, scale in zip(self.blocks, DESIGN.scales, strict=True):
            warped = [*warp([frame0], last.flow[:, :2]), *warp([frame1], last.flow[:, 2:])]
            parts = [*warped, visible, plane(times, frame0), last.mask, last.told]
            found = block(parts, last.flow, scale)
            addition = last.told + 4 * t * (1 - t) * found.told
            last = Estimate(last.flow + share * found.flow, last.mask + found.mask, addition)
        return Estimate(*(part[..., :height, :width] for part in last))
