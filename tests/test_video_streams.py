"""All that a file holds besides its pictures comes through, or one line says that it does not."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from av.stream import Disposition
from clips import picture, sound_of

from vfi_kernels import models
from vfi_kernels.video import interpolate

F = Fraction
MS = F(1, 1000)
BLEND = models.create("blend")
FONT = bytes(range(200))
SPOKEN = [(100, 300, b"Hello"), (600, 400, b"two\nlines")]
ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold
Style: Default,Arial,16,&Hffffff,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def png(k: int) -> bytes:
    context = av.CodecContext.create("png", "w")
    context.width, context.height, context.pix_fmt, context.time_base = 16, 16, "rgb24", F(1, 25)
    packets = context.encode(av.VideoFrame.from_ndarray(picture(k, 16, 16), format="rgb24"))
    return b"".join(bytes(packet) for packet in packets + context.encode(None))


def rich(path: Path, *, subtitles: str = "subrip", attached: bool = True) -> Path:
    """1.2 s with two languages, subtitles, chapters, tags, rotation, sample aspect ratio, font and cover."""
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "A film"
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.sample_aspect_ratio = F(4, 3)
        video.metadata.update({"language": "fra", "title": "pictures"})
        video.set_display_rotation(90)
        sounds = [container.add_stream("libopus", rate=48_000, layout="mono") for _ in range(2)]
        for sound, language, title in zip(sounds, ("eng", "deu"), ("Original", "Kommentar"), strict=True):
            sound.metadata.update({"language": language, "title": title})
        sounds[1].disposition = Disposition.comment
        if subtitles == "ass":
            texts = container.add_stream(subtitles)
            texts.time_base = texts.codec_context.time_base = MS
            texts.codec_context.subtitle_header = ASS_HEADER
        else:
            texts = container.add_mux_stream(subtitles, time_base=MS)
        texts.metadata["language"] = "eng"
        texts.disposition = Disposition.forced
        if attached:
            container.add_attachment("font.ttf", "font/ttf", FONT)
            container.add_attachment("cover.png", "image/png", png(0))
        container.set_chapters(
            [
                {"id": 1, "start": 0, "end": 400, "time_base": MS, "metadata": {"title": "One"}},
                {"id": 2, "start": 400, "end": 1200, "time_base": MS, "metadata": {"title": "Two"}},
            ]
        )
        container.start_encoding()
        for k in range(30):
            frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
            frame.pts, frame.time_base = k, F(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        for sound in sounds:
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 48_000), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts, tone.time_base = 48_000, 0, F(1, 48_000)
            resampler = av.AudioResampler(sound.codec_context.format or "fltp", "mono", 48_000, 960)
            for part in resampler.resample(tone) + resampler.resample(None):
                container.mux(sound.encode(part))
            container.mux(sound.encode())
        for number, (start, length, text) in enumerate(SPOKEN):
            styled = b"%d,0,Default,,0,0,0,,{\\b1}%s" % (number, text.replace(b"\n", b"\\N"))
            packet = av.Packet(styled if subtitles == "ass" else text)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream, packet.is_keyframe = length, MS, texts, True
            container.mux(packet)
    return path


def streams_of(path: Path) -> list[tuple[str, str, str | None, str | None, int]]:
    """Kind, codec, language, title and disposition of every stream but MP4's titles of chapters."""
    with av.open(str(path)) as container:
        return [
            (
                s.type,
                s.codec_context.codec.canonical_name if s.codec_context else s.name,
                s.metadata.get("language"),
                s.metadata.get("title") or s.metadata.get("name"),
                int(s.disposition & ~Disposition.default),
            )
            for s in container.streams
            if s.type != "data"
        ]


def subtitles_of(path: Path) -> list[tuple[F, F, str]]:
    """Start, length and text of what is shown."""
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        stream.codec_context.open(strict=False)
        found = []
        for packet in container.demux(stream):
            texts = packet.size and stream.codec_context.decode(packet)
            if texts:
                lines = texts[0].ass.decode().split(",", 8)[-1].replace("\\N", "\n")
                found.append((packet.pts * packet.time_base, packet.duration * packet.time_base, lines))
    return found


def chapters_of(path: Path) -> list[tuple[F, F, str]]:
    with av.open(str(path)) as container:
        return [
            (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]["title"])
            for c in container.chapters()
        ]


EXPECTED = [
    ("video", "h264", "fra", "pictures", 0),
    ("audio", "opus", "eng", "Original", 0),
    ("audio", "opus", "deu", "Kommentar", int(Disposition.comment)),
]
TEXTS = [(F(1, 10), F(3, 10), "Hello"), (F(6, 10), F(4, 10), "two\nlines")]
PARTS = [(F(0), F(4, 10), "One"), (F(4, 10), F(12, 10), "Two")]


def sounds_of(path: Path) -> list[bytes]:
    return [data for _, data in sound_of(path)]


def test_matroska_keeps_everything(tmp_path: Path) -> None:
    source, target = rich(tmp_path / "in.mkv"), tmp_path / "out.mkv"
    interpolate(source, target, BLEND, warn=pytest.fail)
    assert streams_of(target) == [
        *EXPECTED,
        ("subtitle", "subrip", "eng", None, int(Disposition.forced)),
        ("attachment", "font.ttf", None, None, 0),
        ("video", "png", None, None, int(Disposition.attached_pic)),
    ]
    assert subtitles_of(target) == TEXTS
    assert chapters_of(target) == PARTS
    assert sound_of(target) == sound_of(source)
    with av.open(str(target)) as made:
        assert made.metadata["title"] == "A film"
        assert made.streams.attachments[0].data == FONT
        assert made.streams.attachments[0].mimetype == "font/ttf"
        assert made.streams.video[0].sample_aspect_ratio == F(4, 3)
        assert next(made.decode(video=0)).rotation == 90
        made.seek(0)
        cover = [bytes(packet) for packet in made.demux(made.streams.video[1]) if packet.size]
        assert cover == [png(0)]


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_mp4_keeps_all_but_attachments(tmp_path: Path, suffix: str) -> None:
    source, target = rich(tmp_path / "in.mkv"), tmp_path / f"out.{suffix}"
    told: list[str] = []
    interpolate(source, target, BLEND, warn=told.append)
    mov = suffix == "mov"
    assert streams_of(target) == [
        EXPECTED[0],
        *([] if mov else EXPECTED[1:]),
        ("subtitle", "mov_text", "eng", None, 0 if mov else int(Disposition.forced)),
        *([] if mov else [("video", "png", None, None, int(Disposition.attached_pic))]),
    ]
    no_sound = "sound left out: mov does not hold opus; an .mkv output does"
    assert told == [
        *([no_sound, no_sound] if mov else []),
        f"{suffix} does not hold the attachment font.ttf; an .mkv output does",
        *(["mov does not hold the cover (cover.png); an .mkv output does"] if mov else []),
        *(["mov does not hold dispositions of streams (forced); an .mkv output does"] if mov else []),
    ]
    assert subtitles_of(target) == TEXTS
    assert chapters_of(target) == PARTS
    with av.open(str(target)) as made:
        assert made.metadata["title"] == "A film"
        assert made.streams.video[0].sample_aspect_ratio == F(4, 3)
        assert next(made.decode(video=0)).rotation == 90


def test_styles_of_subtitles(tmp_path: Path) -> None:
    """Matroska keeps ASS as it is; MP4 holds the text, and one line tells what becomes of the rest."""
    source, told = rich(tmp_path / "in.mkv", subtitles="ass", attached=False), []
    interpolate(source, tmp_path / "out.mkv", BLEND, warn=pytest.fail)
    assert subtitles_of(tmp_path / "out.mkv") == subtitles_of(source)
    assert subtitles_of(source)[0][2] == "{\\b1}Hello"
    interpolate(source, tmp_path / "out.mp4", BLEND, warn=told.append)
    assert told == ["mp4 holds subtitles as plain mov_text: ASS loses its styles; .mkv keeps them"]
    assert [text.replace("{\\b1}", "") for *_, text in subtitles_of(tmp_path / "out.mp4")] == [
        t for *_, t in TEXTS
    ]


def test_back_from_mp4(tmp_path: Path) -> None:
    """What MP4 has its own way of holding becomes Matroska's."""
    interpolate(rich(tmp_path / "in.mkv", attached=False), tmp_path / "mid.mp4", BLEND, warn=pytest.fail)
    interpolate(tmp_path / "mid.mp4", tmp_path / "out.mkv", BLEND, warn=pytest.fail)
    assert streams_of(tmp_path / "out.mkv") == [
        *EXPECTED,
        ("subtitle", "subrip", "eng", None, int(Disposition.forced)),
    ]
    texts = subtitles_of(tmp_path / "out.mkv")
    assert [text for _, _, text in texts] == [text for _, _, text in TEXTS]
    assert [start for start, _, _ in texts] == pytest.approx([start for start, _, _ in TEXTS], abs=0.01)
    assert chapters_of(tmp_path / "out.mkv") == PARTS


def test_what_other_containers_lose_is_told(tmp_path: Path) -> None:
    source = rich(tmp_path / "in.mkv")
    told: list[str] = []
    interpolate(source, tmp_path / "out.ts", BLEND, warn=told.append)
    assert sorted(told) == [
        "mpegts does not hold 2 chapters; an .mkv or .mp4 output does",
        "mpegts does not hold dispositions of streams (comment); an .mkv output does",
        "mpegts does not hold languages of streams (fra); an .mkv output does",
        "mpegts does not hold metadata (title); an .mkv output does",
        "mpegts does not hold the attachment font.ttf; an .mkv output does",
        "mpegts does not hold the cover (cover.png); an .mkv output does",
        "mpegts does not hold the rotation of 90 degrees; an .mkv output does",
        "mpegts does not hold titles of streams (pictures, Original, Kommentar); an .mkv output does",
        "subtitles left out: mpegts does not hold subrip; an .mkv output does",
    ]
    told.clear()
    interpolate(source, tmp_path / "out.webm", BLEND, codec="libvpx-vp9", crf=40, warn=told.append)
    assert sorted(told) == [
        "webm does not hold dispositions of streams (comment); an .mkv output does",
        "webm does not hold the attachment font.ttf; an .mkv output does",
        "webm does not hold the cover (cover.png); an .mkv output does",
        "webm does not hold the rotation of 90 degrees; an .mkv output does",
    ]
    assert subtitles_of(tmp_path / "out.webm") == TEXTS


def test_subtitles_and_chapters_follow_slow_motion(tmp_path: Path) -> None:
    source, target = rich(tmp_path / "in.mkv", attached=False), tmp_path / "out.mkv"
    interpolate(source, target, BLEND, slow_motion=2, warn=lambda line: None)
    assert subtitles_of(target) == [(2 * start, 2 * length, text) for start, length, text in TEXTS]
    assert chapters_of(target) == [(2 * start, 2 * end, title) for start, end, title in PARTS]


def test_a_second_picture_is_told(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(3):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(picture(k), format="rgb24")
                frame.pts, frame.time_base = k, F(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode())
    told: list[str] = []
    interpolate(source, tmp_path / "out.mkv", BLEND, warn=told.append)
    assert told == ["left out: a second stream of pictures (number 1)"]
