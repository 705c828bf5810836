"""The demo's scene and drawing; the whole demo is `make demo`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="the demo draws with OpenCV")

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def demo() -> object:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import demo
    finally:
        sys.path.remove(str(BENCHMARKS))
    return demo


def test_scene_is_rich_and_moves(demo: object) -> None:
    layers = [make() for make, *_ in demo.SCENE]
    first, soon, later = (demo.draw(layers, seconds) for seconds in (0.0, 1 / 120, 0.5))
    assert first.shape == (demo.HEIGHT, demo.WIDTH, 3)
    blocks = first[:, :, 1].reshape(demo.HEIGHT // 20, 20, demo.WIDTH // 20, 20).std(axis=(1, 3))
    assert (blocks > 1).mean() > 0.95  # hardly a flat spot
    assert np.abs(first.astype(int) - soon).mean() < np.abs(first.astype(int) - later).mean()


def test_only_frames_in_between_count(demo: object) -> None:
    frames = list(range(demo.COUNT * demo.FACTOR))
    kept = demo.between(frames)
    assert len(kept) == (demo.COUNT - 1) * (demo.FACTOR - 1)
    assert not [k for k in kept if k % demo.FACTOR == 0 or k > (demo.COUNT - 1) * demo.FACTOR]


def test_demo_end_to_end(demo: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import av

    monkeypatch.setattr(demo, "COUNT", 5)
    scores = demo.run(tmp_path / "out")
    assert scores["flow"].psnr > scores["blend"].psnr + 3 > scores["repeat"].psnr + 3
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["demo.mp4", "demo.png"]
    with av.open(str(tmp_path / "out" / "demo.mp4")) as made:
        assert (made.streams.video[0].average_rate, made.streams.video[0].frames) == (120, 20)
        assert made.streams.audio
