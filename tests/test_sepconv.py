import pytest
import torch
from conftest import Backend, backends
from torch import Tensor

import vfi_kernels
from tests import oracle, samples
from tests.samples import BYTE, DOUBLE, FLOAT, HALF
from vfi_kernels import reference

INF, NAN = float("inf"), float("nan")


def tap(*values: float, width: int) -> Tensor:
    """The same taps at every pixel of a row."""
    return torch.tensor(values, dtype=FLOAT).view(1, -1, 1, 1).expand(1, len(values), 1, width)


@pytest.mark.parametrize("dtype", [FLOAT, BYTE])
def test_truth_table(backend: Backend, dtype):
    def run(*taps: float, padding: str = "valid", vertical: tuple = (1.0,)) -> list[float]:
        width = 4 if padding == "replicate" else 5 - len(taps)
        image = torch.tensor([1, 2, 3, 4], dtype=dtype).view(1, 1, 1, 4)
        inputs = [image, tap(*vertical, width=width), tap(*taps, width=width)]
        return (
            vfi_kernels.sepconv(*[i.to(backend.device) for i in inputs], padding=padding).flatten().tolist()
        )

    # A correlation: tap 0 is to the left.
    assert run(1, 0) == [1, 2, 3]
    assert run(0, 1) == [2, 3, 4]
    assert run(10, 1, 0) == [12, 23]
    # (K - 1) // 2 before and K // 2 after: two taps start at the pixel itself, three before it.
    assert run(1, 0, padding="replicate") == [1, 2, 3, 4]
    assert run(0, 1, padding="replicate") == [2, 3, 4, 4]
    assert run(1, 0, 0, padding="replicate") == [1, 1, 2, 3]
    assert run(1, 0, 0, 0, 0, 0, 0, 10, padding="replicate") == [41, 41, 41, 41]
    # More taps than rows, all on the one row that there is.
    assert run(2, padding="replicate", vertical=(1, 1, 1, 1, 1)) == [10, 20, 30, 40]
    assert run(100, padding="replicate") == ([100, 200, 255, 255] if dtype == BYTE else [100, 200, 300, 400])


def test_taps_are_of_their_pixel(backend: Backend):
    image = torch.arange(20.0).view(1, 1, 4, 5)
    vertical, horizontal = torch.zeros(1, 3, 2, 4), torch.zeros(1, 2, 2, 4)
    vertical[0, 2, 1, 3] = horizontal[0, 1, 1, 3] = (
        1  # the bottom right of the window of the bottom right pixel
    )
    got = backend.forward("sepconv", [[image], [vertical], [horizontal], "valid", False])
    assert got.flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 19]


def test_truth_table_of_gradients(backend: Backend):
    image = torch.tensor([1.0, 2, 3]).view(1, 1, 1, 3)
    inputs = [[image], [tap(2, width=3)], [tap(1, 10, width=3)], "replicate", False]
    grads = backend.gradients("sepconv", torch.ones(1, 1, 1, 3), inputs)
    assert grads[0].flatten().tolist() == [2, 22, 42]
    assert grads[1].flatten().tolist() == [21, 32, 33]
    assert grads[2].flatten().tolist() == [2, 4, 6, 4, 6, 6]


def check(backend: Backend, inputs: list) -> None:
    got, dtype = backend.forward("sepconv", inputs), inputs[0][0].dtype
    oracle.assert_result(got, oracle.sepconv(*inputs), dtype)
    if dtype != BYTE:
        grad = samples.image(*got.shape, dtype=dtype)
        oracle.assert_gradients(
            backend.gradients("sepconv", grad, inputs), oracle.gradients("sepconv", grad, inputs)
        )


@pytest.mark.parametrize("terms", [1, 2])
@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("dtypes", samples.DTYPES_WITH_BYTE, ids=str)
def test_matches_reference(backend: Backend, dtypes, padding, terms):
    check(backend, samples.sepconv_inputs(terms, 2, 3, 7, 9, 5, 4, dtypes, padding))


@pytest.mark.parametrize(
    ("c", "h", "w", "kv", "kh"), [(3, 6, 11, 51, 51), (4, 3, 40, 1, 25), (1, 17, 3, 8, 1), (5, 2, 70, 2, 3)]
)
@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_numbers_of_taps(backend: Backend, padding, c, h, w, kv, kh):
    """51 as in SepConv, more than the image is high, and sizes that no tile divides."""
    check(backend, samples.sepconv_inputs(1, 2, c, h, w, kv, kh, (FLOAT, FLOAT), padding))


def test_terms_of_different_taps(backend: Backend):
    first, second = (
        samples.sepconv_inputs(1, 2, 3, 5, 7, kv, kh, (FLOAT, FLOAT), "valid") for kv, kh in [(3, 6), (4, 1)]
    )
    check(backend, [*(a + b for a, b in zip(first[:3], second[:3], strict=True)), "valid", False])


@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_gradcheck(differentiable: str, padding):
    def sizes() -> list[Tensor]:
        [image], [vertical], [horizontal], *_ = samples.sepconv_inputs(
            1, 1, 2, 3, 4, 2, 5, (DOUBLE, DOUBLE), padding
        )
        return [t.to(differentiable) for t in (image, vertical, horizontal)]

    tensors = [*sizes(), *sizes()]
    for wanted in [*([i == j for j in range(3)] for i in range(3)), [True] * 3]:
        inputs = [t.clone().requires_grad_(w) for t, w in zip(tensors[:3], wanted, strict=True)]
        torch.autograd.gradcheck(lambda *t: vfi_kernels.sepconv(*t, padding=padding), inputs)
    for wanted in [*([i == j for j in range(6)] for i in range(3, 6)), [True] * 6]:
        inputs = [t.clone().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
        torch.autograd.gradcheck(lambda *t: vfi_kernels.sepconv_pair(*t, padding=padding), inputs)


def test_errors():
    image, vertical, horizontal = torch.rand(1, 3, 6, 9), torch.rand(1, 3, 4, 5), torch.rand(1, 5, 4, 5)
    one, pair = vfi_kernels.sepconv, vfi_kernels.sepconv_pair
    for error, text, call in [
        (
            ValueError,
            r"^sepconv: image must be \[1, 3, 6, 9\] to fit the taps with 'valid'; got \[1, 3, 5, 9\]$",
            lambda: one(image[:, :, 1:], vertical, horizontal),
        ),
        (
            ValueError,
            r"image must be \[1, 3, 4, 5\] to fit the taps with 'replicate'; got \[1, 3, 6, 9\]",
            lambda: one(image, vertical, horizontal, padding="replicate"),
        ),
        (
            ValueError,
            r"horizontal must be \[N, K, 4, 5\] like vertical; got \[1, 5, 3, 5\]",
            lambda: one(image, vertical, horizontal[:, :, 1:]),
        ),
        (
            ValueError,
            r"vertical must be \[N, K, H, W\] with K >= 1; got \[1, 0, 4, 5\]",
            lambda: one(image, vertical[:, :0], horizontal),
        ),
        (
            ValueError,
            r"vertical must have a batch of 1 like image; got \[2, 3, 4, 5\]",
            lambda: one(image, vertical.expand(2, -1, -1, -1), horizontal),
        ),
        (
            ValueError,
            r"padding must be 'valid' or 'replicate'; got 'border'",
            lambda: one(image, vertical, horizontal, padding="border"),
        ),
        (
            ValueError,
            r"horizontal must be on cpu like image; got meta",
            lambda: one(image, vertical, horizontal.to("meta")),
        ),
        (TypeError, r"image must be .* or uint8; got int32", lambda: one(image.int(), vertical, horizontal)),
        (
            TypeError,
            r"vertical must be float32 with image in uint8; got float16",
            lambda: one(image.byte(), vertical.half(), horizontal),
        ),
        (TypeError, r"horizontal must be a tensor; got NoneType", lambda: one(image, vertical, None)),
        (
            ValueError,
            r"^sepconv_pair: frame1 must be \[1, 3, H, W\] like frame0; got \[1, 2, 6, 9\]",
            lambda: pair(image, vertical, horizontal, image[:, 1:], vertical, horizontal, padding="valid"),
        ),
        (
            ValueError,
            r"vertical1 must be \[N, K, 4, 5\] like vertical0; got \[1, 3, 4, 4\]",
            lambda: pair(
                image,
                vertical,
                horizontal,
                image[..., 1:],
                vertical[..., 1:],
                horizontal[..., 1:],
                padding="valid",
            ),
        ),
        (
            TypeError,
            r"frame1 must be float32 like frame0; got float16",
            lambda: pair(image, vertical, horizontal, image.half(), vertical, horizontal, padding="valid"),
        ),
    ]:
        with pytest.raises(error, match=text):
            call()


@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_edge_inputs(backend: Backend, padding):
    for n, c, h, w, kv, kh in [
        (0, 3, 4, 5, 3, 3),
        (1, 1, 1, 1, 1, 1),
        (1, 2, 1, 1, 7, 4),
        (3, 1, 1, 6, 2, 9),
        (1, 1, 6, 1, 3, 3),
    ]:
        inputs = samples.sepconv_inputs(2, n, c, h, w, kv, kh, (FLOAT, FLOAT), padding)
        got = backend.forward("sepconv", inputs)
        assert got.shape == (n, c, h, w)
        if n:
            check(backend, inputs)
        else:
            grads = backend.gradients("sepconv", got, inputs)
            assert [g.shape for g in grads] == [t.shape for part in inputs[:3] for t in part]
    # Inf and NaN come out where a window holds them, and only there; large finite numbers stay finite.
    inputs = samples.sepconv_inputs(1, 1, 1, 4, 40, 3, 3, (FLOAT, FLOAT), padding)
    inputs[0][0][0, 0, 2, 30], inputs[0][0][0, 0, 2, 5] = INF, NAN
    got, expected = backend.forward("sepconv", inputs), oracle.sepconv(*inputs)
    oracle.assert_result(got.nan_to_num(0, 0, 0), expected.nan_to_num(0, 0, 0), FLOAT)
    assert torch.equal(got.cpu().isnan(), expected.isnan())
    assert torch.equal(got.cpu().isinf(), expected.isinf())
    inputs = samples.sepconv_inputs(1, 1, 1, 4, 40, 3, 3, (FLOAT, FLOAT), padding)
    for scale in (1e30, 1e-30):
        scaled = [[inputs[0][0] * scale], *inputs[1:]]
        got = backend.forward("sepconv", scaled).cpu().double() / scale
        torch.testing.assert_close(got, oracle.sepconv(*inputs), atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_pair_is_the_sum(differentiable: str, padding):
    first, second = (samples.sepconv_inputs(1, 2, 3, 5, 7, 4, 6, (HALF, FLOAT), padding) for _ in range(2))
    first, second = ([t[0].to(differentiable) for t in part[:3]] for part in (first, second))
    got = vfi_kernels.sepconv_pair(*first, *second, padding=padding)
    # Rounded to half precision once, where two calls round twice.
    single = [vfi_kernels.sepconv(part[0].float(), *part[1:], padding=padding) for part in (first, second)]
    torch.testing.assert_close(got, (single[0] + single[1]).half())


def test_mixed_dtypes_of_taps(differentiable: str):
    [image], [vertical], [horizontal], *_ = samples.sepconv_inputs(1, 1, 2, 3, 4, 3, 3, (HALF, HALF), "valid")
    image, vertical, horizontal = (t.to(differentiable) for t in (image, vertical, horizontal))
    expected = vfi_kernels.sepconv(image, vertical, horizontal)
    assert torch.equal(vfi_kernels.sepconv(image, vertical.float(), horizontal), expected)


def test_autocast(differentiable: str):
    [image], [vertical], [horizontal], *_ = samples.sepconv_inputs(
        1, 1, 2, 3, 4, 3, 3, (FLOAT, torch.bfloat16), "valid"
    )
    image, vertical, horizontal = (t.to(differentiable) for t in (image, vertical, horizontal))
    expected = vfi_kernels.sepconv(image, vertical.float(), horizontal.float())
    with torch.autocast(differentiable, torch.bfloat16):
        assert torch.equal(vfi_kernels.sepconv(image, vertical, horizontal), expected)


def test_accuracy_of_many_taps(backend: Backend):
    """51 x 51 terms in float32 lose no more than plain float32 sums do, unless the precision of matmuls is
    lowered.
    """
    inputs = [
        [torch.rand(1, 3, 54, 114)],
        [torch.rand(1, 51, 4, 64)],
        [torch.rand(1, 51, 4, 64)],
        "valid",
        False,
    ]
    expected = oracle.sepconv(*inputs)
    got = backend.forward("sepconv", inputs).cpu().double()
    assert ((got - expected).abs() / expected).max() < 2e-6


@pytest.mark.parametrize(("kv", "kh"), [(1, 1), (2, 3), (4, 5), (9, 51), (51, 8)])
@pytest.mark.parametrize("width", [3, 8, 17, 30])
@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_sizes_around_the_blocks(compiled: None, padding, width, kv, kh):
    """Widths and heights that no vector, strip or tile divides, and images smaller than the taps."""
    backend = Backend("cpu", "cpu", torch.ops.vfi_kernels)
    check(backend, samples.sepconv_inputs(2, 1, 4, 6, width, kv, kh, (FLOAT, FLOAT), padding))


def test_wider_than_a_tile(compiled: None):
    backend = Backend("cpu", "cpu", torch.ops.vfi_kernels)
    for padding in ("valid", "replicate"):
        check(backend, samples.sepconv_inputs(1, 2, 1, 18, 530, 3, 5, (FLOAT, FLOAT), padding))


@pytest.mark.parametrize(("h", "w"), [(37, 83), (2, 540)])
@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_threads_change_nothing(compiled: None, padding, h, w):
    backend = Backend("cpu", "cpu", torch.ops.vfi_kernels)
    inputs = samples.sepconv_inputs(1, 2, 3, h, w, 9, 6, (FLOAT, FLOAT), padding)
    grad, threads, results = samples.image(2, 3, h, w), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append([backend.forward("sepconv", inputs), *backend.gradients("sepconv", grad, inputs)])
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("special", [INF, NAN])
@pytest.mark.parametrize("padding", ["valid", "replicate"])
def test_special_values_in_gradients(compiled: None, padding, special):
    """Inf and NaN of the gradient, a tap or the image reach what they are multiplied with, and no more."""
    backend = Backend("cpu", "cpu", torch.ops.vfi_kernels)
    for which in range(4):
        inputs = samples.sepconv_inputs(1, 1, 3, 9, 30, 5, 6, (FLOAT, FLOAT), padding)
        grad = samples.image(1, 3, 9, 30)
        [grad, inputs[0][0], inputs[1][0], inputs[2][0]][which][0, 1, 4, 13] = special
        got = backend.gradients("sepconv", grad, inputs)
        expected = oracle.gradients("sepconv", grad, inputs)
        for a, b in zip(got, expected, strict=True):
            assert torch.equal(a.isfinite(), b.isfinite())
            oracle.assert_gradients([a.nan_to_num(0, 0, 0)], [b.nan_to_num(0, 0, 0)])


def test_layouts_of_taps_and_gradient(compiled: None):
    backend = Backend("cpu", "cpu", torch.ops.vfi_kernels)
    for dtypes in [(FLOAT, FLOAT), (HALF, HALF), (DOUBLE, DOUBLE)]:
        inputs = samples.sepconv_inputs(1, 2, 3, 7, 35, 6, 9, dtypes, "replicate")
        grad = samples.image(1, 1, 1, 1, dtype=dtypes[0]).expand(2, 3, 7, 35)
        last = [[t.contiguous(memory_format=torch.channels_last) for t in part] for part in inputs[:3]]
        expected = oracle.gradients("sepconv", grad, inputs)
        oracle.assert_gradients(backend.gradients("sepconv", grad, [*last, "replicate", False]), expected)
        oracle.assert_result(
            backend.forward("sepconv", [*last, "replicate", False]), oracle.sepconv(*inputs), dtypes[0]
        )


def test_precision_of_matmuls(monkeypatch: pytest.MonkeyPatch):
    """Like a matmul: coarse products only where the user has allowed them, under torch.compile as well."""
    asked = []

    def sepconv(images: list[Tensor], *rest) -> Tensor:
        asked.append(rest[-1])
        return images[0]

    monkeypatch.setattr(backends, "_has_kernel", lambda device_type: False)
    monkeypatch.setattr(reference, "sepconv", sepconv)
    inputs = [torch.rand(1, 1, 2, 3), tap(1, width=3).expand(1, 1, 2, 3), tap(1, width=3).expand(1, 1, 2, 3)]
    before = torch.get_float32_matmul_precision()
    try:
        for precision, coarse in [("highest", False), ("high", True), ("medium", True), ("highest", False)]:
            torch.set_float32_matmul_precision(precision)
            vfi_kernels.sepconv(*inputs)
            assert asked.pop() is coarse
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("compiled")
def test_precision_under_compile():
    torch._dynamo.reset()
    graphs = []

    def record(graph: torch.fx.GraphModule, example: list) -> torch.fx.GraphModule:
        [call] = [node for node in graph.graph.nodes if node.op == "call_function" and "sepconv" in str(node)]
        graphs.append(call.args[-1])
        return graph

    compiled = torch.compile(vfi_kernels.sepconv, fullgraph=True, backend=record)
    inputs = [torch.rand(1, 1, 2, 3), torch.rand(1, 1, 2, 3), torch.rand(1, 1, 2, 3)]
    before = torch.get_float32_matmul_precision()
    try:
        for precision in ("highest", "high", "highest"):
            torch.set_float32_matmul_precision(precision)
            compiled(*inputs)
    finally:
        torch.set_float32_matmul_precision(before)
    assert graphs == [False, True]  # traced anew for another precision, and both are kept
