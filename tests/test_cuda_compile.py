"""Every CUDA kernel compiles, for every architecture, by NVRTC and (in the build) by nvcc; none spills; none
grew unseen.
"""

import json
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

import vfi_kernels
from tests import nvrtc
from tests.emulator import build
from vfi_kernels.jit.source import inlined, source_folder

pytestmark = pytest.mark.host_only
needs_nvrtc = pytest.mark.skipif(bool(nvrtc.unavailable()), reason=nvrtc.unavailable() or "available")
# The table is of sm_90; sm_86 and sm_89 have the instructions of sm_80, and nvcc's build is of all.
ARCHS = [arch for arch in nvrtc.DEFAULT_ARCHS if arch not in ("86", "89", nvrtc.ARCH)]


@needs_nvrtc
@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("file", nvrtc.KERNELS)
def test_nvrtc_compiles_every_kernel(file, arch):
    error, log, mangled = nvrtc.compile_kernels(inlined(file), nvrtc.KERNELS[file], arch)
    assert error == 0, log
    assert len(mangled) == len(nvrtc.KERNELS[file])
    assert not re.search(r"[1-9]\d* bytes spill", log), log


def test_kernel_list_is_complete():
    for path in (source_folder() / "cuda").glob("*.cuh"):
        defined = set(re.findall(r"__global__ void __launch_bounds__\([^()]+\)\s+(\w+)\(", path.read_text()))
        listed = {kernel.split("<")[0] for kernel in nvrtc.KERNELS.get(path.name, [])}
        assert defined == listed, path.name


@needs_nvrtc
def test_a_broken_kernel_is_reported():
    error, log, _ = nvrtc.compile_kernels(inlined("pair.cuh") + "\nint broken = ;", [], "90")
    assert error != 0
    assert "expected an expression" in log


@needs_nvrtc
def test_resources_match_the_table():
    table = json.loads(nvrtc.TABLE.read_text())
    if table["nvrtc"] != nvrtc.version():
        pytest.skip(f"the table is of NVRTC {table['nvrtc']}, this is {nvrtc.version()}")
    resources = nvrtc.resources()
    changed = {k: (table["kernels"].get(k), r) for k, r in resources.items() if table["kernels"].get(k) != r}
    assert not changed, "if these are meant, write the table anew: python -m tests.nvrtc"
    assert table["kernels"].keys() == resources.keys()


def test_no_kernel_spills():
    kernels = json.loads(nvrtc.TABLE.read_text())["kernels"]
    assert len(kernels) == sum(map(len, nvrtc.KERNELS.values()))
    assert [k for k, r in kernels.items() if r["spill_stores"] or r["spill_loads"]] == []


def test_nvcc_built_every_architecture():
    """And no kernel spilled: only that needs a stack."""
    archs = vfi_kernels.backends()["cuda"]["target"]
    if vfi_kernels.backends()["cuda"]["backend"] != "compiled":
        pytest.skip("built without nvcc")
    cuobjdump = Path(sysconfig.get_paths()["purelib"]) / "nvidia/cu13/bin/cuobjdump"
    if not cuobjdump.exists():
        pytest.skip("the wheel nvidia-cuda-cuobjdump is not installed")
    library = next(Path(vfi_kernels.__file__).parent.glob("_C*.so"))
    command = [cuobjdump, "--dump-resource-usage", library]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}  # kernels by architecture
    for part in listing.split("\narch = ")[1:]:
        kernels = re.findall(r"Function (\w+):\s+REG:\d+ STACK:(\d+)", part)
        found.setdefault(part.split()[0], []).extend(name for name, _ in kernels)
        assert [name for name, stack in kernels if int(stack)] == [], part.split()[0]
    expected = {f"sm_{arch.replace('.', '')}" for arch in archs.removesuffix("+PTX").split(";")}
    assert expected <= found.keys()
    assert len({len(kernels) for kernels in found.values()}) == 1


@pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "available")
def test_which_devices_run_tensor_core_kernels(tmp_path):
    """As the launches ask the CUDA runtime; the program says what is wrong."""
    here = Path(__file__).parent
    folders = [build.HERE / "cuemu", here / "cuda_runtime", source_folder() / "cuda"]
    flags = ["-std=c++17", "-Wall", *(f"-I{folder}" for folder in folders)]
    program = str(tmp_path / "launch")
    subprocess.run([build.COMPILER, *flags, str(here / "cuda_launch.cpp"), "-o", program], check=True)
    assert subprocess.run([program], capture_output=True, text=True).stdout == ""
