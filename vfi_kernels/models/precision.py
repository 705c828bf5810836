"""What of a network half precision would spoil."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

__all__ = ["in_float32", "without_autocast"]


def without_autocast(x: Tensor) -> AbstractContextManager:
    """Within it autocast leaves alone what is done on the device of `x`."""
    device = x.device.type
    castable = torch.amp.is_autocast_available(device)  # "meta" is not
    return torch.autocast(device, enabled=False) if castable else nullcontext()


def in_float32(layer: nn.Module, x: Tensor) -> Tensor:
    """`layer(x)` in float32, whatever autocast and the layer's weights are.

    For the last layers, which make flow: from 64 pixels on bfloat16 knows only halves, float16 sixteenths.
    """
    weights = {name: weight.float() for name, weight in layer.named_parameters()}
    with without_autocast(x):
        return torch.func.functional_call(layer, weights, (x.float(),))
