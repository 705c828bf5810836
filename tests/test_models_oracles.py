"""The originals' other ways, of which there are no goldens, against the papers' formulas in float64.

Written apart from the models: functions of the weights by their names, torch.nn.functional, grid_sample.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from test_models_interface import frames
from torch import Tensor

from vfi_kernels import models

State = dict[str, Tensor]


def doubled(model: models.Interpolator) -> State:
    return {name: tensor.double() for name, tensor in model.state_dict().items()}


def conv(x: Tensor, state: State, key: str) -> Tensor:
    weight = state[f"{key}.weight"]
    return F.conv2d(x, weight, state[f"{key}.bias"], padding=weight.shape[-1] // 2)


# --- SepConv -----------------------------------------------------------------------------------------------


def enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def basic(x: Tensor, state: State, key: str) -> Tensor:
    for i in (0, 2, 4):
        x = conv(x, state, f"{key}.{i}").relu()
    return x


def under_kernels(frame: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    padded = F.pad(frame, [25] * 4, mode="replicate")
    height, total = frame.shape[2], torch.zeros_like(frame)
    for row in range(51):
        across = padded[:, :, row : row + height].unfold(3, 51, 1)  # [N, C, H, W, 51]
        total += torch.einsum("nchwk,nkhw->nchw", across, horizontal) * vertical[:, row : row + 1]
    return total


def sepconv(state: State, one: Tensor, two: Tensor) -> Tensor:
    """RGB frames of legal size; the network sees BGR."""
    c1 = basic(torch.cat([one.flip(1), two.flip(1)], 1), state, "netConv1")
    c2 = basic(F.avg_pool2d(c1, 2), state, "netConv2")
    c3 = basic(F.avg_pool2d(c2, 2), state, "netConv3")
    c4 = basic(F.avg_pool2d(c3, 2), state, "netConv4")
    x = c5 = basic(F.avg_pool2d(c4, 2), state, "netConv5")
    x = F.avg_pool2d(x, 2)
    for level, skip in ((5, c5), (4, c4), (3, c3), (2, c2)):
        x = enlarged(basic(x, state, f"netDeconv{level}"))
        x = conv(x, state, f"netUpsample{level}.1").relu() + skip
    kernels = {}
    for head in ("Vertical1", "Horizontal1", "Vertical2", "Horizontal2"):
        kernels[head] = conv(enlarged(basic(x, state, f"net{head}")), state, f"net{head}.7")
    return under_kernels(one, kernels["Vertical1"], kernels["Horizontal1"]) + under_kernels(
        two, kernels["Vertical2"], kernels["Horizontal2"]
    )


@pytest.mark.parametrize(("padding", "margin"), [("improved", 0), ("paper", 25)])
@torch.inference_mode()
def test_paddings_of_sepconv(padding: str, margin: int) -> None:
    """25 pixels on all sides in the paper's way; then up to a multiple of 128, right and bottom."""
    torch.manual_seed(2)
    net = models.create("sepconv", padding=padding)
    for name, tensor in net.state_dict().items():
        if ".7." in name:
            tensor.mul_(4)  # kernels that make a picture of some contrast
    one, two = frames(44, 70)
    height, width = (44 + 2 * margin, 70 + 2 * margin)
    sides = [margin, margin - width % -128, margin, margin - height % -128]
    padded = [F.pad(frame.double(), sides, mode="replicate") for frame in (one, two)]
    assert padded[0].shape[-2:] == (128, 128)
    expected = sepconv(doubled(net), *padded)[..., margin : margin + 44, margin : margin + 70]
    assert expected.std() > 0.01
    torch.testing.assert_close(net(one, two).double(), expected, atol=1e-4, rtol=0)


# --- Deep Voxel Flow ---------------------------------------------------------------------------------------


def voxel_field(one: Tensor, two: Tensor, state: State, part: str = "") -> Tensor:
    """The tanh of one network for RGB frames of legal size; it sees BGR in [-1, 1]."""

    def layer(name: str, x: Tensor) -> Tensor:
        weight = state[f"{part}{name}.weight"]
        bn = {
            key: state[f"{part}{name}_bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        }
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        x = (x - bn["running_mean"][:, None, None]) / (bn["running_var"][:, None, None] + 1e-5).sqrt()
        return (x * bn["weight"][:, None, None] + bn["bias"][:, None, None]).relu()

    def up(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    c1 = layer("conv1", torch.cat([one[:, [2, 1, 0]], two[:, [2, 1, 0]]], 1) * 2 - 1)
    c2 = layer("conv2", F.max_pool2d(c1, 2))
    c3 = layer("conv3", F.max_pool2d(c2, 2))
    x = layer("bottleneck", F.max_pool2d(c3, 2))
    x = layer("deconv1", torch.cat([up(x), c3], 1))
    x = layer("deconv2", torch.cat([up(x), c2], 1))
    x = layer("deconv3", torch.cat([up(x), c1], 1))
    return conv(x, state, f"{part}conv4").tanh()


def three_scales(state: State, one: Tensor, two: Tensor, mode: str) -> Tensor:
    """The motion of the networks at 1/2 and 1/4 of the size beside the field of the fine one, fused."""
    height, width = one.shape[-2:]
    seen = [voxel_field(one, two, state)]
    for part, share in (("coarse.0.", 2), ("coarse.1.", 4)):
        small = [
            frame.unflatten(3, (-1, share)).unflatten(2, (-1, share)).mean((3, 5)) for frame in (one, two)
        ]
        motion = voxel_field(*small, state, part)[:, :2]
        seen.append(F.interpolate(motion, (height, width), mode="bilinear", align_corners=False))
    field = conv(conv(torch.cat(seen, 1), state, "fuse.0").relu(), state, "fuse.2").tanh()
    xs, ys = torch.linspace(-1, 1, width).double(), torch.linspace(-1, 1, height).double()
    grid = torch.stack(torch.meshgrid(xs, ys, indexing="xy"), -1)
    flow, share0 = 0.5 * field[:, :2].permute(0, 2, 3, 1), 0.5 * (1 + field[:, 2:])
    places = (grid - flow, grid + flow) if mode == "interpolate" else (grid - 2 * flow, grid - flow)
    sampled = [
        F.grid_sample(frame, place, padding_mode="border", align_corners=True)
        for frame, place in zip((one, two), places, strict=True)
    ]
    return share0 * sampled[0] + (1 - share0) * sampled[1]


@pytest.mark.parametrize("mode", ["interpolate", "extrapolate"])
@torch.inference_mode()
def test_three_scales_of_dvf(mode: str) -> None:
    """Weights that let every scale move the picture by pixels of its own."""
    torch.manual_seed(2)
    net = models.create("dvf", multiscale=True, mode=mode)
    for name, tensor in net.state_dict().items():
        if name.endswith(("_bn.running_mean", "_bn.bias")):
            tensor.uniform_(-0.2, 0.2)
        elif name.endswith(("_bn.running_var", "_bn.weight")):
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("conv4.weight", "fuse.0.weight", "fuse.2.weight")):
            tensor.mul_(3)
    one, two = frames(45, 70)
    padded = [F.pad(frame.double(), [0, 26, 0, 19], mode="replicate") for frame in (one, two)]
    state = doubled(net)
    expected = three_scales(state, *padded, mode)[..., :45, :70]
    torch.testing.assert_close(net(one, two).double(), expected, atol=1e-4, rtol=0)
    for part in ("conv4", "coarse.0.conv4", "coarse.1.conv4"):
        without = {name: torch.zeros_like(t) if name.startswith(part) else t for name, t in state.items()}
        assert (three_scales(without, *padded, mode)[..., :45, :70] - expected).abs().max() > 0.01


# --- Super SloMo -------------------------------------------------------------------------------------------


def leaky(x: Tensor, state: State, key: str) -> Tensor:
    return F.leaky_relu(conv(x, state, key), 0.1)


def unet(x: Tensor, state: State, part: str) -> Tensor:
    skips = [leaky(leaky(x, state, f"{part}.conv1"), state, f"{part}.conv2")]
    for level in range(1, 6):
        down = f"{part}.down{level}"
        x = leaky(F.avg_pool2d(skips[-1], 2), state, f"{down}.conv1")
        skips.append(leaky(x, state, f"{down}.conv2"))
    x = skips.pop()
    for level in range(1, 6):
        up = f"{part}.up{level}"
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        x = leaky(torch.cat([leaky(x, state, f"{up}.conv1"), skips.pop()], 1), state, f"{up}.conv2")
    return leaky(x, state, f"{part}.conv3")


def original_warp(image: Tensor, flow: Tensor, align_corners: bool) -> Tensor:
    height, width = flow.shape[-2:]
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x = 2 * ((xs + flow[:, 0]) / width - 0.5)
    y = 2 * ((ys + flow[:, 1]) / height - 0.5)
    return F.grid_sample(image, torch.stack([x, y], 3), align_corners=align_corners)


def superslomo(state: State, one: Tensor, two: Tensor, t: float, align_corners: bool) -> Tensor:
    """RGB frames of legal size."""
    mean = torch.tensor([0.429, 0.431, 0.397], dtype=torch.float64)[:, None, None]
    one, two = one - mean, two - mean
    f01, f10 = unet(torch.cat([one, two], 1), state, "flow_computation").split(2, 1)
    ft0, ft1 = -(1 - t) * t * f01 + t * t * f10, (1 - t) ** 2 * f01 - t * (1 - t) * f10
    g0, g1 = original_warp(one, ft0, align_corners), original_warp(two, ft1, align_corners)
    seen = torch.cat([one, two, f01, f10, ft1, ft0, g1, g0], 1)
    found = unet(seen, state, "flow_interpolation")
    g0 = original_warp(one, ft0 + found[:, :2], align_corners)
    g1 = original_warp(two, ft1 + found[:, 2:4], align_corners)
    visible0 = (1 - t) * found[:, 4:].sigmoid()
    visible1 = t * (1 - found[:, 4:].sigmoid())
    return (visible0 * g0 + visible1 * g1) / (visible0 + visible1) + mean


def lanczos(length: int, wanted: int) -> Tensor:
    """[wanted, length]: Pillow's coefficients, one by one."""
    step = max(length / wanted, 1)
    rows = torch.zeros(wanted, length, dtype=torch.float64)
    for i in range(wanted):
        centre = (i + 0.5) * length / wanted
        first, last = int(centre - 3 * step + 0.5), int(centre + 3 * step + 0.5)
        for j in range(max(first, 0), min(last, length)):
            x = math.pi * (j + 0.5 - centre) / step
            rows[i, j] = 1 if x == 0 else 3 * math.sin(x) * math.sin(x / 3) / x**2
    return rows / rows.sum(1, keepdim=True)


@pytest.mark.parametrize("size", ["pad", "resize"])
@pytest.mark.parametrize("align_corners", [True, False])
@torch.inference_mode()
def test_ways_of_superslomo(size: str, align_corners: bool) -> None:
    torch.manual_seed(2)
    net = models.create("superslomo", size=size, align_corners=align_corners)
    for name, tensor in net.state_dict().items():
        if name.endswith("conv3.bias"):
            tensor.copy_(torch.linspace(2, 5, tensor.numel()))  # flows of a few pixels
    pair, t = frames(45, 70), 0.3
    if size == "pad":
        fitted = [F.pad(frame.double(), [0, 26, 0, 19], mode="replicate") for frame in pair]
    else:
        fitted = [lanczos(45, 32) @ frame.double() @ lanczos(70, 64).mT for frame in pair]
    expected = superslomo(doubled(net), *fitted, t, align_corners)
    if size == "pad":
        expected = expected[..., :45, :70]
    else:
        expected = F.interpolate(expected, (45, 70), mode="bilinear", align_corners=False)
    made = net(*pair, t).double()
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    assert (made - pair[0]).abs().mean() > 0.02
