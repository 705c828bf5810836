"""The frames' gradients with sums in a fixed order, which the CUDA kernels take under
torch.use_deterministic_algorithms: in the emulator, whose order of blocks and threads can be changed.
"""

import dataclasses
import importlib

import pytest
import torch
from torch import Tensor

from tests import oracle, samples
from tests.emulator import build
from tests.samples import DOUBLE, HALF
from tests.test_tuned_kernels import hard_flow
from vfi_kernels.jit import ordered as launches
from vfi_kernels.jit.kernels import Kernels
from vfi_kernels.ops._register import ORDERED

FLOAT = torch.float32

pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "available"),
]


class Ordered:
    """The operators in the emulator, and the names of the kernels that they launched."""

    def __init__(self) -> None:
        from tests import emulated

        self.names: list[str] = []
        self.order = "fwd"

        def launch(source, kernel, grid, block, shared, params, device) -> None:
            self.names.append(kernel.split("<")[0])
            emulated.module().launch(kernel, grid, block, shared, bytes(params), self.order)

        self._kernels = Kernels(launch, emulated.shared_limit)

    def gradients(self, operation: str, grad, inputs: list, needs: int) -> list[Tensor]:
        self.names.clear()
        return getattr(self._kernels, f"_{operation}_backward")(grad, *inputs, needs | ORDERED)


@pytest.fixture
def ordered() -> Ordered:
    return Ordered()


# More than a tile with a rest, one tile, one row, one pixel; shared frames.
SIZES = [(1, 2, 4, 35, 70), (2, 2, 3, 7, 9), (2, 4, 1, 1, 40), (1, 1, 3, 1, 1)]


def inputs_of(operation: str, frames: int, entries: int, c: int, h: int, w: int, dtypes, padding: str):
    """(gradient of the output, inputs)."""
    image, other = dtypes
    flow = (4 * torch.randn(entries, 2, h, w)).to(other)
    if operation == "backwarp":
        images = [samples.image(frames, k, h, w, dtype=image) for k in (c, 5)]
        images[1] = images[1].contiguous(memory_format=torch.channels_last)
        return [samples.image(entries, k, h, w, dtype=image) for k in (c, 5)], [images, flow, padding]
    pair = [samples.image(frames, c, h, w, dtype=image) for _ in range(2)]
    grad, mask = samples.image(entries, c, h, w, dtype=image), torch.rand(entries, 1, h, w).to(other)
    if operation == "voxel_flow":
        return grad, [*pair, torch.cat([flow, mask], 1), "interpolate", padding]
    return grad, [*pair, flow, flow.flip(1), mask, None, False, padding]


@pytest.mark.parametrize("dtypes", [(FLOAT, FLOAT), (HALF, HALF), (DOUBLE, FLOAT)], ids=str)
@pytest.mark.parametrize("operation", ["backwarp", "warp_blend", "voxel_flow"])
def test_values(ordered, operation, dtypes):
    for size in SIZES:
        for padding in ("border", "zeros"):
            grad, inputs = inputs_of(operation, *size, dtypes, padding)
            results = ordered.gradients(operation, grad, inputs, 0b11)
            assert ordered.names == ["frame_reach", "frame_gather"]
            oracle.assert_gradients(results[:2], oracle.gradients(operation, grad, inputs)[:2])


@pytest.mark.parametrize("operation", ["backwarp", "warp_blend", "voxel_flow"])
def test_all_gradients(ordered, operation):
    """Those of the other inputs come from their own kernel."""
    grad, inputs = inputs_of(operation, 1, 2, 3, 9, 40, (FLOAT, FLOAT), "border")
    expected = oracle.gradients(operation, grad, inputs)
    count = sum(result is not None for result in expected)
    results = ordered.gradients(operation, grad, inputs, (1 << count) - 1)
    assert ordered.names[:2] == ["frame_reach", "frame_gather"]
    assert len(ordered.names) == 3
    oracle.assert_gradients(results[:count], expected[:count])
    only_flow = ordered.gradients(operation, grad, inputs, 0b100)
    assert len(ordered.names) == 1
    oracle.assert_gradients([only_flow[2]], [expected[2]])


@pytest.mark.parametrize("name", ["MAX_GRID_X", "MAX_GRID_YZ"])
def test_more_work_than_blocks(ordered, monkeypatch, name):
    """Blocks stride over tiles and over channels."""
    grad, inputs = inputs_of("backwarp", 2, 2, 7, 35, 70, (FLOAT, FLOAT), "border")
    monkeypatch.setattr(launches, name, 2)
    results = ordered.gradients("backwarp", grad, inputs, 0b11)
    oracle.assert_gradients(results[:2], oracle.gradients("backwarp", grad, inputs)[:2])


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_same_bits_in_every_order(ordered, padding):
    """Also where many pixels read one place, and where the flow points nowhere."""
    h, w = 35, 70
    grads = [samples.image(2, 4, h, w)]
    for flow in (30 * torch.randn(2, 2, h, w), hard_flow(2, h, w, FLOAT), torch.full((2, 2, h, w), -999.0)):
        inputs = [[samples.image(1, 4, h, w)], flow, padding]
        results = []
        for order in ("fwd", "rev", "7"):
            ordered.order = order
            results.append(ordered.gradients("backwarp", grads, inputs, 0b1)[0])
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])
        expected = oracle.gradients("backwarp", grads, [inputs[0], flow.nan_to_num(0, 1e6, -1e6), padding])
        torch.testing.assert_close(results[0].double(), expected[0].double(), rtol=1e-4, atol=1e-4)


def test_infinite_gradients_stay_where_they_are(ordered):
    """Pixels of weight 0 get nothing of them."""
    grad = torch.zeros(1, 1, 5, 5)
    grad[0, 0, 2, 2] = float("inf")
    [result] = ordered.gradients(
        "backwarp", [grad], [[torch.rand(1, 1, 5, 5)], torch.zeros(1, 2, 5, 5), "border"], 1
    )[:1]
    assert torch.equal(result, grad)


@pytest.mark.parametrize("operation", ["backwarp", "warp_blend", "voxel_flow"])
def test_deterministic_mode_asks_for_it(operation):
    gradient = importlib.import_module(f"vfi_kernels.ops.{operation}").GRADIENT
    grad, inputs = inputs_of(operation, 1, 2, 3, 5, 7, (FLOAT, FLOAT), "border")
    asked = []

    def backward(*arguments) -> list[Tensor]:
        asked.append(arguments[-1])
        return [
            leaf for a in inputs for leaf in (a if isinstance(a, list) else [a]) if isinstance(leaf, Tensor)
        ]

    gradient = dataclasses.replace(gradient, backward=backward)
    wanted = [True, False, *([False] * (3 if operation == "warp_blend" else 1))]
    for deterministic in (False, True):
        gradient.compute(grad, inputs, wanted, deterministic)
    assert asked == [1, 1 | ORDERED]
