"""Hand-written CUDA and CPU kernels for video frame interpolation, as PyTorch operators."""

from . import compat, nn
from .backends import backends
from .ops import backwarp, backwarp_multi, sepconv, sepconv_pair, voxel_flow, warp_blend

__version__ = "0.1.0"

__all__ = [
    "__version__",
    "backends",
    "backwarp",
    "backwarp_multi",
    "compat",
    "nn",
    "sepconv",
    "sepconv_pair",
    "voxel_flow",
    "warp_blend",
]
