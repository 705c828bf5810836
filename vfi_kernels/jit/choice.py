"""Which of the warps' kernels serves a call: what csrc/cuda/choice.cuh says, for run-time compilation."""

import ctypes
import os

from vfi_kernels.jit.params import View, VoxelFlowParams, WarpBlendParams

MAX_GRID = 65535  # kMaxGridYZ
TILE_WIDTH, TILE_HEIGHT = 64, 16  # kTileWidth, kTileHeight


def tiles(n: int, h: int, w: int) -> tuple[int, int, int]:
    """The grid of the tuned kernels."""
    return -(-w // TILE_WIDTH), -(-h // TILE_HEIGHT), n


def wants_simple() -> bool:
    """For benchmarks, and for tests of one kernel against the other."""
    return os.environ.get("VFI_CUDA_KERNELS") == "simple"


def is_compact(view: View, h: int, w: int) -> bool:
    """Whether 32 bits hold every offset within a plane, in bytes too."""
    return not view.data or (min(view.y, view.x) >= 0 and (h - 1) * view.y + (w - 1) * view.x < 1 << 29)


def _step(n: int, c: int, h: int, w: int, images: list[View], fields: list[View]) -> int:
    """1 for pixels side by side in planes, 3 for three channels side by side, 0 for the simple kernel."""
    served = n <= MAX_GRID and 2 <= h <= MAX_GRID * TILE_HEIGHT and w >= 2 and not wants_simple()
    if not served or not all(is_compact(view, h, w) for view in [*images, *fields]):
        return 0
    if all(not view.data or view.x == 1 for view in [*images, *fields]):
        return 1
    return 3 if c == 3 and all(not view.data or (view.x == 3 and view.c == 1) for view in images) else 0


def _views(struct: ctypes.Structure, *names: str) -> list[View]:
    return [getattr(struct, name) for name in names]


def pair_step(params: WarpBlendParams | VoxelFlowParams) -> int:
    """kStep of the tuned kernel for a call with float32 sums, 0 where the simple one has to do."""
    pair = params.pair
    images = _views(pair, "frame0", "frame1", "out")
    names = ("flow0", "flow1", "mask") if isinstance(params, WarpBlendParams) else ("flow",)
    return _step(pair.n, pair.c, pair.h, pair.w, images, _views(params, *names))
