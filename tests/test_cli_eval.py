"""`vfi eval`: what it writes, which models it makes, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("av", reason="evaluation needs PyAV")
pytest.importorskip("cv2", reason="evaluation needs OpenCV")

from eval_trees import means, noise, psnr, refused, run, save, vimeo90k

from vfi_kernels import models


def test_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vimeo90k(tmp_path)
    table = tmp_path / "report.md"
    run(tmp_path, "--data", "vimeo90k", tmp_path, "--model", "blend", "--markdown", table)
    assert table.read_text() == capsys.readouterr().out
    lines = table.read_text().splitlines()
    assert lines[0] == "## Vimeo90K"
    assert len({len(line) for line in lines[2:]}) == 1
    command = ("--data", "vimeo90k", tmp_path, "--model", "blend", "--markdown")
    assert "exists already; --overwrite replaces it" in refused(capsys, *command, table)
    assert "there is no folder" in refused(capsys, *command, tmp_path / "absent" / "a.md")


def test_progress_has_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs times models, on a terminal."""
    vimeo90k(tmp_path)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    run(tmp_path, "--data", "vimeo90k", tmp_path, "--model", "blend", "--model", "repeat")
    assert "4/4 [" in capsys.readouterr().err


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vimeo90k(tmp_path)
    data = ("--data", "vimeo90k", tmp_path)
    assert "snu-film" in refused(capsys, "--data", "snufilm", tmp_path, code=2)
    assert "one PATH; got 0" in refused(capsys, "--data", "xiph", code=2)
    assert "one PATH; got 2" in refused(capsys, *data, tmp_path, code=2)
    assert "only files" in refused(capsys, "--data", "xiph", "https://example.org/", code=2)
    assert "--factor: is for videos" in refused(capsys, *data, "--factor", 2, code=2)
    assert "from 2 to 64" in refused(capsys, "--data", "videos", tmp_path, "--factor", 1, code=2)
    assert "from 1 on" in refused(capsys, *data, "--limit", 0, code=2)
    assert "rife needs --checkpoint" in refused(capsys, *data, "--model", "rife", code=2)
    assert "no model takes" in refused(capsys, *data, "--model", "blend", "--checkpoint", "a.pth", code=2)
    assert "--scale: blend has none" in refused(capsys, *data, "--model", "blend", "--scale", 0.5, code=2)
    assert "did you mean 'flow'" in refused(capsys, *data, "--model", "folw", code=2)
    (tmp_path / "sequences" / "00001" / "0002" / "im2.png").write_text("no image")
    assert "im2.png: is no image, or damaged" in refused(capsys, *data, "--model", "blend")
    assert "No such file" in refused(capsys, *data, "--lpips", tmp_path / "a.pth", tmp_path / "b.pth")


def test_learned_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Checkpoints go to the models that have weights, in their order; the scale goes to the model."""
    vimeo90k(tmp_path)
    weights = tmp_path / "dvf.safetensors"
    models.checkpoints.write(weights, models.create("dvf").state_dict(), "dvf")
    command = ("--data", "vimeo90k", tmp_path, "--limit", 1)
    report = run(tmp_path, *command, "--model", "blend", "--model", "dvf", "--checkpoint", weights)
    assert [result["model"] for result in report["results"]] == ["blend", "dvf (dvf.safetensors)"]
    detected = run(tmp_path, *command, "--checkpoint", weights)
    assert detected["results"][0]["mean"] == report["results"][1]["mean"]
    # One that has weights in the package takes a file that no other model needs.
    both = ("--model", "flow_refined", "--model", "dvf", "--checkpoint", weights)
    report = run(tmp_path, *command, *both)
    assert [result["model"] for result in report["results"]] == ["flow_refined", "dvf (dvf.safetensors)"]
    capsys.readouterr()
    assert "does not fit flow_refined" in refused(capsys, *command, *both, "--checkpoint", weights)
    frames = tmp_path / "frames"
    for number in range(4):
        save(frames / f"{number}.png", noise(number))
    thirds = ("--data", "videos", frames, "--factor", 3, "--model", "dvf", "--checkpoint", weights)
    assert "knows the middle only" in refused(capsys, *thirds)


def test_scale_goes_to_the_model(tmp_path: Path) -> None:
    """RIFE estimates flow at that size, so the frames come out differently."""
    vimeo90k(tmp_path)
    weights = tmp_path / "rife.safetensors"
    models.checkpoints.write(weights, models.create("rife_v4.6").state_dict(), "rife_v4.6")
    command = ("--data", "vimeo90k", tmp_path, "--limit", 1, "--checkpoint", weights)
    psnrs = [
        means(run(tmp_path, *command, "--model", "rife_v4.6", *scale))["Vimeo90K"]["PSNR"]
        for scale in ((), ("--scale", 1), ("--scale", 0.5))
    ]
    assert psnrs[0] == psnrs[1] != psnrs[2]


def test_equal_frames_do_not_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, seed in enumerate((0, 0, 1, 2, 3)):
        save(tmp_path / "still" / f"{number}.png", noise(seed))
    report = run(tmp_path, "--data", "videos", tmp_path / "still", "--model", "repeat")
    result = report["results"][0]
    assert [row["PSNR"] is None for row in result["frames"]] == [True, False]
    assert result["mean"]["PSNR"] == pytest.approx(psnr(noise(1), noise(2)), abs=1e-6)
    assert result["counted"] == {"PSNR": 1, "SSIM": 2, "SSIM 3-D": 2, "IE": 2}
    assert "here, 2 frames, 1 left out of the PSNR" in capsys.readouterr().out
