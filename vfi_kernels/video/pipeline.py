"""From a video file to one with more frames: read, make the frames in between, write.

Two source frames are in memory, and up to `BATCH` made from them; up to `RUN` more where repeats are sought.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from . import scenes
from . import schedule as schedules
from ._av import VideoError, av
from .colour import Converter, to_image, to_tensor
from .reading import Reader
from .writing import Writer, complete_or_absent

__all__ = ["interpolate", "to_image", "to_tensor"]

# Frames made at once. More share the work that a pair needs once; a pair may be minutes apart, so there is a
# bound.
BATCH = 8

# The longest run of equal frames that is made one. Cartoons draw every second to fourth; more is a still.
RUN = 4


class _Shown:
    """A source frame, its time in seconds, and what comes of its RGB once something asks for it."""

    def __init__(self, frame: av.VideoFrame, time: Fraction, colour: Converter, device: torch.device) -> None:
        self.frame, self.time, self._colour, self._device = frame, time, colour, device

    @cached_property
    def _whole(self) -> Tensor:
        return self._colour.to_rgb(self.frame, self._device)

    @cached_property
    def rgb(self) -> Tensor:
        """[N, 3, H, W] float32 in [0, 1], which is what models see and make."""
        return self._whole.clamp(0, 1)

    @cached_property
    def outside(self) -> Tensor:
        """What `rgb` has lost by it. Blended, so that blacks and strong colours do not flicker."""
        return self._whole - self.rgb

    @property
    def image(self) -> Tensor:
        """[H, W, 3], for detectors."""
        return self.rgb[0].permute(1, 2, 0)

    @property
    def original(self) -> av.VideoFrame:
        return self._colour.original(self.frame)


@torch.inference_mode()
def interpolate(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: torch.nn.Module,
    *,
    factor: Fraction | int | None = None,
    fps: Fraction | int | None = None,
    slow_motion: Fraction | int = 1,
    slow_motion_audio: Literal["drop", "keep"] = "drop",
    vfr: bool = False,
    scene_cuts: bool = True,
    scene_threshold: float = scenes.THRESHOLD,
    duplicates: Literal["keep", "retime"] = "keep",
    device: torch.device | str = "cpu",
    codec: str = "libx264",
    crf: int = 16,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    warn: Callable[[str], None] = warnings.warn,
) -> int:
    """Write `source` to `target` at a higher (or any other) frame rate; sound is copied, the duration stays.

    Output frame k is shown k / fps after the first frame. Where that is a source frame's own time, the
    decoded frame goes to the encoder as it is; elsewhere `model` makes the frame from its two neighbours, or,
    where a new shot begins between them, the earlier one is held. `target` appears when it is complete.

    Args:
        source: video file.
        target: video file; the suffix names the container.
        model: as `vfi_kernels.models.create` gives.
        factor: output rate over source rate; 2, or 1 in slow motion, where neither this nor `fps` is given.
        fps: output rate, frames a second.
        slow_motion: how many times longer the output lasts.
        slow_motion_audio: what becomes of the sound then: left out, or copied at its own speed.
        vfr: keep the source's own times, and put `factor` - 1 frames evenly between two of its frames.
        scene_cuts: whether to look for cuts.
        scene_threshold: what a cut scores at least, in (0, 1]; lower finds more.
        duplicates: "retime" makes a run of up to four equal frames one that lasts as long, so that movement
            goes on through it.
        device: where the model runs.
        codec: video encoder, for example libx264 or, lossless, ffv1.
        crf: constant rate factor of the encoder.
        overwrite: replace `target` if it exists.
        progress: called after each output frame with the number written and the number expected, None if
            unknown.
        warn: called with one line about what cannot be kept.

    Returns:
        The number of frames written.

    Raises:
        ValueError: options that contradict each other, or a number out of range.
        VideoError: a file cannot be read or written as asked.
    """
    source, target = Path(source), Path(target)
    cuts = scenes.CutDetector(scene_threshold) if scene_cuts else None
    _check_target(source, target, overwrite)
    with Reader(source, as_stamped=vfr) as reader, complete_or_absent(target) as temporary:
        try:
            schedule = schedules.schedule_for(
                reader.rate, reader.tick, factor=factor, fps=fps, stretch=slow_motion, vfr=vfr
            )
        except schedules.NoRateError as error:
            raise VideoError(f"{source}: states no frame rate; give the output's with --fps") from error
        _tell_losses(reader, warn)
        audio = reader.audio
        if audio and slow_motion != 1 and slow_motion_audio == "drop":
            audio = []
            warn(
                "sound left out: slow motion does not stretch it; --slow-motion-audio keep copies it as it is"
            )
        writer = Writer(
            temporary,
            reader.first,
            fps=schedule.fps,
            step=schedule.step,
            start=reader.start,
            codec=codec,
            crf=crf,
            aspect=reader.aspect,
            siting=reader.siting,
            audio=audio,
            warn=warn,
            name=str(target),
        )
        expected = schedule.count(reader.duration) if reader.duration else None
        done = 0
        with writer:
            frames = _shown(reader, writer, torch.device(device))
            if duplicates == "retime":
                frames = schedules.without_runs(frames, _repeats, RUN)
            spans = _spans(frames, reader, cuts)
            for slot, frame in _made(spans, schedule, model.to(device).eval(), writer.colour):
                writer.write(frame, round(slot.time / schedule.step), round(slot.length / schedule.step))
                done += 1
                progress(done, expected)
    return done


def _shown(reader: Reader, writer: Writer, device: torch.device) -> Iterator[_Shown]:
    for frame, time in reader.frames(writer.copy):
        yield _Shown(frame, time, writer.colour, device)


def _repeats(a: _Shown, b: _Shown) -> bool:
    return scenes.repeats(a.image, b.image)


def _spans(
    frames: Iterator[_Shown], reader: Reader, cuts: scenes.CutDetector | None
) -> Iterator[tuple[schedules.Span, _Shown, _Shown]]:
    """Every source frame with its span and the next frame; the last one with itself."""
    before = None
    for number, frame in enumerate(frames):
        held = cuts is not None and cuts(scenes.thumbnail(frame.image))
        if before is not None:
            yield schedules.Span(number - 1, before.time, frame.time, held), before, frame
        before, last = frame, number
    # Nothing follows the last frame to be interpolated towards: it is held for as long as it is shown.
    yield schedules.Span(last, before.time, reader.end, True), before, before


def _made(
    spans: Iterator[tuple[schedules.Span, _Shown, _Shown]],
    schedule: schedules.ConstantRate | schedules.OwnTimes,
    model: torch.nn.Module,
    colour: Converter,
) -> Iterator[tuple[schedules.Slot, av.VideoFrame]]:
    """Every output frame with its slot, in order."""
    for span, a, b in spans:
        slots = schedule.slots(span)
        while batch := list(islice(slots, BATCH)):
            times = [float(slot.timestep) for slot in batch if not slot.original]
            made = iter(model.interpolate(a.rgb, b.rgb, times).unbind(1) if times else ())
            for slot in batch:
                if slot.original:
                    yield slot, a.original
                else:
                    outside = torch.lerp(a.outside, b.outside, float(slot.timestep))
                    yield slot, colour.from_rgb(next(made) + outside)


def _check_target(source: Path, target: Path, overwrite: bool) -> None:
    if not target.parent.is_dir():
        raise VideoError(f"{target.parent}: no such folder")
    if target.exists():
        if not target.is_file():
            raise VideoError(f"{target}: is not a file")
        if source.exists() and target.samefile(source):
            raise VideoError(f"{target}: is the input itself; give the output another name")
        if not overwrite:
            raise VideoError(f"{target}: exists already; --overwrite replaces it")


def _tell_losses(reader: Reader, warn: Callable[[str], None]) -> None:
    if reader.dropped:
        warn(f"left out: {reader.dropped}")
    if reader.first.interlaced_frame:
        warn("the input is interlaced: frames are made of whole ones, so deinterlace it before")
    if reader.first.rotation:
        warn(f"the rotation of {reader.first.rotation} degrees that players apply to the input is not kept")
