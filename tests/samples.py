"""Inputs of the operations: one table that feeds all registration tests, and the makers and views that other
tests share.
"""

import dataclasses
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import vfi_kernels

FLOAT, DOUBLE, HALF, BRAIN, BYTE = torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8

# (images, flow or mask or taps): everything that goes together.
DTYPES = [
    (FLOAT, FLOAT),
    (HALF, FLOAT),
    (HALF, HALF),
    (BRAIN, FLOAT),
    (BRAIN, BRAIN),
    (DOUBLE, FLOAT),
    (DOUBLE, DOUBLE),
]
DTYPES_WITH_BYTE = [*DTYPES, (BYTE, FLOAT)]
CHANNELS = (1, 2, 3, 5, 64)


def image(*shape: int, dtype: torch.dtype = FLOAT) -> Tensor:
    if dtype == BYTE:
        return torch.randint(0, 256, shape, dtype=BYTE)
    return torch.randn(shape, dtype=DOUBLE).to(dtype)


def flow(entries: int, height: int, width: int, *, dtype: torch.dtype = FLOAT) -> Tensor:
    """A flow of some pixels in steps of 1/8 that are no integers, which every dtype holds exactly.

    So rounding flips no floor, and the derivative, which jumps at integers, is that of the oracle. Some
    vectors point outside.
    """
    shape = (entries, 2, height, width)
    # Doubled, as in extrapolation, an eighth stays clear of integers as long as it is odd.
    return (torch.randint(-4, 4, shape) + (2 * torch.randint(0, 4, shape) + 1) / 8).to(dtype)


def mask(entries: int, height: int, width: int, *, dtype: torch.dtype = FLOAT) -> Tensor:
    return (0.1 + 0.8 * torch.rand(entries, 1, height, width)).to(dtype)


def voxels(entries: int, height: int, width: int, *, dtype: torch.dtype = FLOAT) -> Tensor:
    """dx, dy and dt; a dt in four is clamped."""
    return torch.cat(
        [flow(entries, height, width, dtype=dtype), (1.3 * mask(entries, height, width) - 0.1).to(dtype)], 1
    )


def taps(entries: int, count: int, height: int, width: int, *, dtype: torch.dtype = FLOAT) -> Tensor:
    return (torch.randn(entries, count, height, width) / count).to(dtype)


def views(tensor: Tensor) -> Iterator[Tensor]:
    """The same values in other memory: channels_last, with gaps, transposed, and at every small offset from
    alignment.
    """
    yield tensor.contiguous(memory_format=torch.channels_last)
    wide = torch.zeros([2 * size + 1 for size in tensor.shape], dtype=tensor.dtype, device=tensor.device)
    gaps = wide[tuple(slice(1, None, 2) for _ in tensor.shape)]
    yield gaps.copy_(tensor)
    yield tensor.transpose(2, 3).contiguous().transpose(2, 3)
    for offset in range(1, 9):
        yield guarded(tensor, offset)


GUARD = 42


def guarded(tensor: Tensor, offset: int) -> Tensor:
    """A contiguous copy between guards: [guard | tensor | guard], the first of `offset` elements."""
    memory = torch.full((tensor.numel() + offset + 8,), GUARD, dtype=tensor.dtype, device=tensor.device)
    return memory[offset : offset + tensor.numel()].view(tensor.shape).copy_(tensor)


def memory_of(tensor: Tensor) -> Tensor:
    """A copy of all the memory behind a tensor, guards included."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.as_strided((size,), (1,), 0).clone()


@dataclasses.dataclass(frozen=True)
class Sample:
    """One call of a public function, and the same call of its operator."""

    name: str
    operation: str
    frames: tuple[int, ...]  # which of the tensors are images
    public: Callable[..., Tensor | list[Tensor]]  # of the tensors
    tensors: Callable[[int, int, int, int], list[Tensor]]  # of N, C, H, W
    inputs: Callable[..., list]  # of the operator, of the tensors


def _blend(n: int, c: int, h: int, w: int) -> list[Tensor]:
    return [image(n, c, h, w), image(n, c, h, w), flow(n, h, w), flow(n, h, w), mask(n, h, w)]


def _pair(n: int, c: int, h: int, w: int) -> list[Tensor]:
    return [
        image(n, c, h, w),
        taps(n, h + 1, h, w),
        taps(n, w + 2, h, w),
        image(n, c, h, w),
        taps(n, 3 * c + 8, h, w),
        taps(n, h + 5, h, w),
    ]


SAMPLES = [
    Sample(
        "backwarp",
        "backwarp",
        (0,),
        vfi_kernels.backwarp,
        lambda n, c, h, w: [image(n, c, h, w), flow(n, h, w)],
        lambda i, f: [[i], f, "border"],
    ),
    Sample(
        "backwarp_multi",
        "backwarp",
        (0, 1),
        lambda i, j, f: vfi_kernels.backwarp_multi([i, j], f, padding="zeros"),
        lambda n, c, h, w: [image(n, c, h, w), image(n, c + 1, h, w), flow(n, h, w)],
        lambda i, j, f: [[i, j], f, "zeros"],
    ),
    Sample(
        "warp_blend",
        "warp_blend",
        (0, 1),
        lambda *tensors: vfi_kernels.warp_blend(*tensors, mask_is_logits=True),
        _blend,
        lambda *tensors: [*tensors, None, True, "border"],
    ),
    Sample(
        "warp_blend_at",
        "warp_blend",
        (0, 1),
        lambda *tensors: vfi_kernels.warp_blend(*tensors[:5], timestep=tensors[5], padding="zeros"),
        lambda n, c, h, w: [*_blend(n, c, h, w), 0.1 + 0.8 * torch.rand(n)],
        lambda *tensors: [*tensors, False, "zeros"],
    ),
    Sample(
        "voxel_flow",
        "voxel_flow",
        (0, 1),
        vfi_kernels.voxel_flow,
        lambda n, c, h, w: [image(n, c, h, w), image(n, c, h, w), voxels(n, h, w)],
        lambda *tensors: [*tensors, "interpolate", "border"],
    ),
    Sample(
        "voxel_flow_beyond",
        "voxel_flow",
        (0, 1),
        lambda *tensors: vfi_kernels.voxel_flow(*tensors, mode="extrapolate", padding="zeros"),
        lambda n, c, h, w: [image(n, c, h, w), image(n, c, h, w), voxels(n, h, w)],
        lambda *tensors: [*tensors, "extrapolate", "zeros"],
    ),
    Sample(
        "sepconv",
        "sepconv",
        (0,),
        vfi_kernels.sepconv,
        lambda n, c, h, w: [image(n, c, 2 * h, 2 * w + 2), taps(n, h + 1, h, w), taps(n, w + 3, h, w)],
        lambda i, v, h: [[i], [v], [h], "valid", False],
    ),
    Sample(
        "sepconv_pair",
        "sepconv",
        (0, 3),
        vfi_kernels.sepconv_pair,
        _pair,
        lambda i, v, h, j, u, k: [[i, j], [v, u], [h, k], "replicate", False],
    ),
]


def sepconv_inputs(terms, n, c, h, w, kv, kh, dtypes, padding) -> list:
    """Arguments of the operator sepconv for `terms` images, of any content."""
    more = (kv - 1, kh - 1) if padding == "valid" else (0, 0)
    images = [image(n, c, h + more[0], w + more[1], dtype=dtypes[0]) for _ in range(terms)]
    verticals = [taps(n, kv, h, w, dtype=dtypes[1]) for _ in range(terms)]
    return [
        images,
        verticals,
        [taps(n, kh, h, w, dtype=dtypes[1]) for _ in range(terms)],
        padding,
        False,
    ]
