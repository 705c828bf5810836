"""All versions of RIFE against their formulas in float64, written apart from the models.

Weights by their names, torch.nn.functional, grid_sample; sizes of layers are those of the weights, and what
weights do not tell is in the functions at the top, by version.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from test_models_interface import frames
from test_models_oracles import State, doubled
from torch import Tensor

from vfi_kernels import models

VERSIONS = [name.removeprefix("rife_v") for name in models.names() if name.startswith("rife_v")]
OLD = [version for version in VERSIONS if int(version.split(".")[1]) <= 20]


def minor(version: str) -> int:
    return int(version.split(".")[1])


def scales_of(version: str) -> list[int]:
    if version == "4.25.lite":
        return [32, 16, 8, 4, 1]
    return [8, 4, 2, 1] if minor(version) < 25 else [16, 8, 4, 2, 1]


def passes_features_on(version: str) -> bool:
    return minor(version) in (21, 22, 23, 25, 26)


def adds_masks(version: str) -> bool:
    return minor(version) <= 6


# --- What both lines share ---------------------------------------------------------------------------------


def resized(x: Tensor, factor: float) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def warped(image: Tensor, flow: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = 2 * (xs + flow[:, 0]) / (width - 1) - 1, 2 * (ys + flow[:, 1]) / (height - 1) - 1
    grid = torch.stack([x, y], 3)
    return F.grid_sample(image, grid, padding_mode="border", align_corners=True)


def both_warped(pair: tuple[Tensor, Tensor], flow: Tensor) -> tuple[Tensor, Tensor]:
    return warped(pair[0], flow[:, :2]), warped(pair[1], flow[:, 2:])


def activated(x: Tensor, state: State, key: str) -> Tensor:
    return F.prelu(x, state[key]) if key in state else F.leaky_relu(x, 0.2)


def conv(x: Tensor, state: State, key: str, stride: int = 1) -> Tensor:
    x = F.conv2d(x, state[f"{key}.0.weight"], state[f"{key}.0.bias"], stride, 1)
    return activated(x, state, f"{key}.1.weight")


def larger(x: Tensor, state: State, key: str) -> Tensor:
    return F.conv_transpose2d(x, state[f"{key}.weight"], state[f"{key}.bias"], 2, 1)


def block(state: State, key: str, x: Tensor, flow: Tensor | None, scale: float, first: int = 2) -> Tensor:
    """[N, planes, H, W]: flow, mask, and what there is besides."""
    x = resized(x, 1 / scale)
    if flow is not None:
        x = torch.cat([x, resized(flow, 1 / scale) / scale], 1)
    x = before = conv(conv(x, state, f"{key}.conv0.0", first), state, f"{key}.conv0.1", 2)
    for i in range(8):
        layer = f"{key}.convblock.{i}"
        if f"{layer}.beta" in state:
            weight, bias = state[f"{layer}.conv.weight"], state[f"{layer}.conv.bias"]
            grown = F.conv2d(x, weight, bias, padding=1, groups=x.shape[1] // weight.shape[1])
            x = F.leaky_relu(grown * state[f"{layer}.beta"] + x, 0.2)
        else:
            x = conv(x, state, layer)
    if f"{key}.convblock.0.1.weight" in state:  # PReLU
        x = x + before
    if f"{key}.lastconv.0.weight" in state:
        x = resized(F.pixel_shuffle(larger(x, state, f"{key}.lastconv.0"), 2), scale)
        factor = scale
    else:
        factor = scale * first
        x = resized(larger(x, state, f"{key}.lastconv"), factor)
    return torch.cat([x[:, :4] * factor, x[:, 4:]], 1)


def turned_over(flow: Tensor) -> Tensor:
    return torch.cat([flow[:, 2:], flow[:, :2]], 1)


# --- 4.x ---------------------------------------------------------------------------------------------------


def encoded(state: State, image: Tensor) -> Tensor:
    keys = sorted({name.rpartition(".")[0] for name in state if name.startswith("encode.")})
    x = F.conv2d(image, state[f"{keys[0]}.weight"], state[f"{keys[0]}.bias"], 2, 1)
    for key in keys[1:-1]:
        x = F.conv2d(F.leaky_relu(x, 0.2), state[f"{key}.weight"], state[f"{key}.bias"], 1, 1)
    return larger(x if len(keys) == 2 else F.leaky_relu(x, 0.2), state, keys[-1])


def rife_4x(
    version: str,
    state: State,
    pair: tuple[Tensor, Tensor],
    t: float,
    scale: float = 1,
    ensemble: bool = False,
) -> tuple[Tensor, Tensor]:
    """The frame, and the flow [N, 4, H, W]. Frames of legal size, one pair."""
    scales = [each / scale for each in scales_of(version)]
    time = torch.full_like(pair[0][:, :1], t)
    seen = pair
    if any(name.startswith("encode.") for name in state):
        seen = tuple(torch.cat([image, encoded(state, image)], 1) for image in pair)

    def found(i: int, flow: Tensor | None, mask: Tensor | None, more: Tensor | None, swap: bool) -> Tensor:
        one, two = seen if flow is None else both_warped(seen, flow)
        now = time
        if swap:
            one, two, now = two, one, 1 - time
            flow, mask = (None, None) if flow is None else (turned_over(flow), -mask)
        x = torch.cat([one[:, :3], two[:, :3], one[:, 3:], two[:, 3:], now], 1)
        if mask is not None:
            x = torch.cat([x, mask], 1)
        if more is not None:
            x = torch.cat([x, more], 1)
        made = block(state, f"block{i}", x, flow, scales[i])[..., : pair[0].shape[2], : pair[0].shape[3]]
        return torch.cat([turned_over(made[:, :4]), -made[:, 4:5]], 1) if swap else made

    flow = mask = more = None
    for i in range(len(scales)):
        made = found(i, flow, mask, more, False)
        if minor(version) <= 1 and i == 1 and min(part.abs().max() for part in made[:, :4].split(2, 1)) > 32:
            scales = [2 * each for each in scales]
            first = found(0, None, None, None, False)
            flow, mask = first[:, :4], first[:, 4:5]
            made = found(1, flow, mask, None, False)
        if ensemble:
            made = (made[:, :5] + found(i, flow, mask, more, True)) / 2
        flow = made[:, :4] if flow is None else flow + made[:, :4]
        mask = mask + made[:, 4:5] if adds_masks(version) and i else made[:, 4:5]
        more = made[:, 5:] if passes_features_on(version) else None
    one, two = both_warped(pair, flow)
    weight = mask.sigmoid()
    return one * weight + two * (1 - weight), flow


def randomized(name: str, gain: float = 1, **options: float | bool) -> models.Interpolator:
    """With weights that move by pixels, and a mask and features that matter."""
    torch.manual_seed(5)
    net = models.create(name, **options)
    for key, tensor in net.state_dict().items():
        if tensor.dim() >= 2 and "beta" not in key:
            plain = "convblock" in key and key.endswith(".0.weight")  # no shortcut keeps the signal up
            torch.nn.init.normal_(tensor, std=(1.6 if plain else 1) * tensor[0].numel() ** -0.5)
        elif "lastconv" in key:
            tensor.uniform_(-0.2, 0.2)
        elif "beta" in key or "weight" in key:
            tensor.uniform_(0.1, 0.6)
        if "lastconv" in key:
            tensor.mul_(0.3)
        if "block1.lastconv" in key:
            tensor.mul_(gain)
    return net


def compare(version: str, t: float, gain: float = 1, **options: float | bool) -> None:
    net = randomized(f"rife_v{version}", gain, **options)
    pair = frames(net.multiple, 2 * net.multiple)
    state, wide = doubled(net), tuple(frame.double() for frame in pair)
    frame, flow = rife_4x(version, state, wide, t, **options)
    assert flow.abs().amax() > 0.5
    estimate = net.flow(*pair, torch.tensor([t]))
    torch.testing.assert_close(estimate.flow.double(), flow, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(net(*pair, t).double(), frame, atol=1e-4, rtol=0)
    if gain != 1:  # 4.2 is 4.0 without the rule for fast motion
        assert (rife_4x("4.2", state, wide, t, **options)[1] - flow).abs().amax() > 1


@pytest.mark.parametrize("version", VERSIONS)
@torch.inference_mode()
def test_version(version: str) -> None:
    compare(version, 0.3)


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("version", ["4.0", "4.3", "4.5", "4.8", "4.14.lite", "4.22.lite", "4.25.lite"])
@torch.inference_mode()
def test_scale(version: str, scale: float) -> None:
    compare(version, 0.7, scale=scale)


@pytest.mark.parametrize("version", ["4.1", "4.4", "4.5", "4.6", "4.9", "4.12.lite", "4.20"])
@torch.inference_mode()
def test_ensemble(version: str) -> None:
    compare(version, 0.3, ensemble=True)


@pytest.mark.parametrize("ensemble", [False, True])
@torch.inference_mode()
def test_very_fast_motion(ensemble: bool) -> None:
    """Of 4.0 and 4.1 alone."""
    compare("4.0", 0.4, gain=60, ensemble=ensemble)


# --- The paper's -------------------------------------------------------------------------------------------


def twice(x: Tensor, state: State, key: str, stride: int = 2) -> Tensor:
    return conv(conv(x, state, f"{key}.conv1", stride), state, f"{key}.conv2")


def rife(name: str, state: State, pair: tuple[Tensor, Tensor], t: float, scale: float) -> Tensor:
    first = 1 if name == "rife_2r" else 2
    known = torch.cat(pair, 1)
    if name == "rife_m":
        known = torch.cat([known, torch.full_like(pair[0][:, :1], t)], 1)
    made = block(state, "block0", known, None, 4 / scale, first)
    for key, size in (("block1", 2), ("block2", 1)):
        seen = torch.cat([known, *both_warped(pair, made[:, :4]), made[:, 4:]], 1)
        made = made + block(state, key, seen, made[:, :4], size / scale, first)
    flow, mask = made.split([4, 1], 1)
    one, two = both_warped(pair, flow)
    merged = one * mask.sigmoid() + two * (1 - mask.sigmoid())

    features, small, context = pair, flow, []
    for level in range(4):
        stride = first if level == 0 else 2
        features = tuple(twice(x, state, f"contextnet.conv{level + 1}", stride) for x in features)
        small = small if stride == 1 else resized(small, 0.5) * 0.5
        context.append(both_warped(features, small))
    x, skips = torch.cat([*pair, one, two, mask, flow], 1), []
    for level in range(4):
        x = twice(x, state, f"unet.down{level}", first if level == 0 else 2)
        skips.append(x)
        x = torch.cat([x, *context[level]], 1)
    for level in range(4):
        x = x if level == 0 else torch.cat([x, skips[3 - level]], 1)
        x = F.prelu(larger(x, state, f"unet.up{level}.0"), state[f"unet.up{level}.1.weight"])
    x = F.conv2d(x, state["unet.conv.weight"], state["unet.conv.bias"], 3 - first, 1)
    return (merged + 2 * x.sigmoid() - 1).clamp(0, 1)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("name", ["rife", "rife_m", "rife_2r"])
@torch.inference_mode()
def test_paper(name: str, scale: float) -> None:
    net, t = randomized(name, scale=scale), 0.3 if name == "rife_m" else 0.5
    pair = frames(64, 128)
    expected = rife(name, doubled(net), tuple(frame.double() for frame in pair), t, scale)
    assert expected.std() > 0.05
    torch.testing.assert_close(net(*pair, t).double(), expected, atol=1e-4, rtol=0)
