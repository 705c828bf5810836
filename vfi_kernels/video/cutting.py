"""Where a source is cut into chunks, and what of the output follows from the source and the options alone."""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from . import cadence, limits, scenes
from . import schedule as schedules
from ._av import VideoError
from .options import Options
from .sources import Source

__all__ = ["Chunk", "Mark", "Seek", "check_length", "chunk_of", "chunks_of", "end_of", "schedule_for", "warm"]

# So many frames before a chunk its cut detector has to see to judge as if it had seen all.
WARM = scenes.RECENT + 1


# Of a source frame: its time, its time stamp, and whether it is a key frame.
Mark = tuple[Fraction, "int | None", bool]


class Seek(NamedTuple):
    """Where reading for a chunk starts."""

    key: int  # time stamp of a key frame
    lead: int  # frames from there to the chunk


class Chunk(NamedTuple):
    """Source frames with start <= time < stop, seconds after the first; the last one has no stop."""

    start: Fraction
    stop: Fraction | None
    seek: Seek | None  # None: read from the start


def schedule_for(reader: Source, options: Options) -> schedules.ConstantRate | schedules.OwnTimes:
    """
    Raises:
        ValueError: options that contradict each other.
        VideoError: they need the source's rate, and it has none.
    """
    # Re-timed frames lie between ticks.
    parts = cadence.PARTS if options.duplicates == "retime" else 1
    try:
        return schedules.schedule_for(
            reader.rate,
            reader.tick / parts,
            factor=options.factor,
            fps=options.fps,
            stretch=options.slow_motion,
            vfr=options.vfr,
        )
    except schedules.NoRateError as error:
        raise VideoError(f"{reader.path}: states no frame rate; give the output's with --fps") from error


def warm(options: Options) -> int:
    """Frames before a chunk that have to be seen for it to be what it is in the whole."""
    return max(WARM, cadence.BEFORE) if options.duplicates == "retime" else WARM


def end_of(reader: Source, marks: list[Mark]) -> Fraction:
    """When the last frame goes off, seconds after the first came; about, where the file does not say."""
    if reader.duration or not marks:
        return reader.duration or Fraction(0)
    last = marks[-1][0]
    return last + (1 / reader.rate if reader.rate else last - marks[max(len(marks) - 2, 0)][0])


def check_length(reader: Source, end: Fraction, frames: int, options: Options) -> None:
    """
    Args:
        reader: of the source.
        end: when its last frame goes off, seconds after the first came.
        frames: how many it has, as far as is known.
        options: of the output.

    Raises:
        VideoError: the output would have more frames than `limits` and no `force`.
    """
    schedule = schedule_for(reader, options)
    if not options.force:
        limits.check_frames(reader.path, schedule.at_most(end, frames), end)


def chunks_of(reader: Source, marks: list[Mark], options: Options) -> tuple[Chunk, ...]:
    """Where possible a chunk starts `warm` frames after a key frame: so little is decoded for nothing."""
    seconds = options.chunk_seconds
    check_length(reader, end_of(reader, marks), len(marks), options)
    keys = [number for number, (_, _, key) in enumerate(marks) if key] if reader.seekable else []
    starts: list[tuple[Fraction, Seek | None]] = [(Fraction(0), None)]
    passed = 0  # the keys that lie early enough
    for number, (time, _, _) in enumerate(marks):
        fresh = passed < len(keys) and keys[passed] <= number - warm(options)
        passed += fresh
        length = time - starts[-1][0]
        if length < seconds or not (fresh or length >= 2 * seconds or not keys):
            continue
        key = keys[passed - 1] if passed else 0
        starts.append((time, Seek(marks[key][1], number - key) if key else None))
    stops = [start for start, _ in starts[1:]]
    return tuple(Chunk(start, stop, seek) for (start, seek), stop in zip(starts, [*stops, None], strict=True))


def chunk_of(reader: Source, marks: list[Mark], options: Options, start: Fraction, stop: Fraction) -> Chunk:
    """A part of the source as one chunk, which starts anywhere."""
    first = sum(time < start for time, _, _ in marks)
    early = range(first - warm(options), 0, -1) if reader.seekable else ()
    key = next((number for number in early if marks[number][2]), None)
    return Chunk(start, stop, key and Seek(marks[key][1], first - key))
