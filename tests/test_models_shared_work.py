"""What timesteps share is computed once, whatever their number, and a halving is one call a level."""

from __future__ import annotations

import pytest
import torch
from test_models_interface import frames
from torch import Tensor, nn

from vfi_kernels import models


class Calls:
    """Sizes of the batches that a part of a model was given."""

    def __init__(self, part: nn.Module) -> None:
        self.batches: list[int] = []
        part.register_forward_hook(lambda _, inputs, __: self.batches.append(len(inputs[0])))


# Of two pairs of frames and three timesteps: what sees pairs gets 2, what sees frames 4, the rest 6.
@pytest.mark.parametrize(
    ("name", "shared", "batch", "each"),
    [
        ("superslomo", "flow_computation", 2, "flow_interpolation"),
        ("rife_m", "contextnet", 4, "unet"),
        ("rife_v4.7", "encode", 4, "block3.convblock"),
        ("rife_v4.15.lite", "encode", 4, "block0.convblock"),
        ("rife_v4.25", "encode", 4, "block4.convblock"),
    ],
)
@torch.inference_mode()
def test_once_for_all_timesteps(name: str, shared: str, batch: int, each: str) -> None:
    net = models.create(name)
    once, apart = Calls(net.get_submodule(shared)), Calls(net.get_submodule(each))
    net.interpolate(*frames(32, 32, 2), [0.25, 0.5, 0.75])
    assert once.batches == [batch]
    assert apart.batches == [6]


@pytest.mark.parametrize(
    ("times", "pairs"),
    [
        ([0.5], [1]),
        ([0.25, 0.5, 0.75], [1, 2]),
        ([k / 8 for k in range(1, 8)], [1, 2, 4]),
        ([0.125], [1, 1, 1]),
        ([0.125, 0.875], [1, 2, 2]),
        ([0.0, 1.0], []),
    ],
)
@torch.inference_mode()
def test_one_call_for_a_halving(
    times: list[float], pairs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all intervals that it splits, and of no others."""
    net, seen = models.create("dvf"), []
    run = net._run

    def counted(frame0: Tensor, frame1: Tensor, at: Tensor) -> Tensor:
        seen.append(len(frame0))
        return run(frame0, frame1, at)

    monkeypatch.setattr(net, "_run", counted)
    assert net.interpolate(*frames(16, 16), times).shape[1] == len(times)
    assert seen == pairs
