"""Which calls spread over threads, told by those that a process has then; and that results are the same."""

import subprocess
import sys

import pytest
import torch

pytestmark = [
    pytest.mark.usefixtures("compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc"),
    pytest.mark.skipif(torch.get_num_threads() < 2, reason="torch uses one thread here"),
]

# Starts threads where a call spreads: one call a process, since threads stay.
COUNT = """
import numpy, os, sys, torch, vfi_kernels
def zeros(channels, more=0):  # not torch's, which fills large ones with threads
    return torch.from_numpy(numpy.zeros((1, channels, size + more, size + more), numpy.float32))
size, channels, allowed = map(int, sys.argv[2:])
if allowed:
    torch.set_num_threads(allowed)
ops = torch.ops.vfi_kernels
frame, flow, voxels, mask, taps, wide = map(zeros, (channels, 2, 3, 1, 5, channels), (0, 0, 0, 0, 0, 4))
before = len(os.listdir("/proc/self/task"))
exec(sys.argv[1])
print(len(os.listdir("/proc/self/task")) - before)
"""
CALLS = {
    "warp_blend": "ops.warp_blend(frame, frame, flow, flow, mask, None, False, 'border')",
    "voxel_flow": "ops.voxel_flow(frame, frame, voxels, 'interpolate', 'border')",
    "backwarp": "ops.backwarp([frame], flow, 'border')",
    "sepconv": "ops.sepconv([wide], [taps], [taps], 'valid', False)",
    "inputs": "ops._warp_blend_backward("
    "frame, frame, frame, flow, flow, mask, None, False, 'border', 0b011100)",
    "frames": "ops._warp_blend_backward("
    "frame, frame, frame, flow, flow, mask, None, False, 'border', 0b000011)",
    "flow": "ops._backwarp_backward([frame], [frame], flow, 'border', 0b10)",
    "taps": "ops._sepconv_backward(frame, [wide], [taps], [taps], 'valid', False, 0b110)",
}


def started(call: str, size: int, channels: int = 3, allowed: int = 0) -> int:
    """How many threads a call on size x size pixels starts."""
    child = subprocess.run(
        [sys.executable, "-c", COUNT, CALLS[call], *map(str, (size, channels, allowed))],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(child.stdout)


@pytest.mark.parametrize("call", CALLS)
def test_large_calls_spread(call: str):
    assert started(call, 256) == torch.get_num_threads() - 1


@pytest.mark.parametrize("call", ["warp_blend", "inputs", "flow"])
def test_many_channels_make_a_call_large(call: str):
    assert started(call, 100, channels=64) == torch.get_num_threads() - 1


@pytest.mark.parametrize("call", ["warp_blend", "sepconv", "frames"])
def test_small_calls_stay_on_one_thread(call: str):
    assert started(call, 16) == 0


def test_torchs_number_of_threads_counts():
    assert started("warp_blend", 256, allowed=1) == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [3, 32])
def test_threads_change_nothing_beside_special_values(channels: int, layout: torch.memory_format):
    """Vectors that are computed again overlap others where a row, a span or a strip ends."""
    torch.manual_seed(3)
    pair = [torch.rand(1, channels, 140, 250).contiguous(memory_format=layout) for _ in range(2)]
    for frame in pair:
        frame[..., 225::10] = float("inf")
    flow = [20 * torch.rand(1, 2, 140, 250) - 10 for _ in range(2)]
    mask = torch.rand(1, 1, 140, 250)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            blended = torch.ops.vfi_kernels.warp_blend(*pair, *flow, mask, None, False, "border")
            results.append([blended, *torch.ops.vfi_kernels.backwarp(pair, flow[0], "zeros")])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a.view(torch.int32), b.view(torch.int32))
