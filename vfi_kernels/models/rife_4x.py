"""The RIFE 4.x line: one network, driven by the table of its versions."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .base import like_weights
from .beginnings import keep_signal, see_contrast
from .precision import in_float32
from .rife_parts import Rife, begin_near_zero, blend, conv, gather, plane, resized, warp
from .rife_table import VERSIONS, Design, Encoder

__all__ = ["RIFE4"]

# Pixels between a frame and the second block's correction, both ways, from which motion counts as very fast.
FAST = 32


class Estimate(NamedTuple):
    """What is known after a block, at the frames' size."""

    flow: Tensor  # [N*T, 4, H, W], to frame 0 and to frame 1, float32
    mask: Tensor  # [N*T, 1, H, W], logit of the weight of frame 0, float32
    told: Tensor  # [N*T, planes - 5, H, W], what the block tells the next, or without channels


class ResConv(nn.Module):
    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=groups)
        self.beta = nn.Parameter(torch.ones(1, width, 1, 1))
        self.relu = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x) * self.beta + x)


class IFBlock(nn.Module):
    """Flow, mask and features from what is known, at 1/scale of the frames' size."""

    def __init__(self, inputs: int, width: int, design: Design) -> None:
        super().__init__()
        prelu = design.body == "prelu"
        self.shortcut = prelu
        self.tells = design.carries
        self.conv0 = nn.Sequential(
            conv(inputs, width // 2, 2, prelu=prelu), conv(width // 2, width, 2, prelu=prelu)
        )
        if design.body == "residual":
            self.convblock = nn.Sequential(*(ResConv(width, design.groups) for _ in range(design.depth)))
            enlarge = nn.ConvTranspose2d(width, 4 * design.planes, 4, 2, padding=1)
            self.lastconv = nn.Sequential(enlarge, nn.PixelShuffle(2))
            self.enlarge = 1
        else:
            self.convblock = nn.Sequential(*(conv(width, width, prelu=prelu) for _ in range(design.depth)))
            self.lastconv = nn.ConvTranspose2d(width, design.planes, 4, 2, padding=1)
            self.enlarge = 2

    def forward(self, parts: list[Tensor], flow: Tensor | None, scale: float) -> Estimate:
        x = self.conv0(gather(parts, flow, scale, self.conv0[0][0]))
        x = in_float32(self.lastconv, self.convblock(x) + x if self.shortcut else self.convblock(x))
        scale *= self.enlarge
        flow, mask = resized(x[:, :5], scale).split([4, 1], 1)
        return Estimate(flow * scale, mask, resized(x[:, 5:], scale) if self.tells else x[:, :0])


class Encode(nn.Module):
    """Features of a frame; the names of its layers are those of the version."""

    def __init__(self, design: Encoder) -> None:
        super().__init__()
        *convolutions, last = design.names
        for i, name in enumerate(convolutions):
            inputs, stride = (design.hidden, 1) if i else (3, 2)
            self.add_module(name, nn.Conv2d(inputs, design.hidden, 3, stride, padding=1))
        self.add_module(last, nn.ConvTranspose2d(design.hidden, design.outputs, 4, 2, padding=1))
        self.activation = nn.LeakyReLU(0.2) if design.activation else nn.Identity()
        self.names = design.names

    def forward(self, frame: Tensor) -> Tensor:
        first, *rest = (getattr(self, name) for name in self.names)
        x = first(like_weights(frame, first))
        for layer in rest:
            x = layer(self.activation(x))
        return x


class RIFE4(Rife):
    """Practical-RIFE, versions 4.0 to 4.26: any timestep, no refinement after the blend.

    Reads the weights of hzwer/Practical-RIFE, also as HolyWu/vs-rife distributes them. See `Rife` for the
    other options.

    Args:
        version: one of `rife_table.VERSIONS`.
        ensemble: whether every block also sees the frames swapped, and both estimates are averaged. Not for
            versions whose blocks talk to each other, 4.21 to 4.23 and 4.25 on.
        begin_as_blend: as of `SepConv`.
    """

    def __init__(
        self, version: str, *, ensemble: bool = False, begin_as_blend: bool = False, **options: object
    ) -> None:
        design = VERSIONS[version]
        super().__init__(design.multiple, **options)
        self.design = design
        if ensemble and design.carries:
            raise ValueError(f"RIFE4: version {version} has no ensemble")
        self.ensemble = ensemble
        # `teacher` and `caltime` lie in the authors' files; nothing at inference uses them.
        self.extras = ("teacher.", "caltime.")
        if design.body != "residual":
            self.extras += ("contextnet.", "unet.")
        known = 2 * (3 + design.features) + 1
        seen = known + 1 + 4 + (design.planes - 5 if design.carries else 0)
        for i, width in enumerate(design.widths):
            self.add_module(f"block{i}", IFBlock(seen if i else known, width, design))
        if design.encoder:
            self.encode = Encode(design.encoder)
        if begin_as_blend:
            begin_near_zero([module for module in self.modules() if isinstance(module, IFBlock)])
            if design.encoder:
                keep_signal(self.encode)
                see_contrast(getattr(self.encode, self.encode.names[0]), 3)

    def estimate(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        return self.picture(frame0, frame1, self.flow(frame0, frame1, times))

    def picture(self, frame0: Tensor, frame1: Tensor, estimate: Estimate) -> Tensor:
        """[N*T, 3, H, W] of what `flow` returns."""
        return blend(frame0, frame1, estimate.flow, estimate.mask)

    def flow(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Estimate:
        """The last block's estimate for frames [N, 3, H, W] and times [N*T]."""
        images0, images1 = [frame0], [frame1]
        if self.design.encoder:
            features0, features1 = self.encode(torch.cat([frame0, frame1])).chunk(2)
            images0.append(features0)
            images1.append(features1)
        scales = [scale / self.scale for scale in self.design.scales]
        ensemble = [self.ensemble] * len(scales)
        last, correction = self._blocks(images0, images1, times, scales, ensemble)
        if not self.design.coarser_for_fast:
            return last
        flow0, flow1 = correction.abs().split(2, 1)
        fast = (flow0.amax((1, 2, 3), True) > FAST) & (flow1.amax((1, 2, 3), True) > FAST)
        if _readable(fast) and not fast.any():
            return last
        # Both are computed and each entry takes its own: no question to the device, no branch in a graph. The
        # original decides for a whole batch, and its ensemble leaves out the first block then.
        scales = [2 * scale for scale in scales]
        coarse, _ = self._blocks(images0, images1, times, scales, [False, *ensemble[1:]])
        return Estimate(
            *(torch.where(fast, a, b) for a, b in zip(coarse[:2], last[:2], strict=True)), last.told
        )

    def _blocks(
        self,
        images0: list[Tensor],
        images1: list[Tensor],
        times: Tensor,
        scales: list[float],
        ensemble: list[bool],
    ) -> tuple[Estimate, Tensor]:
        """The last block's estimate, and by how much the second block corrected the flow of the first."""
        known = plane(times, images0[0])
        height, width = images0[0].shape[-2:]
        last, corrections = None, []
        for i, scale in enumerate(scales):
            block = getattr(self, f"block{i}")
            warped0, warped1 = images0, images1
            if last is not None:
                warped0, warped1 = warp(images0, last.flow[:, :2]), warp(images1, last.flow[:, 2:])
            found = self._found(block, warped0, warped1, known, last, scale)
            corrections.append(found.flow)
            if ensemble[i]:
                swapped = None if last is None else _swapped(last)
                other = _swapped(self._found(block, warped1, warped0, 1 - known, swapped, scale))
                found = Estimate(
                    *((a + b) / 2 for a, b in zip(found[:2], other[:2], strict=True)), found.told
                )
            # A coarse scale may overshoot a side that it does not divide.
            last = self._added(last, Estimate(*(part[..., :height, :width] for part in found)))
        return last, corrections[1]

    def _found(
        self,
        block: IFBlock,
        images0: list[Tensor],
        images1: list[Tensor],
        known: Tensor,
        last: Estimate | None,
        scale: float,
    ) -> Estimate:
        parts = [images0[0], images1[0], *images0[1:], *images1[1:], known]
        if last is None:
            return block(parts, None, scale)
        told = [last.told] if self.design.carries else []
        return block([*parts, last.mask, *told], last.flow, scale)

    def _added(self, last: Estimate | None, found: Estimate) -> Estimate:
        if last is None:
            return found
        mask = found.mask if self.design.replaces_mask else last.mask + found.mask
        return Estimate(last.flow + found.flow, mask, found.told)


def _swapped(estimate: Estimate) -> Estimate:
    """The same with frame 0 and frame 1 exchanged."""
    flow0, flow1 = estimate.flow.split(2, 1)
    return Estimate(torch.cat([flow1, flow0], 1), -estimate.mask, estimate.told)


def _readable(condition: Tensor) -> bool:
    """Whether looking at it costs nothing: not while a graph is made, nor on a device that runs behind."""
    return condition.device.type == "cpu" and not torch.compiler.is_compiling()
