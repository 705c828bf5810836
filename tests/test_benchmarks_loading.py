"""The measurement of training data, on files too few to mean anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("av", reason="videos are made with PyAV")
pytest.importorskip("cv2", reason="reading images needs OpenCV")
pytest.importorskip("yaml", reason="recipes are YAML")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RECIPE = """
model: {name: rife_v4.15.lite}
objective: {name: reconstruction}
data: {kind: KIND, window: 3, augment: sepconv}
steps: 1
"""


def test_samples_of_files_and_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    loading = __import__("loading")
    for name, value in {"SEQUENCES": 2, "VIDEOS": 1, "FRAMES": 8}.items():
        monkeypatch.setattr(loading, name, value)
    files = []
    for kind in loading.FOLDERS:
        files.append(tmp_path / f"{kind}.yaml")
        files[-1].write_text(RECIPE.replace("KIND", kind))
    briefly = [
        "--workers",
        "0",
        "1",
        "--samples",
        "4",
        "--rounds",
        "2",
        "--json",
        str(tmp_path / "made.json"),
    ]
    assert loading.main(["--recipes", *map(str, files), *briefly]) == 0
    for kind, record in zip(
        loading.FOLDERS, json.loads((tmp_path / "made.json").read_text())["records"], strict=True
    ):
        assert (record["recipe"], record["data"], record["batch"]) == (kind, kind, 2)
        assert record["samples"].keys() == {"workers_0", "workers_1", "steps"}
        assert all(len(rates) == 2 and min(rates) > 0 for rates in record["samples"].values())
