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


def results(bench: ModuleType, folder: Path, *more: str) -> dict:
    assert bench.main([*BRIEFLY, "--json", str(folder / "records.json"), *more]) == 0
    return json.loads((folder / "records.json").read_text())


def records(bench: ModuleType, folder: Path, *more: str) -> list[dict]:
    return results(bench, folder, *more)["records"]


def test_both_make_the_same_frame(bench: ModuleType, tmp_path: Path) -> None:
    found = records(bench, tmp_path)
    assert [record["dtype"] for record in found] == ["float32", "bfloat16"]
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


def test_time_is_of_one_frame(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not of a call that makes several."""
    monkeypatch.setattr(bench, "CASES", (("blend", 4),))
    spent = bench.timing.Times(8.0, 6.0, 10.0)
    monkeypatch.setattr(bench.timing, "in_turn", lambda calls, *_: (dict.fromkeys(calls, spent), 3, 0.0))
    (record,) = records(bench, tmp_path, "--models", "blend", "--dtypes", "float32")
    assert record["ms"]["ours"] == {"median": 2.0, "p10": 1.5, "p90": 2.5}
    assert record["frames_per_second"]["ours"] == 500


def test_flow_has_an_eager_rival(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def backwarp(*terms: torch.Tensor, **how: str) -> torch.Tensor:
        called.append(how)
        return original(*terms, **how)

    original = bench.backwarp
    monkeypatch.setattr(bench, "EAGER", (backwarp, bench.warp_blend))
    monkeypatch.setattr(bench, "CASES", (("flow", 2),))
    (record,) = records(bench, tmp_path, "--models", "flow", "--dtypes", "float32")
    assert record["max_abs_difference"] < 1e-3
    assert called


def test_both_are_compiled(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile(f, backend="eager", fullgraph=True, **how))
    (record,) = records(bench, tmp_path, "--compile", "--dtypes", "float32")
    assert record["ms"].keys() == {"ours", "eager", "ours compiled", "eager compiled"}


def test_compiled_sepconv_is_the_form_that_fuses(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile, original, forms = torch.compile, bench.chains.separable_fused, []

    def recorded(*terms: torch.Tensor) -> torch.Tensor:
        forms.append(torch.compiler.is_compiling())
        return original(*terms)

    monkeypatch.setattr(bench.chains, "separable_fused", recorded)
    monkeypatch.setattr(torch, "compile", lambda f, **how: compile(f, backend="eager", **how))
    torch._dynamo.reset()
    (record,) = records(bench, tmp_path, "--compile", "--models", "sepconv", "--dtypes", "float32")
    assert record["ms"].keys() == {"ours", "eager", "ours compiled", "eager compiled"}
    assert record["max_abs_difference"] < 1e-4
    assert forms
    assert all(forms)
    torch._dynamo.reset()


def test_operations_come_back(bench: ModuleType) -> None:
    """Also after a rival that fails."""
    before = dict(vars(bench.ops))

    def fails() -> torch.Tensor:
        assert bench.ops.backwarp is bench.backwarp
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError):
        bench.eager(fails)
    assert dict(vars(bench.ops)) == before


def test_deadline(bench: ModuleType, tmp_path: Path) -> None:
    """What is left out is told."""
    found = results(bench, tmp_path, "--deadline", "0")
    assert found["records"] == []
    assert [text.split() for text in found["left_out"]] == [
        ["rife_v4.15.lite", "x1", "64x32", "float32"],
        ["rife_v4.15.lite", "x1", "64x32", "bfloat16"],
    ]
