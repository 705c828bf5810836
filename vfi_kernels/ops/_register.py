"""Registration of an operator: schema, fake kernel, vmap. An operation's file adds what is its own.

Schemas are defined here; kernels come from the compiled library or from run-time compilation. There is no
autocast kernel: such a rule knows one target dtype, while these operators take half-precision images as they
are and only widen what does not fit beside them. The public functions do that, for the reference as well:
`_check.promote`.

An operator `f(inputs...)` has its gradient (`_gradient.py`) in `_f_backward(grads, inputs..., needs)`, with
one result per tensor of the inputs. Bit i of `needs` asks for result i; what is not asked for comes as an
empty tensor of shape (0,). ORDERED asks for sums in a fixed order.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..reference.numbers import layout_of
from . import _vmap

NAMESPACE = "vfi_kernels"
ORDERED = 1 << 32  # in `needs`
LIBRARY = torch.library.Library(NAMESPACE, "DEF")
# The layout of a result follows the layout of an input, so a compiler must not change an input's strides.
TAGS = (torch.Tag.pt2_compliant_tag, torch.Tag.needs_exact_strides)

# Describes the compiled library as JSON: {"cpu": ..., "cuda_archs": ...}.
LIBRARY.define("build_info() -> str")


def define(schema: str, fake: Callable, frames: Sequence[int]) -> Any:
    """Defines an operator with its fake kernel and vmap rule.

    frames: the arguments whose entries may each serve many entries of the other arguments
    """
    name = schema.split("(")[0]
    LIBRARY.define(schema, tags=TAGS)
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=LIBRARY)
    operator = getattr(getattr(torch.ops, NAMESPACE), name).default

    def vmap(info: Any, in_dims: tuple, *args: Any) -> tuple[Any, Any]:
        return _vmap.apply(operator, info.batch_size, in_dims, args, frames)

    torch.library.register_vmap(f"{NAMESPACE}::{name}", vmap, lib=LIBRARY)
    return operator


def empty_image(size: Sequence[int], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """What a kernel returns, for fake kernels: an uninitialised tensor in the layout of the image `like`."""
    return torch.empty(size, dtype=dtype or like.dtype, device=like.device, memory_format=layout_of(like))


def empty_gradients(inputs: Sequence[tuple[Tensor, torch.dtype]], needs: int) -> list[Tensor]:
    """The results of a backward operator for (input, dtype of its gradient)."""
    return [
        empty_image(tensor.shape, tensor, dtype) if needs >> i & 1 else tensor.new_empty(0, dtype=dtype)
        for i, (tensor, dtype) in enumerate(inputs)
    ]
