"""Which calls spread over threads, told by the threads that a fresh process has afterwards."""

import os
import subprocess
import sys

import pytest
import torch

pytestmark = [
    pytest.mark.usefixtures("compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc"),
    pytest.mark.skipif(torch.get_num_threads() < 2, reason="torch uses one thread here"),
]

COUNT = """
import numpy, os, sys, torch, vfi_kernels
def zeros(*shape):  # not torch's, which fills large ones with threads
    return torch.from_numpy(numpy.zeros(shape, numpy.float32))
height, width, allowed = map(int, sys.argv[1:])
if allowed:
    torch.set_num_threads(allowed)
grad, frame, flow, mask, taps = (zeros(1, c, height, width) for c in (3, 3, 2, 1, 5))
wide = zeros(1, 3, height + 4, width + 4)
before = len(os.listdir("/proc/self/task"))
vfi_kernels.warp_blend(frame, frame, flow, flow, mask)
vfi_kernels.sepconv(wide, taps, taps)
backward = torch.ops.vfi_kernels._warp_blend_backward
backward(grad, frame, frame, flow, flow, mask, None, False, "border", 0b011111)
print(len(os.listdir("/proc/self/task")) - before)
"""


def started(height: int, width: int, allowed: int = 0) -> int:
    """How many threads the calls start."""
    child = subprocess.run(
        [sys.executable, "-c", COUNT, *map(str, (height, width, allowed))],
        capture_output=True, text=True, check=True, env={**os.environ, "OMP_WAIT_POLICY": "passive"},
    )  # fmt: skip
    return int(child.stdout)


def test_large_calls_spread():
    assert started(256, 256) == torch.get_num_threads() - 1


def test_small_calls_stay_on_one_thread():
    assert started(16, 16) == 0


def test_torchs_number_of_threads_counts():
    assert started(256, 256, allowed=1) == 0
