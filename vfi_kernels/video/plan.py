"""What is to be done to one video, cut into chunks, and the manifest that says so to every machine.

A chunk is a range of the source's time, and a pure function of the source and the options: whoever makes it,
alone or in one go with others, gets the same bytes. Its first frames' cuts, and the times of repeats, depend
on the frames before it, so reading starts at a key frame at least `warm` frames earlier.

The work folder, `<output>.vfi` beside the output:
    manifest.json   the plan: `Plan.to_json`
    run.lock        who plans, merges, or does all from one command, while it does
    00012.lock      who makes chunk 12, while it does
    00012.nut       the pictures of chunk 12, complete as soon as
    00012.json      is there: {"frames": [[number, length], ...] in steps, "delay": packets, "bytes": size,
                   "repairs": how many frames of the source, by `repairs.KINDS`}
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from . import locks, sequences
from ._av import VideoError, av
from .cutting import Chunk, Mark, Seek, chunk_of, chunks_of, schedule_for
from .encoding import Encoding, complete_or_absent, guarded
from .options import Options
from .sources import Source, identity

__all__ = [
    "MANIFEST",
    "Plan",
    "encoding_for",
    "in_words",
    "make",
    "read",
]

VERSION = 1
MANIFEST = "manifest.json"
LOCK = "run.lock"
UNFINISHED = r"\.{}\.[0-9a-f]{{8}}\.part(\.\w+)?"
OURS = re.compile(r"manifest\.json|\d{5}\.(json|nut|mov)|" + UNFINISHED.format(".*"))


@dataclass(frozen=True)
class Plan:
    """
    Attributes:
        source: video file, absolute.
        size: its bytes, and
        modified: when it was last written, in nanoseconds: to tell whether it is still the same.
        target: the output, absolute.
        options: how.
        chunks: what is to be made, in order.
        versions: of what makes frames and encodes them, in words.
    """

    source: Path
    size: int
    modified: int
    target: Path
    options: Options
    chunks: tuple[Chunk, ...]
    versions: str

    @property
    def folder(self) -> Path:
        return folder_of(self.target)

    def stem(self, index: int) -> Path:
        """Where chunk `index` is, without suffix."""
        return self.folder / f"{index:05}"

    def facts(self, index: int) -> dict[str, Any] | None:
        """What is known of a finished chunk; None where it is not finished."""
        try:
            facts = json.loads(self.stem(index).with_suffix(".json").read_text())
            sizes = [path.stat().st_size for path in self.pictures(index)]
        except (OSError, ValueError):
            return None
        return facts if sum(sizes) == facts["bytes"] else None

    def pictures(self, index: int) -> list[Path]:
        """The file of a finished chunk's pictures; none where no output frame falls into it."""
        return [path for path in map(self.stem(index).with_suffix, (".nut", ".mov")) if path.is_file()]

    def missing(self) -> list[int]:
        """The chunks that are not finished."""
        return [index for index in range(len(self.chunks)) if self.facts(index) is None]

    def check_source(self) -> None:
        """
        Raises:
            VideoError: the source is not the file it was.
        """
        if identity(self.source) != (self.size, self.modified):
            raise VideoError(f"{self.source}: has changed since {self.folder / MANIFEST} was written")

    def check_versions(self) -> None:
        """
        Raises:
            VideoError: other versions are installed than where the plan was made.
        """
        if self.versions != versions():
            raise VideoError(f"{self.folder / MANIFEST}: is of {self.versions}; here is {versions()}")

    def difference(self, other: Plan) -> str | None:
        """In what they differ, in words; None where they are one."""
        if self.source != other.source:
            return f"source {self.source}, not {other.source}"
        if (self.size, self.modified) != (other.size, other.modified):
            return "another version of the source"
        if self.versions != other.versions:
            return f"{self.versions}, not {other.versions}"
        return self.options.difference(other.options) or (None if self.chunks == other.chunks else "chunks")

    def to_json(self) -> dict[str, Any]:
        chunks = [
            {
                "start": str(chunk.start),
                "stop": chunk.stop and str(chunk.stop),
                "seek": chunk.seek and chunk.seek._asdict(),
            }
            for chunk in self.chunks
        ]
        return {
            "version": VERSION,
            "source": str(self.source),
            "size": self.size,
            "modified": self.modified,
            "target": str(self.target),
            "versions": self.versions,
            "options": self.options.to_json(),
            "chunks": chunks,
        }

    def write(self) -> None:
        """Writes the manifest, in the work folder that `held` has made."""
        save(self.folder / MANIFEST, self.to_json())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes the work folder, and keeps others from planning and merging in it.

        Raises:
            Busy: another process does.
        """
        while True:
            self.folder.mkdir(exist_ok=True)
            try:
                lock = locks.Lock(self.folder / LOCK)
                break
            except FileNotFoundError:
                pass  # who is done with it deletes the folder
            except locks.Busy as busy:
                raise locks.Busy(f"{self.folder}: {busy} is at work in it; wait for it or end it") from None
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):
                self.folder.rmdir()

    def lock(self, index: int) -> locks.Lock | None:
        """For making chunk `index`, of which it deletes what a killed run has left; None where it is there.

        Raises:
            Busy: another process makes it.
        """
        lock = locks.Lock(self.stem(index).with_suffix(".lock"))
        if self.facts(index) is not None:
            lock.release()
            return None
        clear(self.folder, re.compile(UNFINISHED.format(f"{index:05}")))
        return lock

    def maker(self) -> str | None:
        """Who makes a chunk now; None where nobody does."""
        return locks.others(list(self.folder.glob("[0-9]*.lock")))

    def clear_unfinished(self) -> None:
        """Deletes what a killed run was writing, but for chunks: of these others may make some."""
        clear(self.folder, re.compile(UNFINISHED.format(r"(?!\d{5}\.).*")))

    def check_free(self, needed: int) -> None:
        """
        Raises:
            VideoError: the disk has not `needed` bytes left.
        """
        free = self.free
        if free < needed:
            raise VideoError(
                f"{self.target.parent}: disk full, {in_words(needed)} needed, {in_words(free)} free"
            )

    @property
    def free(self) -> int:
        """Bytes left on the disk."""
        return shutil.disk_usage(self.target.parent).free

    def discard(self) -> None:
        """Deletes what is ours in the work folder, unless another process makes a chunk in it; and the folder
        itself if that was all."""
        if not self.maker():
            clear(self.folder, OURS)
        with suppress(OSError):
            self.folder.rmdir()


def folder_of(target: Path) -> Path:
    return target.with_name(target.name + ".vfi")


def in_words(count: int) -> str:
    """A number of bytes."""
    unit, size = next((u for u in (("GB", 1e9), ("MB", 1e6)) if count >= u[1]), ("kB", 1e3))
    return f"{count / size:.2f} {unit}"


def clear(folder: Path, pattern: re.Pattern[str]) -> None:
    for path in folder.iterdir() if folder.is_dir() else ():
        if pattern.fullmatch(path.name):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def save(path: Path, content: dict[str, Any]) -> None:
    with guarded(str(path)), complete_or_absent(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def read(path: Path) -> Plan:
    """The plan in a work folder, or in its manifest.

    Raises:
        VideoError: there is none.
    """
    path = path / MANIFEST if path.is_dir() else path
    try:
        values = json.loads(path.read_text())
        if values["version"] != VERSION:
            raise VideoError(f"{path}: expected version {VERSION}; got {values['version']}")
        chunks = tuple(
            Chunk(
                Fraction(chunk["start"]),
                chunk["stop"] and Fraction(chunk["stop"]),
                chunk["seek"] and Seek(**chunk["seek"]),
            )
            for chunk in values["chunks"]
        )
        return Plan(
            Path(values["source"]),
            values["size"],
            values["modified"],
            Path(values["target"]),
            Options.from_json(values["options"]),
            chunks,
            values["versions"],
        )
    except OSError as error:
        raise VideoError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise VideoError(f"{path}: is not a plan ({error!r})") from error


def make(
    source: Path,
    target: Path,
    reader: Source,
    marks: list[Mark],
    options: Options,
    part: tuple[Fraction, Fraction] | None = None,
) -> Plan:
    """Cut the source into chunks of about `options.chunk_seconds`; `marks` are the reader's.

    Args:
        part: from when to when, seconds after the first frame: one chunk of it; None is all.

    Raises:
        VideoError: there is no such file, or the output would be too long.
    """
    size, modified = identity(source)
    chunks = (chunk_of(reader, marks, options, *part),) if part else chunks_of(reader, marks, options)
    return Plan(source.resolve(), size, modified, target.resolve(), options, chunks, versions())


def versions() -> str:
    """Those of this machine, of which others may make other bytes."""
    return f"vfi_kernels {__version__}, torch {torch.__version__}, PyAV {av.__version__}"


def encoding_for(
    reader: Source, target: Path, options: Options, warn: Callable[[str], None] = lambda message: None
) -> Encoding:
    """
    Raises:
        ValueError, VideoError: as of `schedule_for` and `Encoding`.
    """
    schedule = schedule_for(reader, options)
    return Encoding(
        target,
        reader.first,
        fps=schedule.fps,
        step=schedule.step,
        start=reader.start,
        codec=sequences.codec_of(target) or options.codec,
        crf=options.crf,
        preset=options.preset,
        aspect=reader.aspect,
        siting=reader.siting,
        warn=warn,
    )
