"""Both frames warped and blended in one pass: the last step of RIFE and of Super SloMo."""

from numbers import Real

import torch
from torch import Tensor

from ..reference.numbers import sum_dtype
from . import _check
from ._call import call
from ._gradient import Gradient, differentiable
from ._register import define, empty_gradients, empty_image
from .backwarp import PADDINGS


def warp_blend(
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    *,
    timestep: float | Tensor | None = None,
    mask_is_logits: bool = False,
    padding: str = "border",
) -> Tensor:
    """Warps two frames to the time between them and blends them by a mask.

    With w0 = backwarp(frame0, flow0), w1 = backwarp(frame1, flow1) and m the mask, or its sigmoid:

    - without a timestep: m w0 + (1 - m) w1
    - at timestep t: ((1-t) m w0 + t (1-m) w1) / ((1-t) m + t (1-m)), where m is how visible a pixel is in
      frame 0; where the denominator is zero, (1-t) w0 + t w1

    Convention:
        Axes: [N, C, H, W]; flow channel 0 is dx (to the right), channel 1 is dy (down).
        Units: pixels. Pixel centres lie on integers: zero flow reads a frame bit for bit. Time is 0 at frame
            0, 1 at frame 1.
        Sign: backward; flow0 and flow1 point from a pixel of the new frame to frame 0 and to frame 1.
        Border: "border" clamps the coordinate to the frame, with zero gradient there; "zeros" counts taps
            outside as zero.
        The mask is not clamped.

    Args:
        frame0, frame1: [N, C, H, W] of one dtype: float16, bfloat16, float32, float64, or uint8 (without a
            gradient).
        flow0, flow1: [N, 2, H, W]; the frames' dtype or float32. With [N*T, ...], frame n serves the entries
            n*T .. n*T+T-1.
        mask: [N, 1, H, W] (or [N*T, ...]); the frames' dtype or float32.
        timestep: None, a number in [0, 1], or a floating tensor of no dimension or [N] (or [N*T]).
        mask_is_logits: whether the sigmoid of the mask is taken first.
        padding: "border" or "zeros".

    Returns:
        [N, C, H, W] (or [N*T, ...]) in the frames' dtype and the layout of frame 0; uint8 is rounded to
        nearest and saturated. Sums are float32, or float64 for float64 frames.

    Raises:
        ValueError: a shape, a device, the padding or the number `timestep` does not fit.
        TypeError: a dtype does not fit, or an argument is not a tensor.

    Source: Huang et al., Real-Time Intermediate Flow Estimation, 2022, eq. 1; Jiang et al., Super SloMo,
    2018, eq. 5.
    """
    _check.tensors("warp_blend", frame0=frame0, frame1=frame1, flow0=flow0, flow1=flow1, mask=mask)
    dtype = frame0.dtype
    (frame0, frame1), (flow0, flow1, mask) = _check.promote([frame0, frame1], [flow0, flow1, mask])
    check(frame0, frame1, flow0, flow1, mask, timestep, mask_is_logits, padding)
    flow0, flow1, mask = _check.unify([flow0, flow1, mask])
    timesteps = _per_entry(timestep, frame0, flow0)
    inputs = (frame0, frame1, flow0, flow1, mask, timesteps, mask_is_logits, padding)
    return _check.cast(call("warp_blend", frame0.device, *inputs), dtype)


def check(
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    timestep: float | Tensor | None,
    mask_is_logits: bool,
    padding: str,
) -> None:
    op = "warp_blend"
    _check.image(op, "frame0", frame0, byte=True)
    _check.same(op, "frame1", frame1, "frame0", frame0)
    _check.fields(op, "the frames", frame0, flow0=(flow0, 2), flow1=(flow1, 2), mask=(mask, 1))
    _check_timestep(op, timestep, flow0)
    _check.flag(op, "mask_is_logits", mask_is_logits)
    _check.choice(op, "padding", padding, PADDINGS)


def _check_timestep(op: str, timestep: float | Tensor | None, flow0: Tensor) -> None:
    if timestep is None:
        return
    if isinstance(timestep, Tensor):
        if not timestep.is_floating_point():
            raise TypeError(f"{op}: timestep must be a floating tensor; got {_check.names([timestep.dtype])}")
        if timestep.dim() > 1 or (timestep.dim() == 1 and timestep.shape[0] != flow0.shape[0]):
            expected = f"[] or [{flow0.shape[0]}] like the batch of flow0"
            raise ValueError(f"{op}: timestep must be {expected}; got {_check.shape(timestep)}")
        _check.device(op, "timestep", timestep, "the frames", flow0)
    elif type(timestep) is not float and (isinstance(timestep, bool) or not isinstance(timestep, Real)):
        raise TypeError(f"{op}: timestep must be None, a number or a tensor; got {type(timestep).__name__}")
    elif not 0 <= timestep <= 1:
        raise ValueError(f"{op}: timestep must be in [0, 1]; got {timestep}")


def _per_entry(timestep: float | Tensor | None, frame0: Tensor, flow0: Tensor) -> Tensor | None:
    """[N] in the sums' dtype, one for every entry of the flows; contiguous, as the kernels need it."""
    if timestep is None:
        return None
    dtype, entries = sum_dtype(frame0.dtype), flow0.shape[0]
    if isinstance(timestep, Tensor):
        return timestep.to(dtype).expand(entries).contiguous()
    if not torch.compiler.is_compiling():
        return torch.full((entries,), timestep, dtype=dtype, device=flow0.device)
    # torch.compile keeps a float as a variable only where arithmetic takes it.
    return torch.ones(entries, dtype=dtype, device=flow0.device).mul_(timestep)


def _fake(
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    timestep: Tensor | None,
    mask_is_logits: bool,
    padding: str,
) -> Tensor:
    check(frame0, frame1, flow0, flow1, mask, timestep, mask_is_logits, padding)
    return empty_image((flow0.shape[0], *frame0.shape[1:]), frame0)


def _fake_backward(
    grad: Tensor,
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    timestep: Tensor | None,
    mask_is_logits: bool,
    padding: str,
    needs: int,
) -> list[Tensor]:
    check(frame0, frame1, flow0, flow1, mask, timestep, mask_is_logits, padding)
    dtype = sum_dtype(frame0.dtype)
    fields = [(tensor, tensor.dtype) for tensor in (flow0, flow1, mask)]
    results = empty_gradients([(frame0, dtype), (frame1, dtype), *fields], needs)
    size = mask.shape if needs >> 5 & 1 else (0,)
    return [*results, torch.empty(size, dtype=dtype, device=frame0.device)]


def _reads(wanted: list[bool]) -> list[bool]:
    """A frame for the gradients of its flow and of what weighs it, a flow for these and its frame's, the
    weights always.
    """
    frame0, frame1, flow0, flow1, *weights = wanted
    blend = any(weights)
    reads = [flow0 or blend, flow1 or blend, frame0 or flow0 or blend, frame1 or flow1 or blend]
    return reads + [True] * len(weights)


# Blends frames [F, C, H, W] along flows [N, 2, H, W] by a mask [N, 1, H, W], at timesteps [N] where given.
define(
    "warp_blend(Tensor frame0, Tensor frame1, Tensor flow0, Tensor flow1, Tensor mask, Tensor? timestep, "
    "bool mask_is_logits, str padding) -> Tensor",
    _fake,
    frames=(0, 1),
)

# The gradients of frame0, frame1, flow0, flow1, mask, and of one timestep a pixel [N, 1, H, W].
_backward = define(
    "_warp_blend_backward(Tensor grad, Tensor frame0, Tensor frame1, Tensor flow0, Tensor flow1, "
    "Tensor mask, Tensor? timestep, bool mask_is_logits, str padding, int needs) -> Tensor[]",
    _fake_backward,
    frames=(),
)

GRADIENT = Gradient(_backward, _reads)
differentiable("warp_blend", GRADIENT)
