"""What streams are called: language, title, disposition; and which of it a container holds.

FFmpeg's muxers leave out in silence what theirs has no place for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ._av import av

__all__ = ["Tags", "kept"]

Disposition = av.stream.Disposition

# Tags that containers or encoders write about their own file.
OWN = (
    "major_brand",
    "minor_version",
    "compatible_brands",
    "encoder",
    "duration",
    "handler_name",
    "vendor_id",
    "alpha_mode",
)
STATISTICS = ("BPS", "NUMBER_OF_", "_STATISTICS_", "DURATION")


class Held(NamedTuple):
    """What a container holds of each stream."""

    languages: tuple[str, ...] = ()  # of which types of streams
    title: bool = False
    dispositions: str = ""


ALL = ("video", "audio", "subtitle")
HELD = {
    "matroska": Held(ALL, True, "dub original comment forced hearing_impaired visual_impaired descriptions"),
    "webm": Held(ALL, True, "forced"),
    "mp4": Held(ALL, True, "dub comment forced hearing_impaired visual_impaired captions descriptions"),
    "mov": Held(ALL, True),
    "ipod": Held(ALL),
    "3gp": Held(ALL),
    "asf": Held(ALL),
    "nut": Held(ALL, True, "dub original comment lyrics karaoke"),
    "mpegts": Held(("audio", "subtitle"), False, "hearing_impaired visual_impaired clean_effects"),
    "avi": Held((), True),
}

# Said elsewhere, or by the order of the streams.
UNTOLD = Disposition.default | Disposition.attached_pic | Disposition.timed_thumbnails

# MOV numbers languages, these: of German it knows "ger", not "deu".
QUICKTIME = (
    "eng fra ger ita dut sve spa dan por nor heb jpn ara fin gre ice mlt tur chi urd hin tha kor lit "
    "pol hun est lav smi per rus iri alb ron ces slk slv yid mac bul ukr bel uzb kaz aze arm geo mol "
    "kir tgk tuk mon pus kur kas snd tib nep san mar ben asm guj ori mal kan tam tel sin bur khm lao "
    "vie ind tgl may amh tir orm som swa kin run nya mlg epo wel baq cat lat que grn aym tat uig dzo "
    "jav"
)


class Tags:
    """Passes on what streams are called, and remembers what the container does not hold of it."""

    def __init__(self, kind: str) -> None:
        """
        Args:
            kind: FFmpeg's name of the container.
        """
        self._kind, self._held = kind, HELD.get(kind, Held())
        self._lost: dict[str, list[str]] = {}

    def copy(self, source: av.stream.Stream, made: av.stream.Stream | None) -> None:
        """From a stream of the source to the one made of it; None where that has no place for any."""
        tags = kept(source.metadata)
        for each in Disposition:
            if each & source.disposition & ~UNTOLD and each.name not in self._held.dispositions.split():
                self._lose("dispositions of streams", each.name)
        language = tags.get("language")
        spoken = self._kind != "mov" or f" {language} " in f" {QUICKTIME} "
        if language and not (source.type in self._held.languages and spoken):
            self._lose("languages of streams", language)
        if "title" in tags and not self._held.title:
            self._lose("titles of streams", tags["title"])
        if made:
            made.metadata.update(tags)
            made.disposition = source.disposition

    def losses(self) -> Iterator[str]:
        """One line for each thing that is lost."""
        for what, values in self._lost.items():
            yield f"{self._kind} does not hold {what} ({', '.join(values)}); an .mkv output does"

    def _lose(self, what: str, value: str) -> None:
        values = self._lost.setdefault(what, [])
        if value not in values:
            values.append(value)


def kept(tags: dict[str, str]) -> dict[str, str]:
    """Tags that are about the work, not the file; MP4 calls a stream's title its name."""
    tags = {k: v for k, v in tags.items() if k.lower() not in OWN and not k.startswith(STATISTICS)}
    if "name" in tags:
        tags.setdefault("title", tags.pop("name"))
    return {k: v for k, v in tags.items() if (k, v) != ("language", "und")}
