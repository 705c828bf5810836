"""How a network runs, its precision, layout and compilation: in Python and on the command line."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

from clips import frames_of, make_clip, planes_of

from vfi_kernels import cli, models
from vfi_kernels.models import checkpoints

NAME = "rife_v4.15.lite"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    checkpoints.write(file, models.create(NAME).state_dict(), NAME)
    return file


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompileCounter]:
    """How many graphs are made; nothing is generated from them."""
    torch._dynamo.reset()
    counter, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile(f, backend=counter, fullgraph=True, **how))
    yield counter
    torch._dynamo.reset()


def pair(height: int = 33, width: int = 47) -> tuple[Tensor, Tensor]:
    noise = torch.nn.functional.avg_pool2d(torch.rand(1, 3, height + 4, width + 8), 5, 1)
    return noise[..., :width].contiguous(), noise[..., 2 : width + 2].contiguous()


class Seen:
    """What the first convolution of a model gives."""

    def __init__(self, model: models.Interpolator) -> None:
        self.outputs: list[Tensor] = []
        first = next(layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d))
        first.register_forward_hook(lambda layer, inputs, output: self.outputs.append(output))


@pytest.mark.parametrize("name", ["dvf", "rife", NAME])
@torch.inference_mode()
def test_precision(name: str) -> None:
    """As autocast round the model; frames are taken and given in float32."""
    torch.manual_seed(1)
    plain, frames = models.create(name), pair()
    net = models.create(name, precision="bfloat16")
    net.load_state_dict(plain.state_dict())
    seen = Seen(net)
    with torch.autocast("cpu", torch.bfloat16):
        expected = plain(*frames), plain.interpolate(*frames, [0.25, 0.5])
    made = net(*frames), net.interpolate(*frames, [0.25, 0.5])
    torch.testing.assert_close(made, expected, atol=0, rtol=0)
    assert {output.dtype for output in seen.outputs} == {torch.bfloat16}
    assert [frame.dtype for frame in made] == [torch.float32, torch.float32]
    assert not torch.equal(made[0], plain(*frames))
    assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("name", ["dvf", "rife_m", NAME])
@torch.inference_mode()
def test_channels_last(name: str) -> None:
    """Layers give it, whatever the frames are, and the result does not change."""
    torch.manual_seed(1)
    plain, frames = models.create(name), pair()
    net = models.create(name, channels_last=True)
    net.load_state_dict(plain.state_dict())
    seen = Seen(net)
    torch.testing.assert_close(net(*frames), plain(*frames), atol=1e-5, rtol=1e-4)
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in seen.outputs)


@torch.inference_mode()
def test_compile(weights: Path, compiled: CompileCounter) -> None:
    """One graph of the whole network for each number of timesteps."""
    net, plain = (models.create(NAME, checkpoint=weights, compile=how) for how in (True, False))
    frames = pair()
    for times in ([0.5], [0.3], [0.25, 0.5], [0.1, 0.9]):
        torch.testing.assert_close(net.interpolate(*frames, times), plain.interpolate(*frames, times))
    torch.testing.assert_close(net(*frames, 0.7), plain(*frames, 0.7))
    assert compiled.frame_count == 2
    models.create("flow", compile=True)(*frames)  # OpenCV's, nothing to compile
    assert compiled.frame_count == 2


@torch.inference_mode()
def test_many_sizes_compile(compiled: CompileCounter) -> None:
    """Each once; torch alone gives a function 8 graphs and runs it eagerly from then on."""
    net, limit = models.create("blend").prepare(compile=True), torch._dynamo.config.recompile_limit
    for _ in range(2):
        for width in range(1, 13):
            net(*pair(32, width))
    assert compiled.frame_count == 12
    assert torch._dynamo.config.recompile_limit == limit


def test_prepared_anew() -> None:
    """What is not said is as it was at first."""
    net = models.create(NAME, precision="bfloat16", channels_last=True, compile=True)
    kernel = net.block0.conv0[0][0].weight
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    assert net.prepare() is net
    assert (net.precision, net.layout, net._compiled) == (None, torch.preserve_format, None)
    assert net.block0.conv0[0][0].weight.is_contiguous()
    net.to(memory_format=torch.channels_last).prepare()  # what was done by hand stays
    assert net.block0.conv0[0][0].weight.is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_compiled_copies_have_their_own_weights(weights: Path, compiled: CompileCounter) -> None:
    net, frames = models.create(NAME, checkpoint=weights, compile=True), pair()
    made, twin = net(*frames), copy.deepcopy(net)
    for parameter in twin.parameters():
        parameter.zero_()
    assert not torch.allclose(twin(*frames), made)
    assert torch.equal(net(*frames), made)


@torch.inference_mode()
def test_compile_leaves_out_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What OpenCV does breaks the graph of flow_refined; what follows is compiled."""
    torch._dynamo.reset()
    counter, compile = CompileCounter(), torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile(f, backend=counter, **how))
    frames, plain = pair(), models.create("flow_refined")
    for block in plain.blocks:
        torch.nn.init.normal_(block.lastconv[0].weight, std=0.05)
    net = models.create("flow_refined", compile=True)
    net.load_state_dict(plain.state_dict())
    for times in ([0.5], [0.3], [0.25, 0.5]):
        torch.testing.assert_close(net.interpolate(*frames, times), plain.interpolate(*frames, times))
    assert counter.frame_count > 0
    whole = torch.compile(lambda *given: plain(*given), dynamic=False)  # as a benchmark does
    torch.testing.assert_close(whole(*frames), plain(*frames))
    torch._dynamo.reset()


def test_commands(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What makes the frames is part of a plan, and a run is not gone on with by something else."""
    clip = make_clip(tmp_path / "in.mp4", 25, 3)
    model = ["--checkpoint", str(weights), "--model", NAME, "--codec", "ffv1"]
    half = ["--precision", "bfloat16", "--channels-last"]
    made = []
    for how in ([], half):
        target = tmp_path / f"out{len(made)}.mkv"
        assert cli.main(["interpolate", str(clip), str(target), *model, *how]) == 0
        made.append([planes_of(frame) for frame in frames_of(target)])
    assert [a != b for a, b in zip(*made, strict=True)] == [False, True, False, True, False, False]

    folder = tmp_path / "parts.mkv.vfi"
    assert cli.main(["plan", str(clip), str(tmp_path / "parts.mkv"), *model, *half]) == 0
    options = json.loads((folder / "manifest.json").read_text())["options"]["model_options"]
    assert options == {"precision": "bfloat16", "channels_last": True}
    assert cli.main(["run", str(folder)]) == 0
    capsys.readouterr()
    again = ["interpolate", str(clip), str(tmp_path / "parts.mkv"), *model, "--resume"]
    assert cli.main(again) == 1
    assert "was begun with model options {'precision': 'bfloat16'" in capsys.readouterr().err
    assert cli.main(["merge", str(folder)]) == 0
    assert [planes_of(frame) for frame in frames_of(tmp_path / "parts.mkv")] == made[1]

    assert cli.main(["interpolate", str(clip), str(tmp_path / "o.mkv"), "--precision", "half"]) == 2
    assert "invalid choice: 'half'" in capsys.readouterr().err


def test_compile_on_the_command_line(weights: Path, tmp_path: Path, compiled: CompileCounter) -> None:
    clip = str(make_clip(tmp_path / "in.mp4", 25, 4))
    for number, command in enumerate(
        (
            ["interpolate", clip, str(tmp_path / "out.mkv")],
            ["preview", clip, str(tmp_path / "side.mkv")],
            ["eval", "--data", "videos", clip, "--precision", "bfloat16"],
        )
    ):
        assert compiled.frame_count == number
        assert cli.main([*command, "--checkpoint", str(weights), "--compile"]) == 0
        torch._dynamo.reset()  # else a second model of one network would take the graph of the first
    assert compiled.frame_count == 3


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a compiler")
@pytest.mark.host_only
@torch.inference_mode()
def test_generated_code() -> None:
    """Of a whole network, beside the eager one."""
    torch.manual_seed(1)
    plain, frames = models.create("dvf"), pair(30, 46)
    net = models.create("dvf", compile=True)
    net.load_state_dict(plain.state_dict())
    torch.testing.assert_close(net(*frames), plain(*frames), atol=1e-5, rtol=1e-4)
