"""Networks in half precision, and what of them that would spoil."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

__all__ = ["PRECISIONS", "autocast", "in_float32", "without_autocast"]

PRECISIONS = {"float32": None, "float16": torch.float16, "bfloat16": torch.bfloat16}
"""What layers may compute in, and the autocast that it takes."""


def autocast(x: Tensor, precision: torch.dtype | None) -> AbstractContextManager:
    """Within it layers on the device of `x` compute in `precision`; None changes nothing."""
    return nullcontext() if precision is None else torch.autocast(x.device.type, precision)


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
