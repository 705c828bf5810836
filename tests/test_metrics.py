"""PSNR, SSIM and the comparison of two files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="SSIM needs OpenCV")

from clips import make_clip, picture

from vfi_kernels.video import Score, VideoError, compare, mean_score, psnr, rgb_frames, ssim


def test_psnr_truth_table() -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    assert psnr(black, black) == math.inf
    assert psnr(black, black + 255) == pytest.approx(0)
    assert psnr(black, black + 1) == pytest.approx(48.1308, abs=1e-4)  # 20 log10(255)


def test_ssim_truth_table() -> None:
    black = np.zeros((8, 9, 3), np.uint8)
    assert ssim(picture(0), picture(0)) == pytest.approx(1, abs=1e-6)
    # flat images: only the luminance term, c1 / (255^2 + c1)
    assert ssim(black, black + 255) == pytest.approx(6.5025 / (255**2 + 6.5025), rel=1e-4)


def test_ssim_matches_its_definition() -> None:
    a, b = picture(0, 20, 16), picture(0.7, 20, 16)
    c1, c2 = 6.5025, 58.5225
    values = []
    for channel in range(3):
        for y in range(16 - 6):
            for x in range(20 - 6):
                p, q = (image[y : y + 7, x : x + 7, channel].astype(float).ravel() for image in (a, b))
                v = np.cov(p, q)
                top = (2 * p.mean() * q.mean() + c1) * (2 * v[0, 1] + c2)
                values.append(top / ((p.mean() ** 2 + q.mean() ** 2 + c1) * (v[0, 0] + v[1, 1] + c2)))
    assert ssim(a, b) == pytest.approx(np.mean(values), abs=1e-5)
    with pytest.raises(VideoError, match="at least 7x7; got 6x8"):
        ssim(np.zeros((8, 6, 3), np.uint8), np.zeros((8, 6, 3), np.uint8))


def test_mean_leaves_out_equal_frames() -> None:
    assert mean_score([Score(math.inf, 1.0), Score(30.0, 0.9), Score(40.0, 0.8)]) == Score(
        35.0, pytest.approx(0.85)
    )
    assert mean_score([Score(math.inf, 1.0)]) is None


def test_compare_files(tmp_path: Path) -> None:
    a = make_clip(tmp_path / "a.mkv", count=4, codec="ffv1", pixels="bgr0")
    b = make_clip(tmp_path / "b.mkv", count=6, codec="ffv1", pixels="bgr0")
    other = make_clip(tmp_path / "c.mkv", count=2, codec="ffv1", size=(32, 32))
    assert [image.shape for image in rgb_frames(a)] == [(48, 64, 3)] * 4
    assert np.array_equal(next(rgb_frames(a)), picture(0))
    scores, in_a, in_b = compare(a, b)
    assert (in_a, in_b, [s.same for s in scores]) == (4, 6, [True] * 4)
    with pytest.raises(VideoError, match=r"64x48 .* and 32x32"):
        compare(a, other)
