"""What the commands share: errors, and how arguments are read."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TextIO

__all__ = [
    "BUG",
    "INTERRUPTED",
    "TERMINATED",
    "Failure",
    "device",
    "event",
    "failure_of",
    "file",
    "first_line",
    "out_of_memory",
    "rate",
    "ratio",
    "tell",
    "warn",
    "whole",
]

# "http://host/a.mp4", "concat:a|b", "pipe:1"; a single letter is a Windows drive.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")

# Exit codes. BSD's sysexits.h calls the first EX_SOFTWARE.
BUG, INTERRUPTED, TERMINATED = 70, 128 + signal.SIGINT, 128 + signal.SIGTERM

# What torch says of the CPU's memory, in an error of no kind of its own.
NO_MEMORY = "can't allocate memory"


class Failure(Exception):
    """Something that ends the command with one line on stderr, details below it, and an exit code."""

    def __init__(
        self, message: str, details: Sequence[str] = (), code: int = 1, program: str = "vfi"
    ) -> None:
        super().__init__(" ".join(message.split()))
        self.details, self.code, self.program = details, code, program


def failure_of(error: Exception, hint: str = "") -> Failure:
    """What is told of an error, and a hint what to do. Our own kinds of errors, and those of files and of the
    machine, say what is wrong in one line; any other is a mistake in the program, whose traceback is wanted.
    """
    if isinstance(error, Failure):
        return error
    words, code = first_line(error), 1
    of_the_machine = isinstance(error, (ImportError, OSError)) or out_of_memory(error)
    ours = type(error).__module__.startswith(f"{__package__}.")
    if not (ours or of_the_machine):
        words = f"{type(error).__name__}: {words}; please report this, with all the lines above"
        code = BUG
    failure = Failure("; ".join(filter(None, [words, hint])), code=code)
    failure.__cause__ = error
    return failure


def out_of_memory(error: Exception) -> bool:
    """Whether it is memory that the machine, or its GPU, has not."""
    import torch

    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or NO_MEMORY in first_line(error)


def tell(failure: Failure) -> None:
    """A failure on stderr: its line, what follows it, and above it the traceback where it is our mistake."""
    if failure.code == BUG:
        traceback.print_exception(failure.__cause__)
    print(f"{failure.program}: error: {failure}", file=sys.stderr)
    for line in failure.details:
        print(line, file=sys.stderr)


def event(kind: str, to: TextIO | None = None, **values: Any) -> None:
    """A line of JSON for programs, on stdout or `to`."""
    print(json.dumps({"event": kind, **values}), file=to, flush=True)


def first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def warn(message: str) -> None:
    print("vfi: warning:", message, file=sys.stderr)


def file(text: str) -> Path:
    if URL.match(text):
        raise argparse.ArgumentTypeError(
            f"only files are read and written; got {text!r} (a file of that name is ./{text})"
        )
    return Path(text)


def ratio(text: str) -> Fraction:
    from .video.timing import parse_ratio

    return _parsed(text, parse_ratio)


def rate(text: str) -> Fraction:
    from .video.timing import parse_rate

    return _parsed(text, parse_rate)


def _parsed(text: str, parse: Callable[[str], Fraction]) -> Fraction:
    try:
        return parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Reads whole numbers of a range."""
    wanted = f"from {least} on" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"expected a whole number {wanted}; got {text!r}")
        return int(text)

    return read


def device(parser: argparse.ArgumentParser, name: str, here: bool = True) -> object:
    """A device of this machine, or, not `here`, of any."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        parser.error(f"argument --device: expected cpu, cuda or cuda:N; got {name!r}")
    if device.type == "meta":
        parser.error("argument --device: meta computes nothing")
    if not here:
        return device
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise Failure(f"device {name!r} is not available: {str(error).splitlines()[0]}") from error
    return device
