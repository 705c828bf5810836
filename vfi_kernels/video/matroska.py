"""The shape of pixels in a finished Matroska or WebM file.

FFmpeg's muxer takes it from a place that PyAV does not set. H.264 and its kin say it in the packets as well,
FFV1, VP9 and AV1 do not: so it is put where players look, into the header, whose padding gives way.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from io import BytesIO
from itertools import islice
from pathlib import Path

from .truncation import SEGMENT, ebml_number

__all__ = ["set_aspect"]

# Names of elements: RFC 9559.
SEEK_HEAD, VOID, INFO, TRACKS = (bytes.fromhex(name) for name in ("114D9B74", "EC", "1549A966", "1654AE6B"))
SEEK, SEEK_ID, SEEK_POSITION, CRC = (bytes.fromhex(name) for name in ("4DBB", "53AB", "53AC", "BF"))
ENTRY, KIND, VIDEO, WIDTH, HEIGHT = (bytes.fromhex(name) for name in ("AE", "83", "E0", "B0", "BA"))
UNIT, SHOWN_WIDTH, SHOWN_HEIGHT = (bytes.fromhex(name) for name in ("54B2", "54B0", "54BA"))

# More than there is before the fonts, unless subtitles' styles are a book.
HEADER = 1 << 20


def set_aspect(path: Path, aspect: Fraction) -> bool:
    """Say in a file's header that the pixels of its first pictures are `aspect` times as wide as high.

    Returns:
        Whether that could be done: the header is as FFmpeg writes it, and not too long to be read at once.
    """
    with path.open("r+b") as file:
        data = file.read(HEADER)
        start = data.index(SEGMENT) + len(SEGMENT) + 8  # FFmpeg's lengths of segments have eight bytes
        first = list(islice(_elements(data[start:]), 4))
        if [name for name, _, _ in first] != [SEEK_HEAD, VOID, INFO, TRACKS]:
            return False
        (_, seek, _), _, (_, info, _), (_, tracks, stop) = first
        if start + stop > len(data):
            return False
        info, tracks = _element(INFO, info), _element(TRACKS, _shaped(tracks, aspect))
        # Only what lies before the end of the tracks moves.
        places = {INFO: stop - len(tracks) - len(info), TRACKS: stop - len(tracks)}
        seek = _element(SEEK_HEAD, _pointing(seek, places))
        padding = places[INFO] - len(seek) - len(_element(VOID, b"", 8))
        if padding < 0:
            return False
        file.seek(start)
        file.write(seek + _element(VOID, bytes(padding), 8) + info + tracks)
    return True


def _shaped(tracks: bytes, aspect: Fraction) -> bytes:
    """The body of the tracks, with the size at which the first one of pictures is to be shown."""
    entries = _children(tracks)
    number = next(k for k, (_, body) in enumerate(entries) if (KIND, b"\1") in _children(body))
    entry = _children(entries[number][1])
    video = dict(_children(dict(entry)[VIDEO]))
    width, height = (int.from_bytes(video[name], "big") for name in (WIDTH, HEIGHT))
    wide = max(aspect, 1)
    video |= {SHOWN_WIDTH: _bytes(round(width * wide)), SHOWN_HEIGHT: _bytes(round(height * wide / aspect))}
    video.pop(UNIT, None)  # "unknown"; pixels where it is missing
    whole = _joined((name, _joined(video.items()) if name == VIDEO else body) for name, body in entry)
    entries[number] = (ENTRY, whole)
    return _joined(entries)


def _pointing(seek: bytes, places: dict[bytes, int]) -> bytes:
    """The body of the table of contents, where these elements have moved to these places."""
    entries = []
    for name, body in _children(seek):
        if name == SEEK:
            entry = dict(_children(body))
            if entry[SEEK_ID] in places:
                entry[SEEK_POSITION] = _bytes(places[entry[SEEK_ID]])
            body = _joined(entry.items())
        entries.append((name, body))
    return _joined(entries)


def _elements(data: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """The name and the body of each element, and where it ends, maybe beyond the data."""
    file = BytesIO(data)
    while first := file.read(1):
        name = first + file.read(8 - first[0].bit_length())
        length = ebml_number(file) or 0
        stop = file.tell() + length
        yield name, file.read(length), stop


def _children(body: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, inside) for name, inside, _ in _elements(body)]


def _joined(elements: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A body of these elements; the checksum in front, where there is one, made anew."""
    kept = list(elements)
    body = b"".join(_element(name, inside) for name, inside in kept if name != CRC)
    if kept[0][0] != CRC:
        return body
    return _element(CRC, zlib.crc32(body).to_bytes(4, "little")) + body


def _element(name: bytes, body: bytes, digits: int | None = None) -> bytes:
    """An element; `digits` are the bytes of its length, as few as possible where it is not given."""
    digits = digits or len(body).bit_length() // 7 + 1
    return name + (len(body) | 1 << 7 * digits).to_bytes(digits, "big") + body


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
