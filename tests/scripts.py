"""The modules of benchmarks/, for tests: they are scripts beside each other, and no package."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

from tests import nvrtc

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = [
    "cases",
    "chains",
    "cost_model",
    "errors",
    "gpu",
    "hardware",
    "instances",
    "launched",
    "limits",
    "profiles",
    "records",
    "report",
    "run",
    "sass",
    "timing",
    "tracing",
]


@contextlib.contextmanager
def modules() -> Iterator[SimpleNamespace]:
    before = set(sys.modules)
    sys.path.insert(0, str(BENCHMARKS))
    try:
        names = [*MODULES, "sass.core", "sass.listing", "sass.memory", "sass.warp"]
        yield SimpleNamespace(**{name.split(".")[-1]: importlib.import_module(name) for name in names})
    finally:
        sys.path.remove(str(BENCHMARKS))
        for name in set(sys.modules) - before:
            if name.split(".")[0] in MODULES:
                sys.modules.pop(name)


def no_compiler(bench: SimpleNamespace) -> str:
    """Why kernels can't be compiled and disassembled; empty if they can."""
    return nvrtc.unavailable() or ("" if bench.tracing.disassembler() else "nvdisasm was not found")
