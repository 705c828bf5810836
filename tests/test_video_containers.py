"""What encoders and containers do differently: the shape of pixels, quality, alpha beside the pictures."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import json
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, planes_of, sound_of, times_of

from vfi_kernels import cli, models
from vfi_kernels.video import Encoding, Reader, Writer, compare, interpolate, matroska, mean_score

F = Fraction
BLEND = models.create("blend")


def aspect_of(path: Path) -> Fraction | None:
    with av.open(str(path)) as container:
        return container.streams.video[0].sample_aspect_ratio


@pytest.mark.parametrize(
    ("codec", "target"),
    [
        ("ffv1", "out.mkv"),
        ("libvpx-vp9", "out.webm"),
        ("libsvtav1", "out.mkv"),
        ("prores_ks", "out.mkv"),
        ("libx264", "out.mkv"),
        ("libsvtav1", "out.mp4"),
        ("prores_ks", "out.mov"),
        ("mpeg4", "out.avi"),
    ],
)
@pytest.mark.parametrize("aspect", [F(5, 4), F(3, 4)])
def test_sample_aspect_ratio(tmp_path: Path, codec: str, target: str, aspect: Fraction) -> None:
    source = make_clip(tmp_path / "in.mp4", count=12, aspect=aspect, sound="libopus")
    told: list[str] = []
    interpolate(source, tmp_path / target, BLEND, codec=codec, warn=told.append)
    assert not [line for line in told if "aspect" in line]
    assert aspect_of(tmp_path / target) == aspect
    # and the file is whole: every frame is there, and found by the index
    assert times_of(tmp_path / target) == [F(k, 50) for k in range(24)]
    with av.open(str(tmp_path / target)) as made:
        made.seek(300_000)
        assert next(made.decode(video=0)).time <= 0.3
        assert made.duration == pytest.approx(480_000, abs=30_000)


def test_sample_aspect_ratio_that_is_lost_is_told(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=3, aspect=F(4, 3))
    told: list[str] = []
    interpolate(source, tmp_path / "out.avi", BLEND, codec="ffv1", warn=told.append)
    assert told == ["avi does not hold the sample aspect ratio 4/3 with ffv1; .mkv does"]
    interpolate(source, tmp_path / "square.avi", BLEND, codec="mpeg4", warn=pytest.fail)


def test_a_header_too_long_for_the_sample_aspect_ratio(tmp_path: Path) -> None:
    """Styles of subtitles lie before the frames; the file stays as it was."""
    source, target = make_clip(tmp_path / "in.mkv", count=3, codec="ffv1"), tmp_path / "out.mkv"
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        made = container.add_stream_from_template(given.streams.video[0])
        texts = container.add_stream("ass")
        texts.time_base = texts.codec_context.time_base = F(1, 1000)
        texts.codec_context.subtitle_header = b"[Script Info]\n" + b"; styles\n" * 200_000
        for packet in given.demux(given.streams.video[0]):
            if packet.size:
                packet.stream = made
                container.mux(packet)
    before = target.read_bytes()
    assert len(before) > matroska.HEADER
    assert not matroska.set_aspect(target, F(4, 3))
    assert target.read_bytes() == before


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264"])
def test_quality_is_what_crf_says(tmp_path: Path, codec: str) -> None:
    """Also of encoders that have no constant rate factor."""
    source = make_clip(tmp_path / "in.mkv", count=10, codec="ffv1", size=(128, 96))
    sizes, scores = [], []
    for crf in (16, 22, 40):
        target = tmp_path / f"{crf}.mkv"
        interpolate(source, target, models.create("repeat"), codec=codec, crf=crf, factor=1)
        sizes.append(target.stat().st_size)
        scores.append(mean_score(compare(source, target)[0]).psnr)
    assert sizes == sorted(sizes, reverse=True)
    assert scores[0] > scores[1] > scores[2] + 5
    assert scores[0] > 40


@pytest.mark.parametrize("codec", ["h264_nvenc", "hevc_nvenc", "av1_nvenc"])
def test_options_of_hardware_encoders(codec: str) -> None:
    """What they are told, and in what they store 10 bits; that they open needs their device."""
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    encoding = Encoding("out.mkv", frame, fps=F(50), codec=codec, crf=20, warn=pytest.fail)
    with av.open(BytesIO(), "w", format="matroska") as container:
        options = encoding.add_to(container).options
    assert options["rc"] == "vbr"
    assert options["cq"] == "20"
    assert "crf" not in options
    assert encoding.colour.format == "p010le"


def test_alpha_of_vp9_is_read(tmp_path: Path) -> None:
    source, target = tmp_path / "in.webm", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        options = {"crf": "10", "auto-alt-ref": "0"}
        video = container.add_stream("libvpx-vp9", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuva420p"
        for k in range(20):
            frame = av.VideoFrame(64, 48, "yuva420p")
            for plane, value in zip(frame.planes, (120, 90, 160, 10 * k), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts, frame.time_base = k, F(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    seen = {"chunk_seconds": F(1, 5), "warn": pytest.fail, "scene_cuts": False}
    interpolate(source, target, BLEND, codec="ffv1", **seen)
    made = frames_of(target)
    assert {frame.format.name for frame in made} == {"yuva420p"}
    alpha = [int(np.median(np.frombuffer(planes_of(frame)[3], np.uint8))) for frame in made]
    np.testing.assert_allclose(alpha, np.minimum(5 * np.arange(40), 190), atol=3)
    # an output without alpha says so, and does not claim to have some
    told: list[str] = []
    plain = tmp_path / "plain.webm"
    interpolate(source, plain, BLEND, codec="libvpx-vp9", crf=40, warn=told.append)
    assert told == ["libvpx-vp9 does not hold the transparency of yuva420p: stored as yuv420p"]
    with av.open(str(plain)) as container:
        assert "alpha_mode" not in {key.lower() for key in container.streams.video[0].metadata}


def test_uneven_times_need_no_odd_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The average rate of ten minutes has more digits than a time base, and sound begins earlier."""
    source, tick = tmp_path / "in.mp4", F(1, 90_000)
    encoder = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 16, 16, "yuvj420p", tick
    (packet,) = [*encoder.encode(av.VideoFrame(16, 16, "yuvj420p")), *encoder.encode(None)]
    picture = bytes(packet)
    with av.open(str(source), "w", container_options={"movie_timescale": "90000"}) as container:
        video = container.add_stream("mjpeg", rate=30)
        video.width, video.height, video.pix_fmt = 16, 16, "yuvj420p"
        video.time_base = video.codec_context.time_base = tick
        container.start_encoding()
        for k in range(18_001):
            packet = av.Packet(picture)
            packet.pts = packet.dts = 12_347 + 3003 * k + (k * k) % 1009 + 7 * (k == 18_000)
            packet.time_base, packet.stream, packet.is_keyframe = tick, video, True
            container.mux(packet)
    with Reader(source) as reader:
        assert float(reader.rate) == pytest.approx(90_000 / 3003, rel=1e-4)
        assert reader.start == 12_347 * tick
    assert cli.main(["plan", str(source), str(tmp_path / "out.mp4"), "--model", "blend"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["out.ogv", "out.y4m"])
def test_what_a_container_refuses_is_told_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Writer, "write", lambda *frame: pytest.fail("a frame was made"))
    source = make_clip(tmp_path / "in.mp4", count=3)
    assert cli.main(["interpolate", str(source), str(tmp_path / name), "--model", "blend"]) == 1
    err = capsys.readouterr().err
    assert "does not take libx264 with" in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("target", ["out.mp4", "out.MOV", "out.mkv"])
@pytest.mark.parametrize("fps", [25, 50])
def test_sound_begins_where_it_did(tmp_path: Path, target: str, fps: Fraction) -> None:
    """Beside the pictures, to less than what a frame lasts: MPEG-TS begins neither at zero."""
    source = make_clip(tmp_path / "in.ts", 25, 20, sound="aac")
    interpolate(source, tmp_path / target, BLEND, fps=fps, warn=pytest.fail)
    gaps = [sound_of(path)[0][0] - times_of(path)[0] for path in (source, tmp_path / target)]
    assert abs(gaps[0] - gaps[1]) < F(1, 500)


def test_webm_has_its_own_codec(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mp4", count=3)
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.webm"), "--model", "blend"]) == 0
    with av.open(str(tmp_path / "out.webm")) as made:
        assert made.streams.video[0].codec_context.name == "vp9"


def test_what_an_edit_list_hides_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Clips that were cut between key frames keep the frames from the one before, not to be shown."""
    whole, source = make_clip(tmp_path / "whole.mp4", count=60, gop=20), tmp_path / "in.mp4"
    with av.open(str(whole)) as given, av.open(str(source), "w") as container:
        stream = given.streams.video[0]
        made = container.add_stream_from_template(stream)
        for packet in given.demux(stream):
            if packet.size:
                packet.pts -= F(8, 25) / stream.time_base
                packet.dts -= F(8, 25) / stream.time_base
                packet.stream = made
                container.mux(packet)
    assert len(frames_of(source)) == 52
    arguments = [str(source), str(tmp_path / "out.mkv"), "--codec", "ffv1"]
    assert cli.main(["info", *arguments, "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables["input"]["frames"] == 52
    assert tables["output"]["frames"] == 104
    assert cli.main(["interpolate", *arguments, "--chunk-seconds", "0.4", "--model", "blend"]) == 0
    assert times_of(tmp_path / "out.mkv") == [F(k, 50) for k in range(104)]
    kept = [planes_of(frame) for frame in frames_of(tmp_path / "out.mkv")[::2]]
    assert kept == [planes_of(frame) for frame in frames_of(source)]
