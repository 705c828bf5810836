"""Resuming what is complete, or nearly: a command may be repeated until it ends well."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import make_clip

from vfi_kernels import cli
from vfi_kernels.video import plan as plans
from vfi_kernels.video import signature


def vfi(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments), "--model", "blend"])
    return code, *capsys.readouterr()


@pytest.fixture
def noted(tmp_path: Path) -> None:
    """For tests of what is noted at a file."""
    probe = tmp_path / "probe"
    probe.touch()
    try:
        os.setxattr(probe, signature.ATTRIBUTE, b"1")
    except (OSError, AttributeError):
        pytest.skip("no extended attributes here")
    probe.unlink()


@pytest.mark.parametrize("name", ["out.mp4", "out", "out.gif"])
def test_complete_is_said(tmp_path: Path, noted: None, capsys: pytest.CaptureFixture[str], name: str) -> None:
    source, target = make_clip(tmp_path / "in.mp4", count=5), tmp_path / name
    assert vfi(capsys, "interpolate", source, target) == (0, "", "")
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    complete = f"{target}: is complete, nothing is left to do"
    assert vfi(capsys, "interpolate", source, target, "--resume") == (0, "", f"vfi: warning: {complete}\n")
    # what does not decide the output is no difference
    assert vfi(capsys, "interpolate", source, target, "--resume", "--keep-going", "--force")[0] == 0
    code, out, err = vfi(capsys, "interpolate", source, target, "--resume", "--json")
    start, warning, done = (json.loads(line) for line in out.splitlines())
    assert (code, err, start["event"], warning["message"]) == (0, "", "start", complete)
    assert (done["event"], done["frames"]) == ("done", 10)
    code, _, err = vfi(capsys, "interpolate", source, target, "--resume", "--fps", 40)
    assert (code, err.count("\n")) == (1, 1)
    assert err.endswith("was made otherwise (another source, options or weights); --overwrite replaces it\n")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == made


def test_nothing_to_compare_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = make_clip(tmp_path / "in.mp4", count=5), tmp_path / "out.mp4"
    target.write_text("of somebody")
    message = f"{target}: exists already, and does not say what it was made of; --overwrite replaces it"
    assert vfi(capsys, "interpolate", source, target, "--resume") == (1, "", f"vfi: error: {message}\n")
    assert target.read_text() == "of somebody"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


@pytest.mark.parametrize("name", ["out.mp4", "out"])
def test_killed_after_the_output_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Or of images some: the chunks are there as well, and it is written once more."""
    source, target = make_clip(tmp_path / "in.mp4", count=5), tmp_path / name
    with monkeypatch.context() as patch:
        patch.setattr(plans.Plan, "discard", lambda self: None)
        assert vfi(capsys, "interpolate", source, target)[0] == 0
    assert (tmp_path / f"{name}.vfi" / "manifest.json").exists()
    files = [target] if target.is_file() else sorted(target.iterdir())
    made = [path.read_bytes() for path in files]
    files[-1].write_bytes(b"half")
    assert vfi(capsys, "interpolate", source, target, "--resume", "--fps", 60)[0] == 1
    assert vfi(capsys, "interpolate", source, target, "--resume") == (0, "", "")
    assert [path.read_bytes() for path in files] == made
    assert not (tmp_path / f"{name}.vfi").exists()


def test_an_old_output_is_kept_until_the_new_one_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With chunks missing, what is there is not ours to replace."""
    source, target = make_clip(tmp_path / "in.mp4", count=20), tmp_path / "out.mp4"
    assert vfi(capsys, "plan", source, target)[0] == 0
    target.write_text("the old one")
    code, _, err = vfi(capsys, "interpolate", source, target, "--resume")
    assert (code, "--overwrite replaces it" in err, err.count("\n")) == (1, True, 1)
    assert target.read_text() == "the old one"
    assert vfi(capsys, "interpolate", source, target, "--resume", "--overwrite")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]
