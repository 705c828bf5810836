"""Models by name: how to make one, whose weights it takes, and which model a file of weights is for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial

import torch
from torch import Tensor

from . import checkpoints
from .base import Interpolator
from .baselines import Blend, Repeat
from .checkpoints import CheckpointError, Shapes
from .dvf import DVF
from .flow import Flow
from .rife import RIFE
from .rife_4x import RIFE4
from .rife_table import VERSIONS
from .sepconv import SepConv
from .sepconv_plus import SepConvPlus
from .superslomo import SuperSloMo

__all__ = ["Entry", "create", "detect", "entry", "names"]


@dataclass(frozen=True)
class Entry:
    """What there is to know about a model before it is made."""

    factory: Callable[..., Interpolator]
    licence: str | None = None
    """Of the weights that the authors released; None for a model without weights."""
    source: str | None = None
    """Where these are."""

    @property
    def learned(self) -> bool:
        return self.licence is not None


NONCOMMERCIAL = "non-commercial research"
PAPER = "https://github.com/hzwer/ECCV2022-RIFE (train_log/flownet.pkl)"
PRACTICAL = "https://github.com/hzwer/Practical-RIFE (train_log/flownet.pkl)"

MODELS: dict[str, Entry] = {
    "dvf": Entry(DVF, NONCOMMERCIAL, "https://github.com/liuziwei7/voxel-flow (PyTorch weights: its issue 4)"),
    "sepconv": Entry(SepConv, NONCOMMERCIAL, "http://content.sniklaus.com/sepconv/network-l1.pytorch (or -lf)"),
    "sepconv++": Entry(
        SepConvPlus, NONCOMMERCIAL, "http://content.sniklaus.com/resepconv/network-paper.pytorch"
    ),
    "superslomo": Entry(SuperSloMo, "MIT", "https://github.com/avinashpaliwal/Super-SloMo"),
    "rife": Entry(RIFE, "MIT", PAPER),
    "rife_m": Entry(partial(RIFE, any_time=True), "MIT", PAPER),
    "rife_2r": Entry(partial(RIFE, double=True), "MIT", PAPER),
    **{f"rife_v{version}": Entry(partial(RIFE4, version), "MIT", PRACTICAL) for version in VERSIONS},
    "flow": Entry(Flow),
    "blend": Entry(Blend),
    "repeat": Entry(Repeat),
}


def names() -> list[str]:
    """The names that `create` knows."""
    return list(MODELS)


def entry(name: str) -> Entry:
    """What is known about model `name`.

    Raises:
        ValueError: no such model; the message names the nearest.
    """
    if name not in MODELS:
        near = get_close_matches(name.lower(), MODELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(MODELS)}"
        raise ValueError(f"unknown model {name!r}; {hint}")
    return MODELS[name]


def create(
    name: str, *, checkpoint: str | os.PathLike[str] | None = None, **options: object
) -> Interpolator:
    """A model, ready to use, on the CPU and in evaluation mode.

    Args:
        name: one of `names()`.
        checkpoint: the file of weights that the model's authors released, or a safetensors file of
            `vfi convert`. Without one the weights are random: for training.
        options: the model's own arguments.

    Raises:
        ValueError: no such model, the message names the nearest; or a checkpoint for a model without weights.
        OSError: the checkpoint cannot be opened.
        CheckpointError: it is not one of this model; the message says what differs, and which model it fits.
        ImportError: the model needs a package that is not installed; the message says how to get it.
    """
    known = entry(name)
    if checkpoint is None:
        return known.factory(**options).eval()
    if not known.learned:
        raise ValueError(f"{name} has no weights; got the checkpoint {os.fspath(checkpoint)!r}")
    state = checkpoints.read(checkpoint)
    model = known.factory(**options)
    misfit = checkpoints.compare(
        checkpoints.shapes(state), checkpoints.shapes(model.state_dict()), model.extras
    )
    if misfit:
        raise CheckpointError(f"{os.fspath(checkpoint)} does not fit {name}: {misfit}; {_advice(state)}")
    checkpoints.load(model, state)
    return model.eval()


def detect(state: dict[str, Tensor]) -> list[str]:
    """The models that weights fit, as `checkpoints.read` returns them.

    Several where versions share one network. Those of `rife` fit `rife_2r` as well, which is another network.
    """
    found = checkpoints.shapes(state)
    return [name for name, misfit in _misfits(found).items() if not misfit]


@cache
def expected(name: str) -> tuple[Shapes, tuple[str, ...]]:
    """Names and shapes of a model's weights, and how the names of documented extra tensors start."""
    with torch.device("meta"):
        model = MODELS[name].factory()
    return checkpoints.shapes(model.state_dict()), model.extras


def _misfits(found: Shapes) -> dict[str, checkpoints.Misfit]:
    learned = (name for name, known in MODELS.items() if known.learned)
    return {name: checkpoints.compare(found, *expected(name)) for name in learned}


def _advice(state: dict[str, Tensor]) -> str:
    misfits = _misfits(checkpoints.shapes(state))
    fitting = [name for name, misfit in misfits.items() if not misfit]
    if fitting:
        return f"it fits {', '.join(fitting)}"
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    return f"it fits no model, {nearest} comes nearest"
