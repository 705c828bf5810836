"""Recipes: reading them, their errors, and those of the package."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

pytest.importorskip("yaml", reason="recipes are YAML")

from vfi_kernels import cli
from vfi_kernels.training import build, recipes, schedules
from vfi_kernels.training.recipes import Recipe, RecipeError, Schedule
from vfi_kernels.training.sources import dataset

LEAST = "model: {name: rife}\nsteps: 10\nbatch: 4"


def test_defaults_and_values() -> None:
    recipe = recipes.parse(
        """
        model: {name: rife, options: {any_time: true}}
        epochs: 2
        data: {kind: clips, root: here, size: [64, 32], timestep: null, limits: {speed: 3}}
        optimiser: {rate: 1e-4, betas: [0.5, 0.9], clip: 1}
        """
    )
    assert recipe.model.options == {"any_time": True}
    assert (recipe.steps, recipe.epochs) == (None, 2.0)
    assert recipe.data.size == (64, 32)
    assert recipe.data.timestep is None
    assert (recipe.data.limits.speed, recipe.data.limits.camera) == (3.0, 12)
    assert recipe.optimiser.rate == 1e-4  # text to YAML
    assert recipe.optimiser.clip == 1.0
    assert recipe.objective.perceptual is None
    assert recipes.parse(recipes.dump(recipe)) == recipe


def test_overrides() -> None:
    recipe = recipes.parse(
        LEAST,
        [
            "data.limits.speed=4",
            "objective.perceptual.layer=vgg16.conv4_3",
            "objective.perceptual.mean=[0, 0, 0]",
            "model.options.scale=0.5",
            "steps=null",
            "epochs=3",
            "data.kind=clips",
            "model.checkpoint=a=b.pkl",
        ],
    )
    assert recipe.data.limits.speed == 4
    assert recipe.objective.perceptual.mean == (0, 0, 0)
    assert recipe.model.options == {"scale": 0.5}
    assert (recipe.steps, recipe.epochs) == (None, 3)
    assert recipe.model.checkpoint == "a=b.pkl"
    off = recipes.parse(
        "model: {name: a}\nsteps: 1\nobjective: {perceptual: {layer: b}}", ["objective.perceptual=null"]
    )
    assert off.objective.perceptual is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.rate=1", "optimizer: no such key; did you mean 'optimiser'"),
        ("optimiser.rates=1", "optimiser.rates: no such key; did you mean 'rate'"),
        ("data.limits.sped=1", "data.limits.sped: no such key; did you mean 'speed'"),
        ("optimiser.name=adamx", "optimiser.name: unknown 'adamx'; did you mean 'adamax'"),
        ("precision=int8", "precision: unknown 'int8'; there are float32, bfloat16, float16"),
        ("batch=4.5", "batch: expected a whole number; got 4.5"),
        ("batch=true", "batch: expected a whole number; got True"),
        ("batch=0", "batch must be 1 or more; got 0"),
        ("steps=0", "steps, or epochs, must be more than 0; got 0, None"),
        ("validation.every=0", "validation needs 1 step and 1 sample or more; got"),
        ("compile=1", "compile: expected true or false; got 1"),
        ("optimiser.rate=fast", "optimiser.rate: expected a number; got 'fast'"),
        ("optimiser.clip=fast", "optimiser.clip: expected a number or null; got 'fast'"),
        ("data.size=64", "data.size: expected a list of 2 int; got 64"),
        ("data.size=[64, 64, 3]", "data.size: expected a list of 2 int"),
        ("data.size=[64, 6.4]", r"data.size\[1\]: expected a whole number"),
        ("data=synthetic", "data: expected kind, root"),
        ("batch.size=4", "batch.size: batch has no parts; it is 4"),
        ("steps.a.b=4", "steps.a.b: steps has no parts; it is 10"),
        ("model.name=null", "model.name: expected text; got None"),
        ("steps=null", "give steps or epochs; got steps None, epochs None"),
        ("epochs=1", "give steps or epochs; got steps 10, epochs 1.0"),
        ("batch", "expected key=value"),
        ("data.size=[", "data.size is no YAML"),
    ],
)
def test_errors_of_overrides(override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipes.parse(LEAST, [override])


def test_errors_of_recipes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RecipeError, match=r"model is missing: name, options, checkpoint"):
        recipes.parse("steps: 10")
    with pytest.raises(RecipeError, match=r"recipe: expected model, about.*; got \['a'\]"):
        recipes.parse("- a")
    with pytest.raises(RecipeError, match="did you mean 'rife'"):
        recipes.load("rive")
    with pytest.raises(RecipeError, match=r"must be more than 0; got None, -1.0"):
        recipes.parse("model: {name: rife}\ndata: {kind: clips}\nepochs: -1")
    with pytest.raises(RecipeError, match=r"give steps"):
        recipes.parse("model: {name: rife}\nepochs: 3")
    with pytest.raises(FileNotFoundError):
        recipes.load(str(tmp_path / "none.yaml"))
    assert cli.main(["train", "rife_small", "batch=x"]) == 2
    assert cli.main(["train"]) == 2
    assert cli.main(["train", "rife", "--out", str(tmp_path), "--device", "cpu"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "batch: expected a whole number; got 'x'" in lines[0]
    assert "data.root=FOLDER" in lines[2]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", recipes.names())
def test_recipes_of_the_package(name: str) -> None:
    """Each is read, and its model, objective and optimiser are made."""
    recipe = recipes.load(name)
    assert recipe.about
    with torch.device("meta"):
        if recipe.objective.perceptual is not None:
            with pytest.raises(ValueError, match="weights"):
                build.objective(recipe)
            recipe = recipes.load(name, ["objective.perceptual=null"])
        objective = build.objective(recipe)
        build.optimiser(recipe.optimiser, objective.model)
    if recipe.data.kind != "synthetic":
        with pytest.raises(RecipeError, match=r"data\.root"):
            dataset(recipe.data, 0)


def test_list_and_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == recipes.names()
    assert cli.main(["train", "superslomo", "batch=3", "--no-perceptual", "--show"]) == 0
    shown = recipes.parse(capsys.readouterr().out)
    assert asdict(shown) == asdict(recipes.load("superslomo", ["batch=3", "objective.perceptual=null"]))


def test_overrides_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    """Before, between and behind options."""
    given = ["train", "rife_small", "batch=2", "--out", "a=b", "seed=5", "--show", "log=3"]
    assert cli.main(given) == 0
    assert recipes.parse(capsys.readouterr().out) == recipes.load(
        "rife_small", ["batch=2", "seed=5", "log=3"]
    )
    assert cli.main(["train", "--show", "rife_small", "--out"]) == 2
    assert cli.main(["train", "--shaw", "rife_small", "batch=2"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "argument --out: expected one argument" in errors[0]
    assert "unrecognized arguments: --shaw" in errors[1]


def test_errors_of_parts() -> None:
    def made(*overrides: str) -> Recipe:
        return build.objective(recipes.parse(LEAST, overrides))

    with pytest.raises(RecipeError, match="model: unknown model 'rive'; did you mean 'rife'"):
        made("model.name=rive")
    with pytest.raises(RecipeError, match=r"model: rife has scale, tta; got 'tree'"):
        made("model.options.tree=1")
    with pytest.raises(RecipeError, match=r"objective.name: there are reconstruction.*; got 'l1'"):
        made("objective.name=l1")
    with pytest.raises(RecipeError, match=r"objective: loss must be 'l1' or"):
        made("objective.options.loss=l3")
    with pytest.raises(RecipeError, match=r"objective.name: known_flow trains RIFE4, not rife"):
        made("objective.name=known_flow")
    with pytest.raises(
        RecipeError, match=r"objective: DVF: training needs mode 'interpolate'.*'extrapolate'"
    ):
        made("model={name: dvf, options: {mode: extrapolate}}", "objective.name=voxel_flow")
    with pytest.raises(RecipeError, match="blend has nothing to train"):
        made("model.name=blend")


def test_differences() -> None:
    """As they are typed; nothing of what only tells, writes or speeds up, nor of where files lie."""
    perceptual = "objective.perceptual={layer: vgg16.conv4_3, weights: %s}"
    begun = recipes.parse(LEAST, ["data={kind: clips, root: a}", perceptual % "a"])

    def apart(*overrides: str, old: Recipe = begun) -> tuple[list[str], list[str]]:
        new = recipes.parse(recipes.dump(old), overrides)
        return recipes.differences(asdict(old), new)

    free = [
        "log=1",
        "save=1",
        "keep=1",
        "validation={every: 1, samples: 1, data: {}}",
        "about=a",
        "compile=true",
    ]
    free += ["channels_last=true", "accumulate=2", "data.workers=1", "data.root=b", perceptual % "b"]
    assert apart(*free) == ([], [])
    assert apart("optimiser={name: adamax, betas: [0.5, 0.9]}", "average=0.99") == (
        ["optimiser.name=adamw", "'optimiser.betas=[0.9, 0.999]'", "average=null"],
        ["optimiser.name=adamax", "'optimiser.betas=[0.5, 0.9]'", "average=0.99"],
    )
    assert apart("model.options.scale=0.5") == (["'model.options={}'"], ["'model.options={scale: 0.5}'"])
    assert apart("objective.perceptual=null")[1] == ["objective.perceptual=null"]
    # What is to be typed leads back.
    assert apart("objective.perceptual=null", *map(unquoted, apart("objective.perceptual=null")[0])) == (
        [],
        [],
    )
    assert apart("data.photographs=a") == (["data.photographs=null"], ["data.photographs=a"])
    assert apart("steps=20") == ([], [])
    cosine = recipes.parse(LEAST, ["schedule.kind=cosine"])
    assert apart("steps=20", old=cosine) == (["steps=10"], ["steps=20"])
    both = ["steps=10", "schedule.kind=cosine"]
    assert apart("steps=20", "schedule.kind=constant", old=cosine)[0] == both


def unquoted(text: str) -> str:
    (word,) = shlex.split(text)
    return word


def test_schedules() -> None:
    """Against values by hand."""
    constant = Schedule(warmup=4)
    assert [schedules.share(constant, step, 10) for step in (0, 1, 3, 4, 9)] == [0, 0.25, 0.75, 1, 1]
    cosine = Schedule("cosine", warmup=2, final=0.2)
    shares = [schedules.share(cosine, step, 10) for step in (1, 2, 4, 6, 8, 10)]
    half = 0.5**0.5
    assert shares == pytest.approx([0.5, 1, 0.6 + 0.4 * half, 0.6, 0.6 - 0.4 * half, 0.2])
    steps = Schedule("milestones", milestones=(0.5, 0.75), factor=0.1)
    shares = [schedules.share(steps, step, 8) for step in (0, 3, 4, 5, 6, 7)]
    assert shares == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    # RIFE's: 3e-4 after 2,000 steps, 3e-6 at the end.
    rife = recipes.load("rife")
    rates = [
        rife.optimiser.rate * schedules.share(rife.schedule, step, 10_000) for step in (0, 1000, 2000, 10_000)
    ]
    assert rates == pytest.approx([0, 1.5e-4, 3e-4, 3e-6])
    slomo = recipes.load("superslomo").schedule
    assert [schedules.share(slomo, epoch, 200) for epoch in (99, 100, 150)] == pytest.approx([1, 0.1, 0.01])
