"""Time of a frame and peak memory of every system, beside the same network of eager PyTorch operations.

    python benchmarks/models.py [--device cpu|cuda] [--models dvf rife ...] [--sizes 720p 1080p 4k 640x360]
                                [--dtypes float32 float16 bfloat16] [--compile] [--deadline SECONDS]
                                [--json FILE|auto]

Both are one model object, in channels_last: for "eager" its warps, blends and kernels are replaced by the
chains of `chains.py` and grid_sample. Half precision is autocast, as `vfi interpolate --precision` has it.
Weights are random, which changes no shape and little of the time. In turn, as `run.py` does. Where a rival
runs out of memory the others are measured without it.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import math
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import chains
import limits
import records
import timing
import torch
import torch.nn.functional as F
from torch import Tensor

from vfi_kernels import models, ops
from vfi_kernels.models.precision import PRECISIONS

RESULTS = Path(__file__).resolve().parent / "results" / "models"
SIZES = {"720p": (720, 1280), "1080p": (1080, 1920), "4k": (2160, 3840)}
# What is run by default: name, and frames made between two. A run that meets its deadline leaves out the end.
CASES = (
    ("rife_v4.26", 1),
    ("rife_v4.26", 7),
    ("rife_v4.6", 1),
    ("rife", 1),
    ("flow", 1),
    ("flow", 7),
    ("sepconv", 1),
    ("sepconv++", 1),
    ("superslomo", 1),
    ("dvf", 1),
    ("superslomo", 7),
)


@cache
def grid(height: int, width: int, device: torch.device) -> Tensor:
    return chains.base_grid(height, width, torch.float32, device)


def repeated(frame: Tensor, flow: Tensor) -> Tensor:
    """As often as it serves a flow: grid_sample wants a copy for each."""
    return frame.repeat_interleave(flow.shape[0] // frame.shape[0], 0)


def backwarp(image: Tensor, flow: Tensor, *, padding: str = "border") -> Tensor:
    base = grid(*flow.shape[2:], flow.device)
    return chains.backwarp(base, repeated(image, flow), flow, padding)[0]


def backwarp_multi(images: list[Tensor], flow: Tensor, *, padding: str = "border") -> list[Tensor]:
    return [backwarp(image, flow, padding=padding) for image in images]


def warp_blend(
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    *,
    timestep: Tensor | None = None,
    mask_is_logits: bool = False,
    padding: str = "border",
) -> Tensor:
    base = grid(*flow0.shape[2:], flow0.device)
    frames = repeated(frame0, flow0), repeated(frame1, flow1)
    weight = mask.sigmoid() if mask_is_logits else mask
    if timestep is None:
        return chains.warp_blend(base, *frames, flow0, flow1, weight, padding)[0]
    t = timestep[:, None, None, None]
    return chains.visibility_blend(base, *frames, flow0, flow1, weight, t, padding)[0]


def voxel_flow(frame0: Tensor, frame1: Tensor, flow: Tensor, *, mode: str) -> Tensor:
    return chains.voxel_flow(grid(*flow.shape[2:], flow.device), frame0, frame1, flow)[0]


SEPCONV_TERMS = ("frame0", "vertical0", "horizontal0", "frame1", "vertical1", "horizontal1")


def sepconv_pair(*terms: Tensor) -> Tensor:
    """Compiled, the form that torch.compile fuses, as in `run.py`."""
    chain = chains.sepconv_pair_fused if torch.compiler.is_compiling() else chains.sepconv_pair
    return chain(None, **dict(zip(SEPCONV_TERMS, terms, strict=True)))[0]


EAGER = (backwarp, backwarp_multi, warp_blend, voxel_flow, sepconv_pair)


def eager(call: Callable[[], Tensor]) -> Tensor:
    """`call` with eager operations in the models. The exchange is timed as well: two updates of a dict."""
    names, own = vars(ops), {function.__name__: function for function in EAGER}
    fused = {name: names[name] for name in own}
    names.update(own)
    try:
        return call()
    finally:
        names.update(fused)


def frames(size: tuple[int, int], device: str) -> list[Tensor]:
    """Smooth noise, and the same moved by 4 pixels: [1, 3, H, W] each, channels_last."""
    height, width = size
    noise = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(0))
    smooth = F.interpolate(noise, (height, width + 4), mode="bicubic").clamp(0, 1).to(device)
    parts = smooth[..., :width], smooth[..., 4:]
    return [part.contiguous(memory_format=torch.channels_last) for part in parts]


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most that a call allocates on the GPU beyond what lies there before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = call()
    torch.cuda.synchronize()
    del result
    return torch.cuda.max_memory_allocated() - before


def rivals(
    name: str, count: int, size: tuple[int, int], dtype: str, options: argparse.Namespace
) -> dict[str, Callable[[], Tensor]]:
    """By name, what makes `count` frames between two."""
    net = models.create(name, precision=dtype, channels_last=True).to(options.device)
    pair = frames(size, options.device)
    times = [(i + 1) / (count + 1) for i in range(count)]

    def made(frame0: Tensor, frame1: Tensor) -> Tensor:
        return net(frame0, frame1) if count == 1 else net.interpolate(frame0, frame1, times)

    ways = {"": made}
    if options.compile and models.registry.entry(name).learned:
        ways[" compiled"] = torch.compile(made, dynamic=False)

    calls = {}
    for how, way in ways.items():
        calls[f"ours{how}"] = lambda way=way: way(*pair)
        calls[f"eager{how}"] = lambda way=way: eager(lambda: way(*pair))
    return calls


def measure(
    name: str, count: int, size: tuple[int, int], dtype: str, options: argparse.Namespace
) -> dict[str, Any]:
    """One record; milliseconds a frame, frames a second, and notes on rivals that ran out of memory."""
    device = options.device
    calls = rivals(name, count, size, dtype, options)
    record = {"model": name, "frames": count, "size": list(size), "dtype": dtype, "device": device}
    record |= {"ms": {}, "frames_per_second": {}, "peak_bytes": {}}
    record |= {"max_abs_difference": None, "notes": {}}
    results = {}
    for rival, call in calls.items():
        try:
            results[rival] = call().float()
        except torch.OutOfMemoryError as failure:
            record["notes"][rival] = str(failure).partition(".")[0]
    if not results:
        return record
    if results.keys() >= {"ours", "eager"}:
        record["max_abs_difference"] = (results["ours"] - results["eager"]).abs().max().item()
    found, record["rounds"], record["others_share"] = timing.in_turn(
        {rival: lambda _, call=calls[rival]: call() for rival in results},
        1,
        device,
        options.budget,
        timing.Patience(0),
    )
    for rival, spent in found.items():
        frame = {part: value / count for part, value in dataclasses.asdict(spent).items()}
        record["ms"][rival] = frame
        record["frames_per_second"][rival] = 1e3 / frame["median"]
        record["peak_bytes"][rival] = peak_bytes(calls[rival]) if device == "cuda" else None
    return record


def label(name: str, count: int, size: tuple[int, int], dtype: str) -> str:
    return f"{name:12} x{count} {size[1]}x{size[0]} {dtype:9}"


def line(record: dict[str, Any]) -> str:
    cells = [f"{rival}: {note}" for rival, note in record["notes"].items()]
    for rival, spent in record["ms"].items():
        memory = record["peak_bytes"][rival]
        cells.append(
            f"{rival} {spent['median']:8.1f} ms a frame, {record['frames_per_second'][rival]:6.2f} a second"
            + (f", {memory / 2**30:5.2f} GiB" if memory else "")
        )
    if (difference := record["max_abs_difference"]) is not None:
        cells.append(f"difference {difference:.1e}")
    return "   ".join([label(*(record[key] for key in ("model", "frames", "size", "dtype"))), *cells])


def size(text: str) -> tuple[int, int]:
    if text in SIZES:
        return SIZES[text]
    width, height = map(int, text.split("x"))
    return height, width


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--models", nargs="+", help="names (default: one of each kind)")
    parser.add_argument("--sizes", nargs="+", type=size, help="720p, 1080p, 4k, WIDTHxHEIGHT")
    parser.add_argument(
        "--dtypes", nargs="+", choices=list(PRECISIONS), help="default: float32 and the device's half"
    )
    parser.add_argument("--compile", action="store_true", help="both also under torch.compile")
    parser.add_argument("--budget", type=float, help="seconds a record; 2 on cpu, 0.4 on cuda")
    parser.add_argument(
        "--deadline", type=float, default=math.inf, help="begin nothing after so many seconds"
    )
    parser.add_argument(
        "--json", help="write the results there; auto: benchmarks/results/models/<gpu or cpu>.json"
    )
    options = parser.parse_args(arguments)
    start, cuda = time.monotonic(), options.device == "cuda"
    options.budget = options.budget if options.budget is not None else (0.4 if cuda else 2.0)
    dtypes = options.dtypes or ["float32", "float16" if cuda else "bfloat16"]
    sizes = options.sizes or (SIZES.values() if cuda else [(360, 640)])
    cases = [case for case in CASES if options.models is None or case[0] in options.models]
    cases += [(name, 1) for name in options.models or () if name not in dict(CASES)]
    machine = limits.machine(options.device)
    content = {"machine": machine, "versions": limits.versions(options.device), "commit": limits.commit()}
    content |= {"created": limits.now(), "records": [], "left_out": []}
    path = options.json and Path(options.json)
    if options.json == "auto":
        path = RESULTS / f"{limits.slug(machine['gpu'] or machine['cpu'])}.json"
    for name, count, each, dtype in ((*case, each, d) for each in sizes for d in dtypes for case in cases):
        if time.monotonic() - start > options.deadline:
            content["left_out"].append(label(name, count, each, dtype))
            continue
        content["records"].append(measure(name, count, each, dtype, options))
        print(line(content["records"][-1]), flush=True)
        if path:
            records.write(path, content)
        gc.collect()
        if cuda:
            torch.cuda.empty_cache()
    if content["left_out"]:
        print(f"left out for want of time: {len(content['left_out'])} measurements")
    if path:
        records.write(path, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
