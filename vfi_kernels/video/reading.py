"""Reading a video: its frames with exact times, with an error where something is missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

from . import hardware, limits, signalling, timing
from ._av import VideoError, av
from .demuxing import opened, packets, seek
from .hardware import HWAccel
from .repairs import Due, Shape, fitted
from .streams import pictures_of
from .truncation import missing_bytes

__all__ = ["Reader"]

# Containers whose index leads to key frames, or where FFmpeg's search does: `frames_from` tells if not. In
# others there are no time stamps, or a frame that calls itself a key frame needs earlier ones.
SEEKABLE = ("mov", "matroska", "mpegts", "mpeg", "flv")


class Reader:
    """Streams one video file; holds one frame at a time. Use it in a `with` block.

    Attributes:
        first: the first frame (av.VideoFrame).
        start: its time in the file, seconds.
        rate: nominal frames a second, or None where the file does not say.
        tick: what its times count, seconds.
        duration: seconds that the pictures last, as the file states it, or None; the sound may be longer.
        aspect: sample aspect ratio, or None.
        siting: where the chroma samples lie, by FFmpeg's name, or None.
        audio: the sound streams (av.AudioStream).
        repairs: how many frames so far were repaired, by `repairs.KINDS`.
        end: after the last frame: when it goes off the screen, seconds after `start`.

    Raises:
        VideoError: the file cannot be opened, holds no pictures, is damaged, or ends early.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        as_stamped: bool = False,
        keep_going: bool = False,
        force: bool = False,
        alone: bool = True,
        device: HWAccel | None = None,
    ) -> None:
        """
        Args:
            path: video file.
            as_stamped: leave times as the container has rounded them, for an output that keeps them.
            keep_going: read a cut file to its end, hold the last good frame where one cannot be decoded,
                scale frames of another size, and go on where time stamps go back.
            force: read frames of any size.
            alone: no other thread decodes or encodes now; else `siting` stays None.
            device: what decodes; None is the CPU.
        """
        self.path = Path(path)
        self.repairs: Counter[str] = Counter()
        self.siting: str | None = None
        self._as_stamped, self._keep_going = as_stamped, keep_going
        self._limit = limits.UNLIMITED if force else limits.MAX_PIXELS
        self._container = opened(self.path, self._limit, device)
        try:
            self._open(alone, device is not None)
        except BaseException:
            self._container.close()
            raise

    def _open(self, alone: bool, on_device: bool) -> None:
        missing = 0 if self._keep_going else missing_bytes(self.path)
        if missing:
            count = f"{missing} bytes are" if missing > 1 else "1 byte or more is"
            raise VideoError(f"{self.path}: cut short, {count} missing")
        self._stream = pictures_of(self._container)
        if self._stream is None or not self._stream.codec_context:
            raise VideoError(f"{self.path}: holds no video stream")
        if alone:  # and before this decodes
            self.siting = signalling.chroma_siting(self._stream)
        self._decoder = hardware.decoder_of(self._stream, on_device)
        self.audio = list(self._container.streams.audio)
        self.tick = self._stream.time_base
        self.duration = self._stream.duration and self._stream.duration * self.tick
        length = self.duration or (
            self._container.duration and Fraction(self._container.duration, av.time_base)
        )
        # A stream without a container has no time stamps, and an average of 25 whatever it says of itself.
        average = self._stream.average_rate if length else self._stream.guessed_rate
        self.rate = timing.source_rate(average, self._stream.base_rate, length)
        if self.rate and self._is_matroska:
            self.rate = timing.ntsc_rate(self.rate)
        self.end = Fraction(0)
        self._shape: Shape | None = None
        self._rewinds = False
        self._frames = self._timed(self._decoded(), None)
        head = next(self._frames, None)
        if head is None:
            raise VideoError(f"{self.path}: holds no frames")
        self.first = head[0]
        self._origin = self.first.pts or 0  # kept: who encodes a frame stamps it anew
        self.start = self._origin * self.tick
        self.aspect = self._stream.sample_aspect_ratio
        self._stamped = self.first.pts is not None and not self._is_avi
        self._frames = chain([head], self._frames)

    @property
    def _is_mov(self) -> bool:
        """MP4 and its kin: every packet is in the index, and every duration is exact."""
        return "mp4" in self._container.format.name

    @property
    def _is_avi(self) -> bool:
        """AVI has no time stamps, only a rate; what FFmpeg makes up for reordered frames goes back and
        forth.
        """
        return self._container.format.name == "avi"

    @property
    def _is_matroska(self) -> bool:
        return "matroska" in self._container.format.name

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._container.close()

    def frames(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Every frame with its time in seconds after the first. Once only."""
        return self._frames

    def frames_from(self, key: int) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """The frames from a key frame on, in place of `frames`. For `seekable` files.

        Args:
            key: time stamp of its packet, in ticks. Where the container does not get there, no frames come.

        Raises:
            VideoError: as for the class.
        """
        try:
            seek(self._container, self._stream, key, self._origin)
            self._decoder.flush_buffers()
        except av.FFmpegError:
            return iter(())
        self._frames = self._timed(self._decoded(key), self._origin, key)
        return self._frames

    @property
    def seekable(self) -> bool:
        """Whether frames can be read from a key frame on; known once there are `marks`."""
        return self._container.format.name.split(",")[0] in SEEKABLE and self._stamped and not self._rewinds

    def time_of(self, stamp: int) -> Fraction:
        """Seconds after the first frame, of a time stamp in ticks."""
        return self._snap((stamp - self._origin) * self.tick)

    def marks(self) -> list[tuple[Fraction, int | None, bool]]:
        """Every frame's time, time stamp and whether it is a key frame, ordered by time, without decoding.

        Reads the whole file, with another handle, all streams that are of use.

        Raises:
            VideoError: as for the class.
        """
        parts, before = [[]], None  # one more where time begins again
        with opened(self.path, self._limit) as container:
            streams = [container.streams[s.index] for s in (self._stream, *self.audio)]
            for packet in packets(container, self.path, streams, keep_going=self._keep_going):
                if packet.stream.index == self._stream.index and packet.size and not packet.is_discard:
                    if None not in (before, packet.dts) and packet.dts < before:
                        parts.append([])
                    parts[-1].append((packet.pts, packet.is_keyframe))
                    before = packet.dts if packet.dts is not None else before
        if not self._stamped:
            return [(k * self._interval, None, key) for k, (_, key) in enumerate(chain(*parts))]
        self._rewinds = len(parts) > 1
        forward = timing.Forward()
        stamps = chain(*(sorted((pts, key) for pts, key in part if pts is not None) for part in parts))
        return [(forward(self.time_of(pts), self._interval), pts, key) for pts, key in stamps]

    def _timed(
        self, frames: Iterator[tuple[av.VideoFrame, int | None]], start: int | None, key: int | None = None
    ) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Times are counted from `start`, or the first frame; frames before `key` are left out."""
        interval, before, forward = self._interval, None, timing.Forward()
        for number, (frame, stamp) in enumerate(frames):
            if key is not None and stamp < key:
                continue  # leads up to the key frame, and refers to what was not read
            if stamp is None or self._is_avi:
                time = before + interval if number else Fraction(0)
            else:
                start = stamp if start is None else start
                time = self._snap((stamp - start) * self.tick)
            if before is not None and time < before:
                if not self._keep_going:
                    raise VideoError(
                        f"{self.path}: the time stamps go back at {float(before):.2f} s; --keep-going goes on"
                    )
                self.repairs["moved"] += 1
            time = forward(time, interval)
            if before is not None:
                self.repairs["hidden"] += time == before
                interval = time - before or interval
            yield frame, time
            before, last = time, frame
        if before is not None:
            self.end = self._last_end(last, before, start or 0, interval)

    def _snap(self, time: Fraction) -> Fraction:
        return time if self._as_stamped or not self.rate else timing.snap(time, self.rate, self.tick)

    def _last_end(self, last: av.VideoFrame, time: Fraction, start: int, interval: Fraction) -> Fraction:
        """When the last frame goes off: as the stream states, or the frame, else after `interval`."""
        if self._is_mov and self._stream.duration:  # others count decoding delay, or do not say
            stated = self._snap(((self._stream.start_time or 0) + self._stream.duration - start) * self.tick)
            if stated > time:
                return stated
        if last.duration:
            return max(self._snap(time + last.duration * self.tick), time)
        return time + interval

    def _decoded(self, key: int | None = None) -> Iterator[tuple[av.VideoFrame, int | None]]:
        """The frames as they are, with their time stamps; one that is held comes with those of others too.

        Args:
            key: time stamp of the packet to begin with, somewhere after this place; None: the next one.
        """
        good = last = None
        due, begun = Due(), key is None
        streams = (self._stream, *self.audio)
        for packet in packets(self._container, self.path, streams, key is None, self._keep_going):
            if packet.stream.index != self._stream.index:
                continue
            begun = begun or packet.pts == key
            if not begun:
                if packet.dts is not None and packet.dts > key:
                    return  # is past it
                continue
            due.sent(packet)
            for frame in self._frames_in(packet, due):
                for stamp in due.missed(frame.pts) if good is not None else ():
                    self.repairs["held"] += 1
                    yield good, stamp
                last = frame.pts
                if not frame.is_corrupt:
                    good = self._alike(frame)
                elif not self._keep_going:
                    raise VideoError(f"{self.path}: a damaged frame{_place(frame)}")
                if good is not None:
                    self.repairs["held"] += frame.is_corrupt
                    yield good, last
        # Decoders that work on several frames at once may swallow the error of the last ones.
        ordered = good is not None and not self._is_avi
        tail = due.after(last, self._interval / self.tick) if ordered else []
        if tail and not self._keep_going:
            raise VideoError(
                f"{self.path}: the frame at {float(tail[0] * self.tick):.2f} s cannot be decoded"
            )
        for stamp in tail:
            self.repairs["held"] += 1
            yield good, stamp

    def _alike(self, frame: av.VideoFrame) -> av.VideoFrame:
        """The frame, in the size and format of the file's first."""
        shape = Shape.of(frame)
        self._shape = self._shape or shape
        if shape == self._shape:
            return frame
        if not self._keep_going:
            raise VideoError(
                f"{self.path}: the frames change from {self._shape} to {shape}{_place(frame)}; "
                "--keep-going scales them"
            )
        self.repairs["scaled"] += 1
        return fitted(frame, self._shape)

    @property
    def _interval(self) -> Fraction:
        return 1 / self.rate if self.rate else Fraction(0)

    def _frames_in(self, packet: av.Packet, due: Due) -> list[av.VideoFrame]:
        """What comes of a packet, and of those that the decoder was busy with."""
        try:
            return self._decoder.decode(packet)
        except av.FFmpegError as error:
            if not self._keep_going:
                when = f"{float(due.first * self.tick):.2f} s" if due.first is not None else "some time"
                raise VideoError(f"{self.path}: damaged at {when} ({error.strerror})") from error
            due.failures += 1
            return []


def _place(frame: av.VideoFrame) -> str:
    return "" if frame.time is None else f" at {frame.time:.2f} s"
