"""`make gpu`: builds, tests, checks memory, measures and profiles, offline and in under 9 minutes.

    python benchmarks/gpu.py [--dry-run] [--minutes 8.7] [--steps build benchmarks ...]

A step that fails does not stop the later ones; the exit code is 0 only if none failed. The results go to
benchmarks/results/<gpu>.json and, of whole systems, benchmarks/results/models/<gpu>.json, and to
benchmarks/profiles; and into the folder $OUT as well where that is set.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PROFILES = ROOT / "benchmarks" / "results", ROOT / "benchmarks" / "profiles"
MINUTES = 8.7  # of the 9 allowed; the rest is for ending
KILL_SECONDS = 5  # between asking a step to end and ending it
MEMCHECK_TESTS = [f"tests/test_{op}.py" for op in ("backwarp", "warp_blend", "voxel_flow", "sepconv")]
BAND_TESTS = "tests/test_cuda_kernels.py"
BAND_CASE = "test_band_under_sanitizers"  # forward and gradients on tensor cores, of few pixels
# What compute-sanitizer says where the machine's runtime doesn't let it in.
NOT_SUPPORTED = "Device not supported"


@dataclass
class Step:
    name: str
    command: Callable[[float], list[str]]  # of the seconds it may take
    limit: float  # seconds at most
    reserve: float = 0  # seconds to leave for the steps after it
    environment: dict[str, str] = field(default_factory=dict)
    missing: str = ""  # why it can't run
    unsupported: str = ""  # output that makes a failure a skip


@dataclass
class Outcome:
    name: str
    result: str  # "passed", "failed (...)", "skipped: ..."
    seconds: float

    @property
    def failed(self) -> bool:
        return self.result.startswith("failed")


def gpu() -> tuple[str, str] | None:
    """(name, compute capability) of the GPU that torch sees; asked in a child, to hold no GPU memory."""
    code = (
        "import torch; p = torch.cuda.get_device_properties(0); print(p.name); print(f'{p.major}.{p.minor}')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        return None
    name, capability = result.stdout.split("\n")[-3:-1]
    return name, capability


def sanitizer() -> str | None:
    folders = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = [Path(folder) / "bin" / "compute-sanitizer" for folder in folders if folder]
    found = next((str(place) for place in places if place.exists()), None)
    return shutil.which("compute-sanitizer") or found


def steps(capability: str) -> list[Step]:
    python = sys.executable
    pytest = [python, "-m", "pytest", "-p", "no:cacheprovider"]
    tool = sanitizer()
    return [
        # For this GPU alone: seven architectures take minutes.
        Step(
            "build",
            lambda _: [python, "setup.py", "build_ext", "--inplace"],
            limit=170,
            reserve=330,
            environment={"VFI_CUDA": "1", "TORCH_CUDA_ARCH_LIST": capability},
        ),
        Step(
            "tests",
            lambda _: [*pytest, "-m", "not host_only", "--durations=8"],
            limit=240,
            reserve=250,
        ),
        # Without the caching allocator each tensor has its own allocation, and reading past it is an error.
        Step(
            "memcheck",
            lambda _: [
                *[tool or "compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9"],
                *[*pytest, "-k", f"test_truth_table and cuda or {BAND_CASE}", *MEMCHECK_TESTS, BAND_TESTS],
            ],
            limit=90,
            reserve=210,
            environment={"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
            missing="" if tool else "compute-sanitizer was not found",
            unsupported=NOT_SUPPORTED,
        ),
        # Its shared memory is handed from warp to warp.
        Step(
            "racecheck",
            lambda _: [
                *[tool or "compute-sanitizer", "--tool", "racecheck", "--error-exitcode", "9"],
                *[*pytest, "-k", BAND_CASE, BAND_TESTS],
            ],
            limit=40,
            reserve=210,
            missing="" if tool else "compute-sanitizer was not found",
            unsupported=NOT_SUPPORTED,
        ),
        Step(
            "benchmarks",
            # What is being measured at the deadline is finished first, with its compilation.
            lambda seconds: [
                *[python, "benchmarks/run.py", "--device", "cuda", "--json", "auto"],
                *["--deadline", f"{max(1.0, seconds - 30):.0f}"],
            ],
            limit=420,
            reserve=150,
        ),
        # The two slowest calls of these benchmarks.
        Step(
            "profiles",
            lambda _: [python, "benchmarks/profiles.py"],
            limit=90,
            reserve=60,
            missing="" if shutil.which("ncu") else "ncu was not found",
        ),
        Step(
            "systems",
            lambda seconds: [
                *[python, "benchmarks/models.py", "--device", "cuda", "--sizes", "1080p", "720p", "4k"],
                *["--dtypes", "float16", "float32", "--json", "auto"],
                *["--deadline", f"{max(1.0, seconds - 15):.0f}"],
            ],
            limit=240,
        ),
    ]


def run_step(step: Step, seconds: float) -> Outcome:
    """One step, its output passed on as it comes; ended with all its children when its time is over."""
    if step.missing:
        return Outcome(step.name, f"skipped: {step.missing}", 0)
    if seconds <= 0:
        return Outcome(step.name, "failed (no time left)", 0)
    start = time.monotonic()
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        **step.environment,
    }
    process = subprocess.Popen(
        step.command(seconds), cwd=ROOT, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    )  # fmt: skip
    timer = _Alarm(process, seconds)
    unsupported = False
    for line in process.stdout:
        print(line, end="", flush=True)
        unsupported = unsupported or bool(step.unsupported and step.unsupported in line)
    code = process.wait()
    late = timer.cancel()
    taken = time.monotonic() - start
    if late:
        result = f"failed (not done after {seconds:.0f} s)"
    elif code and unsupported:
        result = f"skipped: {step.name} can't run on this machine: {step.unsupported}"
    else:
        result = f"failed (exit code {code})" if code else "passed"
    return Outcome(step.name, result, taken)


class _Alarm:
    """Ends a process and its children after so many seconds: politely, then for good."""

    def __init__(self, process: subprocess.Popen, seconds: float):
        self.process = process
        self.fired = False
        self.timers = [
            threading.Timer(seconds, self._signal, [signal.SIGTERM]),
            threading.Timer(seconds + KILL_SECONDS, self._signal, [signal.SIGKILL]),
        ]
        for timer in self.timers:
            timer.daemon = True
            timer.start()

    def _signal(self, number: int) -> None:
        self.fired = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)  # its own session, so the id is that of its group

    def cancel(self) -> bool:
        """Whether it went off."""
        for timer in self.timers:
            timer.cancel()
        return self.fired


def run_all(todo: list[Step], minutes: float) -> list[Outcome]:
    """Every step in order, whatever became of those before it, each with what is left of the time."""
    end = time.monotonic() + 60 * minutes
    outcomes = []
    for step in todo:
        seconds = min(step.limit, end - time.monotonic() - step.reserve)
        print(f"\n=== {step.name}, at most {max(0, seconds):.0f} s", flush=True)
        outcomes.append(run_step(step, seconds))
        print(f"=== {step.name}: {outcomes[-1].result}, {outcomes[-1].seconds:.0f} s", flush=True)
    return outcomes


def results_since(start: float) -> list[Path]:
    """The results and profiles that this run wrote."""
    paths = [*RESULTS.glob("*.json"), *RESULTS.glob("models/*.json"), *PROFILES.glob("*.txt")]
    return sorted(path for path in paths if path.stat().st_mtime >= start)


def save_for_caller(paths: list[Path]) -> None:
    """$OUT is a folder that the caller takes away from the machine."""
    out = os.environ.get("OUT")
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)
        for path in paths:
            whole = path.parent.name == "models"
            shutil.copy(path, Path(out) / (f"models-{path.name}" if whole else path.name))


def table(paths: list[Path]) -> list[str]:
    """Milliseconds, ratios, bandwidth, share of the limit."""
    lines = []
    for path in paths:
        content = json.loads(path.read_text())
        copy, fma = content["copy_gb_s"], content["fma_gflop_s"]
        lines += [f"{path.name}: copy {copy:.0f} GB/s, float32 FMA {fma:.0f} GFLOP/s"]
        lines += [
            f"{'operation':22} {'pass':18} {'dtype':8} {'layout':13} {'size':>6} "
            f"{'ours ms':>9} {'eager':>7} {'compile':>7} {'naive':>7} {'GB/s':>6} limit"
        ]
        for r in content["records"]:
            rivals = [r[f"{rival}_ms"] for rival in ("eager", "compile", "naive")]
            ratios = " ".join(f"{t / r['ours_ms']:6.1f}x" if t is not None else "      -" for t in rivals)
            label, what = (f"{r[a]} {r[b]}".strip() for a, b in (("op", "variant"), ("pass", "gradients")))
            share = f"{r['fraction_of_limit']:5.0%} err {r['max_abs_err']:.0e}"
            lines += [
                f"{label:22} {what:18} {r['dtype']:8} {r['layout']:13} {r['size']:>6} "
                f"{r['ours_ms']:9.4f} {ratios} {r['bytes'] / r['ours_ms'] / 1e6:6.0f} {share}"
            ]
        if content["left_out"]:
            lines += [f"left out for want of time: {len(content['left_out'])} measurements"]
        lines += [f"failed: {failure}" for failure in content["failed"]]
    return lines


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands, run nothing, need no GPU")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything together")
    names = [step.name for step in steps("9.0")]
    parser.add_argument("--steps", nargs="+", choices=names, default=names, help="only these")
    options = parser.parse_args(arguments)

    def asked(capability: str) -> list[Step]:
        return [step for step in steps(capability) if step.name in options.steps]

    if options.dry_run:
        for step in asked("9.0"):
            settings = [f"{key}={value}" for key, value in step.environment.items()]
            print(" ".join([f"{step.name}:", *settings, *step.command(step.limit)]))
            if step.missing:
                print(f"  would be skipped: {step.missing}")
        return 0
    start = time.time()
    found = gpu()
    if found is None:
        print(f"gpu: {sys.executable} has no torch that sees a CUDA device", file=sys.stderr)
        return 2
    name, capability = found
    print(f"{name}, compute capability {capability}")
    outcomes = run_all(asked(capability), options.minutes)
    written = results_since(start)
    save_for_caller(written)
    measured = [path for path in written if path.parent == RESULTS]
    print("\n" + "\n".join(table(measured)))
    for outcome in outcomes:
        print(f"{outcome.name:10} {outcome.seconds:5.0f} s  {outcome.result}")
    return 1 if any(outcome.failed for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
