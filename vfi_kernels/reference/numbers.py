"""What every operation does with dtypes and layouts before and after its arithmetic."""

import torch
from torch import Tensor


def sum_dtype(images: torch.dtype) -> torch.dtype:
    """The dtype of coordinates and sums: float64 for float64 images, float32 for all others."""
    return torch.float64 if images == torch.float64 else torch.float32


def layout_of(tensor: Tensor) -> torch.memory_format:
    """The layout that results follow: channels_last where `tensor` is that and not contiguous as well."""
    if tensor.is_contiguous():
        return torch.contiguous_format
    expected = 1  # by strides, since is_contiguous(memory_format=channels_last) does not exist inside vmap
    for dim in (1, 3, 2, 0):
        if tensor.shape[dim] != 1:
            if tensor.stride(dim) != expected:
                return torch.contiguous_format
            expected = expected * tensor.shape[dim]
    return torch.channels_last


def finish(result: Tensor, like: Tensor) -> Tensor:
    """`result` (in the sums' dtype) in the dtype and layout of the image `like`."""
    if like.dtype == torch.uint8:
        # torch.round goes to the even neighbour in a tie; NaN becomes 0, the rest saturates.
        result = torch.nan_to_num(result, nan=0.0).round().clamp(0, 255)
    result = result.to(like.dtype)
    if layout_of(like) == torch.channels_last:
        return result.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    return result.contiguous()
