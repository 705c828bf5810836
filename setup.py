"""Builds vfi_kernels/_C: CPU kernels with any C++17 compiler, CUDA kernels where nvcc is found, nothing
without a compiler.

VFI_CUDA=auto|0|1    auto (default) builds for CUDA where nvcc is found; 1 insists on it; 0 leaves it out.
CUDA_HOME            the toolkit, if it is not where nvcc on the PATH belongs.
TORCH_CUDA_ARCH_LIST architectures instead of the default ones, as for torch.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup

# From the oldest that CUDA 13 compiles for to the newest, and PTX for what comes after.
DEFAULT_ARCHS = ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]
# The binary calls nothing newer than this torch has: one build serves it and all after it.
TORCH_TARGET = "0x020a000000000000ULL"  # 2.10

# setuptools wants paths relative to the project.
SOURCES = sorted(str(p) for folder in ("csrc/torch", "csrc/cpu") for p in Path(folder).glob("*.cpp"))
CUDA_SOURCES = sorted(str(p) for p in Path("csrc/cuda").glob("*.cu"))


def cuda_home():
    """The CUDA toolkit's folder, or None. Not torch's guess: it is None in a CPU torch and wrong for a
    wrapper script.
    """
    if named := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return named if (Path(named) / "bin/nvcc").exists() else None
    homes = []
    if nvcc := shutil.which("nvcc"):
        plan = subprocess.run([nvcc, "--dryrun", "-c", "x.cu"], capture_output=True, text=True).stderr
        if here := re.search(r"_HERE_=(.+)", plan):
            homes.append(str(Path(here[1].strip()).parent))
    homes.append("/usr/local/cuda")
    return next((h for h in homes if (Path(h) / "bin/nvcc").exists()), None)


def default_archs(home):
    """The default architectures that this nvcc knows, as TORCH_CUDA_ARCH_LIST."""
    nvcc = str(Path(home) / "bin/nvcc")
    known = set(subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True).stdout.split())
    archs = [a for a in DEFAULT_ARCHS if "sm_" + a.replace(".", "") in known]
    return ";".join(archs) + "+PTX"


def wanted_cuda_home():
    wish = os.environ.get("VFI_CUDA", "auto")
    if wish not in ("auto", "0", "1"):
        raise SystemExit(f"vfi_kernels: VFI_CUDA must be auto, 0 or 1; got {wish!r}")
    home = None if wish == "0" else cuda_home()
    if wish == "1" and home is None:
        raise SystemExit("vfi_kernels: VFI_CUDA=1, but no nvcc was found: set CUDA_HOME or PATH")
    return home


def has_compiler():
    named = os.environ.get("CXX", "").split()[:1]
    return any(shutil.which(compiler) for compiler in [*named, "c++", "g++", "clang++"])


def extension():
    """(keyword arguments of setup() for the compiled part, one line that says what will be built)."""
    home = wanted_cuda_home()
    if not has_compiler():
        if home:
            raise SystemExit("vfi_kernels: nvcc needs a C++ compiler, and none was found")
        return {}, "no C++ compiler found: installing the PyTorch reference only, without compiled kernels"

    import torch.utils.cpp_extension as cpp

    defines = [f"-DTORCH_TARGET_VERSION={TORCH_TARGET}", "-DTORCH_STABLE_ONLY"]
    flags = ["-O3", "-std=c++17", *defines]
    # No contraction: the compilers' choices differ, and one FMA can move a position across a pixel.
    host = [*flags, "-fvisibility=hidden", "-ffp-contract=off", "-Wall", "-g0"]
    # -ltorch although nothing here needs it: through it a torch with CUDA offers the weak symbol for its
    # stream.
    link = ["-Wl,--no-as-needed", "-ltorch", "-Wl,--as-needed"] if sys.platform == "linux" else []
    compile_args = {"cxx": host}
    sources, include = list(SOURCES), []
    reason = "VFI_CUDA=0" if os.environ.get("VFI_CUDA") == "0" else "no nvcc found"
    line = f"building CPU kernels (no CUDA: {reason})"
    if home:
        archs = os.environ.setdefault("TORCH_CUDA_ARCH_LIST", default_archs(home))
        cpp.CUDA_HOME = home
        host += ["-DVFI_WITH_CUDA", f'-DVFI_CUDA_ARCHS="{archs}"']
        compile_args["nvcc"] = [*flags, "-Xcompiler", "-fvisibility=hidden"]
        sources += CUDA_SOURCES
        include.append(str(Path(home) / "include"))
        link += [f"-L{home}/lib64", "-lcudart_static", "-lrt", "-lpthread", "-ldl"]
        line = f"building CPU kernels and CUDA kernels for {archs} with {home}/bin/nvcc"
    module = cpp.CppExtension(
        "vfi_kernels._C",
        sources,
        include_dirs=include,
        py_limited_api=True,
        extra_compile_args=compile_args,
        extra_link_args=link,
    )
    return {
        "ext_modules": [module],
        "cmdclass": {"build_ext": cpp.BuildExtension},
        "options": {"bdist_wheel": {"py_limited_api": "cp310"}},
    }, line


built, decision = extension()
print(f"vfi_kernels: {decision}", flush=True)
setup(**built)
