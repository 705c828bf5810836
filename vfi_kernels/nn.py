"""The operations as modules. A module holds the arguments of its function, nothing else."""

from torch import Tensor, nn

from . import ops


class Backwarp(nn.Module):
    """See `vfi_kernels.backwarp`."""

    def __init__(self, *, padding: str = "border") -> None:
        super().__init__()
        self.padding = padding

    def forward(self, image: Tensor, flow: Tensor) -> Tensor:
        return ops.backwarp(image, flow, padding=self.padding)

    def extra_repr(self) -> str:
        return f"padding={self.padding!r}"


class WarpBlend(nn.Module):
    """See `vfi_kernels.warp_blend`. The timestep comes with every call, since it changes from frame to
    frame.
    """

    def __init__(self, *, mask_is_logits: bool = False, padding: str = "border") -> None:
        super().__init__()
        self.mask_is_logits = mask_is_logits
        self.padding = padding

    def forward(
        self,
        frame0: Tensor,
        frame1: Tensor,
        flow0: Tensor,
        flow1: Tensor,
        mask: Tensor,
        *,
        timestep: float | Tensor | None = None,
    ) -> Tensor:
        return ops.warp_blend(
            frame0,
            frame1,
            flow0,
            flow1,
            mask,
            timestep=timestep,
            mask_is_logits=self.mask_is_logits,
            padding=self.padding,
        )

    def extra_repr(self) -> str:
        return f"mask_is_logits={self.mask_is_logits}, padding={self.padding!r}"


class VoxelFlow(nn.Module):
    """See `vfi_kernels.voxel_flow`."""

    def __init__(self, *, mode: str = "interpolate", padding: str = "border") -> None:
        super().__init__()
        self.mode = mode
        self.padding = padding

    def forward(self, frame0: Tensor, frame1: Tensor, flow: Tensor) -> Tensor:
        return ops.voxel_flow(frame0, frame1, flow, mode=self.mode, padding=self.padding)

    def extra_repr(self) -> str:
        return f"mode={self.mode!r}, padding={self.padding!r}"


class SepConv(nn.Module):
    """See `vfi_kernels.sepconv`."""

    def __init__(self, *, padding: str = "valid") -> None:
        super().__init__()
        self.padding = padding

    def forward(self, image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
        return ops.sepconv(image, vertical, horizontal, padding=self.padding)

    def extra_repr(self) -> str:
        return f"padding={self.padding!r}"
