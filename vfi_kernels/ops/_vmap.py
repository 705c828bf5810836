"""The vmap rule of every operator: the vmapped dimension is folded into the batch, and taken out of the
results again.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


def fold(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """[N, ...] with `size` values along the vmapped dimension `dim` -> [size * N, ...]; repeated where `dim`
    is None.
    """
    tensor = tensor.unsqueeze(0).expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
    tensor = tensor.reshape(size * tensor.shape[1], *tensor.shape[2:])
    return tensor.contiguous() if tensor.dim() == 1 else tensor  # the kernels need timesteps side by side


def unfold(result: Tensor, size: int) -> Tensor:
    return result.reshape(size, result.shape[0] // max(size, 1), *result.shape[1:])


def apply(operator: Any, size: int, in_dims: tuple, args: tuple, frames: Sequence[int]) -> tuple[Any, Any]:
    """Calls `operator` once for all `size` values; `frames` are the arguments that many entries of a batch
    may share.
    """
    leaves, spec = pytree.tree_flatten(list(args))
    dims, _ = pytree.tree_flatten(list(in_dims))
    # One frame that is not vmapped serves the whole folded batch as it is. Where frames differ, all are
    # repeated.
    of_frames = [place for place, leaf in enumerate(_positions(args)) if leaf in frames]
    shared = all(dims[i] is None and leaves[i].shape[0] == 1 for i in of_frames)
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Tensor) and not (shared and i in of_frames):
            leaves[i] = fold(leaf, dims[i], size)
    results = operator(*pytree.tree_unflatten(leaves, spec))
    if isinstance(results, Tensor):
        return unfold(results, size), 0
    # A gradient that was not asked for is of shape (0,) and has no batch.
    asked = [result.dim() > 1 for result in results]
    return (
        [unfold(result, size) if ask else result for result, ask in zip(results, asked, strict=True)],
        [0 if ask else None for ask in asked],
    )


def _positions(args: tuple) -> list[int]:
    """The argument that each leaf belongs to."""
    return [i for i, arg in enumerate(args) for _ in range(len(arg) if isinstance(arg, (list, tuple)) else 1)]
