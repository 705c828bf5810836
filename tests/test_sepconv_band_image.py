"""The gradient of sepconv's image on the tensor cores, in the emulator."""

import pytest
import torch
from torch import Tensor

from tests import oracle, samples
from tests.emulator import build
from tests.samples import BRAIN, FLOAT, HALF
from tests.test_sepconv_band import BAND, PLAIN, SIZES, Emulated, inputs_of
from vfi_kernels.jit import band

INF, NAN = float("inf"), float("nan")
pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "here"),
]


def image_gradients(kernels: Emulated, grad: Tensor, inputs: list) -> list[Tensor]:
    kernels.launched.clear()
    terms = len(inputs[0])
    results = kernels.kernels._sepconv_backward(grad, *inputs, 0b001001 & (1 << 3 * terms) - 1)
    if kernels is BAND:
        assert kernels.launched == terms * ["band_image"]
    return results[::3]


def expected_gradients(grad: Tensor, inputs: list) -> list[Tensor]:
    return oracle.gradients("sepconv", grad, inputs)[: len(inputs[0])]


def sizes_of(grad: Tensor, inputs: list) -> list[Tensor]:
    """Sums of magnitudes: errors are relative to them, so that cancellation does not count."""
    magnitudes = [*([t.abs() for t in part] for part in inputs[:3]), *inputs[3:]]
    return expected_gradients(grad.abs(), magnitudes)


def grad_of(inputs: list, dtype: torch.dtype = FLOAT) -> Tensor:
    n, _, h, w = inputs[1][0].shape
    return samples.image(n, inputs[0][0].shape[1], h, w, dtype=dtype)


MANY = [size for size in SIZES if size.get("c", 3) <= band.CHANNELS and size.get("h") != 1] + [
    {"w": 131, "h": 25, "kv": 20, "kh": 24, "c": 1},  # three strips, several windows of rows
    {"w": 14, "h": 9, "kv": 57, "kh": 57, "c": 1, "padding": "valid"},  # as many taps as there may be
    {"w": 3, "h": 2, "kv": 56, "kh": 53},  # nearly all taps reach beyond the image
    {"w": 68, "h": 9, "kv": 17, "kh": 16, "n": 2, "c": 2, "terms": 2},
]


@pytest.mark.parametrize("size", MANY, ids=str)
def test_as_exact_as_plain_sums(size):
    inputs = inputs_of(**size)
    grad = grad_of(inputs)
    got, plain = image_gradients(BAND, grad, inputs), image_gradients(PLAIN, grad, inputs)
    expected, sizes = expected_gradients(grad, inputs), sizes_of(grad, inputs)
    for size, exact, *results in zip(sizes, expected, got, plain, strict=True):
        band_errors, plain_errors = ((r.double() - exact) / size for r in results)
        assert band_errors.abs().max() <= 2 * plain_errors.abs().max()
        assert band_errors.square().mean() <= 2 * plain_errors.square().mean()


def test_where_few_outputs_reach():
    """A product of two parts each is within 2^-21; here there are too few for their errors to cancel."""
    inputs = inputs_of(w=3, c=2, kv=31, kh=54, h=1, padding="valid")
    grad = grad_of(inputs)
    [got], [exact] = image_gradients(BAND, grad, inputs), expected_gradients(grad, inputs)
    assert ((got.double() - exact) / sizes_of(grad, inputs)[0]).abs().max() < 2**-21


def test_no_bias():
    """On positive numbers nothing averages out: sums that are cut always come out too small."""
    inputs = [
        [torch.rand(1, 3, 8, 40)],
        [torch.rand(1, 51, 8, 40)],
        [torch.rand(1, 51, 8, 40)],
        "replicate",
        False,
    ]
    grad = torch.rand(1, 3, 8, 40)
    [got], [exact] = image_gradients(BAND, grad, inputs), expected_gradients(grad, inputs)
    assert (got.double() / exact - 1).mean().abs() < 1.2e-7


@pytest.mark.parametrize("dtypes", [(HALF, FLOAT), (HALF, HALF), (BRAIN, FLOAT), (BRAIN, BRAIN)])
@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_dtypes(dtypes, padding):
    inputs = inputs_of(dtypes=dtypes, padding=padding, w=37, kv=33, kh=20)
    grad = grad_of(inputs, dtypes[0])
    [got], [exact] = image_gradients(BAND, grad, inputs), expected_gradients(grad, inputs)
    assert got.dtype == FLOAT
    # Folded taps are rounded to their own type.
    tolerance = 1e-6 if padding == "valid" or dtypes[1] == FLOAT else {HALF: 1e-3, BRAIN: 8e-3}[dtypes[1]]
    assert ((got.double() - exact) / sizes_of(grad, inputs)[0]).abs().max() < tolerance


def test_coarse():
    inputs = inputs_of()
    grad = grad_of(inputs)
    [got] = image_gradients(BAND, grad, [*inputs[:4], True])
    errors = (got.double() - expected_gradients(grad, inputs)[0]) / sizes_of(grad, inputs)[0]
    assert 1e-6 < errors.abs().max() < 1e-3  # coarser it is, as float16 products are


@pytest.mark.parametrize("blocks", [1, 2, 5])
def test_where_blocks_begin_changes_nothing(blocks, monkeypatch):
    inputs = inputs_of(h=70, w=20, c=1, kv=17, kh=18)
    grad = grad_of(inputs)
    [expected] = image_gradients(BAND, grad, inputs)
    monkeypatch.setattr(band, "IMAGE_BLOCKS", blocks)
    [got] = image_gradients(BAND, grad, inputs)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dtypes", [(FLOAT, FLOAT), (HALF, HALF)], ids=str)
def test_layouts(offset, interleaved, dtypes):
    inputs = inputs_of(h=3, w=36, kv=17, kh=18, n=2, dtypes=dtypes)
    grad = grad_of(inputs, dtypes[0])
    [expected] = image_gradients(BAND, grad, inputs)
    inputs[1:3] = [[samples.guarded(t, offset) for t in part] for part in inputs[1:3]]
    if interleaved:
        grad = grad.contiguous(memory_format=torch.channels_last)
        inputs[0] = [t.contiguous(memory_format=torch.channels_last) for t in inputs[0]]
    [got] = image_gradients(BAND, grad, inputs)
    assert got.is_contiguous(memory_format=torch.channels_last if interleaved else torch.contiguous_format)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("where", ["vertical", "horizontal", "grad"])
@pytest.mark.parametrize("value", [INF, -INF, NAN])
def test_inf_and_nan(where, value, padding):
    """They come out where plain sums have them, and nothing else is lost."""
    inputs = inputs_of(h=24, w=100, c=2, kv=17, kh=18, padding=padding)
    grad = grad_of(inputs)
    tensor, channel = {"vertical": (inputs[1][0], 5), "horizontal": (inputs[2][0], 7), "grad": (grad, 1)}[
        where
    ]
    tensor[0, channel, 12, 66] = tensor[0, channel, 23, 3] = value
    [got], [expected] = image_gradients(BAND, grad, inputs), image_gradients(PLAIN, grad, inputs)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5, equal_nan=True)
    assert 0.3 < expected.isfinite().double().mean() < 1


@pytest.mark.parametrize("factors", [(1e-30, 1, 1), (1, 1e-30, 1), (1, 1, 1e-30), (1e30, 1, 1), (1, 1e30, 1),
                                     (1, 1, 1e30), (1e-30, 1, 1e30), (1e30, 1, 1e-30), (1e-38, 1, 1e30),
                                     (1e-30, 1e30, 1), (1e-10, 1e-10, 1e-10),
                                     (1e20, 1e10, 1e-30)])  # fmt: skip
def test_range(factors):
    """Of vertical taps, horizontal taps and the gradient of the output."""
    inputs = inputs_of(h=2, w=33, kv=17, kh=18)
    grad = grad_of(inputs)
    [expected], [size] = expected_gradients(grad, inputs), sizes_of(grad, inputs)
    scaled = [inputs[0], [inputs[1][0] * factors[0]], [inputs[2][0] * factors[1]], *inputs[3:]]
    [got] = image_gradients(BAND, grad * factors[2], scaled)
    got = got.double() / (factors[0] * factors[1] * factors[2])
    assert ((got - expected) / size).abs().max() < 1e-6


def test_wide_range_in_one_row():
    inputs = inputs_of(kv=17, kh=18)
    grad = grad_of(inputs)
    grad.mul_(10 ** (6 * torch.randn_like(grad).clamp(-2, 2)))
    [got], [exact] = image_gradients(BAND, grad, inputs), expected_gradients(grad, inputs)
    assert ((got.double() - exact) / sizes_of(grad, inputs)[0]).abs().max() < 5e-7


def test_what_does_not_fit_goes_to_the_plain_kernel():
    for kernels, size in [(BAND, {"c": 4}), (BAND, {"kv": 15}), (BAND, {"kv": 58}), (Emulated(48 << 10), {})]:
        inputs = inputs_of(**{"kv": 20, "kh": 20, **size})
        kernels.launched.clear()
        kernels.kernels._sepconv_backward(grad_of(inputs), *inputs, 0b001)
        assert kernels.launched == ["tiled_image"]


def test_51_taps_fit_every_gpu_with_the_instructions():
    """Of compute capability 8.6, 8.9 and 12.0: 99 KB a block. Two blocks share a multiprocessor's 227 KB."""
    params = BAND.kernels._sepconv_params(*inputs_of()[:4])
    for taps, coarse in [(4, False), (4, True), (2, False)]:
        assert band.image_shared_bytes(params, taps, coarse) <= 99 << 10
