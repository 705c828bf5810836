"""flow_refined: begins as `flow` with cubic warps, keeps its promises about times and sizes once trained."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

from vfi_kernels import models, ops
from vfi_kernels.data import Synthetic
from vfi_kernels.models import checkpoints, flow_refined
from vfi_kernels.models.flow_refined import FlowRefined


def pair(*size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pairs of smooth pictures that move."""
    torch.manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8)
    wide = torch.nn.functional.interpolate(coarse, (size[0] + 6, size[1] + 6), mode="bicubic").clamp(0, 1)
    return wide[..., 3:-3, 6:].contiguous(), wide[..., 3:-3, :-6].contiguous()


def trained() -> FlowRefined:
    """As if: the last layers are no longer zero."""
    torch.manual_seed(1)
    model = models.untrained("flow_refined")
    for block in model.blocks:
        torch.nn.init.normal_(block.lastconv[0].weight, std=0.01)
    return model


@pytest.mark.parametrize("size", [(16, 16), (37, 45), (1, 1), (3, 40), (64, 33)])
@torch.no_grad()
def test_begins_as_flow(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the way in which frames are sampled."""
    frames = pair(*size)
    times = [0, 0.1, 0.5, 1]
    monkeypatch.setattr(flow_refined, "cubic_warp", lambda frame, flow, _: ops.backwarp(frame, flow))
    made = models.untrained("flow_refined").interpolate(*frames, times)
    torch.testing.assert_close(made, models.create("flow").interpolate(*frames, times), atol=1e-5, rtol=0)


@torch.no_grad()
def test_what_it_adds_to_flow_is_what_bilinear_warps_lose() -> None:
    """Of pictures with fine detail that move by half a pixel."""
    x = torch.arange(96.0).view(1, 1, 1, -1)
    y = torch.arange(64.0).view(1, 1, -1, 1)

    def wave(shift: float) -> torch.Tensor:
        u, v = x - shift, y + shift
        fine = (0.9 * u + 0.3 * v).sin() + (0.2 * u - 0.8 * v).sin()
        return (0.5 + 0.1 * fine + 0.2 * (0.11 * u).sin()).expand(1, 3, -1, -1)

    frame0, truth, frame1 = wave(0), wave(0.5), wave(1)
    error = {}
    for name in ("flow", "flow_refined"):
        made = models.untrained(name)(frame0, frame1)
        error[name] = (made - truth)[..., 8:-8, 8:-8].square().mean().sqrt()
    assert error["flow_refined"] < error["flow"] / 2


@torch.no_grad()
def test_ends_are_the_frames() -> None:
    frames = pair(37, 45)
    model = trained()
    made = model.interpolate(*frames, [0, 0.5, 1])
    assert (made[:, 1] - models.create("flow")(*frames)).abs().max() > 0.01
    for end, frame in ((0, frames[0]), (2, frames[1])):
        torch.testing.assert_close(made[:, end], frame, atol=1e-4, rtol=0)


@torch.no_grad()
def test_many_times_equal_one_by_one_and_search_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames, model = pair(40, 48), trained()
    times = [0.2, 0.5, 0.9]
    single = [model(*frames, t).clamp(0, 1) for t in times]
    searches = []
    flows = model.flows
    monkeypatch.setattr(model, "flows", lambda *given: searches.append(1) or flows(*given))
    many = model.interpolate(*frames, times)
    assert len(searches) == 1
    for i, made in enumerate(single):
        torch.testing.assert_close(many[:, i], made, atol=1e-5, rtol=0)


@torch.no_grad()
def test_weights_are_in_the_package(tmp_path: Path) -> None:
    """`create` takes them, and training begins without them; a file that is given takes their place."""
    frames = pair(40, 48)
    shipped, fresh = models.create("flow_refined"), models.untrained("flow_refined")
    assert not shipped.training
    assert (shipped(*frames) - fresh(*frames)).abs().max() > 1e-3
    own = trained()
    checkpoints.write(tmp_path / "own.safetensors", own.state_dict(), "flow_refined")
    given = models.create("flow_refined", checkpoint=tmp_path / "own.safetensors")
    assert torch.equal(given(*frames), own(*frames))


@torch.no_grad()
def test_shipped_weights_are_worth_it() -> None:
    """On scenes that no training sees, 0.3 dB and more above `flow`."""
    scenes = Synthetic((96, 96), seed=-1, timestep=None, flows=False).batch(range(32))
    frames = scenes["frame0"], scenes["frame1"], scenes["timestep"]
    score = {}
    for name in ("flow", "flow_refined"):
        error = (models.create(name)(*frames) - scenes["target"]).square().mean((1, 2, 3))
        score[name] = -10 * error.clamp_min(1e-6).log10().mean()
    assert score["flow_refined"] > score["flow"] + 0.3


def test_every_parameter_learns() -> None:
    """Once the last layers have moved; before, they alone do."""
    frames = pair(32, 32)
    model = trained().train()
    model(*frames, 0.3).square().mean().backward()
    still = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    assert still == []


@torch.no_grad()
def test_copies_do_not_share_the_search() -> None:
    frames, model = pair(24, 24), trained()
    twin = copy.deepcopy(model)
    assert twin._search is not model._search
    assert torch.equal(twin(*frames, 0.5), model(*frames, 0.5))
