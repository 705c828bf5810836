"""The CUDA kernels on a GPU, at sizes where the tuned and the tensor-core ones serve the calls: more than a
block in both directions, ragged widths. The emulator's tests go through the same kernels bit by bit.

VFI_TEST_DEVICE=cpu asks the same of the CPU kernels, where it means something there: a test of these tests.
"""

import os
from collections.abc import Callable, Iterator

import conftest
import pytest
import torch
from conftest import leaves_of, with_leaves
from torch import Tensor

from tests import oracle, samples
from tests.samples import BRAIN, BYTE, FLOAT, HALF

DEVICE = os.environ.get("VFI_TEST_DEVICE", "cuda")
MISSING = conftest._no_cpu() if DEVICE == "cpu" else conftest._no_cuda()
pytestmark = pytest.mark.skipif(bool(MISSING), reason=MISSING or "available")
cuda_only = pytest.mark.skipif(DEVICE == "cpu", reason="of CUDA alone")

HEIGHT, WIDTH = 67, 70
LAYOUTS = (torch.contiguous_format, torch.channels_last)
TOLERANCE = {FLOAT: 2e-5, HALF: 2e-3, BRAIN: 2e-2, BYTE: 1}  # between two orders of the same sums
WARPS = ("backwarp", "warp_blend", "voxel_flow")


def wave(like: Tensor) -> Tensor:
    """An incoming gradient in the layout of the output."""
    values = torch.arange(like.numel(), dtype=torch.float64, device=like.device).cos().view(like.shape)
    return torch.empty_like(like).copy_(values)


def on_device(inputs: list, device: str = DEVICE) -> list:
    return with_leaves(inputs, lambda t: t.to(device))


def run(operation: str, inputs: list) -> list[Tensor]:
    """The outputs, then the gradients of all inputs."""
    inputs = with_leaves(inputs, lambda t: t.detach())
    leaves = leaves_of(inputs)
    wanted = leaves if all(leaf.is_floating_point() for leaf in leaves) else []
    for leaf in wanted:
        leaf.requires_grad_()
    found = getattr(torch.ops.vfi_kernels, operation)(*inputs)
    outputs = found if isinstance(found, list) else [found]
    gradients = torch.autograd.grad(outputs, wanted, [wave(out) for out in outputs]) if wanted else ()
    return [t.detach() for t in (*outputs, *gradients)]


def expected(inputs: list) -> tuple[Tensor, list[Tensor]]:
    """Of sepconv, in float64."""
    out = oracle.sepconv(*inputs)
    if inputs[0][0].dtype == BYTE:
        return out.cpu(), []
    grad = wave(out.to(inputs[0][0].dtype))
    return out.cpu(), [g.cpu() for g in oracle.gradients("sepconv", grad, inputs)]


def check(inputs: list, reference: str = DEVICE) -> None:
    """Against float64 sums on the device `reference`."""
    out, gradients = expected(on_device(inputs, reference))
    got, *found = run("sepconv", on_device(inputs))
    oracle.assert_result(got, out, inputs[0][0].dtype)
    oracle.assert_gradients(found, gradients)


def sepconv_inputs(
    taps=25, terms=1, dtypes=(FLOAT, FLOAT), padding="replicate", n=1, c=3, h=HEIGHT, w=WIDTH
) -> list:
    return samples.sepconv_inputs(terms, n, c, h, w, taps, taps, dtypes, padding)


@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("taps", [16, 25, 51, 57])
def test_sepconv(taps, terms, padding):
    check(sepconv_inputs(taps, terms, padding=padding))


def magnitudes_of(inputs: list) -> list[Tensor]:
    """What is added up for the output and the gradients, without its signs."""
    positive = [*([t.abs() for t in part] for part in inputs[:3]), *inputs[3:]]
    out = oracle.sepconv(*positive)
    return [out, *oracle.gradients("sepconv", torch.ones_like(out), positive)]


def assert_within(
    found: list[Tensor], values: list[Tensor], magnitudes: list[Tensor], tolerance: float
) -> None:
    """Wrong by `tolerance` of the magnitudes at most, before the result is rounded."""
    for result, value, size in zip(found, values, magnitudes, strict=True):
        smallest = torch.finfo(result.dtype).smallest_normal
        allowed = tolerance * size.cpu() + oracle.EPS[result.dtype] * value.abs().clamp(min=smallest)
        assert ((result.cpu().double() - value).abs() <= allowed).all()


@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("dtypes", [(HALF, FLOAT), (BRAIN, FLOAT), (BYTE, FLOAT)], ids=str)
def test_sepconv_dtypes(dtypes, terms, padding):
    check(sepconv_inputs(17, terms, dtypes, padding, w=61))


def check_half_taps(inputs: list, reference: str = DEVICE) -> None:
    """Taps that meet at a replicated border are added, and rounded to their own dtype."""
    there, dtype = on_device(inputs, reference), inputs[1][0].dtype
    out, gradients = expected(there)
    got, *found = run("sepconv", on_device(inputs))
    oracle.assert_result(got, out, dtype)
    assert_within(found, gradients, magnitudes_of(there)[1:], {HALF: 1e-3, BRAIN: 8e-3}[dtype])


@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("dtype", [HALF, BRAIN], ids=str)
@pytest.mark.parametrize("width", [61, 62, 64])  # a lane accesses one tap, two or eight at once
def test_sepconv_half_taps(width, dtype, terms, padding):
    check_half_taps(sepconv_inputs(17, terms, (dtype, dtype), padding, w=width))


@pytest.mark.parametrize(
    "size",
    [{"n": 2, "h": 130, "w": 33}, {"c": 1, "w": 129}, {"c": 4, "h": 65}, {"c": 2, "h": 3, "w": 200}],
    ids=str,
)
def test_sepconv_sizes(size):
    check(sepconv_inputs(19, 2, **size))


def test_band_under_sanitizers():
    """The case that `make gpu` gives to memcheck and racecheck, under which every kernel is slow."""
    check(sepconv_inputs(16, h=5, w=35), reference="cpu")
    check_half_taps(sepconv_inputs(16, 1, (HALF, HALF), h=5, w=40), reference="cpu")


def test_sepconv_of_channels_last_images():
    images, *rest = sepconv_inputs(18, 2)
    check([[image.contiguous(memory_format=torch.channels_last) for image in images], *rest])


@pytest.mark.parametrize("taps", [16, 51])
def test_coarse_precision(taps):
    """Of float16 products: wrong by 2^-10 of what is added at most, and so are the gradients."""
    inputs = on_device(sepconv_inputs(taps, 2))
    inputs[-1] = True
    out, gradients = expected(inputs)
    assert_within(run("sepconv", inputs), [out, *gradients], magnitudes_of(inputs), 2**-10)


@pytest.mark.parametrize("special", [float("inf"), float("nan")])
@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("place", ["image", "vertical", "horizontal"])
def test_special_values_of_sepconv(place, padding, special):
    """They reach what they are multiplied with, and no more: the rest is as exact as without them."""
    inputs = sepconv_inputs(17, padding=padding)
    inputs[("image", "vertical", "horizontal").index(place)][0][0, 1, 40, 33] = special
    inputs = on_device(inputs)
    out, gradients = expected(inputs)
    got, *found = run("sepconv", inputs)
    for result, value in zip([got, *found], [out, *gradients], strict=True):
        assert torch.equal(result.cpu().isfinite(), value.isfinite())
        oracle.assert_gradients([result.nan_to_num(0, 0, 0)], [value.nan_to_num(0, 0, 0)])


@cuda_only
def test_tensor_cores_are_used():
    if torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("a device before 8.0")
    inputs = on_device(sepconv_inputs(51, 2))
    run("sepconv", inputs)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        run("sepconv", inputs)
    names = " ".join(event.key for event in profile.key_averages())
    if "sepconv" not in names:
        pytest.skip("the profiler sees no kernels")
    assert "tiled" not in names
    assert all(f"sepconv_band_{part}" in names for part in ("forward", "vertical", "horizontal", "image"))


def warp_inputs(
    operation, c=3, dtypes=(FLOAT, FLOAT), layout=LAYOUTS[0], fields=LAYOUTS[0], h=HEIGHT, w=131, n=2
) -> list:
    """Two entries, which share the frames; fields: the layout of flow and mask."""
    image, other = dtypes
    frames = [samples.image(1, c, h, w, dtype=image).contiguous(memory_format=layout) for _ in range(2)]
    flows = [samples.flow(n, h, w, dtype=other).contiguous(memory_format=fields) for _ in range(2)]
    if operation == "backwarp":
        return [frames, flows[0], "border"]
    if operation == "voxel_flow":
        voxels = samples.voxels(n, h, w, dtype=other).contiguous(memory_format=fields)
        return [*frames, voxels, "interpolate", "zeros"]
    return [*frames, *flows, samples.mask(n, h, w, dtype=other), None, False, "border"]


@pytest.mark.parametrize("fields", LAYOUTS, ids=lambda layout: f"fields {layout}")
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 4, 16, 48])
@pytest.mark.parametrize("dtypes", [(FLOAT, FLOAT), (HALF, FLOAT), (BRAIN, BRAIN), (BYTE, FLOAT)], ids=str)
@pytest.mark.parametrize("operation", WARPS)
def test_tuned_warps_against_simple_ones(monkeypatch, operation, dtypes, channels, layout, fields):
    if operation == "backwarp" and dtypes[0] == BYTE:
        pytest.skip("backwarp takes floating images")
    inputs = on_device(warp_inputs(operation, channels, dtypes, layout, fields))
    tuned = run(operation, inputs)
    monkeypatch.setenv("VFI_CUDA_KERNELS", "simple")
    for got, simple in zip(tuned, run(operation, inputs), strict=True):
        scale = max(1, simple.abs().max().item()) if simple.is_floating_point() else 1
        tolerance = TOLERANCE[got.dtype]
        torch.testing.assert_close(got, simple, atol=tolerance * scale, rtol=tolerance)


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("operation", WARPS)
def test_deterministic_gradients(monkeypatch, deterministic, operation, channels, layout):
    """The same bits twice, of flows that send many pixels to one; and the right ones."""
    inputs = warp_inputs(operation, channels, layout=layout)
    flow = inputs[1] if operation == "backwarp" else inputs[2]
    flow[:, :2] += torch.randint(-20, 20, flow[:, :2].shape)
    inputs = on_device(inputs)
    first, second = run(operation, inputs), run(operation, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    torch.use_deterministic_algorithms(False)
    monkeypatch.setenv("VFI_CUDA_KERNELS", "simple")
    oracle.assert_gradients(first, [t.cpu().double() for t in run(operation, inputs)])


def test_sepconv_gives_the_same_bits_twice():
    inputs = on_device(sepconv_inputs(51, 2))
    assert all(torch.equal(a, b) for a, b in zip(*(run("sepconv", inputs) for _ in range(2)), strict=True))


def inputs_of(operation: str, **size: int) -> list:
    return sepconv_inputs(51, 2, **size) if operation == "sepconv" else warp_inputs(operation, **size)


EVERY = pytest.mark.parametrize("operation", [*WARPS, "sepconv"])


def assert_same(got: list[Tensor], wanted: list[Tensor]) -> None:
    """But for the order of atomic sums."""
    oracle.assert_gradients(got, [t.cpu().double() for t in wanted])


@cuda_only
@EVERY
def test_side_stream(operation):
    """The inputs come late, and on that stream only."""
    inputs = on_device(inputs_of(operation))
    wanted = run(operation, inputs)
    late = with_leaves(inputs, torch.zeros_like)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        for place, value in zip(leaves_of(late), leaves_of(inputs), strict=True):
            place.copy_(value)
        got = run(operation, late)
    stream.synchronize()
    assert_same(got, wanted)


@cuda_only
@EVERY
def test_graph_of_forward_and_backward(operation):
    inputs = on_device(inputs_of(operation))
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        run(operation, inputs)  # what is loaded at the first call cannot be captured
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(operation, inputs)
    for place, value in zip(leaves_of(inputs), leaves_of(inputs_of(operation)), strict=True):
        place.copy_(value)
    graph.replay()
    assert_same(captured, run(operation, inputs))


@cuda_only
@EVERY
def test_second_device(operation):
    if torch.cuda.device_count() < 2:
        pytest.skip("one CUDA device")
    inputs = inputs_of(operation)
    assert_same(run(operation, on_device(inputs, "cuda:1")), run(operation, on_device(inputs, "cuda:0")))


@cuda_only
@EVERY
def test_nothing_waits_for_the_device(operation):
    inputs = on_device(inputs_of(operation))
    run(operation, inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(operation, inputs)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@cuda_only
@EVERY
def test_passes_allocate_what_they_give_only(operation):
    """Float32 frames of 1080p and one time for all: beside others the README of the kernels names sums."""
    inputs = with_leaves(
        on_device(inputs_of(operation, h=1080, w=1920, n=1)), lambda t: t.detach().requires_grad_()
    )
    run(operation, inputs)

    def peak_of(call: Callable[[], list[Tensor]]) -> tuple[list[Tensor], int]:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return leaves_of([call()]), torch.cuda.max_memory_allocated() - before

    outputs, forward = peak_of(lambda: getattr(torch.ops.vfi_kernels, operation)(*inputs))
    grads = [wave(out) for out in outputs]
    gradients, backward = peak_of(lambda: list(torch.autograd.grad(outputs, leaves_of(inputs), grads)))
    for given, peak in ((outputs, forward), (gradients, backward)):
        size = sum(t.numel() * t.element_size() for t in given)
        assert size <= peak <= size + (len(given) + 1) * (2 << 20)  # the allocator rounds up to 2 MiB
