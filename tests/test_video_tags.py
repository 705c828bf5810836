"""What streams are called, and when they begin, is kept or told, by the very containers."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from av.stream import Disposition
from clips import make_clip, times_of

from vfi_kernels import cli, models
from vfi_kernels.video import interpolate, tags

F = Fraction
BLEND = models.create("blend")
TOLD = [each for each in Disposition if each & ~tags.UNTOLD]

# The container, and what sound it holds.
KINDS = [
    ("out.mkv", "matroska", "aac"),
    ("out.webm", "webm", "libopus"),
    ("out.mp4", "mp4", "aac"),
    ("out.m4v", "ipod", "aac"),
    ("out.mov", "mov", "aac"),
    ("out.ts", "mpegts", "aac"),
    ("out.avi", "avi", "mp2"),
    ("out.nut", "nut", "mp2"),
    ("out.3gp", "3gp", "aac"),
    ("out.wmv", "asf", "mp2"),
    ("out.flv", "flv", "aac"),
    ("out.mpg", "mpeg", "mp2"),
]


def sounds(path: Path, codec: str, named: list[tuple[str, str, Disposition]]) -> Path:
    """A stream of sound for each language, title and disposition."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream(codec, rate=48_000, layout="mono") for _ in named]
        for stream, (language, title, disposition) in zip(streams, named, strict=True):
            stream.metadata.update({"language": language, "title": title})
            stream.disposition = disposition
        container.start_encoding()
        for stream in streams:
            context = stream.codec_context
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48_000, 0, F(1, 48_000)
            resampler = av.AudioResampler(context.format, "mono", 48_000, context.frame_size or 960)
            for part in resampler.resample(tone) + resampler.resample(None):
                container.mux(stream.encode(part))
            container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "kind", "codec"), KINDS)
def test_what_is_told_is_what_is_lost(tmp_path: Path, name: str, kind: str, codec: str) -> None:
    """One disposition a file; several of a stream become one in some containers."""
    lost: set[str] = set()
    for disposition in TOLD:
        # what passes through is what a container gets: made by FFmpeg alone, and read back
        target = sounds(tmp_path / name, codec, [("ger", "Spoken", disposition)])
        with av.open(str(target)) as made:
            (stream,) = made.streams.audio
            got = tags.kept(stream.metadata)
            if not stream.disposition & disposition:
                lost.add(disposition.name)
    wanted = tags.HELD.get(kind, tags.Held())
    assert {each.name for each in TOLD} - lost == set(wanted.dispositions.split()) - {
        *(["descriptions"] if kind == "matroska" else [])  # of subtitles only
    }
    assert ("title" in got) == wanted.title
    assert ("language" in got) == ("audio" in wanted.languages)


def test_languages_of_mov(tmp_path: Path) -> None:
    asked = ["ger", "deu", "fra", "fre", "zho", "jav"]
    target = sounds(tmp_path / "out.mov", "aac", [(each, "", Disposition(0)) for each in asked])
    with av.open(str(target)) as made:
        got = [stream.metadata.get("language") for stream in made.streams.audio]
    assert got == [each if each in tags.QUICKTIME else None for each in asked]


def test_avi_tells_what_it_loses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in.mkv"
    make_clip(tmp_path / "plain.mkv", count=6, start=50, sound="mp2")
    with av.open(str(tmp_path / "plain.mkv")) as given, av.open(str(source), "w") as container:
        made = {s.index: container.add_stream_from_template(s) for s in given.streams}
        made[0].metadata["title"] = "pictures"
        made[1].metadata["language"] = "deu"
        made[1].disposition = Disposition.comment
        for packet in given.demux():
            if packet.size:
                packet.stream = made[packet.stream.index]
                container.mux(packet)
    how = ["--codec", "mpeg4", "--model", "blend"]
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.avi"), *how]) == 0
    assert sorted(capsys.readouterr().err.splitlines()) == [
        f"vfi: warning: avi {line}"
        for line in (
            "begins all streams at 0; here one begins at 2 s; an .mkv output keeps that",
            "does not hold dispositions of streams (comment); an .mkv output does",
            "does not hold languages of streams (deu); an .mkv output does",
        )
    ]
    assert times_of(tmp_path / "out.avi")[0] == 0
    interpolate(source, tmp_path / "out.mkv", BLEND, warn=pytest.fail)
    assert times_of(tmp_path / "out.mkv")[0] == 2
