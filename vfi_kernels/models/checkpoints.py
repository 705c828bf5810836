"""Weights from files: the authors' own, in all their wrappings, and safetensors.

Reading runs no code of the file: torch's weights-only reader, with stand-ins for the few harmless things that
authors packed beside their weights. Names become those of our modules:

- `state_dict` (Deep Voxel Flow) is unwrapped; `state_dictFC` and `state_dictAT` (Super SloMo) become
  `flow_computation.*` and `flow_interpolation.*`
- `module.`, which DistributedDataParallel puts before every name (RIFE), goes, also in Super SloMo's parts
- `moduleConv1` and the like (SepConv before 2021) become `netConv1`
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

__all__ = [
    "CheckpointError",
    "Misfit",
    "compare",
    "intended",
    "load",
    "noted",
    "read",
    "refuse_numbers",
    "write",
]

Shapes = Mapping[str, tuple[int, ...]]

PARTS = {"state_dictFC": "flow_computation.", "state_dictAT": "flow_interpolation."}

# A counter of BatchNorm that inference does not use and early versions of PyTorch did not store.
COUNTER = "num_batches_tracked"


class CheckpointError(RuntimeError):
    """A file that is no checkpoint, or not that of the model asked for."""


class _Ignored:
    """Stands for a value beside the weights: a date, a NumPy number."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


# What the reader builds in place of what these names mean elsewhere. Nothing here does anything.
STAND_INS = [
    (_Ignored, "datetime.datetime"),
    (_Ignored, "numpy.dtype"),
    (_Ignored, "numpy.core.multiarray.scalar"),
    (_Ignored, "numpy._core.multiarray.scalar"),
    (OrderedDict, "easydict.EasyDict"),
]


def read(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights in a file, by the names of our modules.

    Raises:
        OSError: the file cannot be opened.
        CheckpointError: it holds no weights or one of them twice, is damaged, or wants to run code.
    """
    path = Path(path)
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    found = _unwrap(content)
    if not found or not all(isinstance(name, str) and isinstance(value, Tensor) for _, name, value in found):
        raise CheckpointError(f"{path}: holds no weights; expected tensors by name")
    state, theirs = {}, {}
    for part, name, tensor in found:
        own = part + _rename(name)
        if own in state:
            raise CheckpointError(f"{path}: {theirs[own]} and {name} are two names of one tensor, {own}")
        state[own], theirs[own] = tensor, name
    return state


def intended(path: str | os.PathLike[str]) -> str | None:
    """The model that `write` noted in a file; None for any other file."""
    return _metadata(path).get("model")


def noted(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The model's options that `write` noted in a file; none for any other file.

    Raises:
        CheckpointError: the note is no table.
    """
    text = _metadata(path).get("options", "{}")
    try:
        return dict(json.loads(text))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{os.fspath(path)}: notes options that are none: {_some([text])}") from error


def _metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    path = Path(path)
    if not _is_safetensors(path):
        return {}
    with _opened(path) as file:
        return file.metadata() or {}


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, "pt") as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path}: is damaged or cut short: {error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with _opened(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_pickle(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals(STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes the reader raise whatever it comes across
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path}: is refused, since reading it would call {wanted[1]}, and weights need no code"
            ) from error
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path}: is no checkpoint, or damaged or cut short: {reason}") from error


def _unwrap(content: Any) -> list[tuple[str, Any, Any]]:
    """What a file holds: how the name of a part begins, the name within it, and the value."""
    if not isinstance(content, Mapping):
        return []
    if all(isinstance(content.get(part), Mapping) for part in PARTS):
        return [(prefix, *item) for part, prefix in PARTS.items() for item in content[part].items()]
    inner = content.get("state_dict")
    return [("", *item) for item in (inner if isinstance(inner, Mapping) else content).items()]


def _rename(name: str) -> str:
    return re.sub(r"^module(?=[A-Z])", "net", name.removeprefix("module."))


@dataclass(frozen=True)
class Misfit:
    """How the tensors of a file differ from those of a model."""

    missing: list[str]
    unexpected: list[str]
    reshaped: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __len__(self) -> int:
        return len(self.missing) + len(self.unexpected) + len(self.reshaped)

    def __str__(self) -> str:
        lists = {
            "missing": self.missing,
            "unexpected": self.unexpected,
            "of another shape": self.reshaped,
        }
        return "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in lists.items() if names)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def compare(found: Shapes, expected: Shapes, extras: tuple[str, ...] = ()) -> Misfit:
    """The shapes of a file against those of a model, names that start with one of `extras` left out."""
    return Misfit(
        missing=[name for name in expected if name not in found and not name.endswith(COUNTER)],
        unexpected=[name for name in found if name not in expected and not name.startswith(extras)],
        reshaped=[
            f"{name} {list(found[name])} in place of {list(shape)}"
            for name, shape in expected.items()
            if name in found and found[name] != shape
        ],
    )


def shapes(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def refuse_numbers(state: Mapping[str, Tensor], used: Iterable[str], path: str | os.PathLike[str]) -> None:
    """
    Raises:
        CheckpointError: of the tensors that a model uses one is not floating, or not finite: every frame
            would be NaN.
    """
    weights = {name: state[name] for name in used if name in state and not name.endswith(COUNTER)}
    for name, tensor in weights.items():
        if not tensor.is_floating_point():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise CheckpointError(f"{os.fspath(path)}: {name} is {kind}, weights are floating")
    if spoiled := [name for name, tensor in weights.items() if not tensor.float().isfinite().all()]:
        raise CheckpointError(
            f"{os.fspath(path)}: tensors with NaN or infinity, which spoil every frame, {len(spoiled)} of "
            f"{len(weights)}: {_some(spoiled)}"
        )


def load(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Puts weights into a model that `compare` found to fit; they are cast to the model's dtype."""
    own = model.state_dict()
    model.load_state_dict({name: state.get(name, tensor) for name, tensor in own.items()})


def write(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor],
    model: str | None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Writes weights as safetensors, with the model's name, where it is known, and its options in the file's
    metadata.
    """
    about = {"format": "pt"}
    if model:
        about["model"] = model
    if options:
        about["options"] = json.dumps(options)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, path, about)
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)  # the library lets nobody else read it
