"""What a file of results holds: records of a case and pass each, with their limits; see README.md."""

import json
import math
from pathlib import Path
from typing import Any

NUMBER = (int, float)
OPTIONAL = (int, float, type(None))
# Every key of a record with its types. A None has its reason in `notes`, under the same key.
RECORD = {
    "op": str,
    "variant": str,
    "pass": str,
    "gradients": str,  # "" forward, "all", or "no frames": of everything but the frames
    "dtype": str,
    "layout": str,
    "size": str,
    "width": int,
    "height": int,
    "device": str,
    "ours_ms": NUMBER,
    "eager_ms": NUMBER,
    "compile_ms": OPTIONAL,
    "naive_ms": OPTIONAL,
    "spread_ms": dict,  # {"ours": [p10, p90], "eager": ..., "compile": ..., "naive": ...}
    "rounds": int,
    "others_share": OPTIONAL,  # of the machine's processor time that other processes took meanwhile
    "sets": int,
    "bytes": int,
    "flops": int,
    "limit_ms": NUMBER,
    "limit_kind": str,  # "bytes" or "flops", whichever takes longer
    "bytes_limit_ms": NUMBER,
    "flops_limit_ms": NUMBER,
    "fraction_of_limit": NUMBER,
    "max_abs_err": NUMBER,
    "peak_bytes": OPTIONAL,
    "output_bytes": int,
    "notes": dict,
}


def set_limits(record: dict[str, Any], content: dict[str, Any]) -> None:
    """The limits of a record by the rates that the file holds."""
    bytes_ms = record["bytes"] / content["copy_gb_s"] / 1e6
    flops_ms = record["flops"] / content["fma_gflop_s"] / 1e6
    record["limit_ms"] = max(bytes_ms, flops_ms)
    record["limit_kind"] = "bytes" if bytes_ms >= flops_ms else "flops"
    record["bytes_limit_ms"], record["flops_limit_ms"] = bytes_ms, flops_ms
    record["fraction_of_limit"] = record["limit_ms"] / record["ours_ms"]


def check_record(record: dict[str, Any]) -> None:
    """Raises ValueError for a key too many or too few, a wrong type, NaN, or a None without its reason."""
    if record.keys() != RECORD.keys():
        raise ValueError(f"record: keys differ: {sorted(record.keys() ^ RECORD.keys())}")
    for key, kinds in RECORD.items():
        value = record[key]
        if not isinstance(value, kinds) or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"record: {key} must be a finite {kinds}; got {value!r}")
        if value is None and not record["notes"].get(key):
            raise ValueError(f"record: {key} is None without a reason in notes")


def write(path: Path, content: dict[str, Any]) -> None:
    """By rename, so that a run that is cut short leaves what it measured so far, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")
    part.replace(path)


def line(record: dict[str, Any]) -> str:
    def ms(value: float | None) -> str:
        return f"{value:9.3f}" if value is not None else "        -"

    what = f"{record['op']} {record['variant']}".strip()
    direction = f"{record['pass']} {record['gradients']}".strip()
    return (
        f"{what:22} {direction:18} {record['dtype']:8} {record['layout']:13} {record['size']:>6} "
        f"{ms(record['ours_ms'])} {ms(record['eager_ms'])} {ms(record['compile_ms'])} "
        f"{ms(record['naive_ms'])} "
        f"{record['fraction_of_limit']:6.1%} {record['limit_kind']}  err {record['max_abs_err']:.1e}"
    )


HEADER = (
    f"{'operation':22} {'pass':18} {'dtype':8} {'layout':13} {'size':>6} "
    f"{'ours ms':>9} {'eager':>9} {'compile':>9} {'naive':>9} of limit"
)
