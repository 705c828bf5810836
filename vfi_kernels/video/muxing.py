"""From finished chunks to the final file: their packets in a row, and the source's other streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from heapq import merge as merged

from ._av import VideoError, av
from .encoding import Encoding, complete_or_absent, guarded
from .plan import Plan, encoding_for
from .reading import Reader, opened, packets

__all__ = ["SideStreams", "check", "merge"]

TRANSPORT_CODECS = ("aac", "ac3", "eac3", "mp2", "mp3", "opus")


class SideStreams:
    """What else the source holds and the output can hold: its streams of sound.

    Use it in a `with` block.
    """

    def __init__(self, plan: Plan, output: av.container.OutputContainer, warn: Callable[[str], None]) -> None:
        """
        Args:
            plan: whose source and options.
            output: container to which the streams are added.
            warn: gets one line about each thing that is left out.
        """
        self._source = plan.source
        self._container = opened(plan.source)
        self._streams: dict[int, av.stream.Stream] = {}
        options = plan.options
        wanted = list(self._container.streams.audio)
        if wanted and options.slow_motion != 1 and options.slow_motion_audio == "drop":
            wanted = []
            warn(
                "sound left out: slow motion does not stretch it; --slow-motion-audio keep copies it as it is"
            )
        for stream in wanted:
            if _takes(output, stream, warn):
                self._streams[stream.index] = _copy_of(output, stream)

    def __enter__(self) -> SideStreams:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def packets(self) -> Iterator[tuple[Fraction, av.Packet]]:
        """Every packet with its time in seconds, for the output's streams, in the order of the file."""
        if not self._streams:
            return
        streams = [self._container.streams[index] for index in self._streams]
        for packet in packets(self._container, self._source, streams):
            if packet.dts is not None:
                time = packet.dts * packet.time_base
                packet.stream = self._streams[packet.stream.index]
                yield time, packet


def _takes(output: av.container.OutputContainer, stream: av.AudioStream, warn: Callable[[str], None]) -> bool:
    name = stream.codec_context.name
    codec = stream.codec_context.codec.canonical_name
    # FFmpeg does not know of MPEG-TS what it holds.
    transport = output.format.name == "mpegts" and codec in TRANSPORT_CODECS
    fits = transport or codec in output.supported_codecs
    if not fits:
        warn(f"sound left out: {output.format.name} does not hold {name}; an .mkv output does")
    return fits


def _copy_of(output: av.container.OutputContainer, stream: av.AudioStream) -> av.AudioStream:
    made = output.add_stream_from_template(stream)
    made.time_base = stream.time_base
    made.metadata.update({k: v for k, v in stream.metadata.items() if k in ("language", "title")})
    made.disposition = stream.disposition
    return made


def check(plan: Plan, reader: Reader, warn: Callable[[str], None]) -> None:
    """Tell what the output will not hold, before anything is made.

    Raises:
        VideoError: the container does not take the codec, or the codec not the frames or the rate.
    """
    if reader.dropped:
        warn(f"left out: {reader.dropped}")
    if reader.first.rotation:
        warn(f"the rotation of {reader.first.rotation} degrees that players apply to the input is not kept")
    if any(component.is_alpha for component in reader.first.format.components):
        warn("transparency is left out")
    encoding = encoding_for(reader, plan.target, plan.options, warn)
    with guarded(str(plan.target)):
        output = encoding.open(plan.target)
        encoding.add_to(output)
    with SideStreams(plan, output, warn):
        pass


def merge(plan: Plan) -> int:
    """Write the output from the chunks, all finished, and delete them. It appears when it is complete.

    Returns:
        The number of frames.

    Raises:
        VideoError: chunks are missing or do not fit together, or a file cannot be read or written.
    """
    missing = plan.missing()
    if missing:
        raise VideoError(f"{plan.folder}: {len(missing)} of {len(plan.chunks)} chunks are missing")
    plan.check_source()
    facts = [plan.facts(index) for index in range(len(plan.chunks))]
    plan.check_free(sum(fact["bytes"] for fact in facts))
    with Reader(plan.source, as_stamped=plan.options.vfr) as reader:
        encoding = encoding_for(reader, plan.target, plan.options)
    with complete_or_absent(plan.target) as temporary:
        with guarded(str(plan.target)):
            output = encoding.open(temporary)
        try:
            with guarded(str(plan.target)):
                stream = encoding.add_to(output)
            with SideStreams(plan, output, lambda message: None) as side:
                with guarded(str(plan.target)):
                    output.start_encoding()
                pictures = _pictures(plan, facts, encoding, stream)
                for _, packet in merged(pictures, side.packets(), key=lambda item: item[0]):
                    with guarded(str(plan.target)):
                        output.mux(packet)
            with guarded(str(plan.target)):
                output.close()
        except BaseException:
            # A second error from a file that nobody will see would hide the first.
            with suppress(Exception):
                output.close()
            raise
    plan.discard()
    return sum(len(fact["frames"]) for fact in facts)


def _pictures(
    plan: Plan, facts: list[dict], encoding: Encoding, stream: av.VideoStream
) -> Iterator[tuple[Fraction, av.Packet]]:
    """The packets of all chunks with the times at which they are decoded.

    Each chunk was encoded by itself. Packet n is decoded when frame n - delay of the whole is shown, with one
    delay for all: so decoding times rise across the borders.
    """
    frames = [(number, length) for fact in facts for number, length in fact["frames"]]
    _check_contiguous(plan, facts)
    stamps = [encoding.first + number * encoding.step for number, _ in frames]
    lengths = {stamp: length * encoding.step for stamp, (_, length) in zip(stamps, frames, strict=True)}
    delay = max(fact["delay"] for fact in facts)
    extradata = stream.codec_context.extradata
    done = 0
    for index in range(len(facts)):
        for path in plan.pictures(index):
            with opened(path) as chunk:
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
                    early = done - delay
                    packet.dts = stamps[early] if early >= 0 else stamps[0] + early * encoding.step
                    done += 1
                    yield packet.dts * encoding.tick, packet
    if lengths:
        raise VideoError(f"{plan.folder}: {len(lengths)} of {len(frames)} frames are missing")


def _check_contiguous(plan: Plan, facts: list[dict]) -> None:
    end = 0
    for index, fact in enumerate(facts):
        for number, length in fact["frames"]:
            if number != end:
                raise VideoError(f"{plan.stem(index)}: begins at step {number}; expected {end}")
            end = number + length
