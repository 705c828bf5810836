"""Trilinear sampling of the two-frame volume: the last step of Deep Voxel Flow."""

from torch import Tensor

from ..reference.numbers import sum_dtype
from . import _check
from ._call import call
from ._gradient import Gradient, differentiable
from ._register import define, empty_gradients, empty_image
from .backwarp import PADDINGS

MODES = ("interpolate", "extrapolate")


def voxel_flow(
    frame0: Tensor, frame1: Tensor, flow: Tensor, *, mode: str = "interpolate", padding: str = "border"
) -> Tensor:
    """Samples the volume of two frames along a flow through space and time.

    - "interpolate": (1-dt) frame0(x - dx, y - dy) + dt frame1(x + dx, y + dy)
    - "extrapolate": (1-dt) frame0(x - 2dx, y - 2dy) + dt frame1(x - dx, y - dy)

    Convention:
        Axes: [N, C, H, W]; flow channel 0 is dx (to the right), 1 is dy (down), 2 is dt.
        Units: dx, dy in pixels, not in the [-1, 1] of the original; pixel centres lie on integers. dt is 0 at
            frame 0 and 1 at
        frame 1; it is clamped to [0, 1], with zero gradient outside, and NaN is 0.
        Sign: the flow is the motion from the new frame to frame 1; frame 0 lies the other way.
        Border: "border" clamps the coordinate to the frame, with zero gradient there; "zeros" counts taps
            outside as zero.

    Args:
        frame0, frame1: [N, C, H, W] of one dtype: float16, bfloat16, float32, float64, or uint8 (without a
            gradient).
        flow: [N, 3, H, W]; the frames' dtype or float32. With [N*T, ...], frame n serves entries n*T ..
            n*T+T-1.
        mode: "interpolate" or "extrapolate".
        padding: "border" or "zeros".

    Returns:
        [N, C, H, W] (or [N*T, ...]) in the frames' dtype and the layout of frame 0; uint8 is rounded to
        nearest and saturated. Sums are float32, or float64 for float64 frames.

    Raises:
        ValueError: a shape, a device, the mode or the padding does not fit.
        TypeError: a dtype does not fit, or an argument is not a tensor.

    Source: Liu et al., Video Frame Synthesis using Deep Voxel Flow, 2017.
    """
    _check.tensors("voxel_flow", frame0=frame0, frame1=frame1, flow=flow)
    dtype = frame0.dtype
    (frame0, frame1), [flow] = _check.promote([frame0, frame1], [flow])
    check(frame0, frame1, flow, mode, padding)
    return _check.cast(call("voxel_flow", frame0.device, frame0, frame1, flow, mode, padding), dtype)


def check(frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str) -> None:
    op = "voxel_flow"
    _check.image(op, "frame0", frame0, byte=True)
    _check.same(op, "frame1", frame1, "frame0", frame0)
    _check.fields(op, "the frames", frame0, flow=(flow, 3))
    _check.choice(op, "mode", mode, MODES)
    _check.choice(op, "padding", padding, PADDINGS)


def _fake(frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str) -> Tensor:
    check(frame0, frame1, flow, mode, padding)
    return empty_image((flow.shape[0], *frame0.shape[1:]), frame0)


def _fake_backward(
    grad: Tensor, frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str, needs: int
) -> list[Tensor]:
    check(frame0, frame1, flow, mode, padding)
    dtype = sum_dtype(frame0.dtype)
    return empty_gradients([(frame0, dtype), (frame1, dtype), (flow, flow.dtype)], needs)


def _reads(wanted: list[bool]) -> list[bool]:
    """The frames only for the gradient of the flow, the flow always."""
    return [wanted[2], wanted[2], True]


# Samples two frames [F, C, H, W] along a flow [N, 3, H, W] of dx, dy in pixels and dt, N a multiple of F.
define(
    "voxel_flow(Tensor frame0, Tensor frame1, Tensor flow, str mode, str padding) -> Tensor",
    _fake,
    frames=(0, 1),
)

# The gradients of frame0, frame1 and flow.
_backward = define(
    "_voxel_flow_backward(Tensor grad, Tensor frame0, Tensor frame1, Tensor flow, str mode, str padding, "
    "int needs) -> Tensor[]",
    _fake_backward,
    frames=(),
)

GRADIENT = Gradient(_backward, _reads)
differentiable("voxel_flow", GRADIENT)
