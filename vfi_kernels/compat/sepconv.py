"""`from vfi_kernels.compat import sepconv` in place of `import sepconv`.

The calling conventions of all versions of the original: `sepconv_func.apply`, and before it `FunctionSepconv`
and `ModuleSepconv`. The caller pads; any number of taps is allowed, strided inputs too, and the CPU as well
as CUDA.
"""

import torch
from torch import Tensor, nn

from .. import ops


class sepconv_func:  # The names are the original's
    """Called as `sepconv_func.apply(tenIn, tenVer, tenHor)`, like the autograd.Function that it stands
    for.
    """

    @staticmethod
    def apply(tenIn: Tensor, tenVer: Tensor, tenHor: Tensor) -> Tensor:
        """tenIn [N, C, H + Kv - 1, W + Kh - 1], tenVer [N, Kv, H, W], tenHor [N, Kh, H, W] -> [N, C, H,
        W].
        """
        if torch.is_autocast_enabled(tenIn.device.type):
            # The original computes in float32 under autocast and returns float32, whatever comes in.
            tenIn, tenVer, tenHor = tenIn.float(), tenVer.float(), tenHor.float()
        return ops.sepconv(tenIn, tenVer, tenHor, padding="valid")


def FunctionSepconv(tenInput: Tensor, tenVertical: Tensor, tenHorizontal: Tensor) -> Tensor:
    """The function of the first versions: see `sepconv_func`."""
    return sepconv_func.apply(tenInput, tenVertical, tenHorizontal)


class ModuleSepconv(nn.Module):
    """The module of the first versions: see `sepconv_func`."""

    def forward(self, tenInput: Tensor, tenVertical: Tensor, tenHorizontal: Tensor) -> Tensor:
        return sepconv_func.apply(tenInput, tenVertical, tenHorizontal)
