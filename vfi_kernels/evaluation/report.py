"""What an evaluation found: as a table with published figures beside, as JSON, and as pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..video import sheet
from ..video.sheet import Worst
from .metrics import Metric
from .published import PUBLISHED
from .run import Result

__all__ = ["as_json", "as_markdown", "write_sheet"]

Row = list[str]


def as_markdown(results: Sequence[Result], *, mean: bool = False) -> str:
    """A table a part, published figures below ours.

    Args:
        mean: whether the parts are alike, so that a table of their mean says something.
    """
    parts = list(dict.fromkeys(result.part for result in results))
    sections = [_section(part, [result for result in results if result.part == part]) for part in parts]
    if mean and len(parts) > 1:
        sections.append(_mean(results, len(parts)))
    return "\n".join(sections)


def as_json(
    results: Sequence[Result], worst: Mapping[str, Worst[str]], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything, frame by frame; null is what is not finite: the PSNR of equal frames."""
    return {
        **about,
        "results": [
            {
                "model": result.model,
                "part": result.part,
                "whole": result.whole,
                "seconds_per_frame": result.seconds / max(len(result.rows), 1),
                "mean": {column.name: _finite(result.mean(column.name)) for column in result.columns},
                "counted": {column.name: result.counted(column.name) for column in result.columns},
                "frames": [
                    {
                        "name": name,
                        "timestep": timestep,
                        **{key: _finite(value) for key, value in row.items()},
                    }
                    for name, timestep, row in result.rows
                ],
            }
            for result in results
        ],
        "published": [
            {
                "part": row.part,
                "model": row.model,
                **{name: float(value) for name, value in row.values.items()},
                "source": row.source,
            }
            for row in PUBLISHED
            if row.part in {result.part for result in results}
        ],
        "worst": {
            model: [{"name": name, "PSNR": _finite(score)} for name, score, _ in frames.ordered()]
            for model, frames in worst.items()
        },
    }


def write_sheet(path: Path, worst: Mapping[str, Worst[str]]) -> None:
    """The worst frames, model after model: before, true, made, difference, after.

    Raises:
        VideoError: it cannot be written.
    """
    sheet.write_sheet(path, [row for frames in worst.values() for _, _, row in frames.ordered()])


def _section(part: str, results: Sequence[Result]) -> str:
    columns = results[0].columns
    rows = [
        [result.model, *(_shown(column, result.mean(column.name)) for column in columns), _frames(result)]
        for result in results
    ]
    for known in PUBLISHED:
        if known.part == part:
            figures = (known.values.get(column.name, "-") for column in columns)
            rows.append([known.model, *figures, known.source])
    return f"## {part}\n\n{_table([_heads(columns, 'from'), *rows])}"


def _mean(results: Sequence[Result], count: int) -> str:
    """Of the parts' means: a long clip counts no more than a short one."""
    columns = results[0].columns
    rows = []
    for model in dict.fromkeys(result.model for result in results):
        own = [result for result in results if result.model == model]
        means = (math.fsum(result.mean(column.name) for result in own) / count for column in columns)
        rows.append([model, *map(_shown, columns, means), f"here, {count} clips"])
    return f"## Mean of the clips\n\n{_table([_heads(columns, 'from'), *rows])}"


def _heads(columns: Sequence[Metric], last: str) -> Row:
    return ["model", *(column.name for column in columns), last]


def _frames(result: Result) -> str:
    count = len(result.rows)
    equal = count - result.counted(result.columns[0].name)
    left_out = f", {equal} left out of the PSNR" if equal else ""
    return f"here, {'' if result.whole else 'the first '}{count} frames{left_out}"


def _table(rows: Sequence[Row]) -> str:
    """Aligned, so that it can be read as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _shown(column: Metric, value: float) -> str:
    return f"{value:.{column.digits}f}" if math.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
