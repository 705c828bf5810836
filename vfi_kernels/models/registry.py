"""Models by name."""

from __future__ import annotations

from difflib import get_close_matches

from .base import Interpolator
from .baselines import Blend, Repeat
from .flow import Flow

__all__ = ["create", "names"]

MODELS: dict[str, type[Interpolator]] = {"flow": Flow, "blend": Blend, "repeat": Repeat}


def names() -> list[str]:
    """The names that `create` knows."""
    return list(MODELS)


def create(name: str, **options: object) -> Interpolator:
    """A model, ready to use, on the CPU and in evaluation mode.

    Args:
        name: one of `names()`.
        options: the model's own arguments.

    Raises:
        ValueError: no such model; the message names the nearest.
        ImportError: the model needs a package that is not installed; the message says how to get it.
    """
    if name not in MODELS:
        near = get_close_matches(name.lower(), MODELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(MODELS)}"
        raise ValueError(f"unknown model {name!r}; {hint}")
    return MODELS[name](**options).eval()
