"""Gradients of frames on the CPU. They are summed in bands of rows, in blocks and vectors of pixels and in
groups of channels; none of it may show.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import oracle, samples
from tests.samples import BRAIN, DOUBLE, FLOAT, HALF
from tests.test_cpu_versions import LEVELS, run

pytestmark = pytest.mark.usefixtures("compiled")

INF, NAN = float("inf"), float("nan")
HEIGHT, WIDTH = 150, 77  # three bands; more than a block of pixels, and a multiple of no vector


def smooth(entries: int, h: int, w: int) -> Tensor:
    y, x = torch.arange(h)[:, None] / 7.0, torch.arange(w) / 9.0
    flow = torch.stack([2.5 * torch.sin(x + y), 1.5 * torch.cos(x - y)])
    return torch.stack([flow.roll(i, 2) for i in range(entries)])


def rough(entries: int, h: int, w: int) -> Tensor:
    return 10 * torch.randn(entries, 2, h, w)


def anywhere(entries: int, h: int, w: int) -> Tensor:
    """From everywhere to everywhere, and some far outside."""
    target = torch.rand(entries, 2, h, w) * torch.tensor([1.2 * w, 1.2 * h]).view(2, 1, 1)
    flow = target - torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"))
    return torch.where(torch.rand_like(flow) < 0.02, torch.where(flow > 0, INF, -1e30), flow)


def drop(entries: int, h: int, w: int) -> Tensor:
    """All rows onto three around the edge between the first two bands."""
    rows = torch.tensor([62.5, 63.25, 64.0]).repeat(h)[:h, None] - torch.arange(h)[:, None]
    return torch.stack([torch.zeros(h, w), rows.expand(h, w)]).expand(entries, 2, h, w)


FLOWS = [smooth, rough, anywhere, drop]


def inputs_of(operation: str, frames: list[Tensor], flow: Tensor, padding: str) -> list:
    """The operator's inputs: the same flow for both frames, but for its sign."""
    mask = samples.mask(len(flow), *flow.shape[2:], dtype=flow.dtype)
    if operation == "backwarp":
        return [frames, flow, padding]
    if operation == "voxel_flow":
        return [*frames, torch.cat([flow, mask], 1), "interpolate", padding]
    return [*frames, flow, -flow, mask, None, False, padding]


def frame_gradients(operation: str, grad: Tensor, inputs: list) -> list[Tensor]:
    kernel = getattr(torch.ops.vfi_kernels, f"_{operation}_backward")
    return kernel([grad, grad] if operation == "backwarp" else grad, *inputs, 0b11)[:2]


def expected_gradients(operation: str, grad: Tensor, inputs: list) -> list[Tensor]:
    """By grid_sample in float64, whose coordinates are too coarse where they are far outside."""
    inputs = [v.clamp(-6e4, 6e4) if isinstance(v, Tensor) else v for v in inputs]
    grads = [grad, grad] if operation == "backwarp" else grad
    return oracle.gradients(operation, grads, inputs)[:2]


OPERATIONS = ["backwarp", "warp_blend", "voxel_flow"]


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("make_flow", FLOWS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_bands_match_reference(operation: str, make_flow: Callable, padding: str):
    frames = [samples.image(2, 3, HEIGHT, WIDTH) for _ in range(2)]
    for entries in (2, 4):
        inputs = inputs_of(operation, frames, make_flow(entries, HEIGHT, WIDTH), padding)
        grad = samples.image(entries, 3, HEIGHT, WIDTH)
        oracle.assert_gradients(
            frame_gradients(operation, grad, inputs), expected_gradients(operation, grad, inputs)
        )


@pytest.mark.parametrize("dtypes", samples.DTYPES, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 8, 11, 16])
def test_channels_match_reference(channels: int, dtypes):
    """In every layout: of the frames, which their gradients follow, and of the gradient that comes in."""
    h, w = 67, 21
    frames = [samples.image(1, channels, h, w, dtype=dtypes[0]) for _ in range(2)]
    grad, flow = samples.image(2, channels, h, w, dtype=dtypes[0]), samples.flow(2, h, w, dtype=dtypes[1])
    for operation in OPERATIONS:
        inputs = inputs_of(operation, frames, flow, "zeros")
        expected = expected_gradients(operation, grad, inputs)
        for view in samples.views(grad):
            oracle.assert_gradients(frame_gradients(operation, view, inputs), expected)
        wide = [frame.contiguous(memory_format=torch.channels_last) for frame in frames]
        inputs = [wide, *inputs[1:]] if operation == "backwarp" else [*wide, *inputs[2:]]
        for layout in (torch.contiguous_format, torch.channels_last):
            found = frame_gradients(operation, grad.contiguous(memory_format=layout), inputs)
            oracle.assert_gradients(found, expected)
        one = torch.tensor(0.75, dtype=dtypes[0]).expand_as(grad)  # as from sum().backward()
        oracle.assert_gradients(
            frame_gradients(operation, one, inputs), expected_gradients(operation, one, inputs)
        )


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize(("h", "w"), [(1, 1), (1, 90), (200, 1), (2, 2), (64, 16), (65, 64), (129, 7)])
def test_sizes_match_reference(h: int, w: int, padding: str):
    frames = [samples.image(2, 3, h, w) for _ in range(2)]
    grad, flow = samples.image(2, 3, h, w), samples.flow(2, h, w)
    for operation in OPERATIONS:
        inputs = inputs_of(operation, frames, flow, padding)
        expected = expected_gradients(operation, grad, inputs)
        oracle.assert_gradients(frame_gradients(operation, grad, inputs), expected)


@pytest.mark.parametrize("make_flow", FLOWS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("channels", [3, 9])
def test_any_number_of_threads_gives_the_same_bits(channels: int, make_flow: Callable):
    h, w = 400, 600  # large enough for lower bands where there are many threads
    frames = [samples.image(1, channels, h, w) for _ in range(2)]
    flow, grad = make_flow(3, h, w), samples.image(3, channels, h, w)
    threads = torch.get_num_threads()
    try:
        for operation in OPERATIONS:
            inputs = inputs_of(operation, frames, flow, "border")
            found = []
            for count in (1, 2, 3, 32):
                torch.set_num_threads(count)
                found.append(frame_gradients(operation, grad, inputs))
            assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("channels", [1, 3, 8])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_special_values_stay_where_they_are(channels: int, layout: torch.memory_format):
    """A gradient that is not finite does not reach a pixel of weight 0, but every other."""
    grad = samples.image(1, channels, HEIGHT, WIDTH)
    grad.view(-1)[::97] = torch.tensor([NAN, INF, -INF]).repeat(grad.numel())[: len(grad.view(-1)[::97])]
    grad = grad.contiguous(memory_format=layout)
    frames = [torch.zeros(1, channels, HEIGHT, WIDTH)] * 2
    for flow in (torch.zeros(1, 2, HEIGHT, WIDTH), torch.tensor([3.0, -64.0]).view(1, 2, 1, 1)):
        flow = flow.expand(1, 2, HEIGHT, WIDTH)
        left, up = (int(v) for v in flow[0, :, 0, 0])
        expected = torch.zeros_like(grad)
        expected[..., : HEIGHT + up, left:] = grad[..., -up:, : WIDTH - left]
        found = frame_gradients("backwarp", grad, [frames, flow, "zeros"])
        for result in found:
            torch.testing.assert_close(result, expected, rtol=0, atol=0, equal_nan=True)
    # Half a pixel to the right the gradient counts half here and half there; of frame 1 nothing is visible.
    flow = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1).expand(1, 2, HEIGHT, WIDTH)
    mask = torch.ones(1, 1, HEIGHT, WIDTH)
    first, second = frame_gradients("warp_blend", grad, [*frames, flow, flow, mask, None, False, "zeros"])
    half = torch.nn.functional.pad(grad / 2, (1, 0))
    torch.testing.assert_close(first, half[..., 1:] + half[..., :-1], equal_nan=True)
    torch.testing.assert_close(second, 0 * (half[..., 1:] + half[..., :-1]), equal_nan=True)


# Runs in a process of its own, since the instruction set is chosen once.
CHILD = """
import sys, torch
import vfi_kernels
cases = torch.load(sys.argv[1])
torch.save([getattr(torch.ops.vfi_kernels, name)(*inputs)[:2] for name, inputs in cases], sys.argv[2])
"""


def test_levels_agree(tmp_path: Path):
    cases = []
    for dtypes in [(FLOAT, FLOAT), (HALF, FLOAT), (HALF, HALF), (BRAIN, BRAIN), (DOUBLE, FLOAT)]:
        for channels in (1, 3, 12):
            for operation in OPERATIONS:
                frames = [samples.image(1, channels, HEIGHT, WIDTH, dtype=dtypes[0]) for _ in range(2)]
                grad, flow = (
                    samples.image(2, channels, HEIGHT, WIDTH, dtype=dtypes[0]),
                    smooth(2, HEIGHT, WIDTH),
                )
                inputs = inputs_of(operation, frames, flow.to(dtypes[1]), "border")
                grads = [grad, grad] if operation == "backwarp" else grad
                cases.append((f"_{operation}_backward", [grads, *inputs, 0b11]))
    torch.save(cases, tmp_path / "cases.pt")
    found = {}
    for level in LEVELS:
        child = run(level, str(tmp_path / "cases.pt"), str(tmp_path / f"{level}.pt"), code=CHILD)
        if "this processor has no" not in child.stderr:
            assert child.returncode == 0, child.stderr
            found[level] = torch.load(tmp_path / f"{level}.pt")
    for results in found.values():
        for got, expected in zip(results, found["base"], strict=True):
            oracle.assert_gradients(got, [e.double() for e in expected])
