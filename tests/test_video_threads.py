"""Reading, model and encoder at the same time: errors of any thread end the run, and none stays behind."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import os
import signal
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, picture

from vfi_kernels import cli, models
from vfi_kernels.video import (
    Options,
    VideoError,
    Writer,
    chunks,
    colour,
    interpolate,
    jobs,
    muxing,
    pipeline,
    to_tensor,
)
from vfi_kernels.video.tiling import Tiled

BLEND = models.create("blend")
BlendClass = type(BLEND)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("vfi ")]


STAGES = {
    "read": (colour.Converter, "planes"),
    "model": (BlendClass, "synthesize"),
    "encode": (Writer, "write"),
}


def after(calls: int, whole: Callable[..., Any], action: Callable[[], Any]) -> Callable[..., Any]:
    left = [calls]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0] < 0:
            action()
        return whole(*arguments, **options)

    return wrapped


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("calls", [0, 7])
def test_error_in_any_thread(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    calls: int,
) -> None:
    def fail() -> None:
        raise VideoError(f"the {stage} stage broke\nand more")

    source = make_clip(tmp_path / "in.mp4", count=60)
    owner, name = STAGES[stage]
    monkeypatch.setattr(owner, name, after(calls, getattr(owner, name), fail))
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.mp4"), "--model", "blend"]) == 1
    assert capsys.readouterr().err == f"vfi: error: the {stage} stage broke\n"
    assert threads() == []
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_error_of_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for frames that would go there."""

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(BlendClass, "to", full)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        interpolate(make_clip(tmp_path / "in.mp4", count=60), tmp_path / "out.mp4", BLEND)
    assert threads() == []


@pytest.mark.parametrize("stage", STAGES)
def test_interrupt_while_any_thread_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    """Ctrl-C reaches the main thread, whichever one is busy and whichever ones wait."""
    source = make_clip(tmp_path / "in.mp4", count=60)
    owner, name = STAGES[stage]
    hit = threading.Event()

    def slow() -> None:
        if not hit.is_set():
            hit.set()
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(0.5)

    monkeypatch.setattr(owner, name, after(9, getattr(owner, name), slow))
    begin = time.monotonic()
    assert cli.main(["interpolate", str(source), str(tmp_path / "out.mp4"), "--model", "blend"]) == 130
    assert time.monotonic() - begin < 20  # sixty frames of half a second each would be thirty
    assert capsys.readouterr().err == "vfi: error: interrupted; no output was written\n"
    assert threads() == []


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the encoder is, only so many frames wait."""
    alive, most = 0, 0

    class Counted(pipeline.Shown):
        def __init__(self, *arguments: Any) -> None:
            nonlocal alive, most
            super().__init__(*arguments)
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    monkeypatch.setattr("vfi_kernels.video.chunks.Shown", Counted)
    monkeypatch.setattr(Writer, "write", after(0, Writer.write, lambda: time.sleep(0.005)))
    source = make_clip(tmp_path / "in.mp4", count=100)
    assert interpolate(source, tmp_path / "out.mp4", BLEND) == 200
    assert most <= 2 * pipeline.AHEAD + 6


@pytest.mark.parametrize("options", [{}, {"duplicates": "retime"}])
def test_few_frames_are_rgb_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """Frames that wait are as small as they were decoded, also where cuts and repeats are sought."""
    alive, most = 0, 0
    whole = pipeline.Shown.__dict__["_whole"].func

    def counted(self: pipeline.Shown) -> torch.Tensor:
        nonlocal alive, most

        def gone() -> None:
            nonlocal alive
            alive -= 1

        alive += 1
        most = max(most, alive)
        weakref.finalize(self, gone)
        return whole(self)

    monkeypatch.setattr(pipeline.Shown.__dict__["_whole"], "func", counted)
    monkeypatch.setattr(Writer, "write", after(0, Writer.write, lambda: time.sleep(0.005)))
    source = make_clip(tmp_path / "in.mp4", count=40)
    assert interpolate(source, tmp_path / "out.mp4", BLEND, **options) == 80
    assert 2 <= most <= 3


def test_merging_takes_no_more_for_a_longer_video(tmp_path: Path) -> None:
    """300 frames more: to hold something of each would show."""
    peaks = []
    for count in (50, 200):
        source = make_clip(tmp_path / f"{count}.mp4", count=count, size=(16, 16), gop=25)
        model = models.create("repeat")
        plan = jobs.begin(source, tmp_path / f"made-{count}.mp4", Options(chunk_seconds=1), model)
        chunks.make(plan, model, range(len(plan.chunks)))
        tracemalloc.start()
        assert muxing.merge(plan) == 2 * count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 300 * 100


def test_ahead_is_the_iterator() -> None:
    stop = threading.Event()
    ahead = pipeline.Ahead(iter(range(100)), "count", stop)
    assert list(ahead) == list(range(100))

    def endless() -> Iterator[int]:
        while True:
            yield 1

    other = pipeline.Ahead(endless(), "endless", stop)
    assert next(other) == 1
    stop.set()
    other.join()
    ahead.join()
    assert list(other) == []
    assert threads() == []


def test_profile_adds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BlendClass, "synthesize", after(0, BlendClass.synthesize, lambda: time.sleep(0.02)))
    profiles: list[pipeline.Profile] = []
    source = make_clip(tmp_path / "in.mp4", count=30)
    interpolate(source, tmp_path / "out.mp4", BLEND, profile=profiles.append)
    (profile,) = profiles
    assert profile.frames == 60
    stages = {stage.name: stage for stage in profile.stages}
    assert stages["model"].busy >= 29 * 0.02
    assert all(stage.busy >= 0 and stage.waiting >= 0 for stage in profile.stages)
    assert stages["encode"].busy + stages["encode"].waiting == pytest.approx(profile.seconds)
    assert stages["encode"].waiting > 0.2  # for the model


class Late:
    """Planes that a device is still at work on."""

    def __init__(self, name: int, log: list[str]) -> None:
        self.name, self.log = name, log

    def wait(self) -> None:
        self.log.append(f"{self.name} is there")


def test_frames_are_handed_on_when_the_device_is_done() -> None:
    """And not before it has the next one to compute."""
    log: list[str] = []

    def items() -> Iterator[pipeline.Made]:
        for k in range(3):
            log.append(f"{k} is begun")
            yield pipeline.Made(k, codes=Late(k, log))
        yield pipeline.Made(3)  # a chunk's end

    for item in pipeline.settled(items()):
        log.append(f"{item.chunk} is taken")
    order = "0 begun 1 begun 0 there 0 taken 2 begun 1 there 1 taken 2 there 2 taken 3 taken"
    assert " ".join(log).replace(" is", "") == order
    assert list(pipeline.settled(iter([]))) == []


def test_the_model_is_charged_with_the_device_s_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline.Coming, "wait", lambda self: time.sleep(0.02))
    profiles: list[pipeline.Profile] = []
    interpolate(
        make_clip(tmp_path / "in.mp4", count=30), tmp_path / "out.mp4", BLEND, profile=profiles.append
    )
    stages = {stage.name: stage for stage in profiles[0].stages}
    assert stages["model"].busy >= 29 * 0.02
    assert stages["encode"].waiting > 0.2


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le"])
def test_codes_come_as_the_encoder_takes_them(pixels: str, device: str) -> None:
    """From a GPU on a stream of their own, and from the CPU without a copy."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    converter = colour.Converter(av.VideoFrame(64, 48, pixels))
    pictures = to_tensor(picture(0)).to(device)
    codes = converter.codes(pictures)
    assert {plane.dtype for plane in codes} == {torch.uint8 if pixels == "yuv420p" else torch.uint16}
    coming = pipeline.Download(torch.device(device)).send(codes)
    coming.wait()
    for code, plane in zip(codes, coming.planes, strict=True):
        assert plane.device.type == "cpu"
        assert torch.equal(code.cpu().int(), plane.int())
        assert device == "cuda" or plane.data_ptr() == code.data_ptr()
        assert plane.is_pinned() == (device == "cuda")


def test_a_gpu_makes_the_same_video(tmp_path: Path) -> None:
    """Frames go there and back on streams of their own: none is read before it has come."""
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    source = make_clip(tmp_path / "in.mp4", count=60, size=(640, 360))
    made = {}
    for device in ("cpu", "cuda"):
        target = tmp_path / f"{device}.mkv"
        assert interpolate(source, target, BLEND, factor=4, codec="ffv1", device=device) == 240
        made[device] = [frame.to_ndarray(format="gray").astype(int) for frame in frames_of(target)]
    assert all(abs(a - b).max() <= 1 for a, b in zip(made["cpu"], made["cuda"], strict=True))


class Wide(BlendClass):
    """Every pixel depends on those up to 7 away, and so is wrong that near to the border of what it sees."""

    def synthesize(self, frame0: torch.Tensor, frame1: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(super().synthesize(frame0, frame1, times), 15, 1, 7)


@pytest.mark.parametrize("size", [(640, 360), (330, 250), (200, 100)])
@pytest.mark.parametrize("model", [BLEND, Wide(), models.create("flow")], ids=["blend", "wide", "flow"])
def test_tiles_leave_no_seam(model: models.Interpolator, size: tuple[int, int]) -> None:
    """What moves less than tiles overlap comes out as from the whole frame."""
    a, b = (to_tensor(picture(k, *size)) for k in (0, 3))  # six pixels
    times = [0.25, 0.5]
    with torch.inference_mode():
        whole = model.interpolate(a, b, times)
        tiled = Tiled(model, 128).interpolate(a, b, times)
    assert tiled.shape == whole.shape
    if not isinstance(model, type(models.create("flow"))):
        torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
        return
    assert (tiled - whole).abs().mean() < 1e-4
    # and no step that the whole frame does not have, along any line of pixels
    for axis in (-1, -2):
        steps = (tiled.diff(dim=axis) - whole.diff(dim=axis)).abs().mean((0, 1, 2, -3 - axis))
        assert steps.max() < 0.002


def test_tiles_through_the_command(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", count=3, codec="ffv1", size=(200, 120))
    made = {}
    for options in ((), ("--tile", "64", "--batch", "1")):
        target = tmp_path / "out.mkv"
        arguments = ["--model", "blend", "--codec", "ffv1", "--factor", "4", "--overwrite", *options]
        assert cli.main(["interpolate", str(source), str(target), *arguments]) == 0
        made[options] = frames_of(target)
    for whole, tiled in zip(*made.values(), strict=True):
        gap = whole.to_ndarray().astype(int) - tiled.to_ndarray().astype(int)
        assert abs(gap).max() <= 1
