"""The other projects' names against plain re-implementations of what their code does."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests import oracle, samples
from tests.samples import HALF
from vfi_kernels import compat


def rife_warp(image: Tensor, flow: Tensor) -> Tensor:
    """A normalised grid and a normalised flow, as in hzwer's warplayer."""
    n, _, h, w = flow.shape
    across = torch.linspace(-1, 1, w, dtype=flow.dtype).view(1, 1, 1, w).expand(n, -1, h, -1)
    down = torch.linspace(-1, 1, h, dtype=flow.dtype).view(1, 1, h, 1).expand(n, -1, -1, w)
    scaled = torch.cat([flow[:, :1] / ((w - 1) / 2), flow[:, 1:] / ((h - 1) / 2)], 1)
    grid = (torch.cat([across, down], 1) + scaled).permute(0, 2, 3, 1)
    return F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)


def superslomo_warp(image: Tensor, flow: Tensor, align_corners: bool) -> Tensor:
    """Positions divided by the size and not by the size minus one, as in avinashpaliwal's backWarp."""
    h, w = flow.shape[2:]
    x = torch.arange(w)[None, None] + flow[:, 0]
    y = torch.arange(h)[None, :, None] + flow[:, 1]
    grid = torch.stack([2 * (x / w - 0.5), 2 * (y / h - 0.5)], 3)
    return F.grid_sample(image, grid, align_corners=align_corners)


def test_rife():
    image, flow = samples.image(2, 3, 12, 16), samples.flow(2, 12, 16)
    torch.testing.assert_close(
        compat.rife.warp(tenInput=image, tenFlow=flow), rife_warp(image, flow), atol=1e-5, rtol=1e-5
    )
    [expected] = oracle.backwarp([image.half()], flow.half(), "border")
    oracle.assert_result(compat.rife.warp(image.half(), flow.half()), expected, HALF)


@pytest.mark.parametrize("align_corners", [True, False])
def test_superslomo(align_corners):
    image, flow = samples.image(2, 3, 12, 16), 3 * torch.randn(2, 2, 12, 16)
    warp = compat.superslomo.backWarp(16, 12, torch.device("cpu"), align_corners=align_corners)
    expected = superslomo_warp(image, flow, align_corners)
    torch.testing.assert_close(warp(image, flow), expected, atol=2e-5, rtol=2e-5)
    if align_corners:  # as released
        assert torch.equal(compat.superslomo.backWarp(16, 12, "cpu")(image, flow), warp(image, flow))
    inputs = [image.double().requires_grad_(), flow.double().requires_grad_()]
    got = torch.autograd.grad(warp(*inputs).square().sum(), inputs)
    expected = torch.autograd.grad(superslomo_warp(*inputs, align_corners).square().sum(), inputs)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b)
    assert warp(image.half(), flow.half()).dtype == HALF
    with pytest.raises(ValueError, match=r"flow must be \[N, 2, 12, 16\]; got \[2, 2, 12, 15\]"):
        warp(image[..., 1:], flow[..., 1:])


def test_sepconv():
    image, vertical, horizontal = (
        samples.image(2, 3, 9, 12),
        samples.taps(2, 5, 5, 8),
        samples.taps(2, 5, 5, 8),
    )
    expected = oracle.sepconv([image], [vertical], [horizontal], "valid")
    calls = [
        compat.sepconv.sepconv_func.apply(image, vertical, horizontal),
        compat.sepconv.FunctionSepconv(tenInput=image, tenVertical=vertical, tenHorizontal=horizontal),
        compat.sepconv.ModuleSepconv()(image, vertical, horizontal),
    ]
    for got in calls:
        oracle.assert_result(got, expected, torch.float32)
    halves = image.half(), vertical.half(), horizontal.half()
    assert compat.sepconv.sepconv_func.apply(*halves).dtype == HALF
    with torch.autocast("cpu", torch.bfloat16):
        got = compat.sepconv.sepconv_func.apply(*halves)
    oracle.assert_result(got, oracle.sepconv(*[[h] for h in halves], "valid"), torch.float32)
