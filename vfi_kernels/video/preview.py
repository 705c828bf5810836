"""How good it will be: every frame of the source made from its neighbours, beside the true one."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from . import scenes
from ._av import VideoError, av
from .colour import Converter, to_image, to_tensor
from .cutting import schedule_for
from .encoding import Encoding, Writer, complete_or_absent
from .metrics import psnr
from .options import Options
from .schedule import Span
from .sources import Source, open_source

__all__ = ["Judged", "preview", "sheet_row", "write_sheet"]

# Rows of the sheet. Its columns: before, true, made, difference, after.
WORST = 6
COLUMN = 320
DIFFERENCE = 4  # times as strong, or nobody sees it


class Judged(NamedTuple):
    """A source frame against the one made from its neighbours."""

    psnr: float
    number: int
    time: Fraction
    images: tuple[np.ndarray, ...]  # before, true, made, after


class _Seen(NamedTuple):
    """A source frame."""

    number: int
    time: Fraction
    image: np.ndarray


def preview(
    source: Path,
    clip: Path,
    sheet: Path,
    model: torch.nn.Module,
    *,
    start: Fraction | int = 0,
    seconds: Fraction | int = 10,
    factor: Fraction | int | None = None,
    fps: Fraction | int | None = None,
    worst: int = WORST,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[Judged]:
    """Write a clip, the source on the left and interpolated on the right, and a picture of the worst frames:
    those that a model which is given their two neighbours fails at most.

    Args:
        source: video file.
        clip: video to write.
        sheet: PNG to write.
        model: as `vfi_kernels.models.create` gives.
        start: where to begin, in seconds after the first frame.
        seconds: how much of the source.
        factor: output rate over source rate; 2 where neither this nor `fps` is given.
        fps: output rate, frames a second.
        worst: how many frames the picture shows.
        device: where the model runs.
        progress: called after every source frame with how many there were, and None.

    Returns:
        The worst frames, the worst first.

    Raises:
        ValueError: both `factor` and `fps`, or one that is not positive.
        VideoError: a file cannot be read or written, or there are less than three frames.
    """
    model = model.to(device).eval()
    options = Options(factor=factor, fps=fps)
    found: list[tuple[float, int, Judged]] = []
    with open_source(source, options) as reader, complete_or_absent(clip) as unfinished:
        schedule = schedule_for(reader, options)
        with Writer(unfinished, _beside(clip, reader, schedule.fps)) as writer, torch.inference_mode():
            origin = None

            def show(left: _Seen, right: _Seen | None, stop: Fraction) -> None:
                """`left` until `stop`, and what lies between it and `right`; None holds it."""
                span = Span(left.number, left.time - origin, stop - origin, right is None)
                for slot in schedule.slots(span):
                    made = left.image
                    if not slot.original:
                        made = _between(model, left.image, right.image, float(slot.timestep), device)
                    pair = to_tensor(np.concatenate([left.image, made], 1))
                    writer.write(writer.colour.from_rgb(pair), round(slot.time * schedule.fps))

            before = left = None
            cuts = scenes.CutDetector()
            for done, seen in enumerate(_frames(reader, Fraction(start)), 1):
                origin = seen.time if origin is None else origin
                if seen.time >= start + seconds:
                    if left is not None:
                        show(left, None, seen.time)
                    break
                cut = cuts(scenes.thumbnail(seen.image))
                if left is not None:
                    show(left, None if cut else seen, seen.time)
                if before is not None and not cut and before.time < left.time < seen.time:
                    at = float((left.time - before.time) / (seen.time - before.time))
                    made = _between(model, before.image, seen.image, at, device)
                    score = psnr(left.image, made)
                    images = before.image, left.image, made, seen.image
                    judged = Judged(score, left.number, left.time, images)
                    heapq.heappush(found, (-score, left.number, judged))
                    if len(found) > worst:
                        heapq.heappop(found)
                before, left = (None if cut else left), seen
                progress(done, None)
            else:
                if left is not None:
                    show(left, None, reader.end)
    if not found:
        raise VideoError(f"{source}: a preview needs three frames")
    ordered = [judged for _, _, judged in sorted(found, reverse=True)]
    write_sheet(sheet, [sheet_row(*judged.images) for judged in ordered])
    return ordered


def _frames(reader: Source, start: Fraction) -> Iterator[_Seen]:
    """The frames from a time on, by their numbers in the whole."""
    colour = Converter(reader.first, siting=reader.siting)
    frames, first = reader.frames(), 0
    if start:
        marks = reader.marks()
        keys = [number for number, (time, _, key) in enumerate(marks) if key and time <= start]
        if keys and reader.seekable:
            first = keys[-1]
            frames = reader.frames_from(marks[first][1])
    for number, (frame, time) in enumerate(frames, first):
        if time >= start:
            yield _Seen(number, time, to_image(colour.to_rgb(frame)[0]))


def sheet_row(before: np.ndarray, true: np.ndarray, made: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Images [H, W, 3] uint8 and the difference of the true and the made one, small and side by side."""
    gap = np.abs(true.astype(np.int16) - made).astype(np.uint16) * DIFFERENCE
    shown = (before, true, made, gap.clip(0, 255).astype(np.uint8), after)
    return np.concatenate([_small(image) for image in shown], 1)


def write_sheet(path: Path, rows: list[np.ndarray]) -> None:
    """Rows one below the other, as an image.

    Raises:
        VideoError: it cannot be written.
    """
    import cv2

    with complete_or_absent(path) as unfinished:
        if not cv2.imwrite(str(unfinished), np.concatenate(rows, 0)[..., ::-1]):
            raise VideoError(f"{path}: cannot be written as an image")


def _between(
    model: torch.nn.Module, a: np.ndarray, b: np.ndarray, at: float, device: torch.device | str
) -> np.ndarray:
    if getattr(model, "middle_only", False):
        at = round(at * 64) / 64  # what halving reaches
    return to_image(model.interpolate(to_tensor(a, device), to_tensor(b, device), [at])[0, 0])


def _beside(clip: Path, reader: Source, fps: Fraction) -> Encoding:
    """Two frames side by side."""
    wide = av.VideoFrame(2 * reader.first.width, reader.first.height, "rgb24")
    return Encoding(clip, wide, fps=fps, aspect=reader.aspect)


def _small(image: np.ndarray) -> np.ndarray:
    import cv2

    height = max(1, round(image.shape[0] * COLUMN / image.shape[1]))
    return cv2.resize(image, (COLUMN, height), interpolation=cv2.INTER_AREA)
