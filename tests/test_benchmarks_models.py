"""The measurements of whole systems, on frames too small to mean anything."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BRIEFLY = ["--device", "cpu", "--models", "rife_v4.15.lite", "--sizes", "64x32", "--budget", "0"]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """benchmarks/models.py, a script beside the modules that it imports."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield __import__("models")
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def records(bench: ModuleType, folder: Path) -> list[dict]:
    assert bench.main([*BRIEFLY, "--json", str(folder / "records.json")]) == 0
    return json.loads((folder / "records.json").read_text())["records"]


def test_both_make_the_same_frame(bench: ModuleType, tmp_path: Path) -> None:
    found = records(bench, tmp_path)
    assert [record["dtype"] for record in found] == ["float32", "autocast"]
    for record in found:
        assert record["ms"].keys() == {"ours", "eager"}
        assert record["notes"] == {}
        assert record["max_abs_difference"] < (1e-4 if record["dtype"] == "float32" else 0.02)


def test_a_rival_without_memory_costs_no_other_its_figure(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def backwarp_multi(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 40 GiB.")

    monkeypatch.setattr(bench, "EAGER", (backwarp_multi,))
    for record in records(bench, tmp_path):
        assert record["ms"].keys() == {"ours"}
        assert record["notes"] == {"eager": "CUDA out of memory"}
        assert record["max_abs_difference"] is None
    assert "eager: CUDA out of memory" in capsys.readouterr().out
