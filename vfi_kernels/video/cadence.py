"""Repeated frames become one that lasts, and the pictures of a pulldown are spread evenly: pure, and exact.

Film at 24 pictures a second, shown 30 times (A A B C D) or 60 times a second (A A A B B), repeats frames in a
cycle of five. Each picture is there for as many whole frames as come closest to an even share: repeats made
one, they would still go at two speeds in turns. Cartoons drawn on twos and threes have no such cycle, and
keep their own times.

What becomes of a frame depends on those near it alone, `BEFORE` earlier ones and some later ones: a stream
that is begun at another place has the same times.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

__all__ = ["BEFORE", "PARTS", "retimed"]

Item = TypeVar("Item")

# The longest run of equal frames that is made one. Cartoons draw every second to fourth; a longer one is a
# still, which passes whole: else a hold of seconds before a movement would become a slow crawl into it.
RUN = 4

# Frames of a pulldown's cycle, and of the three that have to be alike before it counts as steady.
CYCLE = 5
STEADY = 3 * CYCLE

# A frame's time is that of the source, or so many parts of an interval earlier: 2, 3 or 4 pictures a cycle.
PARTS = 12

# Frames that have to be seen before one for its time to be what it is in the whole stream.
BEFORE = STEADY - 1 + RUN


@dataclass
class _Seen(Generic[Item]):
    """A frame of the source."""

    item: Item | None  # None: it repeats the one before
    time: Fraction
    before: Fraction  # the time of the one before, its own where there is none
    early: Fraction = Fraction(0)  # how much of the interval since then it is moved


def retimed(
    frames: Iterable[tuple[Item, Fraction]], same: Callable[[Item, Item], bool]
) -> Iterator[tuple[Item, Fraction]]:
    """Frames with their times, without repeats, at even distances where the repeats come in a steady cycle.

    Times rise as they did, and no frame moves by a whole interval; the first keeps its time. At most
    `STEADY` + `RUN` frames wait here.

    Args:
        frames: of the source, with rising times.
        same: whether the second shows what the first does.
    """
    near: deque[_Seen[Item]] = deque()
    for seen in _marked(frames, same):
        near.append(seen)
        if len(near) == STEADY:
            for frame, early in zip(near, _early([frame.item is None for frame in near]), strict=False):
                frame.early = early
            yield from _placed(near.popleft())
    while near:  # nor is one kept that has been given away
        yield from _placed(near.popleft())


def _placed(frame: _Seen[Item]) -> Iterator[tuple[Item, Fraction]]:
    if frame.item is not None:
        yield frame.item, frame.time - frame.early * (frame.time - frame.before)


def _early(repeats: Sequence[bool]) -> list[Fraction]:
    """How much earlier each of `STEADY` frames belongs, in intervals; empty where they have no cycle.

    Pictures that are evenly spread, and shown from the next whole frame on, are late by less than a frame.
    """
    starts = [number for number in range(CYCLE) if not repeats[number]]
    if repeats[CYCLE:] != repeats[:-CYCLE] or len(starts) < 2:
        return []
    late = [number - Fraction(CYCLE * k, len(starts)) for k, number in enumerate(starts)]
    late = [each - min(late) for each in late]
    if max(late) >= 1:
        return []
    by_place = dict(zip(starts, late, strict=True))
    return [by_place.get(number % CYCLE, Fraction(0)) for number in range(STEADY)]


def _marked(
    frames: Iterable[tuple[Item, Fraction]], same: Callable[[Item, Item], bool]
) -> Iterator[_Seen[Item]]:
    """Every frame, without its picture where it repeats."""
    run: list[_Seen[Item]] = []
    last, before, still = None, None, False
    for item, time in frames:
        if last is not None and not same(last, item):
            yield from _made_one(run, same)
            run, still = [], False
        run.append(_Seen(item, time, time if before is None else before))
        last, before = item, time
        if still or len(run) > RUN:
            still = True
            yield from run
            run = []
    yield from _made_one(run, same)


def _made_one(run: list[_Seen[Item]], same: Callable[[Item, Item], bool]) -> list[_Seen[Item]]:
    """A run whose first frame stands for all, unless they drift away from it bit by bit: a slow fade."""
    if all(same(run[0].item, frame.item) for frame in run[2:]):
        for frame in run[1:]:
            frame.item = None
    return run
