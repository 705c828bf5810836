"""Index arithmetic past 2^31 elements, on views that reach far while little memory is touched."""

import mmap

import pytest
import torch
from torch import Tensor

import vfi_kernels
from tests import emulated, oracle, samples
from tests.emulator import build
from tests.samples import BYTE

GIB = 1 << 30
FAR = (1 << 31) + 12345  # elements between neighbours: more than an int32 holds

pytestmark = pytest.mark.usefixtures("compiled")


def available() -> float:
    with open("/proc/meminfo") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("MemAvailable")) / (1 << 20)


@pytest.fixture
def sparse() -> Tensor:
    """Memory of 40 GiB of which only what is written is ever there."""
    try:
        reserve_nothing = getattr(mmap, "MAP_NORESERVE", 0x4000)  # the name is new in Python 3.13
        memory = mmap.mmap(-1, 40 * GIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | reserve_nothing)
    except (OSError, AttributeError) as error:
        pytest.skip(f"no 40 GiB of untouched memory: {error}")
    return torch.frombuffer(memory, dtype=BYTE)


def far_apart(sparse: Tensor, tensor: Tensor, dim: int, start: int = 0) -> Tensor:
    """The tensor in `sparse` with more than 2^31 elements from one index of `dim` to the next."""
    inner = tensor.numel() // tensor.shape[dim]
    strides = list(tensor.select(dim, 0).contiguous().stride())
    strides.insert(dim, FAR)
    assert inner < FAR
    view = sparse.view(tensor.dtype).as_strided(tensor.shape, strides, start)
    return view.copy_(tensor)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_strides_past_an_int(sparse: Tensor, dim: int):
    shape = [3, 3, 3, 8]
    image, flow = samples.image(*shape), samples.flow(3, 3, 8)
    for far_image, far_flow in [
        (far_apart(sparse, image, dim), flow),
        (image, far_apart(sparse, flow, min(dim, 1), start=4096)),
    ]:
        assert torch.equal(vfi_kernels.backwarp(far_image, far_flow), vfi_kernels.backwarp(image, flow))
        grads = [
            torch.autograd.grad(vfi_kernels.backwarp(*inputs).square().sum(), inputs)
            for inputs in (
                [far_image.requires_grad_(), far_flow.requires_grad_()],
                [t.clone().requires_grad_() for t in (image, flow)],
            )
        ]
        for got, expected in zip(*grads, strict=True):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_strides_past_an_int_of_pairs(sparse: Tensor, dim: int):
    frame, flow = samples.image(3, 3, 3, 8), samples.voxels(3, 3, 8)
    far = far_apart(sparse, frame, dim)
    assert torch.equal(vfi_kernels.voxel_flow(far, frame, flow), vfi_kernels.voxel_flow(frame, frame, flow))
    inputs = [frame, flow[:, :2], flow[:, 1:], flow[:, 2:]]
    far_inputs = [far, *inputs[1:]]
    got, expected = (vfi_kernels.warp_blend(i[0], i[0], *i[1:], timestep=0.5) for i in (far_inputs, inputs))
    assert torch.equal(got, expected)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_strides_past_an_int_of_sepconv(sparse: Tensor, dim: int):
    image, vertical, horizontal = (
        samples.image(3, 3, 3, 8),
        samples.taps(3, 3, 3, 8),
        samples.taps(3, 3, 3, 8),
    )
    expected = vfi_kernels.sepconv(image, vertical, horizontal, padding="replicate")
    for i in range(3):
        inputs = [image, vertical, horizontal]
        inputs[i] = far_apart(sparse, inputs[i], dim)
        assert torch.equal(vfi_kernels.sepconv(*inputs, padding="replicate"), expected)


@pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "available")
@pytest.mark.parametrize("dim", [0, 1, 2])
def test_strides_past_an_int_of_cuda_kernels(sparse: Tensor, dim: int):
    """In the emulator. Only rows that are so far apart are left to the simple kernels."""
    kernels = emulated.kernels()
    image, grad, voxels = samples.image(3, 3, 4, 40), samples.image(3, 3, 4, 40), samples.voxels(3, 4, 40)
    for place in range(3):
        near = [image, grad, voxels]
        far = [far_apart(sparse, t, dim) if i == place else t for i, t in enumerate(near)]
        runs = [
            [
                kernels.voxel_flow(frame, frame, flow, "interpolate", "border"),
                *kernels._voxel_flow_backward(out, frame, frame, flow, "interpolate", "border", 0b111),
                *kernels.backwarp([frame], flow[:, :2], "border"),
                *kernels._backwarp_backward([out], [frame], flow[:, :2], "border", 0b11),
            ]
            for frame, out, flow in (near, far)
        ]
        for got, expected in zip(*runs, strict=True):
            torch.testing.assert_close(got, expected)


def test_results_past_2_to_the_31_elements():
    """2,049 channels of 1024 x 1024 in uint8; one channel serves them all as input, so the result is the only
    large tensor.
    """
    if available() < 5:
        pytest.skip(f"needs 5 GiB of memory, {available():.1f} are available")
    plane = samples.image(1, 1, 1024, 1024, dtype=BYTE)
    frames = plane.expand(1, 2049, 1024, 1024)
    flow = torch.zeros(1, 3, 1024, 1024)
    flow[:, 0] = 1
    got = vfi_kernels.voxel_flow(frames, frames, flow)
    assert got.numel() > 1 << 31
    [expected] = oracle.voxel_flow(plane.float(), plane.float(), flow, "interpolate", "border")
    for channel in (0, 1023, 2046, 2047, 2048):
        assert torch.equal(got[0, channel], expected[0].byte())
