"""Which implementation runs on which device, and why.

The order is: the compiled library ``vfi_kernels/_C*.so``; on CUDA without it, kernels compiled at run time;
the plain PyTorch reference anywhere else. The environment variable ``VFI_BACKEND=reference``, read once at
import, forces the reference.
"""

import functools
import json
import os
from pathlib import Path

import torch

DISPATCH_KEYS = {"cpu": "CPU", "cuda": "CUDA"}
FORCED = os.environ.get("VFI_BACKEND", "")
if FORCED not in ("", "reference"):
    raise ValueError(f"VFI_BACKEND: must be 'reference' or unset; got {FORCED!r}")


def _load_library() -> str:
    """Loads the compiled operators; returns what stands in the way, or an empty string."""
    folder = Path(__file__).parent
    found = sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")])
    if not found:
        return f"no compiled library _C*.so in {folder}: build it with `pip install .`"
    try:
        torch.ops.load_library(str(found[0]))
    except (
        Exception
    ) as error:  # whatever the loader says is passed on by backends(); the reference still works
        return f"{found[0].name} failed to load: {error.__cause__ or error}"  # torch hides the loader's words
    return ""


LOAD_ERROR = _load_library()


def _registered(device_type: str) -> bool:
    key = DISPATCH_KEYS.get(device_type)
    if device_type == "cuda" and torch.version.hip is not None:
        return False  # ROCm calls itself CUDA, and cannot run what nvcc built
    return key is not None and torch._C._dispatch_has_kernel_for_dispatch_key("vfi_kernels::backwarp", key)


@functools.cache
def _runtime_cuda() -> tuple[bool, str]:
    """Whether kernels compiled at run time serve CUDA, and if not, what is missing."""
    if torch.version.hip is not None:
        return False, "torch is built for ROCm, where nothing is compiled at run time"
    extra = "jit12" if (torch.version.cuda or "").startswith("12.") else "jit13"
    advice = f"pip install 'vfi-kernels[{extra}]'"
    try:
        from vfi_kernels import jit  # only here: it looks for CuPy and a driver
    except ImportError as error:
        return False, f"{error}; {advice}"
    usable, reason = jit.available()
    if not usable:
        return False, f"{reason}; {advice}" if advice not in reason else reason
    return _registered("cuda"), "vfi_kernels.jit registered no kernel"


@functools.cache
def _has_kernel(device_type: str) -> bool:
    if FORCED:
        return False
    if device_type == "meta" or _registered(device_type):
        return True
    return device_type == "cuda" and _runtime_cuda()[0]


@torch.compiler.assume_constant_result
def has_kernel(device_type: str) -> bool:
    """Whether the operators have kernels on this type of device; a constant of the process, for torch.compile
    as well.
    """
    return _has_kernel(device_type)


def _build() -> dict[str, str]:
    """What the compiled library was built for; empty without it."""
    return {} if LOAD_ERROR else json.loads(torch.ops.vfi_kernels.build_info())


def _cpu() -> dict[str, str]:
    if not FORCED and _registered("cpu"):
        return {"backend": "compiled", "target": _build().get("cpu", ""), "missing": ""}
    return {
        "backend": "reference",
        "target": "",
        "missing": _forced() or LOAD_ERROR or "built without CPU kernels",
    }


def _cuda() -> dict[str, str]:
    archs = _build().get("cuda_archs", "")
    if not FORCED and archs and _registered("cuda"):
        return {
            "backend": "compiled",
            "target": archs,
            "missing": "" if torch.cuda.is_available() else "no CUDA device",
        }
    reasons = [_forced() or LOAD_ERROR or "built without CUDA"]
    if not FORCED and torch.version.cuda is None and torch.version.hip is None:
        reasons.append(f"torch {torch.__version__} is built without CUDA")
    elif not FORCED:
        usable, reason = _runtime_cuda()
        if usable:
            return {"backend": "runtime", "target": "the device's own architecture", "missing": reasons[0]}
        reasons.append(reason)
    return {"backend": "reference", "target": "", "missing": "; ".join(reasons)}


def _forced() -> str:
    return f"VFI_BACKEND={FORCED} is set" if FORCED else ""


def backends() -> dict[str, dict[str, str]]:
    """What runs where, and why.

    Returns, for "cpu", "cuda" and "other" (MPS, ROCm, XPU and the like), a dict of three strings:

    - ``backend``: "compiled", "runtime" (compiled at first use) or "reference" (plain PyTorch)
    - ``target``: the instruction set or the architectures; empty for the reference
    - ``missing``: what is missing where the backend is not "compiled", or no device is there to run it
    """
    other = {
        "backend": "reference",
        "target": "",
        "missing": _forced() or "kernels exist for CPU and CUDA only",
    }
    return {"cpu": _cpu(), "cuda": _cuda(), "other": other}
