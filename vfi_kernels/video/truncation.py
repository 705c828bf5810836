"""How long a file should be by its own header: of what is cut off a recording, nothing else tells."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

__all__ = ["SEGMENT", "ebml_number", "missing_bytes"]

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
# ASF's header, and the part of it with the file's size.
ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_bytes(path: Path) -> int:
    """Bytes, at least, that a Matroska, WebM, AVI, ASF (WMV) or GIF file lacks; 0 where none, or where the
    file does not say.

    A Matroska segment states its length, unless it was written as a live stream, and so does ASF. A GIF ends
    in a byte of its own.
    """
    with path.open("rb") as file:
        head = file.read(4)
        end = 0
        if head == b"GIF8":
            file.seek(-1, 2)
            return int(file.read(1) != b";")
        if head == ASF[:4]:
            end = _asf_size(head + file.read(4096))
        elif head == b"RIFF":
            end = 8 + int.from_bytes(file.read(4), "little")
        elif head == EBML:
            file.seek(ebml_number(file) or 0, 1)
            if file.read(4) == SEGMENT:
                length = ebml_number(file)
                end = file.tell() + length if length else 0
    return max(0, end - path.stat().st_size)


def _asf_size(head: bytes) -> int:
    """What an ASF file's header says of its size; 0 where it is a live stream's."""
    at = head.find(ASF_FILE)
    if not head.startswith(ASF) or at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return 0
    return int.from_bytes(head[at + 40 : at + 48], "little")


def ebml_number(file: BinaryIO) -> int | None:
    """An EBML length: as many bytes as its first one has leading zeros and one; all ones mean unknown."""
    first = file.read(1) or b"\0"
    extra = 8 - first[0].bit_length()
    if extra == 8:
        return None
    bits = 7 * (extra + 1)
    value = int.from_bytes(first + file.read(extra), "big") & ((1 << bits) - 1)
    return None if value == (1 << bits) - 1 else value
