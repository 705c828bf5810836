"""What GPUs can do, from published figures, and which unit of theirs each instruction of SASS keeps busy.

Sources: [guide] NVIDIA's CUDA guides, "Throughput of native arithmetic instructions" and "Technical
specifications per compute capability"; [A100], [H100], [Ada], [Blackwell] NVIDIA's architecture whitepapers
and data sheets; [estimate] ours. They were entered from memory and from copies, not all looked up again.
"""

import math
from dataclasses import dataclass
from typing import Any

SCHEDULERS = 4  # of a multiprocessor, each one instruction of a warp a clock [guide]


@dataclass(frozen=True)
class Architecture:
    """A multiprocessor. Rates are results a clock, of 32 for an instruction of a warp."""

    arch: str  # of NVRTC's sm_
    fma: int  # float32 add, multiply, multiply-add [guide]
    add: int  # 32-bit integer addition [guide]
    f2i: int  # float32 to 32-bit integer [guide]: 16, but 2 above 10.0, by a footnote that we only saw quoted
    fp64: int  # [guide]
    tensor: int  # float16 or bfloat16 multiply-adds into float32 by mma.sync; TF32: half of it
    warps: int  # resident [guide], like the rest
    blocks: int
    shared_kb: int
    parameters: int  # where the parameters begin in constant bank 0; ptxas puts them there
    block_size: int  # likewise of blockDim; gridDim
    grid_size: int


# imad: 32-bit integer multiply-add, in one half of the FMA unit; alu: compare, select, minimum, logic, shift,
# moves; half: float16 to float32; xu: special functions and the other conversions [guide].
RATES = {"imad": 64, "alu": 64, "half": 64, "xu": 16}
REGISTERS, REGISTER_UNIT = 65536, 256  # of a multiprocessor; a warp gets multiples of this [guide]
RESERVED_SHARED = 1024  # bytes a block [guide]

AMPERE = Architecture("80", 64, 64, 16, 32, 1024, 64, 32, 164, 0x160, 0x0, 0xC)  # tensor: [A100]
ADA = Architecture("89", 128, 64, 16, 2, 256, 48, 24, 100, 0x160, 0x0, 0xC)  # tensor: 165 TFLOP/s [Ada]
# tensor: 2048 [H100] is for wgmma; mma.sync reaches 63 % of it in published measurements [estimate].
HOPPER = Architecture("90", 128, 64, 16, 64, 1290, 64, 32, 228, 0x210, 0x0, 0xC)
BLACKWELL = Architecture(
    "120", 128, 128, 2, 2, 256, 48, 24, 100, 0x380, 0x360, 0x370
)  # 210 TFLOP/s [Blackwell]


@dataclass(frozen=True)
class GPU:
    name: str  # as it is part of what torch calls the GPU
    architecture: Architecture
    multiprocessors: int
    mhz: int  # boost
    peak_gb_s: int  # of the memory
    copy_gb_s: int  # what a copy reaches, read plus written
    l2_mb: int


# multiprocessors, boost clock, memory and L2 from [A100], [H100], [Ada], [Blackwell]. The copy of an H200 was
# measured (PyTorch, 8.6 GB); that of the others is 90 % of the peak, as there [estimate].
GPUS = [
    GPU("A100", AMPERE, 108, 1410, 2039, 1835, 40),
    GPU("H100", HOPPER, 132, 1980, 3350, 3015, 50),
    GPU("H200", HOPPER, 132, 1980, 4800, 4300, 50),
    GPU("RTX 4090", ADA, 128, 2520, 1008, 907, 72),
    GPU("RTX 5090", BLACKWELL, 170, 2407, 1792, 1613, 96),
]

UNITS = {
    "fma": "FFMA FADD FMUL FSWZADD",
    "imad": "IMAD IDP IDP4A",
    "half": "HFMA2 HADD2 HMUL2",
    "xu": "MUFU I2F F2F FRND POPC FLO BREV I2I F2FP",
    "f2i": "F2I",
    "fp64": "DADD DMUL DFMA DSETP",
    "tensor": "HMMA IMMA",
    "global": "LD LDG ST STG RED REDG ATOM ATOMG LDGSTS LDL STL",
    "shared": "LDS STS LDSM STSM ATOMS REDS SHFL",
    "constant": "LDC",
    "control": "BRA BRX EXIT CALL RET BSSY BSYNC BMOV BREAK WARPSYNC NOP YIELD BAR DEPBAR LDGDEPBAR MEMBAR"
    " ERRBAR CCTL S2R S2UR R2UR VOTE CS2R",
    "add": "IADD3 IADD VIADD",
}
UNIT_OF = {opcode: unit for unit, opcodes in UNITS.items() for opcode in opcodes.split()}


def unit_of(opcode: str) -> str:
    """The unit of an instruction: `uniform` is the one a warp has for all its lanes, `alu` takes the rest."""
    if opcode in UNIT_OF:
        return UNIT_OF[opcode]
    return "uniform" if opcode.startswith("U") else "alu"


def multiply_adds(modifiers: tuple[str, ...]) -> float:
    """Of a tensor instruction, in float16's: HMMA.16816 is a product of 16 x 8 x 16; TF32 costs twice."""
    shape = next(m for m in modifiers if m.isdigit())
    m, n, k = (8, 8, int(shape[2:])) if shape.startswith("88") else (16, 8, int(shape[3:]))
    return m * n * k * (2 if "TF32" in modifiers else 1)


def occupancy(a: Architecture, threads: int, registers: int, shared: int) -> tuple[int, str]:
    """(resident warps of a multiprocessor, what keeps more from being resident)."""
    warps = math.ceil(threads / 32)
    used = math.ceil(registers * 32 / REGISTER_UNIT) * REGISTER_UNIT * warps
    limits = {
        "warps": a.warps // warps,
        "registers": REGISTERS // used,
        "shared": a.shared_kb * 1024 // (shared + RESERVED_SHARED),
        "blocks": a.blocks,
    }
    least = min(limits, key=lambda name: limits[name])
    return limits[least] * warps, least


def block_shared(a: Architecture) -> int:
    """Bytes of shared memory that a block may have at most."""
    return a.shared_kb * 1024 - RESERVED_SHARED


TIMED = ("issue", "fma", "alu", "half", "xu", "fp64", "load", "tensor")


def cycles(a: Architecture, work: dict[str, float]) -> dict[str, float]:
    """Clocks that each unit of a multiprocessor needs for `work`: instructions of warps, by unit; and `load`,
    cycles of the load unit, and `multiply_adds` of the tensor cores.
    """
    lanes = {unit: 32 * count for unit, count in work.items()}

    def of(unit: str, rate: int) -> float:
        return lanes.get(unit, 0) / rate

    integer = lanes.get("imad", 0) + 2 * lanes.get("wide", 0)  # a product of 64 bits: twice [estimate]
    return {
        "issue": work["issue"] / SCHEDULERS,
        "fma": max(of("fma", a.fma) + integer / a.fma, integer / RATES["imad"]),
        "alu": of("alu", RATES["alu"]) + of("add", a.add),
        "half": of("half", RATES["half"]),
        "xu": of("xu", RATES["xu"]) + of("f2i", a.f2i),
        "fp64": of("fp64", a.fp64),
        "load": work.get("load", 0),
        "tensor": work.get("multiply_adds", 0) / a.tensor,
    }


def measured_on(gpu: GPU, contents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of results files that were taken on such a GPU."""
    return [r for c in contents if gpu.name in (c["machine"]["gpu"] or "") for r in c["records"]]
