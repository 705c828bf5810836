"""Two at work on one output: the second is told by whom, and nothing of the first one's is deleted."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import os
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")
pytest.importorskip("fcntl", reason="there are no such locks")

from clips import make_clip

from vfi_kernels import cli, models
from vfi_kernels.video import Busy, Options, interpolate, jobs, locks

# In the model, until a line comes: with a chunk half made.
DRIVER = """
import sys
from vfi_kernels import cli, models
Blend, calls = type(models.create("blend")), []
def paused(self, frame0, frame1, times, whole=Blend.synthesize):
    calls.append(1)
    if len(calls) == 5:
        print("here", flush=True)
        sys.stdin.readline()
    return whole(self, frame0, frame1, times)
Blend.synthesize = paused
sys.exit(cli.main(sys.argv[1:]))
"""

HOW = ["--model", "blend", "--chunk-seconds", "0.4"]


def vfi(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = cli.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


class Other:
    """A process that is in the middle of a command."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "here\n"
        self.name = f"process {self.process.pid} on {os.uname().nodename}"

    def goes_on(self) -> int:
        self.process.communicate("\n", 400)
        return self.process.returncode

    def __enter__(self) -> Other:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "in.mp4", count=50, gop=5)


@pytest.fixture(scope="module")
def undisturbed(clip: Path) -> bytes:
    target = clip.parent / "alone.mp4"
    interpolate(clip, target, models.create("blend"), chunk_seconds=Fraction(2, 5))
    return target.read_bytes()


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_second_run_of_an_output(
    clip: Path, undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, folder = tmp_path / "out.mp4", tmp_path / "out.mp4.vfi"
    with Other("interpolate", clip, target, *HOW) as other:
        before = files(folder)
        assert {"00000.lock", "manifest.json", "run.lock"} < set(before)
        refused = f"vfi: error: {folder}: {other.name} is at work in it; wait for it or end it\n"
        for more in ("--resume", "--overwrite"):
            assert vfi(capsys, "interpolate", clip, target, *HOW, more) == (1, refused)
            assert files(folder) == before
        assert vfi(capsys, "merge", folder) == (1, refused)
        assert other.goes_on() == 0
    assert target.read_bytes() == undisturbed
    assert files(tmp_path) == ["out.mp4"]


def test_kill_ends_a_lock(
    clip: Path, undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, folder = tmp_path / "out.mp4", tmp_path / "out.mp4.vfi"
    with Other("interpolate", clip, target, *HOW) as other:
        other.process.send_signal(signal.SIGKILL)
        other.process.wait()
        assert {"00000.lock", "run.lock"} < set(files(folder))
        assert vfi(capsys, "interpolate", clip, target, *HOW, "--resume") == (0, "")
    assert target.read_bytes() == undisturbed
    assert files(tmp_path) == ["out.mp4"]


def test_a_chunk_is_locked_not_the_whole(
    clip: Path, undisturbed: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, folder = tmp_path / "out.mp4", tmp_path / "out.mp4.vfi"
    jobs.begin(clip, target, Options(model="blend", chunk_seconds=Fraction(2, 5)), models.create("blend"))
    with Other("run", folder, "--chunk", 1) as other:
        unfinished = [name for name in files(folder) if ".part" in name]
        made = f"{folder}: chunk 1 is being made by {other.name}"
        assert vfi(capsys, "run", folder, "--chunk", "0-1") == (1, f"vfi: error: {made}\n")
        assert vfi(capsys, "run", folder) == (0, f"vfi: warning: {made}; it is left to it\n")
        code, err = vfi(capsys, "interpolate", clip, target, *HOW, "--overwrite")
        assert (code, err.count("\n")) == (1, 1)
        assert f"{other.name} is making chunks in it" in err
        code, err = vfi(capsys, "interpolate", clip, target, *HOW, "--resume")
        assert (code, made in err) == (1, True)
        assert f"4 of 5 chunks are kept in {folder}: --resume goes on\n" in err
        assert {"manifest.json", "00001.lock", *unfinished} < set(files(folder))
        assert other.goes_on() == 0
    assert vfi(capsys, "merge", folder) == (0, "")
    assert target.read_bytes() == undisturbed
    assert files(tmp_path) == ["out.mp4"]


def test_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    lock = locks.Lock(path)
    with pytest.raises(Busy, match=rf"^process {os.getpid()} on "):
        locks.Lock(path)
    assert locks.others([path]).startswith(f"process {os.getpid()} on ")
    lock.release()
    lock.release()
    assert files(tmp_path) == []
    path.write_text("process 1 on a machine that was switched off")
    assert locks.others([path]) is None
    assert files(tmp_path) == []
    lock = locks.Lock(path)
    path.unlink()  # of a work folder that was deleted and made again by others
    another = locks.Lock(path)
    lock.release()
    assert files(tmp_path) == ["a.lock"]
    another.release()


def test_no_locks_on_this_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(locks.UNSUPPORTED[0], "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    locks.Lock(tmp_path / "a.lock")
    locks.Lock(tmp_path / "a.lock").release()
    assert files(tmp_path) == []
