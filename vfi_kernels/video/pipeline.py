"""From source frames to output frames: reading, the model and the encoder work at the same time.

Each runs in a thread of its own and hands on what it has made through a queue that holds little, so memory is
bounded: see `AHEAD` and `docs/video.md`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
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

__all__ = [
    "Ahead",
    "Download",
    "Made",
    "Profile",
    "Shown",
    "Upload",
    "Work",
    "between",
    "made",
    "profile_of",
    "settled",
]

Item = TypeVar("Item")

# Items that wait between two threads: source frames before the model, output frames after it.
AHEAD = 4

# Seconds between two looks at whether to stop, of a thread that waits.
POLL = 0.1


class Upload:
    """Brings the planes of frames to the device; to a GPU from pinned memory, while it computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, planes: list[np.ndarray]) -> list[Tensor]:
        """Begins to copy planes [H, W]."""
        tensors = [torch.from_numpy(plane) for plane in planes]
        if self._stream is None:
            return [tensor.to(self._device) for tensor in tensors]
        with torch.cuda.stream(self._stream):
            return [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]

    def receive(self, planes: list[Tensor]) -> list[Tensor]:
        """The planes, once the copies are there."""
        if self._stream is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for plane in planes:
                # Else its memory could be given to the next copy while this stream still reads it.
                plane.record_stream(current)
        return planes


class Download:
    """Brings planes from the device; from a GPU to pinned memory, while it computes what comes next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def send(self, planes: list[Tensor]) -> Coming:
        """Begins to copy planes [H, W], as soon as they are computed."""
        if self._stream is None:
            return Coming([plane.cpu() for plane in planes])
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for plane in planes:
                # Else its memory could be given to the next result while this stream still reads it.
                plane.record_stream(self._stream)
            pinned = [torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True) for plane in planes]
            copied = [to.copy_(plane, non_blocking=True) for to, plane in zip(pinned, planes, strict=True)]
            return Coming(copied, self._stream.record_event())


class Coming(NamedTuple):
    """Planes on their way from the device."""

    planes: list[Tensor]
    there: torch.cuda.Event | None = None  # None: they are

    def wait(self) -> None:
        """Until they may be read."""
        if self.there is not None:
            self.there.synchronize()


class Glimpse:
    """A frame as an image [H, W, 3] of which some rows and columns can be had, black 0 and white 1.

    Frames wait for the model, and those who only look at some pixels shall not make whole RGB images of them:
    these are sixteen times as large.
    """

    def __init__(self, colour: Converter, planes: list[np.ndarray]) -> None:
        self._colour, self._planes = colour, planes
        self.shape = (*planes[0].shape, 3)

    def __getitem__(self, places: tuple[slice | np.ndarray, slice | np.ndarray]) -> Tensor:
        rows, columns = (np.arange(side)[place] for side, place in zip(self.shape, places, strict=False))
        return self._colour.pixels(self._planes, rows.reshape(-1, 1), columns.reshape(1, -1))


class Shown:
    """A source frame, its time in seconds and whether a shot begins with it; its RGB is made once, when the
    model wants it.
    """

    cut = False

    def __init__(self, frame: av.VideoFrame, time: Fraction, colour: Converter, upload: Upload) -> None:
        self.frame, self.time, self._colour, self._upload = frame, time, colour, upload

    def prepare(self) -> None:
        """What the thread that reads does, so that the one that has the model need not wait."""
        _ = self._sent

    @cached_property
    def _planes(self) -> list[np.ndarray]:
        return self._colour.planes(self.frame)

    @cached_property
    def _sent(self) -> list[Tensor]:
        return self._upload.send(self._planes)

    @cached_property
    def _whole(self) -> Tensor:
        return self._colour.decode(self._upload.receive(self._sent))

    @cached_property
    def rgb(self) -> Tensor:
        """[N, 3, H, W] float32 in [0, 1], which is what models see and make."""
        return self._whole.clamp(0, 1)

    @cached_property
    def outside(self) -> Tensor:
        """What `rgb` has lost by it. Blended, so that blacks and strong colours do not flicker."""
        return self._whole - self.rgb

    @property
    def image(self) -> Glimpse:
        """[H, W, 3], for detectors."""
        return Glimpse(self._colour, self._planes)

    @cached_property
    def thumb(self) -> np.ndarray:
        return scenes.thumbnail(self.image)


class Work(NamedTuple):
    """A source frame, the next one, and the time between them; of a chunk's end only its number."""

    chunk: int
    span: schedules.Span | None = None
    left: Shown | None = None
    right: Shown | None = None
    repairs: Mapping[str, int] = {}  # of a chunk's end: how many source frames, by `repairs.KINDS`


class Made(NamedTuple):
    """An output frame: the codes of one that was made, or the source frame `original`; of a chunk's end only
    its number."""

    chunk: int
    slot: schedules.Slot | None = None
    original: av.VideoFrame | None = None
    codes: Coming | None = None
    repairs: Mapping[str, int] = {}


def between(
    work: Work, schedule: schedules.ConstantRate | schedules.OwnTimes, model: torch.nn.Module, batch: int
) -> Iterator[tuple[schedules.Slot, Tensor | None]]:
    """The output frames from a source frame to the next, [N, 3, H, W]; None is the source frame itself."""
    slots = schedule.slots(work.span)
    while some := list(islice(slots, batch)):
        times = [float(slot.timestep) for slot in some if not slot.original]
        frames = iter(model.interpolate(work.left.rgb, work.right.rgb, times).unbind(1) if times else ())
        for slot in some:
            yield slot, None if slot.original else next(frames)


def made(
    works: Iterator[Work],
    schedule: schedules.ConstantRate | schedules.OwnTimes,
    model: torch.nn.Module,
    batch: int,
    colour: Converter,
    download: Download,
) -> Iterator[Made]:
    """Every output frame, in order; the device may still be at work on it."""
    with torch.inference_mode():
        for work in works:
            chunk, span, a, b, repairs = work
            if span is None:
                yield Made(chunk, repairs=repairs)
                continue
            for slot, frame in between(work, schedule, model, batch):
                if frame is None:
                    yield Made(chunk, slot, original=a.frame)
                else:
                    outside = torch.lerp(a.outside, b.outside, float(slot.timestep))
                    yield Made(chunk, slot, codes=download.send(colour.codes(frame + outside)))


def settled(items: Iterator[Made]) -> Iterator[Made]:
    """The same when the device is done with them, each one late: meanwhile it has the next one to compute.

    So the thread that has the model waits for it, and `Profile` does not take its time for the encoder's.
    """
    before: Made | None = None
    end: Exception | None = None
    while end is None:
        try:
            item = next(items)
        except Exception as error:  # what was made before it is good: it may complete a chunk
            item, end = None, error
        if before is not None:
            if before.codes is not None:
                before.codes.wait()
            yield before
        before = item
    if not isinstance(end, StopIteration):
        raise end


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
