"""Which output frames there are, and which two source frames each lies between: pure, and in exact fractions.

A schedule, `ConstantRate` or `OwnTimes`, turns the `Span` of one source frame into the `Slot`s of the output
frames in it. A span is known as soon as the next source frame is, so nothing looks further ahead. Times are
seconds after the first source frame, as in `timing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from . import timing

__all__ = ["ConstantRate", "NoRateError", "OwnTimes", "Slot", "Span", "schedule_for"]


class NoRateError(ValueError):
    """A factor is asked of a source that states no rate."""


class Span(NamedTuple):
    """How long one source frame is the latest one, in the source's time."""

    left: int  # the source frame
    start: Fraction  # its time
    stop: Fraction  # the next one's, or the end of the clip
    held: bool  # nothing to be interpolated towards: a cut follows, or the end


class Slot(NamedTuple):
    """One output frame, in the output's time."""

    time: Fraction
    length: Fraction  # how long it is shown
    left: int  # the source frame at or before it
    timestep: Fraction  # from that one to the next, in [0, 1)
    held: bool  # shows that one whatever the timestep

    @property
    def original(self) -> bool:
        """Whether this is a source frame, untouched."""
        return self.held or self.timestep == 0


@dataclass(frozen=True)
class ConstantRate:
    """Output frame k at exactly k / fps, whatever the times of the source.

    Attributes:
        fps: output frames a second.
        stretch: output time over source time: 4 is four times slower.
    """

    fps: Fraction
    stretch: Fraction = Fraction(1)

    @property
    def step(self) -> Fraction:
        """Every time and length is a multiple of it."""
        return 1 / self.fps

    def slots(self, span: Span) -> Iterator[Slot]:
        """The output frames in a span, in order; spans that join leave none out and share none."""
        for k, timestep in timing.between(span.start * self.stretch, span.stop * self.stretch, self.fps):
            yield Slot(k / self.fps, 1 / self.fps, span.left, timestep, span.held)

    def count(self, end: Fraction) -> int:
        """Output frames of a source that lasts `end` seconds."""
        return timing.frame_count(end * self.stretch, self.fps)

    def at_most(self, end: Fraction, frames: int) -> int:
        """Output frames of a source of so many frames that lasts `end` seconds: these or fewer."""
        return self.count(end)


@dataclass(frozen=True)
class OwnTimes:
    """A variable rate: source frames keep their own times, and factor - 1 frames lie evenly between two.

    A held frame is not repeated, it lasts longer.

    Attributes:
        factor: intervals that each one of the source becomes.
        tick: what the source counts its times in, seconds.
        fps: a nominal rate, for encoders that ask.
        stretch: output time over source time.
    """

    factor: int
    tick: Fraction
    fps: Fraction
    stretch: Fraction = Fraction(1)

    @property
    def step(self) -> Fraction:
        """Every time and length is a multiple of it, as far as the source's times are of `tick`."""
        return self.tick * self.stretch / self.factor

    def slots(self, span: Span) -> Iterator[Slot]:
        """The output frames in a span, in order. None where it is empty: two frames of one time are one."""
        parts = 1 if span.held else self.factor
        length = (span.stop - span.start) * self.stretch / parts
        for k in range(parts if length else 0):
            time = span.start * self.stretch + k * length
            yield Slot(time, length, span.left, Fraction(k, parts), span.held)

    def at_most(self, end: Fraction, frames: int) -> int:
        """As of `ConstantRate`. The last frame, and those before a cut, become one."""
        return max(0, frames - 1) * self.factor + (frames > 0)


def schedule_for(
    rate: Fraction | None,
    tick: Fraction,
    *,
    factor: Fraction | int | None = None,
    fps: Fraction | int | None = None,
    stretch: Fraction | int = 1,
    vfr: bool = False,
) -> ConstantRate | OwnTimes:
    """The schedule that the user's wishes amount to, for a source of nominal rate `rate`, times in `tick`s.

    Where neither `factor` nor `fps` is given: twice the rate; in slow motion the source's rate, or with `vfr`
    at least that.

    Raises:
        ValueError: the wishes contradict each other or are not positive.
        NoRateError: they need the source's rate, and it has none.
    """
    for name, value in (("factor", factor), ("fps", fps), ("slow_motion", stretch)):
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be positive; got {value}")
    if factor is not None and fps is not None:
        raise ValueError("expected factor or fps; got both")
    stretch = Fraction(stretch)
    if vfr:
        if fps is not None:
            raise ValueError("vfr keeps the times of the source: expected factor; got fps")
        factor = Fraction(2 if stretch == 1 else ceil(stretch)) if factor is None else Fraction(factor)
        if factor.denominator != 1:
            raise ValueError(f"vfr puts whole frames between two: factor must be whole; got {factor}")
        nominal = (rate or Fraction(25)) * factor / stretch
        return OwnTimes(factor.numerator, tick, nominal, stretch)
    if fps is None:
        if rate is None:
            raise NoRateError("the source states no frame rate: expected fps")
        fps = rate * ((2 if stretch == 1 else 1) if factor is None else factor)
    return ConstantRate(Fraction(fps), stretch)
