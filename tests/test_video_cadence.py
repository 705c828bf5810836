"""Repeats made one and pulldowns made even: truth tables, then what holds for any stream."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")

from vfi_kernels.video.cadence import BEFORE, PARTS, RUN, STEADY, retimed

F = Fraction

# How many frames each picture is shown for.
lengths = st.one_of(
    st.lists(st.integers(1, 8), max_size=30),
    st.lists(st.integers(2, 3), max_size=30),
    st.tuples(st.sampled_from([[2, 1, 1, 1], [2, 3], [1, 2, 2]]), st.integers(1, 8)).map(
        lambda c: c[0] * c[1]
    ),
)
streams = st.lists(lengths, min_size=1, max_size=3).map(lambda parts: [n for part in parts for n in part])
gaps = st.lists(st.integers(1, 100), min_size=1, max_size=7)


def frames_of(shown: list[int], gaps: list[int] | None = None) -> list[tuple[int, Fraction]]:
    """(picture, time) of every frame; the gaps between them in turns, one where there are none."""
    pictures = [k for k, count in enumerate(shown) for _ in range(count)]
    gaps = gaps or [1]
    return [(k, F(sum(gaps[n % len(gaps)] for n in range(i)))) for i, k in enumerate(pictures)]


def equal(a: int, b: int) -> bool:
    return a == b


def times_of(shown: list[int]) -> list[Fraction]:
    return [time for _, time in retimed(frames_of(shown), equal)]


def test_truth_table_pulldown() -> None:
    # 24 pictures a second shown 30 times, 60 times, and 18 shown 30 times: 5/4, 5/2, 5/3 frames each
    assert times_of([2, 1, 1, 1] * 4) == [F(5 * k, 4) for k in range(16)]
    assert times_of([3, 2] * 4) == [F(5 * k, 2) for k in range(8)]
    assert times_of([2, 2, 1] * 4) == [F(5 * k, 3) for k in range(12)]
    # cut in the middle of a cycle: the first is shown from zero on, all others at even distances
    assert times_of([1, 1, 2, 1] * 4) == [0, *(F(5 * k, 4) - F(1, 2) for k in range(1, 16))]


def test_truth_table_no_pulldown() -> None:
    for shown in (
        [2] * 10,
        [3] * 10,
        [2, 3, 2, 3, 3, 2, 3, 2, 2, 3, 2, 3],  # twos and threes as the artist liked
        [2, 1, 1, 1] * 2 + [1] * 9,  # no three cycles
        [3, 1, 1] * 5,  # a cycle, but not one that an even pace would give
        [1, 4] * 5,
    ):
        assert times_of(shown) == [sum(shown[:k]) for k in range(len(shown))]


def test_truth_table_runs() -> None:
    def kept(text: str) -> str:
        return "".join(item for item, _ in retimed(zip(text, map(F, range(99)), strict=False), str.__eq__))

    assert kept("aabbbbcddddd") == "abcddddd"  # a still passes whole, its end too
    assert kept("aaaaaaaaabb") == "aaaaaaaaab"
    assert kept("aabbaabb") == "abab"
    assert kept("") == ""


def test_a_pulldown_between_other_shots() -> None:
    shown = [1] * 9 + [3, 2] * 4 + [1] * 9
    expected = [*range(9), *(9 + F(5 * k, 2) for k in range(8)), *range(29, 38)]
    assert times_of(shown) == expected


@settings(deadline=None)
@given(streams, gaps)
def test_times(shown: list[int], gaps: list[int]) -> None:
    """They rise, no picture is moved by a whole frame, and nothing is read far ahead."""
    frames, taken = [((k, n), time) for n, (k, time) in enumerate(frames_of(shown, gaps))], 0

    def reading() -> Iterator[tuple[tuple[int, int], Fraction]]:
        nonlocal taken
        for frame in frames:
            taken += 1
            yield frame

    made = []
    for (k, number), time in retimed(reading(), lambda a, b: a[0] == b[0]):
        assert taken - number <= STEADY + RUN
        made.append((k, time))
        was = frames[number][1]
        assert time == was or frames[number - 1][1] < time < was
        assert (time * PARTS).denominator == 1
    assert [k for k, _ in made] == [k for k, n in enumerate(shown) for _ in range(1 if n <= RUN else n)]
    assert all(a < b for (_, a), (_, b) in pairwise(made))
    assert not made or made[0][1] == 0


@settings(deadline=None)
@given(streams, gaps, st.data())
def test_a_stream_begun_elsewhere_has_the_same_times(
    shown: list[int], gaps: list[int], data: st.DataObject
) -> None:
    frames = frames_of(shown, gaps)
    start = data.draw(st.integers(0, len(frames)))
    whole = list(retimed(frames, equal))
    later = retimed(frames[max(0, start - BEFORE) :], equal)
    if start < len(frames):
        border = frames[start][1]
        assert [f for f in later if f[1] >= border] == [f for f in whole if f[1] >= border]


@settings(deadline=None)
@given(st.sampled_from([[2, 1, 1, 1], [2, 3], [1, 2, 2]]), st.integers(3, 12), st.integers(0, 4))
def test_a_steady_cadence_is_even(cycle: list[int], count: int, first: int) -> None:
    """Wherever it is begun; and the whole lasts as long as before."""
    frames = frames_of(cycle * count)[first:]
    made = [time - first for _, time in retimed(((k, time) for k, time in frames), equal)]
    if len(frames) >= STEADY:
        distances = [b - a for a, b in pairwise(made)][1:]
        assert set(distances) == {F(5, len(cycle))}
    assert made[0] == 0
    assert F(5, len(cycle)) - 1 < len(frames) - made[-1] <= F(5, len(cycle)) + 1


def test_slow_fades_pass_whole() -> None:
    """Each frame is nearly the one before, and not nearly the first of a run."""
    frames = [(k, F(k)) for k in range(10)]
    assert list(retimed(frames, lambda a, b: b - a <= 2)) == frames
    assert list(retimed(frames[:4], lambda a, b: b - a <= 2)) == frames[:4]
