"""Recipes: all that a training is, as YAML and `key.sub=value` on the command line.

A recipe and a number of steps decide the result, on however many processes: see `sources`.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..data import Limits

__all__ = ["Data", "Recipe", "RecipeError", "Validation", "differences", "dump", "load", "names", "parse"]

# What a training does not learn from: told, written, or made faster otherwise.
FREE = {
    "about",
    "log",
    "save",
    "keep",
    "validation",
    "accumulate",
    "channels_last",
    "compile",
    "data.workers",
}
# Where files lie; that they are the same files is up to the user.
PLACES = {"data.root", "data.photographs", "objective.perceptual.weights"}


class RecipeError(ValueError):
    """A recipe that cannot be read; the message says where and what was expected."""


@dataclass(frozen=True)
class Model:
    """What `models.create` takes.

    Attributes:
        checkpoint: a file of weights to begin with; None for random ones.
    """

    name: str
    options: dict = field(default_factory=dict)
    checkpoint: str | None = None


@dataclass(frozen=True)
class PerceptualLoss:
    """What `training.perceptual.Perceptual` takes."""

    layer: str
    weights: str | None = None
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Objective:
    """One of `training.objectives.OBJECTIVES`, and its own arguments."""

    name: str = "reconstruction"
    options: dict = field(default_factory=dict)
    perceptual: PerceptualLoss | None = None


@dataclass(frozen=True)
class Data:
    """Where samples come from: `vfi_kernels.data`.

    Attributes:
        root: the folder, for all kinds but "synthetic".
        workers: processes that read files; synthetic scenes are made on the device where it is 0.
        augment: one of `data.AUGMENTATIONS`.
        window: of clips, in frames.
        size, timestep, limits, photographs: of synthetic scenes.
    """

    kind: Literal["synthetic", "vimeo_triplets", "vimeo_septuplets", "clips"] = "synthetic"
    root: str | None = None
    workers: int = 0
    augment: str | None = None
    window: int = 9
    size: tuple[int, int] = (256, 256)
    timestep: float | None = 0.5
    limits: Limits = field(default_factory=Limits)
    photographs: str | None = None


@dataclass(frozen=True)
class Validation:
    """The model beside the baseline `blend`, on samples that are not trained on.

    Attributes:
        every: steps.
        samples: how many, evenly out of all there are.
        data: None for what belongs to the training data: Vimeo90K's validation part, or other synthetic
            scenes of the same kind. Clips have no such part: default synthetic scenes then.
    """

    every: int = 1000
    samples: int = 32
    data: Data | None = None


@dataclass(frozen=True)
class Optimiser:
    """
    Attributes:
        rate: learning rate, before the schedule.
        weight_decay: of "adamw" apart from the gradient, of the others added to it.
        bias_rate: by how much more biases learn.
        bias_decay: whether weight decay is for biases too.
        clip: the longest gradient, all parameters together; a longer one is shortened.
    """

    name: Literal["adamw", "adam", "adamax"] = "adamw"
    rate: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    bias_rate: float = 1.0
    bias_decay: bool = True
    clip: float | None = None


@dataclass(frozen=True)
class Schedule:
    """What becomes of the rate.

    Attributes:
        warmup: steps in which it climbs from zero.
        final: of "cosine", where it ends, as a part of the rate.
        milestones: of "milestones", parts of all steps, after each of which it is multiplied by `factor`.
    """

    kind: Literal["constant", "cosine", "milestones"] = "constant"
    warmup: int = 0
    final: float = 0.0
    milestones: tuple[float, ...] = ()
    factor: float = 0.1


@dataclass(frozen=True)
class Recipe:
    """
    Attributes:
        about: one line for `vfi train --list`.
        batch: samples of a step, of all processes together.
        accumulate: parts in which a process computes its share, one after the other, to take less memory.
        steps, epochs: how long; one of both. An epoch is as many steps as take each sample on disk once.
        average: weights are averaged over time with this decay, 0.999 say; the average is validated and
            written. None for no average.
        log, save: steps between two lines, and between two checkpoints.
        keep: how many checkpoints are kept.
    """

    model: Model
    about: str = ""
    objective: Objective = Objective()
    data: Data = Data()
    batch: int = 8
    accumulate: int = 1
    steps: int | None = None
    epochs: float | None = None
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    channels_last: bool = False
    compile: bool = False
    average: float | None = None
    validation: Validation = Validation()
    log: int = 100
    save: int = 1000
    keep: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise RecipeError(f"recipe: give steps or epochs; got steps {self.steps}, epochs {self.epochs}")
        if not 0 < (self.epochs if self.steps is None else self.steps) < math.inf:
            raise RecipeError(
                f"recipe: steps, or epochs, must be more than 0; got {self.steps}, {self.epochs}"
            )
        for name in ("batch", "accumulate", "log", "save", "keep"):
            if getattr(self, name) < 1:
                raise RecipeError(f"recipe: {name} must be 1 or more; got {getattr(self, name)}")
        if self.validation.every < 1 or self.validation.samples < 1:
            raise RecipeError(f"recipe: validation needs 1 step and 1 sample or more; got {self.validation}")
        if self.epochs is not None and self.data.kind == "synthetic":
            raise RecipeError("recipe: synthetic scenes have no epochs; give steps")


def names() -> list[str]:
    """The recipes in the package."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir())


def load(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A file, or a recipe of the package.

    Args:
        overrides: like "optimiser.rate=1e-4"; values are YAML.

    Raises:
        OSError: the file cannot be opened.
        RecipeError: it is no recipe, or there is none of that name.
    """
    if Path(name).suffix in (".yaml", ".yml"):
        text = Path(name).read_text()
    elif name in names():
        text = (_folder() / f"{name}.yaml").read_text()
    else:
        raise RecipeError(f"no recipe {name!r}; {_nearest(name, names())}, or give a file that ends in .yaml")
    return parse(text, overrides)


def parse(text: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe of YAML.

    Raises:
        RecipeError: it is none.
    """
    values = _yaml(text, "recipe")
    if not isinstance(values, dict):
        raise RecipeError(f"recipe: expected {', '.join(_fields(Recipe))}; got {values!r}")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise RecipeError(f"expected key=value, as in optimiser.rate=1e-4; got {override!r}")
        *path, last = key.split(".")
        table = values
        for part in path:
            if table.get(part) is None:
                table[part] = {}
            table = table[part]
            if not isinstance(table, dict):
                raise RecipeError(f"{key}: {part} has no parts; it is {table!r}")
        table[last] = _yaml(value, key)
    return _read(Recipe, values, "")


def dump(recipe: Recipe) -> str:
    """All of it as YAML, defaults as well."""
    # YAML has no tuples.
    return _module().safe_dump(_plain(asdict(recipe)), sort_keys=False)


def differences(begun: dict[str, Any], new: Recipe) -> tuple[list[str], list[str]]:
    """What would have a training that was begun by one recipe, `asdict` of it, learn otherwise by another.

    A constant schedule does not know how many steps there will be: more or fewer of them are no difference.

    Returns:
        The keys that differ with the old values, and with the new ones, as overrides to be typed in a shell.
    """
    old = _read(Recipe, begun, "")
    endless = old.schedule.kind == new.schedule.kind == "constant"
    free = FREE | ({"steps", "epochs"} if endless else set())
    pairs = [pair for pair in _apart(old, new, "") if pair[0] not in free]
    return tuple([_override(key, values[i]) for key, *values in pairs] for i in range(2))


def _apart(old: Any, new: Any, key: str) -> Iterator[tuple[str, Any, Any]]:
    """Keys with values that differ. Options are one value: a part of them could not be taken back."""
    if is_dataclass(old) and is_dataclass(new) and key not in FREE:
        for entry in fields(old):
            name = f"{key}.{entry.name}" if key else entry.name
            yield from _apart(getattr(old, entry.name), getattr(new, entry.name), name)
    elif old != new and not (key in PLACES and old and new):
        yield key, old, new


def _override(key: str, value: Any) -> str:
    if is_dataclass(value):
        value = asdict(value)
    text = _module().safe_dump(_plain(value), default_flow_style=True, sort_keys=False, width=math.inf)
    return shlex.quote(f"{key}={text.strip().removesuffix('...').strip()}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _folder() -> Any:
    return resources.files(__package__) / "recipes"


def _module() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ImportError("training needs PyYAML: pip install 'vfi-kernels[train]'") from error
    return yaml


def _yaml(text: str, where: str) -> Any:
    yaml = _module()
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where} is no YAML: {' '.join(str(error).split())}") from error


def _read(kind: Any, value: Any, where: str) -> Any:
    """A value of YAML as what a field of a recipe holds."""
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    if value is None and NoneType in kinds:
        return None
    kind = kinds[0]
    if is_dataclass(kind):
        return _table(kind, value, where)
    if get_origin(kind) is Literal and value not in get_args(kind):
        raise RecipeError(f"{where}: unknown {value!r}; {_nearest(str(value), get_args(kind))}")
    if get_origin(kind) is Literal:
        return value
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        items = get_args(kind)
        if items[-1] is Ellipsis or len(items) == len(value):
            return tuple(_read(items[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if kind is float and type(value) in (int, str):  # YAML takes 1e-4 for text, having no point
        try:
            return float(value)
        except ValueError:
            pass
    if type(value) is not kind:  # neither is True a number
        raise RecipeError(f"{where}: expected {_told(kind)}{_or_null(kinds)}; got {value!r}")
    return value


def _table(kind: type, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise RecipeError(f"{where}: expected {', '.join(_fields(kind))}; got {value!r}")
    prefix = f"{where}." if where else ""
    hints = get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise RecipeError(f"{prefix}{key}: no such key; {_nearest(str(key), hints)}")
    for entry in fields(kind):
        required = entry.default is MISSING and entry.default_factory is MISSING
        if required and entry.name not in value:
            raise RecipeError(f"{prefix}{entry.name} is missing: {_told(hints[entry.name])}")
    return kind(**{key: _read(hints[key], item, prefix + key) for key, item in value.items()})


def _fields(kind: type) -> list[str]:
    return [entry.name for entry in fields(kind)]


def _told(kind: Any) -> str:
    if is_dataclass(kind):
        return ", ".join(_fields(kind))
    if get_origin(kind) is tuple:
        items = get_args(kind)
        count = "" if items[-1] is Ellipsis else f"{len(items)} "
        return f"a list of {count}{items[0].__name__}"
    words = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        dict: "keys and values",
    }
    return words[kind]


def _or_null(kinds: Sequence[Any]) -> str:
    return " or null" if NoneType in kinds else ""


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(str, known))}"
