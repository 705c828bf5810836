import subprocess
import sys

import pytest
import torch

import vfi_kernels
from tests import samples
from vfi_kernels import nn

FRAMES = [samples.image(1, 3, 4, 5), samples.image(1, 3, 4, 5)]
FLOWS = [samples.flow(1, 4, 5), samples.flow(1, 4, 5)]


def test_modules_come_with_the_package():
    code = "import vfi_kernels; vfi_kernels.nn.Backwarp, vfi_kernels.compat.rife.warp"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_modules_are_their_functions(padding):
    got = nn.Backwarp(padding=padding)(FRAMES[0], FLOWS[0])
    assert torch.equal(got, vfi_kernels.backwarp(FRAMES[0], FLOWS[0], padding=padding))
    mask = samples.mask(1, 4, 5)
    for logits, timestep in [(False, None), (True, None), (False, 0.25), (True, torch.tensor([0.5]))]:
        got = nn.WarpBlend(mask_is_logits=logits, padding=padding)(*FRAMES, *FLOWS, mask, timestep=timestep)
        options = {"timestep": timestep, "mask_is_logits": logits, "padding": padding}
        assert torch.equal(got, vfi_kernels.warp_blend(*FRAMES, *FLOWS, mask, **options))
    voxels = samples.voxels(1, 4, 5)
    for mode in ("interpolate", "extrapolate"):
        got = nn.VoxelFlow(mode=mode, padding=padding)(*FRAMES, voxels)
        assert torch.equal(got, vfi_kernels.voxel_flow(*FRAMES, voxels, mode=mode, padding=padding))


@pytest.mark.parametrize(("padding", "height", "width"), [("valid", 2, 4), ("replicate", 4, 5)])
def test_sepconv(padding, height, width):
    taps = samples.taps(1, 3, height, width), samples.taps(1, 2, height, width)
    got = nn.SepConv(padding=padding)(FRAMES[0], *taps)
    assert torch.equal(got, vfi_kernels.sepconv(FRAMES[0], *taps, padding=padding))


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (nn.Backwarp(), "Backwarp(padding='border')"),
        (nn.WarpBlend(mask_is_logits=True), "WarpBlend(mask_is_logits=True, padding='border')"),
        (nn.VoxelFlow(mode="extrapolate"), "VoxelFlow(mode='extrapolate', padding='border')"),
        (nn.SepConv(), "SepConv(padding='valid')"),
    ],
)
def test_modules_hold_arguments_only(module, text):
    assert repr(module) == text
    assert not module.state_dict()
