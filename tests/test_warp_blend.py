import itertools

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


def blend(device: str, mask: Tensor, dtype: torch.dtype = FLOAT, **options: object) -> list[float]:
    """Frame 0 one to the right, frame 1 as it is: w0 = 20 40 40 and w1 = 100 200 160."""
    frames = [row(10, 20, 40, dtype=dtype), row(100, 200, 160, dtype=dtype)]
    inputs = [t.to(device) for t in (*frames, along_x(1, 1, 1), along_x(0, 0, 0), mask)]
    return vfi_kernels.warp_blend(*inputs, **options).flatten().tolist()


@pytest.mark.parametrize("dtype", [FLOAT, BYTE])
def test_truth_table(backend: Backend, dtype):
    on, mask = backend.device, row(1, 0, 0.25)
    assert blend(on, mask, dtype) == [20, 200, 130]
    assert blend(on, mask, dtype, padding="zeros") == [20, 200, 120]
    # At 0.25: (0.75 m w0 + 0.25 (1 - m) w1) / (0.75 m + 0.25 (1 - m)); the last pixel is (7.5 + 30) / 0.375.
    assert blend(on, mask, dtype, timestep=0.25) == [20, 200, 100]
    # Where nothing is visible, at the ends with a mask that shuts the frame there: the mean over time.
    assert blend(on, mask, dtype, timestep=0.0) == [20, 40, 40]
    assert blend(on, mask, dtype, timestep=1) == [100, 200, 160]
    assert blend(on, row(0, 0, 0), dtype, mask_is_logits=True) == [60, 120, 100]
    assert blend(on, row(INF, -INF, 0), dtype, mask_is_logits=True) == [20, 200, 100]
    # The mask is not clamped; uint8 saturates.
    assert blend(on, row(2, -1, 1), dtype) == ([0, 255, 40] if dtype == BYTE else [-60, 360, 40])


def test_uint8_rounds_to_even(backend: Backend):
    frames = (
        torch.arange(8, dtype=torch.uint8).view(1, 1, 2, 4),
        torch.arange(1, 9, dtype=torch.uint8).view(1, 1, 2, 4),
    )
    inputs = [*frames, torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 4), torch.full((1, 1, 2, 4), 0.5)]
    got = backend.forward("warp_blend", [*inputs, None, False, "border"])
    assert got.flatten().tolist() == [0, 2, 2, 4, 4, 6, 6, 8]
    inputs[4] = torch.full((1, 1, 2, 4), NAN)
    assert not backend.forward("warp_blend", [*inputs, None, False, "border"]).any()


def test_truth_table_of_gradients(backend: Backend):
    # One pixel, w0 = 3 and w1 = 5, at t = 0.25 and m = 0.5: a = 0.375, b = 0.125, the result is 3.5.
    one, zero = torch.ones(1, 1, 1, 1), torch.zeros(1, 2, 1, 1)
    inputs = [3 * one, 5 * one, zero, zero, 0.5 * one, torch.tensor([0.25]), False, "border"]
    grads = backend.gradients("warp_blend", one, inputs)
    # d/dm = (w0 - w1) (1-t) t / (a + b)^2, d/dt = (w1 - w0) m (1-m) / (a + b)^2.
    assert [g.flatten().tolist() for g in grads] == [[0.75], [0.25], [0, 0], [0, 0], [-1.5], [2.0]]
    # Nothing visible: the weights of frames are 1-t and t; none is left for the mask.
    inputs[4], inputs[5] = 0 * one, torch.tensor([0.0])
    grads = backend.gradients("warp_blend", one, inputs)
    assert [g.flatten().tolist() for g in grads] == [[1], [0], [0, 0], [0, 0], [0], [2]]


def inputs_of(entries, h, w, dtypes, timestep, logits, padding, frames=2, channels=3) -> list:
    image, other = dtypes
    t = (0.1 + 0.8 * torch.rand(entries)).to(DOUBLE if image == DOUBLE else FLOAT) if timestep else None
    return [
        samples.image(frames, channels, h, w, dtype=image),
        samples.image(frames, channels, h, w, dtype=image),
        samples.flow(entries, h, w, dtype=other),
        samples.flow(entries, h, w, dtype=other),
        (2 * samples.mask(entries, h, w) - 1 if logits else samples.mask(entries, h, w)).to(other),
        t,
        logits,
        padding,
    ]


@pytest.mark.parametrize("timestep", [False, True])
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("dtypes", samples.DTYPES_WITH_BYTE, ids=str)
def test_matches_reference(backend: Backend, dtypes, padding, timestep):
    for entries, logits in itertools.product((2, 6), (False, True)):
        inputs = inputs_of(entries, 7, 9, dtypes, timestep, logits, padding)
        oracle.assert_result(backend.forward("warp_blend", inputs), oracle.warp_blend(*inputs), dtypes[0])
        if dtypes[0] != BYTE:
            grad = samples.image(entries, 3, 7, 9, dtype=dtypes[0])
            got, expected = (
                backend.gradients("warp_blend", grad, inputs),
                oracle.gradients("warp_blend", grad, inputs),
            )
            oracle.assert_gradients(got, expected)


@pytest.mark.parametrize("timestep", [False, True])
@pytest.mark.parametrize("logits", [False, True])
def test_gradcheck(differentiable: str, logits, timestep):
    inputs = inputs_of(2, 3, 4, (DOUBLE, DOUBLE), timestep, logits, "border", frames=1, channels=2)
    tensors = [t.to(differentiable) for t in inputs if isinstance(t, Tensor)]

    def call(*tensors: Tensor) -> Tensor:
        t = tensors[5] if timestep else None
        return vfi_kernels.warp_blend(*tensors[:5], timestep=t, mask_is_logits=logits)

    count = len(tensors)
    for wanted in [*([i == j for j in range(count)] for i in range(count)), [True] * count]:
        torch.autograd.gradcheck(
            call, [t.clone().requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
        )


def test_gradcheck_of_one_timestep(differentiable: str):
    inputs = inputs_of(3, 3, 4, (DOUBLE, DOUBLE), False, False, "zeros", frames=1, channels=2)[:5]
    inputs = [t.to(differentiable) for t in inputs]
    t = torch.tensor(0.3, dtype=DOUBLE, device=differentiable, requires_grad=True)
    torch.autograd.gradcheck(lambda t: vfi_kernels.warp_blend(*inputs, timestep=t), [t])


def test_errors():
    frame, flow, mask = torch.rand(1, 3, 540, 960), torch.rand(1, 2, 540, 960), torch.rand(1, 1, 540, 960)

    def call(frame0=frame, frame1=frame, flow0=flow, flow1=flow, mask=mask, **options):
        return vfi_kernels.warp_blend(frame0, frame1, flow0, flow1, mask, **options)

    for error, text, changed in [
        (
            ValueError,
            r"^warp_blend: flow0 must be \[N, 2, 540, 960\] like the frames; got \[1, 2, 540, 959\]$",
            {"flow0": flow[..., 1:]},
        ),
        (
            ValueError,
            r"frame1 must be \[1, 3, 540, 960\] like frame0; got \[1, 2, 540, 960\]",
            {"frame1": frame[:, 1:]},
        ),
        (
            ValueError,
            r"mask must be \[N, 1, 540, 960\] like the frames; got \[1, 2, 540, 960\]",
            {"mask": flow},
        ),
        (
            ValueError,
            r"flow1 must have a batch of 2 like flow0; got \[1, 2, 540, 960\]",
            {"flow0": flow.expand(2, -1, -1, -1)},
        ),
        (ValueError, r"timestep must be in \[0, 1\]; got 1.5", {"timestep": 1.5}),
        (ValueError, r"timestep must be in \[0, 1\]; got nan", {"timestep": NAN}),
        (
            ValueError,
            r"timestep must be \[\] or \[1\] like the batch of flow0; got \[2\]",
            {"timestep": torch.rand(2)},
        ),
        (ValueError, r"padding must be 'border' or 'zeros'; got None", {"padding": None}),
        (ValueError, r"mask must be on cpu like the frames; got meta", {"mask": mask.to("meta")}),
        (TypeError, r"timestep must be a floating tensor; got int64", {"timestep": torch.tensor([1])}),
        (TypeError, r"timestep must be None, a number or a tensor; got str", {"timestep": "0.5"}),
        (TypeError, r"frame1 must be float32 like frame0; got float16", {"frame1": frame.half()}),
        (TypeError, r"mask must be float32 with the frames in float32; got float64", {"mask": mask.double()}),
        (TypeError, r"frame0 must be .* or uint8; got int64", {"frame0": frame.long()}),
        (TypeError, r"mask_is_logits must be a bool; got int", {"mask_is_logits": 1}),
        (TypeError, r"flow1 must be a tensor; got NoneType", {"flow1": None}),
    ]:
        with pytest.raises(error, match=text):
            call(**changed)


@pytest.mark.parametrize("padding", ["border", "zeros"])
def test_edge_inputs(backend: Backend, padding):
    frames, still = [samples.image(1, 3, 5, 7), samples.image(1, 3, 5, 7)], torch.zeros(1, 2, 5, 7)
    frames[0][:, :, 2, 3], frames[1][:, :, 2, 3], frames[0][:, :, 4, 6] = INF, NAN, -INF
    # A mask of 1 and no motion is frame 0, bit for bit, but where a frame that weighs nothing is not finite.
    one = torch.ones(1, 1, 5, 7)
    got = backend.forward("warp_blend", [*frames, still, still, one, None, False, padding]).cpu()
    visible = torch.ones(5, 7, dtype=torch.bool)
    visible[2, 3] = False
    assert torch.equal(got[..., visible], frames[0][..., visible])
    frames = [samples.image(1, 3, 5, 7), samples.image(1, 3, 5, 7)]
    for value in (NAN, INF, -INF, 1e30, -1e30):
        flow = samples.flow(1, 5, 7)
        flow[:, 1, 1:3, 2:5] = value
        inputs = [*frames, flow, flow, samples.mask(1, 5, 7), torch.tensor([0.5]), True, padding]
        got = backend.forward("warp_blend", inputs)
        assert got.isfinite().all()
        grads = backend.gradients("warp_blend", got, inputs)
        assert all(g.isfinite().all() for g in grads)
        assert not grads[2][:, 1, 1:3, 2:5].any()
    # Frame 0 alone is visible, though hardly: the inverse of the sum of the weights would be infinite.
    faint = torch.full((1, 1, 5, 7), 1e-39)
    got = backend.forward("warp_blend", [*frames, still, still, faint, torch.tensor([0.0]), False, padding])
    torch.testing.assert_close(got.cpu(), frames[0])
    for n, c, h, w, entries in [
        (0, 3, 4, 5, 0),
        (1, 1, 1, 1, 1),
        (1, 2, 1, 6, 3),
        (3, 1, 6, 1, 3),
        (1, 3, 4, 5, 0),
    ]:
        inputs = inputs_of(entries, h, w, (FLOAT, FLOAT), True, False, padding, frames=n, channels=c)
        got = backend.forward("warp_blend", inputs)
        assert got.shape == (entries, c, h, w)
        grads = backend.gradients("warp_blend", torch.ones_like(got), inputs)
        if entries:
            oracle.assert_result(got, oracle.warp_blend(*inputs), FLOAT)
        else:
            assert grads[0].shape == (n, c, h, w)
            assert not grads[0].any()


@pytest.mark.parametrize("dtype", [HALF, torch.bfloat16])
def test_half_precision_is_exact_on_wide_images(backend: Backend, dtype):
    inputs = inputs_of(1, 2, 4096, (dtype, FLOAT), True, False, "border", frames=1, channels=1)
    oracle.assert_result(backend.forward("warp_blend", inputs), oracle.warp_blend(*inputs), dtype)


def test_timesteps(differentiable: str):
    """A number, a tensor without a dimension and one entry for each flow are the same; so are mixed dtypes of
    flow and mask.
    """
    inputs = [
        t.to(differentiable) for t in inputs_of(3, 4, 5, (HALF, FLOAT), False, False, "border", frames=1)[:5]
    ]
    expected = vfi_kernels.warp_blend(*inputs, timestep=0.25)
    for timestep in (torch.tensor(0.25), torch.full((3,), 0.25), torch.full((3,), 0.25, dtype=HALF)):
        assert torch.equal(vfi_kernels.warp_blend(*inputs, timestep=timestep.to(differentiable)), expected)
    inputs[2] = inputs[2].half()  # exact
    assert torch.equal(vfi_kernels.warp_blend(*inputs, timestep=0.25), expected)


def test_autocast(differentiable: str):
    inputs = [
        t.to(differentiable) for t in inputs_of(1, 5, 7, (FLOAT, FLOAT), False, False, "border", frames=1)[:5]
    ]
    inputs[4] = inputs[4].bfloat16().float()
    expected = vfi_kernels.warp_blend(*inputs)
    frame0, frame1, flow0, flow1, mask = inputs
    with torch.autocast(differentiable, torch.bfloat16):
        assert torch.equal(
            vfi_kernels.warp_blend(frame0, frame1, flow0.half(), flow1.bfloat16(), mask.bfloat16()), expected
        )
        half = vfi_kernels.warp_blend(frame0.half(), frame1, flow0, flow1, mask)
    assert half.dtype == HALF
    assert torch.equal(half, vfi_kernels.warp_blend(frame0.half().float(), frame1, flow0, flow1, mask).half())
