"""Both frames warped and blended, in plain PyTorch."""

import torch
from torch import Tensor

from .numbers import finish, sum_dtype
from .sampling import coordinates, sample


def weights(
    mask: Tensor, timestep: Tensor | None, mask_is_logits: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """(a, b, a + b) of (a w0 + b w1) / (a + b), each [N, 1, H, W]; the sum is None where it is 1 by
    construction.
    """
    m = torch.sigmoid(mask) if mask_is_logits else mask
    if timestep is None:
        return m, 1 - m, None
    t = timestep.reshape(-1, 1, 1, 1)
    a, b = (1 - t) * m, t * (1 - m)
    return a, b, a + b


def warp_blend(
    frame0: Tensor,  # [F, C, H, W]
    frame1: Tensor,  # [F, C, H, W]
    flow0: Tensor,  # [N, 2, H, W] pixels, from the new frame to frame 0; N a multiple of F
    flow1: Tensor,  # [N, 2, H, W] pixels, from the new frame to frame 1
    mask: Tensor,  # [N, 1, H, W]
    timestep: Tensor | None,  # [N]
    mask_is_logits: bool,
    padding: str,  # "border" or "zeros"
) -> Tensor:  # [N, C, H, W]
    """m w0 + (1 - m) w1, or with a timestep ((1-t) m w0 + t (1-m) w1) / ((1-t) m + t (1-m))."""
    dtype = sum_dtype(frame0.dtype)
    w0 = sample(frame0, *coordinates(flow0, 1, dtype), padding)
    w1 = sample(frame1, *coordinates(flow1, 1, dtype), padding)
    a, b, total = weights(mask.to(dtype), timestep, mask_is_logits)
    blend = a * w0 + b * w1
    if total is not None and timestep is not None:
        # Neither frame is visible: the plain mean over time. Dividing by 1 there keeps 0/0 out of the
        # gradients as well.
        t = timestep.reshape(-1, 1, 1, 1)
        nothing = total == 0
        blend = blend / torch.where(nothing, torch.ones_like(total), total)
        blend = torch.where(nothing, (1 - t) * w0 + t * w1, blend)
    return finish(blend, frame0)
