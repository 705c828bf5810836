"""The weights of the goldens, wrapped in files as the authors wrapped theirs."""

from __future__ import annotations

import datetime
import importlib.util
import json
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import SHARED
from safetensors.torch import load_file
from torch import Tensor

GOLDENS = SHARED / "goldens"
SYSTEMS = {"sepconv++": "resepconv"}  # the goldens' names where ours differ


def golden(case: str) -> tuple[dict, dict[str, Tensor]]:
    """Entry of the index and tensors of one golden."""
    if not GOLDENS.is_dir():
        pytest.skip(f"{GOLDENS} is absent: the goldens are not part of the project")
    entry = json.loads((GOLDENS / "index.json").read_text())[case]
    return entry, load_file(GOLDENS / entry["file"])


def shapes(system: str) -> dict[str, list[int]]:
    if not GOLDENS.is_dir():
        pytest.skip(f"{GOLDENS} is absent: the goldens are not part of the project")
    return json.loads((GOLDENS / f"shapes_{SYSTEMS.get(system, system)}.json").read_text())


def weights(name: str, seed: int = 0, gains: dict[str, float] | None = None) -> dict[str, Tensor]:
    """The weights of a golden of model `name`, by the released names."""
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDENS / "weights.py")
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    if name != "superslomo":
        state = rule.golden_state(shapes(name), seed, gains)
        return _lively(state) if name == "sepconv++" else state
    state = {}
    for i, part in enumerate(("flow_computation/", "flow_interpolation/")):
        own = {n.removeprefix(part): s for n, s in shapes(name).items() if n.startswith(part)}
        factors = {n.removeprefix(part): g for n, g in (gains or {}).items() if n.startswith(part)}
        state |= {part + n: t for n, t in rule.golden_state(own, seed + i, factors).items()}
    return state


def _lively(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the golden's note says of SepConv++: kernels whose sum is far from zero."""
    for head in ("netVerone", "netVertwo", "netHorone", "netHortwo"):
        state[f"{head}.netMain.3.bias"] = state[f"{head}.netMain.3.bias"].abs() + 0.4
        state[f"{head}.netMain.3.weight"] = state[f"{head}.netMain.3.weight"] * 0.1
    return state


class EasyDict(dict):
    """What easydict.EasyDict is to pickle: a dict with its items as attributes too."""

    def __init__(self, items: dict) -> None:
        super().__init__(items)
        self.__dict__.update(items)


EasyDict.__module__, EasyDict.__qualname__ = "easydict", "EasyDict"


def wrapped(name: str, state: dict[str, Tensor]) -> object:
    """The object that the authors of model `name` gave to torch.save."""
    if name == "dvf":
        return {
            "epoch": 90,
            "arch": {"model": EasyDict({"name": "voxel-flow", "sizes": [256, 256]})},
            "state_dict": OrderedDict(state),
            "grad_dict": {},
            "best_PSNR": np.float64(34.5),
        }
    if name == "sepconv":
        return OrderedDict((n.replace("net", "module"), t) for n, t in state.items())
    if name == "superslomo":
        parts = {}
        for key, part in (("state_dictFC", "flow_computation/"), ("state_dictAT", "flow_interpolation/")):
            parts[key] = OrderedDict((n.removeprefix(part), t) for n, t in state.items() if n.startswith(part))
        about = {"Detail": "End to end", "epoch": 199, "timestamp": datetime.datetime(2018, 12, 2, 10, 30)}
        return {**about, "trainBatchSz": 6, "loss": [[0.5]], "valPSNR": [[30.0]], **parts}
    if name.startswith("rife"):
        return OrderedDict((f"module.{n}", t) for n, t in state.items())
    return OrderedDict(state)


def save(path: Path, name: str, state: dict[str, Tensor]) -> Path:
    import sys
    from types import ModuleType

    module = ModuleType("easydict")  # pickle looks the class up where it says it comes from
    module.EasyDict = EasyDict
    sys.modules["easydict"] = module
    try:
        torch.save(wrapped(name, state), path)
    finally:
        del sys.modules["easydict"]
    return path
