"""The commands that look before the work: `vfi info` and `vfi preview`."""

from __future__ import annotations

import argparse
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

from .cli_common import device, file, ratio, whole
from .cli_feedback import Feedback
from .cli_options import add_files, add_wishes, wishes
from .cli_video import told

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds them to the command line."""
    info = commands.add_parser(
        "info",
        help="what is in a video, what would be made of it, and why",
        description="Tell what is in INPUT and what vfi interpolate with the same options would make of it.",
    )
    add_files(info, output="?")
    add_wishes(info)
    info.add_argument("--json", action="store_true", help="print JSON")
    info.set_defaults(run=lambda arguments: _info(info, arguments))

    preview = commands.add_parser(
        "preview",
        help="a clip side by side, and a picture of the worst frames",
        description="Write CLIP, with INPUT on the left and interpolated on the right, and a PNG of the "
        "frames that come out worst when each is made from its two neighbours: before, true, made, "
        "difference, after. The frames are those that vfi interpolate makes with the same options; "
        "there is no sound.",
    )
    preview.add_argument("input", metavar="INPUT", type=file, help="video file, or images")
    preview.add_argument("output", metavar="CLIP", type=file, help="video file to write")
    preview.add_argument(
        "--sheet", metavar="PNG", type=file, help="picture of the worst frames (default: CLIP's name, .png)"
    )
    preview.add_argument("--frames", type=whole(1, 100), metavar="N", help="how many of them (default: 6)")
    preview.add_argument(
        "--start", type=_time, default="0", metavar="S", help="where to begin in INPUT (default: %(default)s)"
    )
    preview.add_argument(
        "--seconds", type=ratio, default=10, metavar="S", help="how much of INPUT (default: %(default)s)"
    )
    add_wishes(preview)
    preview.set_defaults(run=lambda arguments: _preview(preview, arguments))


def _info(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import video
    from .video import info

    source = arguments.input
    if arguments.output is None:
        arguments.output = source.with_name(f"{source.stem}-more.mkv")
    with told():
        tables = info.describe(source, arguments.output, video.Options(**wishes(parser, arguments)))
    if arguments.json:
        print(json.dumps(tables, indent=1))
        return 0
    for title, rows in tables.items():
        print(title)
        for name, value in rows.items():
            for line in _lines(value):
                print(f"  {name:11} {line}")
                name = ""
    return 0


def _lines(value: Any) -> list[str]:
    return [str(line) for line in value] or ["-"] if isinstance(value, list) else [str(value)]


def _preview(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import models, video
    from .video import preview

    clip: Path = arguments.output
    sheet: Path = arguments.sheet or clip.with_suffix(".png")
    options = video.Options(**wishes(parser, arguments))
    place = device(parser, arguments.device)
    with Feedback() as feedback, told():
        for target in (clip, sheet):
            video.jobs.check_target(arguments.input, target, arguments.overwrite)
        worst = preview.preview(
            arguments.input,
            clip,
            sheet,
            models.create(options.model, checkpoint=options.checkpoint, **options.model_options),
            options,
            start=arguments.start,
            seconds=arguments.seconds,
            worst=arguments.frames or preview.ROWS,
            device=place,
            progress=feedback.progress,
        )
    print(f"{'frame':>6} {'seconds':>9} {'PSNR dB':>8}")
    for judged in worst:
        print(f"{judged.number:6} {float(judged.time):9.3f} {judged.psnr:8.2f}")
    return 0


def _time(text: str) -> Fraction:
    return Fraction(0) if re.fullmatch(r"0+(\.0*)?", text) else ratio(text)
