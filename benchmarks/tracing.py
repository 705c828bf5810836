"""Runs the kernels' machine code on this machine and counts what an output pixel costs."""

import contextlib
import ctypes
import importlib
import math
import re
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import cases
import hardware
import numpy as np
import torch
from cases import BACKWARD, OPERATIONS, Case, Maker, simple_kernels
from hardware import Architecture
from sass.listing import Function, parse
from sass.memory import SECTOR, Memory
from sass.warp import Warp, run_block
from torch import Tensor
from torch.utils import _pytree as pytree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for tests.nvrtc

from tests import nvrtc  # noqa: E402
from vfi_kernels import reference  # noqa: E402
from vfi_kernels.jit import band  # noqa: E402
from vfi_kernels.jit.kernels import OPERATORS, Kernels  # noqa: E402
from vfi_kernels.jit.source import inlined  # noqa: E402

TRACED = (1024, 192)  # whole blocks, and one of them without a border
# The gradient of sepconv's image: blocks of 128 rows, nearly as tall as for 1080p, and one without a border.
TRACED_IMAGE, IMAGE_BLOCKS = (1024, 384), 3 * 1024 // band.IMAGE_STRIP
SHARED_BYTES = 256 << 10  # more than any block has
# Text of source lines with rare branches: one that nothing known decides is taken there, past the guarded
# code. This one: pixels that a tensor-core kernel computes again, for Inf and NaN.
RARE = ("if (again[row]", "!is_finite(not_finite)")


@dataclass
class Launch:
    file: str
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int  # dynamic bytes
    params: bytes


@dataclass
class Cost:
    """Of a kernel's launches in one call; `work`, `bytes` and `l2` are per output pixel."""

    kernel: str
    naive: bool  # a simple kernel in place of which another one serves the call
    registers: int
    shared: int  # bytes of a block
    resident: int  # warps of a multiprocessor
    bound: str  # what keeps more from being resident
    work: dict[str, float]  # for hardware.cycles: instructions of warps by unit
    bytes: float  # of the tensors that it touches, each once
    l2: float  # bytes that the traced warps ask the L2 for, if the L1 keeps all of them
    undecided: int  # branches in the code
    unmodelled: set[str]  # opcodes whose results are unknown


# the launches of an operation


def launches(case: Case, direction: str, a: Architecture) -> tuple[list[Launch], list[Tensor]]:
    """What the public function launches, and the tensors that the kernels see."""
    found: list[Launch] = []

    def record(
        file: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        params: ctypes.Structure,
        device: torch.device,
    ) -> None:
        found.append(Launch(file, kernel, grid, block, shared, bytes(params)))

    kernels = Kernels(record, lambda device: hardware.block_shared(a))
    called: list[tuple[str, tuple, Any]] = []

    def through(name: str):
        def call(*inputs: Any) -> Any:
            called.append((name, inputs, getattr(kernels, name)(*inputs)))
            return called[-1][2]

        return call

    functions = {name: through(name) for name in OPERATORS if name[0] != "_"}
    backends = importlib.import_module("vfi_kernels.backends")
    inputs = case.operation.build(Maker(case.size, case.dtype, case.layout, "cpu", 0))
    with (
        mock.patch.multiple(reference, **functions),
        mock.patch.object(backends, "_has_kernel", return_value=False),
    ):
        case.operation.ours(**inputs)
        (name, arguments, results), *_ = called
        if direction == BACKWARD:
            found.clear()
            torch.manual_seed(0)
            grads = pytree.tree_map(torch.rand_like, results)
            leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]
            backward = getattr(kernels, f"_{name}_backward")
            results = [grads, backward(grads, *arguments, (1 << len(leaves)) - 1)]
    tensors = [leaf for leaf in pytree.tree_leaves((arguments, results)) if isinstance(leaf, Tensor)]
    return found, tensors


class Device:
    """The tensors' bytes at addresses that are aligned as a GPU's are: each in a range of its own."""

    SPACING = 1 << 36

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        sizes = [(t.data_ptr(), t.numel() * t.element_size()) for t in tensors if t.numel()]
        self._hosts = sizes
        self.ranges = [
            ((n + 1) * self.SPACING, np.frombuffer((ctypes.c_char * size).from_address(host), np.uint8))
            for n, (host, size) in enumerate(sizes)
        ]

    def moved(self, params: bytes) -> bytes:
        """A parameter struct whose pointers to the tensors point there."""
        words = np.frombuffer(params.ljust(-(-len(params) // 8) * 8, b"\0"), np.uint64).copy()
        for n, word in enumerate(words.tolist()):
            for (base, _), (host, size) in zip(self.ranges, self._hosts, strict=True):
                if host <= word < host + size:
                    words[n] = base + word - host
        return words.tobytes()


# a kernel's code


def disassembler() -> str | None:
    wheel = Path(sysconfig.get_paths()["purelib"]) / "nvidia/cu13/bin/nvdisasm"
    return str(wheel) if wheel.exists() else shutil.which("nvdisasm")


def disassembled(cubin: bytes) -> dict[str, Function]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [disassembler(), "-c", "-g", file.name]
        functions = parse(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    for name, content in sections(cubin):
        if name.startswith(".nv.constant2."):
            functions[name.removeprefix(".nv.constant2.")].constants = content
    return functions


def sections(cubin: bytes) -> Iterator[tuple[str, bytes]]:
    """Name and content of every section of a file in ELF's 64-bit format that has one."""
    (start,) = struct.unpack_from("<Q", cubin, 0x28)
    size, count, names = struct.unpack_from("<3H", cubin, 0x3A)
    # name, kind, flags, address, offset, size
    headers = [struct.unpack_from("<IIQQQQ", cubin, start + size * k) for k in range(count)]
    texts = headers[names][4]
    for name, _, _, _, offset, length in headers:
        begin = texts + name
        yield cubin[begin : cubin.index(0, begin)].decode(), cubin[offset : offset + length]


@dataclass
class Kernel:
    function: Function
    registers: int
    shared: int  # static bytes
    rare: set[int]  # source lines


def compiled(file: str, kernel: str, arch: str) -> Kernel:
    source = inlined(file)
    error, log, mangled, cubin = nvrtc.compile_cubin(source, [kernel], arch)
    assert error == 0, log
    lines = {n for n, line in enumerate(source.splitlines(), 1) if any(text in line for text in RARE)}
    registers, shared = (re.search(p, log) for p in (r"Used (\d+) registers", r"(\d+) bytes smem"))
    function = disassembled(cubin)[next(iter(mangled))]
    return Kernel(function, int(registers[1]), int(shared[1]) if shared else 0, lines)


# what it costs


def constants(launch: Launch, params: bytes, a: Architecture) -> bytes:
    bank = bytearray(a.parameters) + params
    for place, size in ((a.block_size, launch.block), (a.grid_size, launch.grid)):
        bank[place : place + 12] = np.array(size, np.uint32).tobytes()
    return bytes(bank)


def traced(launch: Launch, code: Kernel, a: Architecture, device: Device) -> list[Warp]:
    """A warp of the grid's middle block that has run; all of them where the block has barriers."""
    together = any(i.opcode == "BAR" for i in code.function.code)
    memory, bank = Memory(device.ranges), constants(launch, device.moved(launch.params), a)
    shared = np.full(SHARED_BYTES, -1, np.int16)
    middle = (launch.grid[0] // 2, launch.grid[1] // 2, launch.grid[2] // 2)
    warps = [
        Warp(code.function, bank, memory, middle, launch.block, n, shared, code.rare)
        for n in range(math.prod(launch.block) // 32 if together else 1)
    ]
    run_block(warps)
    return warps


def work_of(code: Function, warps: Sequence[Warp]) -> dict[str, float]:
    """Instructions by unit, of all traced warps together."""
    work: Counter[str] = Counter()
    for warp in warps:
        for address, count in warp.executed.items():
            i = code.at(address)
            unit = hardware.unit_of(i.opcode)
            if unit == "imad" and {"WIDE", "HI"} & {*i.modifiers}:
                unit = "wide"
            work[unit] += count
            work["issue"] += count
            if unit == "tensor":
                work["multiply_adds"] += count * hardware.multiply_adds(i.modifiers)
            if i.opcode == "SHFL":
                work["load"] += count
        work["load"] += sum(access.cycles for access in warp.accesses.values())
    return dict(work)


def touched(warps: Sequence[Warp], code: Function, device: Device) -> int:
    """Bytes of the tensors that the warps touched, each once; twice where it is added to."""
    found: dict[int, int] = {}
    for warp in warps:
        for address, access in warp.accesses.items():
            factor = 2 if code.at(address).opcode.startswith(("RED", "ATOM")) else 1
            for sector in access.sectors:
                first = sector * SECTOR
                for base, data in device.ranges:
                    if base < first + SECTOR and first < base + len(data):
                        found[base] = max(found.get(base, 0), factor * len(data))
    return sum(found.values())


def cost(group: Sequence[Launch], a: Architecture, device: Device, pixels: int, naive: bool) -> Cost:
    """`group`: the launches of one kernel, which differ in their parameters only; the first one is traced."""
    launch = group[0]
    code = compiled(launch.file, launch.kernel, a.arch)
    warps = traced(launch, code, a, device)
    threads, shared = math.prod(launch.block), code.shared + launch.shared
    per_pixel = len(group) * math.prod(launch.grid) * threads / 32 / len(warps) / pixels
    sectors = {sector for warp in warps for access in warp.accesses.values() for sector in access.sectors}
    resident, bound = hardware.occupancy(a, threads, code.registers, shared)
    return Cost(
        launch.kernel, naive, code.registers, shared, resident, bound,
        work={unit: count * per_pixel for unit, count in work_of(code.function, warps).items()},
        bytes=len(group) * touched(warps, code.function, device) / pixels,
        l2=len(sectors) * SECTOR * per_pixel,
        undecided=len({address for warp in warps for address in warp.undecided}),
        unmodelled={opcode for warp in warps for opcode in warp.unmodelled},
    )  # fmt: skip


def costs(name: str, direction: str, dtype: str, a: Architecture) -> list[Cost]:
    """Of the kernels of an operation on small frames, larger ones only have more blocks: those that serve the
    call, then the simple ones that would. name: of the operation, "sepconv, 15 taps" with as many.
    """
    name, _, taps = name.partition(", ")
    operation = next(o for o in OPERATIONS if (o.name, o.variant) == (name, ""))
    width, height = TRACED_IMAGE if operation.is_convolution and direction == BACKWARD else TRACED
    case = Case(operation, f"{width}x{height}", dtype, "contiguous")
    found: dict[str, Cost] = {}
    for naive in (False, True):
        with (
            simple_kernels() if naive else contextlib.nullcontext(),
            mock.patch.object(cases, "TAPS", int(taps.removesuffix(" taps")) if taps else cases.TAPS),
            mock.patch.object(band, "IMAGE_BLOCKS", IMAGE_BLOCKS),
        ):
            launched, tensors = launches(case, direction, a)
        groups: dict[str, list[Launch]] = {}
        for launch in launched:
            groups.setdefault(launch.kernel, []).append(launch)
        device = Device(tensors)  # whose bytes are theirs
        for kernel, group in groups.items():
            if kernel not in found:
                found[kernel] = cost(group, a, device, width * height, naive)
    return list(found.values())
