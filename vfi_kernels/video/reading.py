"""Reading a video: its frames with exact times, and the packets of its sound as they pass by."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

from . import signalling, timing
from ._av import VideoError, av

__all__ = ["Reader"]

# How much earlier than its header says a Matroska file may end: writers round, and count the longest stream.
SLACK = Fraction(1, 2)


class Reader:
    """Streams one video file; holds one frame at a time. Use it in a `with` block.

    Attributes:
        first: the first frame (av.VideoFrame).
        start: its time in the file, seconds.
        rate: nominal frames a second, or None where the file does not say.
        tick: what its times count, seconds.
        duration: seconds as the file states it, or None: an estimate, for progress only.
        aspect: sample aspect ratio, or None.
        siting: where the chroma samples lie, by FFmpeg's name, or None.
        audio: the sound streams (av.AudioStream).
        dropped: what else the file holds, in words ("1 subtitle stream").
        end: after the last frame: when it goes off the screen, seconds after `start`.

    Raises:
        VideoError: the file cannot be opened, holds no pictures, is damaged, or ends early.
    """

    def __init__(self, path: str | os.PathLike[str], *, as_stamped: bool = False) -> None:
        """
        Args:
            path: video file.
            as_stamped: leave times as the container has rounded them, for an output that keeps them.
        """
        self.path = Path(path)
        self._as_stamped = as_stamped
        if not self.path.is_file():
            raise VideoError(f"{self.path}: no such file")
        try:
            # Files only, and files that name others (playlists) open only files.
            self._container = av.open(f"file:{self.path}", options={"protocol_whitelist": "file"})
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: cannot be read as a video ({error.strerror})") from error
        try:
            self._open()
        except BaseException:
            self._container.close()
            raise

    def _open(self) -> None:
        streams = self._container.streams
        pictures = [s for s in streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not pictures:
            raise VideoError(f"{self.path}: holds no video stream")
        self._stream = pictures[0]
        self._stream.thread_type = "AUTO"
        self.audio = list(streams.audio)
        kept = {s.index for s in (self._stream, *self.audio)}
        others = [s.type for s in streams if s.index not in kept]
        self.dropped = ", ".join(f"{others.count(kind)} {kind} stream(s)" for kind in dict.fromkeys(others))
        self.tick = self._stream.time_base
        stated = self._stream.duration and self._stream.duration * self.tick
        self.duration = stated or (
            self._container.duration and Fraction(self._container.duration, av.time_base)
        )
        self.rate = timing.source_rate(self._stream.average_rate, self._stream.base_rate, self.duration)
        if self.rate and self._is_matroska:
            self.rate = timing.ntsc_rate(self.rate)
        self.end = Fraction(0)
        self._passing: deque[av.Packet] = deque()
        self._frames = self._timed(self._decoded())
        head = next(self._frames, None)
        if head is None:
            raise VideoError(f"{self.path}: holds no frames")
        self.first = head[0]
        self.start = self.first.pts * self.tick if self.first.pts is not None else Fraction(0)
        self.aspect = self._stream.sample_aspect_ratio
        self.siting = signalling.chroma_siting(self._stream)
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
        self._container.close()

    def frames(
        self, copy: Callable[[av.Packet], None] | None = None
    ) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """Every frame with its time in seconds after the first. Once only.

        Args:
            copy: gets every packet of sound, in the order of the file.
        """
        for item in self._frames:
            self._pass_on(copy)
            yield item
        self._pass_on(copy)

    def _pass_on(self, copy: Callable[[av.Packet], None] | None) -> None:
        while self._passing:
            packet = self._passing.popleft()
            if copy:
                copy(packet)

    def _timed(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        interval = 1 / self.rate if self.rate else Fraction(0)
        start = before = None
        for number, frame in enumerate(frames):
            if frame.pts is None or self._is_avi:
                time = before + interval if number else Fraction(0)
            else:
                start = frame.pts if start is None else start
                time = self._snap((frame.pts - start) * self.tick)
            if number:
                if time < before:
                    raise VideoError(f"{self.path}: the time stamp of frame {number} goes back")
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

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """The frames as they are; sound goes to `_passing`."""
        read: Counter[int] = Counter()
        reached = Fraction(0)
        shape = None
        try:
            for packet in self._container.demux():
                kept = packet.stream.index in (self._stream.index, *(s.index for s in self.audio))
                if packet.dts is not None and packet.time_base:
                    stop = (packet.pts if packet.pts is not None else packet.dts) + (packet.duration or 0)
                    reached = max(reached, stop * packet.time_base)
                    read[packet.stream.index] += 1
                    if kept and packet.is_corrupt:
                        raise VideoError(f"{self.path}: damaged or cut short at {float(reached):.2f} s")
                if packet.stream.index == self._stream.index:
                    for frame in packet.decode():
                        shape = shape or (frame.width, frame.height, frame.format.name)
                        if frame.is_corrupt:
                            raise VideoError(f"{self.path}: a damaged frame at {frame.time:.2f} s")
                        if shape != (frame.width, frame.height, frame.format.name):
                            raise VideoError(f"{self.path}: the frames change their size or format")
                        yield frame
                elif kept and packet.dts is not None:
                    self._passing.append(packet)
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged at {float(reached):.2f} s ({error.strerror})") from error
        self._check_complete(read, reached)

    def _check_complete(self, read: Counter[int], reached: Fraction) -> None:
        """A cut file decodes without complaint up to the cut: only its header's promises tell."""
        for stream in (self._stream, *self.audio) if self._is_mov else ():
            promised = len(stream.index_entries)
            if read[stream.index] < promised:
                have = f"{read[stream.index]} of {promised}"
                raise VideoError(f"{self.path}: cut short, {have} packets of {stream.type} are there")
        if self._is_matroska and self._container.duration:
            whole = Fraction(self._container.duration, av.time_base)
            if reached + SLACK < whole:
                ends = f"{float(reached):.2f} of {float(whole):.2f} s"
                raise VideoError(f"{self.path}: cut short, ends at {ends}")
