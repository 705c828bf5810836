"""What is in a video, what would be made of it, and why."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from . import cutting, images, limits, muxing, sequences
from . import plan as plans
from . import schedule as schedules
from .demuxing import opened
from .options import Options
from .sources import Source, open_source

__all__ = ["describe"]


RANGES = ("not stated", "limited", "full")


def describe(source: Path, target: Path, options: Options) -> dict[str, dict[str, Any]]:
    """Two tables, "input" and "output", of words and numbers; nothing is decoded but the first frame.

    Raises:
        ValueError: options that contradict each other.
        VideoError: the source cannot be read, or the target cannot hold what would be made.
    """
    with open_source(source, options) as reader:
        marks = reader.marks()
        plan = plans.make(source, target, reader, marks, options)
        schedule = cutting.schedule_for(reader, options)
        lost: list[str] = []
        muxing.check(plan, reader, lost.append)
        times = [time for time, _, _ in marks]
        end = cutting.end_of(reader, marks)
        return {
            "input": _input(reader, times, end, sum(key for _, _, key in marks)),
            "output": {
                "file": str(target),
                "rate": _rate_and_why(reader, options, schedule),
                **_frames(schedule, times, end),
                "cuts": f"held from a score of {options.scene_threshold:g}"
                if options.scene_cuts
                else "ignored",
                "codec": sequences.codec_of(target) or options.codec,
                "chunks": len(plan.chunks),
                "not kept": lost,
            },
        }


def _input(reader: Source, times: list[Fraction], end: Fraction, keys: int) -> dict[str, Any]:
    frame = reader.first
    gaps = Counter(b - a for a, b in pairwise(times))
    steady = len(gaps) <= 1
    name, kinds = "images", ["video"]
    if not images.is_images(reader.path):
        with opened(reader.path, limits.UNLIMITED) as container:
            kinds = [
                f"{s.type} {s.codec_context.name if s.codec_context else ''}".strip()
                for s in container.streams
            ]
            name = container.format.name
    return {
        "file": str(reader.path),
        "container": name,
        "streams": kinds,
        "size": f"{frame.width}x{frame.height}",
        "pixels": f"{frame.format.name}, {frame.format.components[0].bits} bits",
        "colour": f"matrix {int(frame.colorspace)}, range {RANGES[int(frame.color_range)]}, "
        f"primaries {int(frame.color_primaries)}, transfer {int(frame.color_trc)} (H.273)",
        "aspect": str(reader.aspect or 1),
        "rate": f"{_number(reader.rate)} a second" if reader.rate else "not stated",
        "times": "constant rate" if steady else f"variable rate, {len(gaps)} lengths of frames",
        "frames": len(times),
        "key frames": keys,
        "starts": f"{float(reader.start):.3f} s",
        "lasts": f"{float(end):.3f} s",
    }


def _rate_and_why(
    reader: Source, options: Options, schedule: schedules.ConstantRate | schedules.OwnTimes
) -> str:
    if options.vfr:
        return f"the input's own times, {schedule.factor - 1} frame(s) evenly between two (--vfr)"
    if options.fps is not None:
        why = "--fps"
    elif options.factor is not None:
        why = f"{options.factor} times the input's (--factor)"
    else:
        why = "the input's, in slow motion" if options.slow_motion != 1 else "twice the input's"
    return f"{_number(schedule.fps)} a second: {why}"


def _frames(
    schedule: schedules.ConstantRate | schedules.OwnTimes, times: list[Fraction], end: Fraction
) -> dict[str, Any]:
    """How many there will be, cuts and repeats aside, and how many of them are the source's own."""
    count: Counter[bool] = Counter()
    for number, (start, stop) in enumerate(pairwise([*times, max(end, times[-1])])):
        held = number == len(times) - 1
        for slot in schedule.slots(schedules.Span(number, start, stop, held)):
            count[slot.original] += 1
    passing = f"{count[True]} are the input's own, untouched, where times coincide or nothing follows"
    return {"frames": sum(count.values()), "originals": passing, "made": count[False]}


def _number(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"{value} ({float(value):.3f})"
