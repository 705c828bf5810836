"""The command line: `vfi compare`, and the commands of the modules `cli_*`.

Exit codes: 0 done, 1 failed, 2 wrong usage, 70 a mistake in the program, 130 interrupted, 143 terminated.
Errors and warnings: one line each, on stderr; only what a folder should hold follows below, and above a
mistake of the program its traceback. With --json the last line of stdout is the result or the error.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from typing import NoReturn

from . import __version__, cli_batch, cli_eval, cli_inspect, cli_models, cli_train, cli_video
from .cli_common import INTERRUPTED, TERMINATED, Failure, event, failure_of, file, tell

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    intermixed = False
    """Whether what has no name may stand between options: argparse looks for all of it in one place."""

    def parse_known_args(
        self, args: list[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if not self.intermixed:
            return super().parse_known_args(args, namespace)
        self.intermixed = False  # older versions of what follows come back here
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self.intermixed = True

    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's usage and line."""
        raise Failure(f"{message} (see {self.prog} --help)", code=2, program=self.prog)


def main(arguments: list[str] | None = None) -> int:
    """Run one command; never raises for what the user did.

    Args:
        arguments: without the program's name; `sys.argv`'s where None.

    Returns:
        The exit code.
    """
    parser = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    options = argparse.Namespace()
    if threading.current_thread() is threading.main_thread():
        # Else a polite kill would leave the unfinished file behind.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        options = parser.parse_args(arguments)
        return options.run(options)
    except SystemExit as stop:
        if stop.code != TERMINATED:  # argparse: --help
            return stop.code if isinstance(stop.code, int) else 1
        failure = Failure("terminated", code=TERMINATED)
    except KeyboardInterrupt as stop:
        failure = Failure(f"interrupted; {str(stop) or 'no output was written'}", code=INTERRUPTED)
    except Exception as error:
        failure = failure_of(error)
    if getattr(options, "json", "--json" in arguments) is True:
        event("error", message=str(failure), code=failure.code)
    tell(failure)
    return failure.code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="vfi", description="Video frame interpolation: more frames a second, from files to files."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    cli_video.add_commands(commands)
    cli_batch.add_commands(commands)
    cli_inspect.add_commands(commands)
    command_compare = commands.add_parser(
        "compare",
        help="PSNR and SSIM of two videos",
        description="Score A against B, 8-bit RGB, frame by frame. Means are over the frames that differ.",
    )
    command_compare.add_argument("a", metavar="A", type=file, help="video file")
    command_compare.add_argument("b", metavar="B", type=file, help="video file")
    command_compare.add_argument(
        "--json", action="store_true", help="print JSON; the PSNR of equal frames is null"
    )
    command_compare.set_defaults(run=_compare)
    cli_models.add_commands(commands, file)
    cli_train.add_commands(commands)
    cli_eval.add_commands(commands)
    return parser


def _compare(options: argparse.Namespace) -> int:
    from . import video

    scores, count_a, count_b = video.compare(options.a, options.b)
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
