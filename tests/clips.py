"""Small clips made on the fly, and what is in a file."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from shared import SHARED as SHARED

from vfi_kernels import cli


def picture(k: float, width: int = 64, height: int = 48) -> np.ndarray:
    """Smooth noise that moves 2 pixels to the right a frame, [height, width, 3] uint8."""
    noise = np.random.default_rng(7).random((height + 32, width + 96, 3)).astype(np.float32)
    texture = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 20, 235, cv2.NORM_MINMAX)
    shift = np.float32([[1, 0, 2 * k - 64], [0, 1, -16]])
    return (
        np.rint(cv2.warpAffine(texture, shift, (width, height), flags=cv2.INTER_CUBIC))
        .clip(0, 255)
        .astype(np.uint8)
    )


def make_clip(
    path: Path,
    rate: Fraction | int = 25,
    count: int = 10,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    size: tuple[int, int] = (64, 48),
    stamps: list[int] | None = None,
    tick: Fraction | None = None,
    start: int = 0,
    sound: str | None = None,
    tags: dict[str, int] | None = None,
    aspect: Fraction | None = None,
    options: dict[str, str] | None = None,
    gop: int | None = None,
) -> Path:
    """`count` pictures at `rate`, or at `stamps` times `tick`, shifted by `start` ticks; `sound` names an
    audio encoder; a key frame comes every `gop` frames."""
    tick = tick or 1 / Fraction(rate)
    with av.open(str(path), "w", options=options or {}) as container:
        video = container.add_stream(codec, rate=rate)
        video.width, video.height, video.pix_fmt = *size, pixels
        video.time_base = video.codec_context.time_base = tick
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        if gop:
            video.codec_context.gop_size = gop
        if aspect:
            video.codec_context.sample_aspect_ratio = aspect
        audio = container.add_stream(sound, rate=48_000, layout="mono") if sound else None
        container.start_encoding()
        for k in range(count):
            frame = av.VideoFrame.from_ndarray(picture(k, *size), format="rgb24")
            frame.pts, frame.time_base = start + (stamps[k] if stamps else k), tick
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if audio:
            samples = np.sin(np.arange(48_000 * count // Fraction(rate)) / 20).astype(np.float32)[None] * 0.3
            tone = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48_000, 0, Fraction(1, 48_000)
            resampler = av.AudioResampler(audio.codec_context.format or "fltp", "mono", 48_000)
            for part in resampler.resample(tone) + resampler.resample(None):
                container.mux(audio.encode(part))
            container.mux(audio.encode())
    return path


def frames_of(path: Path) -> list[av.VideoFrame]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def times_of(path: Path) -> list[Fraction]:
    """Seconds of every frame in the file."""
    return [frame.pts * frame.time_base for frame in frames_of(path)]


def sound_of(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of every packet of sound."""
    with av.open(str(path)) as container:
        packets = container.demux(container.streams.audio[0])
        return [
            (packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.dts is not None
        ]


def planes_of(frame: av.VideoFrame) -> list[bytes]:
    """The visible bytes of every plane, without padding."""
    return [
        bytes(np.frombuffer(p, np.uint8).reshape(p.height, -1)[:, : p.width].tobytes()) for p in frame.planes
    ]


def command(*arguments: object) -> int:
    """The exit code of `vfi interpolate` by the quick model and without loss."""
    return cli.main(["interpolate", *map(str, arguments), "--model", "blend", "--codec", "ffv1"])


def told(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> tuple[str, str]:
    """What `vfi` says on stdout and stderr; it ends with this exit code."""
    assert cli.main([str(argument) for argument in arguments]) == code
    return capsys.readouterr()
