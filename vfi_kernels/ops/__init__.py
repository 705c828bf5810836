"""The operations: contracts, checks, and what torch needs to know of them."""

from .backwarp import backwarp, backwarp_multi
from .sepconv import sepconv, sepconv_pair
from .voxel_flow import voxel_flow
from .warp_blend import warp_blend

__all__ = ["backwarp", "backwarp_multi", "sepconv", "sepconv_pair", "voxel_flow", "warp_blend"]
