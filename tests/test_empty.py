"""Calls of the operators with nothing in a batch, a channel or an axis, which the public functions refuse in
part. What a gradient sums over is then nothing, and every gradient that exists is 0.
"""

from collections.abc import Iterator

import pytest
import torch
from conftest import Backend, leaves_of
from torch import Tensor

from tests import samples
from tests.samples import SAMPLES, Sample
from vfi_kernels.ops._register import ORDERED

WITHOUT = {"entries": 0, "channels": 1, "rows": 2, "columns": 3}


@pytest.fixture
def marked() -> Iterator[None]:
    """New memory is full of NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def run(backend: Backend, operation: str, inputs: list, order: int) -> list[Tensor]:
    if backend.name == "reference":
        pytest.skip("the reference has no operators")
    grad = backend.forward(operation, inputs)
    needs = (1 << len(leaves_of(inputs))) - 1
    return getattr(backend.functions, f"_{operation}_backward")(grad, *inputs, needs | order)


@pytest.mark.parametrize("order", [0, ORDERED], ids=["any order", "ordered"])
@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
@pytest.mark.usefixtures("marked")
def test_gradients_are_zero(backend: Backend, sample: Sample, without: str, order: int):
    size = [2, 3, 5, 7]
    size[WITHOUT[without]] = 0
    inputs = sample.inputs(*(t.to(backend.device) for t in sample.tensors(*size)))
    if sample.name == "backwarp_multi" and without == "channels":
        inputs[0][1] = inputs[0][1][:, :0]  # the second image would have a channel
    results = run(backend, sample.operation, inputs, order)
    shapes = [result.shape for result in results]
    assert all(leaf.shape in shapes for leaf in leaves_of(inputs) if leaf.dim() == 4)
    assert all(result.count_nonzero() == 0 for result in results)


@pytest.mark.usefixtures("marked")
def test_frames_without_entries(backend: Backend):
    """Frames are there, but no flow reads them."""
    frames, flow = [samples.image(2, 3, 5, 7).to(backend.device)] * 2, samples.voxels(0, 5, 7)
    flow = flow.to(backend.device)
    for operation, inputs in (
        ("backwarp", [frames, flow[:, :2], "border"]),
        ("voxel_flow", [*frames, flow, "interpolate", "border"]),
        ("warp_blend", [*frames, flow[:, :2], flow[:, :2], flow[:, 2:], None, False, "border"]),
    ):
        for result in run(backend, operation, inputs, 0)[:2]:
            assert result.shape == frames[0].shape
            assert result.count_nonzero() == 0


@pytest.mark.usefixtures("marked")
def test_rows_that_no_taps_read(backend: Backend):
    """Of "valid" sepconv: an image as high as its taps less one has no output."""
    inputs = samples.sepconv_inputs(1, 2, 3, 0, 7, 20, 18, (samples.FLOAT, samples.FLOAT), "valid")
    inputs = [[t.to(backend.device) for t in x] if isinstance(x, list) else x for x in inputs]
    (image, *_) = run(backend, "sepconv", inputs, 0)
    assert image.shape == (2, 3, 19, 24)
    assert image.count_nonzero() == 0
