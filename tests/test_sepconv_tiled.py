"""sepconv's tiled kernels in the emulator, against the simple ones and a float64 oracle."""

import pytest
import torch
from torch import Tensor

from tests import oracle, samples
from tests.emulator import build
from tests.samples import BRAIN, BYTE, DOUBLE, FLOAT, HALF
from tests.test_sepconv_band import Emulated, inputs_of
from vfi_kernels.jit import band

INF, NAN = float("inf"), float("nan")
pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "here"),
]


def both(inputs: list, monkeypatch, grad: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """Results of the tiled and of the simple kernels; the gradients where there is one of the output."""
    kernels, terms = Emulated(0), len(inputs[0])

    def run() -> list[Tensor]:
        if grad is None:
            return [kernels.kernels.sepconv(*inputs)]
        return kernels.kernels._sepconv_backward(grad, *inputs, (1 << 3 * terms) - 1)

    tiled = run()
    gradients = terms * ["tiled_taps", "tiled_taps", "tiled_image"]
    assert kernels.launched == (["tiled_forward"] if grad is None else gradients)
    kernels.launched.clear()
    with monkeypatch.context() as patch:
        patch.setenv("VFI_CUDA_KERNELS", "simple")
        simple = run()
    assert not any("tiled" in name for name in kernels.launched)
    return tiled, simple


SIZES = [
    {"w": 33, "kv": 3, "kh": 5},
    {"w": 70, "kv": 15, "kh": 11, "h": 37, "n": 2, "padding": "valid"},
    {"w": 31, "kv": 1, "kh": 1, "c": 1, "h": 1},
    {"w": 64, "kv": 4, "kh": 7, "c": 7, "terms": 2, "h": 9},
    {"w": 40, "kv": 70, "kh": 9, "c": 2},  # more taps than the tensor cores take, and than a tile
    {"w": 5, "kv": 2, "kh": 73, "c": 4, "terms": 2, "padding": "valid"},
    {"w": 131, "kv": 6, "kh": 34, "h": 3},  # more than a block of the image in a row
    {"w": 1, "kv": 5, "kh": 4, "h": 2},  # the only column is both ends of the image
]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_forward(size, monkeypatch):
    inputs = inputs_of(**size)
    [tiled], [simple] = both(inputs, monkeypatch)
    oracle.assert_result(tiled, oracle.sepconv(*inputs), FLOAT)
    if size["kh"] <= 8:  # held at once: the same sums in the same order
        assert torch.equal(tiled, simple)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_gradients(size, monkeypatch):
    """Those of the taps are the simple kernels' sums in the same order."""
    inputs = inputs_of(**size)
    grad = samples.image(*oracle.sepconv(*inputs).shape)
    terms, exact = len(inputs[0]), oracle.gradients("sepconv", grad, inputs)
    for i, (got, simple) in enumerate(zip(*both(inputs, monkeypatch, grad), strict=True)):
        assert i % 3 == 0 or torch.equal(got, simple)
        expected = exact[i % 3 * terms + i // 3]
        torch.testing.assert_close(got.double(), expected, atol=2e-6 * expected.abs().max(), rtol=1e-5)


@pytest.mark.parametrize(
    "dtypes",
    [(HALF, FLOAT), (HALF, HALF), (BRAIN, FLOAT), (BRAIN, BRAIN), (BYTE, FLOAT), (DOUBLE, DOUBLE)],
)
def test_dtypes_and_layouts(dtypes, monkeypatch):
    inputs = inputs_of(dtypes=dtypes, terms=2, kv=7, kh=6, h=19)
    inputs[0][0] = inputs[0][0].contiguous(memory_format=torch.channels_last)
    inputs[1] = [samples.guarded(t, 1) for t in inputs[1]]
    inputs[2] = [t.contiguous(memory_format=torch.channels_last) for t in inputs[2]]
    [tiled], [simple] = both(inputs, monkeypatch)
    assert torch.equal(tiled, simple)
    if dtypes[0] == BYTE:
        return
    grad = samples.image(*tiled.shape, dtype=dtypes[0]).contiguous(memory_format=torch.channels_last)
    for i, (got, simple) in enumerate(zip(*both(inputs, monkeypatch, grad), strict=True)):
        tolerance = 0 if i % 3 else 1e-5  # taps; image, in another order
        torch.testing.assert_close(got, simple, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("kh", [4, 10])
def test_inf_and_nan(kh, monkeypatch):
    inputs = inputs_of(h=9, w=70, kv=5, kh=kh)
    inputs[0][0][0, 0, 4, 60], inputs[0][0][0, 2, 1, 3] = INF, NAN
    inputs[1][0][0, 3, 7, 20], inputs[2][0][0, 3, 3, 41] = NAN, -INF
    inputs[1][0][0, 2, 2, 10:16] = INF
    grad = samples.image(1, 3, 9, 70)
    grad[0, 1, 5, 30], grad[0, 0, 0, 50], grad[0, 2, 8, 0] = NAN, -INF, INF
    for gradient in (None, grad):
        for got, expected in zip(*both(inputs, monkeypatch, gradient), strict=True):
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5, equal_nan=True)
            assert 0.2 < expected.isfinite().double().mean() < 1


def test_blocks_stride_beyond_the_limits_of_a_grid(monkeypatch):
    inputs, grad = inputs_of(h=35, w=40, kv=9, kh=6, n=3), samples.image(3, 3, 35, 40)
    expected = [*both(inputs, monkeypatch)[0], *both(inputs, monkeypatch, grad)[0]]
    monkeypatch.setattr(band, "MAX_GRID_YZ", 2)
    got = [*both(inputs, monkeypatch)[0], *both(inputs, monkeypatch, grad)[0]]
    assert all(map(torch.equal, got, expected))
