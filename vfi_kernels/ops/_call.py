"""The way from a public function to the kernels."""

from typing import Any

import torch

from .. import reference
from ..backends import has_kernel
from ._gradient import differentiates
from ._register import NAMESPACE

OPERATORS = getattr(torch.ops, NAMESPACE)


def call(name: str, device: torch.device, *inputs: Any) -> Any:
    """Operator `name` where the device has kernels for it, otherwise its reference.

    The Autograd kernels (`_gradient.py`) are Python: a third of a small call. Where nobody asks for a
    gradient, and no transform is being run that could, they are left out.
    """
    if not has_kernel(device.type):
        return getattr(reference, name)(*inputs)
    operator = getattr(OPERATORS, name).default
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or differentiates(inputs):
        return operator(*inputs)
    with torch._C._AutoDispatchBelowAutograd():
        return operator(*inputs)
