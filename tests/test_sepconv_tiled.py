"""sepconv's tiled kernel in the emulator: the sums of the simple one, in the same order."""

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


def both(inputs: list, monkeypatch) -> tuple[Tensor, Tensor]:
    """Results of the tiled and of the simple kernel."""
    kernels = Emulated(0)
    tiled = kernels.kernels.sepconv(*inputs)
    monkeypatch.setattr(band, "TILED_BYTES", 0)
    simple = kernels.kernels.sepconv(*inputs)
    assert kernels.launched == ["tiled_forward", "forward"]
    return tiled, simple


@pytest.mark.parametrize(
    "size",
    [
        {"w": 33, "kv": 3, "kh": 5},
        {"w": 70, "kv": 15, "kh": 11, "h": 9, "n": 2, "padding": "valid"},
        {"w": 31, "kv": 1, "kh": 1, "c": 1, "h": 1},
        {"w": 64, "kv": 4, "kh": 7, "c": 7, "terms": 2},
        {"w": 40, "kv": 70, "kh": 9, "c": 2},  # more taps than the tensor cores take
        {"w": 5, "kv": 2, "kh": 50, "c": 4, "terms": 2, "padding": "valid"},
    ],
    ids=str,
)
def test_the_same_sums(size, monkeypatch):
    inputs = inputs_of(**size)
    tiled, simple = both(inputs, monkeypatch)
    assert torch.equal(tiled, simple)
    oracle.assert_result(tiled, oracle.sepconv(*inputs), FLOAT)


@pytest.mark.parametrize(
    "dtypes", [(HALF, FLOAT), (HALF, HALF), (BRAIN, FLOAT), (BRAIN, BRAIN), (BYTE, FLOAT), (DOUBLE, DOUBLE)]
)
def test_dtypes(dtypes, monkeypatch):
    inputs = inputs_of(dtypes=dtypes, terms=2, kv=7, kh=6)
    inputs[0][0] = inputs[0][0].contiguous(memory_format=torch.channels_last)
    inputs[1] = [samples.guarded(t, 1) for t in inputs[1]]
    tiled, simple = both(inputs, monkeypatch)
    assert torch.equal(tiled, simple)


def test_inf_and_nan(monkeypatch):
    inputs = inputs_of(h=9, w=70, kv=5, kh=4)
    inputs[0][0][0, 0, 4, 60], inputs[0][0][0, 2, 1, 3] = INF, NAN
    inputs[1][0][0, 3, 7, 20], inputs[2][0][0, 3, 3, 41] = NAN, -INF
    tiled, simple = both(inputs, monkeypatch)
    torch.testing.assert_close(tiled, simple, atol=0, rtol=0, equal_nan=True)
    assert 0.5 < simple.isfinite().double().mean() < 1
