"""What the operators are to the rest of torch: every sample of the table through every way of calling
them.
"""

import importlib

import pytest
import torch
from conftest import Backend, leaves_of, with_leaves
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import vfi_kernels
from tests import samples
from tests.samples import BYTE, DOUBLE, HALF, SAMPLES, Sample
from vfi_kernels.reference.numbers import sum_dtype

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
SIZES = [(6, 4, 7, 9), (7, 5, 8, 13)]  # N, C, H, W; a tracer takes equal sizes for one


def listed(value: Tensor | list[Tensor] | tuple) -> list[Tensor]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def total(results: Tensor | list[Tensor]) -> Tensor:
    return sum(r.float().square().sum() for r in listed(results))


def assert_same(got, expected, **tolerance: float) -> None:
    for a, b in zip(listed(got), listed(expected), strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@each_sample
@pytest.mark.usefixtures("compiled")
def test_opcheck(sample: Sample):
    inputs = sample.inputs(*sample.tensors(*SIZES[0]))
    forward = getattr(torch.ops.vfi_kernels, sample.operation)
    torch.library.opcheck(forward, with_leaves(inputs, lambda t: t.requires_grad_()))
    inputs = with_leaves(inputs, lambda t: t.detach())
    result = forward(*inputs)
    count = len(leaves_of(inputs))
    for needs in {(1 << count) - 1, 1, 1 << count - 1}:
        backward = getattr(torch.ops.vfi_kernels, f"_{sample.operation}_backward")
        # Without a gradient of its own: asking for that is an error, see test_second_order.
        torch.library.opcheck(backward, (result, *inputs, needs))


@each_sample
@pytest.mark.usefixtures("compiled")
def test_opcheck_of_layouts_and_dtypes(sample: Sample):
    """The fake kernel's strides and dtypes are the real one's, for the gradients too."""
    for image, other in ((HALF, HALF), (DOUBLE, torch.float32)):
        tensors = [
            t.to(sum_dtype(image) if t.dim() == 1 else image if i in sample.frames else other)
            for i, t in enumerate(sample.tensors(3, 4, 9, 12))
        ]
        for i in (0, 2):  # an image and a flow or taps
            if i < len(tensors):
                tensors[i] = tensors[i].contiguous(memory_format=torch.channels_last)
        inputs = sample.inputs(*tensors)
        forward = getattr(torch.ops.vfi_kernels, sample.operation)
        torch.library.opcheck(forward, inputs, test_utils=("test_schema", "test_faketensor"))
        backward = getattr(torch.ops.vfi_kernels, f"_{sample.operation}_backward")
        needs = (1 << len(leaves_of(inputs))) - 1
        inputs = (forward(*inputs), *inputs, needs)
        torch.library.opcheck(backward, inputs, test_utils=("test_schema", "test_faketensor"))


def check_compile(sample: Sample) -> None:
    """One graph, forward and backward, for all sizes."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(sample.public, fullgraph=True, dynamic=True, backend=counter)
    for sizes in SIZES:
        tensors = [t.requires_grad_() for t in sample.tensors(*sizes)]
        got, expected = compiled(*tensors), sample.public(*tensors)
        assert_same(got, expected)
        assert_same(torch.autograd.grad(total(got), tensors), torch.autograd.grad(total(expected), tensors))
    assert counter.frame_count == 1


@each_sample
@pytest.mark.usefixtures("compiled")
def test_compile(sample: Sample):
    check_compile(sample)


def test_compile_of_the_reference(monkeypatch: pytest.MonkeyPatch):
    """On devices without kernels. (A loop over taps is another graph for another number of taps; warps are
    one.)
    """
    monkeypatch.setattr(
        importlib.import_module("vfi_kernels.backends"), "_has_kernel", lambda device_type: False
    )
    check_compile(SAMPLES[0])


@pytest.mark.usefixtures("compiled")
def test_compile_with_a_number_as_timestep():
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    tensors = SAMPLES[2].tensors(*SIZES[0])

    def run(timestep: float) -> Tensor:
        return vfi_kernels.warp_blend(*tensors, timestep=timestep)

    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend=counter)
    for timestep in (0.25, 0.5, 0.7):
        torch.testing.assert_close(compiled(timestep), run(timestep))
    assert counter.frame_count == 1


@pytest.mark.usefixtures("compiled")
def test_inductor():
    torch._dynamo.reset()
    frame0, frame1, *rest = SAMPLES[2].tensors(*SIZES[0])
    frame0 = frame0.contiguous(memory_format=torch.channels_last)

    def run(*tensors: Tensor) -> Tensor:
        # What comes before and after is compiled; the layout has to survive it.
        return vfi_kernels.warp_blend(2 * tensors[0], *tensors[1:]) + 1

    got = torch.compile(run, fullgraph=True)(frame0, frame1, *rest)
    assert got.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(got, run(frame0, frame1, *rest))


@each_sample
def test_export(differentiable: str, sample: Sample):
    class Module(torch.nn.Module):
        def forward(self, *tensors: Tensor):
            return sample.public(*tensors)

    tensors = [t.to(differentiable) for t in sample.tensors(*SIZES[0])]
    height, width = torch.export.Dim("height", min=2), torch.export.Dim("width", min=2)
    # Where taps give the size, images are a sum of sizes: those samples keep theirs.
    fixed = sample.operation == "sepconv"
    shapes = None if fixed else (tuple({2: height, 3: width} if t.dim() == 4 else None for t in tensors),)
    program = torch.export.export(Module(), tuple(tensors), dynamic_shapes=shapes)
    if not fixed:
        n, c, _, _ = SIZES[0]
        tensors = [t.to(differentiable) for t in sample.tensors(n, c, *SIZES[1][2:])]
    assert_same(program.module()(*tensors), sample.public(*tensors))


@each_sample
def test_vmap(differentiable: str, sample: Sample):
    """Every argument vmapped along an inner dimension, or all but the first."""
    calls = [[t.to(differentiable) for t in sample.tensors(2, 3, 4, 5)] for _ in range(3)]
    for first in (calls[1][0], None):
        if first is not None:
            calls = [[first, *call[1:]] for call in calls]
        stacked = [
            torch.stack(ts, t.dim() and 1) for ts, t in zip(zip(*calls, strict=True), calls[0], strict=True)
        ]
        in_dims = tuple(1 for _ in stacked)
        if first is not None:
            stacked[0], in_dims = first, (None, *in_dims[1:])
        got = torch.func.vmap(lambda *ts: tuple(listed(sample.public(*ts))), in_dims)(*stacked)
        each = [listed(sample.public(*call)) for call in calls]
        assert_same(got, [torch.stack(results) for results in zip(*each, strict=True)])


@each_sample
def test_func_grad(differentiable: str, sample: Sample):
    """torch.func.grad alone, inside vmap (a gradient for each value) and around it."""
    calls = [[t.to(differentiable) for t in sample.tensors(2, 3, 4, 5)] for _ in range(3)]
    calls = [[calls[0][0], *call[1:]] for call in calls]
    count = len(calls[0])
    grad = torch.func.grad(lambda *ts: total(sample.public(*ts)), argnums=tuple(range(count)))
    leaves = [[t.clone().requires_grad_() for t in call] for call in calls]
    each = [torch.autograd.grad(total(sample.public(*ts)), ts) for ts in leaves]
    close = {"rtol": 1e-4, "atol": 1e-4}  # sums over the image, in another order
    assert_same(grad(*calls[0]), each[0], **close)
    stacked = [calls[0][0], *(torch.stack(ts) for ts in list(zip(*calls, strict=True))[1:])]
    in_dims = (None, *[0] * (count - 1))
    assert_same(
        torch.func.vmap(grad, in_dims)(*stacked), [torch.stack(g) for g in zip(*each, strict=True)], **close
    )
    around = torch.func.grad(
        lambda *ts: torch.func.vmap(lambda *t: total(sample.public(*t)), in_dims)(*ts).sum()
    )
    torch.testing.assert_close(around(*stacked), sum(g[0] for g in each), **close)


@each_sample
@pytest.mark.usefixtures("compiled")
def test_second_order(sample: Sample):
    tensors = [t.requires_grad_() for t in sample.tensors(1, 2, 3, 4)]
    grads = torch.autograd.grad(total(sample.public(*tensors)), tensors, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{sample.operation}.*second-order gradient.* not implemented"):
        total(list(grads)).backward()


@each_sample
@pytest.mark.usefixtures("compiled")
def test_forward_mode_is_refused(sample: Sample):
    """It would otherwise pass below autograd and give zeros."""
    tensors = tuple(sample.tensors(1, 2, 3, 4))
    with pytest.raises(RuntimeError, match=f"{sample.operation}: gradients must be reverse-mode"):
        torch.func.jvp(lambda *ts: total(sample.public(*ts)), tensors, tuple(map(torch.ones_like, tensors)))


@each_sample
@pytest.mark.usefixtures("compiled")
def test_gradients_only_if_asked_for(sample: Sample, monkeypatch: pytest.MonkeyPatch):
    """The backward is asked for what is wanted; what its results need is kept, nothing else."""
    module = importlib.import_module(f"vfi_kernels.ops.{sample.operation}")
    tensors = sample.tensors(1, 2, 3, 4)
    expected = torch.autograd.grad(total(sample.public(*[t.requires_grad_() for t in tensors])), tensors)
    reads = module.GRADIENT.reads
    for i, gradient in enumerate(expected):
        mine = [t.detach().requires_grad_(i == j) for j, t in enumerate(tensors)]
        result = sample.public(*mine)
        [saved] = {r.grad_fn for r in listed(result)}
        inputs = leaves_of(sample.inputs(*mine))
        kept = reads([t.requires_grad for t in inputs])
        assert len(saved.saved_tensors) == sum(kept) <= len(inputs)
        grad = torch.autograd.grad(total(result), mine[i])
        assert_same(grad, gradient)
    assert sum(reads([True] + [False] * (len(tensors) - 1))) < len(
        tensors
    )  # the first image's gradient needs no image


@each_sample
def test_deterministic(differentiable: str, sample: Sample):
    tensors = [t.to(differentiable).requires_grad_() for t in sample.tensors(*SIZES[0])]
    expected = torch.autograd.grad(total(sample.public(*tensors)), tensors)
    torch.use_deterministic_algorithms(True)
    try:
        runs = [torch.autograd.grad(total(sample.public(*tensors)), tensors) for _ in range(2)]
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same(runs[0], expected, rtol=1e-4, atol=1e-4)
    assert_same(runs[0], runs[1], rtol=0, atol=0)


@pytest.mark.parametrize("channels", samples.CHANNELS)
@each_sample
def test_layouts(backend: Backend, sample: Sample, channels: int):
    """Any strides and offsets give the same values; the inputs and the memory around them stay as they
    are.
    """
    inputs = sample.inputs(*[t.to(backend.device) for t in sample.tensors(1, channels, 5, 6)])
    plain = backend.forward(sample.operation, inputs)
    gradients = backend.gradients(sample.operation, plain, inputs)
    kinds = [list(samples.views(t)) if t.dim() == 4 else [t] * 11 for t in leaves_of(inputs)]
    for number, views in enumerate(zip(*kinds, strict=True)):
        if channels > 5 and number > 3:
            break  # alignment is the same question for any number of channels
        before = [samples.memory_of(view) for view in views]
        for only in (None, 0):  # every tensor in this layout, and the first alone
            chosen = iter(views if only is None else [views[0], *leaves_of(inputs)[1:]])
            changed = with_leaves(inputs, lambda _, chosen=chosen: next(chosen))
            got = backend.forward(sample.operation, changed)
            assert_same(got, plain)
            follows = (
                views[0].is_contiguous(memory_format=torch.channels_last) and not views[0].is_contiguous()
            )
            layout = torch.channels_last if follows else torch.contiguous_format
            assert listed(got)[0].is_contiguous(memory_format=layout)
            grad = [samples.guarded(g, 1 + number % 8) for g in listed(plain)]
            grad = grad if isinstance(plain, (list, tuple)) else grad[0]
            assert_same(backend.gradients(sample.operation, grad, changed), gradients)
        assert all(torch.equal(samples.memory_of(v), b) for v, b in zip(views, before, strict=True))


@each_sample
def test_expanded_inputs(backend: Backend, sample: Sample):
    """Strides of zero, in the incoming gradient as well."""
    inputs = sample.inputs(*[t.to(backend.device)[:1].expand_as(t) for t in sample.tensors(3, 2, 4, 5)])
    inputs = with_leaves(inputs, lambda t: t.contiguous() if t.dim() == 1 else t)
    dense = with_leaves(inputs, lambda t: t.clone(memory_format=torch.contiguous_format))
    got, expected = backend.forward(sample.operation, inputs), backend.forward(sample.operation, dense)
    assert_same(got, expected)
    grad = [torch.ones((), device=backend.device).expand_as(g) for g in listed(got)]
    grad = grad if isinstance(got, (list, tuple)) else grad[0]
    assert_same(
        backend.gradients(sample.operation, grad, inputs), backend.gradients(sample.operation, grad, dense)
    )


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s.operation != "sepconv"], ids=lambda s: s.name)
def test_shared_frames(backend: Backend, sample: Sample):
    """A frame that serves three entries is the frame repeated three times, and gets the sum of their
    gradients.
    """
    tensors = [t[:2] if i in sample.frames else t for i, t in enumerate(sample.tensors(6, 3, 5, 7))]
    shared = sample.inputs(*tensors)
    repeated = [t.repeat_interleave(3, 0) if i in sample.frames else t for i, t in enumerate(tensors)]
    repeated = sample.inputs(*repeated)
    got, expected = backend.forward(sample.operation, shared), backend.forward(sample.operation, repeated)
    assert_same(got, expected, rtol=0, atol=0)
    got, expected = (backend.gradients(sample.operation, expected, inputs) for inputs in (shared, repeated))
    for i, (a, b) in enumerate(zip(got, expected, strict=True)):
        torch.testing.assert_close(a, b.view(2, 3, *b.shape[1:]).sum(1) if i in sample.frames else b)


@each_sample
def test_meta(sample: Sample):
    """Shapes and dtypes without data; a tensor on another device of torch's would go to the reference."""
    tensors = sample.tensors(*SIZES[0])
    expected = listed(sample.public(*tensors))
    for result, value in zip(listed(sample.public(*[t.to("meta") for t in tensors])), expected, strict=True):
        assert (result.shape, result.dtype, result.stride()) == (value.shape, value.dtype, value.stride())


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow", "sepconv"])
@pytest.mark.usefixtures("compiled")
def test_uint8_has_no_gradient(operation: str):
    frame = samples.image(1, 3, 4, 5, dtype=BYTE)
    rest = {
        "warp_blend": [samples.flow(1, 4, 5), samples.flow(1, 4, 5), samples.mask(1, 4, 5)],
        "voxel_flow": [samples.voxels(1, 4, 5)],
        "sepconv": [samples.taps(1, 1, 4, 5), samples.taps(1, 1, 4, 5)],
    }[operation]
    frames = [frame] if operation == "sepconv" else [frame, frame]
    assert not getattr(vfi_kernels, operation)(*frames, *[t.requires_grad_() for t in rest]).requires_grad


@each_sample
def test_cuda_graph(sample: Sample):
    """Nothing waits for the device or allocates outside torch, so a call can be captured and replayed."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    tensors = [t.cuda() for t in sample.tensors(1, 2, 3, 4)]
    sample.public(*tensors)  # what is compiled or loaded at the first call cannot be captured
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = sample.public(*tensors)
    for tensor, other in zip(tensors, sample.tensors(1, 2, 3, 4), strict=True):
        tensor.copy_(2 * other)
    graph.replay()
    torch.testing.assert_close(captured, sample.public(*tensors))
