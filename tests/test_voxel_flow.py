import pytest
import torch
from conftest import Backend
from torch import Tensor

import vfi_kernels
from tests import oracle, samples
from tests.samples import BYTE, DOUBLE, FLOAT, HALF

INF, NAN = float("inf"), float("nan")
MODES = ("interpolate", "extrapolate")


def row(*values: float, dtype: torch.dtype = FLOAT) -> Tensor:
    return torch.tensor(values, dtype=dtype).view(1, 1, 1, -1)


def voxel(dx: tuple, dt: tuple) -> Tensor:
    return torch.stack([torch.tensor(dx), torch.zeros(3), torch.tensor(dt)]).view(1, 3, 1, 3)


@pytest.mark.parametrize("dtype", [FLOAT, BYTE])
@pytest.mark.parametrize(
    ("dx", "dt", "inter", "extra"),
    [
        ((0.0, 0.0, 0.0), (0.0, 1.0, 0.5), (10, 200, 100), (10, 200, 100)),
        # Frame 0 at x - 1 and frame 1 at x + 1, or at x - 2 and x - 1.
        ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), (10, 10, 20), (10, 10, 10)),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (200, 160, 160), (100, 100, 200)),
        ((-0.5, -0.5, -0.5), (0.0, 1.0, 0.5), (15, 150, 110), (20, 180, 100)),
        # Time is clamped, and NaN is 0.
        ((0.0, 0.0, 0.0), (-3.0, 7.0, NAN), (10, 200, 40), (10, 200, 40)),
        ((INF, -INF, NAN), (0.0, 0.0, 0.0), (10, 40, 10), (10, 40, 10)),
    ],
)
def test_truth_table(backend: Backend, dtype, dx, dt, inter, extra):
    frames = [
        row(10, 20, 40, dtype=dtype).to(backend.device),
        row(100, 200, 160, dtype=dtype).to(backend.device),
    ]
    flow = voxel(dx, dt).to(backend.device)
    for mode, expected in zip(MODES, (inter, extra), strict=True):
        assert vfi_kernels.voxel_flow(*frames, flow, mode=mode).flatten().tolist() == list(expected)


def test_truth_table_of_zeros(backend: Backend):
    frames = [row(10, 20, 40).to(backend.device), row(100, 200, 160).to(backend.device)]
    flow = voxel((1.0, 1.0, 0.5), (0.0, 1.0, 0.5)).to(backend.device)
    for mode, expected in zip(MODES, ([0, 160, 55], [0, 100, 100]), strict=True):
        assert (
            vfi_kernels.voxel_flow(*frames, flow, mode=mode, padding="zeros").flatten().tolist() == expected
        )


def test_truth_table_of_gradients(backend: Backend):
    # dt at 0, outside and at 1: the ends pass the gradient w1 - w0, the outside does not.
    inputs = [
        row(10, 20, 40),
        row(100, 200, 160),
        voxel((0.0, 0.0, 0.0), (0.0, 1.5, 1.0)),
        "interpolate",
        "border",
    ]
    grads = backend.gradients("voxel_flow", row(1, 1, 1), inputs)
    assert [g.flatten().tolist() for g in grads[:2]] == [[1, 0, 0], [0, 1, 1]]
    assert grads[2][0, 2].flatten().tolist() == [90, 0, 120]
    # Extrapolating, frame 0 is read at x - 2 dx: its slope counts twice, against the flow.
    inputs = [
        row(10, 20, 40),
        row(100, 200, 160),
        voxel((0.0, 0.25, 0.0), (0.0, 0.0, NAN)),
        "extrapolate",
        "border",
    ]
    grads = backend.gradients("voxel_flow", row(1, 1, 1), inputs)
    assert grads[0].flatten().tolist() == [1.5, 0.5, 1]
    assert grads[2][0, 0].flatten().tolist() == [0, -20, 0]
    assert grads[2][0, 2].flatten().tolist() == [90, 160, 0]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("dtypes", samples.DTYPES_WITH_BYTE, ids=str)
def test_matches_reference(backend: Backend, dtypes, padding, mode):
    frames = [samples.image(2, 3, 7, 9, dtype=dtypes[0]) for _ in range(2)]
    for entries in (2, 6):
        inputs = [*frames, samples.voxels(entries, 7, 9, dtype=dtypes[1]), mode, padding]
        oracle.assert_result(backend.forward("voxel_flow", inputs), oracle.voxel_flow(*inputs), dtypes[0])
        if dtypes[0] != BYTE:
            grad = samples.image(entries, 3, 7, 9, dtype=dtypes[0])
            got, expected = (
                backend.gradients("voxel_flow", grad, inputs),
                oracle.gradients("voxel_flow", grad, inputs),
            )
            oracle.assert_gradients(got, expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_gradcheck(differentiable: str, padding, mode):
    tensors = [
        samples.image(1, 2, 3, 4, dtype=DOUBLE),
        samples.image(1, 2, 3, 4, dtype=DOUBLE),
        samples.voxels(2, 3, 4, dtype=DOUBLE),
    ]
    tensors = [t.to(differentiable) for t in tensors]
    for wanted in [(True, False, False), (False, True, False), (False, False, True), (True, True, True)]:
        inputs = [t.clone().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
        torch.autograd.gradcheck(lambda *t: vfi_kernels.voxel_flow(*t, mode=mode, padding=padding), inputs)


def test_errors():
    frame, flow = torch.rand(2, 3, 4, 5), torch.rand(2, 3, 4, 5)
    for error, text, inputs, options in [
        (
            ValueError,
            r"^voxel_flow: flow must be \[N, 3, 4, 5\] like the frames; got \[2, 2, 4, 5\]$",
            (frame, frame, flow[:, 1:]),
            {},
        ),
        (
            ValueError,
            r"frame1 must be \[2, 3, 4, 5\] like frame0; got \[1, 3, 4, 5\]",
            (frame, frame[1:], flow),
            {},
        ),
        (
            ValueError,
            r"batch of 2 like the frames, or a multiple of it; got \[1, 3, 4, 5\]",
            (frame, frame, flow[1:]),
            {},
        ),
        (
            ValueError,
            r"mode must be 'interpolate' or 'extrapolate'; got 'inter'",
            (frame, frame, flow),
            {"mode": "inter"},
        ),
        (ValueError, r"padding must be 'border' or 'zeros'; got ''", (frame, frame, flow), {"padding": ""}),
        (ValueError, r"frame1 must be on cpu like frame0; got meta", (frame, frame.to("meta"), flow), {}),
        (
            TypeError,
            r"flow must be float32 with the frames in uint8; got float16",
            (frame.byte(), frame.byte(), flow.half()),
            {},
        ),
        (TypeError, r"frame1 must be float32 like frame0; got float64", (frame, frame.double(), flow), {}),
        (TypeError, r"flow must be a tensor; got float", (frame, frame, 0.5), {}),
    ]:
        with pytest.raises(error, match=text):
            vfi_kernels.voxel_flow(*inputs, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_edge_inputs(backend: Backend, padding, mode):
    frames = [samples.image(1, 3, 5, 7), samples.image(1, 3, 5, 7)]
    strange, still = frames[0].clone(), torch.zeros(1, 3, 5, 7)
    strange[:, 0, 2, 3], strange[:, 1, 4, 6] = INF, NAN
    got = backend.forward("voxel_flow", [strange, frames[1], still, mode, padding]).cpu()
    torch.testing.assert_close(got, strange, atol=0, rtol=0, equal_nan=True)
    for value in (NAN, INF, -INF, 1e30, -1e30, 3e38):
        flow = samples.voxels(1, 5, 7)
        flow[:, 0, 1:3, 2:5] = value
        inputs = [*frames, flow, mode, padding]
        got = backend.forward("voxel_flow", inputs)
        assert got.isfinite().all()
        grads = backend.gradients("voxel_flow", got, inputs)
        assert all(g.isfinite().all() for g in grads)
        assert not grads[2][:, 0, 1:3, 2:5].any()
        flow = samples.voxels(1, 5, 7)
        flow[:, 2, 1:3, 2:5] = value
        grads = backend.gradients("voxel_flow", got, [*frames, flow, mode, padding])
        assert all(g.isfinite().all() for g in grads)
        assert not grads[2][:, 2, 1:3, 2:5].any()
    for n, c, h, w, entries in [
        (0, 3, 4, 5, 0),
        (1, 1, 1, 1, 1),
        (1, 2, 1, 6, 3),
        (3, 1, 6, 1, 3),
        (1, 3, 4, 5, 0),
    ]:
        inputs = [
            samples.image(n, c, h, w),
            samples.image(n, c, h, w),
            samples.voxels(entries, h, w),
            mode,
            padding,
        ]
        got = backend.forward("voxel_flow", inputs)
        assert got.shape == (entries, c, h, w)
        grads = backend.gradients("voxel_flow", torch.ones_like(got), inputs)
        if entries:
            oracle.assert_result(got, oracle.voxel_flow(*inputs), FLOAT)
        else:
            assert grads[0].shape == (n, c, h, w)
            assert not grads[0].any()


@pytest.mark.parametrize("dtype", [HALF, torch.bfloat16])
def test_half_precision_is_exact_on_wide_images(backend: Backend, dtype):
    frames = [samples.image(1, 1, 2, 4096, dtype=dtype) for _ in range(2)]
    inputs = [*frames, samples.voxels(1, 2, 4096), "extrapolate", "border"]
    oracle.assert_result(backend.forward("voxel_flow", inputs), oracle.voxel_flow(*inputs), dtype)


def test_autocast(differentiable: str):
    frame, flow = (
        torch.rand(1, 3, 5, 7, device=differentiable),
        samples.voxels(1, 5, 7).bfloat16().to(differentiable),
    )
    expected = vfi_kernels.voxel_flow(frame, frame, flow.float())
    with torch.autocast(differentiable, torch.bfloat16):
        assert torch.equal(vfi_kernels.voxel_flow(frame, frame, flow), expected)
        byte = (255 * frame).byte()
        assert torch.equal(
            vfi_kernels.voxel_flow(byte, byte, flow), vfi_kernels.voxel_flow(byte, byte, flow.float())
        )
