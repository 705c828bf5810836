"""Run-time compilation as far as it goes without a GPU: the source, the parameter structs, what CuPy is
asked for, the messages.

The kernels themselves are compiled by NVRTC in test_cuda_compile.py, and launched through the same host code
by the backend "emulator" of every operation's tests.
"""

import builtins
import contextlib
import ctypes
import types

import pytest
import torch

from tests import emulated, nvrtc
from tests.emulator import build
from vfi_kernels import jit
from vfi_kernels.jit import source
from vfi_kernels.jit.kernels import OPERATORS, Kernels

needs_emulator = pytest.mark.skipif(
    bool(build.unavailable("plain")), reason=build.unavailable("plain") or "available"
)


def test_source_is_self_contained():
    for file in nvrtc.KERNELS:
        text = source.inlined(file)
        assert "#pragma once" not in text
        assert text.count("struct View {") == 1
        left = {line for line in text.splitlines() if line.startswith("#include")}
        assert left == {
            '#include "cuemu.h"',
            "#include <cmath>",
            "#include <cstring>",
        }  # none of them under NVRTC


@needs_emulator
def test_parameter_structs_have_the_compilers_size():
    for kernel in emulated.module().kernels():
        struct = next(s for prefix, s in emulated.STRUCTS.items() if kernel.startswith(prefix))
        assert ctypes.sizeof(struct) == emulated.module().sizeof_params(kernel), kernel


@needs_emulator
def test_every_kernel_is_known_to_both():
    listed = {kernel for kernels in nvrtc.KERNELS.values() for kernel in kernels}
    assert set(emulated.module().kernels()) == listed


@needs_emulator
def test_launch_through_cupy(monkeypatch):
    """What CuPy is asked for, by a stand-in that launches in the emulator."""
    asked, allowed = [], []

    class RawModule:
        def __init__(self, code, options, name_expressions):
            asked.append((code, options, name_expressions))

        def get_function(self, name):
            def launch(grid, block, args, shared_mem):
                (params,) = args
                assert params.shape == (1,)  # how CuPy takes a struct by value
                allowed.append((name, getattr(launch, "max_dynamic_shared_size_bytes", 0), shared_mem))
                assert getattr(launch, "preferred_shared_memory_carveout", 0) == (100 if shared_mem else 0)
                emulated.module().launch(name, grid, block, shared_mem, params.tobytes())

            launch.shared_size_bytes = 64
            return launch

    scopes = []

    def scope(kind):
        @contextlib.contextmanager
        def enter(*args):
            scopes.append((kind, *args))
            yield

        return enter

    cupy = types.ModuleType("cupy")
    cupy.RawModule = RawModule
    cupy.cuda = types.SimpleNamespace(Device=scope("device"), ExternalStream=scope("stream"))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda index: types.SimpleNamespace(cuda_stream=77))

    kernels = Kernels(jit._launch_with(cupy, emulated.shared_limit), emulated.shared_limit)
    image = torch.rand(2, 3, 4, 5)
    for _ in range(2):
        (out,) = kernels.backwarp([image], torch.zeros(2, 2, 4, 5), "border")
        assert torch.equal(out, image)
    kernel = ("backwarp_forward_tuned<f32, 0>",)
    # Compiled once, launched twice on the caller's device and stream.
    assert asked == [(source.inlined("tuned_backwarp.cuh"), ("-std=c++17", "-default-device"), kernel)]
    assert scopes == 2 * [("device", 3), ("stream", 77, 3)]
    assert allowed == 2 * [(*kernel, 0, 0)]

    allowed.clear()
    for count in (51, 20):
        taps = torch.rand(1, count, 1, 1)
        kernels.sepconv([torch.rand(1, 3, count, count)], [taps], [taps], "valid", False)
    (kernel, permitted, used), other = allowed
    assert permitted == emulated.shared_limit(image.device) - 64 >= used > 48 << 10
    assert other[:2] == (kernel, permitted)
    assert other[2] < used


def test_missing_cupy_is_explained(monkeypatch):
    real_import = builtins.__import__

    def no_cupy(name, *args, **kwargs):
        if name == "cupy":
            raise ModuleNotFoundError("No module named 'cupy'")
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_cupy)
    jit.available.cache_clear()
    usable, reason = jit.available()
    jit.available.cache_clear()
    assert not usable
    assert reason == "CuPy is not installed (No module named 'cupy')"


def test_operators_are_complete():
    assert all(callable(getattr(Kernels, name)) for name in OPERATORS)
    assert {name for name in OPERATORS if not name.startswith("_")} == {
        "backwarp",
        "warp_blend",
        "voxel_flow",
        "sepconv",
    }
