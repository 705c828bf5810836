"""Writes the tables of benchmarks/results/*.json into README.md and benchmarks/results/README.md.

    python benchmarks/report.py [--check] [--readme FILE] [--results FOLDER]

In README.md the lines between the two markers are replaced, from results/*.json alone; results/more holds
runs that ask something else (one thread, tiny images), results/models what models.py wrote. --check writes
nothing and exits 1 where that would change a file. A figure comes from a results file or is not there; `-` is
one that was not measured.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- benchmarks:begin -->", "<!-- benchmarks:end -->"
NO_GPU = "GPU figures are not measured yet."
# Above this share of the processors taken by others a row is marked.
QUIET = 0.05
MARK = " \\*"
HEAD = "| operation | pass | dtype | size | ours, ms | eager / ours | torch.compile / ours | of the limit |"
FULL_HEAD = (
    "| operation | pass | dtype | layout | size | ours, ms (p10 to p90) | eager, ms | torch.compile, ms "
    "| one thread an output, ms | limit, ms | of the limit | max. error | peak MB (results) |"
)

MODELS_HEAD = (
    "| model | frames | size | dtype | ours, ms a frame | frames/s | eager / ours | ours compiled / ours "
    "| eager compiled / ours | peak MB, ours | eager | max. difference |"
)


def significant(value: float, digits: int = 3) -> str:
    """12.3456 -> "12.3", 1234.5 -> "1234", 0.012345 -> "0.0123"."""
    exponent = int(f"{value:e}".split("e")[1])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def ratio(rival: float | None, ours: float) -> str:
    return "-" if rival is None else f"{significant(rival / ours, 2)}x"


def ms(value: float | None) -> str:
    return "-" if value is None else significant(value)


def percent(fraction: float) -> str:
    return f"{significant(100 * fraction, 2)} %"


def name(record: dict[str, Any]) -> str:
    return f"{record['op']}, {record['variant']}" if record["variant"] else record["op"]


def direction(record: dict[str, Any]) -> str:
    return f"{record['pass']}, {record['gradients']}" if record["gradients"] else record["pass"]


def limit(record: dict[str, Any]) -> str:
    return f"{percent(record['fraction_of_limit'])} ({record['limit_kind']})"


def table(head: str, rows: list[list[str]]) -> list[str]:
    rule = "|" + "---|" * (head.count("|") - 1)
    return [head, rule, *("| " + " | ".join(row) + " |" for row in rows)]


def chosen(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For README.md: float32, contiguous, no variants, all gradients; the largest size of each."""
    largest: dict[tuple[str, str], dict[str, Any]] = {}
    for record in records:
        plain = record["dtype"] == "float32" and record["layout"] == "contiguous" and not record["variant"]
        if not plain or record["gradients"] == "no frames":
            continue
        key = (record["op"], record["pass"])
        pixels = record["width"] * record["height"]
        if key not in largest or pixels > largest[key]["width"] * largest[key]["height"]:
            largest[key] = record
    return list(largest.values())


def title(content: dict[str, Any]) -> str:
    machine, versions = content["machine"], content["versions"]
    device = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
    facts = [
        f"torch {versions['torch']}",
        f"commit {content['commit'] or 'unknown'}",
        f"measured copy {significant(content['copy_gb_s'])} GB/s",
        f"float32 FMA {significant(content['fma_gflop_s'])} GFLOP/s",
    ]
    return f"**{device}** ({', '.join(facts)}):"


def disturbed(record: dict[str, Any]) -> bool:
    return record["device"] == "cpu" and (record["others_share"] or 0) > QUIET


def ours(record: dict[str, Any]) -> str:
    return ms(record["ours_ms"]) + (MARK if disturbed(record) else "")


def footnote(records: list[dict[str, Any]]) -> list[str]:
    if not any(map(disturbed, records)):
        return []
    return ["", f"\\* Other processes took more than {percent(QUIET)} of the processors meanwhile."]


def short(contents: list[dict[str, Any]]) -> str:
    lines: list[str] = []
    for content in contents:
        records = chosen(content["records"])
        rows = [
            [
                name(r),
                r["pass"],
                r["dtype"],
                r["size"],
                ours(r),
                ratio(r["eager_ms"], r["ours_ms"]),
                ratio(r["compile_ms"], r["ours_ms"]),
                limit(r),
            ]
            for r in records
        ]
        lines += [title(content), "", *table(HEAD, rows), *footnote(records), ""]
    if not any(record["device"] == "cuda" for content in contents for record in content["records"]):
        lines += [NO_GPU, ""]
    return "\n".join(lines)


def full(contents: list[dict[str, Any]]) -> str:
    lines = [
        "# All results",
        "",
        "Written by `python benchmarks/report.py` from the JSON files here; [../README.md](../README.md)",
        "says what the columns mean.",
        "",
    ]
    for content in contents:
        rows = []
        for r in content["records"]:
            low, high = r["spread_ms"]["ours"]
            peak = "-" if r["peak_bytes"] is None else significant(r["peak_bytes"] / 1e6)
            rows.append(
                [
                    name(r),
                    direction(r),
                    r["dtype"],
                    r["layout"],
                    r["size"],
                    f"{ours(r)} ({ms(low)} to {ms(high)})",
                    ms(r["eager_ms"]),
                    ms(r["compile_ms"]),
                    ms(r["naive_ms"]),
                    ms(r["limit_ms"]),
                    limit(r),
                    f"{r['max_abs_err']:.0e}",
                    f"{peak} ({significant(r['output_bytes'] / 1e6)})",
                ]
            )
        lines += [f"{title(content)} {content['created'][:10]}", "", *table(FULL_HEAD, rows)]
        lines += [*footnote(content["records"]), ""]
        if content["left_out"]:
            lines += [f"Left out for want of time: {len(content['left_out'])} measurements.", ""]
    return "\n".join(lines)


def systems(contents: list[dict[str, Any]]) -> str:
    """Whole systems, of models.py."""
    lines = [
        "## Whole systems",
        "",
        "Time of one frame of a call, and what is allocated for all of them on a GPU.",
        "",
    ]
    for content in contents:
        rows = []
        for r in content["records"]:
            spent = {rival: found["median"] for rival, found in r["ms"].items()}
            peak = [r["peak_bytes"].get(rival) for rival in ("ours", "eager")]
            difference, mine = r["max_abs_difference"], spent.get("ours")
            rows.append(
                [
                    r["model"],
                    str(r["frames"]),
                    f"{r['size'][1]}x{r['size'][0]}",
                    r["dtype"],
                    ms(mine) + (MARK if mine and disturbed(r) else ""),
                    significant(1e3 / mine) if mine else "-",
                    *(
                        ratio(spent.get(rival), mine) if mine else "-"
                        for rival in ("eager", "ours compiled", "eager compiled")
                    ),
                    *("-" if size is None else significant(size / 1e6) for size in peak),
                    "-" if difference is None else f"{difference:.0e}",
                ]
            )
        machine = content["machine"]
        device = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads"
        lines += [f"**{device}**:", "", *table(MODELS_HEAD, rows), *footnote(content["records"]), ""]
    return "\n".join(lines) if contents else ""


def load(folder: Path) -> list[dict[str, Any]]:
    """All results with records; CPUs first, then by name."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return sorted((c for c in contents if c["records"]), key=lambda c: c["machine"]["gpu"] is not None)


def with_block(text: str, block: str) -> str:
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        raise SystemExit(f"report: README must hold the lines {BEGIN} and {END}, in this order")
    return f"{text[: begin + len(BEGIN)]}\n{block}{text[end:]}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where a file is out of date"
    )
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args(arguments)
    contents = load(options.results)
    wanted = {
        options.readme: with_block(options.readme.read_text(), short(contents)),
        options.results / "README.md": "\n".join(
            [full(contents + load(options.results / "more")), systems(load(options.results / "models"))]
        ).rstrip()
        + "\n",
    }
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        if options.check:
            print(
                f"report: {path} is not what the results say: run `python benchmarks/report.py`",
                file=sys.stderr,
            )
        else:
            path.write_text(wanted[path])
            print(f"wrote {path}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
