"""Classical flow, sampled by cubics and corrected by a small network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .base import padded
from .beginnings import keep_signal, see_contrast
from .flow import Flow
from .rife_4x import Estimate, IFBlock
from .rife_parts import plane, warp
from .rife_table import Design
from .sampling import cubic_warp

__all__ = ["FlowRefined"]

# The planes of a block: flow 4, mask 1, 3 of what is added to the picture, 1 of sharpness.
DESIGN = Design(widths=(64, 48, 32), scales=(4, 2, 1), depth=4, planes=9, carries=True, replaces_mask=False)

# What a block sees: both frames brought to the time, how visible each is, time, mask, what is told, flow.
SEEN = 3 + 3 + 2 + 1 + 1 + 4 + 4

# Half of the ends of time, where the logit of a frame's weight would be infinite.
NEAR = 1e-6


class FlowRefined(Flow):
    """`Flow` with cubic warps, and three blocks like RIFE 4.x's, coarse to fine. Of no paper.

    Each block corrects the flows, the weights of the frames and how sharply these are sampled, and adds to
    the picture. Their last layers begin at zero: an untrained model makes the frames of `flow`, but for
    `cubic_warp`. A flow is corrected in proportion to time from its frame, and the picture to the time from
    both: at 0 and 1 the frames stay as they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(IFBlock(SEEN, width, DESIGN) for width in DESIGN.widths)
        for block in self.blocks:
            keep_signal(block.conv0)
            see_contrast(block.conv0[0][0], 6)
            for parameter in block.lastconv.parameters():
                nn.init.zeros_(parameter)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        return self.picture(frame0, frame1, self.flow(frame0, frame1, times.flatten()))

    def picture(self, frame0: Tensor, frame1: Tensor, estimate: Estimate) -> Tensor:
        """[N*T, 3, H, W] of what `flow` returns."""
        flow0, flow1 = estimate.flow.split(2, 1)
        addition, sharpness = estimate.told.split([3, 1], 1)
        made0, made1 = (cubic_warp(*each, 1 + sharpness) for each in ((frame0, flow0), (frame1, flow1)))
        return torch.lerp(made1, made0, estimate.mask.sigmoid()) + addition

    def flow(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Estimate:
        """For frames [N, 3, H, W] and times [N*T]; what is told is the addition and the sharpness."""
        height, width = frame0.shape[-2:]
        flow, visible = self.between(frame0, frame1, times.view(frame0.shape[0], -1))
        frame0, frame1, flow, visible = (
            padded(x, DESIGN.multiple, "replicate") for x in (frame0, frame1, flow, visible)
        )
        t = times.clamp(NEAR, 1 - NEAR)[:, None, None, None]
        mask = visible.log().diff(dim=1).neg() + ((1 - t) / t).log()
        share = torch.cat([t, t, 1 - t, 1 - t], 1)
        last = Estimate(flow, mask, flow.new_zeros(flow.shape[0], 4, *flow.shape[-2:]))
        for block, scale in zip(self.blocks, DESIGN.scales, strict=True):
            warped = [*warp([frame0], last.flow[:, :2]), *warp([frame1], last.flow[:, 2:])]
            parts = [*warped, visible, plane(times, frame0), last.mask, last.told]
            found = block(parts, last.flow, scale)
            told = last.told + 4 * t * (1 - t) * found.told
            last = Estimate(last.flow + share * found.flow, last.mask + found.mask, told)
        return Estimate(*(part[..., :height, :width] for part in last))
