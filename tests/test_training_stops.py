"""What stops a training, and how it goes on: signals, a kill, NaN."""

from __future__ import annotations

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


def test_goes_on_after_sigterm(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = Trainer.step

    def interrupted(self: Trainer, *arguments: object) -> object:
        if self.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    command = ["train", recipe_file(tmp_path), *EVERYTHING, "--out", str(tmp_path), "--device", "cpu"]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
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
