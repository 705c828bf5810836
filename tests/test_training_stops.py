"""What stops a training, and how it goes on: signals, a kill, NaN."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("yaml", reason="recipes are YAML")
pytest.importorskip("tensorboard", reason="training writes TensorBoard's events")

from trainings import ALONE, events, log, parts, recipe_file, same, tiny, weights

from vfi_kernels import cli
from vfi_kernels.data import Synthetic
from vfi_kernels.training import saving
from vfi_kernels.training.recipes import RecipeError
from vfi_kernels.training.trainer import Diverged, Trainer

# Sums are in the same order in every process.
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of six steps with all that a checkpoint has to hold."""
    folder = tmp_path_factory.mktemp("undisturbed")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    assert Trainer(tiny(*EVERYTHING), folder, ALONE).run() == 0
    torch.set_num_threads(before)
    return folder


EVERYTHING = ["average=0.9", "precision=float16", "schedule={kind: cosine, warmup: 2}", "accumulate=2"]


def interrupt(monkeypatch: pytest.MonkeyPatch, done: int) -> None:
    """SIGTERM in the step after so many."""
    step = Trainer.step

    def interrupted(self: Trainer, *arguments: object) -> object:
        if self.done == done:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(Trainer, "step", interrupted)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_goes_on_after_sigterm(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", recipe_file(tmp_path), *EVERYTHING, "--out", str(tmp_path), "--device", "cpu"]
    with monkeypatch.context() as patch:
        interrupt(patch, 2)
        assert cli.main(command) == 128 + signal.SIGTERM
    assert "SIGTERM: saved after step 3/6; --resume goes on" in capsys.readouterr().err
    assert saving.newest(tmp_path / "checkpoints").name == "step-00000003.pt"
    assert list(log(tmp_path)) == [1, 2, 3]
    assert cli.main(command) == 1  # not without being asked to
    assert "--resume goes on" in capsys.readouterr().err
    assert cli.main([*command, "--resume"]) == 0
    assert log(tmp_path) == log(undisturbed)
    assert same(weights(tmp_path), weights(undisturbed))


def test_goes_on_after_sigkill(undisturbed: Path, tmp_path: Path) -> None:
    arguments = ["train", recipe_file(tmp_path), *EVERYTHING, "--out", str(tmp_path), "--device", "cpu"]
    code = f"""
import os, signal, torch
from vfi_kernels import cli
from vfi_kernels.training.trainer import Trainer
torch.set_num_threads(1)
step = Trainer.step
def fatal(self, *arguments):
    if self.done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *arguments)
Trainer.step = fatal
cli.main({arguments!r})
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    # Five steps are told of, and the last checkpoint is after four.
    assert list(log(tmp_path)) == [1, 2, 3, 4, 5]
    with (tmp_path / "log.jsonl").open("a") as lines:
        lines.write('{"step": 6, "lo')  # as a kill may leave it
    assert cli.main([*arguments, "--resume"]) == 0
    assert log(tmp_path) == log(undisturbed)
    assert same(weights(tmp_path), weights(undisturbed))
    assert [event.step for event in events(tmp_path).Scalars("loss")] == [1, 2, 3, 4, 5, 6]


def test_a_stop_in_the_last_step_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(monkeypatch, 1)
    assert Trainer(tiny("steps=2"), tmp_path, ALONE).run() == 0
    assert "resume" not in capsys.readouterr().err
    assert [line["step"] for line in lines(tmp_path) if "psnr" in line] == [2]
    before = (tmp_path / "log.jsonl").read_text()
    assert Trainer(tiny("steps=2"), tmp_path, ALONE, resume=True).run() == 0
    assert (tmp_path / "log.jsonl").read_text() == before


def test_nothing_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stop where a validation is due, or by a kill in what comes after the last step."""
    recipe = tiny("steps=4", "validation.every=2")
    with monkeypatch.context() as patch:
        interrupt(patch, 1)
        assert Trainer(recipe, tmp_path, ALONE).run() == 128 + signal.SIGTERM

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for owner, name in ((Trainer, "validate"), (saving, "write_weights"), (saving, "write_checkpoint")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            with pytest.raises(KeyboardInterrupt):
                Trainer(recipe, tmp_path, ALONE, resume=True).run()
    trainer = Trainer(recipe, tmp_path, ALONE, resume=True)
    assert trainer.done == 2
    assert trainer.run() == 0
    assert [line["step"] for line in lines(tmp_path) if "psnr" in line] == [2, 4]
    assert same(weights(tmp_path), trainer.model.state_dict())


def test_refuses_to_go_on_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    command = ["train", recipe_file(tmp_path), "--out", str(folder), "--device", "cpu"]
    begun = ["steps=2", "schedule.kind=cosine", "batch=2"]
    assert cli.main([*command, *begun]) == 0
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert cli.main([*command, *begun, "optimiser={name: adamax, bias_rate: 2}", "--resume"]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "was begun with optimiser.name=adamw optimiser.bias_rate=1.0, and not with" in message
    assert "and not with optimiser.name=adamax optimiser.bias_rate=2.0; go on" in message
    assert f"model.checkpoint={folder / 'model.safetensors'} --out OTHER" in message
    # With what the first run was told left out; the message has it.
    assert cli.main([*command, "--resume"]) == 2
    assert "begun with batch=2 steps=2 schedule.kind=cosine, and" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == files
    assert cli.main([*command, *begun, "log=2", "accumulate=2", "validation.every=1", "--resume"]) == 0


def test_goes_on_for_longer(tmp_path: Path) -> None:
    """Where the schedule does not know of the end; and in no fewer steps than are done."""
    folder = tmp_path / "parts"
    assert Trainer(tiny("steps=2"), folder, ALONE).run() == 0
    with pytest.raises(RecipeError, match=r"steps: 2 are done in .*parts; got 1"):
        Trainer(tiny("steps=1"), folder, ALONE, resume=True)
    # Their time goes on too.
    with (folder / "log.jsonl").open("a") as told:
        told.write('{"step": 2, "loss": 0, "seconds": 1000.0}\n{"step": 3, "loss": 0, "seconds": 9000.0}\n')
    changes = ["steps=4", "save=1", "keep=1", "data.workers=1", "validation.every=1", "channels_last=true"]
    assert Trainer(tiny(*changes), folder, ALONE, resume=True).run() == 0
    seconds = [line["seconds"] for line in lines(folder) if "seconds" in line and line["step"] > 2]
    assert [1000 <= value < 9000 for value in seconds] == [True, True]
    assert Trainer(tiny("steps=4"), tmp_path / "whole", ALONE).run() == 0
    losses, expected = log(folder), log(tmp_path / "whole")
    assert [losses[step] for step in (3, 4)] == pytest.approx([expected[step] for step in (3, 4)], rel=1e-4)


def test_goes_on_with_the_scale(tmp_path: Path) -> None:
    """Of float16's loss: it changes too rarely to be missed above."""
    trainer = Trainer(tiny(*EVERYTHING), tmp_path, ALONE)
    trainer.step(parts(trainer.recipe), [])
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 8.0, "_growth_tracker": 3})
    trainer.save()
    again = Trainer(trainer.recipe, tmp_path, ALONE, resume=True)
    assert again.done == 1
    assert again.scaler.state_dict() == trainer.scaler.state_dict()


def test_nan_stops_and_leaves_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = Synthetic.batch

    def spoiled(self: Synthetic, numbers: range, *device: object) -> dict[str, Tensor]:
        batch = make(self, numbers, *device)
        if 9 in numbers:
            batch["target"][1, 0, 5, 5] = torch.nan
        return batch

    monkeypatch.setattr(Synthetic, "batch", spoiled)
    assert cli.main(["train", recipe_file(tmp_path), "--out", str(tmp_path)]) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    file = tmp_path / "diverged" / "step-00000002-process-0.pt"
    assert "step 2: loss is not finite" in message
    assert "reconstruction nan" in message
    assert message.endswith(f"its batch is in {file}")
    state = torch.load(file, weights_only=True)
    assert state["step"] == 2
    assert state["batches"][0]["target"].isnan().nonzero().tolist() == [[1, 0, 5, 5]]
    assert not torch.stack([value.isnan().any() for value in weights(tmp_path).values()]).any()
    assert sorted(log(tmp_path)) == [1, 2]


def test_a_gradient_that_is_not_finite_stops(tmp_path: Path) -> None:
    """Though the loss is: the root's slope at zero."""
    trainer = Trainer(tiny(), tmp_path, ALONE)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    first = next(trainer.model.parameters())
    first.register_hook(lambda grad: grad * torch.inf)
    with pytest.raises(Diverged, match=r"gradient (nan|inf)"):
        trainer.step(parts(tiny()), [])
    assert same(trainer.model.state_dict(), before)
