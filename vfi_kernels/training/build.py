"""What a recipe names, made: objective with model, optimiser."""

from __future__ import annotations

from typing import Any, get_type_hints

import torch
from torch import nn

from .. import models
from .objectives import OBJECTIVES
from .perceptual import Perceptual
from .recipes import Optimiser, Recipe, RecipeError

__all__ = ["objective", "optimiser"]

OPTIMISERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "adamax": torch.optim.Adamax}


def objective(recipe: Recipe) -> nn.Module:
    """The objective with its model, weights drawn from the recipe's seed.

    Raises:
        RecipeError: no such model or objective, or arguments that it does not have.
        OSError, CheckpointError: a file of weights cannot be read.
    """
    if recipe.objective.name not in OBJECTIVES:
        raise RecipeError(f"objective.name: there are {', '.join(OBJECTIVES)}; got {recipe.objective.name!r}")
    torch.manual_seed(recipe.seed)
    wanted = recipe.model
    if wanted.checkpoint is None:
        model = _made("model", models.untrained, wanted.name, **wanted.options)
    else:
        model = _made("model", models.create, wanted.name, checkpoint=wanted.checkpoint, **wanted.options)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError(f"model.name: {wanted.name} has nothing to train")
    kind = OBJECTIVES[recipe.objective.name]
    trains = get_type_hints(kind.__init__)["model"]
    if not isinstance(model, trains):
        raise RecipeError(
            f"objective.name: {recipe.objective.name} trains {trains.__name__}, not {wanted.name}"
        )
    more: dict[str, Any] = {}
    if (loss := recipe.objective.perceptual) is not None:
        more["perceptual"] = Perceptual(loss.layer, loss.weights, mean=loss.mean, std=loss.std)
    return _made("objective", kind, model, **recipe.objective.options, **more)


def optimiser(wanted: Optimiser, model: nn.Module) -> torch.optim.Optimizer:
    """Its groups have a "factor": what the learning rate is multiplied by."""
    named = [(name, value) for name, value in model.named_parameters() if value.requires_grad]
    biases = [value for name, value in named if name.endswith("bias")]
    weights = [value for name, value in named if not name.endswith("bias")]
    decay = wanted.weight_decay if wanted.bias_decay else 0.0
    groups = [
        {"params": weights, "factor": 1.0},
        {"params": biases, "factor": wanted.bias_rate, "weight_decay": decay},
    ]
    kind = OPTIMISERS[wanted.name]
    return kind(groups, lr=wanted.rate, betas=wanted.betas, weight_decay=wanted.weight_decay)


def _made(where: str, make: Any, *arguments: object, **options: object) -> Any:
    try:
        return make(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{where}: {error}") from error
