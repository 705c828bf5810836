"""Registration of an operator: schema, fake kernel, vmap, gradient. An operation's file adds what is its own.

Schemas are defined here; kernels come from the compiled library or from run-time compilation. There is no
autocast kernel: such a rule knows one target dtype, while these operators take half-precision images as they
are and only widen what does not fit beside them. The public functions do that, for the reference as well:
`_check.promote`.

An operator `f(inputs...)` has its gradient in `_f_backward(grads, inputs..., needs)`, with one result per
tensor of the inputs. Bit i of `needs` asks for result i; what is not asked for comes as an empty tensor of
shape (0,).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..reference.numbers import layout_of
from . import _vmap

NAMESPACE = "vfi_kernels"
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


@dataclass(frozen=True)
class Gradient:
    """How the gradient of one operator is computed."""

    backward: Any
    """The backward operator."""
    reads: Callable[[list[bool]], list[bool]]
    """Which tensors of the inputs the backward reads the values of, from which gradients are wanted. The rest
    is not kept.
    """
    frame_gradients: Callable[..., list[Tensor | None]] | None = None
    """The gradients of the frames in plain tensor code, with sums in a fixed order; None where the kernels
    have that anyway.
    """
    order: Callable[[int], list[int]] = lambda count: list(range(count))
    """The place of each tensor of the inputs among the results of `backward`, from their count."""

    def compute(
        self, grad: Any, inputs: list, wanted: list[bool], deterministic: bool
    ) -> list[Tensor | None]:
        """The gradient of every tensor of the inputs, in its shape and dtype; None where it is not wanted.

        deterministic: takes the frames' gradients from `frame_gradients`, since the CUDA kernels add them
            atomically.
        """
        tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        results: list[Tensor | None] = [None] * len(tensors)
        asked = list(wanted)
        if deterministic and self.frame_gradients is not None:
            frames = len(inputs[0]) if isinstance(inputs[0], list) else 2
            results[:frames] = self.frame_gradients(grad, *inputs, wanted[:frames])
            asked[:frames] = [False] * frames
        places = self.order(len(tensors))
        needs = sum(1 << place for place, ask in zip(places, asked, strict=True) if ask)
        if needs:
            computed = self.backward(grad, *inputs, needs)
            results = [computed[p] if ask else r for r, p, ask in zip(results, places, asked, strict=True)]
        return [None if r is None else _fit(r, tensor) for r, tensor in zip(results, tensors, strict=True)]


def _fit(result: Tensor, tensor: Tensor) -> Tensor:
    """Sums a map [N, 1, H, W] for a tensor [N], and casts from the sums' dtype."""
    if tensor.dim() == 1:
        result = result.sum((1, 2, 3))
    return result.to(tensor.dtype)


def differentiable(name: str, gradient: Gradient) -> None:
    """Registers the gradient of operator `name`, and an error in place of the gradient's gradient."""

    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        leaves, ctx.spec = pytree.tree_flatten(list(inputs))
        needs = pytree.tree_leaves(ctx.needs_input_grad)  # nested or flat, and longer by what torch adds
        ctx.tensors = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        ctx.wanted = [needs[i] for i in ctx.tensors]
        ctx.kept = [i for i, read in zip(ctx.tensors, gradient.reads(ctx.wanted), strict=True) if read]
        ctx.save_for_backward(*(leaves[i] for i in ctx.kept))
        ctx.leaves = [_Blank.of(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]

    def backward(ctx: Any, *grads: Any) -> tuple:
        saved = dict(zip(ctx.kept, ctx.saved_tensors, strict=True))
        leaves = [saved.get(i, leaf) for i, leaf in enumerate(ctx.leaves)]
        leaves = [leaf.tensor() if isinstance(leaf, _Blank) else leaf for leaf in leaves]
        on_cuda = leaves[ctx.tensors[0]].device.type == "cuda"
        deterministic = on_cuda and torch.are_deterministic_algorithms_enabled()
        inputs = pytree.tree_unflatten(leaves, ctx.spec)
        results = dict(
            zip(ctx.tensors, gradient.compute(grads[0], inputs, ctx.wanted, deterministic), strict=True)
        )
        return tuple(pytree.tree_unflatten([results.get(i) for i in range(len(leaves))], ctx.spec))

    def second_order(ctx: Any, *grads: Any) -> None:
        raise RuntimeError(
            f"{name}: gradients must be of first order, second-order gradients are not implemented; got one"
        )

    torch.library.register_autograd(
        f"{NAMESPACE}::{name}", backward, setup_context=setup_context, lib=LIBRARY
    )
    torch.library.register_autograd(f"{NAMESPACE}::_{name}_backward", second_order, lib=LIBRARY)


@dataclass(frozen=True)
class _Blank:
    """Stands for a tensor of which the backward reads the shape, dtype and layout only."""

    size: Sequence[int]
    stride: Sequence[int]
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(tensor: Tensor) -> "_Blank":
        return _Blank(tensor.shape, tensor.stride(), tensor.dtype, tensor.device)

    def tensor(self) -> Tensor:
        return torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device)
