"""Super SloMo: flows between the frames once, flows to any time between them, and a blend by visibility."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..compat.superslomo import displacement
from .base import Interpolator, like_weights, per_entry
from .beginnings import keep_signal, see_contrast, whisper
from .precision import in_float32
from .resize import lanczos

__all__ = ["SuperSloMo", "approximate"]

# Of the 240-fps videos that the weights were trained on.
MEAN = (0.429, 0.431, 0.397)


def _act(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.1)


class Down(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, size, padding=size // 2)
        self.conv2 = nn.Conv2d(outputs, outputs, size, padding=size // 2)

    def forward(self, x: Tensor) -> Tensor:
        return _act(self.conv2(_act(self.conv1(F.avg_pool2d(x, 2)))))


class Up(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(2 * outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = _act(self.conv1(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)))
        return _act(self.conv2(torch.cat([x, skip], 1)))


class UNet(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, 32, 7, padding=3)
        self.conv2 = nn.Conv2d(32, 32, 7, padding=3)
        widths = (32, 64, 128, 256, 512, 512)
        for level in range(1, 6):
            size = 5 if level == 1 else 3
            self.add_module(f"down{level}", Down(widths[level - 1], widths[level], size))
        for level in range(1, 6):
            self.add_module(f"up{level}", Up(widths[6 - level], widths[5 - level]))
        self.conv3 = nn.Conv2d(32, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, H, W] -> [N, outputs, H, W] float32; the last layer has the activation as well."""
        x = _act(self.conv2(_act(self.conv1(like_weights(x, self.conv1)))))
        skips = []
        for level in range(1, 6):
            skips.append(x)
            x = getattr(self, f"down{level}")(x)
        for level in range(1, 6):
            x = getattr(self, f"up{level}")(x, skips.pop())
        return _act(in_float32(self.conv3, x))


class SuperSloMo(Interpolator):
    """Jiang, Sun, Jampani, Yang, Learned-Miller, Kautz: Super SloMo, CVPR 2018.

    Reads the weights of avinashpaliwal/Super-SloMo.

    Args:
        align_corners: how the original's warp normalises, see `compat.superslomo.displacement`. The released
            weights were trained with True; False gives what the same code does in torch >= 1.3.
        size: "pad" to multiples of 32, so that no pixel is resampled, or "resize" down to them and back, as
            the original does: by Lanczos and then bilinearly.
        begin_as_blend: as of `SepConv`.
    """

    multiple = 32

    def __init__(
        self, *, align_corners: bool = True, size: str = "pad", begin_as_blend: bool = False
    ) -> None:
        super().__init__()
        if size not in ("pad", "resize"):
            raise ValueError(f"SuperSloMo: size must be 'pad' or 'resize'; got {size!r}")
        self.align_corners = align_corners
        self.resize = size == "resize"
        self.flow_computation = UNet(6, 4)
        self.flow_interpolation = UNet(20, 5)
        if begin_as_blend:
            for network in (self.flow_computation, self.flow_interpolation):
                keep_signal(network)
                see_contrast(network.conv1, 6)
                whisper(network.conv3, 0.1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def fit(self, frame: Tensor) -> Tensor:
        if not self.resize:
            return super().fit(frame)
        height, width = (max(side - side % self.multiple, self.multiple) for side in frame.shape[-2:])
        return lanczos(frame, height, width)

    def restore(self, made: Tensor, height: int, width: int) -> Tensor:
        if not self.resize:
            return super().restore(made, height, width)
        size = (height, width)
        return F.interpolate(made.float(), size, mode="bilinear", align_corners=False, antialias=True)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        # Outside of a frame there is zero: the mean, and not black.
        frame0, frame1 = self.centred(frame0), self.centred(frame1)
        made = self.between(frame0, frame1, *self.flows(frame0, frame1), times.flatten())
        return made + self.mean.to(made.dtype)

    def centred(self, frame: Tensor) -> Tensor:
        """Without the mean, as the networks see it."""
        return frame - self.mean.to(frame.dtype)

    def between(
        self, frame0: Tensor, frame1: Tensor, flow01: Tensor, flow10: Tensor, times: Tensor
    ) -> Tensor:
        """The frames at times [N*T] of frames without their mean; without it as well."""
        flow_t0, flow_t1, visible0 = self.intermediate(frame0, frame1, flow01, flow10, times)
        to0, to1 = self.displacement(flow_t0), self.displacement(flow_t1)
        return ops.warp_blend(
            frame0, frame1, to0, to1, visible0, timestep=times, mask_is_logits=True, padding="zeros"
        )

    def flows(self, frame0: Tensor, frame1: Tensor) -> tuple[Tensor, Tensor]:
        """From frame 0 to 1 and back, [N, 2, H, W] float32 in pixels, of frames without their mean."""
        flow01, flow10 = self.flow_computation(torch.cat([frame0, frame1], 1)).split(2, 1)
        return flow01, flow10

    def intermediate(
        self, frame0: Tensor, frame1: Tensor, flow01: Tensor, flow10: Tensor, times: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Flows from times [N*T] to both frames, and the logit of frame 0's visibility there; all float32."""
        flow_t0, flow_t1 = approximate(flow01, flow10, times)
        warped0 = ops.backwarp(frame0, self.displacement(flow_t0), padding="zeros")
        warped1 = ops.backwarp(frame1, self.displacement(flow_t1), padding="zeros")
        pair = torch.cat([frame0, frame1, flow01, flow10], 1)
        x = torch.cat([per_entry(pair, times.shape[0]), flow_t1, flow_t0, warped1, warped0], 1)
        change0, change1, visible0 = self.flow_interpolation(x).split([2, 2, 1], 1)
        return flow_t0 + change0, flow_t1 + change1, visible0

    def displacement(self, flow: Tensor) -> Tensor:
        """By how many pixels the original's warp moves along a flow."""
        return displacement(flow, align_corners=self.align_corners)


def approximate(flow01: Tensor, flow10: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
    """Flows from times [N*T] to both frames, by the flows [N, 2, H, W] between these: the paper's eq. 4."""
    flow01, flow10 = per_entry(flow01, times.shape[0]), per_entry(flow10, times.shape[0])
    t = times[:, None, None, None]
    return t * t * flow10 - (1 - t) * t * flow01, (1 - t) ** 2 * flow01 - t * (1 - t) * flow10
