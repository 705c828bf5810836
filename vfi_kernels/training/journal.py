"""What a training tells: a line for people, `log.jsonl` for programs, TensorBoard for both."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor

from . import saving
from .objectives import Batch, Outcome
from .pictures import flow_picture

__all__ = ["Journal", "duration"]

# Samples in a picture.
SHOWN = 4


class Journal:
    """Use it in a `with` block around the training.

    `log.jsonl` has a JSON object a line, each with "step" (how many steps were done): of training "loss",
    "terms", "rate", "gradient", "frames_per_second", "data" (share of time), "seconds" (of earlier
    runs too); of validation "psnr" and "blend".

    Args:
        first: the step that the training begins with; what an earlier run told about later ones is removed.
        steps: of the whole training.
        batch: frames made in a step.
    """

    def __init__(self, folder: Path, first: int, steps: int, batch: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("training needs TensorBoard: pip install 'vfi-kernels[train]'") from error
        path = folder / "log.jsonl"
        self._earlier = _forget(path, first)
        self._lines = path.open("a")
        self._board = SummaryWriter(folder, purge_step=first + 1)
        self._first, self._steps, self._batch = first, steps, batch
        self._begin = self._last = time.monotonic()
        self._told, self._waited = first, 0.0

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.close()
        self._lines.close()

    def waited(self, seconds: float) -> None:
        """For data."""
        self._waited += seconds

    def step(self, done: int, terms: dict[str, float], rate: float, gradient: float) -> None:
        """After so many steps; times and shares are since it was last called."""
        now = time.monotonic()
        speed = (done - self._told) * self._batch / max(now - self._last, 1e-9)
        share = self._waited / max(now - self._last, 1e-9)
        left = (self._steps - done) * (now - self._begin) / (done - self._first)
        self._told, self._last, self._waited = done, now, 0.0
        loss = sum(terms.values())
        numbers = {f"loss/{name}": value for name, value in terms.items()}
        self._numbers(
            done,
            {
                "loss": loss,
                **numbers,
                "rate": rate,
                "gradient": gradient,
                "frames_per_second": speed,
                "time_in_data": share,
            },
        )
        self._line(
            step=done,
            loss=loss,
            terms=terms,
            rate=rate,
            gradient=gradient,
            frames_per_second=round(speed, 3),
            data=round(share, 4),
            seconds=round(self._earlier + now - self._begin, 3),
        )
        _tell(
            f"step {done}/{self._steps}  loss {loss:.5g}  {speed:.3g} frames/s  data {share:.0%}  "
            f"{duration(left)} left"
        )

    def validation(self, done: int, psnr: float, blend: float) -> None:
        self._numbers(done, {"psnr/model": psnr, "psnr/blend": blend})
        self._line(step=done, psnr=psnr, blend=blend)
        _tell(f"step {done}/{self._steps}  validation: {psnr:.2f} dB, blend {blend:.2f} dB")

    def stopped(self, done: int, why: str) -> None:
        _tell(f"{why}: saved after step {done}/{self._steps}; --resume goes on")

    def pictures(self, done: int, batch: Batch, outcome: Outcome) -> None:
        """Frame 0, what was made, the truth, how they differ, frame 1; a row a sample."""
        made, truth = _shown(outcome.frame), _shown(batch["target"])
        columns = [_shown(batch["frame0"]), made, truth, (made - truth).abs(), _shown(batch["frame1"])]
        if outcome.flow is not None:
            columns.append(flow_picture(outcome.flow[:SHOWN]))
        rows = torch.cat(columns, 3)
        self._board.add_image("frame0 made truth difference frame1 flow", torch.cat([*rows], 1), done)

    def _numbers(self, done: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._board.add_scalar(name, value, done)

    def _line(self, **values: object) -> None:
        self._lines.write(json.dumps(values) + "\n")
        self._lines.flush()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _shown(frames: Tensor) -> Tensor:
    return frames[:SHOWN].detach().float().cpu().clamp(0, 1)


def _forget(path: Path, first: int) -> float:
    """Lines about steps after the checkpoint that a training goes on from; they will come again.

    Returns:
        The seconds up to the last line that stays.
    """
    if not path.exists():
        return 0.0
    known, seconds = [], 0.0
    for line in path.read_text().splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # cut short when the process was killed
            continue
        if values["step"] <= first:
            known.append(line + "\n")
            seconds = values.get("seconds", seconds)
    saving.place(path, lambda unfinished: unfinished.write_text("".join(known)))
    return seconds
