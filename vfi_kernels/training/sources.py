"""Batches of a recipe's data, each a matter of the recipe and the step alone.

Step s is trained on samples s * batch to (s + 1) * batch - 1 of an endless run. Processes, and the parts in
which a step is accumulated, take parts of that range: neither changes what a step learns from, and there is
no position to save.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..data import AUGMENTATIONS, Clips, Synthetic, Triplets, VimeoSeptuplets, VimeoTriplets, floats
from .objectives import Batch
from .recipes import Data, Recipe, RecipeError

__all__ = ["any_time", "dataset", "held_out", "parts", "samples", "stream"]

ENDLESS = 1 << 60

# Of the scenes that are validated on, whatever the seed of training: figures can be compared.
HELD_OUT = -1


def dataset(data: Data, seed: int, *, split: str = "train", flows: bool = False) -> Triplets | Synthetic:
    """What a recipe describes.

    Args:
        split: "train", or "validation": in Vimeo90K's sense; nothing is augmented, clips are not drawn from.
        flows: whether synthetic scenes come with flow.

    Raises:
        RecipeError: there is no folder, or no such augmentation.
        LayoutError: the folder does not hold such data; the message shows how it should look.
    """
    if data.kind == "synthetic":
        return Synthetic(
            data.size,
            seed=seed,
            length=ENDLESS,
            timestep=data.timestep,
            limits=data.limits,
            photographs=data.photographs,
            flows=flows,
        )
    if flows:
        raise RecipeError(f"data.kind: only synthetic scenes have a known flow; got {data.kind}")
    if data.root is None:
        raise RecipeError(f"data.root: {data.kind} are read from a folder: data.root=FOLDER")
    if data.augment is not None and data.augment not in AUGMENTATIONS:
        raise RecipeError(f"data.augment: there are {', '.join(AUGMENTATIONS)}; got {data.augment!r}")
    training = split == "train"
    augment = AUGMENTATIONS[data.augment] if training and data.augment else None
    if data.kind == "clips":
        return Clips(data.root, data.window, drawn=training, augment=augment, seed=seed)
    vimeo = {"vimeo_triplets": VimeoTriplets, "vimeo_septuplets": VimeoSeptuplets}[data.kind]
    return vimeo(data.root, split, augment=augment, seed=seed)


def any_time(data: Data, *, drawn: bool = True) -> bool:
    """Whether there are targets elsewhere than half-way.

    Args:
        drawn: whether it is trained on; of a clip that is not, the target is the middle of its window.
    """
    return {
        "synthetic": data.timestep != 0.5,
        "vimeo_triplets": False,
        "vimeo_septuplets": True,
        "clips": data.window != 3 if drawn else data.window % 2 == 0,
    }[data.kind]


def held_out(recipe: Recipe) -> Triplets | Synthetic:
    """What a recipe is validated on."""
    data = recipe.validation.data
    if data is None:
        data = Data() if recipe.data.kind == "clips" else recipe.data
    return dataset(data, HELD_OUT if data.kind == "synthetic" else 0, split="validation")


def samples(source: Triplets | Synthetic, count: int, rank: int, ranks: int) -> Iterator[Batch]:
    """A process's share of so many samples, evenly out of all there are on disk, as batches of one."""
    if isinstance(source, Synthetic):
        yield from (source.batch([number]) for number in range(rank, count, ranks))
        return
    count = min(count, len(source))
    for i in range(rank, count, ranks):
        sample = source.sample(i * len(source) // count, 0)
        yield floats({name: tensor[None] for name, tensor in sample.items()})


def parts(recipe: Recipe, rank: int, ranks: int, first: int, steps: int) -> Iterator[range]:
    """The samples of each batch of a process, from step `first` on: `accumulate` batches a step."""
    count = ranks * recipe.accumulate
    size = recipe.batch // count
    for step in range(first, steps):
        for part in range(rank * recipe.accumulate, (rank + 1) * recipe.accumulate):
            start = step * recipe.batch + part * size
            yield range(start, start + size)


def stream(
    source: Triplets | Synthetic, workers: int, numbers: Iterable[range], device: torch.device
) -> Iterator[Batch]:
    """Batches of these samples on a device, without end where the samples are."""
    if isinstance(source, Synthetic) and workers == 0:
        yield from (source.batch(part, device) for part in numbers)
        return
    loader = DataLoader(
        source if isinstance(source, Synthetic) else _Epochs(source),
        batch_sampler=numbers,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
        worker_init_fn=_worker,
    )
    for batch in loader:
        yield floats(batch, device)


class _Epochs(Dataset):
    """Epoch after epoch, each in an order of its own."""

    def __init__(self, source: Triplets) -> None:
        self.source = source

    def __getitem__(self, number: int) -> Batch:
        epoch, place = divmod(number, len(self.source))
        order = _order(self.source.seed, epoch, len(self.source))
        return self.source.sample(int(order[place]), epoch)


@lru_cache(2)  # a batch may reach into the next epoch
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)


def _worker(number: int) -> None:
    """Signals are the trainer's affair: a worker that Ctrl-C ends takes the step down with it."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
