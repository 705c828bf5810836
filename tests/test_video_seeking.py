"""Where reading for a chunk starts: near it, also in files that have no index."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from test_video_chunks import BLEND, clip_of

from vfi_kernels import cli
from vfi_kernels.video import Options, chunks, jobs, reading
from vfi_kernels.video.demuxing import packets

F = Fraction


def test_chunks_are_found_without_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk reads what it needs, not all that lies before it."""
    source, read = clip_of(tmp_path, "in.ts", 600, sound=None), 0

    def counted(*given: Any) -> Iterator[av.Packet]:
        nonlocal read
        for packet in packets(*given):
            read += 1
            yield packet

    plan = jobs.begin(
        source, tmp_path / "out.ts", Options(chunk_seconds=F(2)), BLEND, warn=lambda message: None
    )
    assert len(plan.chunks) == 12
    monkeypatch.setattr(reading, "packets", counted)
    for index in range(12):
        chunks.make(plan, BLEND, [index])
    assert read < 12 * (50 + 100)  # from the start they would be 600 * 12 / 2 and more


def test_chunks_that_have_to_read_all_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, told in (("in.h264", "4 of 5 chunks have to decode all that lies before them"), ("in.ts", "")):
        source = clip_of(tmp_path, name, sound=None)
        words = ["plan", source, tmp_path / f"{name}.mkv", "--model", "blend", "--chunk-seconds", "0.4"]
        assert cli.main([str(word) for word in words]) == 0
        error = capsys.readouterr().err
        assert told in error
        assert error.count("\n") == bool(told)
