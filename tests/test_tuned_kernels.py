"""The tuned CUDA kernels against the simple ones: the same bits in the emulator, where no compiler contracts
products and sums. The tests of the operations compare both with the reference.
"""

import itertools

import pytest
import torch
from torch import Tensor

from tests import samples
from tests.emulator import build
from tests.samples import BYTE, DOUBLE, HALF
from vfi_kernels.jit.choice import is_compact
from vfi_kernels.jit.kernels import Kernels
from vfi_kernels.jit.params import View

pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "available"),
]

SINGLE = [pair for pair in samples.DTYPES_WITH_BYTE if pair[0] != DOUBLE]
LAYOUTS = (torch.contiguous_format, torch.channels_last)


class Launches:
    """The operators in the emulator, and the names of the kernels that they launched."""

    def __init__(self) -> None:
        from tests import emulated

        self.names: list[str] = []

        def launch(source, kernel, grid, block, shared, params, device) -> None:
            self.names.append(kernel.split("<")[0])
            emulated.module().launch(kernel, grid, block, shared, bytes(params))

        self.kernels = Kernels(launch, emulated.shared_limit)


@pytest.fixture
def launches() -> Launches:
    return Launches()


def both(launches: Launches, monkeypatch: pytest.MonkeyPatch, operation: str, inputs: list, names: list[str]):
    """The results of the tuned kernels and of the simple ones; `names` are those of the former."""
    run = getattr(launches.kernels, operation)
    tuned = run(*inputs)
    assert launches.names == names
    with monkeypatch.context() as patch:
        patch.setenv("VFI_CUDA_KERNELS", "simple")
        simple = run(*inputs)
    assert not any(
        part in name for name in launches.names[len(names) :] for part in ("tuned", "wide", "channels")
    )
    launches.names.clear()
    return tuned, simple


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal, -0 and 0 told apart and NaN equal to NaN."""
    equal = (a == b) & (a.signbit() == b.signbit()) if a.is_floating_point() else a == b
    return bool((equal | (a != a) & (b != b)).all())


def assert_close(tuned: list[Tensor], simple: list[Tensor]) -> None:
    """Sums are taken in another order, so the last bits of gradients differ."""
    for got, expected in zip(tuned, simple, strict=True):
        tolerance = {torch.float32: 2e-5, HALF: 2e-3, torch.bfloat16: 2e-2}[got.dtype]
        finite = expected.isfinite()
        assert torch.equal(got.isfinite(), finite)
        torch.testing.assert_close(got[finite], expected[finite], atol=tolerance, rtol=tolerance)


def hard_image(*shape: int, dtype: torch.dtype) -> Tensor:
    """With zeros of both signs, Inf and NaN, which integer flows must keep out of other pixels."""
    image = samples.image(*shape, dtype=dtype)
    if dtype != BYTE:
        for value in (0.0, -0.0, float("inf"), float("nan")):
            image[torch.rand(shape) < 0.05] = value
    return image


def hard_flow(entries: int, h: int, w: int, dtype: torch.dtype) -> Tensor:
    """Some pixels, half of it whole ones, and a few vectors that point nowhere."""
    flow = 4 * torch.randn(entries, 2, h, w)
    flow = torch.where(torch.rand(entries, 1, h, w) < 0.5, flow.round(), flow)
    flow.view(-1)[:6] = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, -0.0])
    return flow.to(dtype)


def pair_inputs(operation, dtypes, frames, entries, c, h, w, padding, layout) -> list:
    image, other = dtypes
    pair = [hard_image(frames, c, h, w, dtype=image).contiguous(memory_format=layout) for _ in range(2)]
    flows = [hard_flow(entries, h, w, other) for _ in range(2)]
    mask = torch.randn(entries, 1, h, w).to(other)
    if operation == "voxel_flow":
        return [*pair, torch.cat([flows[0], mask], 1), "extrapolate", padding]
    timestep = torch.rand(entries) if padding == "zeros" else None
    return [*pair, *flows, mask, timestep, padding == "zeros", padding]


# Whole blocks, a rest in a row, fewer rows than a block has, the smallest image.
SIZES = [(2, 2, 1, 17, 64), (1, 2, 3, 19, 131), (2, 4, 5, 3, 33), (1, 1, 3, 2, 2)]


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtypes", SINGLE, ids=str)
def test_pair_forward(launches, monkeypatch, dtypes, layout, operation):
    for frames, entries, c, h, w in SIZES:
        for padding in ("border", "zeros"):
            inputs = pair_inputs(operation, dtypes, frames, entries, c, h, w, padding, layout)
            served = layout == torch.contiguous_format or c in (1, 3)
            names = ["pair_forward_tuned" if served else "pair_forward"]
            tuned, simple = both(launches, monkeypatch, operation, inputs, names)
            assert same_bits(tuned, simple)


# Chunks of 16 bytes a pixel: a lane takes one, three one after the other, or a pixel has several lanes.
CHUNKS = (1, 3, 8, 20)


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow"])
@pytest.mark.parametrize("dtypes", SINGLE, ids=str)
def test_pair_forward_of_wide_pixels(launches, monkeypatch, dtypes, operation):
    """With fields in either layout, frames that entries share, and pixels wider than their channels."""
    numbers = 16 // dtypes[0].itemsize
    for (frames, entries, _, h, w), chunks, padding in itertools.product(SIZES, CHUNKS, ("border", "zeros")):
        c = numbers * chunks
        inputs = pair_inputs(operation, dtypes, frames, entries, c, h, w, padding, torch.channels_last)
        inputs[1] = torch.nn.functional.pad(inputs[1].permute(0, 2, 3, 1), (0, numbers, 0, 0, 1, 0))
        inputs[1] = inputs[1][:, 1:, :, :c].permute(0, 3, 1, 2)
        inputs[2] = inputs[2].contiguous(memory_format=LAYOUTS[chunks % 2])
        tuned, simple = both(launches, monkeypatch, operation, inputs, ["pair_forward_wide"])
        assert same_bits(tuned, simple)


FIELDS = {
    "pixels": lambda t: t.contiguous(memory_format=torch.channels_last),
    "wider pixels": lambda t: torch.cat([t, t], 1).contiguous(memory_format=torch.channels_last)[
        :, : t.shape[1]
    ],
    "turned": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "shared by the rows": lambda t: t[:, :, :1].expand(t.shape),
}


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow"])
@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_fields_in_another_layout(launches, monkeypatch, layout, field, operation):
    """Flow and mask have their own strides, whatever the frames have; forward and backward."""
    for dtypes in ((torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16)):
        inputs = pair_inputs(operation, dtypes, 1, 2, 3, 19, 131, "zeros", layout)
        inputs = [
            *inputs[:2],
            *(FIELDS[field](t) if isinstance(t, Tensor) and t.dim() == 4 else t for t in inputs[2:]),
        ]
        tuned, simple = both(launches, monkeypatch, operation, inputs, ["pair_forward_tuned"])
        assert same_bits(tuned, simple)
        if operation == "warp_blend":
            inputs[4] = inputs[4].sigmoid()
        grad = samples.image(2, 3, 19, 131, dtype=dtypes[0]).contiguous(memory_format=layout)
        arguments = [grad, *inputs, 0b111111 if operation == "warp_blend" else 0b111]
        names = ["pair_backward_tuned"]
        tuned, simple = both(launches, monkeypatch, f"_{operation}_backward", arguments, names)
        assert_close(tuned, simple)


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtypes", [pair for pair in SINGLE if pair[0] != BYTE], ids=str)
def test_pair_backward(launches, monkeypatch, dtypes, layout, operation):
    """Every gradient alone, then all together."""
    count = 6 if operation == "warp_blend" else 3
    for (frames, entries, c, h, w), padding in itertools.product(SIZES, ("border", "zeros")):
        inputs = pair_inputs(operation, dtypes, frames, entries, c, h, w, padding, layout)
        if operation == "warp_blend":
            inputs[4] = inputs[4].sigmoid()  # the blend at a time has no bound for others
        grad = samples.image(entries, c, h, w, dtype=dtypes[0]).contiguous(memory_format=layout)
        planes = layout == torch.contiguous_format or c == 1
        other = "pair_backward_channels" if planes else "pair_backward"
        names = ["pair_backward_tuned" if c == 3 else other]
        for needs in [*(1 << i for i in range(count)), (1 << count) - 1]:
            arguments = [grad, *inputs, needs]
            tuned, simple = both(launches, monkeypatch, f"_{operation}_backward", arguments, names)
            assert_close(tuned, simple)


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow"])
@pytest.mark.parametrize("dtypes", [pair for pair in SINGLE if pair[0] != BYTE], ids=str)
def test_pair_backward_of_wide_pixels(launches, monkeypatch, dtypes, operation):
    """Of 1, 2, 3 and 8 times 16 bytes and more, with flows in the same layout; the last one is too odd."""
    last, count = torch.channels_last, 6 if operation == "warp_blend" else 3
    for c, padding in itertools.product((8, 24, 64, 6), ("border", "zeros")):
        inputs = pair_inputs(operation, dtypes, 1, 2, c, 5, 67, padding, last)
        fields = slice(2, 4 if operation == "warp_blend" else 3)
        inputs[fields] = [field.contiguous(memory_format=last) for field in inputs[fields]]
        if operation == "warp_blend":
            inputs[4] = inputs[4].sigmoid()
        grad = samples.image(2, c, 5, 67, dtype=dtypes[0]).contiguous(memory_format=last)
        names = ["pair_backward" if c == 6 else "pair_backward_channels"]
        for needs in (0b100, (1 << count) - 1):
            arguments = [grad, *inputs, needs]
            tuned, simple = both(launches, monkeypatch, f"_{operation}_backward", arguments, names)
            assert_close(tuned, simple)


def test_an_infinite_gradient_times_a_gain_of_0(launches, monkeypatch):
    """Is NaN, as it is in the simple kernels, not nothing."""
    inputs = pair_inputs("warp_blend", (torch.float32, torch.float32), 1, 1, 5, 4, 40, "border", LAYOUTS[0])
    inputs[4] = inputs[4].zero_()
    grad = samples.image(1, 5, 4, 40)
    grad[0, 2, 2, 20] = float("inf")
    names = ["pair_backward_channels"]
    tuned, simple = both(launches, monkeypatch, "_warp_blend_backward", [grad, *inputs, 0b11], names)
    assert simple[0].isnan().any()
    assert_close(tuned[:2], simple[:2])


def backwarp_images(frames: int, c: int, h: int, w: int, dtype: torch.dtype, layout) -> list[Tensor]:
    """Wide pixels of 1, 3 and 8 times 16 bytes or more, beside images of a few channels."""
    shapes = [(c, dtype), (3, torch.float32), (8, HALF), (24, torch.bfloat16), (64, torch.float32)]
    return [hard_image(frames, k, h, w, dtype=t).contiguous(memory_format=layout) for k, t in shapes]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("flow_dtype", [torch.float32, HALF, torch.bfloat16], ids=str)
def test_backwarp_forward(launches, monkeypatch, flow_dtype, layout):
    last = layout == torch.channels_last
    for frames, entries, c, h, w in SIZES:
        for padding in ("border", "zeros"):
            images = backwarp_images(frames, c, h, w, flow_dtype, layout)
            inputs = [images, hard_flow(entries, h, w, flow_dtype), padding]
            served = not last or c in (1, 3)
            names = ["backwarp_forward_tuned" if served else "backwarp_forward"]
            tuned, simple = both(launches, monkeypatch, "backwarp", inputs, names)
            assert all(map(same_bits, tuned, simple))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("flow_dtype", [torch.float32, HALF, torch.bfloat16], ids=str)
def test_backwarp_backward(launches, monkeypatch, flow_dtype, layout):
    """The flow's gradient alone, some images' alone, then all together."""
    last = layout == torch.channels_last
    for (frames, entries, c, h, w), padding in itertools.product(SIZES, ("border", "zeros")):
        images = backwarp_images(frames, c, h, w, flow_dtype, layout)
        grads = [
            samples.image(entries, image.shape[1], h, w, dtype=image.dtype).contiguous(memory_format=layout)
            for image in images
        ]
        flow = hard_flow(entries, h, w, flow_dtype)
        names = ["backwarp_backward_tuned" if not last or c in (1, 3) else "backwarp_backward"]
        for needs in (0b100000, 0b001001) if padding == "border" else (0b010110, 0b111111):
            arguments = [grads, images, flow, padding, needs]
            tuned, simple = both(launches, monkeypatch, "_backwarp_backward", arguments, names)
            assert_close(tuned, simple)


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, HALF, torch.bfloat16, BYTE], ids=str)
def test_rgb_pixels_at_any_alignment(launches, monkeypatch, dtype, offset):
    """They are read in aligned pairs of numbers. An entry and a row have an odd count of them."""
    _, entries, c, h, w = sizes = (2, 2, 3, 5, 7)
    inputs = pair_inputs("voxel_flow", (dtype, torch.float32), *sizes, "border", torch.contiguous_format)
    for i in (0, 1):
        inputs[i] = samples.guarded(inputs[i].permute(0, 2, 3, 1), offset).permute(0, 3, 1, 2)
        assert inputs[i].stride() == (c * h * w, 1, c * w, c)
    tuned, simple = both(launches, monkeypatch, "voxel_flow", inputs, ["pair_forward_tuned"])
    assert same_bits(tuned, simple)
    if dtype != BYTE:
        inputs = [inputs[:1], hard_flow(entries, h, w, torch.float32), "zeros"]
        tuned, simple = both(launches, monkeypatch, "backwarp", inputs, ["backwarp_forward_tuned"])
        assert same_bits(tuned[0], simple[0])


def test_what_the_simple_kernels_serve(launches):
    """Float64, images without neighbours in one direction, strides of other kinds."""

    def names(frame: Tensor, flow: Tensor) -> list[str]:
        launches.names.clear()
        launches.kernels.voxel_flow(frame, frame, flow, "interpolate", "border")
        return launches.names

    flow = samples.voxels(1, 6, 8)
    for frame in (samples.image(1, 3, 6, 8, dtype=DOUBLE), samples.image(1, 3, 8, 6).transpose(2, 3)):
        assert names(frame, flow) == ["pair_forward"]
    # Channels that are neither RGB nor multiples of 16 bytes.
    assert names(samples.image(1, 4, 6, 8, dtype=BYTE).contiguous(memory_format=LAYOUTS[1]), flow) == [
        "pair_forward"
    ]
    for h, w in [(1, 8), (8, 1)]:
        assert names(samples.image(1, 3, h, w), samples.voxels(1, h, w)) == ["pair_forward"]
    assert names(samples.image(1, 3, 6, 8, dtype=HALF), flow) == ["pair_forward_tuned"]
    # Gradients that come in another layout than the image's.
    image = samples.image(1, 8, 6, 8).contiguous(memory_format=torch.channels_last)
    for grad, kernel in [(image, "backwarp_backward_tuned"), (image.contiguous(), "backwarp_backward")]:
        launches.names.clear()
        launches.kernels._backwarp_backward([grad], [image], flow[:, :2], "border", 0b11)
        assert launches.names == [kernel]
    # A view of a larger image, whose rows don't begin at multiples of anything.
    assert names(samples.image(2, 5, 7, 11)[1:, 1:4, 1:, 2:10], flow) == ["pair_forward_tuned"]


def test_offsets_of_32_bits():
    rows_apart = View(1, 0, 0, 1 << 27, 1)  # 2^29 elements from the first row to the fifth
    assert is_compact(rows_apart, 4, 8)
    assert not is_compact(rows_apart, 5, 8)
    assert is_compact(View(), 5, 8)  # absent
