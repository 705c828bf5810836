"""Deep Voxel Flow: one network, one flow through space and time, trilinear sampling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..ops.voxel_flow import MODES
from .base import Interpolator, TimestepError, like_weights
from .precision import in_float32

__all__ = ["DVF"]

# The authors' 0.9997 is the share of the old statistics that a step keeps; PyTorch counts the new.
MOMENTUM = 1 - 0.9997


class VoxelFlowNetwork(nn.Module):
    """The encoder and decoder; names as in pytorch-voxel-flow, where "deconv" is a convolution as well."""

    def __init__(self, momentum: float) -> None:
        super().__init__()
        for name, inputs, outputs, size in (
            ("conv1", 6, 64, 5),
            ("conv2", 64, 128, 5),
            ("conv3", 128, 256, 3),
            ("bottleneck", 256, 256, 3),
            ("deconv1", 256 + 256, 256, 3),
            ("deconv2", 256 + 128, 128, 5),
            ("deconv3", 128 + 64, 64, 5),
        ):
            self.add_module(name, nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False))
            self.add_module(f"{name}_bn", nn.BatchNorm2d(outputs, momentum=momentum))
        self.conv4 = nn.Conv2d(64, 3, 5, padding=2)

    def field(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        """RGB frames [N, 3, H, W] in [0, 1] -> [N, 3, H, W] float32 in [-1, 1]: x, y and time.

        x and y are in quarters of the frame. The network sees BGR in [-1, 1].
        """
        x = like_weights(torch.cat([frame0.flip(1), frame1.flip(1)], 1) * 2 - 1, self.conv1)
        full = self._layer("conv1", x)
        half = self._layer("conv2", F.max_pool2d(full, 2))
        quarter = self._layer("conv3", F.max_pool2d(half, 2))
        x = self._layer("bottleneck", F.max_pool2d(quarter, 2))
        for name, skip in (("deconv1", quarter), ("deconv2", half), ("deconv3", full)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = self._layer(name, torch.cat([x, skip], 1))
        return in_float32(self.conv4, x).tanh()

    def _layer(self, name: str, x: Tensor) -> Tensor:
        return F.relu(getattr(self, f"{name}_bn")(getattr(self, name)(x)))


class DVF(Interpolator, VoxelFlowNetwork):
    """Liu, Yeh, Tang, Liu, Agarwala: Video Frame Synthesis using Deep Voxel Flow, ICCV 2017.

    Reads the weights of lxx1991/pytorch-voxel-flow. Nothing in them tells whether they were trained to
    interpolate or to extrapolate; the authors' shipped configuration extrapolates.

    Args:
        mode: "interpolate", the frame at 0.5, or "extrapolate", the frame one step after frame 1.
        multiscale: three networks at full, half and quarter size, as in the paper: the flows of the
            coarse ones are enlarged and fused with the voxel flow of the fine one by two convolutions.
            No weights were released for it.
        momentum: share of a training step in BatchNorm's statistics. The authors' is for long trainings:
            after 3,000 steps more than a third of the statistics is still what they began with.
    """

    multiple = 8
    middle_only = True

    def __init__(
        self, *, mode: str = "interpolate", multiscale: bool = False, momentum: float = MOMENTUM
    ) -> None:
        super().__init__(momentum)
        if mode not in MODES:
            raise ValueError(f"DVF: mode must be {' or '.join(map(repr, MODES))}; got {mode!r}")
        self.mode = mode
        self.coarse = nn.ModuleList([VoxelFlowNetwork(momentum) for _ in range(2)] if multiscale else [])
        if multiscale:
            self.multiple = 8 << len(self.coarse)
            inputs = 3 + 2 * len(self.coarse)
            self.fuse = nn.Sequential(
                nn.Conv2d(inputs, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 3, 3, padding=1)
            )

    def interpolate(self, frame0: Tensor, frame1: Tensor, timesteps: object) -> Tensor:
        if self.mode == "extrapolate":
            raise TimestepError(
                "DVF: in mode 'extrapolate' there is one frame, after frame 1: call the model, or take "
                "mode=interpolate"
            )
        return super().interpolate(frame0, frame1, timesteps)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        return ops.voxel_flow(frame0, frame1, self.voxel_flow(frame0, frame1), mode=self.mode)

    def voxel_flow(self, frame0: Tensor, frame1: Tensor) -> Tensor:
        """[N, 3, H, W] float32: dx, dy in pixels and the weight dt of frame 1.

        The original moves by half of its field, in coordinates where a frame is 2 wide from the centre of its
        first pixel to that of its last, and blends by the weight of frame 0.
        """
        field = self.field(frame0, frame1)
        if self.coarse:
            field = self._fused(field, frame0, frame1)
        height, width = frame0.shape[-2:]
        dx, dy, time = field.split(1, 1)
        return torch.cat([dx * ((width - 1) / 4), dy * ((height - 1) / 4), 0.5 * (1 - time)], 1)

    def _fused(self, field: Tensor, frame0: Tensor, frame1: Tensor) -> Tensor:
        """Coarse fields are in parts of the frame already, so enlarging does not change their values."""
        fields = [field]
        for level, network in enumerate(self.coarse, 1):
            small = [F.avg_pool2d(frame, 1 << level) for frame in (frame0, frame1)]
            motion = network.field(*small)[:, :2]
            fields.append(
                F.interpolate(motion, scale_factor=1 << level, mode="bilinear", align_corners=False)
            )
        return in_float32(self.fuse, torch.cat(fields, 1)).tanh()
