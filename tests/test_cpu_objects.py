"""What holds of the CPU kernels' object files: no access out of bounds, nothing that versions share."""

import platform
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import vfi_kernels

ROOT = Path(__file__).parent.parent
LEVELS = ("base", "v3", "v4")


def best_level() -> str:
    target = vfi_kernels.backends()["cpu"]["target"].rpartition("-")[2]
    return target if target in LEVELS else "base"


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not here")
@pytest.mark.parametrize(
    ("program", "level"),
    [("", "v3"), ("", "v4"), ("_sepconv", "base"), ("_sepconv", "v3"), ("_sepconv", "v4")],
)
def test_nothing_is_read_out_of_bounds(program: str, level: str, tmp_path: Path):
    if LEVELS.index(level) > LEVELS.index(best_level()):
        pytest.skip(f"this processor has no {level}")
    flags = [
        "-std=c++17",
        "-ffp-contract=off",
        "-g1",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    build = [
        "g++",
        f"-DVFI_LEVEL={1 if level == 'base' else level[1:]}",
        *flags,
        str(ROOT / f"tests/cpu_bounds{program}.cpp"),
        "-o",
        str(tmp_path / "bounds"),
    ]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    child = subprocess.run([tmp_path / "bounds"], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr


# A file of hot loops for one pair of types, as nothing else is needed to see what it leaves to the linker.
ONE_PAIR = """
#include "csrc/cpu/kernels.h"
#undef VFI_FOR_EACH_PAIR
#undef VFI_FOR_EACH_FLOAT_PAIR
#undef VFI_FOR_EACH_BACKWARP
#define VFI_FOR_EACH_PAIR(X) X(f32, f32)
#define VFI_FOR_EACH_FLOAT_PAIR(X) X(f32, f32)
#define VFI_FOR_EACH_BACKWARP(X) X(f32, f32)
#include "csrc/cpu/{name}.cpp"
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="one instruction set")
@pytest.mark.skipif(not (shutil.which("g++") and shutil.which("nm")), reason="g++ or nm is not here")
@pytest.mark.parametrize("name", [p.stem[:-3] for p in sorted((ROOT / "csrc/cpu").glob("*_v4.cpp"))])
def test_versions_share_no_functions(name: str, tmp_path: Path):
    """Of functions that several object files have the linker keeps one, and this one may be for AVX-512."""
    build = ["g++", "-O3", "-std=c++17", "-DVFI_LEVEL=4", f"-I{ROOT}", "-c", "-x", "c++", "-", "-o", "v4.o"]
    subprocess.run(build, input=ONE_PAIR.format(name=name), cwd=tmp_path, text=True, check=True)
    listed = subprocess.run(["nm", "-C", "v4.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    functions = re.findall(r"^[0-9a-f]+ [Wu] (.*)$", listed.stdout, re.MULTILINE)
    assert not [f for f in functions if "vfi::v4::" not in f]


@pytest.mark.skipif(find_spec("ziglang") is None, reason="ziglang, a clang for any target, is not here")
@pytest.mark.parametrize("target", ["aarch64-linux-gnu", "aarch64-macos", "x86_64-linux-gnu"])
@pytest.mark.parametrize("name", ["backwarp", "sepconv", "warp", "warp_frames", "warp_slopes"])
def test_clang_and_arm_build_without_warnings(name: str, target: str, tmp_path: Path):
    """Plain vectors only. Where there are fused multiply-adds, they are used."""
    build = [
        sys.executable,
        "-m",
        "ziglang",
        "c++",
        "-target",
        target,
        "-O3",
        "-std=c++17",
        "-Wall",
        "-Werror",
    ]
    build += [
        "-Wno-unknown-pragmas",
        "-ffp-contract=off",
        f"-I{ROOT}",
        "-S",
        "-Wno-unused-command-line-argument",
        "-x",
        "c++",
        "-",
        "-o",
        "a.s",
    ]
    built = subprocess.run(
        build, input=ONE_PAIR.format(name=name), cwd=tmp_path, text=True, capture_output=True
    )
    assert built.returncode == 0, built.stderr
    if target.startswith("aarch64") and name != "backwarp":
        assert re.search(rb"\bfml[as]\b", (tmp_path / "a.s").read_bytes())
