import pytest
import torch
from conftest import Backend
from torch import Tensor

import vfi_kernels
from tests import oracle, samples
from tests.samples import BYTE, DOUBLE, FLOAT, HALF

INF, NAN = float("inf"), float("nan")


def row(*values: float, dtype: torch.dtype = FLOAT) -> Tensor:
    return torch.tensor(values, dtype=dtype).view(1, 1, 1, -1)


def along_x(*dx: float) -> Tensor:
    return torch.stack([torch.tensor(dx), torch.zeros(len(dx))]).view(1, 2, 1, -1)


@pytest.mark.parametrize(
    ("dx", "border", "zeros"),
    [
        ((0, 0, 0), (10, 20, 40), (10, 20, 40)),
        ((1, 1, 1), (20, 40, 40), (20, 40, 0)),
        ((-1, -1, -1), (10, 10, 20), (0, 10, 20)),
        ((0.5, 0.5, 0.5), (15, 30, 40), (15, 30, 20)),
        ((-0.25, 0.75, 0.25), (10, 35, 40), (7.5, 35, 30)),
        ((9, -9, 0), (40, 10, 40), (0, 0, 40)),
        ((INF, -INF, 1e30), (40, 10, 40), (0, 0, 0)),
        ((NAN, 0, -1e30), (10, 20, 10), (10, 20, 0)),
    ],
)
def test_truth_table(backend: Backend, dx, border, zeros):
    image, flow = row(10, 20, 40).to(backend.device), along_x(*dx).to(backend.device)
    for padding, expected in [("border", border), ("zeros", zeros)]:
        assert vfi_kernels.backwarp(image, flow, padding=padding).flatten().tolist() == list(expected)
        # The same along y.
        tall = vfi_kernels.backwarp(image.mT, flow.flip(1).mT, padding=padding)
        assert tall.flatten().tolist() == list(expected)


def test_truth_table_of_gradients(backend: Backend):
    # At 0.25 and clamped; the end of the border counts as clamped, the beginning too.
    grads = backend.gradients("backwarp", [row(1, 1, 1)], [[row(10, 20, 40)], along_x(0.25, 5, 0), "border"])
    assert grads[0].flatten().tolist() == [0.75, 0.25, 2]
    assert grads[1][0, 0].flatten().tolist() == [10, 0, 0]
    # Outside, with zeros: half of a pixel's weight falls off the image.
    grads = backend.gradients(
        "backwarp", [row(1, 1, 1)], [[row(10, 20, 40)], along_x(-0.5, 0.5, 0.5), "zeros"]
    )
    assert grads[0].flatten().tolist() == [0.5, 0.5, 1]
    assert grads[1][0, 0].flatten().tolist() == [10, 20, -40]


@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("dtypes", samples.DTYPES, ids=str)
def test_matches_reference(backend: Backend, dtypes, padding):
    images = [samples.image(2, channels, 7, 9, dtype=dtypes[0]) for channels in (3, 1)]
    for entries in (2, 6):  # a flow for each frame, and three
        inputs = [images, samples.flow(entries, 7, 9, dtype=dtypes[1]), padding]
        for got, expected in zip(backend.forward("backwarp", inputs), oracle.backwarp(*inputs), strict=True):
            oracle.assert_result(got, expected, dtypes[0])
        grads = [samples.image(entries, image.shape[1], 7, 9, dtype=dtypes[0]) for image in images]
        oracle.assert_gradients(
            backend.gradients("backwarp", grads, inputs), oracle.gradients("backwarp", grads, inputs)
        )


def test_matches_grid_sample_near_integers(backend: Backend):
    """Random flows: where a float32 coordinate rounds over an integer, the value stays close all the same."""
    image, flow = torch.rand(1, 3, 40, 60), 5 * torch.randn(1, 2, 40, 60)
    for padding in ("border", "zeros"):
        [got] = backend.forward("backwarp", [[image], flow, padding])
        oracle.assert_result(got, oracle.backwarp([image], flow, padding)[0], FLOAT)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_gradcheck(differentiable: str, padding):
    image = samples.image(2, 2, 3, 4, dtype=DOUBLE).to(differentiable)
    flow = samples.flow(4, 3, 4, dtype=DOUBLE).to(differentiable)
    for wanted in [(True, False), (False, True), (True, True)]:
        inputs = [t.clone().requires_grad_(want) for t, want in zip((image, flow), wanted, strict=True)]
        torch.autograd.gradcheck(lambda i, f: vfi_kernels.backwarp(i, f, padding=padding), inputs)
    pair = [
        image.clone().requires_grad_(),
        image[:, :1].clone().requires_grad_(),
        flow.clone().requires_grad_(),
    ]
    torch.autograd.gradcheck(lambda i, j, f: vfi_kernels.backwarp_multi([i, j], f, padding=padding), pair)


def test_errors():
    image, flow = torch.rand(2, 3, 4, 5), torch.rand(2, 2, 4, 5)
    multi = vfi_kernels.backwarp_multi
    for error, text, call in [
        (
            ValueError,
            r"backwarp: image must be \[N, C, H, W\]; got \[3, 4, 5\]",
            lambda: vfi_kernels.backwarp(image[0], flow),
        ),
        (
            ValueError,
            r"flow must be \[N, 2, 4, 5\] like image; got \[2, 2, 4, 4\]",
            lambda: vfi_kernels.backwarp(image, flow[..., 1:]),
        ),
        (
            ValueError,
            r"flow must be \[N, 2, 4, 5\] like image; got \[2, 1, 4, 5\]",
            lambda: vfi_kernels.backwarp(image, flow[:, 1:]),
        ),
        (
            ValueError,
            r"batch of 2 like image.*; got \[3, 2, 4, 5\]",
            lambda: vfi_kernels.backwarp(image, flow[[0, 0, 0]]),
        ),
        (ValueError, r"C, H, W >= 1; got \[2, 0, 4, 5\]", lambda: vfi_kernels.backwarp(image[:, :0], flow)),
        (
            ValueError,
            r"padding must be 'border' or 'zeros'; got 'reflection'",
            lambda: vfi_kernels.backwarp(image, flow, padding="reflection"),
        ),
        (
            ValueError,
            r"flow must be on cpu like image; got meta",
            lambda: vfi_kernels.backwarp(image, flow.to("meta")),
        ),
        (TypeError, r"image must be a tensor; got list", lambda: vfi_kernels.backwarp([image], flow)),
        (
            TypeError,
            r"image must be float16 or .*; got uint8",
            lambda: vfi_kernels.backwarp(image.to(BYTE), flow),
        ),
        (
            TypeError,
            r"flow must be float32 with image in float32; got float16",
            lambda: vfi_kernels.backwarp(image, flow.half()),
        ),
        (
            TypeError,
            r"flow must be float16 or float32 with image in float16; got float64",
            lambda: vfi_kernels.backwarp(image.half(), flow.double()),
        ),
        (TypeError, r"images must be a list of tensors; got Tensor", lambda: multi(image, flow)),
        (ValueError, r"images must hold at least one tensor", lambda: multi([], flow)),
        (
            ValueError,
            r"images\[1\] must be \[2, C, 4, 5\] like images\[0\]; got \[2, 3, 4, 4\]",
            lambda: multi([image, image[..., 1:]], flow),
        ),
        (
            TypeError,
            r"flow must be float32 with images\[1\]",
            lambda: multi([image.half(), image], flow.half()),
        ),
    ]:
        with pytest.raises(error, match=text):
            call()


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_edge_inputs(backend: Backend, padding):
    device = backend.device
    image = torch.rand(2, 3, 5, 7, device=device)
    # Zero flow is the identity bit for bit, and pixels that are not finite stay where they are.
    strange = image.clone()
    strange[:, 0, 2, 3], strange[:, 1, 4, 6], strange[:, 2, 0, 0] = INF, NAN, -INF
    still = torch.zeros(2, 2, 5, 7, device=device)
    same = vfi_kernels.backwarp(strange, still, padding=padding)
    torch.testing.assert_close(same, strange, atol=0, rtol=0, equal_nan=True)
    # Nor do they leak into gradients: each neighbour has weight 0.
    grads = backend.gradients("backwarp", [image], [[strange], still, padding])
    assert torch.equal(grads[0], image)
    assert torch.equal(grads[1].isfinite()[:, 0, 0, 3:], torch.ones(2, 4, dtype=torch.bool, device=device))
    # Flows that are no numbers: no crash, finite values, and no gradient where the coordinate was replaced.
    flow = samples.flow(2, 5, 7).to(device)
    for value in (NAN, INF, -INF, 1e30, -1e30, 3e38):
        wild = flow.clone()
        wild[:, 0, 1:3, 2:5] = value
        got = vfi_kernels.backwarp(image, wild, padding=padding)
        assert got.isfinite().all()
        grads = backend.gradients("backwarp", [image], [[image], wild, padding])
        assert all(g.isfinite().all() for g in grads)
        assert not grads[1][:, 0, 1:3, 2:5].any()
    # Sizes at which something is absent.
    for n, c, h, w, entries in [
        (0, 3, 4, 5, 0),
        (2, 3, 4, 5, 0),
        (1, 1, 1, 1, 1),
        (1, 2, 1, 6, 3),
        (3, 1, 6, 1, 3),
    ]:
        inputs = [[samples.image(n, c, h, w)], samples.flow(entries, h, w), padding]
        [got] = backend.forward("backwarp", inputs)
        assert got.shape == (entries, c, h, w)
        grads = backend.gradients("backwarp", [torch.ones_like(got)], inputs)
        if entries:
            oracle.assert_result(got, oracle.backwarp(*inputs)[0], FLOAT)
            ones = torch.ones(entries, c, h, w)
            oracle.assert_gradients(grads, oracle.gradients("backwarp", [ones], inputs))
        else:
            assert grads[0].shape == (n, c, h, w)
            assert not grads[0].any()


def test_multi_equals_backwarp(backend: Backend):
    """More images than one call takes, of all dtypes and layouts, in their order."""
    flow = samples.flow(4, 5, 7).to(backend.device)
    images = [
        samples.image(2, 1 + i, 5, 7, dtype=samples.DTYPES[i % 7][0]).to(backend.device) for i in range(11)
    ]
    images[3] = images[3].contiguous(memory_format=torch.channels_last)
    results = vfi_kernels.backwarp_multi(images, flow)
    for result, image in zip(results, images, strict=True):
        assert torch.equal(result, vfi_kernels.backwarp(image, flow))


@pytest.mark.parametrize("dtype", [HALF, torch.bfloat16])
def test_half_precision_is_exact_on_wide_images(backend: Backend, dtype):
    """Coordinates are float32 whatever the image is: grid_sample in float16 is off by pixels here."""
    image = samples.image(1, 1, 2, 4096, dtype=dtype)
    flow = samples.flow(1, 2, 4096)
    [got] = backend.forward("backwarp", [[image], flow, "border"])
    oracle.assert_result(got, oracle.backwarp([image], flow, "border")[0], dtype)


def test_autocast(differentiable: str):
    image, flow = torch.rand(1, 3, 5, 7, device=differentiable), samples.flow(1, 5, 7).to(differentiable)
    expected = vfi_kernels.backwarp(image, flow)
    with torch.autocast(differentiable, torch.bfloat16):
        # A network's flow in half precision beside frames in float32, which is an error outside.
        assert torch.equal(vfi_kernels.backwarp(image, flow.bfloat16()), expected)
        assert torch.equal(
            vfi_kernels.backwarp(image.half(), flow.bfloat16()), vfi_kernels.backwarp(image.half(), flow)
        )
        multi = vfi_kernels.backwarp_multi([image.half(), image, image.double()], flow.bfloat16())
    assert [m.dtype for m in multi] == [HALF, FLOAT, DOUBLE]
    assert torch.equal(multi[1], expected)
