"""Cuts and repeats, on clips that are made to be mistaken for them, and on real ones."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
cv2 = pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import SHARED, frames_of

from vfi_kernels.video import scenes

SIZE = (160, 120)


def shot(seed: int, size: tuple[int, int] = SIZE, base: int = 128) -> np.ndarray:
    """A picture of its own colours and shapes, three times as wide as `size`, [H, W, 3] uint8."""
    rng = np.random.default_rng(seed)
    width, height = size
    image = np.full((height, 3 * width, 3), rng.integers(base - 60, base + 60, 3), np.uint8)
    for _ in range(60):
        centre = tuple(int(v) for v in rng.integers(0, (3 * width, height)))
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.circle(image, centre, int(rng.integers(height // 16, height // 5)), colour, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(image, (0, 0), 1)


def pan(seed: int, count: int, speed: float, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    image = shot(seed, size)
    return [image[:, int(k * speed) :][:, : size[0]] for k in range(count)]


def dimmed(images: list[np.ndarray], shares: np.ndarray) -> list[np.ndarray]:
    return [
        (image * share).clip(0, 255).round().astype(np.uint8)
        for image, share in zip(images, shares, strict=True)
    ]


def with_noise(images: list[np.ndarray], sigma: float) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [(i + rng.normal(0, sigma, i.shape)).clip(0, 255).astype(np.uint8) for i in images]


def cuts_of(images: list[np.ndarray], threshold: float = scenes.THRESHOLD) -> list[int]:
    """Numbers of the frames with which a shot begins."""
    detect = scenes.CutDetector(threshold)
    return [k for k, image in enumerate(images) if detect(scenes.thumbnail(image))]


A, B, C = pan(1, 12, 2), pan(2, 12, 3), pan(3, 12, 1)
FADE = np.linspace(1, 0, 16)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (A + B, [12]),
        (A + B + C, [12, 24]),
        (A + B[:1] + C, [12, 13]),  # a shot of a single frame
        (with_noise(A + B, 8), [12]),
        (dimmed(A + B, np.full(24, 0.2)), [12]),
        ([np.zeros_like(A[0])] * 5 + B, [5]),  # from black, at once
        ([np.stack([i.mean(2)] * 3, 2).astype(np.uint8) for i in A + B], [12]),  # gray
    ],
    ids=["hard", "two", "single", "noisy", "dark", "black", "gray"],
)
def test_cuts(images: list[np.ndarray], expected: list[int]) -> None:
    assert cuts_of(images) == expected


@pytest.mark.parametrize(
    "images",
    [
        [A[0]] * 12,
        pan(1, 12, 12),  # 7.5 % of the width a frame
        pan(4, 16, 16),  # 10 %
        dimmed(A[:1] * 16, FADE) + dimmed(B[:1] * 16, FADE[::-1]),
        [cv2.addWeighted(A[0], 1 - t, B[0], t, 0) for t in np.linspace(0, 1, 16)],
        dimmed(A, np.where(np.arange(12) == 6, 1.5, 1)),  # a flash
        with_noise(A, 25),
        with_noise([np.full_like(A[0], 127)] * 12, 60),
        with_noise([np.full_like(A[0], 16)] * 12, 4),
        list(np.random.default_rng(3).integers(0, 256, (12, 120, 160, 3), np.uint8)),
        [np.full_like(A[0], v) for v in range(255, 0, -15)],  # one colour, fading
        [cv2.warpAffine(A[0], cv2.getRotationMatrix2D((80, 60), 3 * k, 1 + k / 50), SIZE) for k in range(12)],
    ],
    ids=[
        "still",
        "fast pan",
        "faster pan",
        "fade through black",
        "dissolve",
        "flash",
        "noisy",
        "gray noise",
        "black noise",
        "white noise",
        "flat fade",
        "turn and zoom",
    ],
)
def test_no_cuts(images: list[np.ndarray]) -> None:
    assert cuts_of(images) == []


def test_flash_to_white_is_not_more_than_two() -> None:
    """Nothing of the shot is left in it: held before and after."""
    assert len(cuts_of([*A[:6], np.full_like(A[0], 255), *A[6:]])) <= 2


def test_slide_show_is_all_cuts() -> None:
    assert cuts_of([pan(seed, 1, 0)[0] for seed in range(1, 20)]) == list(range(1, 19))


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.01] * 10 + [0.35] + [0.01] * 3, [11]),
        ([0.29] * 10 + [0.35] + [0.29] * 3, []),  # no more than what goes on
        ([0.29] * 10 + [0.6] + [0.29] * 3, [11]),
        ([0.01] * 9 + [0.4] * 12, list(range(10, 18))),  # a whip pan: at first, then not
        ([0.6] * 12, list(range(1, 13))),
    ],
)
def test_truth_table(scores: list[float], expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    row = iter(scores)
    monkeypatch.setattr(scenes, "distance", lambda a, b: next(row))
    detect = scenes.CutDetector(0.3)
    assert [k for k in range(len(scores) + 1) if detect(np.zeros(0))] == expected


def test_threshold_orders() -> None:
    images = A + B
    assert cuts_of(images, 1.0) == []
    found = [set(cuts_of(images, t)) for t in (0.9, 0.5, 0.2, 0.05)]
    assert all(few <= many for few, many in pairwise(found))
    for bad in (0, -1, 1.5):
        with pytest.raises(ValueError, match="scene_threshold must be above 0"):
            scenes.CutDetector(bad)


@pytest.mark.parametrize("size", [(1, 1), (33, 1), (1, 33), (35, 17), (640, 360)])
def test_sizes_and_depths(size: tuple[int, int]) -> None:
    width, height = size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    thumb = scenes.thumbnail(image)
    assert thumb.shape == (32, 48, 3)
    assert thumb.min() >= 0
    assert thumb.max() <= 1
    np.testing.assert_allclose(scenes.thumbnail(image.astype(np.uint16) * 257), thumb, atol=1e-6)
    assert scenes.repeats(image, image)
    assert scenes.repeats(image.astype(np.uint16) * 257, image.astype(np.uint16) * 257)
    assert not scenes.repeats(image, 255 - image)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_distance(seed: int, other: int) -> None:
    a, b = (np.random.default_rng(s).random((32, 48, 3), np.float32) for s in (seed, other))
    assert scenes.distance(a, a) < 1e-3
    assert 0 <= scenes.distance(a, b) <= 1
    assert scenes.distance(a, b) == pytest.approx(scenes.distance(b, a), abs=1e-5)


def mouth(image: np.ndarray) -> np.ndarray:
    moved = image.copy()
    moved[60:68, 80:92] = moved[60:68, 80:92][::-1, ::-1] // 2
    return moved


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda i: i, True),
        (lambda i: with_noise([i], 1.0)[0], True),  # as of an encoder
        (mouth, False),
        (lambda i: np.roll(i, 1, 1), False),
        (lambda i: (i * 0.9).astype(np.uint8), False),
    ],
    ids=["same", "coded", "mouth", "pixel", "fade"],
)
def test_repeats(change: Callable[[np.ndarray], np.ndarray], same: bool, deep: bool) -> None:
    pair = [A[0], change(A[0])]
    if deep:
        pair = [image.astype(np.uint16) * 257 for image in pair]
    assert scenes.repeats(*pair) is same


@pytest.mark.parametrize("name", ["bigbuckbunny.mp4", "carphone.mp4"])
def test_real_clips(name: str) -> None:
    """No cut in a shot, even at four times the speed; one where another clip follows."""
    paths = [SHARED / "clips" / n for n in (name, "carphone.mp4", "bigbuckbunny.mp4")]
    if not all(path.is_file() for path in paths):
        pytest.skip("the clips are not part of the project")
    images = thumbs(paths[0])
    other = thumbs(paths[1] if paths[1] != paths[0] else paths[2])

    def cuts(row: list[np.ndarray]) -> list[int]:
        detect = scenes.CutDetector()
        return [k for k, thumb in enumerate(row) if detect(thumb)]

    assert cuts(images) == []
    assert cuts(images[::4]) == []
    assert cuts(images[:40] + other[:10]) == [40]
    assert cuts([*images[:40:4], *other[:40:4]]) == [10]


def thumbs(path: Path) -> list[np.ndarray]:
    return [scenes.thumbnail(frame.to_ndarray(format="rgb24")) for frame in frames_of(path)]
