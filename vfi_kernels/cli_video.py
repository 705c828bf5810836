"""The commands that make videos: `vfi interpolate`, and in parts `vfi plan`, `vfi run` and `vfi merge`."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from . import cli_models
from .cli_common import Failure, device, file, first_line, ratio, warn
from .cli_feedback import Feedback

__all__ = ["add_commands", "add_wishes", "told", "wishes"]

CHUNKS = re.compile(r"\d{1,6}(-\d{1,6})?")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds them to the command line."""
    whole = commands.add_parser(
        "interpolate",
        help="write a video with more frames a second",
        description="Write INPUT to OUTPUT with more frames a second. Sound is copied; the duration stays. "
        "Finished chunks of about ten seconds survive whatever ends the command.",
    )
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
    whole.add_argument(
        "--json", action="store_true", help="tell what happens as lines of JSON on stdout: docs/video.md"
    )
    whole.add_argument("--profile", action="store_true", help="tell at the end where the time went")
    whole.set_defaults(run=lambda arguments: _interpolate(whole, arguments))

    parts = commands.add_parser(
        "plan",
        help="prepare the same for several machines",
        description="Write OUTPUT.vfi, the folder with the plan and, later, its finished chunks. "
        "vfi run makes chunks on any machine that sees the folder and INPUT, vfi merge writes OUTPUT.",
    )
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
    run.set_defaults(run=lambda arguments: _run(run, arguments))

    merge = commands.add_parser(
        "merge",
        help="write the video from the finished chunks of a plan",
        description="Write OUTPUT from the finished chunks and INPUT's sound, and delete the work folder.",
    )
    merge.add_argument("plan", metavar="PLAN", type=file, help="folder that vfi plan has written")
    merge.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    merge.set_defaults(run=_merge)


def add_wishes(command: argparse.ArgumentParser, output: str | None = None) -> None:
    """What decides the output; `output` "?" lets its name be left out."""
    command.add_argument(
        "input", metavar="INPUT", type=file, help="video file, folder of images, or pattern like %%04d.png"
    )
    command.add_argument(
        "output",
        metavar="OUTPUT",
        type=file,
        nargs=output,
        help="video file to write, whose suffix names the container; a pattern or a folder for images",
    )
    command.add_argument(
        "--input-fps", type=ratio, metavar="R", help="images a second, where INPUT is images (default: 25)"
    )
    rate = command.add_mutually_exclusive_group()
    rate.add_argument("--factor", type=ratio, metavar="X", help="output rate over input rate (default: 2)")
    rate.add_argument("--fps", type=ratio, metavar="R", help="output frames a second: 60, 23.976, 30000/1001")
    command.add_argument(
        "--vfr",
        action="store_true",
        help="keep the input's own times, with X - 1 frames evenly between two (X of --factor, whole)",
    )
    command.add_argument(
        "--slow-motion",
        type=ratio,
        metavar="X",
        help="last X times longer, at the input's rate unless --factor or --fps gives another",
    )
    command.add_argument(
        "--slow-motion-audio",
        choices=("drop", "keep"),
        help="leave the sound out (default), or copy it at its own speed; it cannot be stretched yet",
    )
    cuts = command.add_mutually_exclusive_group()
    cuts.add_argument(
        "--scene-threshold",
        type=_share,
        metavar="T",
        help="what a cut scores at least, above 0 to 1; lower finds more (default: 0.3)",
    )
    cuts.add_argument(
        "--no-scene-cuts", action="store_true", help="interpolate across cuts instead of holding the frame"
    )
    command.add_argument(
        "--retime-duplicates",
        action="store_true",
        help="make runs of 2 to 4 equal frames one that lasts as long, so that movement goes on through them",
    )
    command.add_argument(
        "--model",
        metavar="NAME",
        help="one of those that vfi models lists (default: flow, or what --checkpoint fits)",
    )
    command.add_argument(
        "--checkpoint", metavar="FILE", type=file, help="weights of the model, as its authors released them"
    )
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    command.add_argument(
        "--codec", help="video encoder; ffv1 loses nothing (default: libx264; images have their own)"
    )
    command.add_argument(
        "--crf",
        type=_quality,
        default=16,
        help="quality, 0 (best) to 51, of encoders that have it (default: %(default)s)",
    )
    command.add_argument(
        "--batch", type=_count, metavar="N", help="frames made at once between two others (default: 8)"
    )
    command.add_argument(
        "--tile",
        type=_side,
        metavar="SIZE",
        help="make frames in overlapping squares of so many pixels, where whole ones need too much memory",
    )
    command.add_argument(
        "--chunk-seconds",
        type=ratio,
        metavar="S",
        help="how much of INPUT one chunk holds, about (default: 10)",
    )
    command.add_argument(
        "--keep-going",
        action="store_true",
        help="hold the last good frame where one cannot be read, instead of stopping",
    )
    command.add_argument(
        "--force", action="store_true", help="accept frames of any size and outputs of any length"
    )
    command.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")


def wishes(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of `video.Options` that the arguments name."""
    from . import video

    if arguments.input.resolve() == arguments.output.resolve():
        parser.error(f"INPUT and OUTPUT are the same file: {arguments.output}")
    if arguments.slow_motion_audio and not arguments.slow_motion:
        parser.error("argument --slow-motion-audio: needs --slow-motion")
    if arguments.vfr and arguments.fps:
        parser.error("argument --fps: not allowed with argument --vfr, which keeps the input's times")
    if arguments.vfr and arguments.factor and arguments.factor.denominator != 1:
        parser.error(f"argument --factor: must be whole with --vfr; got {arguments.factor}")
    if arguments.codec and video.sequences.codec_of(arguments.output):
        parser.error(f"argument --codec: {arguments.output} has its own")
    if arguments.input_fps and not video.images.is_images(arguments.input):
        parser.error(f"argument --input-fps: needs images; {arguments.input} has its own rate")
    given = {
        "factor": arguments.factor,
        "fps": arguments.fps,
        "slow_motion": arguments.slow_motion,
        "slow_motion_audio": arguments.slow_motion_audio,
        "vfr": arguments.vfr,
        "scene_cuts": not arguments.no_scene_cuts,
        "scene_threshold": arguments.scene_threshold,
        "duplicates": "retime" if arguments.retime_duplicates else "keep",
        "source_fps": arguments.input_fps,
        "codec": arguments.codec,
        "crf": arguments.crf,
        "keep_going": arguments.keep_going,
        "force": arguments.force,
        "batch": arguments.batch,
        "tile": arguments.tile,
        "chunk_seconds": arguments.chunk_seconds,
        "model": cli_models.model_for(parser, arguments.model, arguments.checkpoint),
        "checkpoint": arguments.checkpoint and str(arguments.checkpoint.resolve()),
    }
    return {name: value for name, value in given.items() if value is not None}


def _interpolate(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import models, video

    given = wishes(parser, arguments)
    place = device(parser, arguments.device)
    with Feedback(arguments.json, arguments.profile) as feedback, told(arguments.output):
        frames = video.interpolate(
            arguments.input,
            arguments.output,
            models.create(given["model"], checkpoint=arguments.checkpoint),
            options=video.Options(**given),
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
    return 0


def _plan(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import models, video

    given = wishes(parser, arguments)
    model = models.create(given["model"], checkpoint=arguments.checkpoint)
    with Feedback() as feedback, told():
        plan, _ = video.jobs.begin(
            arguments.input,
            arguments.output,
            video.Options(**given),
            model,
            device=arguments.device,
            overwrite=arguments.overwrite,
            warn=feedback.warn,
        )
    print(f"{plan.folder}: {len(plan.chunks)} chunks, 0 to {len(plan.chunks) - 1}")
    return 0


def _run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    from . import video

    with told():
        plan = video.plan.read(arguments.plan)
        count = len(plan.chunks)
        wanted = list(range(count)) if arguments.chunk is None else arguments.chunk
        if beyond := [index for index in wanted if index >= count]:
            parser.error(f"argument --chunk: there are chunks 0 to {count - 1}; got {beyond[0]}")
        place = device(parser, arguments.device or plan.options.device)
        if place.type != plan.options.device:
            parser.error(f"argument --device: the plan is for {plan.options.device}; got {arguments.device}")
        with Feedback() as feedback:
            video.jobs.run(plan, wanted, device=place, progress=lambda done: feedback.progress(done, None))
    return 0


def _merge(arguments: argparse.Namespace) -> int:
    from . import video

    with told():
        plan = video.plan.read(arguments.plan)
        video.jobs.check_target(plan.source, plan.target, arguments.overwrite)
        frames = video.muxing.merge(plan, warn)
    print(f"{plan.target}: {frames} frames")
    return 0


@contextmanager
def told(target: Path | None = None) -> Iterator[None]:
    """Errors of what runs inside as one line; what can be gone on with is named in it."""
    from . import models, video

    def left() -> str:
        return video.jobs.left(target) if target else ""

    try:
        yield
    except (video.VideoError, models.TimestepError, OSError, MemoryError, RuntimeError) as error:
        raise Failure("; ".join(filter(None, [first_line(error), left()]))) from error
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(left()) from stop
    except SystemExit:
        if words := left():
            print(f"vfi: terminated; {words}", file=sys.stderr)
        raise


def _chunks(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        if not CHUNKS.fullmatch(part):
            raise argparse.ArgumentTypeError(f"expected 3, 0-9 or 0,4,7-9; got {text!r}")
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return sorted(set(found))


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 1024; got {text!r}")
    return int(text)


def _side(text: str) -> int:
    if not text.isdecimal() or not 64 <= int(text) <= 16384:
        raise argparse.ArgumentTypeError(f"expected a whole number from 64 to 16384; got {text!r}")
    return int(text)


def _share(text: str) -> float:
    value = ratio(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1; got {text!r}")
    return float(value)


def _quality(text: str) -> int:
    if not text.isdecimal() or int(text) > 51:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 51; got {text!r}")
    return int(text)
