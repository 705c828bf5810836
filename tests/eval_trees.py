"""Tiny benchmarks on disk, and `vfi eval` on them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from vfi_kernels import cli


def save(path: Path, image: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])
    return image


def noise(seed: int, size: tuple[int, int] = (16, 20)) -> np.ndarray:
    """Even numbers: the mean of two is whole."""
    return 2 * np.random.default_rng(seed).integers(0, 127, (*size, 3), np.uint8)


def middle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return ((a.astype(int) + b) // 2).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def run(tmp_path: Path, *arguments: object) -> dict:
    report = tmp_path / "report.json"
    command = ["eval", "--json", str(report), "--overwrite", *map(str, arguments)]
    assert cli.main(command) == 0
    return json.loads(report.read_text())


def means(report: dict) -> dict[str, dict[str, float]]:
    return {result["part"]: result["mean"] for result in report["results"]}


def refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 1) -> str:
    assert cli.main(["eval", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("vfi: error: " if code == 1 else "vfi eval: error: ")
    return err


def vimeo90k(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    (root / "tri_trainlist.txt").write_text("00002/0001\n")
    (root / "tri_testlist.txt").write_text("00001/0001\n00001/0002\n\n")
    made = []
    for name in ("0001", "0002"):
        folder = root / "sequences" / "00001" / name
        before, truth, after = (save(folder / f"im{i + 1}.png", noise(int(name) + 10 * i)) for i in range(3))
        made.append((middle(before, after), truth))
    return made
