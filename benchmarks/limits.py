"""What the machine can do, measured, and what it is."""

import datetime
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch

import vfi_kernels

ROOT = Path(__file__).resolve().parent.parent
COPY_BYTES = {"cpu": [64 << 20, 256 << 20], "cuda": [256 << 20, 1 << 30]}
COPY_BUFFERS = 4
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
BATCHES = 3
ROUNDS = 7


def seconds(call: Callable[[], Any], device: str) -> float:
    """Of one call, with the device idle before and after."""
    if device == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def best_median(call: Callable[[], Any], device: str) -> float:
    """The best of a few medians: what the machine can do while others leave it alone."""
    call()
    return min(statistics.median(seconds(call, device) for _ in range(ROUNDS)) for _ in range(BATCHES))


def copy_gb_s(device: str) -> float:
    """Bytes read plus bytes written by large copies, 1e9 a second; several buffers in turn, none cached."""
    best = 0.0
    for size in COPY_BYTES[device]:
        buffers = [torch.rand(size // 4, device=device) for _ in range(COPY_BUFFERS)]

        def copies(buffers=buffers) -> None:
            for i in range(COPY_BUFFERS):
                buffers[i].copy_(buffers[i - 1])

        best = max(best, 2 * size * COPY_BUFFERS / best_median(copies, device) / 1e9)
    return best


def fma_gflop_s(device: str) -> float:
    """Float32 operations, 1e9 a second: of multiply-adds in registers; on CUDA of a large matrix product."""
    if device == "cpu" and (compiler := shutil.which("c++")) is not None:
        return _fma_loop(compiler)
    return _matrix_product(device)


def _fma_loop(compiler: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder, "fma_peak"))
        source = str(ROOT / "benchmarks" / "fma_peak.cpp")
        flags = ["-O3", "-march=native", "-ffp-contract=fast", "-pthread"]
        subprocess.run([compiler, *flags, source, "-o", program], check=True)
        threads = str(torch.get_num_threads())
        result = subprocess.run([program, threads], check=True, capture_output=True, text=True)
    return float(result.stdout)


def _matrix_product(device: str) -> float:
    """Of a large one, TF32 off: what a library reaches."""
    size = MATRIX_SIZE[device]
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")  # no TF32
    try:
        a, b = (torch.rand(size, size, device=device) - 0.5 for _ in range(2))
        out = torch.empty_like(a)
        return 2 * size**3 / best_median(lambda: torch.mm(a, b, out=out), device) / 1e9
    finally:
        torch.set_float32_matmul_precision(precision)


def _first_line(command: list[str]) -> str | None:
    """What a command prints first; None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    try:
        result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30)
    except subprocess.TimeoutExpired:
        return None
    lines = result.stdout.strip().splitlines()
    return lines[0] if result.returncode == 0 and lines else None


def cpu_name() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or platform.machine()


def machine(device: str) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": None,
        "driver": None,
    }
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        facts |= {
            "gpu": gpu.name,
            "capability": f"{gpu.major}.{gpu.minor}",
            "multiprocessors": gpu.multi_processor_count,
            "memory_bytes": gpu.total_memory,
            "driver": _first_line(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]),
        }
    return facts


def versions(device: str) -> dict[str, Any]:
    return {
        "vfi_kernels": vfi_kernels.__version__,
        "backend": vfi_kernels.backends()[device],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "numpy": numpy.__version__,
    }


def commit() -> str | None:
    """The checkout as git names it; None outside a repository."""
    return _first_line(["git", "describe", "--always", "--tags", "--dirty"])


def now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
