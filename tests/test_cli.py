"""The command line: exit codes, one line on stderr, and the two commands end to end."""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import torch

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

from clips import SHARED, frames_of, make_clip, planes_of, sound_of, times_of

from vfi_kernels import cli, cli_models, cli_options, models
from vfi_kernels.models import checkpoints
from vfi_kernels.video import Encoding, Reader, Writer


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "in.mp4", Fraction(30000, 1001), 6, sound="aac")


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    """Run a command that must fail with `code` and one line on stderr; that line."""
    assert cli.main([str(a) for a in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert "Traceback" not in err
    return err


def test_interpolate(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.mp4"
    assert cli.main(["interpolate", str(clip), str(target), "--factor", "4"]) == 0
    assert times_of(target) == [k * Fraction(1001, 120000) for k in range(24)]
    assert sound_of(target) == sound_of(clip)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert capsys.readouterr() == ("", "")
    assert (
        cli.main(["interpolate", str(clip), str(target), "--fps", "60", "--model", "repeat", "--overwrite"])
        == 0
    )
    assert len(times_of(target)) == 13


def test_wrong_usage_is_2(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.mp4"
    for value in ("0", "-3", "nan", "x", "1/0", "1e9"):
        for option in ("--factor", "--fps"):
            assert "expected a" in fails(capsys, 2, "interpolate", clip, target, f"{option}={value}")
    assert "not allowed with" in fails(capsys, 2, "interpolate", clip, target, "--fps", 60, "--factor", 2)
    assert "did you mean 'flow'" in fails(capsys, 2, "interpolate", clip, target, "--model", "folw")
    assert "the same file" in fails(capsys, 2, "interpolate", clip, tmp_path / "." / "in.mp4", "--overwrite")
    assert "only files" in fails(capsys, 2, "interpolate", "https://example.org/a.mp4", target)
    assert "only files" in fails(capsys, 2, "interpolate", clip, "rtmp://example.org/live")
    assert "only files" in fails(capsys, 2, "interpolate", "concat:a.mp4|b.mp4", target)
    for quality, message in (
        (("--crf", 52), "--crf must be 0 to 51 for libx264; got 52"),
        (("--crf", 64, "--codec", "libvpx-vp9"), "--crf must be 0 to 63 for libvpx-vp9; got 64"),
        (("--crf", -1), "from 0 on"),
        (("--crf", 20, "--codec", "prores_ks"), "--crf: prores_ks has none; got 20"),
        (("--crf", 16, "--codec", "h264_vaapi"), "--crf: h264_vaapi has none; got 16"),
        (("--preset", "fastest"), "libx264 has (ultrafast superfast veryfast faster fast medium slow"),
        (("--preset", "fast", "--codec", "libsvtav1"), "libsvtav1 has (-1 0 1 2"),
        (("--preset", "fast", "--codec", "ffv1"), "ffv1 has (none); got 'fast'"),
    ):
        assert message in fails(capsys, 2, "interpolate", clip, target, *quality)
    assert "expected cpu, cuda" in fails(capsys, 2, "interpolate", clip, target, "--device", "quantum")
    assert "COMMAND" in fails(capsys, 2)
    assert "OUTPUT" in fails(capsys, 2, "interpolate", clip)
    assert "invalid choice" in fails(capsys, 2, "interpolat", clip, target)
    assert not target.exists()


@pytest.mark.parametrize(
    ("codec", "name", "fast", "slow"),
    [
        ("libx264", "out.mp4", ["--preset", "ultrafast"], ["--preset", "veryslow"]),
        ("libsvtav1", "out.mkv", ["--crf", "63", "--preset", "13"], ["--crf", "20", "--preset", "9"]),
        ("libvpx-vp9", "out.webm", ["--crf", "63"], ["--crf", "10"]),
    ],
)
def test_quality_reaches_the_encoder(
    clip: Path, tmp_path: Path, codec: str, name: str, fast: list[str], slow: list[str]
) -> None:
    made = []
    for quality in (fast, slow, slow):
        arguments = ["--model", "blend", "--codec", codec, "--overwrite", *quality]
        assert cli.main(["interpolate", str(clip), str(tmp_path / name), *arguments]) == 0
        made.append((tmp_path / name).read_bytes())
    assert made[0] != made[1] == made[2]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random ones of a small network."""
    torch.manual_seed(3)
    file = tmp_path_factory.mktemp("weights") / "small.safetensors"
    checkpoints.write(file, models.create("rife_v4.15.lite").state_dict(), "rife_v4.15.lite")
    return file


def test_model_options(clip: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They reach the model, the plan knows them, and a run is not gone on with by others."""
    made = {}
    model = ["--checkpoint", weights, "--model", "rife_v4.15.lite", "--codec", "ffv1"]
    for options in ((), ("tta=true",), ("tta=true", "scale=0.5")):
        given = [part for option in options for part in ("--model-option", option)]
        target = tmp_path / "out.mkv"
        assert cli.main([str(a) for a in ["interpolate", clip, target, *model, *given, "--overwrite"]]) == 0
        made[options] = [planes_of(frame) for frame in frames_of(target)]
        assert [k % 2 for k in range(12) if made[options][k] != made[()][k]] == [1] * (5 if options else 0)
    assert made["tta=true", "scale=0.5"] != made["tta=true",]

    parts = tmp_path / "parts.mkv"
    assert cli.main([str(a) for a in ["plan", clip, parts, *model, *given]]) == 0
    folder = tmp_path / "parts.mkv.vfi"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["options"]["model_options"] == {"tta": True, "scale": 0.5}
    assert cli.main(["run", str(folder)]) == 0
    capsys.readouterr()
    assert "was begun with model options {'tta': True, 'scale': 0.5}, not {}" in fails(
        capsys, 1, "interpolate", clip, parts, *model, "--resume"
    )
    assert cli.main(["merge", str(folder)]) == 0
    assert [planes_of(frame) for frame in frames_of(parts)] == made["tta=true", "scale=0.5"]


def test_scale_of_large_frames(
    clip: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of it is taken, told, and part of the plan, where nobody gives another."""
    planned = []
    for number, (large, given) in enumerate(((10**6, ()), (1000, ()), (1000, ("scale=1",)))):
        monkeypatch.setattr(cli_options, "LARGE", large)
        target = tmp_path / f"{number}.mkv"
        options = [part for option in given for part in ("--model-option", option)]
        assert cli.main([str(a) for a in ["plan", clip, target, "--checkpoint", weights, *options]]) == 0
        manifest = json.loads((tmp_path / f"{number}.mkv.vfi" / "manifest.json").read_text())
        planned.append(manifest["options"]["model_options"])
        assert capsys.readouterr().err.count("--model-option scale=1 for the whole") == (number == 1)
    assert planned == [{}, {"scale": 0.5}, {"scale": 1.0}]
    monkeypatch.setattr(cli_options, "LARGE", 1000)
    command = ["batch", clip, "--into", tmp_path / "many", "--checkpoint", weights, "--suffix", ".mkv"]
    (tmp_path / "many").mkdir()
    assert cli.main([str(a) for a in command]) == 0
    assert capsys.readouterr().err.count("\n") == 1


def test_wrong_model_options_are_2(
    clip: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, option, message in (
        ((), "scale=2", "flow has no options; got 'scale'"),
        (
            ("--checkpoint", weights, "--model", "rife_v4.15.lite"),
            "sclae=2",
            "has ensemble, scale, tta; got 'sclae'; did you mean 'scale'?",
        ),
        (
            ("--checkpoint", weights, "--model", "rife_v4.15.lite"),
            "tta=yes",
            "tta must be true or false; got",
        ),
        (("--checkpoint", weights, "--model", "rife_v4.15.lite"), "scale=", "scale must be a number; got ''"),
        (("--checkpoint", weights, "--model", "rife_v4.15.lite"), "scale=3", "must be 0.25, 0.5, 1, 2 or 4"),
    ):
        for command in ("interpolate", "plan", "preview", "info"):
            line = fails(capsys, 2, command, clip, tmp_path / "o.mkv", *model, "--model-option", option)
            assert message in line


def test_options_of_every_model() -> None:
    assert models.registry.options("rife") == {"scale": 1.0, "tta": False}
    assert models.registry.options("rife_v4.6") == {"ensemble": False, "scale": 1.0, "tta": False}
    assert models.registry.options("dvf") == {"mode": "interpolate", "multiscale": False}
    assert models.registry.options("sepconv") == {"padding": None, "centred": False}
    assert models.registry.options("superslomo") == {"align_corners": True, "size": "pad"}
    assert models.registry.options("flow") == {}


def test_failure_is_1(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out.mp4"
    assert "no such file" in fails(capsys, 1, "interpolate", tmp_path / "none.mp4", target)
    assert "holds no images" in fails(capsys, 1, "interpolate", tmp_path, target)
    text = tmp_path / "text.mp4"
    text.write_text("words")
    assert "cannot be read as a video" in fails(capsys, 1, "interpolate", text, target)
    assert "--overwrite" in fails(capsys, 1, "interpolate", clip, text)
    assert text.read_text() == "words"
    assert "is not available" in fails(capsys, 1, "interpolate", clip, target, "--device", "cuda:99")
    link = tmp_path / "link.mp4"
    link.hardlink_to(clip)
    assert "input itself" in fails(capsys, 1, "interpolate", clip, link, "--overwrite")
    whole = clip.read_bytes()
    clip.write_bytes(whole[: len(whole) // 2])
    fails(capsys, 1, "interpolate", clip, target)
    assert not target.exists()


def test_interrupt_is_130(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(models.create("blend")), "interpolate", interrupted)
    assert "interrupted" in fails(capsys, 130, "interpolate", clip, tmp_path / "out.mp4", "--model", "blend")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(("module", "package"), [("cv2", "OpenCV"), ("av", "PyAV")])
def test_missing_package_names_the_extra(
    module: str,
    package: str,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [n for n in sys.modules if n.startswith("vfi_kernels.video")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("vfi_kernels.video")
    monkeypatch.setitem(sys.modules, module, None)
    line = fails(capsys, 1, "interpolate", clip, tmp_path / "out.mp4", "--factor", 2)
    assert package in line
    assert "pip install 'vfi-kernels[video]'" in line


@pytest.mark.parametrize("command", ["interpolate", "run"])
def test_too_little_memory_is_told(
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    def full(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB.\nAnd more.")

    target, given = tmp_path / "out.mp4", [clip, tmp_path / "out.mp4"]
    if command == "run":
        assert cli.main(["plan", *map(str, given), "--model", "blend"]) == 0
        capsys.readouterr()
        # what goes on with it has no --resume
        line = fails(capsys, 1, "plan", *given, "--model", "blend")
        assert "vfi run and vfi merge go on with it, --overwrite begins again" in line
    monkeypatch.setattr(type(models.create("blend")), "interpolate", full)
    given = [f"{target}.vfi"] if command == "run" else [*given, "--model", "blend"]
    line = fails(capsys, 1, command, *given)
    assert line.startswith("vfi: error: CUDA out of memory. Tried to allocate 40 GiB.; ")
    assert line.endswith("--tile 1024 --batch 1 --overwrite needs less memory\n")
    assert ("vfi plan --tile" in line) == (command == "run")


def test_warnings_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "in.mkv", count=2, codec="ffv1", pixels="yuv420p12le")
    assert cli.main(["interpolate", str(clip), str(tmp_path / "out.mp4")]) == 0
    lost = "libx264 does not hold the 12 bits of yuv420p12le: stored as yuv420p10le"
    assert capsys.readouterr() == ("", f"vfi: warning: {lost}\n")


def test_bar_on_a_terminal(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm", reason="the progress bar needs tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert cli.main(["interpolate", str(clip), str(tmp_path / "out.mp4"), "--model", "blend"]) == 0
    assert "12/12" in capsys.readouterr().err


def test_compare(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = make_clip(tmp_path / "a.mkv", count=5, codec="ffv1")
    b = tmp_path / "b.mkv"
    with (
        Reader(a) as reader,
        Writer(
            tmp_path / "half.mkv",
            Encoding(tmp_path / "half.mkv", reader.first, fps=reader.rate / 2, codec="ffv1"),
        ) as writer,
    ):
        for number, (frame, _) in enumerate(reader.frames()):
            if number % 2 == 0:
                writer.write(frame, number // 2)
    assert (
        cli.main(["interpolate", str(tmp_path / "half.mkv"), str(b), "--codec", "ffv1", "--model", "blend"])
        == 0
    )
    assert [planes_of(f) for f in frames_of(b)[::2]] == [planes_of(f) for f in [*frames_of(a)[::2]]]

    assert cli.main(["compare", str(a), str(b)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["frame", "PSNR", "dB", "SSIM"]
    assert [row.split()[1] == "same" for row in table[1:6]] == [True, False, True, False, True]
    assert table[6].endswith("over the 2 frames that differ; 3 are the same")
    assert table[7] == f"compared the first 5 frames: {a} has 5, {b} has 6"

    assert cli.main(["compare", str(a), str(b), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["same"], report["differing"], report["frames_a"], report["frames_b"]) == (3, 2, 5, 6)
    assert report["frames"][0] == {"psnr": None, "ssim": 1.0}
    assert report["mean"]["psnr"] == pytest.approx(
        (report["frames"][1]["psnr"] + report["frames"][3]["psnr"]) / 2
    )

    assert cli.main(["compare", str(a), str(a)]) == 0
    assert "all 5 frames are the same" in capsys.readouterr().out
    other = make_clip(tmp_path / "other.mkv", count=1, codec="ffv1", size=(32, 32))
    assert "must have one size" in fails(capsys, 1, "compare", a, other)


def test_yardstick_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Drop every second frame of a real clip, let the command rebuild them, and compare the two files."""
    source = SHARED / "clips" / "bigbuckbunny.mp4"
    if not source.is_file():
        pytest.skip(f"{source} is absent: the clips are not part of the project")
    whole, half, rebuilt = (tmp_path / name for name in ("whole.mkv", "half.mkv", "rebuilt.mkv"))
    with (
        Reader(source) as reader,
        Writer(whole, Encoding(whole, reader.first, fps=reader.rate, codec="ffv1")) as keep,
        Writer(half, Encoding(half, reader.first, fps=reader.rate / 2, codec="ffv1")) as drop,
    ):
        for number, (frame, _) in zip(range(41), reader.frames(), strict=False):
            keep.write(frame, number)
            if number % 2 == 0:
                drop.write(frame, number // 2)
    assert cli.main(["interpolate", str(half), str(rebuilt), "--codec", "ffv1"]) == 0
    assert cli.main(["compare", str(whole), str(rebuilt), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["same"], report["differing"]) == (21, 20)
    assert report["mean"]["psnr"] >= 34.2
    assert report["mean"]["ssim"] >= 0.97


def test_the_model_where_none_is_asked_for() -> None:
    """The network is little beside the search for flow on a GPU, and most of the time on a CPU."""
    parser = argparse.ArgumentParser()
    assert cli_models.model_for(parser, None, None, "cpu") == "flow"
    assert cli_models.model_for(parser, None, None, "cpu:0") == "flow"
    assert cli_models.model_for(parser, None, None, "cuda:1") == "flow_refined"
    assert cli_models.model_for(parser, "flow", None, "cuda") == "flow"
    assert cli_models.model_for(parser, "flow_refined", None, "cpu") == "flow_refined"
