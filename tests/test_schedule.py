"""Which output frames there are: truth tables first, then what holds for any times, rates and stretches."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")

from vfi_kernels.video.schedule import (
    ConstantRate,
    NoRateError,
    OwnTimes,
    Slot,
    Span,
    schedule_for,
)

F = Fraction
MS = F(1, 1000)
NTSC = F(30000, 1001)

rates = st.one_of(
    st.integers(1, 240).map(F),
    st.integers(1, 240).map(lambda n: F(n * 1000, 1001)),
    st.fractions(F(1, 3), 300, max_denominator=2000),
)
stretches = st.one_of(st.just(F(1)), st.integers(2, 8).map(F), st.fractions(F(1, 4), 10, max_denominator=50))
# Milliseconds of source frames and of the end; frames may share a time.
stamps = st.lists(st.integers(0, 500), min_size=1, max_size=30).map(
    lambda gaps: [F(sum(gaps[:k]), 1000) for k in range(len(gaps) + 1)]
)


def spans_of(times: list[Fraction], cuts: frozenset[int] = frozenset()) -> Iterator[Span]:
    """A clip that ends at the last of `times`, with cuts after the frames in `cuts`."""
    last = len(times) - 2
    for i, (start, stop) in enumerate(pairwise(times)):
        yield Span(i, start, stop, i == last or i in cuts)


def slots_of(schedule: ConstantRate | OwnTimes, times: list[Fraction], cuts: frozenset[int] = frozenset()):
    return [slot for span in spans_of(times, cuts) for slot in schedule.slots(span)]


def test_truth_table_constant_rate() -> None:
    # 20 -> 30 a second, a cut after frame 1; the last frame is on for 50 ms and held
    times = [k * 50 * MS for k in range(5)]
    third = F(1, 30)
    assert slots_of(ConstantRate(F(30)), times, frozenset({1})) == [
        Slot(0 * third, third, 0, F(0), False),
        Slot(1 * third, third, 0, F(2, 3), False),
        Slot(2 * third, third, 1, F(1, 3), True),
        Slot(3 * third, third, 2, F(0), False),
        Slot(4 * third, third, 2, F(2, 3), False),
        Slot(5 * third, third, 3, F(1, 3), True),
    ]


def test_truth_table_slow_motion() -> None:
    # 2.5 times slower at the same rate: originals at 0 and 100 ms of the output
    slots = slots_of(ConstantRate(F(25), F(5, 2)), [F(0), 40 * MS, 80 * MS])
    assert [(s.time / MS, s.left, s.timestep, s.original) for s in slots] == [
        (0, 0, F(0), True),
        (40, 0, F(2, 5), False),
        (80, 0, F(4, 5), False),
        (120, 1, F(1, 5), True),
        (160, 1, F(3, 5), True),
    ]


def test_truth_table_own_times() -> None:
    schedule = OwnTimes(3, MS, F(60))
    slots = slots_of(schedule, [F(0), 30 * MS, 130 * MS, 200 * MS, 250 * MS], frozenset({1}))
    assert [(s.time / MS, s.length / MS, s.left, s.timestep, s.held) for s in slots] == [
        (0, 10, 0, F(0), False),
        (10, 10, 0, F(1, 3), False),
        (20, 10, 0, F(2, 3), False),
        (30, 100, 1, F(0), True),  # a cut follows: no repeats, one long frame
        (130, F(70, 3), 2, F(0), False),
        (130 + F(70, 3), F(70, 3), 2, F(1, 3), False),
        (130 + F(140, 3), F(70, 3), 2, F(2, 3), False),
        (200, 50, 3, F(0), True),
    ]


@settings(deadline=None)
@given(stamps, rates, stretches, st.frozensets(st.integers(0, 30)))
def test_constant_rate(times: list[Fraction], fps: Fraction, stretch: Fraction, cuts: frozenset[int]) -> None:
    schedule = ConstantRate(fps, stretch)
    slots = slots_of(schedule, times, cuts)
    assert [s.time for s in slots] == [k / fps for k in range(schedule.count(times[-1]))]
    for slot in slots:
        left, right = times[slot.left : slot.left + 2]
        assert left * stretch <= slot.time < right * stretch
        assert left * stretch + slot.timestep * (right - left) * stretch == slot.time
        assert slot.held == (slot.left in cuts or slot.left == len(times) - 2)
        assert slot.original or slot.timestep
    # the duration is the source's to within one output frame
    assert 0 <= sum(s.length for s in slots) - times[-1] * stretch < 1 / fps


@settings(deadline=None)
@given(stamps, rates, stretches)
def test_originals_on_an_output_time_pass(times: list[Fraction], fps: Fraction, stretch: Fraction) -> None:
    slots = slots_of(ConstantRate(fps, stretch), times)
    due = {i for i, (a, b) in enumerate(pairwise(times)) if b > a and (a * stretch * fps).denominator == 1}
    assert {s.left for s in slots if s.timestep == 0} == due


@settings(deadline=None)
@given(stamps, st.integers(1, 8), stretches, st.frozensets(st.integers(0, 30)))
def test_own_times(times: list[Fraction], factor: int, stretch: Fraction, cuts: frozenset[int]) -> None:
    schedule = OwnTimes(factor, MS, F(60), stretch)
    slots = slots_of(schedule, times, cuts)
    for slot, after in pairwise(slots):
        assert slot.time + slot.length == after.time  # each lasts until the next, none is empty
        assert slot.length > 0
    for slot in slots:
        assert (slot.time / schedule.step).denominator == (slot.length / schedule.step).denominator == 1
    # every original that is on screen at all is there, at its own time
    assert [(s.left, s.time) for s in slots if s.timestep == 0] == [
        (i, a * stretch) for i, (a, b) in enumerate(pairwise(times)) if b > a
    ]
    for left, group in groupby(slots, key=lambda s: s.left):
        held = left in cuts or left == len(times) - 2
        assert [s.timestep for s in group] == ([F(0)] if held else [F(k, factor) for k in range(factor)])
    assert sum(s.length for s in slots) == times[-1] * stretch


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        ({}, ConstantRate(F(50))),
        ({"factor": F(5, 2)}, ConstantRate(F(125, 2))),
        ({"fps": NTSC}, ConstantRate(NTSC)),
        ({"stretch": 4}, ConstantRate(F(25), F(4))),
        ({"stretch": 4, "factor": 2}, ConstantRate(F(50), F(4))),
        ({"stretch": 4, "fps": 60}, ConstantRate(F(60), F(4))),
        ({"vfr": True}, OwnTimes(2, MS, F(50))),
        ({"vfr": True, "factor": F(3)}, OwnTimes(3, MS, F(75))),
        ({"vfr": True, "stretch": F(5, 2)}, OwnTimes(3, MS, F(30), F(5, 2))),
    ],
)
def test_wishes(wishes: dict[str, object], expected: object) -> None:
    assert schedule_for(F(25), MS, **wishes) == expected


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"factor": 2, "fps": 50}, "got both"),
        ({"factor": 0}, "factor must be positive; got 0"),
        ({"fps": -1}, "fps must be positive; got -1"),
        ({"stretch": 0}, "slow_motion must be positive; got 0"),
        ({"vfr": True, "fps": 50}, "keeps the times of the source"),
        ({"vfr": True, "factor": F(5, 2)}, "must be whole; got 5/2"),
    ],
)
def test_wishes_that_cannot_be(wishes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule_for(F(25), MS, **wishes)


def test_no_rate() -> None:
    with pytest.raises(NoRateError):
        schedule_for(None, MS)
    assert schedule_for(None, MS, fps=60) == ConstantRate(F(60))
    assert schedule_for(None, MS, vfr=True).step == MS / 2
