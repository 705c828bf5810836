"""Sound in slow motion: as long as the pictures, at its own pitch, beginning where they say."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import make_clip, sound_of, times_of

from vfi_kernels import models
from vfi_kernels.video import VideoError, interpolate

F = Fraction
BLEND = models.create("blend")
RATE = 48_000
PITCH = RATE / 20 / 2 / np.pi  # of `make_clip`


def heard(path: Path) -> tuple[np.ndarray, Fraction]:
    """The samples of the first channel, and the time of the first one."""
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert {frame.sample_rate for frame in frames} == {RATE}
    times = [frame.pts * frame.time_base for frame in frames]
    lengths = [F(frame.samples, RATE) for frame in frames]
    assert all(abs(b - a - n) <= F(1, 900) for (a, b), n in zip(pairwise(times), lengths, strict=False))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), times[0]


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency, between the ends."""
    middle = samples[RATE // 5 : -RATE // 5].astype(np.float64)
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 8 * len(middle)))
    return power.argmax() * RATE / (8 * len(middle))


@pytest.mark.parametrize(
    ("stretch", "sound", "target", "told"),
    [
        (F(2), "aac", "out.mp4", []),
        (F(3), "flac", "out.mkv", []),
        (F(5, 4), "libopus", "out.webm", []),
        (F(1, 2), "pcm_s16le", "out.mkv", []),
        (F(3), "flac", "out.mov", ["flac is stretched and becomes aac"]),
        (F(2), "pcm_s16le", "out.webm", ["pcm_s16le is stretched and becomes opus"]),
    ],
)
def test_stretched_at_its_pitch(
    tmp_path: Path, stretch: Fraction, sound: str, target: str, told: list[str]
) -> None:
    source = make_clip(tmp_path / "in.mkv", count=50, sound=sound, codec="ffv1")
    warnings: list[str] = []
    how = {"codec": "libvpx-vp9", "crf": 40} if target.endswith("webm") else {}
    interpolate(
        source,
        tmp_path / target,
        BLEND,
        slow_motion=stretch,
        slow_motion_audio="stretch",
        warn=warnings.append,
        **how,
    )
    assert warnings == told
    given, _ = heard(source)
    made, begin = heard(tmp_path / target)
    assert len(made) / len(given) == pytest.approx(float(stretch), abs=0.05)
    assert pitch(given) == pytest.approx(PITCH, rel=0.002)
    assert pitch(made) == pytest.approx(PITCH, rel=0.002)
    assert abs(begin) < F(1, 20)  # what encoders need to begin
    last = times_of(tmp_path / target)[-1]
    assert float(last) == pytest.approx(2 * float(stretch), abs=0.1)


def with_sound(path: Path, samples: list[tuple[float, np.ndarray]]) -> Path:
    """Two seconds of pictures from 0.4 s on, and stretches of sound, each with its time."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for k in range(50):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = 10 + k, F(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for time, part in samples:
            frame = av.AudioFrame.from_ndarray(part.astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, round(time * RATE), F(1, RATE)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return path


def test_a_click_stays_with_its_picture(tmp_path: Path) -> None:
    """Also after a gap, and where pictures and sound begin at different times."""
    tone = 12_000 * np.sin(np.arange(RATE // 2) / 20)
    quiet = 100 * np.sin(np.arange(RATE // 2) / 20)
    source = with_sound(tmp_path / "in.mkv", [(0.6, quiet), (1.6, tone)])  # nothing from 1.1 to 1.6 s
    target = tmp_path / "out.mkv"
    interpolate(source, target, BLEND, slow_motion=2, slow_motion_audio="stretch", warn=pytest.fail)
    samples, begin = heard(target)
    assert times_of(target)[0] == F(2, 5)
    assert float(begin) == pytest.approx(0.4 + 0.2 * 2, abs=0.03)
    loud = np.flatnonzero(np.abs(samples) > 6000)[0]
    assert float(begin) + loud / RATE == pytest.approx(0.4 + 1.2 * 2, abs=0.05)


def test_no_drift_over_minutes(tmp_path: Path) -> None:
    """A click every second comes every three; what atempo is off by does not add up."""
    clicks = np.zeros(60 * RATE)
    clicks.reshape(60, RATE)[:, :480] = 12_000 * np.sin(np.arange(480) / 8)
    source = with_sound(
        tmp_path / "in.mkv", [(0.4 + k, clicks[k * RATE : (k + 1) * RATE]) for k in range(60)]
    )
    target = tmp_path / "out.mkv"
    interpolate(source, target, BLEND, slow_motion=3, slow_motion_audio="stretch", warn=pytest.fail)
    samples, begin = heard(target)
    loud = np.flatnonzero(np.abs(samples) > 6000)
    starts = loud[np.r_[True, np.diff(loud) > RATE]] / RATE + float(begin)
    np.testing.assert_allclose(starts, 0.4 + 3 * np.arange(60), atol=0.1)


def test_kept_as_it_is_where_nothing_is_stretched(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", count=10, sound="aac", codec="ffv1")
    interpolate(source, tmp_path / "out.mkv", BLEND, slow_motion_audio="stretch", warn=pytest.fail)
    assert sound_of(tmp_path / "out.mkv") == sound_of(source)


def test_damaged_sound_is_told_or_filled(tmp_path: Path) -> None:
    whole, source = make_clip(tmp_path / "whole.mkv", count=50, sound="flac"), tmp_path / "in.mkv"
    with av.open(str(whole)) as given, av.open(str(source), "w") as container:
        streams = {s.index: container.add_stream_from_template(s, opaque=True) for s in given.streams}
        for number, packet in enumerate(packet for packet in given.demux() if packet.size):
            made = av.Packet(bytes(packet))
            if packet.stream.type == "audio" and number % 4 == 0:
                made = av.Packet(bytes(packet.size))
            made.pts, made.dts, made.time_base = packet.pts, packet.dts, packet.time_base
            made.duration, made.is_keyframe = packet.duration, packet.is_keyframe
            made.stream = streams[packet.stream.index]
            container.mux(made)
    how = {"slow_motion": 2, "slow_motion_audio": "stretch", "overwrite": True}
    with pytest.raises(VideoError, match="Invalid data"):
        interpolate(source, tmp_path / "out.mkv", BLEND, **how)
    interpolate(source, tmp_path / "out.mkv", BLEND, keep_going=True, **how)
    samples, _ = heard(tmp_path / "out.mkv")
    assert len(samples) / RATE == pytest.approx(4, abs=0.4)
