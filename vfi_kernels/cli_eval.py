"""The command that measures models: `vfi eval`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from . import __version__, cli_models
from .cli_common import Failure, device, file, whole
from .cli_feedback import Feedback
from .cli_video import told
from .evaluation import KINDS

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds it to the command line."""
    command = commands.add_parser(
        "eval",
        help="measure models on a benchmark, or on videos of your own",
        description="Make the true frames of a benchmark again and measure what was made, as the benchmark "
        "does; published figures are shown below. docs/evaluation.md says how each is laid out and measured.",
        epilog="KIND is one of: " + "; ".join(f"{kind}: {what}" for kind, what in KINDS.items()) + ".",
    )
    command.add_argument(
        "--data", nargs="+", required=True, metavar=("KIND", "PATH"), help="which benchmark, and its folder"
    )
    command.add_argument(
        "--model", action="append", metavar="NAME", help="as vfi models lists; several may be given"
    )
    command.add_argument(
        "--checkpoint",
        action="append",
        type=file,
        metavar="FILE",
        help="weights, of several models in the order of those that have some",
    )
    command.add_argument(
        "--scale",
        type=float,
        choices=(0.25, 0.5, 1, 2, 4),
        help="size at which RIFE's models estimate flow, relative to the frames' (its authors: 0.5 for 4K)",
    )
    cli_models.add_options(command)
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    command.add_argument(
        "--factor",
        type=whole(2, 64),
        metavar="N",
        help="of videos: keep every Nth frame and make the others (default: 2)",
    )
    command.add_argument(
        "--limit", type=whole(1), metavar="N", help="take the first N pairs of each part or clip only"
    )
    command.add_argument(
        "--lpips",
        nargs=2,
        type=file,
        metavar=("ALEXNET", "LINEAR"),
        help="measure LPIPS as well, with alexnet-owt-7be5be79.pth of torchvision and v0.1/alex.pth of LPIPS",
    )
    command.add_argument("--json", type=file, metavar="FILE", help="write everything, frame by frame")
    command.add_argument("--markdown", type=file, metavar="FILE", help="write the tables")
    command.add_argument("--sheet", type=file, metavar="PNG", help="write a picture of the worst frames")
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    command.set_defaults(run=lambda arguments: _evaluate(command, arguments))


def _evaluate(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    kind, path = _data(parser, arguments)
    written = [target for target in (arguments.json, arguments.markdown, arguments.sheet) if target]
    _check(written, arguments.overwrite)
    place = device(parser, arguments.device)
    from .data import LayoutError
    from .evaluation import benchmarks, report
    from .evaluation.run import evaluate

    with Feedback() as feedback, told():
        models = dict(_models(parser, arguments))
        more = []
        if arguments.lpips:
            from .evaluation.lpips import LPIPS

            more.append(LPIPS(*arguments.lpips).to(place).metric())
        try:
            parts = benchmarks.parts(kind, path, arguments.factor or 2)
            results, worst = evaluate(
                parts, models, limit=arguments.limit, more=more, device=place, progress=feedback.progress
            )
        except LayoutError as error:
            what, *tree = str(error).splitlines()
            raise Failure(what, tree) from error
        except ValueError as error:  # an image that is none, folders without photographs
            raise Failure(str(error)) from error
        table = report.as_markdown(results, mean=kind == "videos")
        if arguments.sheet:
            report.write_sheet(arguments.sheet, worst)
        if arguments.markdown:
            arguments.markdown.write_text(table)
        if arguments.json:
            about = {"version": __version__, "data": kind, "path": path and str(path), "device": str(place)}
            about |= {"precision": arguments.precision, "model_options": arguments.model_option}
            arguments.json.write_text(json.dumps(report.as_json(results, worst, about), indent=1) + "\n")
    print(table, end="")
    return 0


def _data(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> tuple[str, Path | None]:
    kind, *paths = arguments.data
    if kind not in KINDS:
        parser.error(f"argument --data: KIND must be one of {', '.join(KINDS)}; got {kind!r}")
    if len(paths) > 1 or (not paths and kind != "synthetic"):
        parser.error(f"argument --data: expected {kind} and one PATH; got {len(paths)}")
    if arguments.factor and kind != "videos":
        parser.error("argument --factor: is for videos; benchmarks have their own")
    try:
        return kind, file(paths[0]) if paths else None
    except argparse.ArgumentTypeError as error:
        parser.error(f"argument --data: {error}")


def _check(targets: list[Path], overwrite: bool) -> None:
    """Before the work and not after hours of it."""
    for target in targets:
        if target.exists() and not overwrite:
            raise FileExistsError(f"{target}: exists already; --overwrite replaces it")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"{target}: there is no folder {target.parent}")


def _models(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> Iterator[tuple[str, object]]:
    """Models with their names in the report: of two of one kind, the files tell them apart."""
    from .models import create, registry

    wanted, files = arguments.model or [None], list(arguments.checkpoint or ())
    for i, given in enumerate(wanted):
        # One with weights in the package takes a file where those after it leave one.
        needed = sum(map(_needs_file, wanted[i + 1 :]))
        takes = _needs_file(given) or (_takes_file(given) and len(files) > needed)
        checkpoint = files.pop(0) if takes and files else None
        name = cli_models.model_for(parser, given, checkpoint, arguments.device)
        options = cli_models.options_for(parser, name, arguments, checkpoint)
        if arguments.scale is not None:
            if "scale" not in registry.options(name):
                parser.error(f"argument --scale: {name} has none")
            options["scale"] = arguments.scale
        label = name if checkpoint is None else f"{name} ({checkpoint.name})"
        yield label, create(name, checkpoint=checkpoint, **options)
    if files:
        parser.error(f"argument --checkpoint: no model takes {files[0]}")


def _takes_file(name: str | None) -> bool:
    from .models import registry

    return name is None or (name in registry.names() and registry.entry(name).learned)


def _needs_file(name: str | None) -> bool:
    from .models import registry

    return name is not None and _takes_file(name) and registry.entry(name).weights is None
