"""Launches of the frame gradients with sums in a fixed order: what csrc/cuda/launch_ordered.cuh does, for
run-time compilation.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from vfi_kernels.jit.choice import MAX_GRID_YZ, WARPS
from vfi_kernels.jit.params import BackwarpParams, FramePair

WIDTH, HEIGHT = 32, 16  # kOrderedWidth, kOrderedHeight
CHANNELS = 3  # kOrderedChannels
MAX_GRID_X = (1 << 31) - 1  # of CUDA


def gather_frames(
    run: Callable[[str, tuple[int, int, int]], None],  # launches a kernel of ordered.cuh on a grid
    reads: str,  # PairReads<...> or BackwarpReads<...>
    shape: FramePair | BackwarpParams,
    reaches: int,  # how many frames a pixel of the output reads in a place of its own
    targets: int,  # frames for each repeat of them
    channels: int,  # of the frame that has the most
    like: Tensor,
) -> None:
    tiles = -(-shape.w // WIDTH) * -(-shape.h // HEIGHT)
    reach = torch.empty(4 * reaches * shape.n * tiles, dtype=torch.int32, device=like.device)
    shape.reach = reach.data_ptr()

    def blocks(warps: int) -> int:
        return min(-(-warps // WARPS), MAX_GRID_X)

    run(f"frame_reach<{reads}>", (blocks(reaches * shape.n * tiles), 1, 1))
    frames = shape.n // shape.repeat
    groups = min(-(-channels // CHANNELS), MAX_GRID_YZ)
    run(f"frame_gather<{reads}>", (blocks(targets * frames * tiles), groups, 1))
    shape.reach = None
