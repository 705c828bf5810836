"""The names of other projects over these kernels: change one import, keep the code and the results.

- `sepconv`: `sepconv_func`, `FunctionSepconv` and `ModuleSepconv` of sniklaus/sepconv-slomo and
  revisiting-sepconv
- `rife`: `warp` of hzwer/ECCV2022-RIFE and Practical-RIFE
- `superslomo`: `backWarp` of avinashpaliwal/Super-SloMo
"""

from . import rife, sepconv, superslomo

__all__ = ["rife", "sepconv", "superslomo"]
