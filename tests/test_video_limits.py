"""Headers and options that promise more than a disk or a memory holds."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import command, make_clip, picture, times_of

from vfi_kernels.video import cutting, limits

F = Fraction


def test_frames_larger_than_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_clip(tmp_path / "in.mp4", count=2)
    monkeypatch.setattr(limits, "MAX_PIXELS", 64 * 48 - 1)
    assert command(source, tmp_path / "out.mkv") == 1
    assert "64x48 is more than 3071 pixels; --force lifts the limit" in capsys.readouterr().err
    assert command(source, tmp_path / "out.mkv", "--force") == 0


def test_two_frames_years_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a time stamp says must not fill the disk."""
    source = make_clip(tmp_path / "in.mkv", 25, 2, stamps=[0, 2_000_000], tick=F(1), codec="ffv1")
    assert command(source, tmp_path / "out.mkv", "--fps", "60") == 1
    error = capsys.readouterr().err
    assert "2000000 s would become 120000003 frames, more than 10000000; --force lifts the limit" in error


def test_a_last_frame_that_lasts_for_years(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = clip_with_long_end(tmp_path / "in.mp4"), tmp_path / "out.mkv"
    assert command(source, target, "--fps", "240") == 1
    told = "130000 s would become 31200010 frames, more than 10000000; --force lifts the limit"
    assert told in capsys.readouterr().err
    # as of files that do not say it before the frame comes
    monkeypatch.setattr(cutting, "end_of", lambda reader, marks: marks[-1][0])
    assert command(source, target, "--fps", "240") == 1
    assert told in capsys.readouterr().err
    assert not target.exists()


def clip_with_long_end(path: Path) -> Path:
    """A second frame that is shown for 130,000 s."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        frames = [av.VideoFrame.from_ndarray(picture(number), "rgb24") for number in range(2)]
        packets = [packet for frame in [*frames, None] for packet in video.encode(frame)]
        packets[-1].duration = round(130_000 / packets[-1].time_base)
        container.mux(packets)
    return path


def test_frames_are_limited_at_a_variable_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_clip(tmp_path / "in.mp4", count=5)
    monkeypatch.setattr(limits, "MAX_FRAMES", 12)
    assert command(source, tmp_path / "out.mkv", "--vfr", "--factor", "3") == 1
    assert "would become 13 frames, more than 12; --force lifts the limit" in capsys.readouterr().err


def test_rates_beyond_reason_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mkv", 25, 2, codec="ffv1")
    assert command(source, tmp_path / "out.mkv", "--fps", "1000000") == 1
    assert "1e+06 frames a second is more than 10000" in capsys.readouterr().err


def test_rates_beyond_reason_in_headers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rate that is only stated is refused where it counts, and can be overruled."""
    source = make_clip(tmp_path / "in.mp4", 1_000_000, 5)
    assert command(source, tmp_path / "out.mkv") == 1
    assert "2e+06 frames a second is more than 10000" in capsys.readouterr().err
    assert command(source, tmp_path / "out.mkv", "--fps", "25") == 0
    assert len(times_of(tmp_path / "out.mkv")) == 1
    still = make_clip(tmp_path / "one.mkv", F(1, 100_000), 2, codec="ffv1")  # one frame a day, about
    assert command(still, tmp_path / "still.mkv", "--fps", "1000") == 1
    assert "--force lifts the limit" in capsys.readouterr().err
