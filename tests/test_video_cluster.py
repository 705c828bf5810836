"""Chunks on a local Ray cluster of two workers, one of which is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import make_clip

from vfi_kernels import cli


def test_missing_ray_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    source = make_clip(tmp_path / "in.mp4", count=3)
    arguments = ["interpolate", str(source), str(tmp_path / "out.mp4"), "--engine", "ray"]
    assert cli.main(arguments) == 1
    assert "pip install 'vfi-kernels[ray]'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="needs Ray: pip install '.[ray]'")
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[1]), prepend=os.pathsep)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))  # where Ray puts its token
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=100_000_000)
    yield
    ray.shutdown()


def busy_workers() -> list[int]:
    """Processes that descend from this one and are making a chunk: others may run a Ray here as well."""
    parents, making = {}, []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdecimal():
                parents[process.name] = (process / "stat").read_text().rpartition(")")[2].split()[1]
                if b"ray::_chunk" in (process / "cmdline").read_bytes():
                    making.append(process.name)
        except OSError:
            pass

    def ours(process: str) -> bool:
        while process in parents and process != str(os.getpid()):
            process = parents[process]
        return process == str(os.getpid())

    return [int(process) for process in making if ours(process)]


def test_workers_of_others_are_left_alone() -> None:
    """What only looks like a worker: one that this process has begun, and one whose parent is gone."""
    tell = "import os, sys, time; print(os.getpid(), flush=True); time.sleep(60)  # ray::_chunk"
    with subprocess.Popen([sys.executable, "-c", tell], stdout=subprocess.PIPE, text=True) as own:
        assert own.stdout.readline() == f"{own.pid}\n"
        # its parent ends at once
        begin = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {tell!r}])"
        with subprocess.Popen([sys.executable, "-c", begin], stdout=subprocess.PIPE, text=True) as parent:
            other = int(parent.stdout.readline())
            parent.wait()
            try:
                assert b"ray::_chunk" in Path(f"/proc/{other}/cmdline").read_bytes()
                assert busy_workers() == [own.pid]
            finally:
                os.kill(other, signal.SIGKILL)
                own.kill()


def test_a_worker_is_killed(tmp_path: Path, workers: None, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = make_clip(tmp_path / "in.mp4", count=75, gop=5, sound="aac"), tmp_path / "out.mp4"
    options = ["--fps", "60", "--chunk-seconds", "0.4"]
    arguments = ["interpolate", str(source), str(target), *options]
    assert cli.main(arguments) == 0
    alone = target.read_bytes()
    target.unlink()
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline and not killed:
            for worker in busy_workers()[:1]:
                os.kill(worker, signal.SIGKILL)
                killed.append(worker)
            time.sleep(0.002)

    thread = threading.Thread(target=kill)
    thread.start()
    capsys.readouterr()
    assert cli.main([*arguments, "--engine", "ray", "--json"]) == 0
    thread.join()
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    progress = [event for event in events if event["event"] == "progress"]
    assert (progress[-1]["frames"], progress[-1]["of"]) == (180, 180)
    assert all(event["rate"] > 0 for event in progress[1:])
    assert [events[0]["event"], events[-1]["event"]] == ["start", "done"]
    assert len(killed) == 1
    assert target.read_bytes() == alone
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
    # what a task raises is told as if it had been raised here
    data = bytearray(source.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    source.write_bytes(data)
    capsys.readouterr()
    assert cli.main([*arguments, "--engine", "ray", "--overwrite"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"vfi: error: {source}: ")
    assert err.count("\n") == 1
