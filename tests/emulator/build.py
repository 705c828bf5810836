"""Builds emulator modules with the host compiler, and runs Python under the sanitizers.

A module is ``bind.cpp`` and one or more sources that add kernels to its table, like ``selftest.cpp``. Objects
and modules are cached under build/emulator, keyed by the content of everything that goes into them.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pybind11

from .replay import load  # noqa: F401  (build and load belong together for the reader of a test)

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / "build" / "emulator"
SANITIZER_EXIT_CODE = (
    66  # of a child in which a sanitizer found something; an exception in Python ends it with 1
)

COMPILER = os.environ.get("CXX", "g++")
_COMMON = [
    "-std=c++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-gnu-unique",  # or two modules in one process would share the emulator's state
    "-ffp-contract=off",  # the same rounding on every host
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",  # #pragma unroll
]
_VARIANTS = {
    "plain": ["-O2", "-g"],
    "asan": [
        "-O1",
        "-g",
        "-fsanitize=address,undefined,float-cast-overflow",  # the last, int(NaN), is in no group
        "-fno-sanitize-recover=undefined,float-cast-overflow",
        "-fno-omit-frame-pointer",
    ],
    "tsan": ["-O1", "-g", "-fsanitize=thread"],
}
VARIANTS = tuple(_VARIANTS)
_RUNTIMES = {"asan": "libasan.so", "tsan": "libtsan.so"}


def build(
    name: str,
    sources: Iterable[Path],
    variant: str,
    include_dirs: Iterable[Path] = (),
    defines: Iterable[str] = (),
) -> Path:
    """Build the extension module ``name`` from its table ``sources`` and return its path.

    ``variant`` is one of VARIANTS. ``include_dirs`` are searched after the emulator's own; ``defines`` are
    macros, ``NAME`` or ``NAME=VALUE``.
    """
    includes = [HERE / "cuemu", *include_dirs]
    flags = [*_COMMON, *_VARIANTS[variant], *(f"-D{d}" for d in defines), *(f"-I{d}" for d in includes)]
    python = [pybind11.get_include(), sysconfig.get_path("include")]
    bind_flags = [*_COMMON, "-O1", f"-DCUEMU_MODULE={name}", f"-I{HERE}", *(f"-isystem{d}" for d in python)]
    jobs = [(HERE / "bind.cpp", bind_flags), *((Path(s), flags) for s in sources)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda job: _compile(*job, [HERE, *includes]), jobs))

    file_name = name + sysconfig.get_config_var("EXT_SUFFIX")
    link = [COMPILER, "-shared", *_VARIANTS[variant], *map(str, objects)]
    # The objects' folders are hashes of their content.
    target = CACHE / _digest([_compiler_version(), *link]) / file_name
    return _make(target, lambda out: [*link, "-o", out])


def _compile(source: Path, flags: list[str], include_dirs: Sequence[Path]) -> Path:
    contents = [text for _, text in sorted(source_closure(source, include_dirs).items())]
    key = [_compiler_version(), sys.version, pybind11.__version__, *flags, str(source), *contents]
    target = CACHE / _digest(key) / (source.stem + ".o")
    return _make(target, lambda out: [COMPILER, *flags, "-c", str(source), "-o", out])


def _make(target: Path, command: Callable[[str], list[str]]) -> Path:
    """Run ``command(output)`` unless ``target`` exists; several processes may do so at once."""
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        output = Path(scratch) / target.name
        result = subprocess.run(command(str(output)), capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"building {target.name} failed:\n{' '.join(result.args)}\n{result.stderr}")
        output.replace(target)
    return target


def source_closure(source: Path, include_dirs: Sequence[Path]) -> dict[str, str]:
    """``source`` and every file that it includes with quotes, directly or not: path -> text."""
    found: dict[str, str] = {}
    pending = [source]
    while pending:
        path = pending.pop().resolve()
        if str(path) in found:
            continue
        found[str(path)] = path.read_text()
        for included in re.findall(r'^\s*#\s*include\s*"([^"]+)"', found[str(path)], re.MULTILINE):
            places = (folder / included for folder in (path.parent, *include_dirs))
            pending.extend([p for p in places if p.is_file()][:1])
    return found


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


@functools.cache
def _compiler_version() -> str:
    return subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout


def unavailable(variant: str) -> str:
    """Why ``variant`` cannot be built or run on this machine; empty if it can."""
    if not shutil.which(COMPILER):
        return f"no compiler {COMPILER}"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "no Python.h (Debian and others have it in python3-dev)"
    if variant not in _RUNTIMES:
        return ""
    if not _library(_RUNTIMES[variant]):
        return f"{COMPILER} has no {_RUNTIMES[variant]}"
    return _trial(variant)


@functools.cache
def _trial(variant: str) -> str:
    child = run_sanitized(["-c", "print('alive')"], variant)
    return "" if child.stdout == "alive\n" else f"Python does not run under {variant}: {child.stderr[-500:]}"


def _library(name: str) -> str:
    found = subprocess.run([COMPILER, f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = Path(found.stdout.strip())  # the bare name again where the compiler has none
    return str(path.resolve()) if path.is_absolute() and path.exists() else ""


def run_sanitized(
    script_args: Sequence[str | Path],
    variant: str,
    env: dict[str, str] | None = None,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run ``python *script_args`` in a child that can load modules of ``variant``.

    ``env`` adds to the environment. The child may import NumPy but should not import torch, which is slow
    under a sanitizer.
    """
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", **(env or {})}
    if variant in _RUNTIMES:
        # The C++ library too: AddressSanitizer looks up __cxa_throw when it starts.
        environment["LD_PRELOAD"] = f"{_library(_RUNTIMES[variant])} {_library('libstdc++.so')}"
        code = f"exitcode={SANITIZER_EXIT_CODE}"
        # The interpreter keeps its memory until the end, which is no leak. The redzones are as wide as they
        # get, to catch accesses far out of bounds.
        environment["ASAN_OPTIONS"] = f"{code}:detect_leaks=0:redzone=2048:detect_stack_use_after_return=0"
        environment["UBSAN_OPTIONS"] = f"{code}:print_stacktrace=1"
        environment["TSAN_OPTIONS"] = f"{code}:halt_on_error=1"
    command = [sys.executable, *map(str, script_args)]
    run = functools.partial(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=timeout
    )
    child = run()
    if variant == "tsan" and child.returncode and "unexpected memory mapping" in child.stderr:
        # The runtime needs parts of the address space that a randomised layout may occupy.
        child = run(preexec_fn=_keep_address_layout)
    return child


def _keep_address_layout() -> None:
    addr_no_randomize = 0x0040000
    ctypes.CDLL(None).personality(addr_no_randomize)
