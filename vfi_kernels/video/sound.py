"""Sound that lasts as long as pictures in slow motion, at its own pitch: decoded, stretched, encoded anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction

from ._av import av

__all__ = ["Stretched", "add_like"]

# Bits a second of a channel, where the source does not say.
BIT_RATE = 96_000

# What one of FFmpeg's atempo slows down to at most.
SLOWEST = Fraction(1, 2)


def add_like(
    source: av.AudioStream, output: av.container.OutputContainer, holds: Callable[[str], bool]
) -> av.AudioStream | None:
    """Add a stream to encode sound like `source`'s: by its own codec, or where that cannot be, a common one.

    Args:
        source: a stream of sound.
        output: to be written; its header is not yet.
        holds: whether the output's container holds a codec.

    Returns:
        The stream, or None where no encoder takes this sound.
    """
    own = source.codec_context
    for name in (own.codec.canonical_name, "opus" if output.format.name == "webm" else "aac"):
        if not holds(name):
            continue
        try:
            codec = av.Codec(name, "w")
            # What an encoder refuses it tells when it is opened: too late for one that is in the output.
            _set(av.CodecContext.create(codec.name, "w"), own).open()
        except (ValueError, av.FFmpegError):
            continue
        made = output.add_stream(codec.name, rate=own.sample_rate)
        _set(made.codec_context, own)
        return made
    return None


def _set(encoder: av.AudioCodecContext, like: av.AudioCodecContext) -> av.AudioCodecContext:
    encoder.sample_rate, encoder.layout = like.sample_rate, like.layout
    formats = [f.name for f in encoder.codec.audio_formats or [like.format]]
    encoder.format = like.format.name if like.format.name in formats else formats[0]
    same = encoder.codec.canonical_name == like.codec.canonical_name
    encoder.bit_rate = like.bit_rate if same and like.bit_rate else BIT_RATE * like.channels
    return encoder


class Stretched:
    """Makes packets of sound that last `stretch` times longer; `start` is the time that stays where it is."""

    def __init__(self, made: av.AudioStream, stretch: Fraction, start: Fraction) -> None:
        """
        Args:
            made: the output's stream.
            stretch: how many times longer.
            start: seconds.
        """
        self._made, self._stretch, self._start = made, stretch, start
        self._graph: av.filter.Graph | None = None
        self._shift = Fraction(0)

    def packets(self, packet: av.Packet) -> Iterator[av.Packet]:
        """What is complete once a packet of the source has come; with an empty one, which is the last, all
        else.
        """
        for frame in packet.decode():
            if self._graph is None:
                self._graph = self._begin(frame)
            self._graph.push(frame)
            yield from self._encoded()
        if not packet.size and self._graph is not None:
            self._graph.push(None)
            yield from self._encoded()
            yield from self._made.encode(None)

    def _begin(self, first: av.AudioFrame) -> av.filter.Graph:
        """The filters for frames like the first one, whose time says when the sound begins."""
        self._shift = (first.pts * first.time_base - self._start) * (self._stretch - 1)
        graph = av.filter.Graph()
        kind = {"format": first.format.name, "layout": first.layout.name}
        steps = [
            graph.add_abuffer(sample_rate=first.sample_rate, time_base=first.time_base, **kind),
            # Fills gaps with silence: atempo counts samples, so all that follows one would come early.
            graph.add("aresample", "async=1"),
        ]
        tempo = 1 / self._stretch
        while tempo < SLOWEST:
            steps.append(graph.add("atempo", str(float(SLOWEST))))
            tempo /= SLOWEST
        steps += [graph.add("atempo", repr(float(tempo))), graph.add("abuffersink")]
        graph.link_nodes(*steps).configure()
        return graph

    def _encoded(self) -> Iterator[av.Packet]:
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            frame.pts += round(self._shift / frame.time_base)
            yield from self._made.encode(frame)
