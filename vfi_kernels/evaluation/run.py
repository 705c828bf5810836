"""Models on benchmarks: every true frame made again, and measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from ..models.base import Interpolator
from ..video import psnr, to_tensor
from ..video.sheet import Worst
from .benchmarks import Item, Part, Protocol
from .metrics import Metric, Pair

__all__ = ["Result", "evaluate"]


@dataclass
class Result:
    """What a model reached in a part.

    Attributes:
        whole: whether all pairs of the part were taken.
        columns: the measures.
        rows: of each made frame its name, timestep, and the measures by name.
        seconds: that the model took for all frames.
    """

    model: str
    part: str
    whole: bool
    columns: Sequence[Metric]
    rows: list[tuple[str, float, dict[str, float]]] = field(default_factory=list)
    seconds: float = 0.0

    def mean(self, column: str) -> float:
        """Over the frames that count; NaN where none does."""
        values = [row[column] for _, _, row in self.rows if math.isfinite(row[column])]
        return math.fsum(values) / len(values) if values else math.nan

    def counted(self, column: str) -> int:
        return sum(math.isfinite(row[column]) for _, _, row in self.rows)


@torch.inference_mode()
def evaluate(
    parts: Sequence[Part],
    models: Mapping[str, Interpolator],
    *,
    limit: int | None = None,
    more: Sequence[Metric] = (),
    device: torch.device | str = "cpu",
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> tuple[list[Result], dict[str, Worst[str]]]:
    """Every model on every part. Frames are loaded once for all models.

    Args:
        models: by the name that they have in the report.
        limit: pairs of each part at most; None for all.
        more: measures besides those of the protocols.
        progress: called after every pair and model with how many there were, and of how many.

    Returns:
        Part by part the results of the models, and the worst frames of each.

    Raises:
        TimestepError: a model cannot make a timestep of the benchmark.
    """
    counts = [part.count if limit is None else min(limit, part.count) for part in parts]
    total, done = sum(counts) * len(models), 0
    ready = {name: model.to(device).eval() for name, model in models.items()}
    worst: dict[str, Worst[str]] = {name: Worst() for name in models}
    results = []
    for part, count in zip(parts, counts, strict=True):
        columns = (*part.protocol.metrics, *more)
        found = {name: Result(name, part.name, count == part.count, columns) for name in models}
        for item in _ahead(islice(part.items(), count)):
            for name, model in ready.items():
                result = found[name]
                begin = time.perf_counter()
                made = _made(model, item, part.protocol, device)
                result.seconds += time.perf_counter() - begin
                for (timestep, truth), exact in zip(item.truths, made, strict=True):
                    pair = _pair(exact, truth, item, part.protocol)
                    row = {column.name: column.measure(pair) for column in columns}
                    result.rows.append((item.name, timestep, row))
                    title = f"{part.name}: {item.name} at {timestep:g}"
                    images = (item.before, truth, pair.made, item.after)
                    worst[name].add(title, psnr(pair.made, truth), images)
                done += 1
                progress(done, total)
        results += found.values()
    return results, worst


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same, each loaded while the one before is made and measured; no more than one waits in memory."""
    with ThreadPoolExecutor(1) as loader:
        coming = loader.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = loader.submit(next, items, None)
            yield item


def _made(model: Interpolator, item: Item, protocol: Protocol, device: torch.device | str) -> np.ndarray:
    """[T, H, W, 3] float32, 0 to 255."""
    height, width = item.before.shape[:2]
    frames = [to_tensor(image, device) for image in (item.before, item.after)]
    if protocol.canvas is not None:
        missing = [max(0, side - have) for side, have in zip(protocol.canvas, (height, width), strict=True)]
        frames = [F.pad(frame, (0, missing[1], 0, missing[0])) for frame in frames]
    made = model.interpolate(*frames, [timestep for timestep, _ in item.truths])[0]
    return made[..., :height, :width].float().mul(255).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _pair(exact: np.ndarray, truth: np.ndarray, item: Item, protocol: Protocol) -> Pair:
    whole = exact if protocol.truncated else np.rint(exact)
    return Pair(exact, whole.astype(np.uint8), truth, item.mask)
