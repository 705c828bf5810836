"""Encoding frames: by number at an exact rate, into a file of pictures only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BytesIO
from math import ceil
from pathlib import Path

from . import sequences, signalling, timing
from ._av import VideoError, av
from .colour import Converter

__all__ = ["Encoding", "Writer", "check_quality", "complete_or_absent", "guarded", "has_quality"]

MP4 = (".mp4", ".mov", ".m4v")
MOVIE_TICKS = 90_000  # a second, at least

# Encoders that are always told the same, or nothing.
FIXED = {"ffv1": {}, "png": {}, "tiff": {}, "mjpeg": {"qmin": "2", "qmax": "2"}}

# Encoders that know quantizers from 2 to 31 instead of a constant rate factor.
QUANTIZED = ("mpeg4", "mpeg2video", "mpeg1video")

# What encoders that know a constant rate factor begin with.
RATED = ("libx264", "libx265", "libvpx", "libsvtav1", "libaom", "libxeve")

# The largest constant rate factor of encoders (by a part of their name) where it is not that of H.264.
CRF = 51
LARGEST_CRF = {"av1": 63, "libvpx": 63}

# How encoders' speed is named; any other has no presets.
X26X = [
    "ultrafast",
    "superfast",
    "veryfast",
    "faster",
    "fast",
    "medium",
    "slow",
    "slower",
    "veryslow",
    "placebo",
]
PRESETS = {
    "libx264": X26X,
    "libx264rgb": X26X,
    "libx265": X26X,
    "libsvtav1": [str(k) for k in range(-1, 14)],
    "nvenc": [f"p{k}" for k in range(1, 8)],
}

# Codecs whose packets say what the sample aspect ratio is.
SHAPED = ("h264", "hevc", "mpeg4", "mpeg2video", "mpeg1video")

# Encoders' output depends on how many threads they run, which must not be the machine's affair: chunks come
# from several machines.
THREADS = 8


@contextmanager
def complete_or_absent(path: Path, folder: Path | None = None) -> Iterator[Path]:
    """A temporary name beside `path`, or in `folder` of the same disk: renamed to `path` when the block ends
    well, else deleted.

    Raises:
        VideoError: what the block wrote does not reach the disk.
    """
    temporary = (folder or path.parent) / f".{path.stem}.{secrets.token_hex(4)}.part{path.suffix}"
    try:
        yield temporary
        with guarded(str(path)):
            # The rename must not reach the disk before the data does.
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def guarded(name: str) -> Iterator[None]:
    """Errors of FFmpeg and the disk as one line that names the file."""
    try:
        yield
    except (av.FFmpegError, ValueError, OSError) as error:
        raise VideoError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


class Encoding:
    """How the pictures of one output are encoded: the same for each chunk of it and for the whole.

    Attributes:
        fps: frames a second, about.
        tick: time base, seconds.
        first: time of frame 0 in ticks.
        step: ticks that a frame's number counts.
        colour: converts frames to what the encoder takes.
        codec: name of the encoder.
        aspect: sample aspect ratio that `matroska.set_aspect` has to add, or None.
        chunk_suffix: names a container that holds such packets and their exact times as they are.

    Raises:
        VideoError: the container does not take the codec, or the codec not the frames or the rate.
    """

    def __init__(
        self,
        target: str | os.PathLike[str],
        frame: av.VideoFrame,
        *,
        fps: Fraction,
        step: Fraction | None = None,
        start: Fraction = Fraction(0),
        codec: str = "libx264",
        crf: int = 16,
        preset: str | None = None,
        aspect: Fraction | None = None,
        siting: str | None = None,
        warn: Callable[[str], None] = lambda message: None,
    ) -> None:
        """
        Args:
            target: the file that the packets will be in at last; its suffix names the container.
            frame: one of the source: size, pixel format and colour tags follow it.
            fps: frames a second.
            step: seconds that a frame's number counts: 1 / fps where it is not given, less for a variable
                rate.
            start: time of frame 0 in the file, seconds.
            codec: name of a video encoder.
            crf: constant rate factor, or what comes close to it in the encoder: lower is better and larger.
            preset: the encoder's name for how much time it takes; its own choice where there is none.
            aspect: sample aspect ratio.
            siting: where the source says its chroma samples lie.
            warn: gets one line for each thing that the file cannot hold.
        """
        self.target = Path(target)
        self.fps, self.codec, self._aspect = fps, codec, aspect
        with guarded(str(target)):
            self.tick = timing.common_tick(start, fps, step)
            encoder = _encoder(codec)
            self._signs = frame, codec, [f.name for f in encoder.video_formats or []], siting
            self.colour = self.converter()
            # Opened in name only: nothing is written before a header is.
            final = self.open(self.target)
            if not sequences.is_gif(self.target):
                final.add_stream(codec, rate=fps)
            self.chunk_suffix = _chunk_suffix(codec)
        signals, losses = signalling.encoder_options(frame, codec, siting)
        self._options = signals | _quality(codec, crf, preset)
        for loss in [*self.colour.losses, *losses]:
            warn(loss)
        self.first, self.step = round(start / self.tick), int((step or 1 / fps) / self.tick)
        self._global_header = bool(final.format.flags & av.format.Flags.global_header.value)
        variable = step not in (None, 1 / fps)
        avi = final.format.name == "avi"
        if avi and variable:
            raise VideoError(f"{target}: AVI has no time stamps for a variable rate; MP4 and MKV do")
        # AVI shows frames in the order of the file, and MP4 states their lengths in it, whose sum is the
        # clip's only where the last one shown is the last one there.
        self._in_order = avi or (variable and self.target.suffix.lower() in MP4)
        self.aspect = None
        held = (
            self.target.suffix.lower() in MP4
            or encoder.canonical_name in SHAPED
            or final.format.name == "image2"
        )
        if aspect not in (None, 1) and not held:
            if final.format.name in ("matroska", "webm"):
                self.aspect = aspect
            else:
                kind = final.format.name
                warn(f"{kind} does not hold the sample aspect ratio {aspect} with {codec}; .mkv does")

    def converter(self) -> Converter:
        """Like `colour`, for another thread."""
        return Converter(*self._signs)

    def open(self, place: Path | BytesIO) -> av.container.OutputContainer:
        """A container to be written under this name, or into memory as it would be under the target's."""
        path = place if isinstance(place, Path) else self.target
        options = {}
        if path.suffix.lower() in MP4:
            # It states durations, and when streams begin, in its own time scale: by default milliseconds,
            # which rounds those of short clips; that of the pictures alone would move the sound.
            ticks = self.tick.denominator
            options["movie_timescale"] = str(ticks * ceil(MOVIE_TICKS / ticks))
        if path.suffix == ".nut":
            # Else all times move where decoding starts before zero.
            options["avoid_negative_ts"] = "disabled"
        kind = "image2" if path == self.target and sequences.is_images(path) else None
        if place is path:
            container = av.open(f"file:{path}", "w", format=kind, container_options=options)
        else:
            kind = kind or av.open(f"file:{path}", "w").format.name
            container = av.open(place, "w", format=kind, container_options=options)
        # Else Matroska numbers its segments at random, and no two runs give the same bytes.
        container.flags |= av.container.Flags.bitexact.value
        return container

    def add_to(self, container: av.container.OutputContainer) -> av.VideoStream:
        """The stream of pictures in such a container."""
        stream = container.add_stream(self.codec, rate=self.fps, options=dict(self._options))
        context = stream.codec_context
        context.width, context.height = self.colour.size
        context.pix_fmt = self.colour.format
        context.time_base = stream.time_base = self.tick
        context.thread_count = THREADS
        flag = av.codec.context.Flags.global_header.value
        context.flags = context.flags | flag if self._global_header else context.flags & ~flag
        if self._in_order:
            context.max_b_frames = 0
        for tag, value in self.colour.tags.items():
            setattr(context, tag, value)
        if self._aspect:
            context.sample_aspect_ratio = self._aspect
        return stream


class Writer:
    """Encodes frames into a file without sound. Use it in a `with` block; an exception leaves an unfinished
    file.

    Attributes:
        colour: converts frames to what `write` takes.
        frames: number and length of every frame written, in steps.
        delay: how many packets later than in the order of display one comes at most.

    Raises:
        VideoError: what the encoding raises; a full disk.
    """

    def __init__(self, path: str | os.PathLike[str], encoding: Encoding) -> None:
        """
        Args:
            path: file to write.
            encoding: how.
        """
        self.path = Path(path)
        self.colour = encoding.colour
        self.frames: list[tuple[int, int]] = []
        self.delay = 0
        self._encoding = encoding
        self._ranks: dict[int, int] = {}
        self._packets = 0
        with self._guarded():
            self._container = encoding.open(self.path)
        try:
            with self._guarded():
                self._stream = encoding.add_to(self._container)
                self._container.start_encoding()
        except BaseException:
            self._abandon()
            raise

    @property
    def extradata(self) -> bytes:
        """What a decoder needs besides the packets."""
        return bytes(self._stream.codec_context.extradata or b"")

    def write(self, frame: av.VideoFrame, number: int, length: int = 1) -> None:
        """Encode one frame, in the pixel format of `colour`, shown `number` steps after frame 0 for `length`.

        Numbers rise.
        """
        frame.pts = self._encoding.first + number * self._encoding.step
        self._ranks[frame.pts] = len(self.frames)
        self.frames.append((number, length))
        frame.time_base = self._encoding.tick
        # Else the encoder repeats the source's choice of key frames.
        frame.pict_type = 0
        with self._guarded():
            self._mux(self._stream.encode(frame))

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            rank = self._ranks.pop(packet.pts)
            self.delay = max(self.delay, self._packets - rank)
            self._packets += 1
            # Encoders leave it open, and then the last frame has no length in most containers.
            packet.duration = self.frames[rank][1] * self._encoding.step
            self._container.mux(packet)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._abandon()
            return
        with self._guarded():
            self._mux(self._stream.encode())
            self._container.close()

    def _guarded(self) -> object:
        return guarded(str(self._encoding.target))

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


def has_quality(codec: str) -> bool:
    """Whether a constant rate factor means anything to an encoder."""
    return codec.startswith(RATED) or codec in QUANTIZED or codec.endswith("_nvenc")


def check_quality(codec: str, crf: int, preset: str | None) -> None:
    """
    Raises:
        ValueError: a constant rate factor or a preset that the encoder does not have.
    """
    most = next((most for part, most in LARGEST_CRF.items() if part in codec), CRF)
    if not 0 <= crf <= most:
        raise ValueError(f"crf must be 0 to {most} for {codec}; got {crf}")
    presets = PRESETS.get("nvenc" if codec.endswith("_nvenc") else codec)
    if preset is not None and preset not in (presets or ()):
        has = " ".join(presets) if presets else "none"
        raise ValueError(f"preset must be one that {codec} has ({has}); got {preset!r}")


def _quality(codec: str, crf: int, preset: str | None) -> dict[str, str]:
    """The encoder's options for a constant rate factor, and for its speed."""
    return _rate_factor(codec, crf) | ({"preset": preset} if preset else {})


def _rate_factor(codec: str, crf: int) -> dict[str, str]:
    if codec in FIXED:
        return FIXED[codec]
    if codec in QUANTIZED:
        # H.264's steps double every six numbers, and are what theirs are at 10.
        step = str(min(max(round(2 ** ((crf - 10) / 6)), 2), 31))
        return {"qmin": step, "qmax": step}
    if codec.endswith("_nvenc"):
        return {"rc": "vbr", "cq": str(crf)}
    return {"crf": str(crf)} if has_quality(codec) else {}


def _chunk_suffix(codec: str) -> str:
    """NUT keeps everything as it is; the codecs of studios it does not know."""
    try:
        av.open("file:chunk.nut", "w").add_stream(codec, rate=25)
    except ValueError:
        return ".mov"
    return ".nut"
