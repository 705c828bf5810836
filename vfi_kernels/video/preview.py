"""How good it will be: every frame of the source made from its neighbours, beside the true one."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import chunks, cutting, sequences
from . import plan as plans
from ._av import VideoError, av
from .colour import to_image
from .encoding import Encoding, Writer, complete_or_absent
from .metrics import psnr
from .options import Options
from .pipeline import Shown, between
from .sheet import ROWS, Worst, write_sheet
from .sources import Source, open_source
from .tiling import tiled

__all__ = ["Judged", "preview"]


class Judged(NamedTuple):
    """A source frame against the one made from its neighbours."""

    psnr: float
    number: int
    time: Fraction


class _Seen(NamedTuple):
    """A source frame, upright for people too."""

    shown: Shown
    upright: Tensor  # [1, 3, H, W]
    image: np.ndarray  # the same, [H, W, 3] uint8


def preview(
    source: Path,
    clip: Path,
    sheet: Path,
    model: torch.nn.Module,
    options: Options | None = None,
    *,
    start: Fraction | int = 0,
    seconds: Fraction | int = 10,
    worst: int = ROWS,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> list[Judged]:
    """Write a clip, the source on the left and interpolated on the right, and a picture of the worst frames:
    those that a model which is given their two neighbours fails at most.

    Frames, cuts and repeats are those that `interpolate` finds with the same options. A source that players
    turn is turned here: stored as it is, its left would not be theirs.

    Args:
        source: video file, or images.
        clip: video to write.
        sheet: PNG to write.
        model: as `vfi_kernels.models.create` gives.
        options: how.
        start: where to begin, in seconds after the first frame.
        seconds: how much of the source.
        worst: how many frames the picture shows.
        device: where the model runs.
        progress: called after every source frame with how many there were, and of how many.

    Returns:
        The worst frames, the worst first.

    Raises:
        ValueError: options that contradict each other.
        VideoError: a file cannot be read or written, or there are less than three frames.
    """
    options, device = options or Options(), torch.device(device)
    if sequences.is_images(clip) or sequences.is_gif(clip):
        raise VideoError(f"{clip}: a preview is one video, like .mp4 or .mkv")
    model = tiled(model, options.tile).to(device).eval()
    with open_source(source, options) as reader:
        marks = reader.marks()
        span = Fraction(start), Fraction(start + seconds)
        plan = plans.make(source, clip, reader, marks, options, part=span)
        schedule = cutting.schedule_for(reader, options)
        encoding = plans.encoding_for(reader, clip, options)
        turns = round(reader.first.rotation / 90)  # counterclockwise
        beside = _beside(reader, clip, options, turns)
    times = [time for time, _, _ in marks]
    passed, end = (bisect_left(times, time) for time in span)

    def upright(frames: Tensor) -> Tensor:
        return torch.rot90(frames[:1], turns, (-2, -1))  # without alpha

    def seen(shown: Shown) -> _Seen:
        frame = upright(shown.rgb)
        return _Seen(shown, frame, to_image(frame[0]))

    found: Worst[tuple[int, Fraction]] = Worst(worst)
    with complete_or_absent(clip) as unfinished:
        with Writer(unfinished, beside) as writer, torch.inference_mode():
            before = right = first = None
            for work in chunks.works(plan, [0], encoding, device):
                if work.span is None:
                    continue
                left, right = right or seen(work.left), seen(work.right)
                for slot, frame in between(work, schedule, model, options.batch):
                    pair = left.upright, left.upright if frame is None else upright(frame)
                    number = round(slot.time / schedule.step)
                    first = number if first is None else first
                    packed = writer.colour.from_rgb(torch.cat(pair, -1).cpu())
                    writer.write(packed, number - first, round(slot.length / schedule.step))
                number, time = bisect_right(times, work.left.time) - 1, work.left.time
                if before and not work.span.held and before.shown.time < time < right.shown.time:
                    made = to_image(upright(_middle(model, before.shown, right.shown, time))[0])
                    images = before.image, left.image, made, right.image
                    found.add((number, time), psnr(left.image, made), images)
                before = None if work.span.held else left
                progress(number + 1 - passed, end - passed)
        ordered = found.ordered()
        if not ordered:
            raise VideoError(f"{source}: a preview needs three frames")
    write_sheet(sheet, [row for _, _, row in ordered])
    return [Judged(score, *name) for name, score, _ in ordered]


def _middle(model: torch.nn.Module, a: Shown, b: Shown, time: Fraction) -> Tensor:
    """The frame at a time between two, [N, 3, H, W]."""
    at = float((time - a.time) / (b.time - a.time))
    if getattr(model, "middle_only", False):
        at = round(at * 64) / 64  # what halving reaches
    return model.interpolate(a.rgb, b.rgb, [at])[:, 0]


def _beside(reader: Source, clip: Path, options: Options, turns: int) -> Encoding:
    """Of two frames side by side, each turned."""
    schedule = cutting.schedule_for(reader, options)
    width, height, aspect = reader.first.width, reader.first.height, reader.aspect
    if turns % 2:
        width, height, aspect = height, width, aspect and 1 / aspect
    return Encoding(
        clip,
        av.VideoFrame(2 * width, height, "rgb24"),
        fps=schedule.fps,
        step=schedule.step,
        codec=options.codec,
        crf=options.crf,
        preset=options.preset,
        aspect=aspect,
    )
