"""sepconv's tensor-core kernels in the emulator, whose tensor core cuts its sums as the hardware does."""

import pytest
import torch
from torch import Tensor

from tests import emulated, oracle, samples
from tests.emulator import build
from tests.samples import BRAIN, BYTE, FLOAT, HALF
from vfi_kernels.jit import band
from vfi_kernels.jit.kernels import Kernels

INF, NAN = float("inf"), float("nan")
pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "here"),
]


class Emulated:
    """The operators, and the kernels that they have launched."""

    def __init__(self, shared_limit: int = 227 << 10) -> None:
        self.launched: list[str] = []
        self.kernels = Kernels(self._launch, lambda device: shared_limit)

    def _launch(self, source, kernel, grid, block, shared, params, device) -> None:
        self.launched.append(kernel.split("<")[0].removeprefix("sepconv_"))
        emulated.module().launch(kernel, grid, block, shared, bytes(params))


BAND, PLAIN = Emulated(), Emulated(0)


def inputs_of(n=1, c=3, h=5, w=33, kv=51, kh=51, dtypes=(FLOAT, FLOAT), padding="replicate", terms=1) -> list:
    return samples.sepconv_inputs(terms, n, c, h, w, kv, kh, dtypes, padding)


def forward(inputs: list, coarse: bool = False) -> Tensor:
    BAND.launched.clear()
    got = BAND.kernels.sepconv(*inputs[:4], coarse)
    assert BAND.launched == ["band_forward"]
    return got


def taps_gradients(kernels: Emulated, grad: Tensor, inputs: list) -> list[Tensor]:
    """Of the vertical and horizontal taps of the first term, then of the second."""
    kernels.launched.clear()
    terms = len(inputs[0])
    results = kernels.kernels._sepconv_backward(grad, *inputs, 0b110110 & (1 << 3 * terms) - 1)
    if kernels is BAND:
        assert kernels.launched == terms * ["band_vertical", "band_horizontal"]
    return [r for i, r in enumerate(results) if i % 3]


def expected_gradients(grad: Tensor, inputs: list) -> list[Tensor]:
    results = oracle.gradients("sepconv", grad, inputs)
    terms = len(inputs[0])
    return [results[part * terms + term] for term in range(terms) for part in (1, 2)]


def errors(got: Tensor, inputs: list) -> Tensor:
    """Relative to the sum of the magnitudes, so that cancellation does not count."""
    size = oracle.sepconv(*([t.abs() for t in part] for part in inputs[:3]), *inputs[3:])
    return (got.double() - oracle.sepconv(*inputs)) / size


SIZES = [
    {"w": 44},  # taps and image in fours
    {"w": 45, "padding": "valid"},
    {"w": 70, "c": 1, "n": 2, "kv": 17, "kh": 16, "h": 67},  # more than a block in both directions
    {"w": 36, "c": 4, "kv": 24, "kh": 52, "terms": 2},  # half a tile is left; two thirds of channels
    {"w": 3, "c": 2, "kv": 31, "kh": 54, "h": 1, "padding": "valid"},
    {"w": 34, "c": 6, "kv": 16, "kh": 17, "terms": 2, "h": 65},
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_as_exact_as_plain_sums(size):
    inputs = inputs_of(**size)
    band_errors = errors(forward(inputs), inputs)
    plain_errors = errors(PLAIN.kernels.sepconv(*inputs), inputs)
    # Two parts hold 2^-23 of a number, where float32 holds 2^-24; a plain sum loses more as it grows.
    assert band_errors.abs().max() <= 2 * plain_errors.abs().max()
    assert band_errors.square().mean() <= 2 * plain_errors.square().mean()


@pytest.mark.parametrize("size", [size for size in SIZES if size.get("c", 3) <= band.CHANNELS], ids=str)
def test_gradients_are_as_exact_as_plain_sums(size):
    inputs = inputs_of(**size)
    grad = samples.image(*forward(inputs).shape)
    magnitudes = [*([t.abs() for t in part] for part in inputs[:3]), *inputs[3:]]
    sizes = expected_gradients(grad.abs(), magnitudes)
    expected = expected_gradients(grad, inputs)
    got, plain = taps_gradients(BAND, grad, inputs), taps_gradients(PLAIN, grad, inputs)
    for size, exact, *results in zip(sizes, expected, got, plain, strict=True):
        band_errors, plain_errors = ((r.double() - exact) / size for r in results)
        assert band_errors.abs().max() <= 2 * plain_errors.abs().max()
        assert band_errors.square().mean() <= 2 * plain_errors.square().mean()


def test_no_bias():
    """On positive numbers nothing averages out: sums that are cut always come out too small."""
    inputs = [
        [torch.rand(1, 3, 54, 94)],
        [torch.rand(1, 51, 4, 44)],
        [torch.rand(1, 51, 4, 44)],
        "valid",
        False,
    ]
    band_errors = errors(forward(inputs), inputs)
    assert band_errors.mean().abs() < 1.2e-7
    assert band_errors.abs().max() <= errors(PLAIN.kernels.sepconv(*inputs), inputs).abs().max()


WIDTHS = [37, 38, 40]  # a lane accesses one tap, two or eight at once; the second strip is not full


@pytest.mark.parametrize(
    "dtypes", [(HALF, FLOAT), (HALF, HALF), (BRAIN, FLOAT), (BRAIN, BRAIN), (BYTE, FLOAT)]
)
@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("width", WIDTHS)
def test_dtypes(width, dtypes, terms):
    inputs = inputs_of(dtypes=dtypes, terms=terms, w=width, kv=33, kh=20)
    oracle.assert_result(forward(inputs), oracle.sepconv(*inputs), dtypes[0])


@pytest.mark.parametrize("dtypes", [(HALF, FLOAT), (HALF, HALF), (BRAIN, FLOAT), (BRAIN, BRAIN)])
@pytest.mark.parametrize("width", WIDTHS)
def test_gradients_of_dtypes(width, dtypes):
    inputs = inputs_of(dtypes=dtypes, w=width, kv=33, kh=20)
    grad = samples.image(*forward(inputs).shape, dtype=dtypes[0])
    expected = expected_gradients(grad, inputs)
    for got, exact in zip(taps_gradients(BAND, grad, inputs), expected, strict=True):
        tolerance = {FLOAT: 1e-5, HALF: 2e-3, BRAIN: 1.6e-2}[dtypes[1]]
        torch.testing.assert_close(got.double(), exact, atol=tolerance * exact.abs().max(), rtol=tolerance)


@pytest.mark.parametrize("offset", [1, 2, 4])
@pytest.mark.parametrize("interleaved", [False, True])
def test_layouts_of_gradients(offset, interleaved):
    inputs = inputs_of(h=3, w=36, kv=17, kh=18, n=2)
    grad = samples.image(2, 3, 3, 36)
    expected = taps_gradients(BAND, grad, inputs)
    inputs[1:3] = [[samples.guarded(t, offset) for t in part] for part in inputs[1:3]]
    if interleaved:
        grad = grad.contiguous(memory_format=torch.channels_last)
        inputs[0] = [t.contiguous(memory_format=torch.channels_last) for t in inputs[0]]
    for got, exact in zip(taps_gradients(BAND, grad, inputs), expected, strict=True):
        assert torch.equal(got, exact)


def test_coarse():
    inputs = inputs_of()
    got = errors(forward(inputs, coarse=True), inputs)
    assert 1e-6 < got.abs().max() < 2e-4  # coarser it is, as float16 products are


@pytest.mark.parametrize("view", range(6))
@pytest.mark.parametrize("dtypes", [(FLOAT, FLOAT), (HALF, HALF)], ids=str)
def test_layouts_of_the_image(view, dtypes):
    inputs = inputs_of(h=3, w=36, kv=17, kh=18, n=2, dtypes=dtypes)
    expected = forward(inputs)
    inputs[0] = [list(samples.views(t))[view] for t in inputs[0]]
    assert torch.equal(forward(inputs), expected)


@pytest.mark.parametrize("offset", [1, 2, 4, 8])
@pytest.mark.parametrize("dtypes", [(FLOAT, FLOAT), (HALF, HALF)], ids=str)
def test_unaligned_taps(offset, dtypes):
    inputs = inputs_of(h=3, w=40, kv=17, kh=18, n=2, dtypes=dtypes)
    expected = forward(inputs)
    inputs[1:3] = [[samples.guarded(t, offset) for t in part] for part in inputs[1:3]]
    assert torch.equal(forward(inputs), expected)


def test_inf_and_nan():
    inputs = inputs_of(h=9, w=70, kv=17, kh=18)
    [image], [vertical], [horizontal], *_ = inputs
    image[0, 0, 4, 60], image[0, 2, 1, 3] = INF, NAN
    vertical[0, 5, 7, 20], vertical[0, 6, 2, 21] = NAN, -INF
    horizontal[0, 3, 6, 40], horizontal[0, 4, 3, 41] = INF, NAN
    got, expected = forward(inputs), PLAIN.kernels.sepconv(*inputs)
    assert torch.equal(got.isnan(), expected.isnan())
    assert torch.equal(got[got.isinf()], expected[expected.isinf()])
    assert torch.equal(got.isinf(), expected.isinf())
    finite = expected.isfinite()
    torch.testing.assert_close(got[finite], expected[finite], atol=1e-6, rtol=1e-5)
    assert 0.2 < finite.double().mean() < 0.9


def test_inf_and_nan_in_gradients():
    inputs = inputs_of(h=9, w=70, kv=17, kh=18)
    grad = samples.image(1, 3, 9, 70)
    inputs[0][0][0, 0, 4, 60], inputs[0][0][0, 2, 1, 3] = INF, NAN
    inputs[1][0][0, 5, 7, 20], inputs[1][0][0, 6, 2, 21] = NAN, -INF
    inputs[2][0][0, 3, 6, 40], inputs[2][0][0, 4, 3, 41] = INF, NAN
    grad[0, 1, 5, 30], grad[0, 0, 0, 50] = NAN, -INF
    plain = taps_gradients(PLAIN, grad, inputs)
    for got, expected in zip(taps_gradients(BAND, grad, inputs), plain, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5, equal_nan=True)
        assert 0.2 < expected.isfinite().double().mean() < 0.99


@pytest.mark.parametrize("factors", [(1e-30, 1, 1), (1, 1e-30, 1), (1, 1, 1e-30), (1e30, 1, 1), (1, 1e30, 1),
                                     (1, 1, 1e30), (1e-30, 1, 1e30), (1e30, 1, 1e-30), (1e-38, 1, 1e30),
                                     (1e-30, 1e30, 1), (1e-10, 1e-10, 1e-10)])  # fmt: skip
def test_range(factors):
    inputs = inputs_of(h=2, w=33, kv=17, kh=18)
    expected = oracle.sepconv(*inputs)
    size = oracle.sepconv(*([t.abs() for t in part] for part in inputs[:3]), *inputs[3:])
    scaled = [[t * f for t in part] for part, f in zip(inputs[:3], factors, strict=True)]
    got = forward([*scaled, *inputs[3:]]).double() / (factors[0] * factors[1] * factors[2])
    assert ((got - expected) / size).abs().max() < 1e-6


@pytest.mark.parametrize("factors", [(1e-30, 1, 1, 1), (1, 1e-30, 1, 1), (1, 1, 1e-30, 1), (1, 1, 1, 1e-25),
                                     (1e30, 1, 1, 1), (1, 1e30, 1, 1), (1, 1, 1e30, 1), (1, 1, 1, 1e30),
                                     (1e-30, 1, 1e30, 1), (1e30, 1, 1e-30, 1),
                                     (1e30, 1, 1, 1e-20)])  # fmt: skip
def test_range_of_gradients(factors):
    inputs, grad = inputs_of(h=2, w=33, kv=17, kh=18), samples.image(1, 3, 2, 33)
    magnitudes = [*([t.abs() for t in part] for part in inputs[:3]), *inputs[3:]]
    expected, sizes = expected_gradients(grad, inputs), expected_gradients(grad.abs(), magnitudes)
    scaled = [[t * f for t in part] for part, f in zip(inputs[:3], factors, strict=False)]
    got = taps_gradients(BAND, grad * factors[3], [*scaled, *inputs[3:]])
    image, vertical, horizontal, grad_out = factors
    for result, exact, size, other in zip(got, expected, sizes, (horizontal, vertical), strict=True):
        relative = (result.double() / (image * grad_out * other) - exact) / size
        assert relative.abs().max() < 1e-6


def test_wide_range_in_one_tile():
    inputs = inputs_of(kv=17, kh=18)
    inputs[0][0].mul_(10 ** (6 * torch.randn_like(inputs[0][0]).clamp(-2, 2)))
    assert errors(forward(inputs), inputs).abs().max() < 5e-7


def test_what_does_not_fit_goes_to_other_kernels():
    too_many = inputs_of(kv=20, kh=58, padding="valid")
    doubles = inputs_of(dtypes=(torch.float64, torch.float64))
    for inputs, kernel in [
        (inputs_of(kv=15, kh=20), "tiled_forward"),
        (inputs_of(kv=20, kh=15), "tiled_forward"),
        (too_many, "tiled_forward"),
        (inputs_of(kv=60, kh=30), "tiled_forward"),
        (doubles, "tiled_forward"),
    ]:
        BAND.launched.clear()
        BAND.kernels.sepconv(*inputs)
        assert BAND.launched == [kernel]
    inputs = inputs_of(kv=20, kh=20)
    interleaved = [t.contiguous(memory_format=torch.channels_last) for t in inputs[1]]
    BAND.launched.clear()
    got = BAND.kernels.sepconv(inputs[0], interleaved, *inputs[2:])
    assert BAND.launched == ["tiled_forward"]
    torch.testing.assert_close(got, forward(inputs))
    small = Emulated(48 << 10)
    small.kernels.sepconv(*inputs)
    assert small.launched == ["tiled_forward"]


def test_simple_kernels_can_be_asked_for(monkeypatch):
    inputs = inputs_of(kv=20, kh=20)
    monkeypatch.setenv("VFI_CUDA_KERNELS", "simple")
    BAND.launched.clear()
    got = BAND.kernels.sepconv(*inputs)
    BAND.kernels._sepconv_backward(samples.image(*got.shape), *inputs, 0b111)
    assert BAND.launched == ["forward", "backward_vertical", "backward_horizontal", "backward_image"]


def test_51_taps_fit_every_gpu_with_the_instructions():
    """Of compute capability 8.6, 8.9 and 12.0: 99 KB a block. Two blocks share a multiprocessor's 227 KB."""
    params = BAND.kernels._sepconv_params(*inputs_of(terms=2)[:4])
    for image, taps, coarse in [(4, 4, False), (4, 4, True), (2, 4, False), (2, 2, False), (1, 4, False)]:
        assert band.shared_bytes(params, image, taps, coarse) <= 99 << 10
