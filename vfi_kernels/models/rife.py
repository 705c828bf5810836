"""RIFE as in the paper: three blocks of flow, a refinement of the blend, and a teacher for training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import like_weights, per_entry
from .beginnings import keep_signal, see_contrast, whisper
from .precision import autocast, in_float32
from .rife_parts import Rife, act, begin_near_zero, blend, conv, gather, plane, resized, warp

__all__ = ["RIFE", "Distilled", "distillation"]

SCALES = (4, 2, 1)

# By how much the teacher has to be closer to the truth for a pixel to be taught.
ADVANTAGE = 0.01


class Step(NamedTuple):
    """What is known after a block, at the frames' size."""

    flow: Tensor  # [N*T, 4, H, W], to frame 0 and to frame 1, float32
    mask: Tensor  # [N*T, 1, H, W], logit of the weight of frame 0, float32
    warped0: Tensor  # [N*T, 3, H, W]
    warped1: Tensor


class Distilled(NamedTuple):
    """All that training looks at."""

    frame: Tensor  # refined, [N, 3, H, W] in [0, 1]
    flows: list[Tensor]  # after each block, [N, 4, H, W]
    mask: Tensor  # weight of frame 0 after the last block
    merged: list[Tensor]  # the blend after each block, not refined
    flow_teacher: Tensor
    merged_teacher: Tensor
    loss_distill: Tensor  # a number; the authors add 0.01 of it to the loss


class IFBlock(nn.Module):
    """Flow and mask from the frames and an estimate of the flow, at 1/scale of their size."""

    def __init__(self, inputs: int, width: int, first_stride: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(conv(inputs, width // 2, first_stride), conv(width // 2, width, 2))
        self.convblock = nn.Sequential(*(conv(width, width) for _ in range(8)))
        self.lastconv = nn.ConvTranspose2d(width, 5, 4, 2, padding=1)
        self.enlarge = first_stride

    def forward(self, parts: list[Tensor], flow: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
        x = self.conv0(gather(parts, flow, scale, self.conv0[0][0]))
        x = in_float32(self.lastconv, self.convblock(x) + x)
        scale *= self.enlarge
        flow, mask = resized(x, scale).split([4, 1], 1)
        return flow * scale, mask


class Conv2(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, stride)
        self.conv2 = conv(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class Contextnet(nn.Module):
    """Features of a frame at four sizes."""

    def __init__(self, first_stride: int) -> None:
        super().__init__()
        self.conv1 = Conv2(3, 16, first_stride)
        self.conv2 = Conv2(16, 32)
        self.conv3 = Conv2(32, 64)
        self.conv4 = Conv2(64, 128)

    def forward(self, frame: Tensor) -> list[Tensor]:
        x, features = like_weights(frame, self.conv1.conv1[0]), []
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            x = layer(x)
            features.append(x)
        return features


class Unet(nn.Module):
    """What to add to the blend, in [0, 1] for [-1, 1]."""

    def __init__(self, first_stride: int) -> None:
        super().__init__()
        self.down0 = Conv2(17, 32, first_stride)
        self.down1 = Conv2(64, 64)
        self.down2 = Conv2(128, 128)
        self.down3 = Conv2(256, 256)
        for level, (inputs, outputs) in enumerate(((512, 128), (256, 64), (128, 32), (64, 16))):
            up = nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, padding=1), act(outputs))
            self.add_module(f"up{level}", up)
        # Where nothing was halved at first, the last enlargement is taken back.
        self.conv = nn.Conv2d(16, 3, 3, 3 - first_stride, padding=1)

    def forward(self, x: Tensor, context: list[list[Tensor]]) -> Tensor:
        """context: for each size, the features of both frames."""
        s0 = self.down0(like_weights(x, self.down0.conv1[0]))
        s1 = self.down1(torch.cat([s0, *context[0]], 1))
        s2 = self.down2(torch.cat([s1, *context[1]], 1))
        s3 = self.down3(torch.cat([s2, *context[2]], 1))
        x = self.up0(torch.cat([s3, *context[3]], 1))
        for up, skip in ((self.up1, s2), (self.up2, s1), (self.up3, s0)):
            x = up(torch.cat([x, skip], 1))
        return self.conv(x).float().sigmoid()


class RIFE(Rife):
    """Huang, Zhang, Heng, Shi, Zhou: Real-Time Intermediate Flow Estimation, ECCV 2022.

    Reads the weights of hzwer/ECCV2022-RIFE. See `Rife` for the options.

    Args:
        any_time: RIFE_m, whose blocks see the timestep.
        double: 2R, which works at twice the resolution. Its weights have the names and shapes of RIFE's.
        begin_as_blend: as of `SepConv`.
    """

    def __init__(
        self,
        *,
        any_time: bool = False,
        double: bool = False,
        begin_as_blend: bool = False,
        **options: object,
    ) -> None:
        super().__init__(32, **options)
        self.middle_only = not any_time
        stride = 1 if double else 2
        time = int(any_time)
        self.block0 = IFBlock(6 + time, 240, stride)
        self.block1 = IFBlock(13 + time + 4, 150, stride)
        self.block2 = IFBlock(13 + time + 4, 90, stride)
        self.block_tea = IFBlock(16 + time + 4, 90, stride)
        self.contextnet = Contextnet(stride)
        self.unet = Unet(stride)
        self.stride = stride
        if begin_as_blend:
            begin_near_zero([self.block0, self.block1, self.block2, self.block_tea])
            keep_signal(self.contextnet)
            keep_signal(self.unet)
            see_contrast(self.contextnet.conv1.conv1[0], 3)
            whisper(self.unet.conv, 0.1)

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        timestep: float | Tensor = 0.5,
        *,
        ground_truth: Tensor | None = None,
    ) -> Tensor | Distilled:
        """As every model's; in training mode with the true frame [N, 3, H, W], all that training looks at.

        The teacher is a fourth block that sees the true frame as well. Where its blend is closer to the truth
        than a block's, the block is taught the teacher's flow (section 3.4 of the paper).
        """
        if ground_truth is None:
            return super().forward(frame0, frame1, timestep)
        if not self.training:
            raise ValueError(f"{type(self).__name__}: ground_truth is for training mode; call train() first")
        if ground_truth.shape != frame0.shape or any(side % self.multiple for side in frame0.shape[-2:]):
            raise ValueError(
                f"{type(self).__name__}: frames and ground_truth must be of one size, sides multiples of "
                f"{self.multiple}; got {list(frame0.shape)} and {list(ground_truth.shape)}"
            )
        times = self._checked(frame0, frame1, timestep)
        frames = self._fitted(frame0, frame1, ground_truth)
        with autocast(frame0, self.precision):
            return self._distil(*frames, times.flatten())

    def estimate(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        step = self.steps(frame0, frame1, times)[-1]
        return self._refined(frame0, frame1, step, _merged(step))

    def steps(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> list[Step]:
        """What the blocks find, one after the other; each adds to the flow and the mask of those before."""
        known = self._known(frame0, frame1, times)
        steps: list[Step] = []
        for block, scale in zip((self.block0, self.block1, self.block2), SCALES, strict=True):
            last = steps[-1] if steps else None
            steps.append(_step(frame0, frame1, last, *self._block(block, known, last, scale / self.scale)))
        return steps

    def _known(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> list[Tensor]:
        """What every block sees."""
        return [frame0, frame1, *([] if self.middle_only else [plane(times, frame0)])]

    def _block(
        self, block: IFBlock, known: list[Tensor], step: Step | None, scale: float, *more: Tensor
    ) -> tuple[Tensor, Tensor]:
        if step is None:
            return block(known, None, scale)
        return block([*known, step.warped0, step.warped1, step.mask, *more], step.flow, scale)

    def _refined(self, frame0: Tensor, frame1: Tensor, step: Step, merged: Tensor) -> Tensor:
        flow, context = step.flow, []
        for level, features in enumerate(self.contextnet(torch.cat([frame0, frame1]))):
            features0, features1 = features.chunk(2)
            if level > 0 or self.stride == 2:
                flow = resized(flow, 0.5) * 0.5
            context.append([*warp([features0], flow[:, :2]), *warp([features1], flow[:, 2:])])
        entries = merged.shape[0]
        frames = [per_entry(frame0, entries), per_entry(frame1, entries)]
        residue = self.unet(torch.cat([*frames, *step[2:], step.mask, step.flow], 1), context)
        return (merged + (residue * 2 - 1)).clamp(0, 1)

    def _distil(self, frame0: Tensor, frame1: Tensor, truth: Tensor, times: Tensor) -> Distilled:
        steps = self.steps(frame0, frame1, times)
        known = self._known(frame0, frame1, times)
        taught = _add(steps[-1], *self._block(self.block_tea, known, steps[-1], 1, truth))
        flow_teacher, mask_teacher = taught
        merged_teacher = blend(frame0, frame1, flow_teacher, mask_teacher)
        merged = [_merged(step) for step in steps]
        loss = sum(
            distillation(step.flow, flow_teacher, made, merged_teacher, truth)
            for step, made in zip(steps, merged, strict=True)
        )
        frame = self._refined(frame0, frame1, steps[-1], merged[-1])
        flows = [step.flow for step in steps]
        mask = steps[-1].mask.sigmoid()
        return Distilled(frame, flows, mask, merged, flow_teacher, merged_teacher, loss)


def _add(step: Step | None, flow: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return (flow, mask) if step is None else (step.flow + flow, step.mask + mask)


def _step(frame0: Tensor, frame1: Tensor, last: Step | None, flow: Tensor, mask: Tensor) -> Step:
    flow, mask = _add(last, flow, mask)
    return Step(flow, mask, *warp([frame0], flow[:, :2]), *warp([frame1], flow[:, 2:]))


def _merged(step: Step) -> Tensor:
    """The warped frames are at hand, for the next block or the refinement: nothing is sampled again."""
    weight = step.mask.sigmoid()
    return step.warped0 * weight + step.warped1 * (1 - weight)


def distillation(flow: Tensor, flow_teacher: Tensor, made: Tensor, taught: Tensor, truth: Tensor) -> Tensor:
    """How far a block's flow is from the teacher's, where the teacher is clearly closer to the truth."""
    with torch.no_grad():
        gap, gap_teacher = ((frame - truth).abs().mean(1, keepdim=True) for frame in (made, taught))
        counts = (gap > gap_teacher + ADVANTAGE).float()
    # A norm, and not the root of a mean: its gradient is zero and not NaN where the flows are equal.
    distance = torch.linalg.vector_norm(flow_teacher.detach() - flow, dim=1, keepdim=True)
    return (distance / flow.shape[1] ** 0.5 * counts).mean()
