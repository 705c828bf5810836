"""How long a file should be by its own header: what is cut off a recording, nothing else tells."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

__all__ = ["SEGMENT", "ebml_number", "missing_bytes"]

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"


def missing_bytes(path: Path) -> int:
    """Bytes that a Matroska, WebM or AVI file lacks; 0 where none, or where the file does not say.

    A Matroska segment states its length, unless it was written as a live stream.
    """
    with path.open("rb") as file:
        head = file.read(4)
        end = 0
        if head == b"RIFF":
            end = 8 + int.from_bytes(file.read(4), "little")
        elif head == EBML:
            file.seek(ebml_number(file) or 0, 1)
            if file.read(4) == SEGMENT:
                length = ebml_number(file)
                end = file.tell() + length if length else 0
    return max(0, end - path.stat().st_size)


def ebml_number(file: BinaryIO) -> int | None:
    """An EBML length: as many bytes as its first one has leading zeros and one; all ones mean unknown."""
    first = file.read(1) or b"\0"
    extra = 8 - first[0].bit_length()
    if extra == 8:
        return None
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + file.read(extra), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
