"""Outputs that are no container: an image file a frame, and GIF."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, picture, times_of
from test_video_inputs import BLEND, run

from vfi_kernels.video import VideoError, interpolate
from vfi_kernels.video.images import files_of

F = Fraction


def test_gif_out(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", 10, 4, codec="ffv1", pixels="bgr0", size=(32, 24))
    interpolate(source, tmp_path / "out.gif", BLEND, warn=pytest.fail)
    assert times_of(tmp_path / "out.gif") == [F(5 * k, 100) for k in range(8)]
    for k, frame in enumerate(frames_of(tmp_path / "out.gif")[::2]):
        gap = np.abs(frame.to_ndarray(format="rgb24").astype(int) - picture(k, 32, 24))
        assert gap.mean() < 8  # 256 colours
    told: list[str] = []
    interpolate(source, tmp_path / "fast.gif", BLEND, fps=60, warn=told.append)
    assert told == ["GIF counts hundredths of a second, and browsers show 50 frames in one at most; got 60"]


def test_gif_counts_hundredths(tmp_path: Path) -> None:
    """More frames than that are refused before the work; at a variable rate what is too short is left out."""
    source = make_clip(tmp_path / "in.mp4", 25, 4)
    for how in ({"fps": 240}, {"factor": 5, "vfr": True}):
        with pytest.raises(VideoError, match=r"out\.gif: GIF holds 100 frames a second at most"):
            interpolate(source, tmp_path / "out.gif", BLEND, **how)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    interpolate(source, tmp_path / "most.gif", BLEND, fps=100, warn=lambda line: None)
    assert times_of(tmp_path / "most.gif") == [F(k, 100) for k in range(16)]
    # 200 and 203 ms are one hundredth
    make_clip(tmp_path / "in.mkv", 25, 5, stamps=[0, 100, 200, 203, 300], tick=F(1, 1000))
    interpolate(
        tmp_path / "in.mkv", tmp_path / "uneven.gif", BLEND, factor=1, vfr=True, warn=lambda line: None
    )
    assert times_of(tmp_path / "uneven.gif") == [F(k, 10) for k in range(4)]


@pytest.mark.parametrize("name", ["out/%05d.png", "out", "%03d.jpg"])
def test_image_files_out(tmp_path: Path, name: str) -> None:
    source = make_clip(tmp_path / "in.mkv", 10, 3, codec="ffv1", pixels="bgr0", size=(32, 24))
    target = tmp_path / name
    (tmp_path / "out").mkdir(exist_ok=True)
    assert interpolate(source, target, BLEND, warn=lambda line: None) == 6
    files = files_of(target)
    first = {"out/%05d.png": "00000.png", "out": "000000.png", "%03d.jpg": "000.jpg"}[name]
    assert files[0].name == first
    assert len(files) == 6
    for k, file in enumerate(files[::2]):
        gap = np.abs(frames_of(file)[0].to_ndarray(format="rgb24").astype(int) - picture(k, 32, 24))
        assert gap.max() <= (0 if first.endswith("png") else 60)
    with pytest.raises(VideoError, match="exists already; --overwrite"):
        interpolate(source, target, BLEND)
    interpolate(source, target, BLEND, factor=1, overwrite=True, warn=lambda line: None)
    assert len(files_of(target)) == 3
    assert not [path for path in tmp_path.rglob("*") if ".part" in path.name or path.suffix == ".vfi"]


def test_other_images_of_a_folder_stay(tmp_path: Path) -> None:
    """Those that the pattern would not have written, whatever digits their names are."""
    source = make_clip(tmp_path / "in.mkv", 10, 2, codec="ffv1", pixels="bgr0", size=(32, 24))
    (tmp_path / "out").mkdir()
    others = [tmp_path / "out" / name for name in ("7.png", "2024.png", "0000001.png")]
    for target in (tmp_path / "out" / "%06d.png", tmp_path / "out"):
        interpolate(source, tmp_path / "out" / "%06d.png", BLEND, overwrite=True)
        for other in others:
            other.write_bytes(b"mine")
        interpolate(source, target, BLEND, factor=1, overwrite=True)
        assert [other.read_bytes() for other in others] == [b"mine"] * 3
        assert len(list((tmp_path / "out").iterdir())) == 2 + 3


def test_10_bits_become_16_in_png(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", 10, 2, codec="ffv1", pixels="yuv444p10le", size=(32, 24))
    interpolate(source, tmp_path / "%03d.png", BLEND, warn=pytest.fail)
    assert {frames_of(file)[0].format.name for file in files_of(tmp_path / "%03d.png")} == {"rgb48be"}
    back = run(tmp_path / "%03d.png", tmp_path / "back.mkv", factor=1)
    given = [frame.to_ndarray(format="gbrp16le") for frame in frames_of(source)]
    assert np.abs(back[0].to_ndarray(format="gbrp16le").astype(int) - given[0]).max() <= 300  # of 65535
