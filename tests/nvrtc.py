"""NVRTC through ctypes: compiles CUDA without CuPy, a toolkit, a driver or a GPU. The library is the wheel
nvidia-cuda-nvrtc.

``python -m tests.nvrtc`` writes the table of registers, spills and shared memory that a test compares.
"""

import ctypes
import functools
import json
import re
import sysconfig
from pathlib import Path

from vfi_kernels.jit.source import inlined

TABLE = Path(__file__).parent / "kernel_resources.json"
ARCH = "90"
DEFAULT_ARCHS = ("75", "80", "86", "89", "90", "100", "120")

# The type pairs of csrc/math: (image, flow or taps), and for backwarp (flow, sums).
FLOAT_PAIRS = ["f32, f32", "f16, f32", "f16, f16", "bf16, f32", "bf16, bf16", "f64, f64", "f64, f32"]
PAIRS = [*FLOAT_PAIRS, "u8, f32"]
TUNED_PAIRS = [types for types in PAIRS if "f64" not in types]
FLOAT_BANDS = ["f32, f32, false", "f32, f32, true"] + [
    f"{pair}, false" for pair in FLOAT_PAIRS if pair != "f32, f32" and "f64" not in pair
]
BACKWARP_PAIRS = ["f32, f32", "f16, f32", "bf16, f32", "f32, f64", "f64, f64"]

# File of csrc/cuda -> its kernels.
KERNELS = {
    "pair.cuh": [
        *(f"pair_forward<{op}<{types}>>" for op in ("WarpBlend", "VoxelFlow") for types in PAIRS),
        *(f"pair_backward<{op}<{types}>>" for op in ("WarpBlend", "VoxelFlow") for types in FLOAT_PAIRS),
    ],
    "tuned_pair.cuh": [
        f"pair_forward_tuned<{op}<{types}>, {step}, {padding}>"
        for op in ("WarpBlend", "VoxelFlow")
        for types in TUNED_PAIRS
        for step in (1, 3)
        for padding in (0, 1)
    ],
    "backwarp.cuh": [
        f"backwarp_{way}<{types}>" for way in ("forward", "backward") for types in BACKWARP_PAIRS
    ],
    "tuned_pair_backward.cuh": [
        f"pair_backward_tuned<{op}<{types}>, {step}, {padding}>"
        for op in ("WarpBlend", "VoxelFlow")
        for types in TUNED_PAIRS
        if types != "u8, f32"
        for step in (1, 3)
        for padding in (0, 1)
    ],
    "tuned_pair_wide.cuh": [
        f"pair_forward_wide<{op}<{types}>>" for op in ("WarpBlend", "VoxelFlow") for types in TUNED_PAIRS
    ],
    "tuned_pair_channels.cuh": [
        f"pair_backward_channels<{op}<{types}>>"
        for op in ("WarpBlend", "VoxelFlow")
        for types in TUNED_PAIRS
        if types != "u8, f32"
    ],
    "tuned_backwarp.cuh": [
        f"backwarp_forward_tuned<{flow}, {padding}>" for flow in ("f32", "f16", "bf16") for padding in (0, 1)
    ],
    "tuned_backwarp_backward.cuh": [
        f"backwarp_backward_tuned<{flow}, {padding}>" for flow in ("f32", "f16", "bf16") for padding in (0, 1)
    ],
    "ordered.cuh": [
        f"frame_{kernel}<{reads}>"
        for kernel in ("reach", "gather")
        for reads in (
            *(f"PairReads<{op}<{types}>>" for op in ("WarpBlend", "VoxelFlow") for types in FLOAT_PAIRS),
            *(f"BackwarpReads<{types}>" for types in BACKWARP_PAIRS),
        )
    ],
    "sepconv_band_forward.cuh": [
        f"sepconv_band_forward<{types}>" for types in [*FLOAT_BANDS, "u8, f32, false"]
    ],
    "sepconv_band_backward.cuh": [
        f"sepconv_band_{part}<{types}>" for part in ("vertical", "horizontal") for types in FLOAT_BANDS
    ],
    "sepconv_band_image.cuh": [f"sepconv_band_image<{types}>" for types in FLOAT_BANDS],
    "sepconv_tiled.cuh": [f"sepconv_tiled_forward<{types}>" for types in PAIRS],
    "sepconv_tiled_backward.cuh": [
        f"sepconv_tiled_{kernel}{types}>"
        for kernel in ("taps<true, ", "taps<false, ", "image<")
        for types in FLOAT_PAIRS
    ],
    "sepconv.cuh": [
        *(f"sepconv_forward<{types}>" for types in PAIRS),
        *(f"sepconv_backward_{x}<{t}>" for x in ("vertical", "horizontal", "image") for t in FLOAT_PAIRS),
    ],
}


@functools.cache
def _library() -> ctypes.CDLL | None:
    folder = Path(sysconfig.get_paths()["purelib"]) / "nvidia/cu13/lib"
    if not (folder / "libnvrtc.so.13").exists():
        return None
    for builtins in folder.glob("libnvrtc-builtins.so.*"):  # NVRTC looks for it by name only
        ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(folder / "libnvrtc.so.13"))


def unavailable() -> str:
    """Why NVRTC cannot be used; empty if it can."""
    return "" if _library() else "the wheel nvidia-cuda-nvrtc 13 is not installed"


def version() -> str:
    major, minor = ctypes.c_int(), ctypes.c_int()
    _library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_kernels(source: str, kernels: list[str], arch: str) -> tuple[int, str, dict[str, str]]:
    """(0 or NVRTC's error, log with ptxas's report, mangled name -> kernel) of `source` for sm_`arch`."""
    return compile_cubin(source, kernels, arch)[:3]


def compile_cubin(source: str, kernels: list[str], arch: str) -> tuple[int, str, dict[str, str], bytes]:
    """What compile_kernels returns, and the machine code with the lines of the source."""
    nvrtc = _library()
    program = ctypes.c_void_p()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernels.cu", 0, None, None) == 0
    expressions = {kernel: kernel.encode() for kernel in kernels}
    for expression in expressions.values():
        assert nvrtc.nvrtcAddNameExpression(program, expression) == 0
    options = [
        f"-arch=sm_{arch}".encode(),
        b"-std=c++17",
        b"-default-device",
        b"--ptxas-options=-v",
        b"-lineinfo",
    ]
    error = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    mangled, cubin = {}, ctypes.create_string_buffer(0)
    if not error:
        for kernel, expression in expressions.items():
            name = ctypes.c_char_p()
            assert nvrtc.nvrtcGetLoweredName(program, expression, ctypes.byref(name)) == 0
            mangled[name.value.decode()] = kernel
        assert nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size)) == 0
        cubin = ctypes.create_string_buffer(size.value)
        assert nvrtc.nvrtcGetCUBIN(program, cubin) == 0
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return error, log.value.decode(), mangled, cubin.raw


def resources() -> dict[str, dict[str, int]]:
    """Kernel -> registers, spills (bytes stored and loaded), stack and static shared memory (bytes) on
    sm_90.
    """
    table = {}
    for file, kernels in KERNELS.items():
        error, log, mangled = compile_kernels(inlined(file), kernels, ARCH)
        assert error == 0, log
        # One report a kernel, each begun by its name.
        for report in log.split("Compiling entry function '")[1:]:
            numbers = {
                "registers": r"Used (\d+) registers",
                "spill_stores": r"(\d+) bytes spill stores",
                "spill_loads": r"(\d+) bytes spill loads",
                "stack": r"(\d+) bytes stack frame",
                "shared": r"(\d+) bytes smem",
            }
            found = {key: re.search(pattern, report) for key, pattern in numbers.items()}
            table[mangled[report.split("'")[0]]] = {key: int(m[1]) if m else 0 for key, m in found.items()}
    return table


def main() -> None:
    rows = ",\n".join(f"    {json.dumps(k)}: {json.dumps(r)}" for k, r in sorted(resources().items()))
    head = f'  "nvrtc": "{version()}",\n  "arch": "sm_{ARCH}",\n'
    TABLE.write_text(f'{{\n{head}  "kernels": {{\n{rows}\n  }}\n}}\n')


if __name__ == "__main__":
    main()
