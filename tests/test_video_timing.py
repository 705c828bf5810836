"""Through the command line: slow motion, variable rates out, cuts held, repeats re-timed."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, picture, planes_of, sound_of, times_of

from vfi_kernels import cli
from vfi_kernels.video import VideoError, interpolate

F = Fraction
MS = F(1, 1000)


def run(
    source: Path, target: Path, *options: object, warnings: str = "", capsys: pytest.CaptureFixture[str]
) -> list[Fraction]:
    """Interpolate with the quick model; the times of the output's frames in milliseconds."""
    arguments = ["interpolate", source, target, "--model", "blend", "--codec", "ffv1", *options]
    assert cli.main([str(a) for a in arguments]) == 0
    assert capsys.readouterr().err == warnings
    return [time / MS for time in times_of(target)]


def drawn(path: Path, pictures: list[int | None]) -> Path:
    """A lossless clip, 25 a second, of `picture(k)` for each k; None is a shot of its own, inverted."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv444p"
        for number, k in enumerate(pictures):
            image = 255 - picture(40)[::-1] // 2 if k is None else picture(k)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, F(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def same_as(made: Path, source: Path) -> list[int | None]:
    """For every frame of `made` the number of the source frame that it equals, None where it equals none."""
    given = [planes_of(frame) for frame in frames_of(source)]
    planes = [planes_of(frame) for frame in frames_of(made)]
    return [given.index(p) if p in given else None for p in planes]


def test_slow_motion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mkv", count=4, codec="ffv1")
    target = tmp_path / "out.mkv"
    assert run(source, target, "--slow-motion", 3, capsys=capsys) == [40 * k for k in range(12)]
    assert same_as(target, source) == [0, None, None, 1, None, None, 2, None, None, 3, 3, 3]
    # at another rate: 2.5 times 160 ms are 20 frames of 50 a second
    options = ("--slow-motion", 2.5, "--fps", 50, "--overwrite")
    assert run(source, target, *options, capsys=capsys) == [20 * k for k in range(20)]
    assert [k for k, same in enumerate(same_as(target, source)) if same is not None] == [
        0,
        5,
        10,
        *range(15, 20),
    ]


def test_slow_motion_and_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mkv", count=10, sound="flac")
    told = "vfi: warning: sound left out: --slow-motion-audio stretch keeps it, at its pitch\n"
    target = tmp_path / "out.mkv"
    run(source, target, "--slow-motion", 2, warnings=told, capsys=capsys)
    with av.open(str(target)) as made:
        assert not made.streams.audio
    run(source, target, "--slow-motion", 2, "--slow-motion-audio", "keep", "--overwrite", capsys=capsys)
    assert sound_of(target) == sound_of(source)
    run(source, target, "--slow-motion", 1, "--overwrite", capsys=capsys)
    assert sound_of(target) == sound_of(source)


STAMPS = [0, 40, 100, 140, 400, 433, 500]


@pytest.mark.parametrize("start", [0, 77])
def test_variable_rate_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], start: int) -> None:
    source = make_clip(
        tmp_path / "in.mkv", count=7, codec="ffv1", stamps=STAMPS, tick=MS, start=start, sound="flac"
    )
    times = run(source, tmp_path / "out.mkv", "--vfr", capsys=capsys)
    middles = [20, 70, 120, 270, F(833, 2), F(933, 2)]
    expected = sorted([*STAMPS, *middles])
    assert all(abs(t - e - start) <= F(1, 2) for t, e in zip(times, expected, strict=True))
    assert same_as(tmp_path / "out.mkv", source) == [0, None, 1, None, 2, None, 3, None, 4, None, 5, None, 6]
    assert sound_of(tmp_path / "out.mkv") == sound_of(source)


@pytest.mark.parametrize(("codec", "container"), [("libx264", "mp4"), ("ffv1", "mkv")])
def test_variable_rate_out_is_exact_and_as_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], codec: str, container: str
) -> None:
    """MP4 has room for any time, and libx264 would reorder frames."""
    source = make_clip(tmp_path / "in.mp4", count=7, stamps=STAMPS, tick=MS)
    target = tmp_path / f"out.{container}"
    options = ("--vfr", "--slow-motion", "3", "--codec", codec)
    times = run(source, target, *options, capsys=capsys)
    thirds = [a + F(b - a, 3) * k for a, b in pairwise(STAMPS) for k in range(3)]
    assert times == [3 * t for t in [*thirds, 500]]
    with av.open(str(source)) as given, av.open(str(target)) as made:
        gap = 3 * F(given.duration, av.time_base) - F(made.duration, av.time_base)
        assert abs(gap) < 2 * MS


def test_variable_rate_out_keeps_rounded_stamps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Matroska's milliseconds are the input's own, and not taken for the 30000/1001 that they stand for."""
    source = make_clip(tmp_path / "in.mkv", F(30000, 1001), 5)
    times = run(source, tmp_path / "out.mp4", "--vfr", "--codec", "libx264", capsys=capsys)
    assert [time * MS for time in times[::2]] == times_of(source) == [0, 33 * MS, 67 * MS, 100 * MS, 133 * MS]


def test_variable_rate_needs_time_stamps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_clip(tmp_path / "in.mp4", count=2)
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.avi"), "--vfr", "--model", "blend"]) == 1
    assert "AVI has no time stamps" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_cut_is_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = drawn(tmp_path / "in.mkv", [0, 1, 2, None, None])
    target = tmp_path / "out.mkv"
    run(source, target, "--factor", 3, capsys=capsys)
    assert same_as(target, source) == [0, None, None, 1, None, None, 2, 2, 2, *[3] * 6]
    run(source, target, "--factor", 3, "--no-scene-cuts", "--overwrite", capsys=capsys)
    assert same_as(target, source)[6:9] == [2, None, None]
    run(source, target, "--factor", 3, "--scene-threshold", 1, "--overwrite", capsys=capsys)
    assert same_as(target, source)[6:9] == [2, None, None]
    # at a variable rate the frame before the cut lasts longer instead
    times = run(source, target, "--vfr", "--overwrite", capsys=capsys)
    assert times == [0, 20, 40, 60, 80, 120, 140, 160]


def test_repeats_are_retimed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # drawn on twos and threes, then a still of six, then movement
    source = drawn(tmp_path / "in.mkv", [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 3, 3])
    target = tmp_path / "out.mkv"
    times = run(source, target, "--factor", 1, "--retime-duplicates", capsys=capsys)
    assert times == [40 * k for k in range(13)]
    assert same_as(target, source) == [0, None, 2, None, None, *[5] * 6, 11, 11]
    times = run(source, target, "--factor", 1, "--overwrite", capsys=capsys)
    assert same_as(target, source) == [0, 0, 2, 2, 2, *[5] * 6, 11, 11]
    run(source, target, "--vfr", "--retime-duplicates", "--overwrite", capsys=capsys)
    assert [time / MS for time in times_of(target)][:5] == [0, 40, 80, 140, 200]


@pytest.mark.parametrize(("shown", "film"), [((2, 1, 1, 1), 20), ((3, 2), 10)])
def test_pulldown_is_retimed_evenly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shown: tuple[int, ...], film: int
) -> None:
    """At the film's own rate every picture of it is there, untouched; and wherever chunks begin, the same."""
    pictures = [k for k in range(40 * len(shown) // 5) for _ in range(shown[k % len(shown)])]
    source = drawn(tmp_path / "in.mkv", pictures)
    target = tmp_path / "out.mkv"
    run(source, target, "--fps", film, "--retime-duplicates", capsys=capsys)
    assert same_as(target, source) == [pictures.index(k) for k in range(pictures[-1] + 1)]
    double = ("--fps", 2 * film, "--retime-duplicates", "--overwrite")
    times = run(source, target, *double, capsys=capsys)
    assert times == [F(500 * k, film) for k in range(len(times))]
    assert len(times) * F(500, film) == 40 * len(pictures)
    made = [planes_of(frame) for frame in frames_of(target)]
    run(source, target, *double, "--chunk-seconds", "0.3", capsys=capsys)
    assert [planes_of(frame) for frame in frames_of(target)] == made


def test_repeats_at_the_end_keep_the_duration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = drawn(tmp_path / "in.mkv", [0, 1, 1, 1])
    times = run(source, tmp_path / "out.mkv", "--retime-duplicates", capsys=capsys)
    assert times == [20 * k for k in range(8)]


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = make_clip(tmp_path / "in.mp4", count=2), tmp_path / "out.mp4"
    for options, message in (
        (["--vfr", "--fps", "60"], "not allowed with argument --vfr"),
        (["--vfr", "--factor", "2.5"], "must be whole with --vfr; got 5/2"),
        (["--slow-motion", "0"], "above zero"),
        (["--slow-motion-audio", "keep"], "needs --slow-motion"),
        (["--slow-motion", "2", "--slow-motion-audio", "loud"], "invalid choice"),
        (["--scene-threshold", "1.5"], "at most 1"),
        (["--scene-threshold", "0.5", "--no-scene-cuts"], "not allowed with"),
    ):
        assert cli.main(["interpolate", str(source), str(target), *options]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(ValueError, match="scene_threshold"):
        interpolate(source, target, None, scene_threshold=2)
    with pytest.raises(VideoError, match="no such file"):
        interpolate(tmp_path / "none.mp4", target, None, vfr=True)
    assert not target.exists()
