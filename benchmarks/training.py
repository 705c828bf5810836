"""Keeps the curves of trainings, and writes their table into docs/training.md.

    python benchmarks/training.py [FOLDER of a training ...] [--check]

A folder has the recipe's name; its log becomes results/training/NAME.json. The table between the two markers
is made of these files alone. --check writes nothing and exits 1 where that would change the table.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results/training", ROOT / "docs/training.md"
BEGIN, END = "<!-- curves:begin -->", "<!-- curves:end -->"
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


def row(run: dict[str, Any]) -> str:
    last, psnr = run["psnr"][-1]
    curve = [next(value for step, value in run["psnr"] if step >= part * last) for part in PLACES]
    cells = [
        f"`{run['recipe']}`",
        str(last),
        f"{run['minutes']:.1f}",
        f"{run['frames_per_second']:.1f}",
        f"{run['data']:.0%}",
        *(f"{value:.2f}" for value in curve),
        f"{run['blend']:.2f}",
        f"{psnr - run['blend']:+.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """docs/training.md as it should be."""
    runs = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    table = [HEAD, "|" + "---|" * (HEAD.count("|") - 1), *map(row, runs)]
    text = PAGE.read_text()
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    return "\n".join([before, *table, after])


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
