"""The files of a training: checkpoints that hold everything, and the weights alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models import CheckpointError, checkpoints, registry

__all__ = ["load", "newest", "place", "write_checkpoint", "write_weights"]

NAME = re.compile(r"step-(\d+)\.pt")


def place(path: Path, write: Callable[[Path], None]) -> None:
    """Writes a file so that under its name there is all of it or what was there before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_checkpoint(folder: Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """The state after so many steps; of older ones, the newest stay, `keep` in all."""
    path = folder / f"step-{step:08}.pt"
    place(path, lambda unfinished: torch.save(state, unfinished))
    for old in _all(folder)[:-keep]:
        old.unlink()
    return path


def write_weights(path: Path, state: dict[str, Tensor], model: str, options: dict[str, Any]) -> None:
    """For `models.create` and `vfi interpolate --checkpoint`; the options are noted in it."""
    own = registry.options(model)
    noted = own | {name: value for name, value in options.items() if name in own}
    place(path, lambda unfinished: checkpoints.write(unfinished, state, model, noted))


def newest(folder: Path) -> Path | None:
    """The checkpoint of the last step."""
    found = _all(folder)
    return found[-1] if found else None


def load(path: Path) -> dict[str, Any]:
    """What `write_checkpoint` wrote. No code in the file is run.

    Raises:
        CheckpointError: it is something else, or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged file makes the reader raise whatever it comes across
        raise CheckpointError(f"{path}: is damaged, or no checkpoint of a training") from error
    if not isinstance(state, dict) or "optimiser" not in state:
        raise CheckpointError(f"{path}: is no checkpoint of a training")
    return state


def _all(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))
