"""Exact rational timing: truth tables first, then properties that hold for any rates and stamps."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from math import lcm

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")

from vfi_kernels.video import timing

F = Fraction
NTSC = F(30000, 1001)

rates = st.one_of(
    st.integers(1, 240).map(F),
    st.integers(1, 240).map(lambda n: F(n * 1000, 1001)),
    st.fractions(F(1, 3), 300, max_denominator=2000),
)
stamps = st.lists(st.integers(1, 500), min_size=1, max_size=30).map(
    lambda gaps: [F(sum(gaps[:k]), 1000) for k in range(len(gaps) + 1)]
)


def schedule(times: list[Fraction], fps: Fraction) -> list[tuple[int, int, Fraction]]:
    """(output frame, source frame, timestep) over a clip that ends at the last of `times`."""
    return [(k, i, t) for i, (a, b) in enumerate(pairwise(times)) for k, t in timing.between(a, b, fps)]


def test_truth_table() -> None:
    # 25 -> 60: three source frames, 0.12 s, are 7.2 intervals: frames 0 to 7
    assert schedule([F(0), F(1, 25), F(2, 25), F(3, 25)], F(60)) == [
        (0, 0, F(0)),
        (1, 0, F(5, 12)),
        (2, 0, F(5, 6)),
        (3, 1, F(1, 4)),
        (4, 1, F(2, 3)),
        (5, 2, F(1, 12)),
        (6, 2, F(1, 2)),
        (7, 2, F(11, 12)),
    ]
    # a variable rate: the second frame lasts four times as long
    assert schedule([F(0), F(1, 10), F(5, 10)], F(10)) == [
        (0, 0, F(0)),
        (1, 1, F(0)),
        (2, 1, F(1, 4)),
        (3, 1, F(1, 2)),
        (4, 1, F(3, 4)),
    ]


@settings(deadline=None)
@given(stamps, rates)
def test_every_output_frame_once_and_where_it_belongs(times: list[Fraction], fps: Fraction) -> None:
    slots = schedule(times, fps)
    assert [k for k, _, _ in slots] == list(range(timing.frame_count(times[-1], fps)))
    for k, i, t in slots:
        assert 0 <= t < 1
        assert times[i] + t * (times[i + 1] - times[i]) == k / fps


@settings(deadline=None)
@given(stamps, rates)
def test_duration_to_within_one_frame(times: list[Fraction], fps: Fraction) -> None:
    assert 0 <= timing.frame_count(times[-1], fps) / fps - times[-1] < 1 / fps


@settings(deadline=None)
@given(st.integers(1, 200), rates, st.integers(1, 16))
def test_whole_factors_multiply_and_keep_originals(count: int, rate: Fraction, factor: int) -> None:
    slots = schedule([k / rate for k in range(count + 1)], rate * factor)
    assert len(slots) == count * factor
    assert [(k, i) for k, i, t in slots if t == 0] == [(i * factor, i) for i in range(count)]


@settings(deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([F(24000, 1001), F(25), NTSC, F(50), F(60000, 1001), F(120)]),
    st.integers(0, 99),
)
def test_snap_undoes_milliseconds(number: int, rate: Fraction, first: int) -> None:
    tick = F(1, 1000)
    start = first / rate

    def stamp(time: Fraction) -> Fraction:
        return round(time / tick) * tick

    stamped = stamp(start + number / rate) - stamp(start)
    if (
        abs(stamped - number / rate) < tick
    ):  # both rounded by half a tick, in opposite directions: rare, and left alone
        assert timing.snap(stamped, rate, tick) == number / rate


def test_snap_leaves_what_is_not_rounding() -> None:
    assert timing.snap(F(50, 1000), F(25), F(1, 1000)) == F(50, 1000)  # between two frames of 25 a second
    assert timing.snap(F(1, 25), NTSC, F(1, 25)) == F(1, 25)  # ticks as long as frames


@pytest.mark.parametrize(
    ("average", "base", "duration", "expected"),
    [
        (NTSC, NTSC, F(4), NTSC),
        (
            F(1000, 39),
            F(25),
            F(39, 25),
            F(25),
        ),  # the last frame's duration is missing: 40 frames in 39 intervals
        (F(350, 27), F(50), F(54, 100), F(350, 27)),  # variable: base counts ticks, not frames
        (F(24), F(48), None, F(24)),  # base counts fields
        (F(25), F(50), F(1, 25), F(25)),  # a single frame
        (None, F(25), None, F(25)),
        (None, None, None, None),
    ],
)
def test_source_rate(average: object, base: object, duration: object, expected: object) -> None:
    assert timing.source_rate(average, base, duration) == expected


@pytest.mark.parametrize("n", [24, 30, 48, 60, 120, 240])
def test_ntsc_rate_from_nanoseconds(n: int) -> None:
    exact = F(n * 1000, 1001)
    assert timing.ntsc_rate(F(10**9, round(10**9 / exact))) == exact
    assert timing.ntsc_rate(F(n)) == n


@settings(deadline=None)
@given(st.fractions(0, 100, max_denominator=90000), rates)
def test_common_tick_divides_both(first: Fraction, fps: Fraction) -> None:
    assume(lcm(first.denominator, fps.numerator) < 2**31)  # more is refused, below
    tick = timing.common_tick(first, fps)
    assert (first / tick).denominator == 1
    assert (1 / fps / tick).denominator == 1
    assert timing.common_tick(F(0), fps) == 1 / fps


def test_common_tick_that_no_container_holds() -> None:
    """The rate is kept, and the first frame's time to a ten-millionth of a second."""
    tick = timing.common_tick(F(1, 90001), F(119993, 1001))
    assert (F(1001, 119993) / tick).denominator == 1
    assert tick <= F(1, 9_000_000)
    assert tick.denominator < 2**31
    with pytest.raises(ValueError, match="32-bit time base"):
        timing.common_tick(F(0), F(2**31, 2**29 + 1))
    with pytest.raises(ValueError, match="10001 frames a second is more than 10000"):
        timing.common_tick(F(0), F(10001))


@pytest.mark.parametrize(
    ("text", "value"), [("4", F(4)), ("2.5", F(5, 2)), ("30000/1001", NTSC), ("23.976", F(2997, 125))]
)
def test_parse_ratio(text: str, value: Fraction) -> None:
    assert timing.parse_ratio(text) == value


@pytest.mark.parametrize(
    "text", ["", "0", "-2", "0/5", "3/0", "nan", "inf", "1e999999999", "4x", "9" * 40, "1/2/3", "0.0"]
)
def test_parse_ratio_errors(text: str) -> None:
    with pytest.raises(ValueError, match="expected a"):
        timing.parse_ratio(text)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=30))
def test_forward(stamps: list[int]) -> None:
    forward = timing.Forward()
    times = [forward(F(stamp), F(1)) for stamp in stamps]
    assert times == sorted(times)
    # what does not go back is as it was
    highest = -1
    for stamp, time in zip(stamps, times, strict=True):
        assert time == stamp if stamp >= highest else time > highest
        highest = time


def test_forward_truth_table() -> None:
    def went(*stamps: int) -> list[int]:
        forward = timing.Forward()
        return [int(forward(F(stamp), F(2))) for stamp in stamps]

    assert went(0, 2, 4, 0, 2, 4, 6) == [0, 2, 4, 6, 8, 10, 12]  # begins again
    assert went(0, 2, 1, 6, 8) == [0, 2, 4, 6, 8]  # one is wrong
    assert went(0, 2, 2, 4) == [0, 2, 2, 4]  # two of one time stay so


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("23.976", F(24000, 1001)),
        ("23.98", F(24000, 1001)),
        ("23.97", F(24000, 1001)),
        ("29.97", NTSC),
        ("59.94", F(60000, 1001)),
        ("47.952", F(48000, 1001)),
        ("119.88", F(120000, 1001)),
        ("14.985", F(15000, 1001)),
        ("11.988", F(12000, 1001)),
        ("239.76", F(240000, 1001)),
        ("23.976024", F(24000, 1001)),
        (" 29.970 ", NTSC),
        # as written
        ("30000/1001", NTSC),
        ("24", F(24)),
        ("24.00", F(24)),
        ("23.9", F(239, 10)),
        ("23.95", F(479, 20)),
        ("23.977", F(23977, 1000)),
        ("24.975", F(999, 40)),
        ("12.5", F(25, 2)),
        ("59.95", F(1199, 20)),
        ("59.940/2", F(2997, 100)),
        ("0.01", F(1, 100)),
    ],
)
def test_rates_as_people_write_them(text: str, rate: Fraction) -> None:
    assert timing.parse_rate(text) == rate
