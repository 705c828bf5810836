"""cubic_warp against Catmull and Rom's weights by hand, and its promises about borders and sharpness."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vfi_kernels import ops
from vfi_kernels.models.sampling import cubic_warp


def ones(frame: Tensor) -> Tensor:
    return torch.ones(frame.shape[0], 1, *frame.shape[2:])


def shift(frame: Tensor, dx: float, dy: float) -> Tensor:
    return torch.tensor([dx, dy]).view(1, 2, 1, 1).expand(frame.shape[0], 2, *frame.shape[2:])


def test_truth_table() -> None:
    """Weights of four neighbours: half-way -1, 9, 9, -1 sixteenths; at a quarter -9, 111, 29, -3 of 128."""
    row = torch.tensor([3.0, 1, 4, 1, 5, 9, 2, 6])
    frame = row.view(1, 1, 1, -1).expand(1, 3, 4, -1).contiguous()
    half = cubic_warp(frame, shift(frame, 0.5, 0), ones(frame))
    quarter = cubic_warp(frame, shift(frame, -0.75, 0), ones(frame))
    for x in range(2, 5):
        before, left, right, after = row[x - 1 : x + 3]
        expected = (-before + 9 * left + 9 * right - after) / 16
        torch.testing.assert_close(half[0, :, :, x], expected.expand(3, 4))
        before, left, right, after = row[x - 2 : x + 2]
        expected = (-9 * before + 111 * left + 29 * right - 3 * after) / 128
        torch.testing.assert_close(quarter[0, :, :, x], expected.expand(3, 4))


def test_both_axes_alike() -> None:
    torch.manual_seed(0)
    frame, flow = torch.rand(2, 3, 9, 12), 3 * torch.randn(2, 2, 9, 12)
    turned = cubic_warp(frame.mT, flow.flip(1).mT, ones(frame.mT)).mT
    torch.testing.assert_close(cubic_warp(frame, flow, ones(frame)), turned)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (5, 1), (6, 9)])
def test_whole_pixels_and_beyond_the_border(size: tuple[int, int]) -> None:
    """There the frame's own pixels come, as from the bilinear warp."""
    torch.manual_seed(0)
    frame = torch.rand(1, 3, *size)
    whole = torch.randint(-4, 5, (1, 2, *size)).float()
    torch.testing.assert_close(cubic_warp(frame, whole, ones(frame)), ops.backwarp(frame, whole))
    outside = shift(frame, 20.3, -30.6)
    corner = frame[..., :1, -1:].expand_as(frame)
    torch.testing.assert_close(cubic_warp(frame, outside, ones(frame)), corner)


def test_sharpness() -> None:
    torch.manual_seed(0)
    frame, flow = torch.rand(1, 3, 8, 8), torch.randn(1, 2, 8, 8)
    bilinear = ops.backwarp(frame, flow)
    cubic = cubic_warp(frame, flow, ones(frame))
    torch.testing.assert_close(cubic_warp(frame, flow, 0 * ones(frame)), bilinear)
    torch.testing.assert_close(cubic_warp(frame, flow, 2 * ones(frame)), 2 * cubic - bilinear)


def test_timesteps_share_a_frame_and_halves_are_taken() -> None:
    torch.manual_seed(0)
    frame, flow = torch.rand(2, 3, 8, 8), torch.randn(6, 2, 8, 8)
    sharpness = torch.rand(6, 1, 8, 8)
    made = cubic_warp(frame, flow, sharpness)
    torch.testing.assert_close(made, cubic_warp(frame.repeat_interleave(3, 0), flow, sharpness))
    half = cubic_warp(frame.half(), flow, sharpness)
    torch.testing.assert_close(half.float(), made, atol=4e-3, rtol=0)


def test_gradients() -> None:
    """Of the flow too, between pixels, where the fraction of a position is smooth."""
    torch.manual_seed(0)
    frame = torch.rand(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    flow = torch.randint(-2, 3, (1, 2, 5, 6)) + 0.1 + 0.8 * torch.rand(1, 2, 5, 6, dtype=torch.float64)
    sharpness = torch.rand(1, 1, 5, 6, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(cubic_warp, (frame, flow.requires_grad_(), sharpness))
