"""What is said about what runs where, with the compiled library, without it and with a broken one."""

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vfi_kernels

PACKAGE = Path(vfi_kernels.__file__).parent
backends = importlib.import_module("vfi_kernels.backends")


def run(code: str, folder: Path = PACKAGE.parent, **environment: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), **environment}
    child = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


def copy_without_library(folder: Path) -> Path:
    shutil.copytree(
        PACKAGE,
        folder / "vfi_kernels",
        ignore=shutil.ignore_patterns("_C*", "__pycache__", "video", "models"),
    )
    return folder / "vfi_kernels"


SHOW = (
    "import torch, vfi_kernels as v; b = v.backends(); print(b['cpu']['backend'], b['cpu']['missing']); "
    "print(v.backwarp(torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, 2)).sum().item())"
)


def test_backends():
    found = vfi_kernels.backends()
    assert set(found) == {"cpu", "cuda", "other"}
    for state in found.values():
        assert state["backend"] in ("compiled", "runtime", "reference")
        assert set(state) == {"backend", "target", "missing"}
        assert state["missing"] or state["backend"] == "compiled"
    assert found["other"]["backend"] == "reference"
    assert backends.has_kernel("cpu") == (found["cpu"]["backend"] == "compiled")
    assert not backends.has_kernel("mps")


@pytest.mark.usefixtures("compiled")
def test_compiled():
    assert backends.backends()["cpu"]["target"]
    assert torch._C._dispatch_has_kernel_for_dispatch_key("vfi_kernels::_sepconv_backward", "CPU")


def test_main():
    printed = run("import runpy; runpy.run_module('vfi_kernels', run_name='__main__')")
    assert printed.startswith(f"vfi-kernels {vfi_kernels.__version__}, torch {torch.__version__}")
    for device, state in vfi_kernels.backends().items():
        assert f"{device:6} {state['backend']:10}" in printed
        assert state["missing"] in printed


def test_reference_by_environment():
    first, second = run(SHOW, VFI_BACKEND="reference").splitlines()
    assert first == "reference VFI_BACKEND=reference is set"
    assert second == "4.0"


def test_unknown_environment():
    code = "try:\n import vfi_kernels\nexcept ValueError as error:\n print(error)"
    assert run(code, VFI_BACKEND="fast") == "VFI_BACKEND: must be 'reference' or unset; got 'fast'\n"


def test_without_library(tmp_path):
    folder = copy_without_library(tmp_path)
    first, second = run(SHOW, tmp_path, VFI_BACKEND="").splitlines()
    assert first.startswith(f"reference no compiled library _C*.so in {folder}")
    assert second == "4.0"


def test_broken_library(tmp_path):
    """A library that does not load is no error, and the loader's words are passed on."""
    folder = copy_without_library(tmp_path)
    (folder / "_C.abi3.so").write_bytes(b"not a library")
    first, second = run(SHOW, tmp_path, VFI_BACKEND="").splitlines()[:2]
    assert first.startswith("reference _C.abi3.so failed to load: ")
    assert "invalid ELF header" in first or "too short" in first or "not a mach-o" in first
    assert second == "4.0"


def test_cuda_without_kernels_says_what_to_install(monkeypatch):
    monkeypatch.setattr(backends, "_build", lambda: {"cpu": "x86-64", "cuda_archs": ""})
    monkeypatch.setattr(backends, "LOAD_ERROR", "")
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setitem(sys.modules, "vfi_kernels.jit", None)  # as if it could not be imported
    for version, extra in [("12.8", "jit12"), ("13.0", "jit13")]:
        monkeypatch.setattr(torch.version, "cuda", version)
        backends._runtime_cuda.cache_clear()
        state = backends.backends()["cuda"]
        assert state["backend"] == "reference"
        assert state["missing"].startswith("built without CUDA; ")
        assert state["missing"].endswith(f"pip install 'vfi-kernels[{extra}]'")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "is built without CUDA" in backends.backends()["cuda"]["missing"]
    monkeypatch.setattr(torch.version, "hip", "6.0")
    backends._runtime_cuda.cache_clear()
    assert "ROCm" in backends.backends()["cuda"]["missing"]
    backends._runtime_cuda.cache_clear()
