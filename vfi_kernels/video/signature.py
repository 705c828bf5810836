"""What a finished output was made of, noted at the file itself: its work folder is gone by then."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress

from . import sequences
from ._av import VideoError
from .options import FREE
from .plan import Plan

__all__ = ["ATTRIBUTE", "UnknownOrigin", "frames_of", "sign"]

# An extended attribute; the first image has it where there are many.
ATTRIBUTE = "user.vfi_kernels"


class UnknownOrigin(VideoError):
    """An output does not say what it was made of."""


def sign(plan: Plan, frames: int) -> None:
    """Notes it, where the system and the file system can."""
    with suppress(OSError, AttributeError):
        os.setxattr(sequences.written(plan.target)[0], ATTRIBUTE, f"{_digest(plan)} {frames}".encode())


def frames_of(plan: Plan) -> int:
    """How many frames an output has that was made by this plan.

    Raises:
        UnknownOrigin: nobody knows.
        VideoError: it was made by another one.
    """
    try:
        digest, frames = os.getxattr(sequences.written(plan.target)[0], ATTRIBUTE).decode().split()
    except (OSError, AttributeError) as error:
        unknown = "exists already, and does not say what it was made of"
        raise UnknownOrigin(f"{plan.target}: {unknown}; --overwrite replaces it") from error
    if digest != _digest(plan):
        other = "was made otherwise (another source, options or weights)"
        raise VideoError(f"{plan.target}: {other}; --overwrite replaces it")
    return int(frames)


def _digest(plan: Plan) -> str:
    """Changes with whatever changes the output."""
    wishes = {name: value for name, value in plan.options.to_json().items() if name not in FREE}
    about = [str(plan.source), plan.size, plan.modified, wishes]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
