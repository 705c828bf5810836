"""Measures every operation, forward and backward, against PyTorch; see benchmarks/README.md.

    python benchmarks/run.py [--device cpu|cuda] [--ops warp_blend ...] [--sizes 1080p 640x360 ...]
                             [--dtypes float32 ...] [--layouts contiguous ...] [--passes forward ...]
                             [--budget SECONDS] [--patience SECONDS] [--threads N] [--no-compile]
                             [--deadline SECONDS] [--json FILE|auto]

Without --ops, --sizes, --dtypes, --layouts and --passes it runs the default table of benchmarks/cases.py.
"""

import argparse
import gc
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chains
import errors
import limits
import records
import timing
import torch
from cases import (
    BACKWARD,
    DTYPES,
    FORWARD,
    LAYOUTS,
    NAMES,
    PASSES,
    Case,
    Maker,
    cases,
    default_cases,
    least_bytes,
    parse_size,
    run_ours,
    simple_kernels,
)
from torch import Tensor

import vfi_kernels

RESULTS = Path(__file__).resolve().parent / "results"
SETS = {"cpu": 2, "cuda": 8}
# A buffer set, with what the graphs of all rivals keep for it, is about this many times its inputs.
SET_FACTOR, MEMORY_SHARE = 5, 0.5
NO_NAIVE = "the simple kernels are CUDA kernels"
NO_NAIVE_CUDA = "the package has no CUDA kernels here"
NO_SHARE = "not told by this system, or too short to tell"
NO_PEAK = "a CPU has no counter of allocations"
NOT_ASKED = "not asked for in this case"
NO_COMPILE_CONVOLUTION = "the form that torch.compile fuses keeps all windows for its gradient, 2601 images"


class Measured:
    """One case with its buffer sets, for all its passes."""

    def __init__(self, case: Case, device: str, budget: float, patience: timing.Patience):
        self.case, self.device, self.budget, self.patience = case, device, budget, patience
        self.operation = case.operation
        self.width, self.height = parse_size(case.size)
        first = self._build(0)
        fitting = int(_memory(device) * MEMORY_SHARE / (SET_FACTOR * least_bytes(list(first.values()), [])))
        count = max(1, min(SETS[device], fitting))
        self.sets = [first, *(self._build(seed) for seed in range(1, count))]
        self.grid = None
        if not self.operation.is_convolution:
            self.grid = chains.base_grid(self.height, self.width, torch.float32, device)

    def _build(self, seed: int) -> dict[str, Tensor]:
        case = self.case
        return self.operation.build(Maker(case.size, case.dtype, case.layout, self.device, seed))

    def forward(self) -> dict[str, Any]:
        with torch.no_grad():
            outputs = run_ours(self.operation, self.sets[0])
            error = errors.Expected(self.operation, self.sets[0], [], []).output_error(outputs)
            moved = least_bytes(list(self.sets[0].values()), outputs)
            result_bytes = least_bytes([], outputs)
            del outputs

            def prepare(chain: Callable[..., list[Tensor]]) -> Callable[[int], list[Tensor]]:
                return lambda i: chain(**self.sets[i])

            return self._record(FORWARD, "", prepare, error, moved, result_bytes)

    def backward(self, gradients: str) -> dict[str, Any]:
        operation = self.operation
        wanted = [n for n in self.sets[0] if gradients == "all" or n not in operation.frames]
        with torch.no_grad():
            incoming = [[torch.randn_like(o) for o in run_ours(operation, inputs)] for inputs in self.sets]

        def prepare(chain: Callable[..., list[Tensor]]) -> Callable[[int], tuple[Tensor, ...]]:
            graphs = []
            for inputs in self.sets:
                leaves = {n: t.detach().requires_grad_(n in wanted) for n, t in inputs.items()}
                graphs.append((chain(**leaves), [leaves[n] for n in wanted]))
            return lambda i: torch.autograd.grad(*graphs[i], incoming[i], retain_graph=True)

        results = prepare(lambda **inputs: run_ours(operation, inputs))(0)
        expected = errors.Expected(operation, self.sets[0], wanted, incoming[0])
        error = expected.gradient_error(dict(zip(wanted, results, strict=True)))
        moved = least_bytes(list(self.sets[0].values()), incoming[0], results)
        result_bytes = least_bytes([], results)
        del results, expected
        return self._record(BACKWARD, gradients, prepare, error, moved, result_bytes)

    def _record(
        self,
        direction: str,
        gradients: str,
        prepare: Callable[[Callable[..., list[Tensor]]], Callable[[int], Any]],
        error: float,
        moved: int,
        result_bytes: int,
    ) -> dict[str, Any]:
        operation, case = self.operation, self.case
        notes = {}
        ours = prepare(lambda **inputs: run_ours(operation, inputs))
        calls = {"ours": ours, "eager": prepare(lambda **inputs: operation.eager(self.grid, **inputs))}
        if reason := why_no_naive(self.device):
            notes["naive_ms"] = reason
        else:
            calls["naive"] = simply(ours)
        compiled, reason = self._compiled(direction, gradients, prepare)
        if compiled is not None:
            calls["compile"] = compiled
        else:
            notes["compile_ms"] = reason
        peak = _peak_bytes(ours) if self.device == "cuda" else None
        if peak is None:
            notes["peak_bytes"] = NO_PEAK
        times, rounds, others = timing.in_turn(calls, len(self.sets), self.device, self.budget, self.patience)
        if others is None:
            notes["others_share"] = NO_SHARE
        flops = operation.flops(direction, gradients == "all") * self.width * self.height
        return {
            "op": operation.name,
            "variant": operation.variant,
            "pass": direction,
            "gradients": gradients,
            "dtype": case.dtype,
            "layout": case.layout,
            "size": case.size,
            "width": self.width,
            "height": self.height,
            "device": self.device,
            "ours_ms": times["ours"].median,
            "eager_ms": times["eager"].median,
            "compile_ms": times["compile"].median if "compile" in times else None,
            "naive_ms": times["naive"].median if "naive" in times else None,
            "spread_ms": {name: [taken.p10, taken.p90] for name, taken in times.items()},
            "rounds": rounds,
            "others_share": others,
            "sets": len(self.sets),
            "bytes": moved,
            "flops": flops,
            "max_abs_err": error,
            "peak_bytes": peak,
            "output_bytes": result_bytes,
            "notes": notes,
        }

    def _compiled(self, direction: str, gradients: str, prepare: Callable) -> tuple[Callable | None, str]:
        """(call, "") of the compiled chain, or (None, why there is none)."""
        operation = self.operation
        if not self.case.compile or gradients == "no frames":
            return None, NOT_ASKED
        if operation.is_convolution and direction == BACKWARD:
            return None, NO_COMPILE_CONVOLUTION
        torch._dynamo.reset()  # so that this size is compiled for itself, not as one of many
        chain = torch.compile(operation.for_compile or operation.eager, dynamic=False)
        try:
            call = prepare(lambda **inputs: chain(self.grid, **inputs))
            call(0)
        except Exception as error:  # whatever a compiler can fail with, the other figures stand
            first = next(iter(str(error).strip().splitlines()), "")
            return None, f"torch.compile failed: {type(error).__name__}: {first}"
        return call, ""


def why_no_naive(device: str) -> str:
    """Empty where there are simple kernels to be measured."""
    if device != "cuda":
        return NO_NAIVE
    return NO_NAIVE_CUDA if vfi_kernels.backends()["cuda"]["backend"] == "reference" else ""


def simply(call: Callable[[int], Any]) -> Callable[[int], Any]:
    """The same call served by the simple kernels."""

    def naive(index: int) -> Any:
        with simple_kernels():
            return call(index)

    return naive


def measure_limits(content: dict[str, Any], device: str) -> None:
    """Before the measurements and again after them: the better counts, for all records."""
    for key, rate in (("copy_gb_s", limits.copy_gb_s), ("fma_gflop_s", limits.fma_gflop_s)):
        content[key] = max(content.get(key, 0.0), rate(device))
    for record in content["records"]:
        records.set_limits(record, content)


def _memory(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _peak_bytes(call: Callable[[int], Any]) -> int:
    """What one call allocates at most at a time, its results included."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    results = call(0)
    torch.cuda.synchronize()
    del results
    return torch.cuda.max_memory_allocated() - before


def selected(options: argparse.Namespace) -> list[Case]:
    chosen = (options.ops, options.sizes, options.dtypes, options.layouts, options.passes)
    if not any(chosen):
        return default_cases(options.device)
    return cases(
        options.ops or NAMES,
        options.sizes or ["1080p"],
        options.dtypes or ["float32"],
        options.layouts or ["contiguous"],
        options.passes or PASSES,
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    start = time.monotonic()
    device = options.device
    if options.threads:
        torch.set_num_threads(options.threads)
    # A compiled backward may otherwise reuse the graph's memory, and its graph runs once only.
    torch._functorch.config.donated_buffer = False
    content = {
        "machine": limits.machine(device),
        "versions": limits.versions(device),
        "commit": limits.commit(),
        "created": limits.now(),
        "records": [],
        "left_out": [],
        "failed": [],
    }
    measure_limits(content, device)
    print(f"{content['machine']['gpu'] or content['machine']['cpu']}: copy {content['copy_gb_s']:.1f} GB/s, "
          f"float32 FMA {content['fma_gflop_s']:.0f} GFLOP/s")  # fmt: skip
    print(records.HEADER, flush=True)
    path = destination(options, content)
    patience = timing.Patience(options.patience if device == "cpu" else 0)
    for case in selected(options):
        if options.no_compile:
            case = Case(case.operation, case.size, case.dtype, case.layout, case.passes, compile=False)
        wanted = [(FORWARD, "")] * (FORWARD in case.passes)
        wanted += [(BACKWARD, "all"), (BACKWARD, "no frames")] * (BACKWARD in case.passes)
        measured = None
        for direction, gradients in wanted:
            labels = (case.operation.label, direction, gradients, case.dtype, case.layout, case.size)
            label = " ".join(filter(None, labels))
            if time.monotonic() - start > options.deadline:
                content["left_out"].append(label)
                continue
            try:
                measured = measured or Measured(case, device, options.budget, patience)
                record = measured.forward() if direction == FORWARD else measured.backward(gradients)
                records.set_limits(record, content)
                records.check_record(record)
            except Exception as error:  # one case must not cost the others theirs
                traceback.print_exc()
                content["failed"].append(f"{label}: {type(error).__name__}")
                continue
            content["records"].append(record)
            print(records.line(record), flush=True)
            if path:
                records.write(path, content)
        del measured
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()
    measure_limits(content, device)
    if content["left_out"]:
        print(f"left out for want of time: {len(content['left_out'])} measurements")
    if path:
        records.write(path, content)
        print(f"wrote {path}")
    return content


def destination(options: argparse.Namespace, content: dict[str, Any]) -> Path | None:
    if options.json == "auto":
        return RESULTS / f"{limits.slug(content['machine']['gpu'] or content['machine']['cpu'])}.json"
    return Path(options.json) if options.json else None


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=list(SETS), default="cpu")
    parser.add_argument("--ops", nargs="+", choices=NAMES)
    parser.add_argument("--sizes", nargs="+", help="names like 1080p, or WxH")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES))
    parser.add_argument("--layouts", nargs="+", choices=list(LAYOUTS))
    parser.add_argument("--passes", nargs="+", choices=PASSES)
    parser.add_argument(
        "--budget", type=float, help="seconds of rounds a measurement; 1.2 on cpu, 0.4 on cuda"
    )
    parser.add_argument("--patience", type=float, default=60, help="seconds to lose to others, on a cpu")
    parser.add_argument("--threads", type=int, help="for torch.set_num_threads")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument(
        "--deadline", type=float, default=math.inf, help="begin nothing after so many seconds"
    )
    parser.add_argument("--json", help="write the results there; auto: benchmarks/results/<gpu or cpu>.json")
    options = parser.parse_args(arguments)
    for size in options.sizes or []:
        try:
            parse_size(size)
        except ValueError as error:
            parser.error(str(error))
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no CUDA device")
    if options.budget is None:
        options.budget = {"cpu": 1.2, "cuda": 0.4}[options.device]
    return options


def main(arguments: list[str] | None = None) -> int:
    content = run(parse(arguments))
    return 0 if content["records"] and not content["failed"] else 1


if __name__ == "__main__":
    sys.exit(main())
