"""The command that makes many videos: `vfi batch`."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from . import cli_models
from .cli_common import Failure, device, event, file, tell, warn
from .cli_options import add_wishes, wishes
from .cli_video import add_reports, interpolate

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds it to the command line."""
    batch = commands.add_parser(
        "batch",
        help="the same for many videos",
        description="Write each INPUT to a file of the same name in FOLDER, as vfi interpolate does. "
        "What goes wrong with one is told, and the others are made; the exit code is 1 then.",
    )
    batch.add_argument("inputs", metavar="INPUT", type=file, nargs="+", help="as for vfi interpolate")
    batch.add_argument("--into", metavar="FOLDER", type=file, required=True, help="where the outputs go")
    batch.add_argument("--suffix", metavar=".EXT", help="of the outputs, as .mkv (default: the input's)")
    add_wishes(batch)
    batch.add_argument(
        "--resume", action="store_true", help="leave outputs that are there, and go on with unfinished ones"
    )
    add_reports(batch)
    batch.set_defaults(run=lambda arguments: _batch(batch, arguments))


def _batch(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import models, video

    arguments.engine = "local"
    targets = [_target(parser, arguments, source) for source in arguments.inputs]
    if twice := [target for target, count in Counter(targets).items() if count > 1]:
        parser.error(f"{twice[0]} would be written twice: two inputs have that name")
    if not arguments.into.is_dir():
        raise Failure(f"{arguments.into}: no such folder")
    # Once: a file of weights is read to tell.
    arguments.model = cli_models.model_for(parser, arguments.model, arguments.checkpoint, arguments.device)
    jobs = [
        argparse.Namespace(**vars(arguments) | {"input": source, "output": target})
        for source, target in zip(arguments.inputs, targets, strict=True)
    ]
    options = [video.Options(**wishes(parser, job)) for job in jobs]
    place = device(parser, arguments.device)
    networks = {}  # of one model, by the scale that large frames change
    for how in options:
        scale = how.model_options.get("scale")
        if scale not in networks:
            networks[scale] = models.create(how.model, checkpoint=how.checkpoint, **how.model_options)
    made = failed = 0
    for job, how in zip(jobs, options, strict=True):
        there = arguments.resume and job.output.exists()
        try:
            interpolate(job, how, lambda how=how: networks[how.model_options.get("scale")], place)
            made += not there
        except Failure as error:
            if there and isinstance(error.__cause__, video.UnknownOrigin):
                warn(f"{job.output}: does not say what it was made of, and is left as it is")
                continue
            failed += 1
            if arguments.json:
                event("error", message=str(error), code=error.code)
            tell(error)
    if failed:
        raise Failure(f"{failed} of {len(jobs)} videos were not made")
    if arguments.json:
        event("done", videos=len(jobs), made=made)
    return 0


def _target(parser: argparse.ArgumentParser, arguments: argparse.Namespace, source: Path) -> Path:
    suffix = source.suffix if arguments.suffix is None else arguments.suffix
    if not suffix.startswith(".") or "/" in suffix:
        parser.error(f"argument --suffix: expected one like .mkv for {source}; got {suffix!r}")
    return arguments.into / (source.stem + suffix)
