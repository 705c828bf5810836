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
from cases import BACKWARD
from hardware import GPU, GPUS, Architecture
from instances import GROUPS, LEFT_OUT, Instance
from report import load, significant, table
from tracing import ROOT, Cost, costs, disassembler, nvrtc

SHEET = ROOT / "benchmarks" / "COST.md"
FRAME, PIXELS = "1080p", 1920 * 1080

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
(backwarp_multi: 3 and 16 channels), 51 taps or as many as said, batch 1, contiguous where nothing is said,
border padding, the benchmarks' flows, float32 flows and masks, all gradients. Simple kernels in place of
which others serve a call are here as well, below them: the benchmarks' naive baseline.
"""


def number(value: float) -> str:
    return "-" if not value else significant(value, 3 if value < 1000 else 4)


Row = tuple[Instance, Cost]
HEAD = ("operation", "pass", "dtype", "kernel")


def call(instance: Instance) -> list[str]:
    return [instance.label, instance.direction, instance.dtype]


def labels(row: Row) -> list[str]:
    return [*call(row[0]), f"`{row[1].kernel}`"]


def counts(a: Architecture, rows: Sequence[Row]) -> list[str]:
    """How many instructions of a thread an output pixel takes, by unit."""
    names = [n for n, units in COUNTS.items() if any(c.work.get(u) for _, c in rows for u in units)]
    head = [*HEAD, "registers", "shared, bytes", "resident warps (limit)", "instructions", *names]
    lines = [
        [
            *labels((instance, c)),
            str(c.registers),
            str(c.shared),
            f"{c.resident} of {a.warps} ({c.bound})",
            number(32 * c.work["issue"]),
            *(number(32 * sum(c.work.get(unit, 0) for unit in COUNTS[name])) for name in names),
        ]
        for instance, c in rows
    ]
    return table(f"| {' | '.join(head)} |", lines)


def doubts(rows: Sequence[Row]) -> list[str]:
    found = [f"`{c.kernel}`: {c.undecided} undecided branches." for _, c in rows if c.undecided]
    for _, c in rows:
        if c.unmodelled:
            found.append(f"`{c.kernel}`: results of {', '.join(sorted(c.unmodelled))} are not modelled.")
    return ["", *found] if found else []


def spent(gpu: GPU, c: Cost) -> dict[str, float]:
    """Microseconds of a frame, by unit."""
    frame = PIXELS / gpu.multiprocessors / gpu.mhz
    found = {unit: t * frame for unit, t in hardware.cycles(gpu.architecture, c.work).items()}
    return {"memory": c.bytes * PIXELS / gpu.copy_gb_s / 1e3, **found}


def limit(times: dict[str, float]) -> str:
    return max(times, key=lambda unit: times[unit])


def predicted(rows: dict[str, list[Row]]) -> list[str]:
    """Of a call: the sum of its kernels' times, and what limits the longest."""
    lines = []
    for instance in dict.fromkeys(instance for instance, _ in next(iter(rows.values()))):
        line = call(instance)
        for gpu in GPUS:
            served = [c for i, c in rows[gpu.architecture.arch] if i == instance and not c.naive]
            taken = [max(spent(gpu, c).values()) for c in served]
            longest = served[taken.index(max(taken))]
            line.append(f"{number(sum(taken))} ({limit(spent(gpu, longest))})")
        lines.append(line)
    return table(f"| {' | '.join((*HEAD[:3], *(gpu.name for gpu in GPUS)))} |", lines)


def times(gpu: GPU, rows: Sequence[Row], records: list[dict[str, Any]]) -> list[str]:
    """Microseconds of a frame, by unit."""
    found = [spent(gpu, c) for _, c in rows]
    units = ["memory", *(unit for unit in hardware.TIMED if any(t[unit] for t in found))]
    lines = [
        [
            *labels(row),
            number(row[1].bytes),
            number(row[1].l2),
            *(number(t[unit]) for unit in units),
            f"**{number(t[limit(t)])}** ({limit(t)})",
            measured(row, records),
        ]
        for row, t in zip(rows, found, strict=True)
    ]
    head = [*HEAD, "bytes", "bytes from L2", *units, "predicted (limit)", "call measured"]
    return table(f"| {' | '.join(head)} |", lines)


def measured(row: Row, records: list[dict[str, Any]]) -> str:
    """Of the whole call: all its kernels, and the zeros that gradients are added to."""
    instance, c = row
    wanted = {"op": instance.label, "pass": instance.direction, "dtype": instance.dtype, "variant": ""}
    wanted |= {"size": FRAME, "layout": instance.layout}
    wanted |= {"gradients": "all" if instance.direction == BACKWARD else ""}
    found = [r for r in records if all(r[key] == value for key, value in wanted.items())]
    taken = found[-1]["naive_ms" if c.naive else "ours_ms"] if found else None
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
    note += " is entered from published figures; `hardware.py` has the sources and the rates by unit."
    return [*table(head, rows), "", note]


Found = dict[str, dict[str, list[Row]]]  # group -> architecture -> rows


def sheet(rows: Found, contents: list[dict[str, Any]]) -> str:
    lines = [INTRODUCTION.format(version=nvrtc.version()) + LEFT_OUT, "## GPUs", "", *facts(), ""]
    lines += ["## Predicted times of calls", ""]
    lines += [f"Microseconds of a {FRAME} frame, all kernels of a call; what limits the longest of them:", ""]
    for group, found in rows.items():
        lines += [f"### {group}", "", *predicted(found), ""]
    for arch in dict.fromkeys(g.architecture for g in GPUS):
        gpus = [g for g in GPUS if g.architecture is arch]
        lines += [f"## sm_{arch.arch}: {', '.join(g.name for g in gpus)}", ""]
        for group, found in rows.items():
            here = found[arch.arch]
            lines += [f"### {group}, sm_{arch.arch}", "", "Instructions of a thread for an output pixel:", ""]
            lines += [*counts(arch, here), *doubts(here), ""]
            for gpu in gpus:
                records = hardware.measured_on(gpu, contents)
                lines += [f"{gpu.name}, microseconds of a {FRAME} frame; bytes a pixel:", ""]
                lines += [*times(gpu, here, records), ""]
    return "\n".join(lines)


def _one(task: tuple[Instance, Architecture]) -> list[Cost]:
    torch.set_num_threads(1)
    return costs(*task)


def all_rows(groups: dict[str, list[Instance]]) -> Found:
    architectures = list(dict.fromkeys(g.architecture for g in GPUS))
    tasks = [(instance, a) for a in architectures for group in groups.values() for instance in group]
    with ProcessPoolExecutor() as pool:
        results = dict(zip(tasks, pool.map(_one, tasks), strict=True))
    return {
        name: {a.arch: [(i, c) for i in group for c in results[i, a]] for a in architectures}
        for name, group in groups.items()
    }


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
    groups = {
        name: [
            instance
            for instance in group
            if instance.name in (options.ops or [instance.name])
            and instance.dtype in (options.dtypes or [instance.dtype])
        ]
        for name, group in GROUPS.items()
    }
    groups = {name: group for name, group in groups.items() if group}
    text = sheet(all_rows(groups), load(ROOT / "benchmarks" / "results"))
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
