"""Which of the warps' kernels serves a call: what csrc/cuda/choice.cuh says, for run-time compilation."""

import ctypes
import os

from vfi_kernels.jit.params import BackwarpParams, View, VoxelFlowParams, WarpBlendParams

MAX_GRID_YZ = 65535  # kMaxGridYZ
SUM_SIZE = 4  # of float32
WARPS = 4  # kWarps
PIECES = 2, 4  # kColumns, kRows
BACKWARP_PIECES = 4, 2  # kBackwarpColumns, kBackwarpRows
WIDE_PIECES = 1, 2  # 1, kWideRows
SIMPLE, PLANAR, RGB, WIDE = 0, 1, 3, 16  # Step


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


def _is_wide(view: View, channels: int, size: int) -> bool:
    """Whether 16 bytes of channels side by side can be loaded at once."""
    numbers = 16 // size
    side_by_side = view.data % 16 == 0 and view.c == 1
    return side_by_side and not any(count % numbers for count in (channels, view.n, view.y, view.x))


def _step(
    n: int, h: int, w: int, channels: int, images: list[View], sizes: list[int], fields: list[View]
) -> int:
    """How the tuned kernels address images, which share a layout; the inputs beside them have any. Views that
    a pass does not have are absent.
    """
    most = MAX_GRID_YZ * WARPS * BACKWARP_PIECES[1]
    served = n <= MAX_GRID_YZ and 2 <= h <= most and w >= 2 and not wants_simple()
    if not (served and all(is_compact(view, h, w) for view in [*images, *fields])):
        return SIMPLE
    present = [(view, size) for view, size in zip(images, sizes, strict=True) if view.data]
    if all(view.x == 1 for view, _ in present):
        return PLANAR
    if channels == 3 and all(view.x == 3 and view.c == 1 for view, _ in present):
        return RGB
    return WIDE if all(_is_wide(view, channels, size) for view, size in present) else SIMPLE


def _views(struct: ctypes.Structure, *names: str) -> list[View]:
    return [getattr(struct, name) for name in names]


def pair_step(params: WarpBlendParams | VoxelFlowParams, size: int) -> int:
    """Of a call with float32 sums; `size`: of a number of the frames, in bytes."""
    pair = params.pair
    images = _views(pair, "frame0", "frame1", "out", "grad_out", "grad_frame0", "grad_frame1")
    names = ("flow0", "flow1", "mask") if isinstance(params, WarpBlendParams) else ("flow",)
    sizes = [size] * 4 + [SUM_SIZE] * 2
    return _step(pair.n, pair.h, pair.w, pair.c, images, sizes, _views(params, *names))


def is_tuned_backwarp(params: BackwarpParams, sizes: list[int]) -> bool:
    """Of calls with float32 sums; `sizes`: of a number of each image, in bytes."""
    fields = [params.flow, params.grad_flow]
    for image, size in zip(params.images, sizes, strict=False):
        views = _views(image, "image", "out", "grad_out", "grad_image")
        if not _step(params.n, params.h, params.w, image.channels, views, [size] * 3 + [SUM_SIZE], fields):
            return False
    return True
