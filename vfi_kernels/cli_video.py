"""The commands that make videos: `vfi interpolate`, and in parts `vfi plan`, `vfi run` and `vfi merge`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from .cli_common import TERMINATED, Failure, device, failure_of, file, out_of_memory, warn
from .cli_feedback import Feedback
from .cli_options import add_files, add_hwaccel, add_wishes, wishes

if TYPE_CHECKING:
    import torch

    from .models import Interpolator
    from .video import Options

__all__ = ["add_commands", "add_reports", "interpolate", "told"]

# With --overwrite, as chunks of other options do not fit together.
LESS_MEMORY = "--tile 1024 --batch 1 --overwrite needs less memory"

CHUNKS = re.compile(r"\d{1,6}(-\d{1,6})?")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds them to the command line."""
    whole = commands.add_parser(
        "interpolate",
        help="write a video with more frames a second",
        description="Write INPUT to OUTPUT with more frames a second. Sound is copied; the duration stays. "
        "Finished chunks of about ten seconds survive whatever ends the command.",
    )
    add_files(whole)
    add_wishes(whole)
    whole.add_argument(
        "--resume", action="store_true", help="go on where an earlier run was ended, if there is one"
    )
    whole.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray makes the chunks on the cluster that RAY_ADDRESS names (default: %(default)s)",
    )
    add_reports(whole)
    whole.set_defaults(run=lambda arguments: _interpolate(whole, arguments))

    parts = commands.add_parser(
        "plan",
        help="prepare the same for several machines",
        description="Write OUTPUT.vfi, the folder with the plan and, later, its finished chunks. "
        "vfi run makes chunks on any machine that sees the folder and INPUT, vfi merge writes OUTPUT.",
    )
    add_files(parts)
    add_wishes(parts)
    parts.set_defaults(run=lambda arguments: _plan(parts, arguments))

    run = commands.add_parser(
        "run",
        help="make chunks of a plan",
        description="Make chunks of a plan; those that are finished are left as they are. In a Slurm array: "
        "vfi run OUTPUT.vfi --chunk $SLURM_ARRAY_TASK_ID",
    )
    run.add_argument("plan", metavar="PLAN", type=file, help="folder that vfi plan has written")
    run.add_argument(
        "--chunk",
        type=_chunks,
        metavar="I",
        help="which, counted from 0: 3, 0-9 or 0,4,7-9 (default: all that are missing)",
    )
    run.add_argument("--device", help="where the model runs: cuda:1 (default: as planned)")
    add_hwaccel(run, None)
    run.set_defaults(run=lambda arguments: _run(run, arguments))

    merge = commands.add_parser(
        "merge",
        help="write the video from the finished chunks of a plan",
        description="Write OUTPUT from the finished chunks and INPUT's sound, and delete the work folder.",
    )
    merge.add_argument("plan", metavar="PLAN", type=file, help="folder that vfi plan has written")
    merge.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    merge.set_defaults(run=_merge)


def add_reports(command: argparse.ArgumentParser) -> None:
    """What is told of the work."""
    command.add_argument(
        "--json", action="store_true", help="tell what happens as lines of JSON on stdout: docs/video.md"
    )
    command.add_argument("--profile", action="store_true", help="tell at the end where the time went")


def _interpolate(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import models, video

    options = video.Options(**wishes(parser, arguments))
    place = device(parser, arguments.device, here=arguments.engine == "local")

    def model() -> Interpolator:
        return models.create(options.model, checkpoint=options.checkpoint, **options.model_options)

    interpolate(arguments, options, model, place)
    return 0


def interpolate(
    arguments: argparse.Namespace,
    options: Options,
    model: Callable[[], Interpolator],
    place: torch.device,
) -> None:
    """One video from INPUT to OUTPUT, with all that is told of it.

    Raises:
        Failure: what goes wrong, in one line.
    """
    from . import video

    with Feedback(arguments.json, arguments.profile) as feedback, told(feedback.left, LESS_MEMORY):
        frames = video.interpolate(
            arguments.input,
            arguments.output,
            model(),
            options=options,
            device=place,
            engine=arguments.engine,
            overwrite=arguments.overwrite,
            resume=arguments.resume,
            progress=feedback.progress,
            warn=feedback.warn,
            started=feedback.start,
            profile=feedback.profile,
        )
        feedback.done(frames)


def _plan(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import models, video

    options = video.Options(**wishes(parser, arguments))
    model = models.create(options.model, checkpoint=options.checkpoint, **options.model_options)
    with Feedback() as feedback, told():
        plan = video.jobs.begin(
            arguments.input,
            arguments.output,
            options,
            model,
            device=device(parser, arguments.device, here=False),
            overwrite=arguments.overwrite,
            warn=feedback.warn,
        )
        if late := sum(chunk.seek is None for chunk in plan.chunks[1:]):
            feedback.warn(
                f"{plan.source}: {late} of {len(plan.chunks)} chunks have to decode all that lies before "
                "them; of an .mkv copy, with a key frame every few seconds, they need not"
            )
    print(f"{plan.folder}: {len(plan.chunks)} chunks, 0 to {len(plan.chunks) - 1}")
    return 0


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import video

    with told(less=f"vfi plan {LESS_MEMORY}"):
        plan = video.plan.read(arguments.plan)
        count = len(plan.chunks)
        wanted = list(range(count)) if arguments.chunk is None else arguments.chunk
        if beyond := [index for index in wanted if index >= count]:
            parser.error(f"argument --chunk: there are chunks 0 to {count - 1}; got {beyond[0]}")
        place = device(parser, arguments.device or plan.options.device)
        if place.type != plan.options.device:
            parser.error(f"argument --device: the plan is for {plan.options.device}; got {arguments.device}")
        if arguments.hwaccel:
            plan = replace(plan, options=replace(plan.options, hwaccel=arguments.hwaccel))
        with Feedback() as feedback:
            try:
                video.jobs.run(
                    plan, wanted, device=place, progress=lambda done: feedback.progress(done, None)
                )
            except video.Busy as busy:
                if arguments.chunk is not None:
                    raise
                feedback.warn(f"{busy}; it is left to it")
    print(f"{plan.folder}: {count - len(plan.missing())} of {count} chunks are there")
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from . import video

    with told():
        plan = video.plan.read(arguments.plan)
        frames = video.jobs.merge(plan, overwrite=arguments.overwrite, warn=warn)
    print(f"{plan.target}: {frames} frames")
    return 0


@contextmanager
def told(left: Callable[[], str] = str, less: str = "") -> Iterator[None]:
    """To what ends the work inside is added what is left to go on with, and what needs less memory where that
    was all."""
    try:
        yield
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(left()) from stop
    except SystemExit as stop:
        if stop.code != TERMINATED:
            raise
        raise Failure(f"terminated; {left() or 'no output was written'}", code=TERMINATED) from stop
    except Exception as error:
        hints = [left(), less if out_of_memory(error) else ""]
        raise failure_of(error, "; ".join(filter(None, hints))) from error


def _chunks(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        if not CHUNKS.fullmatch(part):
            raise argparse.ArgumentTypeError(f"expected 3, 0-9 or 0,4,7-9; got {text!r}")
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return sorted(set(found))
