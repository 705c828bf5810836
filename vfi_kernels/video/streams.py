"""What a source holds besides its pictures, passed on as far as the output's container holds it.

Each thing is kept, or one line says that it is not. `docs/video.md` has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from . import tags
from ._av import av
from .signalling import side_data
from .sound import Stretched, add_like

__all__ = ["Companions", "pictures_of", "set_rotation"]

Disposition = av.stream.Disposition

MATROSKA, MOV = ("matroska",), ("mp4", "mov", "ipod")
CHAPTERS = (*MATROSKA, "webm", *MOV)
ROTATION = (*MATROSKA, *MOV)
METADATA = (*MATROSKA, "webm", *MOV, "avi", "nut")

# What FFmpeg lists for MOV too, and then refuses to write.
MP4_ONLY = ("opus", "flac", "truehd")

# FFmpeg does not know of MPEG-TS what it holds.
TRANSPORT = ("aac", "ac3", "eac3", "mp2", "mp3", "opus", "dvb_subtitle", "dvb_teletext")

# What text subtitles become where their own kind has no place.
TEXT = ("subrip", "ass", "mov_text", "webvtt", "text")
CONVERTED = {**dict.fromkeys(MATROSKA, "subrip"), "webm": "webvtt", **dict.fromkeys(MOV, "mov_text")}

# MP4 holds covers in these; MOV does not.
COVERED, COVERS = ("mp4", "ipod"), ("png", "mjpeg", "bmp")

# What MP4 shows between two subtitles.
NOTHING = b"\0\0"

MILLISECOND = Fraction(1, 1000)

# What has no place for when a stream begins; encoders of sound begin up to so many seconds off.
AT_ZERO, DELAY = ("avi", "gif"), Fraction(1, 10)


def pictures_of(container: av.container.InputContainer) -> av.VideoStream | None:
    """The stream to interpolate: the first that is not a cover."""
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return moving[0] if moving else None


@dataclass(frozen=True)
class _Copied:
    """A stream whose packets are passed on, or made anew by `convert`."""

    stream: av.stream.Stream
    stretch: Fraction
    convert: Callable[[av.Packet], av.Packet | None] | None = None
    cover: bool = False
    gaps: bool = False  # whether it has packets of NOTHING, which the muxer makes itself

    def packet(self, packet: av.Packet, start: Fraction) -> av.Packet | None:
        """The packet for the output; None where it shows nothing."""
        times = [t and t * packet.time_base for t in (packet.pts, packet.dts, packet.duration)]
        tick = packet.time_base
        if self.convert:
            packet, tick = self.convert(packet), MILLISECOND
            if packet is None:
                return None
        if self.convert or self.stretch != 1:
            pts, dts, length = times
            packet.time_base = tick
            packet.pts, packet.dts = (
                None if t is None else round((start + (t - start) * self.stretch) / tick) for t in (pts, dts)
            )
            packet.duration = round((length or 0) * self.stretch / tick)
        packet.stream = self.stream
        return packet


class Companions:
    """Adds to an output what goes with the pictures of a source, before the header is written.

    Attributes:
        streams: the source's streams whose packets are to be given to `packets`, the empty last ones too.
    """

    def __init__(
        self,
        path: Path,
        source: av.container.InputContainer,
        output: av.container.OutputContainer,
        video: av.VideoStream | None,
        *,
        start: Fraction = Fraction(0),
        stretch: Fraction = Fraction(1),
        sound: Literal["drop", "keep", "stretch"] = "keep",
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        Args:
            path: the source's file.
            source: opened for reading.
            output: to be written.
            video: its stream of pictures; None for GIF, which is written otherwise.
            start: when the first picture is shown in the source, seconds.
            stretch: how many times longer the output lasts: subtitles and chapters move along.
            sound: whether to leave it out, copy it as it is, or make it last as long as the pictures.
            warn: gets one line for each thing that the output cannot hold.
        """
        self._path, self._output, self._warn = path, output, warn
        self._start, self._stretch, self._sound = start, Fraction(stretch), sound
        self._kind = output.format.name
        self._copied: dict[int, _Copied] = {}
        self._stretched: dict[int, Stretched] = {}
        self._tags = tags.Tags(self._kind)
        main = pictures_of(source)
        self._tag(source, main, video)
        self._set_chapters(source)
        for stream in source.streams:
            if stream is main or (stream.type == "audio" and sound == "drop"):
                continue
            add = {"audio": self._add_sound, "subtitle": self._add_subtitles}.get(stream.type)
            if stream.type == "video" and stream.disposition & Disposition.attached_pic:
                add = self._add_cover
            elif stream.type == "attachment":
                add = self._add_attachment
            (add or self._leave)(stream)
        self.streams = [source.streams[index] for index in (*self._copied, *self._stretched)]
        for line in self._tags.losses():
            warn(line)
        self._tell_of_begin()

    def packets(self, packet: av.Packet) -> Iterator[tuple[Fraction, av.Packet]]:
        """What becomes of a packet of one of `streams`: the output's, with their times in seconds."""
        if stretched := self._stretched.get(packet.stream.index):
            made = stretched.packets(packet)
        else:
            made = self._passed(self._copied[packet.stream.index], packet)
        for each in made:
            yield each.dts * each.time_base, each

    def _passed(self, copied: _Copied, packet: av.Packet) -> Iterator[av.Packet]:
        if copied.cover:
            packet.pts = packet.dts = 0
        if packet.dts is None or not packet.size or (copied.gaps and bytes(packet) == NOTHING):
            return
        if made := copied.packet(packet, self._start):
            yield made

    def _tell_of_begin(self) -> None:
        begins = [s.start_time * s.time_base for s in self.streams if s.start_time and s.time_base]
        if self._kind in AT_ZERO and (self._start or max(begins, default=0) > DELAY):
            self._warn(
                f"{self._kind} begins all streams at 0; here one begins at "
                f"{float(max([self._start, *begins])):g} s; an .mkv output keeps that"
            )

    def _tag(
        self, source: av.container.InputContainer, main: av.VideoStream, video: av.VideoStream | None
    ) -> None:
        about = tags.kept(source.metadata)
        if self._kind in METADATA:
            self._output.metadata.update(about)
        elif about:
            self._warn(f"{self._kind} does not hold metadata ({', '.join(about)}); an .mkv output does")
        self._tags.copy(main, video)

    def _set_chapters(self, source: av.container.InputContainer) -> None:
        chapters = source.chapters()
        if not chapters:
            return
        if self._kind not in CHAPTERS:
            self._warn(
                f"{self._kind} does not hold {_count(chapters, 'chapter')}; an .mkv or .mp4 output does"
            )
            return

        def moved(time: int, tick: Fraction) -> int:
            return round((self._start + (time * tick - self._start) * self._stretch) / MILLISECOND)

        self._output.set_chapters(
            [
                chapter
                | {
                    "start": moved(chapter["start"], chapter["time_base"]),
                    "end": moved(chapter["end"], chapter["time_base"]),
                    "time_base": MILLISECOND,
                }
                for chapter in chapters
            ]
        )

    def _holds(self, codec: str) -> bool:
        if self._kind == "mpegts" and codec in TRANSPORT:
            return True
        return codec in self._output.supported_codecs and not (self._kind == "mov" and codec in MP4_ONLY)

    def _add_sound(self, stream: av.AudioStream) -> None:
        if self._sound == "stretch" and self._stretch != 1:
            self._add_stretched(stream)
            return
        if not self._holds(stream.codec_context.codec.canonical_name):
            name = stream.codec_context.name
            self._warn(f"sound left out: {self._kind} does not hold {name}; an .mkv output does")
            return
        self._copy(stream)

    def _add_stretched(self, stream: av.AudioStream) -> None:
        made = add_like(stream, self._output, self._holds)
        name = stream.codec_context.name
        if made is None:
            self._warn(f"sound left out: {name} cannot be encoded anew for {self._kind}")
            return
        if made.codec.canonical_name != stream.codec_context.codec.canonical_name:
            self._warn(f"{name} is stretched and becomes {made.codec.canonical_name}")
        self._tags.copy(stream, made)
        self._stretched[stream.index] = Stretched(made, self._stretch, self._start)

    def _add_subtitles(self, stream: av.stream.Stream) -> None:
        context = stream.codec_context
        codec = context.codec.canonical_name if context else "unknown subtitles"
        wanted = CONVERTED.get(self._kind)
        # Matroska would take MP4's as well, but no player reads them there.
        if context and self._holds(codec) and not (codec == "mov_text" and self._kind not in MOV):
            self._copy(stream)
        elif context and codec in TEXT and wanted:
            self._convert(stream, codec, wanted)
        else:
            self._warn(f"subtitles left out: {self._kind} does not hold {codec}; an .mkv output does")

    def _copy(self, stream: av.stream.Stream) -> None:
        made = self._output.add_stream_from_template(stream, opaque=True)
        made.time_base = stream.time_base
        self._tags.copy(stream, made)
        stretch = self._stretch if stream.type == "subtitle" else Fraction(1)
        gaps = stream.codec_context.name == "mov_text"
        self._copied[stream.index] = _Copied(made, stretch, gaps=gaps)

    def _convert(self, stream: av.stream.Stream, codec: str, wanted: str) -> None:
        """Text to text, by FFmpeg's decoder and encoder."""
        decoder = stream.codec_context
        decoder.open(strict=False)
        if not decoder.subtitle_header:
            self._warn(f"subtitles left out: {codec} without a header cannot become {wanted}")
            return
        made = self._output.add_stream(wanted)
        encoder = made.codec_context
        encoder.subtitle_header = decoder.subtitle_header
        encoder.time_base = made.time_base = MILLISECOND
        self._tags.copy(stream, made)
        if codec == "ass":
            self._warn(
                f"{self._kind} holds subtitles as plain {wanted}: ASS loses its styles; .mkv keeps them"
            )

        def convert(packet: av.Packet) -> av.Packet | None:
            decoded = decoder.decode2(packet)
            return decoded and encoder.encode_subtitle(decoded)

        self._copied[stream.index] = _Copied(made, self._stretch, convert)

    def _add_cover(self, stream: av.VideoStream) -> None:
        codec = stream.codec_context.codec.canonical_name
        name = stream.metadata.get("filename", "cover")
        if self._kind in MATROSKA:
            kind = stream.metadata.get("mimetype", "image/jpeg" if codec == "mjpeg" else f"image/{codec}")
            suffix = "" if "." in name else ".jpg" if codec == "mjpeg" else f".{codec}"
            with av.open(f"file:{self._path}", options={"protocol_whitelist": "file"}) as file:
                packets = file.demux(file.streams[stream.index])
                data = next((bytes(packet) for packet in packets if packet.size), b"")
            self._output.add_attachment(name + suffix, kind, data)
        elif self._kind in COVERED and codec in COVERS:
            made = self._output.add_mux_stream(codec, width=stream.width, height=stream.height)
            made.time_base = stream.time_base
            made.disposition = Disposition.attached_pic
            self._copied[stream.index] = _Copied(made, Fraction(1), cover=True)
        else:
            self._warn(f"{self._kind} does not hold the cover ({name}); an .mkv output does")

    def _add_attachment(self, stream: av.stream.Stream) -> None:
        if self._kind in MATROSKA:
            kind = stream.mimetype or "application/octet-stream"
            self._output.add_attachment(stream.name or "attachment", kind, stream.data)
        else:
            self._warn(f"{self._kind} does not hold the attachment {stream.name}; an .mkv output does")

    def _leave(self, stream: av.stream.Stream) -> None:
        # MP4 keeps its chapters' titles in a stream of data.
        if getattr(stream, "name", None) == "bin_data" and stream.container.chapters():
            return
        what = "second stream of pictures" if stream.type == "video" else f"stream of {stream.type}"
        self._warn(f"left out: a {what} (number {stream.index})")


def set_rotation(
    first: av.VideoFrame,
    output: av.container.OutputContainer,
    video: av.VideoStream,
    warn: Callable[[str], None],
) -> None:
    """Have players turn the output as they turn the source, whose first frame says how."""
    matrix = side_data(first).get("DISPLAYMATRIX")
    kind = output.format.name
    if not matrix and not first.rotation:
        return
    if kind not in ROTATION:
        warn(f"{kind} does not hold the rotation of {first.rotation} degrees; an .mkv output does")
    elif matrix:
        video.set_display_matrix(np.frombuffer(matrix, np.int32).tolist())
    else:
        video.set_display_rotation(first.rotation)


def _count(items: list[object], name: str) -> str:
    return f"{len(items)} {name}" + "s" * (len(items) != 1)
