"""Writes COST.md: what the CUDA kernels cost, counted in their machine code, without a GPU.

    python benchmarks/cost_model.py [--check] [--ops warp_blend ...] [--dtypes float32 ...]

A warp of every kernel (a block, where it has barriers) runs instruction by instruction on this machine, on
the benchmarks' inputs. --check writes nothing and exits 1 where COST.md is not what the kernels say. With
--ops or --dtypes the sheet of those is printed instead. Needs the wheels nvidia-cuda-nvrtc and
nvidia-cuda-nvdisasm.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import hardware
import torch
from cases import BACKWARD, FORWARD
from hardware import GPUS, Architecture
from report import load, significant, table
from tracing import ROOT, Cost, costs, disassembler, nvrtc

SHEET = ROOT / "benchmarks" / "COST.md"
FRAME, PIXELS = "1080p", 1920 * 1080

# (operation, pass, dtypes)
INSTANCES = [
    ("backwarp", FORWARD, ("float32", "float16")),
    ("backwarp_multi", FORWARD, ("float32", "float16")),
    ("warp_blend", FORWARD, ("float32", "float16", "uint8")),
    ("voxel_flow", FORWARD, ("float32", "float16", "uint8")),
    ("sepconv_pair", FORWARD, ("float32", "float16")),
    ("sepconv_pair, 15 taps", FORWARD, ("float32", "float16")),
    ("backwarp", BACKWARD, ("float32",)),
    ("warp_blend", BACKWARD, ("float32",)),
    ("voxel_flow", BACKWARD, ("float32",)),
    ("sepconv_pair", BACKWARD, ("float32",)),
    ("sepconv_pair, 15 taps", BACKWARD, ("float32",)),
]


# the sheet

# Column -> units of hardware.py.
COUNTS = {
    "float": ("fma",),
    "integer multiply": ("imad", "wide"),
    "integer, logic, moves": ("alu", "add"),
    "half": ("half",),
    "special, conversions": ("xu", "f2i"),
    "double": ("fp64",),
    "tensor": ("tensor",),
    "global": ("global",),
    "shared": ("shared",),
    "uniform, constants": ("uniform", "constant"),
    "control": ("control",),
}
INTRODUCTION = """# What the CUDA kernels cost

Written by `python benchmarks/cost_model.py` (NVRTC {version}): predicted from the kernels' machine code, not
measured. [README.md](README.md#cost-sheet) says how it is counted and what it leaves out. C = 3
(backwarp_multi: 3 and 16 channels), 51 taps or as many as said, batch 1, contiguous, border padding, the
benchmarks' flows, float32 flows and masks, all gradients. Simple kernels in place of which others serve a
call are here as well, below them: the benchmarks' naive baseline.
"""


def number(value: float) -> str:
    return "-" if not value else significant(value, 3 if value < 1000 else 4)


Row = tuple[str, str, str, Cost]  # operation, pass, dtype
HEAD = ("operation", "pass", "dtype", "kernel")


def labels(row: Row) -> list[str]:
    return [*row[:3], f"`{row[3].kernel}`"]


def counts(a: Architecture, rows: Sequence[Row]) -> list[str]:
    """How many instructions of a thread an output pixel takes, by unit."""
    names = [n for n, units in COUNTS.items() if any(r[3].work.get(u) for r in rows for u in units)]
    head = [*HEAD, "registers", "shared, bytes", "resident warps (limit)", "instructions", *names]
    lines = [
        [
            *labels(row),
            str(row[3].registers),
            str(row[3].shared),
            f"{row[3].resident} of {a.warps} ({row[3].bound})",
            number(32 * row[3].work["issue"]),
            *(number(32 * sum(row[3].work.get(unit, 0) for unit in COUNTS[name])) for name in names),
        ]
        for row in rows
    ]
    return table(f"| {' | '.join(head)} |", lines)


def doubts(rows: Sequence[Row]) -> list[str]:
    found = [f"`{c.kernel}`: {c.undecided} undecided branches." for *_, c in rows if c.undecided]
    for *_, c in rows:
        if c.unmodelled:
            found.append(f"`{c.kernel}`: results of {', '.join(sorted(c.unmodelled))} are not modelled.")
    return ["", *found] if found else []


def times(gpu: hardware.GPU, rows: Sequence[Row], records: list[dict[str, Any]]) -> list[str]:
    """Microseconds of a frame, by unit."""
    frame = PIXELS / gpu.multiprocessors / gpu.mhz
    spent = [{u: t * frame for u, t in hardware.cycles(gpu.architecture, c.work).items()} for *_, c in rows]
    units = [unit for unit in hardware.TIMED if any(t[unit] for t in spent)]
    lines = []
    for row, t in zip(rows, spent, strict=True):
        t["memory"] = row[3].bytes * PIXELS / gpu.copy_gb_s / 1e3
        limit = max(t, key=lambda unit: t[unit])
        lines.append(
            [
                *labels(row),
                number(row[3].bytes),
                number(row[3].l2),
                *(number(t[unit]) for unit in ("memory", *units)),
                f"**{number(t[limit])}** ({limit})",
                measured(row, records),
            ]
        )
    head = [*HEAD, "bytes", "bytes from L2", "memory", *units, "predicted (limit)", "call measured"]
    return table(f"| {' | '.join(head)} |", lines)


def measured(row: Row, records: list[dict[str, Any]]) -> str:
    """Of the whole call: all its kernels, and the zeros that gradients are added to."""
    operation, direction, dtype, cost = row
    wanted = {"op": operation, "pass": direction, "dtype": dtype, "variant": "", "size": FRAME}
    wanted |= {"layout": "contiguous", "gradients": "all" if direction == BACKWARD else ""}
    found = [r for r in records if all(r[key] == value for key, value in wanted.items())]
    taken = found[-1]["naive_ms" if cost.naive else "ours_ms"] if found else None
    return "-" if taken is None else number(1e3 * taken)


def facts() -> list[str]:
    head = (
        "| GPU | multiprocessors | boost, MHz | memory, GB/s | copy, GB/s | L2, MB | float32, TFLOP/s"
        " | float16 tensor (mma.sync), TFLOP/s | double, TFLOP/s |"
    )
    rows = []
    for g in GPUS:
        clock = 2 * g.multiprocessors * g.mhz / 1e6
        rates = [
            number(clock * rate) for rate in (g.architecture.fma, g.architecture.tensor, g.architecture.fp64)
        ]
        figures = [g.multiprocessors, g.mhz, g.peak_gb_s, g.copy_gb_s, g.l2_mb]
        rows.append([g.name, *map(str, figures), *rates])
    note = "Copy: measured on an H200, elsewhere 90 % of the peak. Tensor on sm_90: 63 % of wgmma's. The rest"
    note += " is published; `hardware.py` has the sources and the rates by unit."
    return [*table(head, rows), "", note]


def sheet(rows: dict[str, list[Row]], contents: list[dict[str, Any]]) -> str:
    lines = [INTRODUCTION.format(version=nvrtc.version()), "## GPUs", "", *facts(), ""]
    for arch in dict.fromkeys(g.architecture for g in GPUS):
        gpus = [g for g in GPUS if g.architecture is arch]
        here = rows[arch.arch]
        lines += [f"## sm_{arch.arch}: {', '.join(g.name for g in gpus)}", ""]
        lines += ["Instructions of a thread for an output pixel:", "", *counts(arch, here), *doubts(here), ""]
        for gpu in gpus:
            records = hardware.measured_on(gpu, contents)
            lines += [f"{gpu.name}, microseconds of a {FRAME} frame; bytes a pixel:", ""]
            lines += [*times(gpu, here, records), ""]
    return "\n".join(lines)


def _one(task: tuple[str, str, str, Architecture]) -> list[Cost]:
    torch.set_num_threads(1)
    return costs(*task)


def all_rows(instances: Sequence[tuple[str, str, str]]) -> dict[str, list[Row]]:
    architectures = list(dict.fromkeys(g.architecture for g in GPUS))
    tasks = [(*instance, a) for a in architectures for instance in instances]
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(_one, tasks))
    rows: dict[str, list[Row]] = {a.arch: [] for a in architectures}
    for (name, direction, dtype, a), found in zip(tasks, results, strict=True):
        rows[a.arch] += [(name, direction, dtype, c) for c in found]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where COST.md is out of date"
    )
    parser.add_argument("--ops", nargs="+", help="only these, printed")
    parser.add_argument("--dtypes", nargs="+", help="only these, printed")
    options = parser.parse_args(arguments)
    if reason := nvrtc.unavailable() or ("" if disassembler() else "nvdisasm was not found"):
        raise SystemExit(f"cost_model: {reason}")
    instances = [
        (name, direction, dtype)
        for name, direction, dtypes in INSTANCES
        for dtype in dtypes
        if name in (options.ops or [name]) and dtype in (options.dtypes or [dtype])
    ]
    text = sheet(all_rows(instances), load(ROOT / "benchmarks" / "results"))
    if options.ops or options.dtypes:
        print(text)
        return 0
    if SHEET.exists() and SHEET.read_text() == text:
        return 0
    if options.check:
        print(
            f"cost_model: {SHEET} is not what the kernels say: run `python benchmarks/cost_model.py`",
            file=sys.stderr,
        )
        return 1
    SHEET.write_text(text)
    print(f"wrote {SHEET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
