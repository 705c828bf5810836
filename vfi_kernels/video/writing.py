"""Writing a video: frames by number at an exact rate, sound by packet, under its name only when complete."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

from . import signalling, timing
from ._av import VideoError, av
from .colour import Converter

__all__ = ["Writer", "complete_or_absent"]

MP4 = (".mp4", ".mov", ".m4v")
TRANSPORT_CODECS = ("aac", "ac3", "eac3", "mp2", "mp3", "opus")


@contextmanager
def complete_or_absent(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`: renamed to `path` when the block ends well, else deleted."""
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}")
    try:
        yield temporary
        # The rename must not reach the disk before the data does.
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


class Writer:
    """Encodes frames and copies sound. Use it in a `with` block; an exception leaves an unfinished file.

    Raises:
        VideoError: the container does not take the codec, or the codec not the frames or the rate; a full
            disk.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        first: av.VideoFrame,
        *,
        fps: Fraction,
        step: Fraction | None = None,
        start: Fraction = Fraction(0),
        codec: str = "libx264",
        crf: int = 16,
        aspect: Fraction | None = None,
        siting: str | None = None,
        audio: list[av.AudioStream] | None = None,
        warn: Callable[[str], None] = lambda message: None,
        name: str | None = None,
    ) -> None:
        """
        Args:
            path: file to write; its suffix names the container.
            first: a frame of the source: size, pixel format and colour tags follow it.
            fps: frames a second.
            step: seconds that `write` counts in: 1 / fps where it is not given, less for a variable rate.
            start: time of frame 0 in the file, seconds.
            codec: name of a video encoder.
            crf: constant rate factor, where the encoder has one: lower is better and larger.
            aspect: sample aspect ratio.
            siting: where the source says its chroma samples lie.
            audio: sound streams that `copy` will bring.
            warn: gets one line for each thing that the file cannot hold.
            name: what to call the file in messages, where `path` is a temporary one.
        """
        self.name = name or str(path)
        try:
            self._tick = timing.common_tick(start, fps, step)
            encoder = _encoder(codec)
            self.colour = Converter(first, codec, [f.name for f in encoder.video_formats or []], siting)
            signals, losses = signalling.encoder_options(first, codec, siting)
            for loss in [*self.colour.losses, *losses]:
                warn(loss)
            # MP4 states durations in its own time scale, by default milliseconds, which rounds those of
            # short clips.
            scale = {"movie_timescale": str(self._tick.denominator)} if path.suffix in MP4 else {}
            self._container = av.open(f"file:{path}", "w", container_options=scale)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise VideoError(_sentence(error, self.name)) from error
        self._first, self._step = int(start / self._tick), int((step or 1 / fps) / self._tick)
        self._lengths: dict[int, int] = {}
        try:
            options = signals if codec == "ffv1" else {"crf": str(crf), **signals}
            self._stream = self._container.add_stream(codec, rate=fps, options=options)
            context = self._stream.codec_context
            context.width, context.height = self.colour.size
            context.pix_fmt = self.colour.format
            context.time_base = self._stream.time_base = self._tick
            variable = step not in (None, 1 / fps)
            avi = self._container.format.name == "avi"
            if avi and variable:
                raise VideoError(f"{self.name}: AVI has no time stamps for a variable rate; MP4 and MKV do")
            if avi or (variable and path.suffix in MP4):
                # Frames must not be reordered: AVI shows them in the order of the file, and MP4 states their
                # lengths in it, whose sum is the clip's only where the last one shown is the last one there.
                context.max_b_frames = 0
            for tag, value in self.colour.tags.items():
                setattr(context, tag, value)
            if aspect and codec == "ffv1":
                # PyAV sets it in the encoder, which for FFV1 is not where containers look.
                warn(f"the sample aspect ratio {aspect} is not kept in FFV1")
            elif aspect:
                context.sample_aspect_ratio = aspect
            self._sound = {s.index: self._copy_of(s) for s in audio or [] if self._takes(s, warn)}
            self._container.start_encoding()
        except BaseException as error:
            self._abandon()
            if isinstance(error, (av.FFmpegError, ValueError, OSError)):
                raise VideoError(_sentence(error, self.name)) from error
            raise

    def _takes(self, stream: av.AudioStream, warn: Callable[[str], None]) -> bool:
        name = stream.codec_context.name
        codec = stream.codec_context.codec.canonical_name
        # FFmpeg does not know of MPEG-TS what it holds.
        transport = self._container.format.name == "mpegts" and codec in TRANSPORT_CODECS
        fits = transport or codec in self._container.supported_codecs
        if not fits:
            warn(f"sound left out: {self._container.format.name} does not hold {name}; an .mkv output does")
        return fits

    def _copy_of(self, stream: av.AudioStream) -> av.AudioStream:
        made = self._container.add_stream_from_template(stream)
        made.time_base = stream.time_base
        made.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
        made.disposition = stream.disposition
        return made

    def write(self, frame: av.VideoFrame, number: int, length: int = 1) -> None:
        """Encode one frame, in the pixel format of `colour`, shown `number` steps after frame 0 for `length`.

        Numbers rise.
        """
        frame.pts = self._first + number * self._step
        self._lengths[frame.pts] = length * self._step
        frame.time_base = self._tick
        # Else the encoder repeats the source's choice of key frames.
        frame.pict_type = 0
        self._mux(lambda: self._stream.encode(frame))

    def copy(self, packet: av.Packet) -> None:
        """Pass on one packet of sound, stamps and bytes as they are."""
        stream = self._sound.get(packet.stream.index)
        if stream is not None:
            packet.stream = stream
            self._guard(lambda: self._container.mux(packet))

    def _mux(self, encode: Callable[[], list[av.Packet]]) -> None:
        for packet in self._guard(encode):
            # Encoders leave it open, and then the last frame has no length in most containers.
            packet.duration = self._lengths.pop(packet.pts, self._step)
            self._guard(lambda packet=packet: self._container.mux(packet))

    def _guard(self, action: Callable[[], object]) -> object:
        try:
            return action()
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(_sentence(error, self.name)) from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abandon()
            return
        self._mux(self._stream.encode)
        self._guard(self._container.close)

    def _abandon(self) -> None:
        """Close a file that nobody will see: a second error from it would hide the first."""
        with suppress(Exception):
            self._container.close()


def _encoder(name: str) -> av.Codec:
    try:
        encoder = av.Codec(name, "w")
    except ValueError:  # PyAV's UnknownCodecError is one
        encoder = None
    if encoder is None or encoder.type != "video":
        raise VideoError(f"there is no video encoder {name!r}")
    return encoder


def _sentence(error: Exception, name: str) -> str:
    return f"{name}: {getattr(error, 'strerror', None) or error}"
