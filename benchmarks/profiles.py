"""Profiles of the slowest calls, by Nsight Compute: profiles/<gpu>-<operation>-<pass>-<dtype>.txt.

    python benchmarks/profiles.py [--results FILE] [--count 2] [--dry-run]
    python benchmarks/profiles.py --call sepconv_pair backward float32    # what ncu looks at: one call

The slowest are those of the newest results of a GPU, one an operation.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PROFILES = ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "profiles"
KERNELS = "regex:(pair|backwarp|frame|sepconv)_"  # ours, by the names of their functions
SECONDS = 40  # for a profile: each kernel is run some 40 times


def newest() -> Path | None:
    """The results of a GPU that were written last."""
    found = [p for p in RESULTS.glob("*.json") if json.loads(p.read_text())["machine"]["gpu"]]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def slowest(records: Sequence[dict[str, Any]], count: int) -> list[tuple[str, str, str]]:
    """(operation, pass, dtype) of the plain calls that take longest."""
    plain = [r for r in records if not r["variant"] and r["gradients"] != "no frames"]
    plain = [r for r in plain if (r["size"], r["layout"]) == ("1080p", "contiguous")]
    longest: dict[str, tuple[str, str, str]] = {}
    for r in sorted(plain, key=lambda r: -r["ours_ms"]):
        longest.setdefault(r["op"], (r["op"], r["pass"], r["dtype"]))
    return list(longest.values())[:count]


def command(call: tuple[str, str, str], path: Path) -> list[str]:
    # The clocks are left as they are: they may not be ours to set, and the benchmarks ran at them.
    ncu = ["ncu", "--set", "full", "--clock-control", "none", "--kernel-name", KERNELS]
    return [*ncu, "--log-file", str(path), sys.executable, __file__, "--call", *call]


def one_call(name: str, direction: str, dtype: str) -> None:
    import torch
    from cases import BACKWARD, OPERATIONS, Maker, run_ours

    operation = next(o for o in OPERATIONS if (o.name, o.variant) == (name, ""))
    inputs = operation.build(Maker("1080p", dtype, "contiguous", "cuda", 0))
    if direction == BACKWARD:
        for tensor in inputs.values():
            tensor.requires_grad_()
    outputs = run_ours(operation, inputs)
    if direction == BACKWARD:
        torch.autograd.backward(outputs, [torch.rand_like(out) for out in outputs])
    torch.cuda.synchronize()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=Path, help="a file of results; the newest of a GPU")
    parser.add_argument("--count", type=int, default=2)
    parser.add_argument("--call", nargs=3, metavar=("OPERATION", "PASS", "DTYPE"))
    parser.add_argument("--dry-run", action="store_true", help="print the commands")
    options = parser.parse_args(arguments)
    if options.call:
        one_call(*options.call)
        return 0
    results = options.results or newest()
    if results is None:
        print("profiles: there are no results of a GPU yet", file=sys.stderr)
        return 1
    if not options.dry_run and not shutil.which("ncu"):
        print("profiles: ncu was not found", file=sys.stderr)
        return 1
    PROFILES.mkdir(exist_ok=True)
    failed = 0
    for call in slowest(json.loads(results.read_text())["records"], options.count):
        path = PROFILES / f"{'-'.join([results.stem, *call])}.txt"
        if options.dry_run:
            print(" ".join(command(call, path)))
            continue
        try:
            code = subprocess.run(command(call, path), cwd=ROOT, timeout=SECONDS).returncode
            result = f"failed (exit code {code})" if code else "written"
        except subprocess.TimeoutExpired:
            result = f"failed (not done after {SECONDS} s)"
        failed += result != "written"
        print(f"{path.relative_to(ROOT)}: {result}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
