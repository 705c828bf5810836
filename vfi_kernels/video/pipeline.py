"""From source frames to output frames: reading, the model and the encoder work at the same time.

Each runs in a thread of its own and hands on what it has made through a queue that holds little, so memory is
bounded: see `AHEAD` and `docs/video.md`.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from fractions import Fraction
from functools import cached_property
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from . import scenes
from . import schedule as schedules
from ._av import av
from .colour import Converter

__all__ = ["Ahead", "Made", "Shown", "Work", "made", "to_image", "to_tensor"]

Item = TypeVar("Item")

# Items that wait between two threads: source frames before the model, output frames after it.
AHEAD = 4

# Seconds between two looks at whether to stop, of a thread that waits.
POLL = 0.1


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


class Shown:
    """A source frame and its time in seconds; its RGB is made once, by the thread that reads."""

    def __init__(self, frame: av.VideoFrame, time: Fraction, colour: Converter, device: torch.device) -> None:
        self.frame, self.time, self._colour, self._device = frame, time, colour, device

    @cached_property
    def image(self) -> np.ndarray:
        return self._colour.to_rgb(self.frame)

    @cached_property
    def thumb(self) -> np.ndarray:
        return scenes.thumbnail(self.image)

    @cached_property
    def rgb(self) -> Tensor:
        return to_tensor(self.image, self._device)


class Work(NamedTuple):
    """A source frame, the next one, and the time between them; of a chunk's end only its number."""

    chunk: int
    span: schedules.Span | None = None
    left: Shown | None = None
    right: Shown | None = None


class Made(NamedTuple):
    """An output frame: `image`, or the source frame `original` where there is none; of a chunk's end only
    its number."""

    chunk: int
    slot: schedules.Slot | None = None
    original: av.VideoFrame | None = None
    image: np.ndarray | None = None


def made(
    works: Iterator[Work],
    schedule: schedules.ConstantRate | schedules.OwnTimes,
    model: torch.nn.Module,
    batch: int,
) -> Iterator[Made]:
    """Every output frame, in order."""
    with torch.inference_mode():
        for chunk, span, a, b in works:
            if span is None:
                yield Made(chunk)
                continue
            slots = schedule.slots(span)
            while some := list(islice(slots, batch)):
                times = [float(slot.timestep) for slot in some if not slot.original]
                frames = iter(model.interpolate(a.rgb, b.rgb, times)[0] if times else ())
                for slot in some:
                    if slot.original:
                        yield Made(chunk, slot, original=a.frame)
                    else:
                        yield Made(chunk, slot, image=to_image(next(frames), a.image.dtype))


class Ahead(Generic[Item]):
    """Runs an iterator in a thread of its own, up to `AHEAD` items ahead of who takes them.

    What the iterator raises, the one who takes gets. `stop` is shared by all threads of a pipeline: once it
    is set, each one ends at its next item.
    """

    def __init__(self, items: Iterator[Item], name: str, stop: threading.Event) -> None:
        self._items, self._stop = items, stop
        self._queue: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        end: BaseException = StopIteration()
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as error:  # whatever it is, the one who takes has to know
            end = error
        self._put((None, end))

    def _put(self, entry: tuple[Item | None, BaseException | None]) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=POLL)
                return True
            except queue.Full:
                pass
        return False

    def __iter__(self) -> Ahead[Item]:
        return self

    def __next__(self) -> Item:
        while not self._stop.is_set():
            try:
                item, error = self._queue.get(timeout=POLL)
            except queue.Empty:
                continue
            if error is not None:
                raise error
            return item
        raise StopIteration

    def join(self) -> None:
        """Waits until the thread is at its end; `stop` is set."""
        self._thread.join()
