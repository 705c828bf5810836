"""Which of the warps' kernels serves a call: what csrc/cuda/choice.cuh says, for run-time compilation."""

import ctypes
import os

from vfi_kernels.jit.params import BackwarpParams, View, VoxelFlowParams, WarpBlendParams

MAX_GRID = 65535  # kMaxGridYZ
SUM_SIZE = 4  # of float32
WARPS = 4  # kWarps
PIECES = 2, 4  # kColumns, kRows
BACKWARP_PIECES = 4, 2  # kBackwarpColumns, kBackwarpRows


def tiles(n: int, h: int, w: int, pieces: tuple[int, int] = PIECES) -> tuple[int, int, int]:
    """The grid of the tuned kernels."""
    columns, rows = pieces
    return -(-w // (32 * columns)), -(-h // (WARPS * rows)), n


def wants_simple() -> bool:
    """For benchmarks, and for tests of one kernel against the other."""
    return os.environ.get("VFI_CUDA_KERNELS") == "simple"


def is_compact(view: View, h: int, w: int) -> bool:
    """Whether 32 bits hold every offset within a plane, in bytes too."""
    return not view.data or (min(view.y, view.x) >= 0 and (h - 1) * view.y + (w - 1) * view.x < 1 << 29)


def _is_served(n: int, h: int, w: int, views: list[View]) -> bool:
    most = MAX_GRID * WARPS * BACKWARP_PIECES[1]
    served = n <= MAX_GRID and 2 <= h <= most and w >= 2 and not wants_simple()
    return served and all(is_compact(view, h, w) for view in views)


def _is_planar(*views: View) -> bool:
    return all(not view.data or view.x == 1 for view in views)


def _is_rgb(channels: int, *views: View) -> bool:
    return channels == 3 and all(not view.data or (view.x == 3 and view.c == 1) for view in views)


def _is_wide(channels: int, size: int, *views: View) -> bool:
    """Whether 16 bytes of channels side by side can be loaded at once."""
    numbers = 16 // size
    return channels % numbers == 0 and all(
        not view.data
        or (view.data % 16 == 0 and view.c == 1 and not any(s % numbers for s in (view.n, view.y, view.x)))
        for view in views
    )


def _views(struct: ctypes.Structure, *names: str) -> list[View]:
    return [getattr(struct, name) for name in names]


def _pair_images(params: WarpBlendParams | VoxelFlowParams) -> list[View]:
    return _views(params.pair, "frame0", "frame1", "out", "grad_out", "grad_frame0", "grad_frame1")


def _pair_fields(params: WarpBlendParams | VoxelFlowParams) -> list[View]:
    return _views(params, *(("flow0", "flow1", "mask") if isinstance(params, WarpBlendParams) else ("flow",)))


def pair_step(params: WarpBlendParams | VoxelFlowParams) -> int:
    """kStep of the tuned kernel for a call with float32 sums, 0 where the simple one has to do.

    Views that a pass does not have are absent.
    """
    pair = params.pair
    images, fields = _pair_images(params), _pair_fields(params)
    if not _is_served(pair.n, pair.h, pair.w, [*images, *fields]):
        return 0
    return 1 if _is_planar(*images, *fields) else 3 if _is_rgb(pair.c, *images) else 0


def has_channels(params: WarpBlendParams | VoxelFlowParams, size: int) -> bool:
    """Whether the gradients of a pair, whose numbers have `size` bytes, can be computed over any number of
    channels.
    """
    pair, images = params.pair, _pair_images(params)
    wide = _is_wide(pair.c, size, *images[:4]) and _is_wide(pair.c, SUM_SIZE, *images[4:])
    served = _is_served(pair.n, pair.h, pair.w, [*images, *_pair_fields(params)])
    return served and (_is_planar(*images) or _is_rgb(pair.c, *images) or wide)


def is_tuned_backwarp(params: BackwarpParams, sizes: list[int]) -> bool:
    """Of calls with float32 sums; `sizes`: of a number of each image, in bytes."""
    if not _is_served(params.n, params.h, params.w, [params.flow, params.grad_flow]):
        return False
    for image, size in zip(params.images, sizes, strict=False):
        views = _views(image, "image", "out", "grad_out", "grad_image")
        c = image.channels
        wide = _is_wide(c, size, *views[:3]) and _is_wide(c, SUM_SIZE, views[3])
        if not (wide or _is_planar(*views) or _is_rgb(c, *views)):
            return False
        if not all(is_compact(view, params.h, params.w) for view in views):
            return False
    return True
