"""From a video file to one with more frames: read, make the frames in between, write.

Two source frames are in memory, and up to `BATCH` made from them.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cached_property
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import timing
from ._av import VideoError, av
from .colour import Converter
from .reading import Reader
from .writing import Writer, complete_or_absent

__all__ = ["interpolate", "to_image", "to_tensor"]

# Frames made at once. More share the work that a pair needs once; a pair may be minutes apart, so there is a
# bound.
BATCH = 8


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """[H, W, 3] uint8 or uint16 -> [1, 3, H, W] float32 in [0, 1]."""
    scale = np.iinfo(image.dtype).max
    # torch computes little with uint16, so the step to float32 is NumPy's
    pixels = image if image.dtype == np.uint8 else image.astype(np.float32)
    return torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None].float().div(scale).contiguous()


def to_image(frame: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """[3, H, W] float -> [H, W, 3] uint8 or uint16, clamped and rounded to nearest."""
    scaled = frame.float().clamp(0, 1).mul(np.iinfo(dtype).max).round()
    pixels = scaled.to(torch.uint8) if dtype == np.uint8 else scaled
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy().astype(dtype))


class _Shown:
    """A source frame, its time in seconds, and its RGB once something asks for it."""

    def __init__(self, frame: av.VideoFrame, time: Fraction, colour: Converter, device: torch.device) -> None:
        self.frame, self.time, self._colour, self._device = frame, time, colour, device

    @cached_property
    def rgb(self) -> Tensor:
        return to_tensor(self._colour.to_rgb(self.frame), self._device)

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
    device: torch.device | str = "cpu",
    codec: str = "libx264",
    crf: int = 16,
    overwrite: bool = False,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
    warn: Callable[[str], None] = warnings.warn,
) -> int:
    """Write `source` to `target` at a higher (or any other) frame rate; sound is copied, the duration stays.

    Output frame k is shown k / fps after the first frame. Where that is a source frame's own time, the
    decoded frame goes to the encoder as it is; elsewhere `model` makes the frame from its two neighbours.
    `target` appears when it is complete.

    Args:
        source: video file.
        target: video file; the suffix names the container.
        model: as `vfi_kernels.models.create` gives.
        factor: output rate over source rate; 2 where neither this nor `fps` is given.
        fps: output rate, frames a second.
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
        ValueError: factor or fps is not positive, or both are given.
        VideoError: a file cannot be read or written as asked.
    """
    source, target = Path(source), Path(target)
    if factor is not None and fps is not None:
        raise ValueError("interpolate: expected factor or fps; got both")
    if (factor if factor is not None else fps if fps is not None else 1) <= 0:
        raise ValueError(
            f"interpolate: factor and fps must be positive; got {factor if factor is not None else fps}"
        )
    _check_target(source, target, overwrite)
    with Reader(source) as reader, complete_or_absent(target) as temporary:
        if fps is None:
            if reader.rate is None:
                raise VideoError(f"{source}: states no frame rate; give the output's with --fps")
            fps = reader.rate * (2 if factor is None else factor)
        fps = Fraction(fps)
        _tell_losses(reader, warn)
        writer = Writer(
            temporary,
            reader.first,
            fps=fps,
            start=reader.start,
            codec=codec,
            crf=crf,
            aspect=reader.aspect,
            audio=reader.audio,
            warn=warn,
            name=str(target),
        )
        expected = timing.frame_count(reader.duration, fps) if reader.duration else None
        done = 0
        with writer:
            for number, frame in _made(reader, writer, model.to(device).eval(), fps, torch.device(device)):
                writer.write(frame, number)
                done += 1
                progress(done, expected)
    return done


def _made(
    reader: Reader, writer: Writer, model: torch.nn.Module, fps: Fraction, device: torch.device
) -> Iterator[tuple[int, av.VideoFrame]]:
    """Every output frame with its number, in order."""
    colour = writer.colour
    shown = None
    for frame, time in reader.frames(writer.copy):
        upcoming = _Shown(frame, time, colour, device)
        if shown is not None:
            yield from _between(shown, upcoming, model, fps, colour)
        shown = upcoming
    # Nothing follows the last frame to be interpolated towards: it is held for as long as it is shown.
    for number, _ in timing.between(shown.time, reader.end, fps):
        yield number, shown.original


def _between(
    a: _Shown, b: _Shown, model: torch.nn.Module, fps: Fraction, colour: Converter
) -> Iterator[tuple[int, av.VideoFrame]]:
    slots = timing.between(a.time, b.time, fps)
    while batch := list(islice(slots, BATCH)):
        if batch[0][1] == 0:
            yield batch.pop(0)[0], a.original
        if batch:
            made = model.interpolate(a.rgb, b.rgb, [float(t) for _, t in batch])[0]
            dtype = np.uint8 if colour.rgb == "rgb24" else np.uint16
            for (number, _), frame in zip(batch, made, strict=True):
                yield number, colour.from_rgb(to_image(frame, dtype))


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
    if reader.first.rotation:
        warn(f"the rotation of {reader.first.rotation} degrees that players apply to the input is not kept")
    if any(component.is_alpha for component in reader.first.format.components):
        warn("transparency is left out")
