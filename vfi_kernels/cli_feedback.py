"""What a command that makes a video tells while it does: a bar for people, lines of JSON for programs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from .cli_common import event, warn

if TYPE_CHECKING:
    from .video.pipeline import Profile
    from .video.plan import Plan

__all__ = ["Feedback"]

# Seconds between two lines of progress.
EVERY = 0.5


class Feedback:
    """Use it in a `with` block around the work.

    For people, on stderr: a bar with rate and time left and at the end a table, on a terminal only; warnings.
    For programs, on stdout, one JSON object a line, each with "event":
        start: source, target, frames (null where unknown), chunks
        progress: frames, of, rate (a second, of this run), left (seconds)
        warning: message
        done: frames, seconds, target, bytes, stages (seconds busy and waiting of each)
    And an error, from who ends the command: message, code.
    """

    def __init__(self, as_json: bool = False, with_profile: bool = False) -> None:
        self._json, self._with_profile = as_json, with_profile
        self._stdout = sys.stdout  # Ray's is not ours: `video.cluster`
        self._bar, self._plan, self._profile = None, None, None
        self._begin = self._last = time.monotonic()
        self._first: int | None = None

    def __enter__(self) -> Feedback:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def start(self, plan: Plan, total: int | None) -> None:
        self._plan = plan
        self._event(
            "start",
            source=str(plan.source),
            target=str(plan.target),
            frames=total,
            chunks=len(plan.chunks),
        )

    def left(self) -> str:
        """What there is to go on with, once the work has begun; empty where nothing."""
        from .video import jobs

        return jobs.left(self._plan) if self._plan else ""

    def progress(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first, self._begin = done, now
        if self._json:
            if now - self._last < EVERY and done != total:
                return
            self._last = now
            rate = (done - self._first) / (now - self._begin) if now > self._begin else 0.0
            left = (total - done) / rate if total and rate else None
            self._event("progress", frames=done, of=total, rate=_rounded(rate), left=_rounded(left))
        elif sys.stderr.isatty():
            self._show(done, total)

    def _show(self, done: int, total: int | None) -> None:
        if self._bar is None:
            try:
                from tqdm import tqdm
            except ImportError as error:
                raise ImportError("the progress bar needs tqdm: pip install 'vfi-kernels[video]'") from error
            self._bar = tqdm(
                total=total, initial=self._first, unit=" frames", file=sys.stderr, dynamic_ncols=True
            )
        self._bar.update(done - self._bar.n)

    def warn(self, message: str) -> None:
        if self._json:
            self._event("warning", message=message)
        else:
            warn(message)

    def profile(self, profile: Profile) -> None:
        self._profile = profile

    def done(self, frames: int) -> None:
        """The output is there."""
        from .video import sequences

        target, profile = self._plan.target, self._profile
        size = sum(file.stat().st_size for file in sequences.written(target))
        if self._json:
            stages = {
                stage.name: {"busy": _rounded(stage.busy), "waiting": _rounded(stage.waiting)}
                for stage in profile.stages
            }
            self._event(
                "done",
                frames=frames,
                seconds=_rounded(profile.seconds),
                target=str(target),
                bytes=size,
                stages=stages,
            )
            return
        if self._bar is not None:
            self._bar.close()
        lines = []
        if self._with_profile or sys.stderr.isatty():
            rate = profile.frames / profile.seconds if profile.seconds else 0.0
            lines += [
                f"{'output':8} {target}, {size / 1e6:.1f} MB",
                f"{'frames':8} {frames}, of which {profile.frames} now, in {profile.seconds:.1f} s: "
                f"{rate:.1f} a second",
            ]
        if self._with_profile:
            lines.append(f"{'stage':8} {'busy':>6} {'waiting':>8}")
            for stage in profile.stages:
                shares = (share / profile.seconds for share in (stage.busy, stage.waiting))
                busy, waiting = (f"{share:.0%}" for share in shares)
                lines.append(f"{stage.name:8} {busy:>6} {waiting:>8}")
        for line in lines:
            print(line, file=sys.stderr)

    def _event(self, kind: str, **values: Any) -> None:
        if self._json:
            event(kind, self._stdout, **values)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
