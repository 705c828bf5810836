"""A training of a few seconds, and what is read of one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from vfi_kernels import models
from vfi_kernels.training import recipes, sources
from vfi_kernels.training.processes import Group
from vfi_kernels.training.recipes import Recipe

ALONE = Group(0, 1, torch.device("cpu"))

# The smallest network, every step of it seen.
TINY = """
model: {name: rife_v4.15.lite}
objective: {name: known_flow, options: {loss: charbonnier}}
data: {size: [32, 32], timestep: null, limits: {layers: 2, blur: 0}}
batch: 4
steps: 6
validation: {every: 100, samples: 2}
log: 1
save: 2
"""


def tiny(*overrides: str) -> Recipe:
    return recipes.parse(TINY, overrides)


def log(folder: Path) -> dict[int, float]:
    """Losses by step."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def weights(folder: Path) -> dict[str, Tensor]:
    return models.checkpoints.read(folder / "model.safetensors")


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def parts(recipe: Recipe, group: Group = ALONE) -> list[dict[str, Tensor]]:
    """The batches of the first step."""
    source = sources.dataset(recipe.data, recipe.seed, flows=True)
    numbers = sources.parts(recipe, group.rank, group.size, 0, 1)
    return list(sources.stream(source, 0, numbers, group.device))


def events(folder: Path) -> object:
    """TensorBoard's."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def recipe_file(folder: Path) -> str:
    path = folder / "tiny.yaml"
    path.write_text(TINY)
    return str(path)
