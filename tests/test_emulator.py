"""The emulator of CUDA kernels: right kernels come out right, and every checker catches its planted bug.

The emulator itself is described in emulator/cuemu/cuemu.h, the planted bugs in emulator/selftest.cu.h.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest

from tests.emulator import build, replay

SOURCES = [build.HERE / "selftest.cpp"]
ORDERS = ["fwd", "rev", "1", "2"]


@dataclass
class Case:
    """One launch of a kernel of selftest.cu.h: its parameters, and what it must write to the output."""

    kernel: str
    input: np.ndarray
    output: np.ndarray
    expected: np.ndarray
    width: int
    height: int = 1
    grid: tuple[int, int, int] = (1, 1, 1)
    block: tuple[int, int, int] = (64, 1, 1)
    smem: int = 0
    tolerance: float = field(default=0.0, kw_only=True)

    def params(self, input_address: int = 0, output_address: int = 0) -> bytes:
        return struct.pack("PPii", input_address, output_address, self.width, self.height)

    def launch(self, bug: str = "") -> dict:
        """The launch as a recording wants it."""
        return {
            "kernel": f"{self.kernel}, {bug}" if bug else self.kernel,
            "grid": self.grid,
            "block": self.block,
            "smem": self.smem,
            "params": self.params().hex(),
            "pointers": [[0, 0, 0], [8, 1, 0]],
        }

    def run(self, module, bug: str = "", order: str = "") -> np.ndarray:
        """Launch in this process, on NumPy's own memory."""
        output = self.output.copy()
        launch = self.launch(bug)
        params = self.params(self.input.ctypes.data, output.ctypes.data)
        module.launch(launch["kernel"], self.grid, self.block, self.smem, params, order)
        return output

    def run_sanitized(self, path, variant: str, folder, bug: str = "", order: str = "fwd"):
        """Launch in a child under a sanitizer. Returns the child and, if it succeeded, the output."""
        recording, result = folder / "recording.npz", folder / "result.npz"
        replay.save_recording(recording, [self.input, self.output], [self.launch(bug)])
        script = [replay.__file__, path, recording, result]
        child = build.run_sanitized(script, variant, env={"CUEMU_ORDER": order})
        if child.returncode:
            return child, None
        with np.load(result) as buffers:
            return child, buffers["buf1"].view(self.output.dtype).reshape(self.output.shape)

    def check(self, output: np.ndarray) -> None:
        np.testing.assert_allclose(output, self.expected, rtol=0, atol=self.tolerance)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def stencil(height: int, width: int) -> Case:
    image = floats(height, width)
    padded = np.pad(image, 1, mode="edge")
    expected = np.zeros_like(image)
    for dy in range(3):
        for dx in range(3):
            expected += padded[dy : dy + height, dx : dx + width]
    grid = (-(-width // 16), -(-height // 16), 1)
    return Case("stencil", image, np.zeros_like(image), expected, width, height, grid, (16, 16, 1))


def block_sum(count: int, blocks: int, threads: int) -> Case:
    values = floats(count)
    expected = np.array([values.sum(dtype=np.float64)])
    smem = threads // 32 * 4
    output = np.zeros(1, np.float32)
    return Case(
        "block_sum", values, output, expected, count, 1, (blocks, 1, 1), (threads, 1, 1), smem, tolerance=1e-4
    )


def histogram(count: int, bins: int) -> Case:
    values = np.abs(floats(count)) * np.float32(bins - 1)
    numbers = np.floor(values).astype(np.int64)
    expected = np.append(np.bincount(numbers, minlength=bins), numbers.max())
    grid = (-(-count // 64), 1, 1)
    return Case("histogram", values, np.zeros(bins + 1, np.int32), expected, count, bins, grid)


def copy(count: int) -> Case:
    values = floats(count)
    # The height is what the planted overflow multiplies by.
    return Case("copy", values, np.zeros_like(values), values, count, 1 << 30, (-(-count // 64), 1, 1))


def copy_vector() -> Case:
    values = floats(8)  # long enough for the misaligned load to stay inside
    return Case("copy_vector", values, np.zeros(4, np.float32), values[:4], 4, 1, block=(1, 1, 1))


def per_thread(kernel: str) -> Case:
    values = floats(64)
    beside = values.reshape(32, 2)[:, ::-1].ravel()
    expected = {"swap_in_warp": beside, "add_neighbour": values + beside, "reverse": values[::-1]}[kernel]
    return Case(kernel, values, np.zeros_like(values), expected, 64)


RIGHT = {
    "stencil_1x1": stencil(1, 1),
    "stencil_5x37": stencil(5, 37),
    "stencil_33x16": stencil(33, 16),
    "block_sum_1": block_sum(1, 1, 32),
    "block_sum_1003": block_sum(1003, 3, 96),
    "block_sum_5000": block_sum(5000, 2, 1024),
    "histogram": histogram(300, 7),
    "copy": copy(100),
    "copy_vector": copy_vector(),
    "swap_in_warp": per_thread("swap_in_warp"),
    "add_neighbour": per_thread("add_neighbour"),
    "reverse": per_thread("reverse"),
}


def built(variant: str, defines: tuple[str, ...] = ()):
    reason = build.unavailable(variant)
    if reason:
        pytest.skip(reason)
    return build.build("selftest", SOURCES, variant, defines=defines)


@pytest.fixture(scope="session")
def plain():
    return build.load(built("plain"), "selftest")


@pytest.fixture(scope="session")
def ucontext():
    """The emulator as on a CPU for which it has no stack switch of its own."""
    return build.load(built("plain", ("CUEMU_UCONTEXT",)), "selftest")


@pytest.fixture(scope="session")
def asan():
    return built("asan")


@pytest.fixture(scope="session")
def tsan():
    return built("tsan")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_right_kernels(plain, case, order):
    case.check(case.run(plain, order=order))


def test_warp_intrinsics(plain):
    values = floats(64)
    output = np.zeros((64, 13), np.float32)
    thread = np.arange(64)
    lane, warp = thread % 32, thread // 32 * 32
    octet = thread // 8 * 8
    positive = values > 0
    per_warp = positive.reshape(2, 32)
    expected = np.stack(
        [
            values[warp + 5],
            values[octet + (thread + 1) % 8],
            values[np.where(lane >= 3, thread - 3, thread)],
            values[np.where(thread % 8 >= 3, thread - 3, thread)],
            values[np.where(lane < 29, thread + 3, thread) % 64],
            values[np.where(thread % 8 < 5, thread + 3, thread) % 64],
            values[thread ^ 5],
            per_warp.sum(1).repeat(32),
            np.full(64, 0 * 2 + 1),
            np.full(64, positive.sum()),
            np.full(64, 1 * 2 + 0),
            values[np.where(lane < 16, thread ^ 1, thread ^ 2)],
            values[np.where(thread & 8, thread ^ 9, thread)],  # an earlier group of 8, but not a later one
        ],
        axis=1,
    ).astype(np.float32)
    case = Case("warp_intrinsics", values, output, expected, 64)
    for order in ORDERS:
        case.check(case.run(plain, order=order))


def test_ucontext_fallback(ucontext):
    for name in ("stencil_5x37", "block_sum_1003", "reverse"):
        RIGHT[name].check(RIGHT[name].run(ucontext))
    with pytest.raises(RuntimeError, match="divergent barrier"):
        RIGHT["reverse"].run(ucontext, "divergent barrier")
    RIGHT["reverse"].check(RIGHT["reverse"].run(ucontext))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("kernel", "bug", "message"),
    [
        ("reverse", "divergent barrier", r"divergent barrier.*__syncthreads \(.*selftest.cu.h:\d+\) and "),
        ("reverse", "early return", r"returned before the barrier.*thread 7,0,0\]"),
        ("add_neighbour", "missing lane", r"deadlock.*__shfl_xor_sync .*lane 3 has returned;"),
        ("add_neighbour", "masks disagree", r"deadlock.*waits at __shfl_xor_sync .* with another mask;"),
        ("add_neighbour", "two places", r"wait at different intrinsics.*cu.h:\d+\) and .*cu.h:\d+\)"),
    ],
)
def test_rules_broken(plain, kernel, bug, message, order):
    case = RIGHT[kernel]
    with pytest.raises(RuntimeError, match=rf"{kernel}, {bug}: .*{message}"):
        case.run(plain, bug, order)
    case.check(case.run(plain, order=order))  # and the emulator has recovered


def test_limits(plain):
    case = RIGHT["add_neighbour"]
    output = case.output.copy()  # outlives the launches
    params = case.params(case.input.ctypes.data, output.ctypes.data)
    with pytest.raises(RuntimeError, match="lane 16 does not exist;"):
        plain.launch("add_neighbour", (1, 1, 1), (48, 1, 1), 0, params)
    with pytest.raises(RuntimeError, match="more than 48 KB of static shared memory, at large "):
        plain.launch("large_shared", (1, 1, 1), (1, 1, 1), 0, params)


def test_uninitialised_shared_memory_is_nan(plain):
    case = RIGHT["reverse"]
    output = case.run(plain, "uninitialised shared")
    assert np.flatnonzero(np.isnan(output)).tolist() == [63 - 5]
    assert not np.isnan(case.run(plain)).any()


def test_bad_arguments(plain):
    case = RIGHT["copy"]
    assert plain.sizeof_params("copy") == len(case.params()) == 24
    with pytest.raises(ValueError, match="copy: params must be 24 bytes; got 23"):
        plain.launch("copy", (1, 1, 1), (1, 1, 1), 0, case.params()[:-1])
    with pytest.raises(ValueError, match=r"unknown kernel 'nothing'; this module has .*stencil"):
        plain.launch("nothing", (1, 1, 1), (1, 1, 1), 0, b"")
    with pytest.raises(ValueError, match="order must be fwd, rev or a seed; got 'up'"):
        case.run(plain, order="up")
    for grid, block, smem in [
        ((1, 1, 1), (1025, 1, 1), 0),
        ((1, 1, 1), (1, 1, 65), 0),
        ((1, 65536, 1), (1, 1, 1), 0),
        ((0, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 1, 1), 227 * 1024 + 1),
    ]:
        with pytest.raises(RuntimeError, match="outside of CUDA's limits"):
            plain.launch("copy", grid, block, smem, case.params())


def test_memory_of_torch(plain):
    torch = pytest.importorskip("torch")
    case = RIGHT["copy"]
    source, output = torch.from_numpy(case.input).clone(), torch.zeros(case.output.shape)
    params = case.params(source.data_ptr(), output.data_ptr())
    plain.launch("copy", case.grid, case.block, 0, params)
    assert torch.equal(source, output)


@pytest.mark.parametrize("order", ["fwd", "rev", "1"])
def test_right_kernels_sanitized(asan, tsan, order, tmp_path):
    """All right kernels in one child for each sanitizer: nothing is reported and nothing is different."""
    # ThreadSanitizer takes a millisecond or two to set up a thread: no block of 1024 here.
    cases = [case for case in RIGHT.values() if np.prod(case.block) <= 256]
    buffers, launches = [], []
    for case in cases:
        launch = case.launch()
        launch["pointers"] = [[0, len(buffers), 0], [8, len(buffers) + 1, 0]]
        buffers += [case.input, case.output]
        launches.append(launch)
    replay.save_recording(tmp_path / "recording.npz", buffers, launches)
    for path, variant in ((asan, "asan"), (tsan, "tsan")):
        script = [replay.__file__, path, tmp_path / "recording.npz", tmp_path / "result.npz"]
        child = build.run_sanitized(script, variant, env={"CUEMU_ORDER": order})
        assert child.returncode == 0, child.stderr
        with np.load(tmp_path / "result.npz") as result:
            for i, case in enumerate(cases):
                case.check(result[f"buf{2 * i + 1}"].view(case.output.dtype).reshape(case.output.shape))


@pytest.mark.parametrize(
    ("name", "bug", "report"),
    [
        ("copy", "global read", "heap-buffer-overflow"),
        ("copy", "global write", "heap-buffer-overflow"),
        ("stencil_5x37", "static shared", "heap-buffer-overflow"),
        ("block_sum_1003", "dynamic shared", "heap-buffer-overflow"),
        ("copy", "overflow", "signed integer overflow"),
        ("copy", "cast of NaN", "nan is outside the range of representable values"),
        ("copy_vector", "misaligned", "misaligned address"),
    ],
)
def test_addresses_and_arithmetic(asan, name, bug, report, tmp_path):
    child, _ = RIGHT[name].run_sanitized(asan, "asan", tmp_path, bug)
    assert child.returncode == build.SANITIZER_EXIT_CODE, child.stderr
    assert report in child.stderr
    assert "selftest.cu.h" in child.stderr


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("stencil_5x37", "missing barrier"),
        ("swap_in_warp", "missing syncwarp"),
        ("histogram", "race between blocks"),
        ("block_sum_1003", "race between blocks"),
    ],
)
def test_races(tsan, name, bug, tmp_path):
    child, _ = RIGHT[name].run_sanitized(tsan, "tsan", tmp_path, bug)
    assert child.returncode == build.SANITIZER_EXIT_CODE, child.stderr
    assert "data race" in child.stderr
    assert "selftest.cu.h" in child.stderr


@pytest.mark.parametrize("variant", ["asan", "tsan"])
def test_error_in_sanitized_child(request, variant, tmp_path):
    """A broken rule ends the child with Python's traceback, not with a report about the emulator."""
    path = request.getfixturevalue(variant)
    child, _ = RIGHT["reverse"].run_sanitized(path, variant, tmp_path, "divergent barrier")
    assert child.returncode == 1, child.stderr
    assert "RuntimeError: reverse, divergent barrier: divergent barrier" in child.stderr
    assert "Sanitizer" not in child.stderr


def test_cache_key_covers_headers(tmp_path):
    """A module is built anew when a header changes that it includes only indirectly."""
    (tmp_path / "a.cpp").write_text('#include <cmath>\n#include "b.h"\n')
    (tmp_path / "b.h").write_text('#include "sub/c.h"\n')
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "c.h").write_text('#pragma once\n#include "../b.h"\n  # include "fiber.h"\n')
    closure = build.source_closure(tmp_path / "a.cpp", [build.HERE / "cuemu"])
    assert {"a.cpp", "b.h", "c.h", "fiber.h", "sanitizer.h"} == {path.rsplit("/", 1)[1] for path in closure}


def test_host_buffer(plain):
    data = np.arange(10, dtype=np.uint8)
    buffer = plain.HostBuffer(data)
    assert ctypes.string_at(buffer.address, 10) == data.tobytes() == buffer.contents()
    assert buffer.address != data.ctypes.data
    with pytest.raises(ValueError, match="contiguous 1-D array of bytes"):
        plain.HostBuffer(floats(4))
    with pytest.raises(ValueError, match="contiguous 1-D array of bytes"):
        plain.HostBuffer(data[::2])
