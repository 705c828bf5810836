"""The outputs of the original projects' modules, for their weights in files like theirs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import released
import torch
from torch import Tensor

from vfi_kernels import models
from vfi_kernels.models import registry

NAMES = {"resepconv": "sepconv++"}
BGR = ("dvf", "sepconv", "resepconv")  # the goldens' frames are in the network's order
INDEX = released.GOLDENS / "index.json"
CASES = (
    sorted(case for case in json.loads(INDEX.read_text()) if case != "losses.a") if INDEX.is_file() else []
)


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return request.param


def loaded(case: str, folder: Path, device: str) -> tuple[models.Interpolator, dict, dict[str, Tensor]]:
    """The model with a golden's weights, what the index says, and the golden's tensors in RGB."""
    about, tensors = released.golden(case)
    system = case.rpartition(".")[0]
    path = released.save(folder / "weights", system, released.weights(system, about["seed"], about["gains"]))
    options = {"mode": about["mode"]} if "mode" in about else {}
    model = models.create(NAMES.get(system, system), checkpoint=path, **options)
    if system in BGR:
        images = ("frame0", "frame1", "out")
        tensors = {name: t.flip(1) if name in images else t for name, t in tensors.items()}
    return model.to(device), about, {name: tensor.to(device) for name, tensor in tensors.items()}


@pytest.mark.skipif(not CASES, reason="the goldens are not part of the project")
@pytest.mark.parametrize("case", CASES)
@torch.inference_mode()
def test_golden(case: str, device: str, tmp_path: Path) -> None:
    model, about, golden = loaded(case, tmp_path, device)
    frames = golden["frame0"], golden["frame1"]
    timestep = about.get("timestep", 0.5)
    times = torch.tensor([timestep], device=device)
    made = model(*frames, timestep)
    close(made, golden["out"])
    assert (made - golden["frame0"]).abs().max() > 0.05  # a model that does nothing would not pass
    if "vertical0" in golden:
        for name, kernel in zip(
            ("vertical0", "horizontal0", "vertical1", "horizontal1"), model.kernels(*frames), strict=True
        ):
            close(kernel, golden[name])
    if "voxel_flow" in golden:
        dx, dy, time = model.voxel_flow(*frames).split(1, 1)
        height, width = made.shape[-2:]
        field = torch.cat([dx * 2 / (width - 1), dy * 2 / (height - 1), 1 - time], 1)
        close(field, golden["voxel_flow"])
    if "flow_01" in golden:
        centred = [frame - model.mean for frame in frames]
        flow01, flow10 = model.flows(*centred)
        close(flow01, golden["flow_01"])
        close(flow10, golden["flow_10"])
        flow_t0, flow_t1, visible0 = model.intermediate(*centred, flow01, flow10, times)
        close(flow_t0, golden["flow_t0"])
        close(flow_t1, golden["flow_t1"])
        close(visible0.sigmoid(), golden["visibility_0"])
    if "flow" in golden:
        close(model.flow(*frames, times).flow, golden["flow"])
    if "flow_2" in golden:
        steps = model.steps(*frames, times)
        for i, step in enumerate(steps):
            close(step.flow, golden[f"flow_{i}"])
        close(steps[-1].mask.sigmoid(), golden["mask"])


@pytest.mark.parametrize("case", ["rife.a", "rife_m.a"])
def test_golden_teacher(case: str, device: str, tmp_path: Path) -> None:
    model, about, golden = loaded(case, tmp_path, device)
    known = model.train()(
        golden["frame0"], golden["frame1"], about["timestep"], ground_truth=golden["ground_truth"]
    )
    close(known.frame, golden["out"])
    close(known.flow_teacher, golden["flow_teacher"])
    close(known.merged_teacher, golden["merged_teacher"])
    close(known.loss_distill, golden["loss_distill"][0])
    for i, flow in enumerate(known.flows):
        close(flow, golden[f"flow_{i}"])


@pytest.mark.parametrize("system", ["dvf", "sepconv", "resepconv", "superslomo", "rife", "rife_m", "rife_2r"])
def test_names_and_shapes(system: str) -> None:
    own = registry.blank(NAMES.get(system, system)).state_dict()
    expected = {name.replace("/", "."): shape for name, shape in released.shapes(system).items()}
    assert {name: list(tensor.shape) for name, tensor in own.items()} == expected


def test_names_and_shapes_of_4x() -> None:
    versions = set()
    for group in released.shapes_4x():
        for version in group["versions"]:
            own = registry.blank(f"rife_v{version}").state_dict()
            assert {name: list(tensor.shape) for name, tensor in own.items()} == group["shapes"], version
            assert sum(math.prod(tensor.shape) for tensor in own.values()) == group["parameters"]
            versions.add(f"rife_v{version}")
    assert versions == {name for name in models.names() if name.startswith("rife_v")}


def test_parameters() -> None:
    """As measured on the originals' modules."""
    known = {
        "dvf": 3_821_891,
        "sepconv": 21_675_452,
        "sepconv++": 13_560_102,
        "superslomo": 19_794_116 + 19_816_357,
        "rife": 10_708_215,
        "rife_m": 10_710_780,
        "rife_2r": 10_708_215,
    }
    for name, count in known.items():
        assert sum(math.prod(shape) for shape in registry.parameters(name)) == count
