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
from .encoding import Encoding, Writer, complete_or_absent
from .metrics import psnr
from .options import Options
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


def preview(
    source: Path,
    clip: Path,
    sheet: Path,
    model: torch.nn.Module,
    *,
    seconds: Fraction | int = 10,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[Judged]:
    """Write a clip, the source on the left and at the double rate on the right, and a picture of the worst
    frames: those that a model which is given their two neighbours fails at most.

    Args:
        source: video file.
        clip: video to write.
        sheet: PNG to write.
        model: as `vfi_kernels.models.create` gives.
        seconds: how much of the source, from its start.
        device: where the model runs.
        progress: called after every source frame with how many there were, and None.

    Returns:
        The worst frames, the worst first.

    Raises:
        VideoError: a file cannot be read or written, or holds less than three frames.
    """
    model = model.to(device).eval()
    worst: list[tuple[float, int, Judged]] = []
    with open_source(source, Options()) as reader, complete_or_absent(clip) as unfinished:
        if not reader.rate:
            raise VideoError(f"{source}: states no frame rate")
        colour = Converter(reader.first, siting=reader.siting)
        shown = ((to_image(colour.to_rgb(frame)[0]), time) for frame, time in reader.frames())
        taken = _until(shown, Fraction(seconds))
        with Writer(unfinished, _beside(clip, reader)) as writer, torch.inference_mode():
            step = 1 / (2 * reader.rate)
            reached = -1

            def show(left: np.ndarray, right: np.ndarray, time: Fraction) -> None:
                nonlocal reached
                place = round(time / step)
                if place > reached:  # of frames closer to each other than the clip's own, the first
                    pair = to_tensor(np.concatenate([left, right], 1))
                    writer.write(writer.colour.from_rgb(pair), place)
                    reached = place

            before = left = None
            cuts = scenes.CutDetector()
            for number, (image, time) in enumerate(taken):
                cut = cuts(scenes.thumbnail(image))
                if left is not None:
                    middle = left[0] if cut else _between(model, left[0], image, 0.5, device)
                    show(left[0], left[0], left[1])
                    show(left[0], middle, (left[1] + time) / 2)
                if before is not None and not cut and before[1] < left[1] < time:
                    at = float((left[1] - before[1]) / (time - before[1]))
                    made = _between(model, before[0], image, at, device)
                    score = psnr(left[0], made)
                    judged = Judged(score, number - 1, left[1], (before[0], left[0], made, image))
                    heapq.heappush(worst, (-score, number, judged))
                    if len(worst) > WORST:
                        heapq.heappop(worst)
                before, left = (None if cut else left), (image, time)
                progress(number + 1, None)
            for k in range(2 if left else 0):  # the last frame, for as long as the others
                show(left[0], left[0], left[1] + k * step)
    if not worst:
        raise VideoError(f"{source}: a preview needs three frames")
    ordered = [judged for _, _, judged in sorted(worst, reverse=True)]
    write_sheet(sheet, [sheet_row(*judged.images) for judged in ordered])
    return ordered


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


def _until(
    frames: Iterator[tuple[np.ndarray, Fraction]], end: Fraction
) -> Iterator[tuple[np.ndarray, Fraction]]:
    for image, time in frames:
        if time >= end:
            return
        yield image, time


def _between(
    model: torch.nn.Module, a: np.ndarray, b: np.ndarray, at: float, device: torch.device | str
) -> np.ndarray:
    if getattr(model, "middle_only", False):
        at = round(at * 64) / 64  # what halving reaches
    return to_image(model.interpolate(to_tensor(a, device), to_tensor(b, device), [at])[0, 0])


def _beside(clip: Path, reader: Source) -> Encoding:
    """Two frames side by side, at twice the rate."""
    wide = av.VideoFrame(2 * reader.first.width, reader.first.height, "rgb24")
    return Encoding(clip, wide, fps=2 * reader.rate, aspect=reader.aspect)


def _small(image: np.ndarray) -> np.ndarray:
    import cv2

    height = max(1, round(image.shape[0] * COLUMN / image.shape[1]))
    return cv2.resize(image, (COLUMN, height), interpolation=cv2.INTER_AREA)
