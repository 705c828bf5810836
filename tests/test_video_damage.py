"""Files that are cut short or damaged: told, or held and gone on with."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, planes_of, times_of
from test_video_inputs import BLEND, command, run

from vfi_kernels.video import VideoError, interpolate

F = Fraction


def cut(path: Path, count: int) -> Path:
    path.write_bytes(path.read_bytes()[:-count])
    return path


@pytest.mark.parametrize("container", ["mkv", "avi", "wmv"])
def test_a_few_bytes_cut_off_are_noticed(tmp_path: Path, container: str) -> None:
    """Less than the half second by which headers may be wrong."""
    codec = "mpeg4" if container == "wmv" else "libx264"
    source = make_clip(tmp_path / f"in.{container}", count=60, codec=codec)
    run(source, tmp_path / "whole.mkv")
    with pytest.raises(VideoError, match=rf"in\.{container}: cut short, 30 bytes are missing"):
        run(cut(source, 30), tmp_path / "out.mkv")


def test_a_gif_that_is_cut_short_is_noticed(tmp_path: Path) -> None:
    interpolate(
        make_clip(tmp_path / "in.mkv", 10, 8), tmp_path / "in.gif", BLEND, factor=1, warn=lambda line: None
    )
    source = tmp_path / "in.gif"
    cut(source, source.stat().st_size // 3)
    with pytest.raises(VideoError, match=r"in\.gif: cut short, 1 byte or more is missing"):
        run(source, tmp_path / "out.mkv")


@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_keep_going_reads_a_cut_file_to_its_end(
    tmp_path: Path, container: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"movflags": "faststart"} if container == "mp4" else {}
    source = make_clip(tmp_path / f"in.{container}", count=60, options=options)
    cut(source, source.stat().st_size // 3)
    target = tmp_path / "out.mkv"
    assert command(source, target) == 1
    assert "cut short" in capsys.readouterr().err
    assert not target.exists()
    assert command(source, target, "--keep-going") == 0
    # MP4's index still tells when the lost frames were shown
    assert len(times_of(target)) == 120 if container == "mp4" else 40 < len(times_of(target)) < 119
    assert ("could not be decoded" in capsys.readouterr().err) == (container == "mp4")


def broken(path: Path, bad: set[int]) -> Path:
    """Lossless, every frame for itself, of which some are noise."""
    clip = make_clip(path.with_name("whole.mkv"), 25, 10, codec="ffv1", pixels="yuv444p", gop=1)
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            if number in bad:
                noise = av.Packet(
                    bytes(np.random.default_rng(number).integers(0, 255, packet.size, np.uint8))
                )
                noise.pts, noise.dts, noise.duration = packet.pts, packet.dts, packet.duration
                noise.time_base, noise.is_keyframe = packet.time_base, True
                packet = noise
            packet.stream = stream
            target.mux(packet)
    return path


@pytest.mark.parametrize("bad", [{4}, {3, 4, 5}, {9}])
def test_keep_going_holds_the_last_good_frame(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], bad: set[int]
) -> None:
    source, target = broken(tmp_path / "in.mkv", bad), tmp_path / "out.mkv"
    assert command(source, target, "--no-scene-cuts") == 1
    error = capsys.readouterr().err
    assert "in.mkv: " in error
    assert f"at {min(bad) * 0.04:.2f} s" in error
    assert not target.exists()
    assert command(source, target, "--no-scene-cuts", "--keep-going", "--overwrite") == 0
    told = f"{source}: {len(bad)} frames could not be decoded, and the last good one was held"
    assert capsys.readouterr().err == f"vfi: warning: {told}\n"
    assert times_of(target) == [F(k, 50) for k in range(20)]
    given, made = frames_of(tmp_path / "whole.mkv"), frames_of(target)
    for k in range(10):
        shown = max(good for good in range(k + 1) if good not in bad)
        assert planes_of(made[2 * k]) == planes_of(given[shown])


def test_keep_going_takes_up_what_an_error_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Finished chunks are kept, and the way they are made does not depend on the option."""
    source, target = broken(tmp_path / "in.mkv", {8}), tmp_path / "out.mkv"
    assert command(source, target, "--chunk-seconds", "0.1") == 1
    assert "--resume goes on" in capsys.readouterr().err
    assert command(source, target, "--chunk-seconds", "0.1", "--resume", "--keep-going") == 0
    assert len(times_of(target)) == 20
