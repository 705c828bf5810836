"""When and how the kernels of sepconv are launched: csrc/cuda/launch_band.cuh and sepconv.cu once more."""

from vfi_kernels.jit.choice import MAX_GRID_YZ, WARPS
from vfi_kernels.jit.params import SepconvParams, SepconvTerm

# csrc/cuda/sepconv_ring.cuh
STRIP, MARCH, CHANNELS, REACH, BEFORE = 32, 64, 3, 64, 7
BLOCKS, STAGED_ROWS = 11, WARPS * REACH + BEFORE
IMAGE_STRIP, IMAGE_BLOCKS, LEAST_ROWS = 64, 264, 16  # csrc/cuda/sepconv_band_image.cuh, launch_band.cuh
PIXELS = IMAGE_STRIP - 8 + REACH
TILE_COLUMNS = 32  # csrc/cuda/sepconv_tiled.cuh
TAP_GROUP, IMAGE_COLUMNS = 4, 128  # csrc/cuda/sepconv_tiled_backward.cuh; the latter is kThreads
MIN_TAPS = 16  # fewer are not worth it, and the ring of rows would be shorter than a tile


def suits(term: SepconvTerm) -> bool:
    """Whether the kernels can compute with a term at all."""
    reach = BEFORE + max(term.kv, -term.left % 4 + term.kh)
    return min(term.kv, term.kh) >= MIN_TAPS and reach <= REACH and term.vertical.x == term.horizontal.x == 1


def grid(params: SepconvParams) -> tuple[int, int, int]:
    return -(-params.w // STRIP), -(-params.h // MARCH), params.n


def shared_bytes(params: SepconvParams, image_bytes: int, tap_bytes: int, coarse: bool) -> int:
    """BandMemory's total."""
    parts = 2 if image_bytes == 4 and not coarse else 1
    row_bytes = ((CHANNELS * BLOCKS * parts * 16 + 4 + 15) // 16 | 1) * 16
    partial = MARCH * CHANNELS * STRIP * 4 if params.terms > 1 and image_bytes < 4 else 0
    fixed = STAGED_ROWS * (STRIP * tap_bytes + 16) + WARPS * STRIP * 4 * (1 + CHANNELS) + MARCH + partial
    rows = max(term.kv for term in params.term[: params.terms]) - 1 + WARPS
    return -(-fixed // 16) * 16 + rows * row_bytes


def image_grid(params: SepconvParams) -> tuple[int, int, int]:
    """Of the gradient of the image: as many blocks as a big device holds at once."""
    term = params.term[params.selected]
    strips = -(-term.image_w // IMAGE_STRIP)
    most = -(-term.image_h // LEAST_ROWS)
    return strips, min(max(IMAGE_BLOCKS // max(strips * params.n, 1), 1), most), params.n


def image_shared_bytes(params: SepconvParams, tap_bytes: int, coarse: bool) -> int:
    """ImageMemory's total."""
    rows, parts = BEFORE + REACH, 2 if tap_bytes == 4 and not coarse else 1
    split = rows * (PIXELS // 8 * parts | 1) * 16
    floats = WARPS * CHANNELS * REACH + (CHANNELS + 1) * PIXELS
    taps = rows + params.term[params.selected].kv
    return split + floats * 4 + taps * (PIXELS + 4) * tap_bytes


def tiled_grid(params: SepconvParams, kernel: str, sum_bytes: int) -> tuple[int, int, int]:
    """Of a kernel without tensor cores: forward, vertical, horizontal or image."""
    term = params.term[params.selected]
    if kernel == "image":
        columns, tiles = -(-term.image_w // IMAGE_COLUMNS), -(-term.image_h // (32 // sum_bytes))
    else:
        taps = {"forward": 1, "vertical": term.kv, "horizontal": term.kh}[kernel]
        rows = WARPS * (16 // sum_bytes)
        columns, tiles = -(-params.w // TILE_COLUMNS), -(-params.h // rows) * -(-taps // TAP_GROUP)
    return columns, min(tiles, MAX_GRID_YZ), min(params.n, MAX_GRID_YZ)
