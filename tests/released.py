"""The weights of the goldens, in files as the authors of each system released theirs."""

from __future__ import annotations

import datetime
import importlib.util
import json
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from shared import SHARED
from torch import Tensor

GOLDENS = SHARED / "goldens"
PARTS = {"state_dictFC": "flow_computation/", "state_dictAT": "flow_interpolation/"}  # of Super SloMo


def golden(case: str) -> tuple[dict, dict[str, Tensor]]:
    """What the index says of one golden, and its tensors."""
    about = json.loads(_path("index.json").read_text())[case]
    return about, load_file(_path(about["file"]))


def shapes(system: str) -> dict[str, list[int]]:
    if system.startswith("rife_v"):
        version = system.removeprefix("rife_v")
        return next(group["shapes"] for group in shapes_4x() if version in group["versions"])
    return json.loads(_path(f"shapes_{system}.json").read_text())


def shapes_4x() -> list[dict]:
    return json.loads(_path("shapes_rife_4x_all.json").read_text())


def _path(name: str) -> Path:
    if not GOLDENS.is_dir():
        pytest.skip(f"{GOLDENS} is absent: the goldens are not part of the project")
    return GOLDENS / name


def weights(system: str, seed: int = 0, gains: dict[str, float] | None = None) -> dict[str, Tensor]:
    """The weights of a golden, by the names of the system's own module."""
    spec = importlib.util.spec_from_file_location("golden_weights", _path("weights.py"))
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    if system != "superslomo":
        state = rule.golden_state(shapes(system), seed, gains)
        return _with_live_heads(state) if system == "resepconv" else state
    state = {}
    for i, part in enumerate(PARTS.values()):
        own, factors = (
            {name.removeprefix(part): value for name, value in table.items() if name.startswith(part)}
            for table in (shapes(system), gains or {})
        )
        made = rule.golden_state(own, seed + i, factors)
        state |= {part + name: tensor for name, tensor in made.items()}
    return state


def _with_live_heads(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the goldens' note says of SepConv++: kernels whose sums are far from zero."""
    for head in ("netVerone", "netVertwo", "netHorone", "netHortwo"):
        state[f"{head}.netMain.3.bias"] = state[f"{head}.netMain.3.bias"].abs() + 0.4
        state[f"{head}.netMain.3.weight"] = state[f"{head}.netMain.3.weight"] * 0.1
    return state


class EasyDict(dict):
    """What easydict.EasyDict is to pickle: a dict with its items as attributes as well."""

    def __init__(self, items: dict) -> None:
        super().__init__(items)
        self.__dict__.update(items)


EasyDict.__module__, EasyDict.__qualname__ = "easydict", "EasyDict"


def wrapped(system: str, state: dict[str, Tensor]) -> object:
    """The object that the authors of a system gave to torch.save."""
    if system == "dvf":
        return {
            "epoch": 90,
            "arch": {"model": EasyDict({"name": "voxel-flow", "sizes": [256, 256]})},
            "state_dict": OrderedDict(state),
            "grad_dict": {},
            "best_PSNR": np.float64(34.5),
        }
    if system == "sepconv":
        return OrderedDict((name.replace("net", "module"), tensor) for name, tensor in state.items())
    if system == "superslomo":
        about = {"Detail": "End to end", "epoch": 199, "timestamp": datetime.datetime(2018, 12, 2, 10, 30)}
        parts = {
            key: OrderedDict((n.removeprefix(part), t) for n, t in state.items() if n.startswith(part))
            for key, part in PARTS.items()
        }
        return {**about, "trainBatchSz": 6, "loss": [[0.5]], "valPSNR": [[30.0]], **parts}
    if system.startswith("rife"):
        return OrderedDict((f"module.{name}", tensor) for name, tensor in state.items())
    return OrderedDict(state)


def save(path: Path, system: str, state: dict[str, Tensor], **how: bool) -> Path:
    """Writes weights as the authors of a system did; `how` goes to torch.save."""
    easydict = ModuleType("easydict")  # pickle looks the class up where it says it comes from
    easydict.EasyDict = EasyDict
    with patch.dict(sys.modules, {"easydict": easydict}):
        torch.save(wrapped(system, state), path, **how)
    return path
