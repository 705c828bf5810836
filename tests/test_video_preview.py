"""The clip side by side and the picture of the worst frames of `vfi preview`."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import weakref
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
cv2 = pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, picture, times_of, told

from vfi_kernels import models
from vfi_kernels.video import metrics
from vfi_kernels.video.preview import preview
from vfi_kernels.video.sheet import Worst

F = Fraction


def write(path: Path, images: list[np.ndarray], rotation: int = 0) -> Path:
    """A clip of 25 frames a second without loss, which players turn."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv444p"
        if rotation:
            video.set_display_rotation(rotation)
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = number, F(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return path


def halves(frame: av.VideoFrame) -> list[np.ndarray]:
    return np.split(frame.to_ndarray(format="rgb24").astype(int), 2, 1)


def test_preview_keeps_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a variable rate; the last frame is there."""
    stamps = [0, 40, 80, 120, 920, 960, 1000, 1040]
    source = make_clip(tmp_path / "in.mkv", 25, len(stamps), stamps=stamps, tick=F(1, 1000), codec="ffv1")
    told(capsys, 0, "preview", source, tmp_path / "side.mkv", "--model", "blend")
    times = times_of(tmp_path / "side.mkv")
    assert times == sorted(set(times))
    for stamp in stamps:
        assert min(abs(time - F(stamp, 1000)) for time in times) <= F(1, 20)


def test_preview_of_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a time on that no key frame is at, at any rate, with as many worst frames as wished."""
    source = make_clip(tmp_path / "in.mp4", 25, 60, gop=12)
    clip = tmp_path / "side.mkv"
    words = ("--start", 1, "--seconds", 0.4, "--fps", 60, "--frames", 2, "--model", "blend")
    out, _ = told(capsys, 0, "preview", source, clip, *words)
    numbers = [int(line.split()[0]) for line in out.splitlines()[1:]]
    assert len(numbers) == 2
    assert all(26 <= number <= 34 for number in numbers)
    frames = frames_of(clip)
    assert [round(time * 60) for time in times_of(clip)] == list(range(24))
    given = [frame.to_ndarray(format="rgb24").astype(int) for frame in frames_of(source)]
    left = frames[0].to_ndarray(format="rgb24")[:, :64]
    assert int(np.argmin([np.abs(left - image).mean() for image in given])) == 25
    assert cv2.imread(str(tmp_path / "side.png")).shape == (2 * 240, 5 * 320, 3)
    _, err = told(capsys, 1, "preview", source, clip, "--start", 9, "--overwrite", "--model", "blend")
    assert err == f"vfi: error: {source}: a preview needs three frames\n"
    _, err = told(capsys, 2, "preview", source, clip, "--fps", 60, "--factor", 2)
    assert "not allowed with" in err


def test_preview(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The frame that nobody could have made from its neighbours is the worst."""
    images = [picture(number) for number in range(12)]
    images[7] = np.roll(images[7], 5, 0)
    source = write(tmp_path / "in.mkv", images)
    clip = tmp_path / "side.mkv"
    out, err = told(capsys, 0, "preview", source, clip, "--model", "blend")
    assert err == ""
    rows = [line.split() for line in out.splitlines()[1:]]
    assert len(rows) == 6
    assert int(rows[0][0]) == 7
    assert float(rows[0][1]) == pytest.approx(7 / 25)
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores)
    frames = frames_of(clip)
    assert times_of(clip) == [F(k, 50) for k in range(24)]
    assert (frames[0].width, frames[0].height) == (128, 48)
    left, right = np.split(frames[4].to_ndarray(format="rgb24"), 2, 1)  # a source frame: both sides show it
    assert metrics.psnr(np.ascontiguousarray(left), np.ascontiguousarray(right)) > 35
    sheet = cv2.imread(str(tmp_path / "side.png"))
    assert sheet.shape == (6 * 240, 5 * 320, 3)

    _, err = told(capsys, 1, "preview", source, clip, "--model", "blend")
    assert "exists already" in err
    short = make_clip(tmp_path / "short.mp4", count=2)
    _, err = told(capsys, 1, "preview", short, tmp_path / "short-side.mp4", "--model", "blend")
    assert err == f"vfi: error: {short}: a preview needs three frames\n"
    assert not list(tmp_path.glob("short-side*"))
    _, err = told(capsys, 2, "preview", source, source, "--model", "blend", "--overwrite")
    assert "are the same file" in err
    link = tmp_path / "link.mkv"
    link.hardlink_to(source)
    _, err = told(capsys, 1, "preview", source, link, "--model", "blend", "--overwrite")
    assert "is the input itself" in err
    _, err = told(capsys, 1, "preview", source, tmp_path / "other.gif", "--model", "blend")
    assert "a preview is one video" in err


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--no-scene-cuts",),
        ("--retime-duplicates", "--fps", 60),
        ("--slow-motion", 2),
        ("--vfr", "--factor", 3),
    ],
)
def test_right_is_what_interpolate_makes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[object, ...]
) -> None:
    """With the same options: across cuts and repeats, also of a part."""
    numbers = [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12, 12, 13, 14]
    images = [picture(number) for number in numbers]
    images[10:] = [np.ascontiguousarray(255 - image[::-1]) // 3 for image in images[10:]]
    source = write(tmp_path / "in.mkv", images)
    how = (*options, "--model", "blend", "--codec", "ffv1")
    told(capsys, 0, "interpolate", source, tmp_path / "out.mkv", *how)
    wanted = [frame.to_ndarray(format="rgb24").astype(int) for frame in frames_of(tmp_path / "out.mkv")]
    times = times_of(tmp_path / "out.mkv")
    for start, name in ((F(0), "whole.mkv"), (F(1, 5), "part.mkv")):
        told(capsys, 0, "preview", source, tmp_path / name, "--start", start or "0", *how)
        made = [halves(frame)[1] for frame in frames_of(tmp_path / name)]
        skipped = len(wanted) - len(made)
        shown = times_of(tmp_path / name)
        assert [time - times[skipped] for time in times[skipped:]] == shown
        assert (skipped == 0) == (start == 0)
        for a, b in zip(wanted[skipped:], made, strict=True):
            assert np.abs(a - b).max() <= 4


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_turned(tmp_path: Path, capsys: pytest.CaptureFixture[str], rotation: int) -> None:
    """Upright, in a container that holds no rotation; the codec is the container's."""
    source = write(tmp_path / "in.mkv", [picture(number) for number in range(5)], rotation)
    clip = tmp_path / "side.webm"
    told(capsys, 0, "preview", source, clip, "--start", 0, "--model", "blend")
    player = cv2.VideoCapture(str(source))
    player.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    seen = player.read()[1][..., ::-1]
    height, width = seen.shape[:2]
    assert (height > width) == (rotation != 180)
    with av.open(str(clip)) as container:
        assert container.streams.video[0].codec.canonical_name == "vp9"
    for half in halves(frames_of(clip)[0]):
        assert half.shape == seen.shape
        assert np.abs(half - seen).mean() < 4
    assert cv2.imread(str(tmp_path / "side.png")).shape == (3 * round(320 * height / width), 5 * 320, 3)


def test_images_and_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(8):
        cv2.imwrite(str(folder / f"{number}.png"), picture(number))
    clip = tmp_path / "side.mp4"
    told(capsys, 0, "preview", folder, clip, "--input-fps", 10, "--tile", 64, "--model", "blend")
    assert times_of(clip) == [F(k, 20) for k in range(16)]
    calls: list[tuple[int, int | None]] = []
    preview(
        folder,
        clip,
        tmp_path / "side.png",
        models.create("blend"),
        start=F(2, 25),
        seconds=F(4, 25),
        progress=lambda *call: calls.append(call),
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_sheet_keeps_rows_only() -> None:
    """Of a few frames, and never whole ones."""
    worst: Worst[int] = Worst(3)
    images = []
    for number, score in enumerate([30.0, 20.0, 40.0, 10.0, 20.0, 25.0]):
        frames = tuple(np.full((48, 640, 3), number, np.uint8) for _ in range(4))
        images += map(weakref.ref, frames)
        worst.add(number, score, frames)
    del frames
    assert not any(image() is not None for image in images)
    ordered = worst.ordered()
    assert sorted((score, name) for name, score, _ in ordered) == [(10.0, 3), (20.0, 1), (20.0, 4)]
    assert [score for _, score, _ in ordered] == [10.0, 20.0, 20.0]
    for name, _, row in ordered:
        assert row.shape == (24, 5 * 320, 3)
        assert row[0, 0, 0] == name
