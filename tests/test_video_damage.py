"""Files that are cut short or damaged: told, or held and gone on with."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, planes_of, sound_of, times_of
from test_video_inputs import BLEND, command, run, still

from vfi_kernels.video import VideoError, interpolate
from vfi_kernels.video.images import Images

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


def joined(path: Path, *parts: Path) -> Path:
    """Transport streams one after the other, whose packets are counted anew: nothing looks lost."""
    whole = bytearray(b"".join(part.read_bytes() for part in parts))
    count: Counter[int] = Counter()
    for at in range(0, len(whole), 188):
        stream = int.from_bytes(whole[at + 1 : at + 3], "big") & 0x1FFF
        whole[at + 3] = whole[at + 3] & 0xF0 | count[stream] % 16
        count[stream] += whole[at + 3] >> 4 & 1  # those without content do not count
    path.write_bytes(whole)
    return path


def test_times_that_begin_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recordings put one after the other: an error that keeps what was done, or one after the other."""
    part, target = make_clip(tmp_path / "a.ts", 25, 20, sound="mp2"), tmp_path / "out.mkv"
    source = joined(tmp_path / "in.ts", part, part)
    how = ("--chunk-seconds", "0.4", "--no-scene-cuts")
    assert command(source, target, *how) == 1
    assert "in.ts: the time stamps go back at 0.76 s; --keep-going goes on; 1 of" in capsys.readouterr().err
    assert command(source, target, *how, "--resume", "--keep-going") == 0
    told = f"{source}: 20 frames whose time stamps went back follow the ones before them"
    assert capsys.readouterr().err == f"vfi: warning: {told}\n"
    times, given = times_of(target), frames_of(part)
    assert [time - times[0] for time in times] == [F(k, 50) for k in range(80)]
    made = [planes_of(frame) for frame in frames_of(target)]
    assert made[:40:2] == made[40::2] == [planes_of(frame) for frame in given]
    heard = [time for time, _ in sound_of(target)]
    assert heard == sorted(heard)
    assert heard[-1] - heard[0] > F(3, 2)


def test_frames_that_change_their_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        make_clip(tmp_path / f"{k}.ts", 25, 10, size=size) for k, size in enumerate([(64, 48), (96, 64)])
    ]
    source, target = joined(tmp_path / "in.ts", *parts), tmp_path / "out.mkv"
    how = ("--chunk-seconds", "0.2", "--no-scene-cuts")
    assert command(source, target, *how) == 1
    error = capsys.readouterr().err
    assert "the frames change from 64x48 yuv420p to 96x64 yuv420p at " in error
    assert "--keep-going scales them; 1 of" in error
    assert command(source, target, *how, "--resume", "--keep-going") == 0
    assert "10 frames of another size or format were scaled to that of the first" in capsys.readouterr().err
    made = frames_of(target)
    assert {(frame.width, frame.height) for frame in made} == {(64, 48)}
    assert len(made) == 40
    assert [planes_of(frame) for frame in made[:20:2]] == [planes_of(frame) for frame in frames_of(parts[0])]
    large = frames_of(parts[1])[3].reformat(64, 48).to_ndarray(format="gray").astype(int)
    assert np.abs(made[26].to_ndarray(format="gray") - large).mean() < 8


def test_frames_of_one_time_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stamps = [0, 40, 40, 80, 120]
    source = make_clip(tmp_path / "in.mkv", 25, 5, stamps=stamps, tick=F(1, 1000), codec="ffv1")
    assert command(source, tmp_path / "out.mkv", "--fps", "25", "--no-scene-cuts") == 0
    told = f"{source}: 1 frames have the time stamp of the one after them, and are not shown"
    assert capsys.readouterr().err == f"vfi: warning: {told}\n"
    given = frames_of(source)
    shown = [planes_of(given[k]) for k in (0, 2, 3, 4)]
    assert [planes_of(frame) for frame in frames_of(tmp_path / "out.mkv")] == shown


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """A pattern of twelve images."""
    (tmp_path / "shots").mkdir()
    for k in range(12):
        still(tmp_path / "shots" / f"{k:02}.png", k)
    return tmp_path / "shots" / "%02d.png"


def levels(frame: av.VideoFrame) -> bytes:
    return frame.to_ndarray(format="rgb24").tobytes()


@pytest.mark.parametrize(
    ("how", "bad"), [("missing", {3, 4, 5}), ("broken", {4}), ("broken", {10, 11}), ("broken", {0, 1})]
)
def test_images_that_are_not_there(
    tmp_path: Path, shots: Path, capsys: pytest.CaptureFixture[str], how: str, bad: set[int]
) -> None:
    given = [levels(frames_of(shots.parent / f"{k:02}.png")[0]) for k in range(12)]
    for k in bad:
        file = shots.parent / f"{k:02}.png"
        file.unlink() if how == "missing" else file.write_bytes(file.read_bytes()[:50])
    target = tmp_path / "out.mkv"
    options = ("--no-scene-cuts", "--chunk-seconds", "0.1")
    assert command(shots, target, *options) == 1
    error = capsys.readouterr().err
    assert {"missing": f"{min(bad):02}.png: is missing", "broken": "cannot be read as an image"}[how] in error
    assert command(shots, target, *options, "--keep-going", "--resume") == 0
    told = f"{shots}: {len(bad)} frames could not be decoded, and the last good one was held"
    assert capsys.readouterr().err == f"vfi: warning: {told}\n"
    good = [k for k in range(12) if k not in bad]
    shown = [max([k for k in good if k <= number], default=good[0]) for number in range(12)]
    assert [levels(frame) for frame in frames_of(target)[::2]] == [given[k] for k in shown]


def test_images_become_images_across_a_gap(tmp_path: Path, shots: Path) -> None:
    (shots.parent / "04.png").unlink()
    told: list[str] = []
    interpolate(shots, tmp_path / "made", BLEND, keep_going=True, warn=told.append)
    assert told == [f"{shots}: 1 frames could not be decoded, and the last good one was held"]
    assert len(list((tmp_path / "made").iterdir())) == 24


def test_images_of_another_size(tmp_path: Path, shots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still(shots.parent / "05.png", 5, size=(64, 48))
    assert command(shots, tmp_path / "out.mkv") == 1
    assert "image 6 is 64x48 rgb24, the first one 32x24 rgb24" in capsys.readouterr().err
    assert command(shots, tmp_path / "out.mkv", "--keep-going", "--overwrite") == 0
    assert "1 frames of another size or format were scaled" in capsys.readouterr().err
    assert len(frames_of(tmp_path / "out.mkv")) == 24


def test_no_image_can_be_read(shots: Path) -> None:
    for file in shots.parent.iterdir():
        file.write_bytes(b"")
    with pytest.raises(VideoError, match="no image can be read"):
        Images(shots, keep_going=True)
