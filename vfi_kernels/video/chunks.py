"""Making the chunks of a plan: each one a file that is there when it is complete."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain

import torch

from . import cadence, scenes
from . import schedule as schedules
from ._av import av
from .cutting import Chunk, check_length, schedule_for, warm
from .encoding import Encoding, Writer, complete_or_absent
from .locks import Busy, Lock
from .pipeline import Ahead, Download, Made, Profile, Shown, Upload, Work, made, profile_of, settled
from .plan import Plan, encoding_for, save
from .sources import Source, open_source
from .tiling import tiled

__all__ = ["make", "works"]


def make(
    plan: Plan,
    model: torch.nn.Module,
    indices: Iterable[int],
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] = lambda frames: None,
) -> Profile:
    """Make some chunks, in the order given; those that join are read in one go.

    Each is locked from when it is read until it is there. Those that are there already are left as they are,
    and so are those that another process makes.

    Args:
        plan: what to do.
        model: as `vfi_kernels.models.create` gives.
        indices: numbers of chunks.
        device: where the model runs.
        progress: called after every frame with how many there are now.

    Returns:
        Where the time went.

    Raises:
        Busy: another process makes some of them; all others are there.
        VideoError: a file cannot be read or written.
        ValueError: options that contradict each other.
    """
    options = plan.options
    stop = threading.Event()
    begin = time.perf_counter()
    with ExitStack() as stack:
        claims = stack.enter_context(_Claims(plan))
        with open_source(plan.source, options) as reader:
            schedule = schedule_for(reader, options)
            encoding = encoding_for(reader, plan.target, options)
        device = torch.device(device)
        # What may fail on a device comes first: no thread is at work then that would have to be ended.
        model = tiled(model, options.tile).to(device).eval()
        download = Download(device)
        read = Ahead(works(plan, filter(claims.take, indices), encoding, device), "read", stop)
        stack.callback(read.join)
        frames = made(read, schedule, model, options.batch, encoding.colour, download)
        ready = Ahead(settled(frames), "model", stop)
        stack.callback(ready.join)
        stack.callback(stop.set)  # the last in is the first out
        done = 0

        def written() -> None:
            nonlocal done
            done += 1
            progress(done)

        for first in ready:
            _write(plan, encoding, schedule, first, ready, written)
            claims.done(first.chunk)
        claims.check()
        return profile_of(read, ready, done, time.perf_counter() - begin)


class _Claims:
    """The chunks that this process makes now. Use it in a `with` block."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._locks: dict[int, Lock] = {}
        self._others: dict[int, Busy] = {}

    def take(self, index: int) -> bool:
        """Whether to make a chunk: it is not there, and nobody else makes it."""
        try:
            lock = self._plan.lock(index)
        except Busy as busy:
            self._others[index] = busy
            return False
        if lock is not None:
            self._locks[index] = lock
        return lock is not None

    def done(self, index: int) -> None:
        """A chunk is there."""
        self._locks.pop(index).release()

    def check(self) -> None:
        """
        Raises:
            Busy: chunks were left to other processes.
        """
        for index, busy in self._others.items():
            if self._plan.facts(index) is None:
                raise Busy(f"{self._plan.folder}: chunk {index} is being made by {busy}")

    def __enter__(self) -> _Claims:
        return self

    def __exit__(self, *_: object) -> None:
        for lock in self._locks.values():
            lock.release()


def _write(
    plan: Plan,
    encoding: Encoding,
    schedule: schedules.ConstantRate | schedules.OwnTimes,
    first: Made,
    rest: Iterator[Made],
    written: Callable[[], None],
) -> None:
    """One chunk, from its first frame to the mark of its end."""
    index, size, frames, delay, item = first.chunk, 0, [], 0, first
    # About as large as the one before.
    plan.check_free((plan.facts(index - 1) or {"bytes": 0})["bytes"] if index else 0)
    if first.slot is not None:
        path = plan.stem(index).with_suffix(encoding.chunk_suffix)
        with complete_or_absent(path) as temporary:
            with Writer(temporary, encoding) as writer:
                while item.slot is not None:
                    _encode(writer, item, schedule)
                    written()
                    item = next(rest)
            size, frames, delay = os.stat(temporary).st_size, writer.frames, writer.delay
    facts = {"frames": frames, "delay": delay, "bytes": size, "repairs": item.repairs}
    save(plan.stem(index).with_suffix(".json"), facts)


def _encode(writer: Writer, item: Made, schedule: schedules.ConstantRate | schedules.OwnTimes) -> None:
    if item.codes is None:
        frame = writer.colour.original(item.original)
    else:
        frame = writer.colour.packed(item.codes.planes)
    writer.write(frame, round(item.slot.time / schedule.step), round(item.slot.length / schedule.step))


class _Tape:
    """The source's frames from some place on, the next one in view."""

    def __init__(self, frames: Iterator[Shown]) -> None:
        self._frames = frames
        self.next = next(frames, None)

    def until(self, stop: Fraction | None) -> Iterator[Shown]:
        """The frames before `stop`, or all."""
        while self.next is not None and (stop is None or self.next.time < stop):
            shown, self.next = self.next, next(self._frames, None)
            yield shown

    def following(self) -> Iterator[Shown]:
        """The next frame, left where it is."""
        if self.next is not None:
            yield self.next


class _Source:
    """The source, read from where a chunk begins."""

    def __init__(self, plan: Plan, chunk: Chunk, encoding: Encoding, device: torch.device) -> None:
        self._plan, self._encoding, self._upload = plan, encoding, Upload(device)
        self.reader = self._open()
        if chunk.seek is not None:
            if self._skip(self.reader.frames_from(chunk.seek.key), chunk) == chunk.seek.lead:
                return
            # The index led elsewhere: from the start every frame is found.
            self.reader.close()
            self.reader = self._open()
        self._skip(self.reader.frames(), chunk)

    def _open(self) -> Source:
        # Other threads are at work: how colours are coded the encoding knows.
        return open_source(self._plan.source, self._plan.options, for_frames=True)

    def _skip(self, frames: Iterator[tuple[av.VideoFrame, Fraction]], chunk: Chunk) -> int:
        """Goes to the first frame of the chunk; how many lie before it."""
        self._repairs: list[tuple[Fraction, Counter[str]]] = []  # what was done to the frame of a time
        tape = _Tape(self._shown(frames))
        skipped, last = 0, deque(maxlen=warm(self._plan.options))
        for shown in tape.until(chunk.start):
            last.append(shown)
            skipped += 1
        self.tape = _Tape(self._judged(chain(last, tape.until(None))))
        for _ in self.tape.until(chunk.start):
            pass
        return skipped

    def _shown(self, frames: Iterator[tuple[av.VideoFrame, Fraction]]) -> Iterator[Shown]:
        colour = self._encoding.converter()  # of its own: this is another thread than the writer's
        before = Counter(self.reader.repairs)
        for frame, at in frames:
            if done := self.reader.repairs - before:
                self._repairs.append((at, done))
                before = Counter(self.reader.repairs)
            yield Shown(frame, at, colour, self._upload)

    def _judged(self, frames: Iterator[Shown]) -> Iterator[Shown]:
        """With their cuts, and re-timed, as far as that is wished: what the detectors see does not depend on
        where chunks begin."""
        options = self._plan.options
        if options.scene_cuts:
            frames = _with_cuts(frames, scenes.CutDetector(options.scene_threshold))
        return _retimed(frames) if options.duplicates == "retime" else frames

    def works(self, index: int) -> Iterator[Work]:
        """The frames of the next chunk, with what is between them, and the mark of its end."""
        chunk = self._plan.chunks[index]
        left = None
        for number, right in enumerate(chain(self.tape.until(chunk.stop), self.tape.following())):
            right.prepare()
            if left is not None:
                yield Work(index, schedules.Span(number - 1, left.time, right.time, right.cut), left, right)
            left, last = right, number
        if left is not None and self.tape.next is None:
            # How long the last frame is shown nobody has promised before.
            check_length(self.reader, self.reader.end, last + 1, self._plan.options)
            # Nothing follows to be interpolated towards: it is held for as long.
            yield Work(index, schedules.Span(last, left.time, self.reader.end, True), left, left)
        repairs: Counter[str] = Counter()
        for at, done in self._repairs:
            if at >= chunk.start and (chunk.stop is None or at < chunk.stop):
                repairs += done
        yield Work(index, repairs=repairs)


def _with_cuts(frames: Iterator[Shown], cuts: scenes.CutDetector) -> Iterator[Shown]:
    for shown in frames:
        shown.cut = cuts(shown.thumb)
        yield shown


def _retimed(frames: Iterator[Shown]) -> Iterator[Shown]:
    timed = ((shown, shown.time) for shown in frames)
    for shown, shown.time in cadence.retimed(timed, lambda a, b: scenes.repeats(a.image, b.image)):
        yield shown


def works(plan: Plan, indices: Iterable[int], encoding: Encoding, device: torch.device) -> Iterator[Work]:
    """The frames of these chunks, with what is between them, and the mark of each chunk's end."""
    source = before = None
    for index in indices:
        if source is None or index != before + 1:
            if source is not None:
                source.reader.close()
            source = _Source(plan, plan.chunks[index], encoding, device)
        before = index
        yield from source.works(index)
    if source is not None:
        source.reader.close()
