"""Files in, files out: frame counts, time stamps, sound, colours, and nothing left behind by a failure."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
import torch

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")

from clips import frames_of, make_clip, planes_of, sound_of, times_of

from vfi_kernels import models
from vfi_kernels.video import Encoding, Reader, VideoError, Writer, interpolate

F = Fraction
NTSC = F(30000, 1001)
BLEND = models.create("blend")


def run(source: Path, target: Path, **options: object) -> list[Fraction]:
    """Interpolate with the quick model; the times of the output's frames."""
    interpolate(source, target, options.pop("model", BLEND), **{"warn": pytest.fail, **options})
    return times_of(target)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(
    ("rate", "options", "fps", "count"),
    [
        (25, {"fps": 60}, F(60), 24),  # 10 frames, 0.4 s
        (NTSC, {"factor": 4}, F(120000, 1001), 40),
        (F(24000, 1001), {"fps": 60}, F(60), 26),  # 0.41708 s: 25.025 intervals
        (50, {"fps": F(25)}, F(25), 5),  # fewer frames is a rate like any other
        (25, {"factor": F(5, 2)}, F(125, 2), 25),
        (30, {"fps": 240}, F(240), 80),
        (F(24000, 1001), {"fps": F(24)}, F(24), 11),
    ],
)
def test_count_stamps_and_duration(
    tmp_path: Path, container: str, rate: Fraction, options: dict[str, object], fps: Fraction, count: int
) -> None:
    source = make_clip(tmp_path / f"in.{container}", rate)
    times = run(source, tmp_path / f"out.{container}", **options)
    assert len(times) == count
    rounding = F(1, 2000) if container == "mkv" else 0  # Matroska counts milliseconds
    assert all(abs(time - k / fps) <= rounding for k, time in enumerate(times))
    with av.open(str(tmp_path / f"out.{container}")) as made:
        assert abs(F(made.duration, av.time_base) - 10 / F(rate)) < 1 / fps + F(1, 1000)
        if container != "mkv":
            assert made.streams.video[0].average_rate == fps


@pytest.mark.parametrize(
    ("container", "codec", "sound"),
    [
        ("flv", "libx264", "aac"),
        ("mpg", "mpeg2video", "mp2"),
        ("ts", "libx264", "aac"),
    ],
)
def test_other_containers_are_read_whole(tmp_path: Path, container: str, codec: str, sound: str) -> None:
    source = make_clip(tmp_path / f"in.{container}", 25, 30, codec=codec, sound=sound)
    times = run(source, tmp_path / "out.mkv", fps=60)
    assert len(times) == 72
    assert len(sound_of(tmp_path / "out.mkv")) == len(sound_of(source))


@pytest.mark.parametrize("container", ["mp4", "mkv"])
def test_variable_rate(tmp_path: Path, container: str) -> None:
    stamps = [0, 40, 100, 140, 400, 433, 500]
    source = make_clip(tmp_path / f"in.{container}", 25, len(stamps), stamps=stamps, tick=F(1, 1000))
    target = tmp_path / "out.mkv"
    seen: list[tuple[float, ...]] = []
    model = models.create("blend")
    whole = model.interpolate
    model.interpolate = lambda a, b, t: seen.append(tuple(t)) or whole(a, b, t)
    times = run(source, target, fps=50, codec="ffv1", model=model)
    assert times == [k * F(20, 1000) for k in range(27)]  # the last frame lasts 40 ms: 0.54 s
    # originals at 0, 2, 5, 7, 20, 25; from 140 to 400 ms there are twelve frames to make
    assert seen[:3] == [(0.5,), pytest.approx((1 / 3, 2 / 3)), (0.5,)]
    assert seen[3] + seen[4] == pytest.approx([k / 13 for k in range(1, 13)])
    made, given = frames_of(target), frames_of(source)
    for k, original in {0: 0, 2: 1, 5: 2, 7: 3, 20: 4, 25: 6, 26: 6}.items():
        assert planes_of(made[k]) == planes_of(given[original])


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "gray", "yuv420p10le", "bgr0"])
def test_originals_pass_untouched(tmp_path: Path, pixels: str) -> None:
    source = make_clip(tmp_path / "in.mkv", count=4, codec="ffv1", pixels=pixels)
    run(source, tmp_path / "out.mkv", factor=3, codec="ffv1")
    given, made = frames_of(source), frames_of(tmp_path / "out.mkv")
    assert len(made) == 12
    assert {frame.format.name for frame in made} == {pixels}
    for k, frame in enumerate(given):
        assert planes_of(made[3 * k]) == planes_of(frame)
    assert planes_of(made[10]) == planes_of(made[11]) == planes_of(given[3])  # the last one is held
    assert planes_of(made[1]) != planes_of(given[0])


@pytest.mark.parametrize("matrix", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("full", [False, True])
def test_colours_do_not_shift(tmp_path: Path, matrix: int, full: bool) -> None:
    tags = {"colorspace": matrix, "color_range": 2 if full else 1, "color_primaries": 9, "color_trc": 14}
    source = make_clip(tmp_path / "in.mkv", count=2, codec="ffv1", pixels="yuv444p", tags=tags)
    # every made frame equals the first one, but went to RGB and back
    run(source, tmp_path / "out.mkv", factor=4, codec="ffv1", model=models.create("repeat"))
    made = frames_of(tmp_path / "out.mkv")
    assert {(f.colorspace, int(f.color_range), f.color_primaries, f.color_trc) for f in made} == {
        (matrix, tags["color_range"], 9, 14)
    }
    for original, back in zip(planes_of(made[0]), planes_of(made[1]), strict=True):
        assert original == back


@pytest.mark.parametrize(
    ("source_sound", "container"),
    [("aac", "mp4"), ("aac", "mkv"), ("libopus", "mkv"), ("flac", "mkv")],
)
@pytest.mark.parametrize("start", [0, 3])
def test_sound_is_copied_in_sync(tmp_path: Path, source_sound: str, container: str, start: int) -> None:
    source = make_clip(tmp_path / f"in.{container}", 25, 20, sound=source_sound, start=start)
    times = run(source, tmp_path / f"out.{container}", fps=60)
    assert sound_of(tmp_path / f"out.{container}") == sound_of(source)
    assert times[0] == times_of(source)[0] == F(start, 25)
    assert len(times) == 48


def test_transport_stream_takes_the_sound(tmp_path: Path) -> None:
    """FFmpeg does not say what MPEG-TS can hold."""
    source = make_clip(tmp_path / "in.mp4", 25, 20, sound="aac")
    told: list[str] = []
    run(source, tmp_path / "out.ts", fps=50, warn=told.append)
    assert told == []
    with av.open(str(tmp_path / "out.ts")) as made:
        packets = [p for p in made.demux(audio=0) if p.size]
    assert len(packets) == len(sound_of(source))


@pytest.mark.parametrize("rate", [24, 25, 30])
def test_a_stream_without_a_container(tmp_path: Path, rate: int) -> None:
    """H.264 itself says how many fields a second there are; nobody says how long it is."""
    stream = tmp_path / "in.h264"
    with (
        av.open(str(make_clip(tmp_path / "in.mp4", rate, 12))) as clip,
        av.open(str(stream), "w") as raw,
    ):
        track = raw.add_stream_from_template(clip.streams.video[0])
        for packet in clip.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                raw.mux(packet)
    assert run(stream, tmp_path / "out.mp4") == [F(k, 2 * rate) for k in range(24)]


def test_avi_shows_frames_in_the_order_of_the_file(tmp_path: Path) -> None:
    """It has no time stamps, so frames must not be reordered, and are timed by their order when read."""
    source = make_clip(tmp_path / "in.mp4", 25, 12)
    run(source, tmp_path / "out.avi", factor=2)
    assert len(run(tmp_path / "out.avi", tmp_path / "again.mp4", factor=1)) == 24


@pytest.mark.parametrize("factor", [3, 4])
def test_duration_of_a_single_frame(tmp_path: Path, factor: int) -> None:
    """MP4 rounds durations to milliseconds unless told the scale."""
    source = make_clip(tmp_path / "in.mp4", 30, 1)
    run(source, tmp_path / "out.mp4", factor=factor)
    with av.open(str(tmp_path / "out.mp4")) as made:
        stream = made.streams.video[0]
        assert stream.duration * stream.time_base == F(1, 30)


def test_sound_that_does_not_fit_is_told(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", sound="pcm_s16le")
    told: list[str] = []
    run(source, tmp_path / "out.webm", warn=told.append, codec="libvpx-vp9", crf=40)
    assert told == ["sound left out: webm does not hold pcm_s16le; an .mkv output does"]


def test_one_frame_is_held(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=1)
    assert run(source, tmp_path / "out.mp4", factor=4) == [F(k, 100) for k in range(4)]


def test_odd_sizes(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", count=2, codec="ffv1", size=(33, 35))
    told: list[str] = []
    run(source, tmp_path / "out.mp4", warn=told.append)
    assert told == ["libx264 needs even sides for yuv420p; 33x35 is stored as yuv444p"]
    with av.open(str(tmp_path / "out.mp4")) as made:
        stream = made.streams.video[0]
        assert (stream.width, stream.height, stream.format.name) == (33, 35, "yuv444p")


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    run(make_clip(tmp_path / "in.mp4"), tmp_path / "out.mp4", progress=lambda *call: calls.append(call))
    assert calls == [(k, 20) for k in range(1, 21)]


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])


def scramble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, scramble])
@pytest.mark.parametrize(
    ("container", "options"), [("mp4", {"movflags": "faststart"}), ("mp4", {}), ("mkv", {})]
)
def test_damaged_input_leaves_nothing(
    tmp_path: Path, damage: Callable[[Path], None], container: str, options: dict[str, str]
) -> None:
    source = make_clip(tmp_path / f"in.{container}", count=100, options=options)
    damage(source)
    with pytest.raises(VideoError, match=rf"in\.{container}: "):
        run(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == [source.name]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    source = make_clip(tmp_path / "in.mp4")
    target = tmp_path / "out.mp4"
    target.write_text("the old one")
    model = models.create("blend")
    calls = iter([False, False, True])

    def interpolate_some(*arguments: object) -> object:
        if next(calls):
            raise error
        return BLEND.interpolate(*arguments)

    model.interpolate = interpolate_some
    with pytest.raises(error):
        run(source, target, model=model, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    assert target.read_text() == "the old one"


def test_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    source = make_clip(tmp_path / "in.mp4", count=2)
    with pytest.raises(VideoError, match=r"manifest\.json: No space left"):
        run(source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_errors(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=2)
    empty = make_clip(tmp_path / "empty.mkv", count=0)
    (tmp_path / "text.mp4").write_text("not a video")
    target = tmp_path / "out.mp4"
    for bad, message in (
        (tmp_path / "none.mp4", "no such file"),
        (tmp_path / "text.mp4", "cannot be read as a video"),
        (empty, "holds no|cannot be read"),
    ):
        with pytest.raises(VideoError, match=message):
            run(bad, target)
    with pytest.raises(VideoError, match="is the input itself"):
        run(source, source, overwrite=True)
    with pytest.raises(VideoError, match="exists already; --overwrite"):
        run(source, tmp_path / "text.mp4")
    with pytest.raises(VideoError, match="no such folder"):
        run(source, tmp_path / "nowhere" / "out.mp4")
    for codec, name, message in (
        ("nothing", "out.mp4", "no video encoder 'nothing'"),
        ("aac", "out.mp4", "no video encoder 'aac'"),
        ("libx264", "out.webm", "/out.webm: 'webm' format does not support 'libx264'"),
        ("libx264", "out.xyz", "/out.xyz: Could not determine output format"),
    ):
        with pytest.raises(VideoError, match=message):
            run(source, tmp_path / name, codec=codec)
    with pytest.raises(VideoError, match="32-bit time base"):
        run(source, target, fps=F(2**31 + 11, 2**31 - 1))
    with pytest.raises(ValueError, match="got both"):
        run(source, target, factor=2, fps=50)
    with pytest.raises(ValueError, match="must be positive; got 0"):
        run(source, target, factor=0)
    assert not target.exists()


def test_reader_and_writer_alone(tmp_path: Path) -> None:
    """The pieces serve other programs too: here, every second frame dropped without loss."""
    source = make_clip(tmp_path / "in.mkv", count=5, codec="ffv1")
    with Reader(source) as reader:
        writer = Writer(
            tmp_path / "out.mkv",
            Encoding(tmp_path / "out.mkv", reader.first, fps=reader.rate / 2, codec="ffv1"),
        )
        with writer:
            for number, (frame, _) in enumerate(reader.frames()):
                if number % 2 == 0:
                    writer.write(frame, number // 2)
    assert [planes_of(f) for f in frames_of(tmp_path / "out.mkv")] == [
        planes_of(f) for f in frames_of(source)[::2]
    ]
    assert times_of(tmp_path / "out.mkv") == [F(0), F(2, 25), F(4, 25)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_the_default_dtype_is_the_callers(tmp_path: Path, dtype: torch.dtype) -> None:
    """Other tools set it for all of PyTorch; nothing here does, or goes by it."""
    source = make_clip(tmp_path / "in.mkv", count=3)
    run(source, tmp_path / "expected.mkv", codec="ffv1")
    torch.set_default_dtype(dtype)
    try:
        for name in ("rife_v4.6", "superslomo", "flow"):
            models.create(name)
        run(source, tmp_path / "out.mkv", codec="ffv1")
        assert torch.get_default_dtype() == dtype
    finally:
        torch.set_default_dtype(torch.float32)
    assert (tmp_path / "out.mkv").read_bytes() == (tmp_path / "expected.mkv").read_bytes()
