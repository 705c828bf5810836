"""From source frames to output frames: reading, the model and the encoder work at the same time.

Each runs in a thread of its own and hands on what it has made through a queue that holds little, so memory is
bounded: see `AHEAD` and `docs/video.md`.
"""

from __future__ import annotations

import queue
import threading
import time
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

__all__ = ["Ahead", "Made", "Profile", "Shown", "Work", "made", "profile_of", "to_image", "to_tensor"]

Item = TypeVar("Item")

# Items that wait between two threads: source frames before the model, output frames after it.
AHEAD = 4

# Seconds between two looks at whether to stop, of a thread that waits.
POLL = 0.1


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """[H, W, 3] uint8 or uint16 -> [1, 3, H, W] float32 in [0, 1]."""
    upload = Upload(torch.device(device))
    return upload.receive(upload.send(image), np.iinfo(image.dtype).max)


class Upload:
    """Brings images to the device; to a GPU from pinned memory, while it computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, image: np.ndarray) -> Tensor:
        """Begins to copy [H, W, 3] uint8 or uint16."""
        # torch computes little with uint16, so the step to float32 is NumPy's
        pixels = torch.from_numpy(image if image.dtype == np.uint8 else image.astype(np.float32))
        if self._stream is None:
            return pixels.to(self._device)
        with torch.cuda.stream(self._stream):
            return pixels.pin_memory().to(self._device, non_blocking=True)

    def receive(self, pixels: Tensor, scale: int) -> Tensor:
        """[1, 3, H, W] float32 in [0, 1], once the copy is there; `scale` is white."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            # Else its memory could be given to the next copy while this stream still reads it.
            pixels.record_stream(current)
        return pixels.permute(2, 0, 1)[None].float().div(scale).contiguous()


def to_image(frame: Tensor, dtype: np.dtype | type = np.uint8) -> np.ndarray:
    """[3, H, W] float -> [H, W, 3] uint8 or uint16, clamped and rounded to nearest."""
    scaled = frame.float().clamp(0, 1).mul(np.iinfo(dtype).max).round()
    pixels = scaled.to(torch.uint8) if dtype == np.uint8 else scaled
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy().astype(dtype))


class Shown:
    """A source frame and its time in seconds; its RGB is made once, by the thread that reads."""

    def __init__(self, frame: av.VideoFrame, time: Fraction, colour: Converter, upload: Upload) -> None:
        self.frame, self.time, self._colour, self._upload = frame, time, colour, upload
        self._sent: Tensor | None = None

    def prepare(self) -> None:
        """What the thread that reads does, so that the one that has the model need not wait."""
        self._sent = self._upload.send(self.image)

    @cached_property
    def image(self) -> np.ndarray:
        return self._colour.to_rgb(self.frame)

    @cached_property
    def thumb(self) -> np.ndarray:
        return scenes.thumbnail(self.image)

    @cached_property
    def rgb(self) -> Tensor:
        return self._upload.receive(self._sent, np.iinfo(self.image.dtype).max)


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

    Attributes:
        seconds: how long the thread has run, when it is at its end.
        blocked: how much of that it waited for its items to be taken.
        starved: how much the one who takes waited for items.
    """

    def __init__(self, items: Iterator[Item], name: str, stop: threading.Event) -> None:
        self.seconds = self.blocked = self.starved = 0.0
        self._items, self._stop = items, stop
        self._queue: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(AHEAD)
        self._thread = threading.Thread(target=self._run, name=f"vfi {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        begin = time.perf_counter()
        end: BaseException = StopIteration()
        try:
            for item in self._items:
                if not self._put((item, None)):
                    return
        except BaseException as error:  # whatever it is, the one who takes has to know
            end = error
        self.seconds = time.perf_counter() - begin
        self._put((None, end))

    def _put(self, entry: tuple[Item | None, BaseException | None]) -> bool:
        begin = time.perf_counter()
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=POLL)
                self.blocked += time.perf_counter() - begin
                return True
            except queue.Full:
                pass
        return False

    def __iter__(self) -> Ahead[Item]:
        return self

    def __next__(self) -> Item:
        begin = time.perf_counter()
        while not self._stop.is_set():
            try:
                item, error = self._queue.get(timeout=POLL)
            except queue.Empty:
                continue
            self.starved += time.perf_counter() - begin
            if error is not None:
                raise error
            return item
        raise StopIteration

    def join(self) -> None:
        """Waits until the thread is at its end; `stop` is set."""
        self._thread.join()


class Stage(NamedTuple):
    """What one thread did, seconds."""

    name: str
    busy: float
    waiting: float


class Profile(NamedTuple):
    """Where the time went."""

    frames: int
    seconds: float
    stages: tuple[Stage, ...]


def profile_of(read: Ahead[Work], ready: Ahead[Made], frames: int, seconds: float) -> Profile:
    """Of a pipeline that has come to its end, `seconds` after it began."""
    waits = {
        "read": (read.seconds, read.blocked),
        "model": (ready.seconds, read.starved + ready.blocked),
        "encode": (seconds, ready.starved),
    }
    stages = tuple(Stage(name, total - waiting, waiting) for name, (total, waiting) in waits.items())
    return Profile(frames, seconds, stages)
