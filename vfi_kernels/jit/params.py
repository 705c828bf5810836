"""The parameter structs of the CUDA kernels (csrc/math/*.h), field by field. A test compares the sizes with
the compiler's.
"""

import ctypes

import torch
from torch import Tensor

MAX_IMAGES = 8  # kMaxImages
MAX_TERMS = 2  # kMaxTerms

# How csrc/math/number.h names and numbers the dtypes.
TYPE_NAMES = {
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.float32: "f32",
    torch.float64: "f64",
    torch.uint8: "u8",
}
DTYPE_CODES = {torch.float16: 0, torch.bfloat16: 1, torch.float32: 2, torch.float64: 3, torch.uint8: 4}


class View(ctypes.Structure):
    """View<T>: data and strides in elements."""

    _fields_ = [("data", ctypes.c_void_p), *((axis, ctypes.c_int64) for axis in "ncyx")]


class FramePair(ctypes.Structure):
    _fields_ = [
        *((name, View) for name in ("frame0", "frame1", "out", "grad_out", "grad_frame0", "grad_frame1")),
        *((name, ctypes.c_int) for name in ("n", "c", "h", "w", "repeat", "padding")),
        ("reach", ctypes.c_void_p),
    ]


class WarpBlendParams(ctypes.Structure):
    _fields_ = [
        ("pair", FramePair),
        *((name, View) for name in ("flow0", "flow1", "mask", "grad_flow0", "grad_flow1", "grad_mask")),
        ("timestep", ctypes.c_void_p),
        ("grad_timestep", ctypes.c_void_p),
        ("mask_is_logits", ctypes.c_int),
    ]


class VoxelFlowParams(ctypes.Structure):
    _fields_ = [("pair", FramePair), ("flow", View), ("grad_flow", View), ("extrapolate", ctypes.c_int)]


class BackwarpImage(ctypes.Structure):
    _fields_ = [
        *((name, View) for name in ("image", "out", "grad_out", "grad_image")),
        ("channels", ctypes.c_int),
        ("dtype", ctypes.c_int),
    ]


class BackwarpParams(ctypes.Structure):
    _fields_ = [
        ("images", BackwarpImage * MAX_IMAGES),
        ("flow", View),
        ("grad_flow", View),
        *((name, ctypes.c_int) for name in ("count", "n", "h", "w", "repeat", "padding")),
        ("reach", ctypes.c_void_p),
    ]


class SepconvTerm(ctypes.Structure):
    _fields_ = [
        *((name, View) for name in ("image", "vertical", "horizontal")),
        *((name, View) for name in ("grad_image", "grad_vertical", "grad_horizontal")),
        *((name, ctypes.c_int) for name in ("kv", "kh", "image_h", "image_w", "top", "left")),
    ]


class SepconvParams(ctypes.Structure):
    _fields_ = [
        ("term", SepconvTerm * MAX_TERMS),
        ("out", View),
        ("grad_out", View),
        *((name, ctypes.c_int) for name in ("terms", "selected", "n", "c", "h", "w", "coarse")),
    ]


def view(tensor: Tensor | None) -> View:
    """The view of a [N, C, H, W] tensor; of a result that was not asked for (None) an absent one."""
    return View() if tensor is None else View(tensor.data_ptr(), *tensor.stride())
