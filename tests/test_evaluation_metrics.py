"""Measures against their definitions, in float64 and without a filter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("av", reason="evaluation needs PyAV")
pytest.importorskip("cv2", reason="evaluation needs OpenCV")

from clips import picture
from numpy.lib.stride_tricks import sliding_window_view

from tests import released
from vfi_kernels.evaluation import metrics
from vfi_kernels.evaluation.lpips import LPIPS
from vfi_kernels.evaluation.metrics import Metric, Pair
from vfi_kernels.models import CheckpointError
from vfi_kernels.video import psnr, ssim

A, B = picture(0, 20, 17), picture(0.7, 20, 17)


def gaussian(dimensions: int) -> np.ndarray:
    grid = np.indices([11] * dimensions) - 5
    window = np.exp(-(grid**2).sum(0) / (2 * 1.5**2))
    return window / window.sum()


def defined(
    a: np.ndarray, b: np.ndarray, window: np.ndarray, *, sample: float = 1, peak: float = 255
) -> float:
    """SSIM of [H, W] or [H, W, C] by weighted moments about the mean of every window."""
    x, y = (sliding_window_view(image.astype(np.float64), window.shape) for image in (a, b))
    axes = tuple(range(-window.ndim, 0))

    def mean(values: np.ndarray) -> np.ndarray:
        return (values * window).sum(axes, keepdims=True)

    mx, my = mean(x), mean(y)
    vx, vy, vxy = (sample * mean(p * q) for p, q in ((x - mx, x - mx), (y - my, y - my), (x - mx, y - my)))
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    return ((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


def channels(a: np.ndarray, b: np.ndarray, window: np.ndarray, **options: float) -> float:
    return np.mean([defined(a[..., c], b[..., c], window, **options) for c in range(3)])


def measured(metric: Metric, made: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    return metric.measure(Pair(made.astype(np.float32), made, truth, mask))


def test_every_kind_of_ssim_matches_its_definition() -> None:
    flat = np.full((7, 7), 1 / 49)
    assert ssim(A, B) == pytest.approx(channels(A, B, flat, sample=49 / 48), abs=1e-5)
    assert metrics.ssim_gaussian(A, B) == pytest.approx(channels(A, B, gaussian(2), sample=121 / 120))
    a, b = (np.pad(image[..., 0], 5, mode="edge") for image in (A, B))
    assert metrics.ssim_matlab(A[..., 0], B[..., 0]) == pytest.approx(defined(a, b, gaussian(2)))
    a, b = (np.pad(image, 5, mode="edge") for image in (A, B))
    assert metrics.ssim_3d(A, B) == pytest.approx(defined(a, b, gaussian(3)))
    weights = np.array([65.481, 128.553, 24.966]) / 255  # BT.601's of 16 to 235
    made, truth = (image @ weights + 16 for image in (A, B))
    luma = defined(made, truth, flat, sample=49 / 48, peak=np.ptp(made))
    assert metrics.ssim_luma(A, B) == pytest.approx(luma, abs=1e-5)
    assert math.isnan(metrics.ssim_luma(np.zeros_like(A), B))
    values = {measured(m, A, B) for m in (metrics.SSIM, metrics.SSIM_3D, metrics.SSIM_LUMA)}
    assert len(values) == 3


def test_ssim_3d_is_the_published_one() -> None:
    _, golden = released.golden("losses.a")
    batch = (255 * golden[name].permute(0, 2, 3, 1).numpy() for name in ("a", "noisy"))
    pairs = list(zip(*batch, strict=True))
    values = [metrics.ssim_3d(a, noisy) for a, noisy in pairs]
    assert np.mean(values) == pytest.approx(golden["ssim_matlab"][0].item(), abs=1e-6)
    a, noisy = pairs[0]
    exact = Pair(a, np.rint(a).astype(np.uint8), np.rint(noisy).astype(np.uint8))
    # Vimeo90K's takes what the model made before it is rounded.
    assert metrics.SSIM_3D_EXACT.measure(exact) == metrics.ssim_3d(exact.exact, exact.truth)
    assert metrics.SSIM_3D_EXACT.measure(exact) != metrics.SSIM_3D.measure(exact)


def test_truth_table() -> None:
    black = np.zeros((12, 12, 3), np.uint8)
    other = black.copy()
    other[:6] = (3, 0, 4)
    assert measured(metrics.IE, other, black) == pytest.approx(7 / 6)
    assert measured(metrics.IE, black, other) == pytest.approx(7 / 6)  # and no wrap below zero
    assert metrics.mean_distance(other, black) == pytest.approx(2.5)
    mse = 25 / 6
    assert measured(metrics.PSNR, other, black) == pytest.approx(10 * math.log10(255**2 / mse))
    assert measured(metrics.PSNR, black, black) == math.inf
    assert measured(metrics.PSNR_FLOOR, black, black) == pytest.approx(80)
    assert measured(metrics.PSNR_FLOOR, other, black) == pytest.approx(-10 * math.log10(mse / 255**2 + 1e-8))


def test_motion_masks() -> None:
    """White is the left half here; the made frame is off by 2 on the left and by 20 on the right."""
    truth = picture(0, 32, 16)
    made = truth + np.where(np.arange(32) < 16, 2, 20).astype(np.uint8)[:, None]
    mask = np.zeros((16, 32), bool)
    mask[:, :16] = True
    dvf_psnr, dvf_ssim, slomo_psnr, slomo_ssim, slomo_ie = (
        measured(metric, made, truth, mask) for metric in metrics.WITHIN_MASK
    )
    assert dvf_psnr == pytest.approx(10 * math.log10(255**2 / 4))
    assert slomo_psnr == pytest.approx(10 * math.log10(255**2 / 400))
    assert slomo_ie == pytest.approx(20 * math.sqrt(3))
    assert slomo_ssim == metrics.ssim_gaussian(made[:, 16:], truth[:, 16:])
    gray = [
        np.rint(np.where(mask[..., None], image, 0) @ np.array([0.2989, 0.587, 0.114]))
        for image in (made, truth)
    ]
    assert dvf_ssim == metrics.ssim_matlab(*gray)
    # The box goes around black pixels wherever they are; IE is that of these pixels alone.
    dots = np.ones((16, 32), bool)
    dots[0, 3] = dots[12, 28] = False
    values = [measured(metric, made, truth, dots) for metric in metrics.WITHIN_MASK]
    assert values[2] == psnr(made[:13, 3:29], truth[:13, 3:29])
    assert values[4] == pytest.approx(11 * math.sqrt(3))


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        (np.ones((16, 32), bool), [True, True, False, False, False]),
        (np.zeros((16, 32), bool), [False, False, True, True, True]),
        (np.arange(32) < np.full((16, 1), 22), [True, True, False, False, False]),  # a box 10 wide
        (np.arange(32) < np.full((16, 1), 21), [True] * 5),
    ],
)
def test_frames_that_do_not_count(mask: np.ndarray, counts: list[bool]) -> None:
    truth = picture(0, 32, 16)
    values = [measured(metric, truth + 1, truth, mask) for metric in metrics.WITHIN_MASK]
    assert [math.isfinite(value) for value in values] == counts
    equal = [measured(metric, truth, truth, mask) for metric in metrics.WITHIN_MASK[:2]]
    assert not any(map(math.isfinite, equal))


def lpips_files(folder: Path) -> tuple[Path, Path]:
    shapes = [(64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)]
    alexnet = {"classifier.1.weight": torch.zeros(2, 2)}
    linear = {}
    for i, (number, shape) in enumerate(zip((0, 3, 6, 8, 10), shapes, strict=True)):
        alexnet[f"features.{number}.weight"] = torch.randn(shape) / math.sqrt(math.prod(shape[1:]))
        alexnet[f"features.{number}.bias"] = torch.randn(shape[0]) / 10
        linear[f"lin{i}.model.1.weight"] = torch.rand(1, shape[0], 1, 1)
    for name, state in (("alexnet.pth", alexnet), ("linear.pth", linear)):
        torch.save(state, folder / name)
    return folder / "alexnet.pth", folder / "linear.pth"


def test_lpips_matches_its_definition(tmp_path: Path) -> None:
    alexnet, linear = lpips_files(tmp_path)
    weights = {**torch.load(alexnet), **torch.load(linear)}
    measure = LPIPS(alexnet, linear)
    a, b = torch.rand(2, 2, 3, 40, 67)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    x, y = ((2 * image - 1 - shift) / scale for image in (a, b))
    expected = torch.zeros(2)
    for i, (number, stride, padding) in enumerate([(0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)]):
        kernel, bias = weights[f"features.{number}.weight"], weights[f"features.{number}.bias"]
        x, y = (
            F.relu(F.conv2d(F.max_pool2d(z, 3, 2) if i in (1, 2) else z, kernel, bias, stride, padding))
            for z in (x, y)
        )
        u, v = (F.normalize(z, dim=1, eps=1e-10) for z in (x, y))
        expected += F.conv2d((u - v) ** 2, weights[f"lin{i}.model.1.weight"]).mean((1, 2, 3))
    assert torch.allclose(measure(a, b), expected, rtol=1e-4)
    assert measure(a, a).tolist() == [0, 0]
    made, truth = picture(0), picture(1)
    images = (torch.from_numpy(image).permute(2, 0, 1)[None] / 255 for image in (made, truth))
    assert measured(measure.metric(), made, truth) == pytest.approx(measure(*images).item(), rel=1e-5)


def test_lpips_refuses_other_files(tmp_path: Path) -> None:
    alexnet, linear = lpips_files(tmp_path)
    with pytest.raises(CheckpointError, match=r"does not hold LPIPS's linear layers for AlexNet: 5 missing"):
        LPIPS(alexnet, alexnet)
    with pytest.raises(CheckpointError, match=r"linear\.pth does not hold torchvision's AlexNet: 10 missing"):
        LPIPS(linear, linear)
    with pytest.raises(FileNotFoundError):
        LPIPS(tmp_path / "absent.pth", linear)
