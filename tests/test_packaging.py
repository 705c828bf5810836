"""What gets installed: with a compiler, without one, from a wheel into an environment that never saw the
checkout.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.host_only
ROOT = Path(__file__).resolve().parents[1]

SMOKE = """
import json, torch, vfi_kernels
from vfi_kernels.jit.source import inlined
from vfi_kernels.models.registry import entry
image = torch.rand(1, 3, 5, 7, requires_grad=True)
out = vfi_kernels.backwarp(image, torch.zeros(1, 2, 5, 7))
out.sum().backward()
assert torch.equal(out, image) and torch.equal(image.grad, torch.ones_like(image))
assert "pair_forward" in inlined("pair.cuh")  # the sources for run-time compilation are there
assert entry("flow_refined").weights.is_file()
print(json.dumps({"file": vfi_kernels.__file__, "backends": vfi_kernels.backends()}))
"""


def _copy_of_the_checkout(folder):
    """What git would clone, so that no build product of this checkout gets into the wheel."""
    ignore = shutil.ignore_patterns(".venv", "build", "out", "*.so", "*.egg-info", "__pycache__", ".git")
    return shutil.copytree(ROOT, folder / "source", ignore=ignore)


def _wheel(folder, **environment):
    """(wheel, build log); the build may use what this environment has installed."""
    source = _copy_of_the_checkout(folder)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-v",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        folder,
        source,
    ]
    build = subprocess.run(command, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT)  # fmt: skip
    assert build.returncode == 0, build.stdout[-3000:]
    return next(folder.glob("*.whl")), build.stdout


def _run_installed(wheel, folder):
    """Installs the wheel into a new environment and runs the smoke test there. torch comes from this
    environment's folder, whose .pth files, and so the editable install, are not followed (-I: nor is
    PYTHONPATH)."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "venv/lib" / version / "site-packages"
    (site / "torch_is_here.pth").write_text(sysconfig.get_paths()["purelib"])
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    child = subprocess.run([python, "-I", "-c", SMOKE], cwd=folder, capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    result = json.loads(child.stdout)
    assert Path(result["file"]).is_relative_to(folder)
    return result["backends"]


def test_wheel_serves_every_python_and_torch(tmp_path):
    if not shutil.which("g++"):
        pytest.skip("no g++")
    wheel, log = _wheel(tmp_path, VFI_CUDA="0")
    assert "-cp310-abi3-" in wheel.name
    assert "vfi_kernels: building CPU kernels (no CUDA: VFI_CUDA=0)" in log
    assert _run_installed(wheel, tmp_path)["cpu"]["backend"] == "compiled"
    # No symbol of Python, which would tie the binary to a version, and none of torch's unstable C++
    # interface.
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract("vfi_kernels/_C.abi3.so", tmp_path)
    needed = subprocess.run(
        ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
    ).stdout
    symbols = [line.split()[-1] for line in needed.splitlines()]
    assert not [s for s in symbols if s.startswith(("Py", "_ZN2at", "_ZN3c10", "_ZN5torch"))]
    assert [s for s in symbols if s.startswith(("aoti_torch_", "torch_"))]


def test_without_a_compiler_the_reference_is_installed(tmp_path):
    tools = tmp_path / "bin"  # a PATH with git and uname, but no compiler
    tools.mkdir()
    environment = {"PATH": str(tools), "CUDA_HOME": "/nonexistent", "CXX": ""}
    wheel, log = _wheel(tmp_path, **environment)
    assert "no C++ compiler found: installing the PyTorch reference only, without compiled kernels" in log
    cpu = _run_installed(wheel, tmp_path)["cpu"]
    assert cpu["backend"] == "reference"
    assert "no compiled library" in cpu["missing"]


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"VFI_CUDA": "1", "CUDA_HOME": "/nonexistent"}, "VFI_CUDA=1, but no nvcc was found"),
        ({"VFI_CUDA": "yes"}, "VFI_CUDA must be auto, 0 or 1; got 'yes'"),
    ],
)
def test_wrong_wishes_end_the_build(environment, message):
    command = [sys.executable, "setup.py", "--version"]
    build = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert build.returncode != 0
    assert message in build.stderr


def test_architectures_can_be_chosen():
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc")
    environment = {**os.environ, "VFI_CUDA": "1", "TORCH_CUDA_ARCH_LIST": "9.0"}
    command = [sys.executable, "setup.py", "--version"]
    build = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert "CUDA kernels for 9.0 with" in build.stdout
