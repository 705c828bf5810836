"""Opening what is to be interpolated: a video, or images."""

from __future__ import annotations

from pathlib import Path

from . import hardware, images
from ._av import VideoError
from .hardware import HWAccel
from .images import Images
from .options import Options
from .reading import Reader

__all__ = ["Source", "identity", "open_source"]

Source = Reader | Images


def open_source(path: Path, options: Options, *, for_frames: bool = False) -> Source:
    """
    Args:
        path: a video, a folder of images or a pattern.
        options: how.
        for_frames: all are wanted, in a thread beside others that are at work: `options.hwaccel` decodes.
            Else one is looked at, which the CPU does also on a machine that only plans or merges.

    Raises:
        VideoError: as `Reader` and `Images`.
    """
    if images.is_images(path):
        return Images(path, rate=options.source_fps, keep_going=options.keep_going, force=options.force)

    def video(device: HWAccel | None) -> Reader:
        return Reader(
            path,
            as_stamped=options.vfr,
            keep_going=options.keep_going,
            force=options.force,
            alone=not for_frames,
            device=device,
        )

    return hardware.opened_by(options.hwaccel if for_frames else "none", path, video)


def identity(path: Path) -> tuple[int, int]:
    """Bytes, and when it was last written in nanoseconds; of images their sum and the latest.

    Raises:
        VideoError: there is no such file.
    """
    files = [path]
    if images.is_images(path):
        files = [file for file in images.files_of(path, gaps=True) if file.exists()]
    try:
        states = [file.stat() for file in files]
    except OSError as error:
        raise VideoError(f"{path}: no such file") from error
    return sum(state.st_size for state in states), max(state.st_mtime_ns for state in states)
