"""Which output frame falls where: exact rational arithmetic, and nothing else.

Convention: times are seconds as `Fraction`, counted from the first source frame. Output frame k is at
k / fps. A source frame is on screen from its own time stamp to the next one's, the last one for its own
duration, so the clip ends at `end` and output frames are those with 0 <= k / fps < end: N frames at a
constant rate become exactly N * n at n times the rate. The n - 1 output frames after the last source frame
have nothing to be interpolated towards and hold it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from math import ceil, lcm

__all__ = [
    "Forward",
    "between",
    "common_tick",
    "frame_count",
    "ntsc_rate",
    "parse_rate",
    "parse_ratio",
    "snap",
    "source_rate",
]

# Containers hold the two halves of a time base in 32-bit signed integers.
MAX_INT32 = 2**31 - 1

# Denominator of a rate that is only an average: 24000/1001 and its like are kept.
COARSE = 1001

# Ticks a second, about, of a time base that cannot count all in whole numbers.
FINE = 10_000_000

# More than any camera takes; what is beyond is a slip of the keyboard that would fill the disk.
MAX_RATE = 10_000

# Bounded digits: Fraction("1e999999999") would fill the memory before anyone could refuse it.
RATIO = re.compile(r"\d{1,9}(\.\d{1,9})?(/\d{1,9})?")


def parse_ratio(text: str) -> Fraction:
    """Read a positive number: `4`, `2.5`, `30000/1001`.

    Decimals are taken as written: 23.976 is 2997/125, not 24000/1001.

    Raises:
        ValueError: not such a number, or not positive.
    """
    if not RATIO.fullmatch(text.strip()):
        raise ValueError(f"expected a positive number such as 4, 2.5 or 30000/1001; got {text!r}")
    above, _, below = text.strip().partition("/")
    if not Fraction(above) or (below and not int(below)):
        raise ValueError(f"expected a number above zero; got {text!r}")
    return Fraction(above) / int(below or 1)


def parse_rate(text: str) -> Fraction:
    """Read frames a second as people write them: 23.976, 23.98, 29.97, 59.94 are NTSC's 24000/1001,
    30000/1001, 60000/1001, rounded or cut, and so are 11.988, 14.985, 47.952, 119.88 and their like. All else
    is as written.

    Raises:
        ValueError: as `parse_ratio`.
    """
    rate = parse_ratio(text)
    digits = len(text.strip().partition(".")[2])
    whole = round(rate * 1001 / 1000)
    if digits < 2 or "/" in text or (whole % 12 and whole % 15):
        return rate
    exact = whole * Fraction(1000, 1001)
    return exact if -1 <= 2 * (exact - rate) * 10**digits < 2 else rate


def between(start: Fraction, stop: Fraction, fps: Fraction) -> Iterator[tuple[int, Fraction]]:
    """Output frames shown while one source frame is: start <= k / fps < stop.

    Consecutive intervals share no frame and leave none out, whatever their lengths.

    Args:
        start: time of this source frame, in seconds.
        stop: time of the next one, or the end of the clip.
        fps: output frames a second.

    Yields:
        (k, t): the frame's number and its timestep (k / fps - start) / (stop - start) in [0, 1); t is 0
            exactly where the output time is the source frame's own.
    """
    for k in range(ceil(start * fps), ceil(stop * fps)):
        yield k, (k / fps - start) / (stop - start)


def frame_count(end: Fraction, fps: Fraction) -> int:
    """Number of output frames of a clip that lasts `end` seconds: those with k / fps < end."""
    return ceil(end * fps)


def snap(time: Fraction, rate: Fraction, tick: Fraction) -> Fraction:
    """Undo a container's rounding: the multiple of 1 / rate that `time` stands for, if there is one.

    Matroska counts in milliseconds, so frame 1 at 30000/1001 is stamped 33 ms instead of 33.3667. A time less
    than one tick from a multiple of the frame interval is that multiple: the stamp and the first frame's each
    round by half a tick at most. Ticks too coarse to tell neighbours apart are left alone, and so are frames
    of a variable rate that lie elsewhere.

    Args:
        time: seconds since the first frame, as stamped.
        rate: the source's nominal rate, frames a second.
        tick: the container's time base, in seconds.
    """
    exact = round(time * rate) / rate
    return exact if tick * rate <= Fraction(1, 4) and abs(time - exact) < tick else time


class Forward:
    """Makes times that go back go on instead, as those of recordings that were put one after the other do.

    What is at or after the time before stays as it is: a single stamp that is wrong does not move the others.
    """

    def __init__(self) -> None:
        self._before: Fraction | None = None
        self._shift = Fraction(0)

    def __call__(self, time: Fraction, interval: Fraction) -> Fraction:
        """What a time becomes: itself, or where times went back what it is after the last one before that,
        which `interval` follows.
        """
        before = self._before
        if before is None or time >= before:
            self._shift = Fraction(0)
        elif time + self._shift <= before:
            self._shift = before + interval - time
        self._before = time + self._shift
        return self._before


def source_rate(
    average: Fraction | None, base: Fraction | None, duration: Fraction | None
) -> Fraction | None:
    """The nominal rate of a source, frames a second, from the two that containers give; None if unknown.

    `average` counts frames over a duration that may be cut or rounded by a frame; `base` is the finest rate
    that fits all time stamps, which is the true one at a constant rate and far too high at a variable one;
    where frames may be fields, it counts these. So: `base` where the two differ by one frame over the clip at
    most, and a clip is longer than that frame. An average of uneven times is some
    number of digits that no time base has room for; what it is rounded to nobody can tell from it.
    """
    if not average or not base:
        return average or base or None
    if duration and base < 2 * average and abs(base - average) * duration <= 1:
        return base
    return average.limit_denominator(COARSE)


def ntsc_rate(rate: Fraction) -> Fraction:
    """The multiple of 1000 / 1001 that a rate read from whole nanoseconds stands for, or the rate itself.

    Matroska keeps the length of a frame in nanoseconds: 60000/1001 comes back as 59.94, which is 4 ms off
    after an hour.
    """
    exact = round(rate * 1001 / 1000) * Fraction(1000, 1001)
    return exact if abs(rate - exact) < rate / 200_000 else rate


def common_tick(first: Fraction, fps: Fraction, step: Fraction | None = None) -> Fraction:
    """The largest time base, in seconds, in which both the first frame's time and `step` are whole numbers.

    `step` is 1 / fps where it is not given. The first frame of a file need not be at zero, and sound keeps
    its stamps: so the pictures keep theirs. Where no time base has room for both, the first frame's
    time is rounded to one that counts `step` and about the ten-millionth of a second.

    Raises:
        ValueError: the rate is absurd, or does not fit the 32-bit time base of a container.
    """
    if fps > MAX_RATE:
        raise ValueError(f"{float(fps):g} frames a second is more than {MAX_RATE}")
    step = step or 1 / fps
    tick = Fraction(1, lcm(step.denominator, first.denominator)) if first else step
    if first and tick.denominator > MAX_INT32 >= step.denominator:
        tick = Fraction(1, step.denominator * max(1, FINE // step.denominator))
    if max(tick.numerator, tick.denominator) > MAX_INT32:
        raise ValueError(f"{fps} frames a second (first frame at {first} s) does not fit a 32-bit time base")
    return tick
