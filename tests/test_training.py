"""The trainer: steps, their equivalents, what is written, what stops it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from functools import partial
from itertools import repeat
from pathlib import Path

import pytest
import torch
from torch import Tensor

pytest.importorskip("yaml", reason="recipes are YAML")
pytest.importorskip("tensorboard", reason="training writes TensorBoard's events")

from trainings import ALONE, events, log, parts, recipe_file, same, tiny, weights

from vfi_kernels import cli, models
from vfi_kernels.training import pictures, recipes, sources
from vfi_kernels.training.processes import together
from vfi_kernels.training.recipes import Recipe, RecipeError
from vfi_kernels.training.trainer import Trainer

# Sums are in the same order in every process.
pytestmark = pytest.mark.usefixtures("one_thread")


def gradients(trainer: Trainer) -> dict[str, Tensor]:
    """Of the next step of the optimiser, by name; filled when it comes."""
    found: dict[str, Tensor] = {}

    def note(*_: object) -> None:
        found.update((name, value.grad.clone()) for name, value in trainer.model.named_parameters())

    trainer.optimiser.register_step_pre_hook(note)
    return found


SYSTEMS = {
    # Sides of the frames, steps, and what of the loss they may leave.
    "dvf": (32, 20, 0.8),
    "dvf_small": (32, 20, 0.8),
    "sepconv_small": (32, 20, 0.5),
    "sepconv++_small": (32, 20, 0.5),
    "superslomo_small": (32, 20, 0.8),
    "rife_small": (64, 25, 0.7),
    "rife_m_small": (64, 25, 0.7),
    "rife_v4_small": (64, 40, 0.7),
    "default": (64, 40, 0.8),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_overfits_one_batch(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side, steps, left = SYSTEMS[name]
    changes = [f"data.size=[{side}, {side}]", f"steps={steps}", "batch=2", "log=1", "validation.samples=1"]
    changes += ["data.kind=synthetic", "data.workers=0", "epochs=null"]
    if "sepconv" in name:  # near blend there is little left to lose
        changes.append("model.options={}")
    stream = sources.stream
    monkeypatch.setattr(sources, "stream", lambda *arguments: repeat(next(stream(*arguments))))
    trainer = Trainer(recipes.load(name, [*changes, "schedule={kind: constant}"]), tmp_path, ALONE)
    assert trainer.run() == 0
    losses = log(tmp_path)
    assert len(losses) == steps
    assert losses[steps] < left * losses[1]
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


def test_accumulation_is_a_larger_batch(tmp_path: Path) -> None:
    found = []
    for count in (1, 2, 4):
        recipe = tiny(f"accumulate={count}")
        trainer = Trainer(recipe, tmp_path, ALONE)
        batches = parts(recipe)
        assert [len(batch["timestep"]) for batch in batches] == [4 // count] * count
        found.append((gradients(trainer), trainer.step(batches, [])))
    (whole, (terms, length, *_)), *others = found
    assert whole
    assert length == pytest.approx(
        torch.stack([g.square().sum() for g in whole.values()]).sum().sqrt().item()
    )
    for accumulated, (its_terms, *_) in others:
        assert its_terms == pytest.approx(terms, rel=1e-5)
        torch.testing.assert_close(accumulated, whole, rtol=1e-3, atol=1e-6)


def test_two_processes_are_a_larger_batch(tmp_path: Path) -> None:
    recipe = tiny("accumulate=2")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_process, (port, recipe, tmp_path), nprocs=2)
    trainer = Trainer(tiny(), tmp_path / "alone", ALONE)
    expected = gradients(trainer)
    terms, *_ = trainer.step(parts(tiny()), [])
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found["terms"] == pytest.approx(terms, rel=1e-5)
        torch.testing.assert_close(found["gradients"], expected, rtol=1e-3, atol=1e-6)
        # One of them was asked to stop.
        assert found["stop"] == signal.SIGTERM
        assert found["psnr"] == pytest.approx(trainer.validate(), abs=1e-3)


def _process(rank: int, port: int, recipe: Recipe, folder: Path) -> None:
    """As torchrun starts it."""
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    with together(torch.device("cpu")) as group:
        trainer = Trainer(recipe, folder / "together", group)
        found = gradients(trainer)
        terms, _, _, stop = trainer.step(parts(recipe, group), [signal.SIGTERM] * rank)
        psnr = trainer.validate()
    state = {"gradients": found, "terms": terms, "stop": int(stop), "psnr": psnr}
    torch.save(state, folder / f"{rank}.pt")


def test_average_by_hand(tmp_path: Path) -> None:
    trainer = Trainer(tiny("average=0.75", "steps=3"), tmp_path, ALONE)
    seen: list[dict[str, Tensor]] = []
    trainer.optimiser.register_step_post_hook(
        lambda *_: seen.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
    )
    trainer.run()
    mean = seen[0]
    for state in seen[1:]:
        mean = {name: 0.75 * mean[name] + 0.25 * value for name, value in state.items()}
    torch.testing.assert_close(weights(tmp_path), mean)
    assert not same(weights(tmp_path), seen[-1])


def test_optimiser_groups(tmp_path: Path) -> None:
    recipe = tiny(
        "optimiser={name: adam, rate: 0.1, weight_decay: 0.01, bias_rate: 2, bias_decay: false}",
        "schedule.warmup=4",
    )
    trainer = Trainer(recipe, tmp_path, ALONE)
    for expected in (0, 0.025, 0.05):
        trainer.step(parts(recipe), [])
        weights, biases = trainer.optimiser.param_groups
        assert (weights["lr"], biases["lr"]) == pytest.approx((expected, 2 * expected))
    assert (weights["weight_decay"], biases["weight_decay"]) == (0.01, 0)
    assert {value.dim() for value in biases["params"]} == {1}


@pytest.mark.parametrize("options", [["precision=bfloat16", "channels_last=true"], ["precision=float16"]])
def test_half_precision(options: list[str], tmp_path: Path) -> None:
    """Trains, and nearly as in single precision; flow stays float32."""
    trainer = Trainer(tiny(*options), tmp_path / "half", ALONE)
    batches = [trainer._laid_out(batch) for batch in parts(tiny())]
    assert (
        batches[0]["frame0"].is_contiguous(memory_format=torch.channels_last) == trainer.recipe.channels_last
    )
    terms, _, outcome, _ = trainer.step(batches, [])
    assert outcome.flow.dtype == torch.float32
    expected, *_ = Trainer(tiny(), tmp_path / "single", ALONE).step(parts(tiny()), [])
    assert terms == pytest.approx(expected, rel=0.05)
    assert trainer.run() == 0
    assert all(map(torch.isfinite, map(torch.sum, trainer.model.state_dict().values())))


def test_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The losses are an eager training's; a compiler of machine code would take minutes."""
    compiled: list[torch.fx.GraphModule] = []

    def noted(graph: torch.fx.GraphModule, _: object) -> Callable:
        compiled.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=noted))
    changes = ["steps=3", "validation.samples=1", "accumulate=2"]
    for folder, also in (("eager", []), ("compiled", ["compile=true"])):
        assert Trainer(tiny(*changes, *also), tmp_path / folder, ALONE).run() == 0
        assert bool(compiled) == bool(also)
    assert log(tmp_path / "compiled") == pytest.approx(log(tmp_path / "eager"), rel=1e-5)
    assert same(weights(tmp_path / "compiled"), weights(tmp_path / "eager"))


def test_output_folder(tmp_path: Path) -> None:
    """What is written, and that a model and the command line take it."""
    assert (
        cli.main(["train", recipe_file(tmp_path), "steps=5", "validation.every=3", "--out", str(tmp_path)])
        == 0
    )
    names = {path.name.partition(".tfevents")[0] for path in tmp_path.iterdir()}
    assert names == {
        "tiny.yaml",
        "recipe.yaml",
        "checkpoints",
        "model.safetensors",
        "log.jsonl",
        "events.out",
    }
    assert recipes.load(str(tmp_path / "recipe.yaml")) == tiny("steps=5", "validation.every=3")
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == [
        "step-00000004.pt",
        "step-00000005.pt",
    ]
    models.create("rife_v4.15.lite", checkpoint=tmp_path / "model.safetensors")
    assert models.checkpoints.intended(tmp_path / "model.safetensors") == "rife_v4.15.lite"
    noted = {"ensemble": False, "scale": 1.0, "tta": False}
    assert models.checkpoints.noted(tmp_path / "model.safetensors") == noted
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "psnr" in line] == [3, 5]
    assert all(0 <= line["data"] <= 1 and line["frames_per_second"] > 0 for line in lines if "loss" in line)
    told = events(tmp_path)
    scalars = {"loss", "loss/reconstruction", "loss/flow", "rate", "gradient", "frames_per_second"}
    assert {*scalars, "time_in_data", "psnr/model", "psnr/blend"} == set(told.Tags()["scalars"])
    assert [event.step for event in told.Scalars("loss")] == [1, 2, 3, 4, 5]
    (tag,) = told.Tags()["images"]
    assert told.Images(tag)[0].width == 6 * 32


def test_files_in_workers(tmp_path: Path) -> None:
    """A stream that begins later goes on as one that began at once; epochs have orders of their own."""
    cv2 = pytest.importorskip("cv2")
    for clip in range(5):
        folder = tmp_path / "clips" / str(clip)
        folder.mkdir(parents=True)
        for number in range(6):
            image = torch.randint(256, (40, 40, 3), dtype=torch.uint8).numpy()
            cv2.imwrite(str(folder / f"{number}.png"), image)
    recipe = tiny(
        "objective={name: reconstruction}",
        f"data={{kind: clips, root: {tmp_path / 'clips'}, window: 3, workers: 2}}",
        "steps=null",
        "epochs=1.5",
        "batch=4",
    )
    source = sources.dataset(recipe.data, 0)
    assert len(source) == 10

    def read(first: int, workers: int) -> list[dict[str, Tensor]]:
        numbers = sources.parts(recipe, 0, 1, first, 6)
        return list(sources.stream(source, workers, numbers, torch.device("cpu")))

    whole = read(0, 2)
    assert len(whole) == 6
    for late in (read(2, 2), read(2, 0)):
        for a, b in zip(whole[2:], late, strict=True):
            assert same(a, b)
    orders = [[int(sources._order(0, epoch, 10)[place]) for place in range(10)] for epoch in (0, 1)]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]
    trainer = Trainer(recipe, tmp_path / "run", ALONE)
    assert trainer.steps == 4
    assert trainer.run() == 0


def test_held_out_scenes_are_others() -> None:
    recipe = tiny()
    (sample,) = sources.samples(sources.held_out(recipe), 1, 0, 1)
    assert not torch.equal(sample["frame0"][0], parts(recipe)[0]["frame0"][0])
    again = next(sources.samples(sources.held_out(tiny("seed=5")), 1, 0, 1))
    assert same(sample, again)
    shares = [len(list(sources.samples(sources.held_out(recipe), 5, rank, 2))) for rank in range(2)]
    assert shares == [3, 2]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["accumulate=3"], "batch 4 cannot be divided into 3 parts on each of 1 processes"),
        (["model.name=sepconv", "objective={}"], "data: sepconv knows the middle only"),
        (
            ["model.name=sepconv", "objective={}", "data.timestep=0.5", "validation.data.timestep=null"],
            "validation.data: sepconv knows the middle only",
        ),
        (["data.kind=clips"], r"data.kind: only synthetic scenes have a known flow; got clips"),
        (["data.kind=clips", "objective={}"], r"data.root: clips are read from a folder"),
    ],
)
def test_what_does_not_go_together(overrides: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        Trainer(tiny(*overrides), tmp_path, ALONE)


def test_flow_picture() -> None:
    """Nothing is white, right is red; opposite ways are other colours, half the way is paler."""
    flow = torch.tensor([[0.0, 0], [2, 0], [1, 0], [-2, 0], [4, 0]]).view(5, 2, 1, 1)
    white, red, pale, cyan, beyond = pictures.flow_picture(flow, 2).flatten(1).tolist()
    assert white == [1, 1, 1]
    assert red == pytest.approx([1, 0, 0], abs=1e-6)
    assert pale == pytest.approx([1, 0.5, 0.5], abs=1e-6)
    assert cyan[0] == 0
    assert cyan[2] == 1
    assert beyond == pytest.approx([0.75, 0, 0], abs=1e-6)
    assert pictures.wheel().shape == (55, 3)
    assert pictures.flow_picture(flow).max() <= 1
