"""Keeps the curves of trainings, and writes their table into docs/training.md, and that of loading data.

    python benchmarks/training.py [FOLDER of a training ...] [--check]

A folder has the recipe's name; its log becomes results/training/NAME.json. The tables between the markers are
made of these files, and of those of loading.py in results/loading, alone. --check writes nothing and exits 1
where that would change a table.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/training", ROOT / "docs/training.md"
LOADING = ROOT / "benchmarks/results/loading"
# Of all steps, where the table looks at a curve.
PLACES = (0.125, 0.25, 0.5, 1)
HEAD = "| recipe | steps | minutes | frames a second | data | 1/8 | 1/4 | 1/2 | end | `blend` | better by |"


def kept(folder: Path) -> dict[str, Any]:
    """What stays of a training."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    return {
        "recipe": folder.name,
        "minutes": round(steps[-1]["seconds"] / 60, 2),
        "frames_per_second": statistics.median(line["frames_per_second"] for line in steps),
        "data": statistics.median(line["data"] for line in steps),
        "blend": round(next(line["blend"] for line in lines if "blend" in line), 3),
        "loss": [[line["step"], float(f"{line['loss']:.5g}")] for line in steps],
        "psnr": [[line["step"], round(line["psnr"], 3)] for line in lines if "psnr" in line],
    }


def row(run: dict[str, Any]) -> list[str]:
    last, psnr = run["psnr"][-1]
    curve = [next(value for step, value in run["psnr"] if step >= part * last) for part in PLACES]
    return [
        f"`{run['recipe']}`",
        str(last),
        f"{run['minutes']:.1f}",
        f"{run['frames_per_second']:.1f}",
        f"{run['data']:.0%}",
        *(f"{value:.2f}" for value in curve),
        f"{run['blend']:.2f}",
        f"{psnr - run['blend']:+.2f}",
    ]


def loading(run: dict[str, Any]) -> list[str]:
    """Samples a second on a machine, and what it is."""
    machine, records = run["machine"], run["records"]
    rates = list(records[0]["samples"])
    head = ["recipe", "data", *(rate.replace("_", " = ") for rate in rates)]
    rows = (
        [f"`{record['recipe']}`", record["data"].replace("_", " ")]
        + [f"{statistics.median(record['samples'][rate]):.3g}" for rate in rates]
        for record in records
    )
    device = machine["gpu"] or machine["cpu"]
    facts = f"{device}; processors of the CPU: {machine['cores']}; load average: {machine['load_average']}"
    return [facts, "", *table(f"| {' | '.join(head)} |", rows)]


def table(head: str, rows: Iterable[list[str]]) -> list[str]:
    return [head, "|" + "---|" * (head.count("|") - 1), *(f"| {' | '.join(cells)} |" for cells in rows)]


def filled(text: str, name: str, lines: list[str]) -> str:
    """The page with these lines between the markers of this name."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, after = text[: text.index(begin) + len(begin)], text[text.index(end) :]
    return "\n".join([before, *lines, after])


def page() -> str:
    """docs/training.md as it should be."""
    runs, machines = (
        [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
        for folder in (RESULTS, LOADING)
    )
    text = filled(PAGE.read_text(), "curves", table(HEAD, map(row, runs)))
    return filled(text, "loading", [line for run in machines for line in loading(run)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.check:
        return int(page() != PAGE.read_text())
    for folder in options.folders:
        (RESULTS / f"{folder.name}.json").write_text(json.dumps(kept(folder)) + "\n")
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
