"""What is made of a damaged source by those who want to keep going, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple

from ._av import av

__all__ = ["Due", "Shape", "fitted", "told"]

# What was done to frames, and what is told of it after their number.
KINDS = {
    "held": "could not be decoded, and the last good one was held",
    "scaled": "of another size or format were scaled to that of the first",
    "moved": "whose time stamps went back follow the ones before them",
    "hidden": "have the time stamp of the one after them, and are not shown",
}


def told(repairs: Mapping[str, int]) -> list[str]:
    """A line for each of `KINDS` that there is, with its number of frames."""
    return [f"{repairs[kind]} frames {what}" for kind, what in KINDS.items() if repairs.get(kind)]


class Shape(NamedTuple):
    """What all frames of a source have in common."""

    width: int
    height: int
    format: str

    @classmethod
    def of(cls, frame: av.VideoFrame) -> Shape:
        return cls(frame.width, frame.height, frame.format.name)

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.format}"


def fitted(frame: av.VideoFrame, shape: Shape) -> av.VideoFrame:
    """The frame in the size and format that the others have."""
    return frame.reformat(*shape, interpolation="BICUBIC")


class Due:
    """Time stamps of packets whose frames have not come yet. Frames come in the order of display."""

    def __init__(self) -> None:
        self.failures = 0
        self._stamps: list[int] = []

    @property
    def first(self) -> int | None:
        return min(self._stamps, default=None)

    def sent(self, packet: av.Packet) -> None:
        """The decoder gets a packet."""
        if packet.pts is not None and packet.size and not packet.is_discard:
            self._stamps.append(packet.pts)

    def missed(self, stamp: int | None) -> list[int]:
        """The stamps before that of a frame that has come, as far as there were failures.

        Without one they are none: some packets hold no frame of their own.
        """
        if stamp is None:
            return []
        gone = sorted(due for due in self._stamps if due < stamp)
        self._stamps = [due for due in self._stamps if due > stamp]
        lost, self.failures = gone[: self.failures], max(0, self.failures - len(gone))
        return lost

    def after(self, stamp: int | None, interval: Fraction) -> list[int]:
        """Those so much later than the last frame that they were frames, not its second field."""
        return sorted(due for due in self._stamps if stamp is not None and due - stamp > interval * 3 / 4)
