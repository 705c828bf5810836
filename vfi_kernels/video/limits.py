"""What a header may promise before somebody has to say that it is meant."""

from __future__ import annotations

from fractions import Fraction

from ._av import VideoError

__all__ = ["MAX_FRAMES", "MAX_PIXELS", "UNLIMITED", "check_frames", "check_pixels"]

# A picture and what a model makes of it must fit into memory; 8K is half of this.
MAX_PIXELS = 8192 * 8192
UNLIMITED = 2**31 - 1  # FFmpeg's own

# 46 hours at 60 frames a second.
MAX_FRAMES = 10_000_000


def check_pixels(name: object, width: int, height: int, limit: int = MAX_PIXELS) -> None:
    """
    Raises:
        VideoError: the picture is larger than the limit.
    """
    if width * height > limit:
        raise VideoError(f"{name}: {width}x{height} is more than {limit} pixels; --force lifts the limit")


def check_frames(name: object, frames: int, duration: Fraction) -> None:
    """
    Raises:
        VideoError: the output would have too many frames.
    """
    if frames > MAX_FRAMES:
        raise VideoError(
            f"{name}: {float(duration):.0f} s would become {frames} frames, more than {MAX_FRAMES}; "
            "--force lifts the limit"
        )
