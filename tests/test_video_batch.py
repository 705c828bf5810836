"""Many videos with one command: each by itself, whatever becomes of the others."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import make_clip, sound_of, times_of

from vfi_kernels import cli
from vfi_kernels.video.signature import ATTRIBUTE


def batch(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> tuple[str, str]:
    assert cli.main(["batch", *(str(a) for a in arguments), "--model", "blend"]) == code
    return capsys.readouterr()


def test_each_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first one has no sound, the second is damaged."""
    folder = tmp_path / "made"
    folder.mkdir()
    silent = make_clip(tmp_path / "silent.mp4", count=3)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    sounding = make_clip(tmp_path / "sounding.mkv", count=4, sound="aac")
    out, err = batch(capsys, 1, silent, broken, sounding, "--into", folder, "--factor", 3)
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"vfi: error: {broken}: cannot be read as a video")
    assert lines[1] == "vfi: error: 1 of 3 videos were not made"
    assert sorted(path.name for path in folder.iterdir()) == ["silent.mp4", "sounding.mkv"]
    assert [len(times_of(folder / name)) for name in ("silent.mp4", "sounding.mkv")] == [9, 12]
    assert sound_of(folder / "sounding.mkv") == sound_of(sounding)
    # what is there is left alone, or replaced if asked for
    before = (folder / "silent.mp4").stat().st_mtime_ns
    _, err = batch(capsys, 1, silent, "--into", folder)
    assert "exists already" in err
    again = (silent, sounding, "--into", folder, "--resume")
    out, err = batch(capsys, 0, *again, "--factor", 3)
    assert err.count("is complete, nothing is left to do") == 2
    assert "was made otherwise" in batch(capsys, 1, *again)[1]
    assert (folder / "silent.mp4").stat().st_mtime_ns == before
    out, _ = batch(capsys, 0, silent, "--into", folder, "--suffix", ".mkv", "--json")
    first, *_, done, last = (json.loads(line) for line in out.splitlines())
    assert (first["event"], done["event"], done["frames"]) == ("start", "done", 6)
    assert last == {"event": "done", "videos": 1, "made": 1}
    os.removexattr(folder / "silent.mp4", ATTRIBUTE)
    out, err = batch(capsys, 0, silent, "--into", folder, "--resume", "--json")
    assert json.loads(out.splitlines()[-1]) == {"event": "done", "videos": 1, "made": 0}
    assert "does not say what it was made of, and is left as it is" in err
    out, _ = batch(capsys, 1, broken, "--into", folder, "--json")
    message = "1 of 1 videos were not made"
    assert json.loads(out.splitlines()[-1]) == {"event": "error", "message": message, "code": 1}
    assert len(times_of(folder / "silent.mkv")) == 6


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = make_clip(tmp_path / "a.mp4", count=2)
    (tmp_path / "more").mkdir()
    b = make_clip(tmp_path / "more" / "a.mp4", count=2)
    for code, message, arguments in (
        (2, "would be written twice", (a, b, "--into", tmp_path / "more")),
        (2, "expected one like .mkv", (a, "--into", tmp_path / "more", "--suffix", "mkv")),
        (2, "expected one like .mkv", (tmp_path / "more", "--into", tmp_path / "more")),
        (2, "the same file", (a, "--into", tmp_path)),
        (1, "no such folder", (a, "--into", tmp_path / "none")),
    ):
        _, err = batch(capsys, code, *arguments)
        assert message in err
        assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "more"]
