"""What commands tell: events for programs, tables for people, and `vfi info`."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
cv2 = pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import make_clip, times_of, told

from vfi_kernels import models

F = Fraction


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mkv", codec="ffv1", pixels="yuv420p12le")
    target = tmp_path / "out.mp4"
    out, err = told(capsys, 0, "interpolate", source, target, "--model", "blend", "--json")
    warning, start, *progress, done = events(out)
    assert err == ""
    assert warning == {
        "event": "warning",
        "message": "libx264 does not hold the 12 bits of yuv420p12le: stored as yuv420p10le",
    }
    assert start == {
        "event": "start",
        "source": str(source),
        "target": str(target),
        "frames": 20,
        "chunks": 1,
    }
    assert progress
    assert {event["event"] for event in progress} == {"progress"}
    assert progress[-1].keys() == {"event", "frames", "of", "rate", "left"}
    assert (progress[-1]["frames"], progress[-1]["of"], progress[-1]["left"]) == (20, 20, 0)
    assert (done["event"], done["frames"], done["bytes"]) == ("done", 20, target.stat().st_size)
    assert done["stages"].keys() == {"read", "model", "encode"}

    out, err = told(capsys, 1, "interpolate", source, target, "--model", "blend", "--json")
    (error,) = events(out)
    assert error == {
        "event": "error",
        "message": f"{target}: exists already; --overwrite replaces it",
        "code": 1,
    }
    assert err == f"vfi: error: {error['message']}\n"


def test_json_tells_of_an_interrupt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    source = make_clip(tmp_path / "in.mp4")
    monkeypatch.setattr(type(models.create("blend")), "interpolate", interrupted)
    out, _ = told(capsys, 130, "interpolate", source, tmp_path / "out.mp4", "--model", "blend", "--json")
    message = "interrupted; no output was written"
    assert events(out)[-1] == {"event": "error", "message": message, "code": 130}


@pytest.mark.parametrize(
    ("code", "message", "options"),
    [
        (2, "expected cpu, cuda or cuda:N; got 'quantum'", ["--device", "quantum"]),
        (1, "device 'cuda:99' is not available", ["--device", "cuda:99"]),
        (2, "did you mean 'flow'", ["--model", "folw"]),
        (2, "unrecognized arguments: --fsp", ["--fsp"]),
        (1, "none.safetensors", ["--model", "dvf", "--checkpoint", "none.safetensors"]),
    ],
)
def test_json_tells_of_an_error_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int, message: str, options: list[str]
) -> None:
    source = make_clip(tmp_path / "in.mp4", count=2)
    out, err = told(capsys, code, "interpolate", source, tmp_path / "out.mp4", "--json", *options)
    (error,) = events(out)
    assert (error["event"], error["code"]) == ("error", code)
    assert message in error["message"]
    assert err.count("\n") == 1
    assert err.endswith(f"error: {error['message']}\n")


def test_a_mistake_in_the_program_has_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("planes")

    source = make_clip(tmp_path / "in.mp4", count=2)
    monkeypatch.setattr(type(models.create("blend")), "interpolate", broken)
    out, err = told(capsys, 70, "interpolate", source, tmp_path / "out.mp4", "--model", "blend", "--json")
    assert err.startswith("Traceback (most recent call last)")
    assert "in broken" in err
    message = "KeyError: 'planes'; please report this, with all the lines above"
    assert err.splitlines()[-1] == f"vfi: error: {message}"
    assert events(out)[-1] == {"event": "error", "message": message, "code": 70}


def test_profile_and_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4"
    out, err = told(capsys, 0, "interpolate", source, target, "--model", "blend", "--profile")
    assert out == ""
    lines = err.splitlines()
    assert lines[0].startswith(f"output   {target}, 0.0 MB")
    assert lines[1].startswith("frames   20, of which 20 now, in ")
    assert [line.split()[0] for line in lines[2:]] == ["stage", "read", "model", "encode"]
    shares = [int(share[:-1]) for line in lines[3:] for share in line.split()[1:]]
    assert all(0 <= share <= 101 for share in shares)

    pytest.importorskip("tqdm", reason="the progress bar needs tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    _, err = told(capsys, 0, "interpolate", source, target, "--model", "blend", "--overwrite")
    assert "20/20" in err
    assert "frames   20, of which 20 now" in err
    assert "stage" not in err


def test_info(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mp4", F(24000, 1001), 24, sound="aac", gop=8)
    out, err = told(capsys, 0, "info", source, "--fps", "60", "--json")
    assert err == ""
    tables = json.loads(out)
    assert (
        tables["input"]
        | {
            "streams": ["video h264", "audio aac"],
            "size": "64x48",
            "rate": "24000/1001 (23.976) a second",
            "times": "constant rate",
            "frames": 24,
            "key frames": 3,
        }
        == tables["input"]
    )
    # what is told is what is made
    told(capsys, 0, "interpolate", source, tmp_path / "out.mp4", "--fps", "60", "--model", "blend")
    assert tables["output"]["frames"] == len(times_of(tmp_path / "out.mp4"))
    assert tables["output"]["rate"] == "60 a second: --fps"
    assert tables["output"]["not kept"] == []

    stamps = [0, 40, 100, 140, 400]
    uneven = make_clip(tmp_path / "uneven.mkv", count=5, stamps=stamps, tick=F(1, 1000), sound="pcm_s16le")
    out, _ = told(
        capsys, 0, "info", uneven, tmp_path / "out.webm", "--slow-motion", 2, "--codec", "libvpx-vp9"
    )
    assert "variable rate, 3 lengths of frames" in out
    assert "the input's, in slow motion" in out
    assert "sound left out: --slow-motion-audio stretch keeps it" in out
    assert not (tmp_path / "out.webm").exists()
    assert not (tmp_path / "out.webm.vfi").exists()
    _, err = told(capsys, 1, "info", tmp_path / "none.mp4")
    assert "no such file" in err


@pytest.mark.parametrize("name", ["in.mkv", "in.mp4", "in.ts"])
def test_sound_that_is_longer_than_the_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """It does not count, neither in what is foretold nor in progress."""
    pictures, sounding = make_clip(tmp_path / "short.mp4", count=10), tmp_path / name
    long = make_clip(tmp_path / "long.mp4", count=50, sound="aac")
    with av.open(str(pictures)) as a, av.open(str(long)) as b, av.open(str(sounding), "w") as made:
        for source in (a.streams.video[0], b.streams.audio[0]):
            made.add_stream_from_template(source)
        for source, stream in zip((a.demux(video=0), b.demux(audio=0)), made.streams, strict=True):
            for packet in source:
                if packet.dts is not None:
                    packet.stream = stream
                    made.mux(packet)
    out, _ = told(capsys, 0, "info", sounding, "--json")
    tables = json.loads(out)
    assert (tables["input"]["frames"], tables["input"]["lasts"]) == (10, "0.400 s")
    assert tables["output"]["frames"] == 20
    out, _ = told(capsys, 0, "interpolate", sounding, tmp_path / "out.mkv", "--model", "blend", "--json")
    start, done = (next(e for e in events(out) if e["event"] == kind) for kind in ("start", "done"))
    assert start["frames"] == done["frames"] == 20
