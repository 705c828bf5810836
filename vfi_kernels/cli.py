"""The command line: `vfi interpolate`, `vfi compare`, and of `cli_models` `vfi models` and `vfi convert`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Errors and warnings: one line each, on stderr.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

from . import __version__, cli_models

__all__ = ["main"]

# "http://host/a.mp4", "concat:a|b", "pipe:1"; a single letter is a Windows drive.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class Failure(Exception):
    """Something that ends the command with one line on stderr and exit code 1."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and line."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; never raises for what the user did.

    Args:
        arguments: without the program's name; `sys.argv`'s where None.

    Returns:
        The exit code.
    """
    parser = _parser()
    if threading.current_thread() is threading.main_thread():
        # Else a polite kill would leave the unfinished file behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        options = parser.parse_args(arguments)
        return options.run(options)
    except SystemExit as stop:  # argparse: --help or wrong usage
        return stop.code if isinstance(stop.code, int) else 1
    except KeyboardInterrupt:
        return _fail("interrupted; no output was written", 130)
    except (Failure, ImportError, OSError, MemoryError, RuntimeError) as error:
        return _fail(str(error).partition("\n")[0] or type(error).__name__)


def _fail(message: str, code: int = 1) -> int:
    print("vfi: error:", " ".join(message.split()), file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vfi", description="Video frame interpolation: more frames a second, from files to files."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    command = commands.add_parser(
        "interpolate",
        help="write a video with more frames a second",
        description="Write INPUT to OUTPUT with more frames a second. Sound is copied; the duration stays.",
    )
    command.add_argument("input", metavar="INPUT", type=_file, help="video file")
    command.add_argument(
        "output", metavar="OUTPUT", type=_file, help="video file to write; its suffix names the container"
    )
    rate = command.add_mutually_exclusive_group()
    rate.add_argument("--factor", type=_ratio, metavar="X", help="output rate over input rate (default: 2)")
    rate.add_argument(
        "--fps", type=_ratio, metavar="R", help="output frames a second: 60, 23.976, 30000/1001"
    )
    command.add_argument(
        "--vfr",
        action="store_true",
        help="keep the input's own times, with X - 1 frames evenly between two (X of --factor, whole)",
    )
    command.add_argument(
        "--slow-motion",
        type=_ratio,
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
        "--checkpoint", metavar="FILE", type=_file, help="weights of the model, as its authors released them"
    )
    command.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    command.add_argument(
        "--codec", default="libx264", help="video encoder; ffv1 loses nothing (default: %(default)s)"
    )
    command.add_argument(
        "--crf",
        type=_quality,
        default=16,
        help="quality, 0 (best) to 51, of encoders that have it (default: %(default)s)",
    )
    command.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    command.set_defaults(run=lambda options: _interpolate(command, options))

    command_compare = commands.add_parser(
        "compare",
        help="PSNR and SSIM of two videos",
        description="Score A against B, 8-bit RGB, frame by frame. Means are over the frames that differ.",
    )
    command_compare.add_argument("a", metavar="A", type=_file, help="video file")
    command_compare.add_argument("b", metavar="B", type=_file, help="video file")
    command_compare.add_argument(
        "--json", action="store_true", help="print JSON; the PSNR of equal frames is null"
    )
    command_compare.set_defaults(run=_compare)
    cli_models.add_commands(commands, _file)
    return parser


def _file(text: str) -> Path:
    if URL.match(text):
        raise argparse.ArgumentTypeError(
            f"only files are read and written; got {text!r} (a file of that name is ./{text})"
        )
    return Path(text)


def _ratio(text: str) -> Fraction:
    from .video.timing import parse_ratio

    try:
        return parse_ratio(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _share(text: str) -> float:
    value = _ratio(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0 and at most 1; got {text!r}")
    return float(value)


def _quality(text: str) -> int:
    if not text.isdecimal() or int(text) > 51:
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 51; got {text!r}")
    return int(text)


def _interpolate(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from . import models, video

    name = cli_models.model_for(parser, options.model, options.checkpoint)
    if options.input.resolve() == options.output.resolve():
        parser.error(f"INPUT and OUTPUT are the same file: {options.output}")
    if options.slow_motion_audio and not options.slow_motion:
        parser.error("argument --slow-motion-audio: needs --slow-motion")
    if options.vfr and options.fps:
        parser.error("argument --fps: not allowed with argument --vfr, which keeps the input's times")
    if options.vfr and options.factor and options.factor.denominator != 1:
        parser.error(f"argument --factor: must be whole with --vfr; got {options.factor}")
    device = _device(parser, options.device)
    with _Progress() as progress:
        try:
            video.interpolate(
                options.input,
                options.output,
                models.create(name, checkpoint=options.checkpoint),
                factor=options.factor,
                fps=options.fps,
                slow_motion=options.slow_motion or 1,
                slow_motion_audio=options.slow_motion_audio or "drop",
                vfr=options.vfr,
                scene_cuts=not options.no_scene_cuts,
                scene_threshold=options.scene_threshold or video.scenes.THRESHOLD,
                duplicates="retime" if options.retime_duplicates else "keep",
                device=device,
                codec=options.codec,
                crf=options.crf,
                overwrite=options.overwrite,
                progress=progress,
                warn=lambda message: print("vfi: warning:", message, file=sys.stderr),
            )
        except (video.VideoError, models.TimestepError) as error:
            raise Failure(str(error)) from error
    return 0


def _device(parser: argparse.ArgumentParser, name: str) -> object:
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        parser.error(f"argument --device: expected cpu, cuda or cuda:N; got {name!r}")
    if device.type == "meta":
        parser.error("argument --device: meta computes nothing")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Failure(f"device {name!r} is not available: {str(error).splitlines()[0]}") from error
    return device


class _Progress:
    """A bar with rate and time left on a terminal, nothing elsewhere."""

    def __enter__(self) -> Callable[[int, int | None], None]:
        self._bar = None
        return self._update if sys.stderr.isatty() else lambda done, total: None

    def _update(self, done: int, total: int | None) -> None:
        if self._bar is None:
            try:
                from tqdm import tqdm
            except ImportError as error:
                raise ImportError("the progress bar needs tqdm: pip install 'vfi-kernels[video]'") from error
            self._bar = tqdm(total=total, unit=" frames", file=sys.stderr, dynamic_ncols=True)
        self._bar.update(done - self._bar.n)

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _compare(options: argparse.Namespace) -> int:
    from . import video

    try:
        scores, count_a, count_b = video.compare(options.a, options.b)
    except video.VideoError as error:
        raise Failure(str(error)) from error
    mean = video.mean_score(scores)
    same = sum(score.same for score in scores)
    if options.json:
        rows = [{"psnr": None if s.same else s.psnr, "ssim": s.ssim} for s in scores]
        report = {
            "frames": rows,
            "mean": mean and {"psnr": mean.psnr, "ssim": mean.ssim},
            "differing": len(scores) - same,
            "same": same,
            "frames_a": count_a,
            "frames_b": count_b,
        }
        print(json.dumps(report, indent=1))
        return 0
    print(f"{'frame':>6} {'PSNR dB':>8} {'SSIM':>7}")
    for number, score in enumerate(scores):
        print(f"{number:6} {'same' if score.same else format(score.psnr, '.2f'):>8} {score.ssim:7.4f}")
    if mean:
        differ = f"over the {len(scores) - same} frames that differ; {same} are the same"
        print(f"{'mean':>6} {mean.psnr:8.2f} {mean.ssim:7.4f}  {differ}")
    else:
        print(f"all {same} frames are the same")
    if count_a != count_b:
        print(
            f"compared the first {len(scores)} frames: {options.a} has {count_a}, {options.b} has {count_b}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
