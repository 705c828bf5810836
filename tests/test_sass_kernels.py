"""SASS that NVRTC makes is run as a GPU would: the traced kernels store what the CPU computes."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import vfi_kernels
from tests import nvrtc
from vfi_kernels.jit.kernels import Kernels

pytestmark = pytest.mark.host_only

ARCHITECTURES = ("80", "89", "90", "120")
TINY = """
extern "C" __global__ void tiny(const float* in, float* out, int n) {
  float sum = 0;
#pragma unroll 1
  for (int i = 0; i < n; ++i) sum = fmaf(in[32 * i + threadIdx.x], 0.5f, sum);
  out[threadIdx.x] = sum;
}
"""


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_kernel_of_known_counts(compiler, arch):
    tracing, count = compiler.tracing, 9
    error, log, _, cubin = nvrtc.compile_cubin(TINY, ["tiny"], arch)
    assert error == 0, log
    values = torch.rand(count, 32)
    out = torch.empty(32)
    architecture = next(g.architecture for g in compiler.hardware.GPUS if g.architecture.arch == arch)
    params = np.array([values.data_ptr(), out.data_ptr(), count], np.uint64).tobytes()
    launch = tracing.Launch("", "tiny", (1, 1, 1), (32, 1, 1), 0, params)
    kernel = tracing.Kernel(tracing.disassembled(cubin)["tiny"], 0, 0, set())
    device = tracing.Device([values, out])
    (warp,) = tracing.traced(launch, kernel, architecture, device)
    work = tracing.work_of(kernel.function, [warp])
    assert work["fma"] == count
    assert work["global"] == work["load"] == count + 1
    assert not warp.undecided
    assert not warp.unmodelled
    ((addresses, data, lanes, known),) = warp.stores
    assert lanes == known == 0xFFFFFFFF
    assert (addresses - device.ranges[1][0]).tolist() == list(range(0, 128, 4))
    torch.testing.assert_close(torch.from_numpy(data.copy()).view(torch.float32)[:, 0], 0.5 * values.sum(0))


PRODUCT = """
extern "C" __global__ void product(const unsigned* a, const unsigned* b, float* d) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4;
  float c0 = 0, c1 = 0, c2 = 0, c3 = 0;
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
      : "r"(a[8 * g + t]), "r"(a[8 * g + t + 64]), "r"(a[8 * g + t + 4]), "r"(a[8 * g + t + 68]),
        "r"(b[8 * g + t]), "r"(b[8 * g + t + 4]));
  d[8 * g + 2 * t] = c0;
  d[8 * g + 2 * t + 1] = c1;
  d[8 * g + 2 * t + 64] = c2;
  d[8 * g + 2 * t + 65] = c3;
}
"""


def test_a_product_of_matrices(compiler):
    tracing, hardware = compiler.tracing, compiler.hardware
    error, log, _, cubin = nvrtc.compile_cubin(PRODUCT, ["product"], "90")
    assert error == 0, log
    a, b, d = torch.rand(16, 16).half(), torch.rand(8, 16).half(), torch.empty(16, 8)
    params = np.array([t.data_ptr() for t in (a, b, d)], np.uint64).tobytes()
    launch = tracing.Launch("", "product", (1, 1, 1), (32, 1, 1), 0, params)
    kernel = tracing.Kernel(tracing.disassembled(cubin)["product"], 0, 0, set())
    device = tracing.Device([a, b, d])
    (warp,) = tracing.traced(launch, kernel, hardware.HOPPER, device)
    for addresses, data, *_ in warp.stores:
        index = torch.from_numpy((addresses - device.ranges[2][0]) // 4)
        d.view(-1)[index] = torch.from_numpy(data.copy()).view(torch.float32)[:, 0]
    torch.testing.assert_close(d, a.float() @ b.float().T)
    work = tracing.work_of(kernel.function, [warp])
    assert (work["tensor"], work["multiply_adds"]) == (1, 16 * 8 * 16)
    assert not warp.unmodelled


# (operation, pass, dtype, taps, which kernels serve); 16 taps and more are for the tensor cores, whose
# gradients are left out: a branch of theirs is undecided.
CASES = [
    ("backwarp_multi", "forward", "float32", 5, "tuned"),
    ("warp_blend", "forward", "float16", 5, "tuned"),
    ("voxel_flow", "forward", "uint8", 5, "tuned"),
    ("sepconv_pair", "forward", "float32", 17, "band"),
    ("sepconv_pair", "forward", "float16", 17, "band"),
    ("sepconv_pair", "forward", "float32", 5, "tiled"),
    ("warp_blend", "backward", "float32", 5, "tuned"),
    ("voxel_flow", "backward", "float16", 5, "tuned"),
    ("warp_blend", "backward", "float32", 5, "ordered"),
    ("sepconv_pair", "backward", "float32", 5, "tiled"),
    ("backwarp_multi", "forward", "float32", 5, "simple"),
    ("warp_blend", "forward", "float16", 5, "simple"),
    ("voxel_flow", "forward", "uint8", 5, "simple"),
    ("sepconv_pair", "forward", "float32", 5, "simple"),
    ("warp_blend", "backward", "float32", 5, "simple"),
    ("sepconv_pair", "backward", "float32", 5, "simple"),
]


@pytest.mark.parametrize("arch", ["80", "90", "120"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_kernels_compute_what_the_cpu_computes(compiler, monkeypatch, case, arch):
    """Not one branch undecided, and every number that the traced warps store is the operation's: so the
    instructions counted are those that a GPU executes.
    """
    name, direction, dtype, taps, kind = case
    cases, tracing, lanes_of = compiler.cases, compiler.tracing, compiler.core.lanes_of
    monkeypatch.setattr(cases, "TAPS", taps)
    if kind == "simple":
        monkeypatch.setenv("VFI_CUDA_KERNELS", "simple")
    operation = next(o for o in cases.OPERATIONS if (o.name, o.variant) == (name, ""))
    case = cases.Case(operation, "256x24" if taps < 16 else "64x4", dtype, "contiguous")
    architecture = next(g.architecture for g in compiler.hardware.GPUS if g.architecture.arch == arch)
    found, tensors = tracing.launches(case, direction, architecture, kind == "ordered")
    tensors = [tensor for tensor in tensors if tensor.numel()]
    device = tracing.Device(tensors)
    wanted = dict(expected(case, direction, tensors))
    # The inputs are [0, 1) or 0 to 255; the last place of float16, a rounding of uint8.
    tolerance = {"float32": 2e-4, "float16": 1e-3, "uint8": 1}[dtype]
    written: dict[int, list[torch.Tensor]] = {}
    for launch in {launch.kernel: launch for launch in found}.values():
        others = {"simple": (), "ordered": ("frame", "tuned")}.get(kind, (kind,))
        assert any(k in launch.kernel for k in others) == (kind != "simple")
        kernel = tracing.compiled(launch.file, launch.kernel, arch)
        for warp in tracing.traced(launch, kernel, architecture, device):
            assert not warp.undecided
            assert not warp.unmodelled
            for addresses, data, lanes, known in warp.stores:
                assert known == lanes
                first = addresses[lanes_of(lanes)]
                place = int(first[0]) // device.SPACING - 1
                size = tensors[place].element_size()
                index = torch.from_numpy((first - (place + 1) * device.SPACING) // size)
                written.setdefault(place, []).append(index[:, None] + torch.arange(data.shape[1] // size))
    for place, indices in written.items():
        index = torch.cat([i.flatten() for i in indices])
        got, want = (t.flatten()[index].float() for t in (tensors[place], wanted[place]))
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    # By atomics, not stored. One of two terms of sepconv is traced.
    scattered = 2 if direction == "backward" and not operation.is_convolution and kind != "ordered" else 0
    selected = 2 if name == "sepconv_pair" and direction == "backward" else 1
    assert len(written) == (len(wanted) - scattered) // selected


def expected(case, direction: str, tensors: list[torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
    """(place among the tensors, what the operation on the CPU says should be there). They are the inputs in
    the operator's order, then the output; or the output's gradient and those of the inputs.
    """
    name = case.operation.name
    public = getattr(vfi_kernels, name)
    count = {"backwarp_multi": 3, "warp_blend": 5, "voxel_flow": 3, "sepconv_pair": 6}[name]
    # sepconv's operator takes lists of images, verticals and horizontals, and returns gradients by term.
    order = [0, 2, 4, 1, 3, 5] if name == "sepconv_pair" else list(range(count))
    inputs = tensors[:count]
    if name == "backwarp_multi":
        yield from enumerate(public(inputs[:2], inputs[2]), count)
    elif direction == "forward":
        yield count, public(*(inputs[n] for n in order))
    else:
        leaves = [t.detach().clone().requires_grad_() for t in inputs]
        result = public(*(leaves[n] for n in order))
        gradients = torch.autograd.grad(result, leaves, tensors[count])
        yield from enumerate((gradients[n] for n in order), count + 1)
        for place, reach in enumerate(tensors[2 * count + 1 :], 2 * count + 1):
            yield place, reach.clone()  # as the emulator wrote it; the traced kernel writes it again


@pytest.mark.parametrize("frame", [0, 1])
@pytest.mark.parametrize(("channels", "kernel"), [(3, "tuned"), (4, "channels"), (3, "simple")])
def test_the_gradient_of_one_flow_leaves_the_other_frame_alone(
    compiler, monkeypatch, channels, kernel, frame
):
    monkeypatch.setenv("VFI_CUDA_KERNELS", kernel)
    tracing, found = compiler.tracing, []

    def record(file, kernel, grid, block, shared, params, device) -> None:
        found.append(tracing.Launch(file, kernel, grid, block, shared, bytes(params)))

    frames = [torch.rand(1, channels, 24, 128) for _ in range(2)]
    flows, mask = [torch.rand(1, 2, 24, 128) for _ in range(2)], torch.rand(1, 1, 24, 128)
    inputs, grad = [*frames, *flows, mask, None, False, "border"], torch.rand(1, channels, 24, 128)
    results = Kernels(record, lambda device: 0)._warp_blend_backward(grad, *inputs, 1 << 2 + frame)
    (launch,) = found
    assert kernel in launch.kernel or kernel == "simple"
    device = tracing.Device(
        [*frames, *flows, mask, grad, *(r for r in results if r is not None and r.numel())]
    )
    code = tracing.compiled(launch.file, launch.kernel, "90")
    warps = tracing.traced(launch, code, compiler.hardware.HOPPER, device)
    sectors = {sector for warp in warps for access in warp.accesses.values() for sector in access.sectors}
    read = [
        any(base <= sector * tracing.SECTOR < base + len(data) for sector in sectors)
        for base, data in device.ranges[:2]
    ]
    assert read == [frame == 0, frame == 1]
