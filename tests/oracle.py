"""The operations a second time, in float64 and by other means than the package's, and the comparisons with
it.

Warps go through torch.nn.functional.grid_sample, sepconv through plain sums over the taps. Signatures are the
operators'.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = {torch.float16: 2**-10, torch.bfloat16: 2**-7, torch.float32: 2**-23, torch.float64: 2**-52}


def _sample(image: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    image = image.double().repeat_interleave(x.shape[0] // image.shape[0], 0)
    # align_corners=False has no singular case: with True, an image of one pixel has no way to say "outside".
    grid = torch.stack([(2 * x + 1) / image.shape[3] - 1, (2 * y + 1) / image.shape[2] - 1], -1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode=padding, align_corners=False)


def _warp(image: Tensor, flow: Tensor, factor: int, padding: str) -> Tensor:
    flow = flow.double()
    x = torch.arange(flow.shape[3], dtype=torch.float64) + factor * flow[:, 0]
    y = torch.arange(flow.shape[2], dtype=torch.float64)[:, None] + factor * flow[:, 1]
    return _sample(image, x, y, padding)


def backwarp(images: list[Tensor], flow: Tensor, padding: str) -> list[Tensor]:
    return [_warp(image, flow, 1, padding) for image in images]


def warp_blend(
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    timestep: Tensor | None,
    mask_is_logits: bool,
    padding: str,
) -> Tensor:
    w0, w1 = _warp(frame0, flow0, 1, padding), _warp(frame1, flow1, 1, padding)
    m = mask.double().sigmoid() if mask_is_logits else mask.double()
    if timestep is None:
        return m * w0 + (1 - m) * w1
    t = timestep.double()[:, None, None, None]
    return ((1 - t) * m * w0 + t * (1 - m) * w1) / ((1 - t) * m + t * (1 - m))


def voxel_flow(frame0: Tensor, frame1: Tensor, flow: Tensor, mode: str, padding: str) -> Tensor:
    factor0, factor1 = (-1, 1) if mode == "interpolate" else (-2, -1)
    dt = flow[:, 2:].double().clamp(0, 1)
    return (1 - dt) * _warp(frame0, flow, factor0, padding) + dt * _warp(frame1, flow, factor1, padding)


def sepconv(
    images: list[Tensor],
    verticals: list[Tensor],
    horizontals: list[Tensor],
    padding: str,
    coarse: bool = False,
) -> Tensor:
    total = 0
    for image, vertical, horizontal in zip(images, verticals, horizontals, strict=True):
        taps_y, taps_x, (height, width) = vertical.shape[1], horizontal.shape[1], vertical.shape[2:]
        image, vertical, horizontal = image.double(), vertical.double(), horizontal.double()
        if padding == "replicate":
            border = ((taps_x - 1) // 2, taps_x // 2, (taps_y - 1) // 2, taps_y // 2)
            image = F.pad(image, border, mode="replicate")
        for i in range(taps_y):
            for j in range(taps_x):
                part = image[:, :, i : i + height, j : j + width]
                total = total + part * vertical[:, i : i + 1] * horizontal[:, j : j + 1]
    return total


def assert_result(got: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    """An output in `dtype` against its value in float64.

    The rounding to `dtype` is at most half a unit. Coordinates and sums in float32 add some 1e-6 of what is
    summed, which is of order 1 here, or of order 100 for uint8.
    """
    assert got.dtype == dtype
    got = got.detach().cpu().double()
    if dtype == torch.uint8:
        torch.testing.assert_close(got, expected.detach().clamp(0, 255), atol=0.5 + 1e-3, rtol=0)
        return
    sums = 1e-12 if dtype == torch.float64 else 2e-5
    torch.testing.assert_close(got, expected.detach(), atol=sums, rtol=sums + EPS[dtype] / 2)


def assert_gradients(got: list[Tensor | None], expected: list[Tensor | None]) -> None:
    """Gradients, each in its tensor's own dtype, against float64; the expected ones may be None for uint8
    only.

    A sum of many terms of order 1 that cancel is off by the sums' rounding times the largest of the values.
    """
    for result, value in zip(got, expected, strict=True):
        if value is None:
            assert result is None
            continue
        exact = result.dtype == torch.float64
        scale = max(1.0, value.abs().max().item()) if value.numel() else 1.0
        tolerance = 1e-11 if exact else 2e-5
        torch.testing.assert_close(
            result.cpu().double(), value, atol=tolerance * scale, rtol=tolerance + EPS[result.dtype] / 2
        )


def gradients(operation: str, grad: Tensor | list[Tensor], inputs: list) -> list[Tensor | None]:
    """The gradient of each floating tensor of the inputs in float64; None for the others."""
    leaves: list[Tensor] = []

    def widen(value: object) -> object:
        if isinstance(value, list):
            return [widen(v) for v in value]
        if not isinstance(value, Tensor):
            return value
        leaves.append(value.detach().double().requires_grad_(value.is_floating_point()))
        return leaves[-1]

    results = globals()[operation](*[widen(value) for value in inputs])
    floating = [leaf for leaf in leaves if leaf.requires_grad]
    grads = [g.double() for g in grad] if isinstance(grad, list) else grad.double()
    found = iter(torch.autograd.grad(results, floating, grads))
    return [next(found) if leaf.requires_grad else None for leaf in leaves]
