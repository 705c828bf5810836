"""The operations in plain, differentiable PyTorch: specification, oracle and fallback.

Each function has the signature of the operator of the same name (``torch.ops.vfi_kernels.<name>``), runs on
every device PyTorch knows, and says in a few lines what the hand-written kernels compute. Arguments are not
checked here.
"""

from .backwarp import backwarp
from .sepconv import sepconv
from .voxel_flow import voxel_flow
from .warp_blend import warp_blend

__all__ = ["backwarp", "sepconv", "voxel_flow", "warp_blend"]
