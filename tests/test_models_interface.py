"""One interface for all systems: sizes, dtypes, timesteps, layouts, options; with random weights."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from vfi_kernels import models, ops
from vfi_kernels.models import Interpolator, TimestepError

MIDDLE = ("dvf", "sepconv", "sepconv++", "rife", "rife_2r")
ANY_TIME = ("superslomo", "rife_m", "rife_v4.0", "rife_v4.6", "rife_v4.10", "rife_v4.26")
MULTIPLES = {
    "dvf": 8,
    "sepconv": 32,
    "sepconv++": 2,
    "superslomo": 32,
    "rife": 32,
    "rife_m": 32,
    "rife_2r": 32,
}
MULTIPLES |= {
    "rife_v4.0": 32,
    "rife_v4.24": 32,
    "rife_v4.25": 64,
    "rife_v4.26.heavy": 64,
    "rife_v4.25.lite": 128,
}

each = pytest.mark.parametrize("name", MIDDLE + ANY_TIME)


@cache
def model(name: str, **options: object) -> Interpolator:
    """With random weights that make motion of a few pixels and kernels whose sums are not near zero."""
    torch.manual_seed(1)
    made = models.create(name, **options)
    for layer, values in made.state_dict().items():
        if "lastconv" in layer and layer.endswith("bias"):
            values.uniform_(-0.3, 0.3)
        if layer.startswith(("netVer", "netHor")) and layer.endswith("netMain.3.bias"):
            values.abs_().add_(0.3)  # SepConv++ divides by the sum of its kernels
    return made


def frames(height: int, width: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Smooth noise, and the same moved by 2 pixels."""
    noise = torch.nn.functional.avg_pool2d(torch.rand(batch, 3, height + 4, width + 8), 5, 1)
    return noise[..., :width].contiguous(), noise[..., 2 : width + 2].contiguous()


@each
@torch.inference_mode()
def test_any_size(name: str) -> None:
    """A frame is padded to the right and at the bottom, and the result cropped."""
    net, (height, width) = model(name), (33, 47)
    pair = frames(height, width)
    made = net(*pair)
    assert made.shape == pair[0].shape
    padded = [net.fit(frame) for frame in pair]
    for frame, full in zip(pair, padded, strict=True):
        assert torch.equal(full[..., :height, :width], frame)
        assert [side % net.multiple for side in full.shape[-2:]] == [0, 0]
        assert max(b - a for a, b in zip(frame.shape, full.shape, strict=True)) < net.multiple
        corner = full[..., -1, -1]
        assert torch.equal(corner, torch.zeros(1, 3) if "rife" in name else frame[..., -1, -1])
    torch.testing.assert_close(made, net(*padded)[..., :height, :width])


@pytest.mark.parametrize("name", MULTIPLES)
def test_legal_sizes_go_through_untouched(name: str) -> None:
    net = models.registry.blank(name)
    assert net.multiple == MULTIPLES[name]
    legal = torch.rand(1, 3, net.multiple, 2 * net.multiple)
    assert net.fit(legal) is legal


@each
@torch.inference_mode()
def test_batch(name: str) -> None:
    net, pair = model(name), frames(32, 64, 2)
    both = net(*pair)
    torch.testing.assert_close(both[:1], net(pair[0][:1], pair[1][:1]), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[1:], net(pair[0][1:], pair[1][1:]), atol=1e-5, rtol=1e-4)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@torch.inference_mode()
def test_frames_in_half_precision(name: str, dtype: torch.dtype) -> None:
    net, pair = model(name), frames(32, 64)
    made = net(*(frame.to(dtype) for frame in pair))
    assert made.dtype == dtype
    assert (made.float() - net(*pair)).abs().max() < (0.01 if dtype == torch.float16 else 0.05)


class Spy:
    """Records what dtypes the fused operations get."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flows: set[torch.dtype] = set()
        for operation, places in (("backwarp", [1]), ("backwarp_multi", [1]), ("voxel_flow", [2])):
            monkeypatch.setattr(ops, operation, self._recording(getattr(ops, operation), places))
        monkeypatch.setattr(ops, "warp_blend", self._recording(ops.warp_blend, [2, 3, 4]))

    def _recording(self, function, places: list[int]):
        def call(*inputs, **options):
            self.flows |= {inputs[place].dtype for place in places}
            return function(*inputs, **options)

        return call


@each
@torch.inference_mode()
def test_autocast_keeps_flow_in_float32(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net, pair, spy = model(name), frames(32, 64), Spy(monkeypatch)
    with torch.autocast("cpu", torch.bfloat16):
        made = net(*pair)
    assert made.dtype == torch.float32
    assert spy.flows == (set() if "sepconv" in name else {torch.float32})
    assert (made - net(*pair)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("name", "last", "options"),
    [("dvf", "conv4", {}), ("dvf", "fuse", {"multiscale": True}), ("superslomo", "conv3", {})]
    + [(name, "lastconv", {}) for name in ("rife", "rife_m", "rife_v4.6", "rife_v4.26")],
)
@torch.inference_mode()
def test_flow_has_the_digits_of_float32(name: str, last: str, options: dict[str, object]) -> None:
    """From the layers that make it on: what is float32 only afterwards has half the digits."""
    pair, heads = frames(32, 64), []
    halved = models.create(name, **options)
    halved.load_state_dict(model(name, **options).state_dict())
    halved.bfloat16()
    for net in (model(name, **options), halved):
        layers = [layer for part, layer in net.named_modules() if part.endswith(last)]
        hooks = [layer.register_forward_hook(lambda _, __, result: heads.append(result)) for layer in layers]
        with torch.autocast("cpu", torch.bfloat16, enabled=net is not halved):
            net(*pair)
        for hook in hooks:
            hook.remove()
    assert len(heads) >= 2
    assert {head.dtype for head in heads} == {torch.float32}
    for head in heads:
        assert (head.bfloat16() != head).float().mean() > 0.5


@pytest.mark.parametrize(
    "name", ["dvf", "sepconv", "sepconv++", "superslomo", "rife_m", "rife_v4.6", "rife_v4.26"]
)
@torch.inference_mode()
def test_network_in_half_precision(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pair, spy = frames(32, 64), Spy(monkeypatch)
    net = models.create(name)
    net.load_state_dict(model(name).state_dict())
    net.bfloat16()
    for dtype in (torch.float32, torch.bfloat16):
        made = net(*(frame.to(dtype) for frame in pair))
        assert made.dtype == dtype
        assert (made.float() - model(name)(*pair)).abs().max() < 0.1
    assert spy.flows <= {torch.float32}


@each
@torch.inference_mode()
def test_channels_last(name: str) -> None:
    net, pair = model(name), frames(32, 64)
    expected = net(*pair)
    moved = net.to(memory_format=torch.channels_last)
    try:
        made = moved(*(frame.contiguous(memory_format=torch.channels_last) for frame in pair))
    finally:
        net.to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ANY_TIME)
@torch.inference_mode()
def test_many_timesteps(name: str) -> None:
    net, pair = model(name), frames(33, 64, 2)
    many = net.interpolate(*pair, [0.2, 0.5, 0.9])
    assert many.shape == (2, 3, 3, 33, 64)
    close = {"atol": 1e-5, "rtol": 1e-4}
    for i, t in enumerate((0.2, 0.5, 0.9)):
        torch.testing.assert_close(many[:, i], net(*pair, t).clamp(0, 1), **close)
    assert not torch.allclose(many[:, 0], many[:, 2], atol=1e-4)
    own = net(*pair, torch.tensor([0.2, 0.9]))
    torch.testing.assert_close(own.clamp(0, 1), torch.stack([many[0, 0], many[1, 2]]), **close)
    each_its_own = net.interpolate(*pair, torch.tensor([[0.2, 0.5], [0.5, 0.9]]))
    torch.testing.assert_close(each_its_own, torch.stack([many[0, :2], many[1, 1:]]), **close)


@pytest.mark.parametrize("name", MIDDLE)
@torch.inference_mode()
def test_middle_only(name: str) -> None:
    net, (a, b) = model(name), frames(32, 32)
    for timestep in (0.25, torch.tensor([0.25])):
        with pytest.raises(TimestepError, match=r"knows the middle only, timestep must be 0\.5"):
            net(a, b, timestep)
    with pytest.raises(TimestepError, match=r"reaches timesteps k/64 by halving; got \[0\.333"):
        net.interpolate(a, b, [1 / 3])
    middle = net(a, b, torch.tensor([0.5]))
    quarter, later = net(a, middle), net(middle, b)
    many = net.interpolate(a, b, [0.0, 0.25, 0.5, 0.75, 1.0])
    expected = torch.stack([a, quarter, middle, later, b], 1).clamp(0, 1)
    torch.testing.assert_close(many, expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_halving_of_each_pair_for_itself() -> None:
    net, (a, b) = model("dvf"), frames(16, 16, 2)
    made = net.interpolate(a, b, torch.tensor([[0.25], [0.625]]))[:, 0].split(1)
    middle = net(a, b)
    torch.testing.assert_close(made[0], net(a, middle)[:1])
    torch.testing.assert_close(made[1], net(middle, net(middle, b))[1:])


@torch.inference_mode()
def test_only_interpolate_clamps() -> None:
    """Kernels of one tap in the middle, so that 1.5 of one frame less 0.8 of the other comes out."""
    net = models.create("sepconv")
    for head, factor in (("Vertical1", 1.5), ("Horizontal1", 1), ("Vertical2", -0.8), ("Horizontal2", 1)):
        last = getattr(net, f"net{head}")[7]
        last.weight.zero_()
        last.bias.zero_()[25] = factor
    (a, b), generator = torch.zeros(2, 1, 3, 32, 32), torch.Generator().manual_seed(0)
    a.uniform_(generator=generator)
    b.uniform_(generator=generator)
    expected = 1.5 * a - 0.8 * b
    assert expected.min() < -0.5
    assert expected.max() > 1.3
    torch.testing.assert_close(net(a, b), expected)
    torch.testing.assert_close(net.interpolate(a, b, [0.5])[:, 0], expected.clamp(0, 1))


SYSTEMS = (*MIDDLE, "superslomo", "rife_m", "rife_v4.0", "rife_v4.26")


@pytest.mark.parametrize("name", SYSTEMS)
@torch.inference_mode()
def test_compiles_without_graph_breaks(name: str) -> None:
    torch._dynamo.reset()
    net, pair = model(name), frames(40, 72)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for timestep in (0.5, 0.25, 0.7) if name == "rife_v4.26" else (0.5,):
        torch.testing.assert_close(compiled(*pair, timestep), net(*pair, timestep), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", SYSTEMS)
@torch.inference_mode()
def test_interpolate_compiles_without_graph_breaks(name: str) -> None:
    torch._dynamo.reset()
    net, pair = model(name), frames(40, 72)
    compiled = torch.compile(net.interpolate, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*pair, [0.25]), net.interpolate(*pair, [0.25]), atol=1e-5, rtol=1e-4)


class Apart(TorchDispatchMode):
    """Refuses what carries numbers from one device to another. (A tensor without numbers, on "meta", refuses
    to tell them.)"""

    def __torch_dispatch__(self, operator, types, inputs=(), options=None):
        made = operator(*inputs, **(options or {}))
        devices = {leaf.device for leaf in (*inputs, made) if isinstance(leaf, Tensor) and leaf.dim()}
        assert len(devices) <= 1, f"{operator}: {devices}"
        return made


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in MIDDLE + ANY_TIME]
    + [("superslomo", {"size": "resize"}), ("rife_v4.6", {"tta": True, "ensemble": True, "scale": 0.5})],
)
def test_nothing_waits_for_the_device(name: str, options: dict) -> None:
    """Nor depends on values: a CUDA graph holds all of it."""
    with torch.device("meta"):
        net = models.create(name, **options)
        pair = torch.empty(2, 2, 3, 70, 100).unbind()
        one, several = torch.empty(2), torch.empty(2, 3)
    with torch.inference_mode(), Apart():
        assert net(*pair, 0.5).shape == net(*pair, one).shape == pair[0].shape
        assert net.interpolate(*pair, [0.25, 0.5, 0.75]).shape == (2, 3, 3, 70, 100)
        if name in ANY_TIME:
            assert net.interpolate(*pair, several).shape == (2, 3, 3, 70, 100)


@pytest.mark.parametrize("name", ["dvf", "rife_v4.6"])
@torch.inference_mode()
def test_forms_of_timesteps(name: str) -> None:
    net, pair = model(name), frames(32, 32, 2)
    assert net.interpolate(*pair, []).shape == (2, 0, 3, 32, 32)
    by_pair = [[0.25, 0.5], [0.5, 0.75]]
    made = net.interpolate(*pair, by_pair)
    torch.testing.assert_close(made, net.interpolate(*pair, torch.tensor(by_pair)), atol=0, rtol=0)
    many = net.interpolate(*pair, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    expected = torch.stack([many[0, :2], many[1, 1:]])
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net(*pair, torch.tensor(0.5)), net(*pair), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_many_timesteps_compile_without_graph_breaks() -> None:
    """Once for numbers that change, and once for a tensor of them."""
    torch._dynamo.reset()
    net, pair = model("rife_v4.6"), frames(40, 72)
    counter = CompileCounter()
    compiled = torch.compile(net.interpolate, fullgraph=True, backend=counter)
    for make in (list, torch.tensor):
        for times in ([0.25, 0.5], [0.3, 0.9], [0.1, 0.2], [0.7, 0.8]):
            expected = net.interpolate(*pair, times)
            torch.testing.assert_close(compiled(*pair, make(times)), expected, atol=1e-5, rtol=1e-4)
    assert counter.frame_count <= 4


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(
    "name", ["dvf", "sepconv", "sepconv++", "superslomo", "rife", "rife_v4.0", "rife_v4.26"]
)
@torch.inference_mode()
def test_cuda_graph(name: str) -> None:
    net = models.create(name).cuda().to(memory_format=torch.channels_last)
    pair = [frame.cuda() for frame in frames(70, 100)]
    stream = torch.cuda.Stream()
    time = torch.full((1,), 0.5, device="cuda")
    with torch.cuda.stream(stream), torch.autocast("cuda", torch.float16):
        for _ in range(3):
            net(*pair, time)
        later = 0.5 if net.middle_only else 0.3
        expected = net(*pair, later), net.interpolate(*pair, [0.25, 0.5])
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph), torch.autocast("cuda", torch.float16, cache_enabled=False):
        made = net(*pair, time), net.interpolate(*pair, [0.25, 0.5])
    time.fill_(later)
    graph.replay()
    torch.testing.assert_close(made, expected, atol=1e-2, rtol=1e-2)


def test_fused_operations_everywhere() -> None:
    sources = sorted(Path(models.__file__).parent.glob("*.py"))
    assert len(sources) > 10
    assert [path.name for path in sources if "grid_sample" in path.read_text()] == []
    assert [path.name for path in sources if "..video" in path.read_text()] == []


def test_errors() -> None:
    net, (a, b) = model("rife_v4.6"), frames(32, 32)
    with pytest.raises(TypeError, match=r"RIFE4: frames must have one floating dtype; got torch\.uint8"):
        net(a.byte(), b.byte())
    with pytest.raises(ValueError, match=r"timesteps must lie in \[0, 1\]; got \[1\.5\]"):
        net(a, b, 1.5)
    with pytest.raises(ValueError, match=r"timesteps must lie in \[0, 1\]"):
        net.interpolate(a, b, [0.5, float("nan")])
    with pytest.raises(TypeError, match="RIFE4: frames must be tensors; got ndarray and a tensor"):
        net(a.numpy(), b)
    for timestep in (None, "0.5"):
        with pytest.raises(
            TypeError, match=rf"timestep must be a real number or a tensor \[1\]; got {timestep!r}"
        ):
            net(a, b, timestep)
    for timesteps in (0.5, None, "0.5", ["0.5"], [[0.5], [0.25, 0.75]]):
        with pytest.raises(
            TypeError, match=r"RIFE4: timesteps must be a list of numbers, or of lists .*; got"
        ):
            net.interpolate(a, b, timesteps)
    with pytest.raises(ValueError, match=r"did you mean 'rife_v4\.25\.lite'"):
        models.create("rife_v4.25.light")
    with pytest.raises(ValueError, match="did you mean 'superslomo'"):
        models.create("SuperSlomo")


def test_wrong_options() -> None:
    """Said in words, with the nearest, before anything is made."""
    for name, options, message in (
        ("rife", {"sclae": 2}, r"rife has scale, tta; got 'sclae'; did you mean 'scale'\?"),
        ("rife", {"any_time": True}, "rife has scale, tta; got 'any_time'"),
        ("flow", {"scale": 2}, "flow has no options; got 'scale'"),
        ("rife_m", {"tta": "yes"}, "rife_m: tta must be true or false; got 'yes'"),
        ("rife_v4.6", {"scale": "half"}, "rife_v4.6: scale must be a number; got 'half'"),
        ("dvf", {"momentum": True}, "dvf: momentum must be a number; got True"),
        ("sepconv", {"precision": "half"}, "precision must be one of float32, float16, bfloat16; got 'half'"),
    ):
        with pytest.raises(ValueError, match=message):
            models.create(name, **options)
