"""The real CUDA kernels of every operation, forward and backward, in the emulator under the sanitizers.

Their values are compared with the reference by the tests of the operations (backend "emulator") and once
more here, on ragged sizes and on memory that AddressSanitizer guards on both ends.
"""

import itertools

import numpy as np
import pytest
import torch

from tests import emulated
from tests.emulator import build
from vfi_kernels import reference
from vfi_kernels.ops._register import ORDERED

HALF, FLOAT, BYTE = torch.float16, torch.float32, torch.uint8


def _image(*shape, dtype=FLOAT):
    return torch.randint(0, 256, shape, dtype=dtype) if dtype == BYTE else torch.rand(shape).to(dtype)


def _flow(*shape):
    flow = 4 * torch.randn(shape)
    flow.view(-1)[:6] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 0.0])
    return flow


def _calls():
    """(operator, arguments, `needs` of its backward or None) on sizes that no block divides."""
    h, w = 19, 131  # more than a block in a row, and a rest of three
    for padding in ("border", "zeros"):
        flows = [_flow(2, 2, h, w), _flow(2, 2, h, w)]
        # Two frames of different layouts are for the simple kernels, of the same one for the tuned kernels.
        planar, rgb = torch.contiguous_format, torch.channels_last
        tuned = itertools.product((FLOAT, BYTE), [(planar, planar), (rgb, rgb)])
        for dtype, layouts in [*((dtype, (planar, rgb)) for dtype in (FLOAT, HALF, BYTE)), *tuned]:
            frames = [_image(1, 3, h, w, dtype=dtype).contiguous(memory_format=f) for f in layouts]
            needs = None if dtype == BYTE else 0b111111
            timestep = torch.tensor([0.25, 0.5])
            yield "warp_blend", [*frames, *flows, torch.rand(2, 1, h, w), timestep, True, padding], needs
            flow = torch.cat([_flow(2, 2, h, w), 1.5 * torch.rand(2, 1, h, w)], 1)
            needs = None if dtype == BYTE else 0b111
            yield "voxel_flow", [*frames, flow, "extrapolate", padding], needs
        for c, layout in [(5, planar), (8, rgb)]:  # gradients over any number of channels
            frames = [_image(1, c, h, w).contiguous(memory_format=layout) for _ in range(2)]
            yield "voxel_flow", [*frames, flow, "interpolate", padding], 0b111
        # Wide pixels of one, three and eight chunks, and fields in another layout than the frames.
        for c, dtype in [(4, FLOAT), (12, FLOAT), (128, BYTE)]:
            frames = [_image(1, c, h, w, dtype=dtype).contiguous(memory_format=rgb) for _ in range(2)]
            yield "warp_blend", [*frames, *flows, torch.rand(2, 1, h, w), timestep, True, padding], None
            yield "voxel_flow", [*frames, flow.contiguous(memory_format=rgb), "extrapolate", padding], None
        frames = [_image(1, 3, h, w) for _ in range(2)]
        yield "voxel_flow", [*frames, flow.contiguous(memory_format=rgb), "interpolate", padding], 0b111
        images = [_image(1, 5, h, w), _image(1, 2, h, w, dtype=HALF)]
        yield "backwarp", [images, flows[0], padding], 0b111
        images = [_image(1, 3, h, w), _image(1, 8, h, w, dtype=HALF), _image(1, 16, h, w)]
        images = [image.contiguous(memory_format=torch.channels_last) for image in images]
        yield "backwarp", [images, flows[1], padding], 0b1111
    for padding, dtype in [("valid", FLOAT), ("replicate", HALF), ("replicate", BYTE)]:
        rows, columns = (4, 2) if padding == "valid" else (0, 0)
        images = [_image(2, 3, h + rows, w + columns, dtype=dtype) for _ in range(2)]
        verticals = [torch.randn(2, 5, h, w) for _ in range(2)]
        horizontals = [torch.randn(2, 3, h, w) for _ in range(2)]
        yield "sepconv", [images, verticals, horizontals, padding, False], None if dtype == BYTE else 0b111111
    # More taps than the tensor cores take, and than a tile of the tiled kernels.
    many = [[_image(1, 2, 3, 33)], [torch.randn(1, 70, 3, 33) / 70], [torch.randn(1, 40, 3, 33) / 40]]
    yield "sepconv", [*many, "replicate", False], 0b111
    # The tensor-core kernels, which take 16 taps and more.
    bands = [("valid", FLOAT, FLOAT, 33), ("replicate", HALF, FLOAT, 36), ("valid", HALF, HALF, 40)]
    for padding, dtype, taps, width in bands:
        rows, columns = (16, 17) if padding == "valid" else (0, 0)
        images = [_image(1, 3, 5 + rows, width + columns, dtype=dtype) for _ in range(2)]
        verticals = [torch.randn(1, 17, 5, width).to(taps) for _ in range(2)]
        horizontals = [torch.randn(1, 18, 5, width).to(taps) for _ in range(2)]
        yield "sepconv", [images, verticals, horizontals, padding, False], 0b111111


def _simple_calls():
    """Of kernels that serve only where they are asked for."""
    for padding, rows, columns in [("valid", 11, 37), ("replicate", 7, 33)]:
        taps = [[torch.randn(1, 5, 7, 33)] for _ in range(2)]
        yield "sepconv", [[_image(1, 4, rows, columns)], *taps, padding, False], 0b111


def _listed(value):
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _tensors(arguments):
    return [t for a in arguments for t in _listed(a) if isinstance(t, torch.Tensor)]


@pytest.mark.host_only
@pytest.mark.parametrize("variant", ["asan", "tsan"])
def test_sanitizers_find_nothing(variant, tmp_path, monkeypatch):
    if reason := build.unavailable(variant):
        pytest.skip(reason)
    torch.manual_seed(0)
    recording = emulated.Recording()
    expected = []  # (tensor that a kernel fills, value by the reference)
    calls = [*((call, "") for call in _calls()), *((call, "simple") for call in _simple_calls())]
    for (op, arguments, needs), kernels in calls:
        monkeypatch.setenv("VFI_CUDA_KERNELS", kernels)
        recording.keep(*_tensors(arguments))
        outs = _listed(getattr(recording.kernels, op)(*arguments))
        values = _listed(getattr(reference, op)(*arguments))
        expected += zip(outs, values, strict=True)
        if needs is not None:
            grads = [torch.randn_like(v, dtype=FLOAT).to(v.dtype) for v in values]
            recording.keep(*grads)
            grad = grads if op == "backwarp" else grads[0]
            for order in (0,) if op == "sepconv" else (0, ORDERED):
                results = getattr(recording.kernels, f"_{op}_backward")(grad, *arguments, needs | order)
                expected += zip(results, _reference_gradients(op, grad, arguments), strict=True)
    recording.keep(*(out for out, _ in expected))
    recording.save(tmp_path / "calls.npz")

    child = build.run_sanitized(
        [
            build.HERE / "replay.py",
            emulated.module_path(variant, ("CUEMU_FEW_TYPES",)),
            tmp_path / "calls.npz",
            tmp_path / "out.npz",
        ],
        variant,
        timeout=600,
    )
    assert child.returncode == 0, child.stderr[:4000]
    with np.load(tmp_path / "out.npz") as buffers:
        for out, value in expected:
            if value is None:
                continue
            written = torch.from_numpy(buffers[f"buf{recording.buffer_of(out)}"]).view(out.dtype)
            got = written.as_strided(out.shape, out.stride()).double()
            # A rounding of float16 at the size of a sum over the frame; uint8 may fall on either side of a
            # tie.
            tolerance = max({HALF: 2e-3, BYTE: 1.01}.get(dtype, 2e-4) for dtype in (out.dtype, value.dtype))
            torch.testing.assert_close(got, value.double(), atol=tolerance, rtol=tolerance, equal_nan=True)


def _reference_gradients(op, grad, arguments):
    """What `_OP_backward` must return when every gradient is asked for."""
    arguments = [[a.detach().clone() for a in arg] if isinstance(arg, list) else arg for arg in arguments]
    leaves = [t for t in _tensors(arguments) if t.is_floating_point()]
    for leaf in leaves:
        leaf.requires_grad_()
    outs = _listed(getattr(reference, op)(*arguments))
    grads = list(torch.autograd.grad(outs, leaves, _listed(grad)))
    if op == "sepconv":  # the arguments are grouped by kind, the results by term
        terms = len(arguments[0])
        grads = [grads[part * terms + term] for term in range(terms) for part in range(3)]
    if op == "warp_blend":  # the kernel leaves the sum over the frame to its caller
        grads[5] = None
    for leaf in leaves:
        leaf.requires_grad_(False)
    return grads
