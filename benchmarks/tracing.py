"""Runs the kernels' machine code on this machine and counts what an output pixel costs."""

import contextlib
import functools
import hashlib
import json
import math
import re
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import cases
import hardware
import numpy as np
import torch
from cases import BACKWARD, Case, simple_kernels
from hardware import Architecture
from instances import Instance
from launched import ROOT, Device, Launch, launches
from sass.listing import Function, parse
from sass.memory import SECTOR, Memory
from sass.warp import Warp, run_block

from tests import nvrtc
from vfi_kernels.jit import band
from vfi_kernels.jit.source import inlined

TRACED = (1024, 192)  # whole blocks, and one of them without a border
# The gradient of sepconv's image: blocks of 128 rows, nearly as tall as for 1080p, and one without a border.
TRACED_IMAGE, IMAGE_BLOCKS = (1024, 384), 3 * 1024 // band.IMAGE_STRIP
TRACED_ORDERED = (1920, 1080)  # a warp looks at the reach of every tile
SHARED_BYTES = 256 << 10  # more than any block has
SAMPLED = 9  # blocks of a row
TRACES = ROOT / "build" / "traces"
# Text of source lines with rare branches: one that nothing known decides is taken there, past the guarded
# code. This one: pixels that a tensor-core kernel computes again, for Inf and NaN.
RARE = ("if (again[row]", "!is_finite(not_finite)")


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


@functools.cache
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
    """A warp of the grid's middle block that has run; all of them where the block has barriers. Where a grid
    is one row of blocks, it does not say what lies at a border: of some blocks there.
    """
    together = any(i.opcode == "BAR" for i in code.function.code)
    memory, bank = Memory(device.ranges), constants(launch, device.moved(launch.params), a)
    x, y, z = launch.grid
    count = min(x, SAMPLED) if y == z == 1 else 1
    found = []
    for n in range(count):
        block = ((2 * n + 1) * x // (2 * count), y // 2, z // 2)
        shared = np.full(SHARED_BYTES, -1, np.int16)
        warps = [
            Warp(code.function, bank, memory, block, launch.block, k, shared, code.rare)
            for k in range(math.prod(launch.block) // 32 if together else 1)
        ]
        run_block(warps)
        found += warps
    return found


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


@dataclass
class Trace:
    """What the traced warps of a launch did, all of them together."""

    warps: int
    work: dict[str, int]  # as of Cost
    sectors: int  # of global memory, each once
    touched: int  # bytes of the tensors
    undecided: int
    unmodelled: list[str]


def trace(launch: Launch, code: Kernel, a: Architecture, device: Device, inputs: str) -> Trace:
    """Kept in a file, since it takes minutes for some: whose name is a hash of all that it depends on, apart
    from the numbers in the tensors, for which `inputs` stands.
    """
    code_text = [(i.opcode, i.modifiers, i.arguments, i.guard, i.negated) for i in code.function.code]
    rare = [i.address for i in code.function.code if i.line in code.rare]
    bank = constants(launch, device.moved(launch.params), a)
    parts = [tracer(), inputs, launch.grid, launch.block, code_text, rare, bank, code.function.constants]
    file = TRACES / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}.json"
    if file.exists():
        return Trace(**json.loads(file.read_text()))
    warps = traced(launch, code, a, device)
    sectors = {sector for warp in warps for access in warp.accesses.values() for sector in access.sectors}
    found = Trace(
        len(warps), work_of(code.function, warps), len(sectors), touched(warps, code.function, device),
        undecided=len({address for warp in warps for address in warp.undecided}),
        unmodelled=sorted({opcode for warp in warps for opcode in warp.unmodelled}),
    )  # fmt: skip
    TRACES.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asdict(found)))
    return found


@functools.cache
def tracer() -> str:
    """A hash of what traces, and of what makes the inputs."""
    folder = Path(__file__).parent
    files = [
        *sorted(folder.glob("sass/*.py")),
        *(folder / f"{n}.py" for n in ("cases", "hardware", "launched", "tracing")),
    ]
    texts = [torch.__version__, np.__version__, *(file.read_text() for file in files)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def cost(
    group: Sequence[Launch], a: Architecture, device: Device, pixels: int, naive: bool, inputs: str
) -> Cost:
    """`group`: the launches of one kernel, which differ in their parameters only; the first one is traced."""
    launch = group[0]
    code = compiled(launch.file, launch.kernel, a.arch)
    found = trace(launch, code, a, device, inputs)
    threads, shared = math.prod(launch.block), code.shared + launch.shared
    per_pixel = len(group) * math.prod(launch.grid) * threads / 32 / found.warps / pixels
    resident, bound = hardware.occupancy(a, threads, code.registers, shared)
    return Cost(
        launch.kernel, naive, code.registers, shared, resident, bound,
        work={unit: count * per_pixel for unit, count in found.work.items()},
        bytes=len(group) * found.touched / pixels,
        l2=found.sectors * SECTOR * per_pixel,
        undecided=found.undecided,
        unmodelled={*found.unmodelled},
    )  # fmt: skip


@contextlib.contextmanager
def settings(instance: Instance) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(instance.precision)
    try:
        with (
            mock.patch.object(cases, "TAPS", instance.taps),
            mock.patch.object(band, "IMAGE_BLOCKS", IMAGE_BLOCKS),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def costs(instance: Instance, a: Architecture) -> list[Cost]:
    """Of the kernels of a call on small frames, larger ones only have more blocks: those that serve it, then
    the simple ones that would.
    """
    operation, direction = instance.operation, instance.direction
    width, height = TRACED_ORDERED if instance.ordered else TRACED
    if operation.is_convolution and direction == BACKWARD:
        width, height = TRACED_IMAGE
    case = Case(operation, f"{width}x{height}", instance.dtype, instance.layout)
    found: dict[str, Cost] = {}
    for naive in (False, True)[: 1 + instance.naive]:
        with settings(instance), simple_kernels() if naive else contextlib.nullcontext():
            launched, tensors = launches(case, direction, a, instance.ordered)
        groups: dict[str, list[Launch]] = {}
        for launch in launched:
            groups.setdefault(launch.kernel, []).append(launch)
        device = Device(tensors)  # whose bytes are theirs
        workspace = [
            hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in tensors if t.dtype == torch.int32
        ]
        inputs = " ".join([instance.label, direction, case.size, case.dtype, case.layout, *workspace])
        for kernel, group in groups.items():
            if kernel not in found:
                found[kernel] = cost(group, a, device, width * height, naive, inputs)
    return list(found.values())
