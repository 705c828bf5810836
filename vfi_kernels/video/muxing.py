"""From finished chunks to the final file: their packets in a row, and the source's other streams."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from heapq import merge as merged
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from . import limits, matroska, repairs, sequences, signature, streams, timing
from ._av import VideoError, av
from .demuxing import opened, packets
from .encoding import Encoding, complete_or_absent, guarded
from .images import Images
from .plan import Plan, encoding_for
from .sources import Source, open_source

__all__ = ["check", "merge"]


def check(plan: Plan, reader: Source, warn: Callable[[str], None]) -> None:
    """Tell what the output will not hold, before anything is made.

    Raises:
        VideoError: the container does not take the codec, or the codec not the frames or the rate.
    """
    if reader.first.interlaced_frame:
        warn("the input is interlaced: frames are made of whole ones, so deinterlace it before")
    encoding = encoding_for(reader, plan.target, plan.options, warn)
    if sequences.is_gif(plan.target):
        sequences.check_rate(plan.target, encoding.fps, warn)
    with _Output(plan, encoding, reader, BytesIO(), warn) as output:
        if sequences.is_gif(plan.target) or sequences.is_images(plan.target):
            return
        try:
            output.container.start_encoding()
        except (av.FFmpegError, ValueError) as error:
            kind = output.container.format.name
            raise VideoError(
                f"{plan.target}: {kind} does not take {encoding.codec} with the input's other streams "
                f"({getattr(error, 'strerror', None) or error}); an .mkv output does"
            ) from error
        finally:
            with suppress(Exception):  # of a file without a frame
                output.container.close()


def merge(plan: Plan, warn: Callable[[str], None] = lambda message: None) -> int:
    """Write the output from the chunks, all finished, and delete them. It appears when it is complete.

    Args:
        plan: of which all chunks are finished.
        warn: gets one line about frames that could not be read.

    Returns:
        The number of frames.

    Raises:
        VideoError: chunks are missing or do not fit together, or a file cannot be read or written.
    """
    missing = plan.missing()
    if missing:
        raise VideoError(f"{plan.folder}: {len(missing)} of {len(plan.chunks)} chunks are missing")
    plan.check_source()
    parts = _parts(plan)
    plan.check_free(parts.bytes)
    with open_source(plan.source, plan.options) as reader:
        encoding = encoding_for(reader, plan.target, plan.options)
        if sequences.is_images(plan.target):
            with guarded(str(plan.target)):
                sequences.write_images(plan.target, _files(plan), plan.folder)
        else:
            # In the work folder, where a next run clears what a kill has left.
            with complete_or_absent(plan.target, plan.folder) as temporary:
                if sequences.is_gif(plan.target):
                    with guarded(str(plan.target)):
                        sequences.write_gif(temporary, _frames(plan, encoding), encoding.fps)
                else:
                    _write(plan, parts.delay, encoding, reader, temporary)
                if encoding.aspect and not matroska.set_aspect(temporary, encoding.aspect):
                    warn(f"{plan.target}: the sample aspect ratio {encoding.aspect} is not kept")
    signature.sign(plan, parts.frames)
    plan.discard()
    for line in repairs.told(parts.repairs):
        warn(f"{plan.source}: {line}")
    return parts.frames


class _Parts(NamedTuple):
    """What the facts of all chunks amount to. Of the facts themselves only one chunk's are held at a time:
    they grow with the length of the video."""

    frames: int
    bytes: int
    repairs: Counter[str]
    delay: int  # of the chunk that needs most


def _parts(plan: Plan) -> _Parts:
    """
    Raises:
        VideoError: chunks do not join.
    """
    total, end = _Parts(0, 0, Counter(), 0), 0
    for index in range(len(plan.chunks)):
        facts = plan.facts(index)
        for number, length in facts["frames"]:
            if number != end:
                raise VideoError(f"{plan.stem(index)}: begins at step {number}; expected {end}")
            end = number + length
        total = _Parts(
            total.frames + len(facts["frames"]),
            total.bytes + facts["bytes"],
            total.repairs + Counter(facts["repairs"]),
            max(total.delay, facts["delay"]),
        )
    return total


class _Output:
    """The final file before anything is in it, with all its streams. Use it in a `with` block.

    Attributes:
        container: of the file.
        video: its stream of pictures; None for GIF, which is written otherwise.
        companions: the source's other streams; None for images, which have none.
        source: the source, opened for their packets.
    """

    def __init__(
        self,
        plan: Plan,
        encoding: Encoding,
        reader: Source,
        place: Path | BytesIO,
        warn: Callable[[str], None],
    ) -> None:
        self.companions = self.source = None
        options = plan.options
        with guarded(str(plan.target)):
            self.container = encoding.open(place)
            self.video = None if sequences.is_gif(plan.target) else encoding.add_to(self.container)
        streams.set_rotation(reader.first, self.container, self.video, warn)
        if isinstance(reader, Images):
            return
        sound = options.slow_motion_audio if options.slow_motion != 1 else "keep"
        if reader.audio and sound == "drop":
            warn("sound left out: --slow-motion-audio stretch keeps it, at its pitch")
        self.source = opened(plan.source, limits.UNLIMITED)  # `reader` has checked
        with guarded(str(plan.target)):
            self.companions = streams.Companions(
                plan.source,
                self.source,
                self.container,
                self.video,
                start=reader.start,
                stretch=Fraction(options.slow_motion),
                sound=sound,
                warn=warn,
            )

    def packets(self, plan: Plan) -> Iterator[tuple[Fraction, av.Packet]]:
        """Every packet of the other streams with its time in seconds, in the order of the file."""
        if self.companions is None or not self.companions.streams:
            return
        keep_going = plan.options.keep_going
        forward: defaultdict[int, timing.Forward] = defaultdict(timing.Forward)
        for packet in packets(self.source, plan.source, self.companions.streams, keep_going=keep_going):
            if packet.dts is not None and _moved(packet, forward[packet.stream.index]) and not keep_going:
                raise VideoError(f"{plan.source}: the time stamps of {packet.stream.type} go back")
            try:
                with guarded(str(plan.source)):
                    made = list(self.companions.packets(packet))
            except VideoError:
                if not keep_going:
                    raise
                continue
            yield from made

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        if self.source:
            self.source.close()


def _moved(packet: av.Packet, forward: timing.Forward) -> bool:
    """Has the packet follow the one before where its time goes back; whether it did."""
    tick = packet.time_base
    time = packet.dts * tick
    shift = round((forward(time, (packet.duration or 1) * tick) - time) / tick)
    packet.dts += shift
    packet.pts = packet.pts if packet.pts is None else packet.pts + shift
    return bool(shift)


def _write(plan: Plan, delay: int, encoding: Encoding, reader: Source, path: Path) -> None:
    with _Output(plan, encoding, reader, path, lambda message: None) as output:
        container = output.container
        try:
            with guarded(str(plan.target)):
                container.start_encoding()
            pictures = _pictures(plan, delay, encoding, output.video)
            for _, packet in merged(pictures, output.packets(plan), key=lambda item: item[0]):
                with guarded(str(plan.target)):
                    container.mux(packet)
            with guarded(str(plan.target)):
                container.close()
        except BaseException:
            # A second error from a file that nobody will see would hide the first.
            with suppress(Exception):
                container.close()
            raise


def _files(plan: Plan) -> Iterator[bytes]:
    """Every frame as the bytes of an image file, which is what a packet of theirs is."""
    for index in range(len(plan.chunks)):
        for path in plan.pictures(index):
            with opened(path, limits.UNLIMITED) as chunk:
                for packet in packets(chunk, path, [chunk.streams.video[0]]):
                    if packet.size:
                        yield bytes(packet)


def _frames(plan: Plan, encoding: Encoding) -> Iterator[tuple[av.VideoFrame, Fraction, Fraction]]:
    """Every frame with its time and its length in seconds."""
    step = encoding.step * encoding.tick
    for index in range(len(plan.chunks)):
        for path in plan.pictures(index):
            with opened(path, limits.UNLIMITED) as chunk:
                frames = chunk.decode(video=0)
                for frame, (number, length) in zip(frames, plan.facts(index)["frames"], strict=True):
                    yield frame, number * step, length * step


def _stamps(plan: Plan, encoding: Encoding) -> Iterator[int]:
    """When every frame is shown, in ticks."""
    for index in range(len(plan.chunks)):
        for number, _ in plan.facts(index)["frames"]:
            yield encoding.first + number * encoding.step


def _pictures(
    plan: Plan, delay: int, encoding: Encoding, stream: av.VideoStream
) -> Iterator[tuple[Fraction, av.Packet]]:
    """The packets of all chunks with the times at which they are decoded.

    Each chunk was encoded by itself. Packet n is decoded when frame n - delay of the whole is shown, with one
    delay for all: so decoding times rise across the borders.
    """
    before = range(encoding.first - delay * encoding.step, encoding.first, encoding.step)
    decoded = chain(before, _stamps(plan, encoding))
    extradata = stream.codec_context.extradata
    for index in range(len(plan.chunks)):
        lengths = {
            encoding.first + number * encoding.step: length * encoding.step
            for number, length in plan.facts(index)["frames"]
        }
        for path in plan.pictures(index):
            with opened(path, limits.UNLIMITED) as chunk:
                source = chunk.streams.video[0]
                # Empty where it is in the packets; then FFmpeg gathers some from there when it reads.
                if extradata and source.codec_context.extradata != extradata:
                    raise VideoError(f"{path}: was encoded otherwise than this machine does")
                for packet in packets(chunk, path, [source]):
                    if not packet.size:
                        continue
                    stamp = int(packet.pts * packet.time_base / encoding.tick)
                    packet.stream, packet.time_base = stream, encoding.tick
                    packet.pts, packet.duration = stamp, lengths.pop(stamp)
                    packet.dts = next(decoded)
                    yield packet.dts * encoding.tick, packet
        if lengths:
            raise VideoError(f"{plan.stem(index)}: {len(lengths)} frames are missing")
