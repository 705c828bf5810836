"""Models by name: how to make one, whose weights it takes, and which model a file of weights is for."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, partial
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import checkpoints
from .base import Interpolator
from .baselines import Blend, Repeat
from .checkpoints import CheckpointError, Misfit, Shapes
from .dvf import DVF
from .flow import Flow
from .flow_refined import FlowRefined
from .rife import RIFE
from .rife_4x import RIFE4
from .rife_table import VERSIONS
from .sepconv import SepConv
from .sepconv_plus import SepConvPlus
from .superslomo import SuperSloMo

__all__ = [
    "Entry",
    "advice",
    "blank",
    "check",
    "create",
    "detect",
    "entry",
    "fitted",
    "guessed",
    "names",
    "options",
    "parameters",
    "told",
    "untrained",
]


@dataclass(frozen=True)
class Entry:
    """What there is to know about a model before it is made."""

    factory: Callable[..., Interpolator]
    licence: str | None = None
    """Of the weights that the authors released; None for a model without weights."""
    source: str | None = None
    """Where these are."""
    forms: tuple[Mapping[str, Any], ...] = ({},)
    """Options that change which weights there are: a file tells them."""
    untold: tuple[str, ...] = ()
    """Options that weights were trained for and that nothing but a file's note tells."""
    weights: Path | None = None
    """The file of weights in this package, where there is one."""

    @property
    def network(self) -> tuple[object, ...]:
        """What the factory builds; equal for versions that differ in their weights alone."""
        if not isinstance(self.factory, partial):
            return (self.factory,)
        versions = (VERSIONS[version] for version in self.factory.args)
        return self.factory.func, *versions, *self.factory.keywords.items()

    @property
    def learned(self) -> bool:
        return self.licence is not None


# Arguments that tell one of the names below from another.
NAMED = ("any_time", "double")
# And those that are nothing to a model that is not trained.
TRAINED = ("begin_as_blend", "momentum")

WEIGHTS = Path(__file__).parent / "weights"

NONCOMMERCIAL = "non-commercial research"
PAPER = "https://github.com/hzwer/ECCV2022-RIFE, links in its README: flownet.pkl of"
PRACTICAL = "https://github.com/hzwer/Practical-RIFE, links in its README: flownet.pkl of"

MODELS: dict[str, Entry] = {
    "dvf": Entry(
        DVF,
        NONCOMMERCIAL,
        "https://github.com/liuziwei7/voxel-flow (PyTorch weights: its issue 4)",
        ({}, {"multiscale": True}),
        ("mode",),
    ),
    "sepconv": Entry(
        SepConv, NONCOMMERCIAL, "http://content.sniklaus.com/sepconv/network-l1.pytorch (or -lf)"
    ),
    "sepconv++": Entry(
        SepConvPlus, NONCOMMERCIAL, "http://content.sniklaus.com/resepconv/network-paper.pytorch"
    ),
    "superslomo": Entry(
        SuperSloMo,
        "MIT",
        "https://github.com/avinashpaliwal/Super-SloMo, link in its README: SuperSloMo.ckpt",
    ),
    "rife": Entry(RIFE, "MIT", f"{PAPER} RIFE"),
    "rife_m": Entry(partial(RIFE, any_time=True), "MIT", f"{PAPER} RIFE_m"),
    "rife_2r": Entry(partial(RIFE, double=True), "MIT", f"{PAPER} RIFE 2R"),
    **{
        f"rife_v{version}": Entry(partial(RIFE4, version), "MIT", f"{PRACTICAL} {version}")
        for version in VERSIONS
    },
    "flow": Entry(Flow),
    "flow_refined": Entry(
        FlowRefined, "MIT", "in this package", weights=WEIGHTS / "flow_refined.safetensors"
    ),
    "blend": Entry(Blend),
    "repeat": Entry(Repeat),
}


def names() -> list[str]:
    """The names that `create` knows."""
    return list(MODELS)


def entry(name: str) -> Entry:
    """What is known about model `name`.

    Raises:
        TypeError: the name is no string.
        ValueError: no such model; the message names the nearest.
    """
    if not isinstance(name, str):
        raise TypeError(f"models: name must be a string, one of models.names(); got {name!r}")
    if name not in MODELS:
        near = get_close_matches(name.lower(), MODELS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(MODELS)}"
        raise ValueError(f"unknown model {name!r}; {hint}")
    return MODELS[name]


def options(name: str) -> dict[str, Any]:
    """The arguments that decide the frames of model `name`, with their defaults.

    Raises:
        ValueError: no such model; the message names the nearest.
    """
    return {option: default for option, default in _arguments(name).items() if option not in TRAINED}


def guessed(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """What is taken for options that the weights of `name` were trained for, where `found` has them not."""
    return {option: options(name)[option] for option in entry(name).untold if option not in found}


def check(name: str, given: Mapping[str, Any]) -> None:
    """
    Raises:
        ValueError: an option that model `name` has not, or a value of another kind.
    """
    known = _arguments(name)
    for option, value in given.items():
        if option not in known:
            near = get_close_matches(option, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{name} has {', '.join(options(name)) or 'no options'}; got {option!r}{hint}")
        flag = isinstance(value, bool)
        if isinstance(known[option], bool) and not flag:
            raise ValueError(f"{name}: {option} must be true or false; got {value!r}")
        if isinstance(known[option], float) and (flag or not isinstance(value, Real)):
            raise ValueError(f"{name}: {option} must be a number; got {value!r}")


def _arguments(name: str) -> dict[str, Any]:
    factory = entry(name).factory
    found: dict[str, Any] = {}
    for owner in (factory.func if isinstance(factory, partial) else factory).__mro__:
        arguments = inspect.signature(owner.__init__).parameters.values()
        found |= {a.name: a.default for a in arguments if a.kind is a.KEYWORD_ONLY and a.name not in NAMED}
        if all(a.kind is not a.VAR_KEYWORD for a in arguments):
            break  # nothing is passed on
    return found


def create(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    compile: bool = False,
    **options: Any,
) -> Interpolator:
    """A model, ready to use, on the CPU and in evaluation mode.

    Args:
        name: one of `names()`.
        checkpoint: the file of weights that the model's authors released, or a safetensors file of
            `vfi convert`. Without one the weights are those in this package (`flow_refined`), or else
            random.
        precision, channels_last, compile: how the network runs, see `Interpolator.prepare`. Nothing to a
            model without weights.
        options: the model's own arguments, see `options`. Where they are left out, those that the file tells
            count: see `told`. What neither says is warned of where it changes the frames: the mode of dvf.

    Raises:
        TypeError: the name is no string.
        ValueError: no such model or option, the message names the nearest; or a checkpoint for a model
            without weights.
        OSError: the checkpoint cannot be opened.
        CheckpointError: it is not one of this model; the message says what differs, and which model it fits.
        ImportError: the model needs a package that is not installed; the message says how to get it.
    """
    known = entry(name)
    check(name, options)
    run = {"precision": precision, "channels_last": channels_last, "compile": compile and known.learned}
    checkpoint = checkpoint or known.weights
    if checkpoint is None:
        return untrained(name, **options).prepare(**run)
    if not known.learned:
        raise ValueError(f"{name} has no weights; got the checkpoint {os.fspath(checkpoint)!r}")
    state = checkpoints.read(checkpoint)
    found = told(name, state, checkpoint) | options
    for option, default in guessed(name, found).items():
        warnings.warn(
            f"{os.fspath(checkpoint)} does not say what {name} was trained for; "
            f"{option}={default!r} is taken",
            stacklevel=2,
        )
    model = known.factory(**found)
    _refuse_misfit(name, state, checkpoint, checkpoints.shapes(model.state_dict()), model.extras)
    noted = checkpoints.intended(checkpoint)
    # Versions of one network take each other's weights; rife and rife_2r, of the same shapes, don't.
    if noted not in (None, name) and noted in detect(state) and entry(noted).network != known.network:
        raise CheckpointError(
            f"{os.fspath(checkpoint)}: holds weights of {noted}, of the same shapes as {name}'s"
        )
    checkpoints.load(model, state)
    return model.eval().prepare(**run)


def untrained(name: str, **options: Any) -> Interpolator:
    """A model with the weights that its training begins with, as `create` makes them else.

    Raises:
        ValueError: no such model or option; the message names the nearest.
    """
    check(name, options)
    return entry(name).factory(**options).eval()


def told(name: str, state: dict[str, Tensor], path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a file of weights tells of the options of model `name`: by what is in it, and by its note.

    Raises:
        CheckpointError: the note is of no options of this model.
    """
    form, _ = _closest(name, state)
    noted = checkpoints.noted(path) if checkpoints.intended(path) == name else {}
    try:
        check(name, noted)
    except ValueError as error:
        raise CheckpointError(f"{os.fspath(path)}: notes options that are none: {error}") from error
    return {**form, **noted}


def fitted(name: str, state: dict[str, Tensor], path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """What model `name` needs of the weights that `checkpoints.read` found in the file `path`.

    Raises:
        CheckpointError: the weights are not of this model; the message says what differs.
    """
    form, _ = _closest(name, state)
    shapes, extras = _expected(name, form)
    _refuse_misfit(name, state, path, shapes, extras)
    return {tensor: state[tensor] for tensor in shapes if tensor in state}


def detect(state: dict[str, Tensor]) -> list[str]:
    """The models that weights fit, as `checkpoints.read` returns them.

    Several where versions share one network. Those of `rife` fit `rife_2r` as well, which is another network.
    """
    return [name for name, misfit in _misfits(state).items() if not misfit]


def advice(state: dict[str, Tensor]) -> str:
    """What weights fit, in words that follow a file's name."""
    misfits = _misfits(state)
    if fitting := [_in_words(name, state) for name, misfit in misfits.items() if not misfit]:
        return f"fits {', '.join(fitting)}"
    nearest = min(misfits, key=lambda name: len(misfits[name]))
    return f"fits no model; {_in_words(nearest, state)} comes nearest, with {misfits[nearest]}"


def _in_words(name: str, state: dict[str, Tensor]) -> str:
    form, _ = _closest(name, state)
    return " ".join([name, *(f"with {option}={value}" for option, value in form.items())])


def parameters(name: str) -> list[tuple[int, ...]]:
    """The shapes of a model's parameters."""
    return [tuple(parameter.shape) for parameter in blank(name).parameters()]


def _refuse_misfit(
    name: str,
    state: dict[str, Tensor],
    path: str | os.PathLike[str],
    expected: Shapes,
    extras: tuple[str, ...],
) -> None:
    if misfit := checkpoints.compare(checkpoints.shapes(state), expected, extras):
        raise CheckpointError(f"{os.fspath(path)} does not fit {name}: {misfit}. It {advice(state)}")
    checkpoints.refuse_numbers(state, expected, path)


@cache
def blank(name: str, **options: object) -> Interpolator:
    """A model without numbers."""
    with torch.device("meta"):
        return MODELS[name].factory(**options)


def _expected(name: str, form: Mapping[str, Any]) -> tuple[Shapes, tuple[str, ...]]:
    """Names and shapes of a model's weights, and how the names of documented extra tensors start."""
    model = blank(name, **form)
    return checkpoints.shapes(model.state_dict()), model.extras


def _closest(name: str, state: dict[str, Tensor]) -> tuple[Mapping[str, Any], Misfit]:
    """Of a model's forms the one that weights fit best, and how they differ from it."""
    found = checkpoints.shapes(state)
    forms = [(form, checkpoints.compare(found, *_expected(name, form))) for form in MODELS[name].forms]
    return min(forms, key=lambda each: len(each[1]))


def _misfits(state: dict[str, Tensor]) -> dict[str, Misfit]:
    misfits = {}
    for name, known in MODELS.items():
        if known.learned:
            with suppress(ImportError):  # of a package that only this model needs
                _, misfits[name] = _closest(name, state)
    return misfits
