"""Chunks: whatever ends a run, going on gives the bytes of a run that nothing ended."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip, planes_of, sound_of, times_of

from vfi_kernels import cli, models
from vfi_kernels.video import Options, Reader, VideoError, chunks, cutting, interpolate, jobs, muxing, scenes
from vfi_kernels.video import plan as plans

F = Fraction
BLEND = models.create("blend")
SHORT = {"chunk_seconds": F(2, 5), "warn": lambda message: None}


def clip_of(folder: Path, name: str = "in.mp4", count: int = 50, **how: Any) -> Path:
    """Two seconds in chunks of ten to fourteen frames."""
    return make_clip(folder / name, 25, count, **{"gop": 5, "sound": "aac", **how})


def in_parts(source: Path, target: Path, order: list[int] | None = None, **wishes: Any) -> plans.Plan:
    """As several machines do it: every chunk by itself, in any order, the last first."""
    plan = jobs.begin(source, target, Options(**wishes), BLEND, warn=lambda message: None)
    for index in order or reversed(range(len(plan.chunks))):
        chunks.make(plan, BLEND, [index])
    muxing.merge(plan)
    return plan


@pytest.mark.parametrize(
    ("name", "how", "wishes", "target"),
    [
        ("in.mp4", {}, {}, "out.mp4"),
        ("in.mp4", {"gop": 100}, {"fps": 60}, "out.mov"),  # one key frame: the border is where it may be
        ("in.mkv", {"codec": "ffv1", "sound": "flac"}, {"fps": 60, "codec": "ffv1"}, "out.mkv"),
        ("in.ts", {}, {}, "out.ts"),
        ("in.flv", {}, {}, "out.mkv"),
        ("in.mpg", {"codec": "mpeg2video", "sound": "mp2"}, {}, "out.mkv"),
        ("in.h264", {"sound": None}, {}, "out.mkv"),  # read from the start
        ("in.avi", {"codec": "mpeg4", "sound": "mp3"}, {}, "out.avi"),
        ("in.mkv", {"count": 80}, {"duplicates": "retime", "vfr": True, "slow_motion": 2}, "out.mp4"),
        ("in.mp4", {}, {"fps": F(3, 2)}, "out.mp4"),  # chunks without a frame
        ("in.mp4", {"codec": "libx265"}, {"codec": "libvpx-vp9", "crf": 40}, "out.webm"),
        (
            "in.mkv",
            {"codec": "ffv1", "pixels": "yuv422p10le"},
            {"codec": "prores_ks"},
            "out.mov",
        ),
    ],
)
def test_parts_make_the_same_file(
    tmp_path: Path, name: str, how: dict[str, Any], wishes: dict[str, Any], target: str
) -> None:
    source = clip_of(tmp_path, name, **how)
    plan = in_parts(source, tmp_path / target, chunk_seconds=F(2, 5), **wishes)
    assert len(plan.chunks) >= 3
    assert sum(chunk.seek is not None for chunk in plan.chunks) == (
        sum(chunk.start * 25 >= cutting.warm(plan.options) + 5 for chunk in plan.chunks)
        if source.suffix not in (".h264", ".avi") and how.get("gop") != 100
        else 0
    )
    parts = (tmp_path / target).read_bytes()
    frames = interpolate(source, tmp_path / target, BLEND, overwrite=True, **SHORT, **wishes)
    assert (tmp_path / target).read_bytes() == parts
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, target])
    # and nothing but key frames tells it from a run in one chunk
    assert (
        interpolate(source, tmp_path / f"one-{target}", BLEND, warn=lambda message: None, **wishes) == frames
    )
    assert times_of(tmp_path / f"one-{target}") == times_of(tmp_path / target)
    if "codec" in wishes and wishes["codec"] == "ffv1":
        whole, made = frames_of(tmp_path / f"one-{target}"), frames_of(tmp_path / target)
        assert [f.to_ndarray().tobytes() for f in whole] == [f.to_ndarray().tobytes() for f in made]


@pytest.mark.parametrize("target", ["out.mp4", "out.ts"])
def test_decoding_times_rise_across_borders(tmp_path: Path, target: str) -> None:
    source = clip_of(tmp_path, sound="aac")
    interpolate(source, tmp_path / target, BLEND, fps=60, **SHORT)
    with av.open(str(tmp_path / target)) as made:
        packets = [p for p in made.demux(video=0) if p.size]
    stamps = [p.dts for p in packets]
    assert all(a < b for a, b in pairwise(stamps))
    assert all(p.dts <= p.pts for p in packets)
    assert [p.pts for p in packets] != sorted(p.pts for p in packets)  # there are frames to be reordered
    assert sum(p.is_keyframe for p in packets) >= 4
    assert len(packets) == len(frames_of(tmp_path / target)) == 120


def test_cuts_are_judged_by_what_was_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every frame differs, the first ones count as cuts; at the border of a chunk nothing is first."""
    monkeypatch.setattr(scenes, "distance", lambda a, b: 0.4)
    source = clip_of(tmp_path, "in.mkv", codec="ffv1", sound="flac")
    plan = in_parts(source, tmp_path / "parts.mkv", codec="ffv1", chunk_seconds=F(2, 5))
    assert len(plan.chunks) >= 3
    interpolate(source, tmp_path / "one.mkv", BLEND, codec="ffv1")
    parts, one = (frames_of(tmp_path / name) for name in ("parts.mkv", "one.mkv"))
    assert [planes_of(frame) for frame in parts] == [planes_of(frame) for frame in one]
    held = [planes_of(a) == planes_of(b) for a, b in pairwise(one)]
    assert held[:20].count(True) == 8
    assert not any(held[20:-1])


DRIVER = """
import sys, time
from vfi_kernels import cli, models
def slow(self, frame0, frame1, times, whole=type(models.create("blend")).synthesize):
    time.sleep(0.02)
    return whole(self, frame0, frame1, times)
type(models.create("blend")).synthesize = slow
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_and_resumed(tmp_path: Path, how: signal.Signals, capfd: pytest.CaptureFixture[str]) -> None:
    source, target = clip_of(tmp_path), tmp_path / "out.mp4"
    arguments = ["interpolate", source, target, "--model", "blend", "--fps", "60", "--chunk-seconds", "0.4"]
    arguments = [str(argument) for argument in arguments]
    assert cli.main(arguments) == 0
    undisturbed = target.read_bytes()
    target.unlink()
    process = subprocess.Popen([sys.executable, "-c", DRIVER, *arguments])
    folder = tmp_path / "out.mp4.vfi"
    deadline = time.monotonic() + 400  # on a machine that has much else to do
    try:
        while not (folder / "00001.json").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(how)
        code = process.wait(200)
    finally:
        process.kill()
    assert code == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    err = capfd.readouterr().err
    if how != signal.SIGKILL:
        assert "chunks are kept in" in err
        assert err.count("\n") == 1
    assert not target.exists()
    kept = {path: path.stat().st_mtime_ns for path in folder.glob("*.nut")}
    assert len(kept) >= 2
    assert len(kept) < len(json.loads((folder / "manifest.json").read_text())["chunks"])
    assert cli.main(arguments) == 1
    assert "--resume goes on with it" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.nut")} == kept
    assert cli.main([*arguments, "--resume"]) == 0
    assert target.read_bytes() == undisturbed
    assert not folder.exists()


@pytest.mark.parametrize("calls", [1, 20, 30])
def test_any_place_to_stop_gives_the_same(tmp_path: Path, calls: int) -> None:
    """The resumed run is ended as well."""
    source, target = clip_of(tmp_path), tmp_path / "out.mp4"
    interpolate(source, target, BLEND, **SHORT)
    undisturbed = target.read_bytes()
    target.unlink()
    model, left = models.create("blend"), calls

    def some(*arguments: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return BLEND.interpolate(*arguments)

    model.interpolate = some
    with pytest.raises(KeyboardInterrupt):
        interpolate(source, target, model, resume=True, **SHORT)
    left = 5
    with pytest.raises(KeyboardInterrupt):
        interpolate(source, target, model, resume=True, **SHORT)
    interpolate(source, target, BLEND, resume=True, **SHORT)
    assert target.read_bytes() == undisturbed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


class Full:
    """A disk on which there is room for `count` files more."""

    def __init__(self, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.sync = count, os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.count -= 1
        if self.count < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.sync(descriptor)


def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, bytes]:
    """A source, a target of which two chunks are made, and what it shall be."""
    source, target = clip_of(tmp_path), tmp_path / "out.mp4"
    interpolate(source, target, BLEND, **SHORT)
    undisturbed = target.read_bytes()
    target.unlink()
    with monkeypatch.context() as patch:
        Full(6, patch)  # the manifest, two chunks with their facts, and the third one's pictures
        with pytest.raises(VideoError, match="No space left"):
            interpolate(source, target, BLEND, **SHORT)
    assert sorted(path.name for path in (tmp_path / "out.mp4.vfi").iterdir()) == [
        "00000.json",
        "00000.nut",
        "00001.json",
        "00001.nut",
        "00002.nut",
        "manifest.json",
    ]
    return source, target, undisturbed


def test_full_disk_keeps_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, undisturbed = begun(tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(plans.Plan, "free", 100)
        told: list[str] = []
        with pytest.raises(VideoError, match=r"disk full, \d+\.\d\d kB needed, 0\.10 kB free"):
            interpolate(source, target, BLEND, resume=True, **SHORT | {"warn": told.append})
        assert len(told) == 1
        assert "may be needed" in told[0]
    interpolate(source, target, BLEND, resume=True, **SHORT)
    assert target.read_bytes() == undisturbed


def test_write_error_of_the_system_is_told(tmp_path: Path) -> None:
    """The kernel refuses to let files grow; what FFmpeg says of it has to come through."""
    source, target = clip_of(tmp_path, codec="ffv1", name="in.mkv", sound="flac"), tmp_path / "out.mkv"
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "from vfi_kernels import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ["interpolate", str(source), str(target), "--model", "blend", "--codec", "ffv1"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"vfi: error: {target}: File too large\n"
    assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crf": 20}, "was begun with crf 16, not 20"),
        ({"fps": 60}, "was begun with fps None, not 60"),
        ({"chunk_seconds": F(3, 5)}, "was begun with chunk seconds 2/5, not 3/5"),
    ],
)
def test_other_options_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    source, target, undisturbed = begun(tmp_path, monkeypatch)
    with pytest.raises(VideoError, match=message):
        interpolate(source, target, BLEND, resume=True, **SHORT | change)
    with pytest.raises(VideoError, match="--resume goes on with it"):
        interpolate(source, target, BLEND, **SHORT)
    interpolate(source, target, BLEND, overwrite=True, **SHORT)  # begins again
    assert target.read_bytes() == undisturbed


def test_other_weights_and_sources_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, _ = begun(tmp_path, monkeypatch)
    other = models.create("blend")
    other.register_buffer("weight", torch.ones(3))
    with pytest.raises(VideoError, match=r"was begun with weights , not [0-9a-f]{16}"):
        interpolate(source, target, other, resume=True, **SHORT)
    manifest = tmp_path / "out.mp4.vfi"
    plan = plans.read(manifest)
    assert plans.read(manifest / "manifest.json") == plan
    modified = source.stat().st_mtime_ns
    os.utime(source, ns=(modified, modified + 1))
    with pytest.raises(VideoError, match="another version of the source"):
        interpolate(source, target, BLEND, resume=True, **SHORT)
    os.utime(source, ns=(modified, modified))
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "1.0")
        with pytest.raises(VideoError, match=r"was begun with vfi_kernels .*, not .* torch 1\.0, PyAV"):
            interpolate(source, target, BLEND, resume=True, **SHORT)
        with pytest.raises(VideoError, match=r"manifest\.json: is of vfi_kernels .*; here is .* torch 1\.0,"):
            jobs.run(plan, [1])
    os.utime(source, ns=(modified, modified + 1))
    monkeypatch.setattr(plans.Plan, "missing", lambda self: [])
    with pytest.raises(VideoError, match=r"in\.mp4: has changed since"):
        muxing.merge(plan)


def test_damaged_and_foreign_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target, undisturbed = begun(tmp_path, monkeypatch)
    folder = tmp_path / "out.mp4.vfi"
    (folder / "00000.nut").write_bytes((folder / "00000.nut").read_bytes()[:-10])
    (folder / ".00003.0123abcd.part.nut").write_bytes(b"what a killed run left")
    (folder / ".out.0123abcd.part.mp4").write_bytes(b"what a killed merge left")
    (folder / ".out.0123abcd.part").mkdir()
    (folder / ".out.0123abcd.part" / "000000.png").write_bytes(b"and one of images")
    (folder / "notes.txt").write_text("of the user")
    interpolate(source, target, BLEND, resume=True, **SHORT)
    assert target.read_bytes() == undisturbed
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("target", ["out.mp4", "out", "out.gif"])
def test_a_killed_merge_leaves_nothing_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """All that is unfinished lies in the work folder, where the next run clears it."""
    seen: set[Path] = set()
    replace = os.replace

    def watched(source: Path, place: Path) -> None:
        seen.add(Path(source).relative_to(tmp_path).parents[-2])
        replace(source, place)

    monkeypatch.setattr(os, "replace", watched)
    interpolate(clip_of(tmp_path, count=4), tmp_path / target, BLEND, **SHORT)
    assert seen == {Path(f"{target}.vfi")}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", target]


def test_resume_begins_where_nothing_was(tmp_path: Path) -> None:
    source, target = clip_of(tmp_path), tmp_path / "out.mp4"
    (tmp_path / "out.mp4.vfi").mkdir()  # killed before the manifest was there
    assert interpolate(source, target, BLEND, resume=True, **SHORT) == 100
    assert sound_of(target) == sound_of(source)


def test_index_that_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk is read from the start where frames are missing after the seek."""
    source, target = clip_of(tmp_path), tmp_path / "out.mp4"
    interpolate(source, target, BLEND, **SHORT)
    undisturbed = target.read_bytes()
    target.unlink()
    whole = Reader.frames_from

    def late(self: Reader, key: int) -> Any:
        frames = whole(self, key)
        next(frames)
        return frames

    monkeypatch.setattr(Reader, "frames_from", late)
    in_parts(source, target, chunk_seconds=F(2, 5))
    assert target.read_bytes() == undisturbed


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = clip_of(tmp_path), tmp_path / "out.mp4"
    options = ["--model", "blend", "--fps", "60", "--chunk-seconds", "0.4"]
    folder = tmp_path / "out.mp4.vfi"

    def vfi(*arguments: object) -> tuple[int, str, str]:
        code = cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    assert vfi("plan", source, target, *options) == (0, f"{folder}: 5 chunks, 0 to 4\n", "")
    assert vfi("run", folder, "--chunk", 2) == (0, f"{folder}: 1 of 5 chunks are there\n", "")
    code, _, err = vfi("merge", folder)
    assert (code, err) == (1, f"vfi: error: {folder}: 4 of 5 chunks are missing\n")
    there = (0, f"{folder}: 5 of 5 chunks are there\n", "")
    assert vfi("run", folder, "--chunk", "0-1,3-4") == there
    assert vfi("run", folder / "manifest.json") == there  # nothing is missing
    assert vfi("merge", folder) == (0, f"{target}: 120 frames\n", "")
    parts = target.read_bytes()
    assert vfi("interpolate", source, target, *options, "--overwrite") == (0, "", "")
    assert target.read_bytes() == parts

    vfi("plan", source, tmp_path / "b.mp4", *options)
    folder = tmp_path / "b.mp4.vfi"
    for arguments, message, wanted in (
        (("run", folder, "--chunk", 5), "there are chunks 0 to 4; got 5", 2),
        (("run", folder, "--chunk", "x"), "expected 3, 0-9 or 0,4,7-9; got 'x'", 2),
        (("run", tmp_path), "manifest.json: cannot be read", 1),
        (("run", source), "is not a plan", 1),
        (("interpolate", source, target, "--batch", 0), "from 1 to 1024", 2),
        (("interpolate", source, target, "--chunk-seconds", 0), "above zero", 2),
    ):
        code, _, err = vfi(*arguments)
        assert (code, message in err, err.count("\n")) == (wanted, True, 1), err
    # chunks that do not fit together are not made one
    assert vfi("run", folder)[0] == 0
    facts = json.loads((folder / "00001.json").read_text())
    facts["frames"] = facts["frames"][:-1]
    (folder / "00001.json").write_text(json.dumps(facts))
    code, _, err = vfi("merge", folder)
    assert code == 1
    assert "begins at step" in err
    assert not (tmp_path / "b.mp4").exists()
