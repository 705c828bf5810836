"""The gradient of every operator, computed by a backward operator of its own; gradients of gradients raise.

torch.library.register_autograd is not used: what it registers refuses to run under torch.func.grad, alone or
with vmap. An autograd.Function applied in the operator's Autograd kernel, at the level of the transform being
run, does both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._functorch.autograd_function import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.utils import _pytree as pytree

from ._register import LIBRARY, NAMESPACE, ORDERED


@dataclass(frozen=True)
class Gradient:
    """How the gradient of one operator is computed."""

    backward: Any
    """The backward operator."""
    reads: Callable[[list[bool]], list[bool]]
    """Which tensors of the inputs the backward reads the values of, from which gradients are wanted. The rest
    is not kept.
    """
    order: Callable[[int], list[int]] = lambda count: list(range(count))
    """The place of each tensor of the inputs among the results of `backward`, from their count."""

    def compute(
        self, grad: Any, inputs: list, wanted: list[bool], deterministic: bool
    ) -> list[Tensor | None]:
        """The gradient of every tensor of the inputs, in its shape and dtype; None where it is not wanted.

        deterministic: asks for sums in a fixed order, which the CUDA kernels otherwise don't keep to.
        """
        tensors = [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]
        results: list[Tensor | None] = [None] * len(tensors)
        places = self.order(len(tensors))
        needs = sum(1 << place for place, want in zip(places, wanted, strict=True) if want)
        if needs:
            computed = self.backward(grad, *inputs, needs | (ORDERED if deterministic else 0))
            results = [computed[p] if want else None for p, want in zip(places, wanted, strict=True)]
        return [None if r is None else _fit(r, tensor) for r, tensor in zip(results, tensors, strict=True)]


def _fit(result: Tensor, tensor: Tensor) -> Tensor:
    """Sums a map [N, 1, H, W] for a tensor [N], and casts from the sums' dtype."""
    if tensor.dim() == 1:
        result = result.sum((1, 2, 3))
    return result.to(tensor.dtype)


class _Function(torch.autograd.Function):
    @classmethod
    def apply(cls, *args: Any) -> Any:
        # Function.apply would hand over to functorch, which has handed over to this kernel already.
        with enable_single_level_autograd_function():
            return super(torch.autograd.Function, cls).apply(*args)


def differentiable(name: str, gradient: Gradient) -> None:
    """Registers the gradient of operator `name`, and an error in place of the gradient's gradient."""

    def save(ctx: Any, leaves: list, spec: Any, wanted: list[bool]) -> None:
        ctx.spec = spec
        ctx.tensors = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
        ctx.wanted = [wanted[i] for i in ctx.tensors]
        ctx.kept = [i for i, read in zip(ctx.tensors, gradient.reads(ctx.wanted), strict=True) if read]
        ctx.save_for_backward(*(leaves[i] for i in ctx.kept))
        ctx.leaves = [
            (None if i in ctx.kept else _Blank.of(leaf)) if isinstance(leaf, Tensor) else leaf
            for i, leaf in enumerate(leaves)
        ]

    def backward(ctx: Any, grad: Any) -> list[Tensor | None]:
        saved = dict(zip(ctx.kept, ctx.saved_tensors, strict=True))
        leaves = [saved.get(i, leaf) for i, leaf in enumerate(ctx.leaves)]
        leaves = [leaf.tensor() if isinstance(leaf, _Blank) else leaf for leaf in leaves]
        on_cuda = leaves[ctx.tensors[0]].device.type == "cuda"
        deterministic = on_cuda and torch.are_deterministic_algorithms_enabled()
        inputs = pytree.tree_unflatten(leaves, ctx.spec)
        results = dict(
            zip(ctx.tensors, gradient.compute(grad, inputs, ctx.wanted, deterministic), strict=True)
        )
        return [results.get(i) for i in range(len(leaves))]

    def second_order(ctx: Any, grad: Any) -> list[Tensor | None]:
        raise RuntimeError(
            f"{name}: gradients must be of first order; got a second-order gradient, which is not implemented"
        )

    _register(name, save, backward)
    _register(f"_{name}_backward", lambda ctx, leaves, spec, wanted: None, second_order)


def _register(name: str, save: Callable[..., None], backward: Callable[..., list[Tensor | None]]) -> None:
    """Gives operator `name` its Autograd kernel.

    save(ctx, leaves, spec, wanted) keeps what the backward needs of the flat inputs; backward(ctx, grad)
    returns the gradient of every leaf, from the gradient of the result in its own structure.
    """
    operator = getattr(getattr(torch.ops, NAMESPACE), name).default

    def below(keyset: Any, args: Sequence[Any]) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator.redispatch(keyset & torch._C._after_autograd_keyset, *args)

    class Function(_Function):
        @staticmethod
        def forward(ctx: Any, keyset: Any, spec: Any, *leaves: Any) -> Any:
            result = below(keyset, pytree.tree_unflatten(list(leaves), spec))
            save(ctx, list(leaves), spec, list(ctx.needs_input_grad[2:]))
            ctx.is_list = isinstance(result, (list, tuple))
            return tuple(result) if ctx.is_list else result

        @staticmethod
        def backward(ctx: Any, *grads: Any) -> Any:
            return (None, None, *backward(ctx, list(grads) if ctx.is_list else grads[0]))

    Function.__name__ = "".join(word.capitalize() for word in name.split("_"))

    def kernel(keyset: Any, *args: Any) -> Any:
        if _has_tangent(args):
            raise RuntimeError(
                f"{name}: gradients must be reverse-mode; got forward-mode, which is not implemented"
            )
        if not differentiates(args):
            return below(keyset, args)
        leaves, spec = pytree.tree_flatten(list(args))
        result = Function.apply(keyset, spec, *leaves)
        return list(result) if isinstance(result, tuple) else result

    LIBRARY.impl(name, kernel, "Autograd", with_keyset=True)


def differentiates(args: Sequence[Any]) -> bool:
    """Whether somebody may ask for a derivative of an operator called with these inputs."""
    return forward_ad._current_level >= 0 or (torch.is_grad_enabled() and torch._C._any_requires_grad(*args))


def _has_tangent(args: Sequence[Any]) -> bool:
    """Whether forward-mode differentiation goes through these inputs. Below autograd it would be lost in
    silence.
    """
    if forward_ad._current_level < 0:
        return False
    tensors = (leaf for leaf in pytree.tree_leaves(list(args)) if isinstance(leaf, Tensor))
    return any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors)


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
