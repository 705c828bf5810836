"""What decides the output of the commands that make videos: their arguments, and `video.Options` of them."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import Any

from . import cli_models
from .cli_common import file, rate, ratio, warn, whole

__all__ = ["add_files", "add_hwaccel", "add_wishes", "wishes"]

# Pixels of a frame above which we have RIFE estimate flow at half of the size. Its authors recommend that for
# 4K, and name no threshold.
LARGE = 2560 * 1440

# Where H.264 has no place.
DEFAULT_CODECS = {".webm": "libvpx-vp9"}


def add_files(command: argparse.ArgumentParser, output: str | None = None) -> None:
    """INPUT and OUTPUT; `output` "?" lets the latter be left out."""
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


def add_wishes(command: argparse.ArgumentParser) -> None:
    """What decides the output."""
    command.add_argument(
        "--input-fps", type=rate, metavar="R", help="images a second, where INPUT is images (default: 25)"
    )
    speed = command.add_mutually_exclusive_group()
    speed.add_argument("--factor", type=ratio, metavar="X", help="output rate over input rate (default: 2)")
    speed.add_argument(
        "--fps",
        type=rate,
        metavar="R",
        help="output frames a second: 60, 12.5, 30000/1001; 23.976, 29.97, 59.94 and their like are NTSC's "
        "24000/1001, 30000/1001, 60000/1001",
    )
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
        choices=("drop", "keep", "stretch"),
        help="leave the sound out (default), copy it at its own speed, or stretch it as well, at its pitch",
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
        help="make runs of 2 to 4 equal frames one that lasts as long, at even distances in telecined film",
    )
    cli_models.add_model(command, file)
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    command.add_argument(
        "--codec",
        help="video encoder; ffv1 loses nothing (default: libx264, for .webm libvpx-vp9, for images theirs)",
    )
    command.add_argument(
        "--crf",
        type=whole(0),
        metavar="N",
        help="quality, 0 (best) to 51, or 63 for AV1 and VP9 (default: 16)",
    )
    command.add_argument(
        "--preset",
        metavar="NAME",
        help="the encoder's speed: slow, fast (libx264, libx265), 0 to 13 (libsvtav1), p1 to p7 (nvenc)",
    )
    command.add_argument(
        "--batch",
        type=whole(1, 1024),
        metavar="N",
        help="frames made at once between two others (default: 8)",
    )
    command.add_argument(
        "--tile",
        type=whole(64, 16384),
        metavar="SIZE",
        help="make frames in overlapping squares of so many pixels, where whole ones need too much memory",
    )
    add_hwaccel(command, "none")
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
    command.add_argument("--overwrite", action="store_true", help="replace what exists")


def add_hwaccel(command: argparse.ArgumentParser, default: str | None) -> None:
    """What decodes; None is what was planned."""
    command.add_argument(
        "--hwaccel",
        type=_hwaccel,
        default=default,
        metavar="NAME",
        help="what decodes, by FFmpeg's name: cuda, cuda:1, auto, none; the output is the same "
        f"(default: {default or 'as planned'})",
    )


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
    model = cli_models.model_for(parser, arguments.model, arguments.checkpoint, arguments.device)
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
        "codec": arguments.codec or DEFAULT_CODECS.get(arguments.output.suffix.lower()),
        "crf": arguments.crf,
        "preset": arguments.preset,
        "hwaccel": arguments.hwaccel,
        "keep_going": arguments.keep_going,
        "force": arguments.force,
        "batch": arguments.batch,
        "tile": arguments.tile,
        "chunk_seconds": arguments.chunk_seconds,
        "model": model,
        "model_options": cli_models.options_for(parser, model, arguments, arguments.checkpoint),
        "checkpoint": arguments.checkpoint and str(arguments.checkpoint.resolve()),
    }
    codec = video.sequences.codec_of(arguments.output) or given["codec"] or video.Options.codec
    crf = video.Options.crf if arguments.crf is None else arguments.crf
    if arguments.crf is not None and not video.encoding.has_quality(codec):
        parser.error(f"argument --crf: {codec} has none; got {crf}")
    try:
        video.encoding.check_quality(codec, crf, arguments.preset)
    except ValueError as error:
        parser.error(f"argument --{error}")
    found = {name: value for name, value in given.items() if value is not None}
    return found | {"model_options": found["model_options"] | _scale(arguments, found)}


def _scale(arguments: argparse.Namespace, found: dict[str, Any]) -> dict[str, float]:
    """For a model that estimates flow at a scale that nobody said: half the size, where frames are large."""
    from . import video
    from .models import registry

    if "scale" not in registry.options(found["model"]).keys() - found["model_options"] or arguments.tile:
        return {}
    # What is wrong with the source or the options is told where they are used.
    with suppress(video.VideoError, ValueError):
        with video.sources.open_source(arguments.input, video.Options(**found)) as source:
            large = source.first.width * source.first.height > LARGE
        if large:
            warn(
                f"{arguments.input}: large frames, flow is estimated at half of their size; "
                "--model-option scale=1 for the whole"
            )
            return {"scale": 0.5}
    return {}


def _hwaccel(text: str) -> str:
    from .video import hardware

    try:
        hardware.check(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _share(text: str) -> float:
    value = ratio(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1; got {text!r}")
    return float(value)
