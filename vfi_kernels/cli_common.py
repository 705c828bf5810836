"""What the commands share: errors, and how arguments are read."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

__all__ = ["Failure", "device", "file", "first_line", "ratio", "warn", "whole"]

# "http://host/a.mp4", "concat:a|b", "pipe:1"; a single letter is a Windows drive.
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")


class Failure(Exception):
    """Something that ends the command with one line on stderr, details below it, and exit code 1."""

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = details


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

    try:
        return parse_ratio(text)
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


def device(parser: argparse.ArgumentParser, name: str) -> object:
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
