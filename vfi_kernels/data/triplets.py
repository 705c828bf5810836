"""Training and test data on disk: Vimeo90K, clips like Adobe240's, UCF101; all in their published layouts.

Samples are dicts of tensors: frame0, frame1 and target [3, H, W] uint8 RGB, timestep float32, and of UCF101
a mask [1, H, W]. `floats` makes what networks take of a batch of them, on the device: a quarter of the bytes
pass between processes. Sample i of epoch e is a matter of the dataset's seed, e and i alone, not of the
worker.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import Augment, Frames
from .frames import clips, read_image

__all__ = [
    "UCF101",
    "Clips",
    "LayoutError",
    "Triplets",
    "VimeoSeptuplets",
    "VimeoTriplets",
    "floats",
    "misfit",
]

Sample = dict[str, Tensor]

# Of the list of training triplets, as RIFE divides it: the rest is for validation.
TRAINING_PART = 0.95


class LayoutError(ValueError):
    """A folder that is not laid out as expected; the message shows how."""


def floats(batch: Sample, device: str | torch.device = "cpu") -> Sample:
    """A batch on the device, images as float32 in [0, 1]."""
    moved = {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
    return {
        name: tensor.float() / 255 if tensor.dtype == torch.uint8 else tensor
        for name, tensor in moved.items()
    }


class Triplets(Dataset):
    """Base of the datasets. A subclass has a length and `load`.

    Args:
        augment: what is done to every sample; None for nothing.
        seed: of what is drawn; call `set_epoch` before each epoch for other numbers.
    """

    def __init__(self, augment: Augment | None = None, seed: int = 0) -> None:
        self.augment, self.seed = augment, seed
        # In shared memory: workers that outlive an epoch see the next one's number.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitem__(self, number: int) -> Sample:
        return self.sample(number, int(self._epoch))

    def sample(self, number: int, epoch: int) -> Sample:
        """A sample of any epoch, whichever is set."""
        if not 0 <= number < len(self):
            raise IndexError(f"{type(self).__name__}: there are {len(self)} samples; got number {number}")
        rng = np.random.default_rng((self.seed, epoch, number))
        frames = self.load(number, rng)
        if self.augment is not None:
            frames = self.augment(frames, rng)
        return {
            "frame0": _tensor(frames.before),
            "frame1": _tensor(frames.after),
            "target": _tensor(frames.target),
            "timestep": torch.tensor(frames.timestep, dtype=torch.float32),
        }

    def load(self, number: int, rng: np.random.Generator) -> Frames:
        """A sample as it is."""
        raise NotImplementedError


class VimeoTriplets(Triplets):
    """Vimeo90K's triplets. Xue, Chen, Wu, Wei, Freeman: Video Enhancement with Task-Oriented Flow, IJCV 2019.

    Args:
        root: the folder `vimeo_triplet`.
        split: "train", "validation" or "test". The first two are the first 95 % of the list of training
            triplets and the rest, as for RIFE.
    """

    images, prefix, name = 3, "tri", "Vimeo90K's triplets"

    def __init__(
        self,
        root: str | os.PathLike[str],
        split: str = "train",
        *,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(augment, seed)
        if split not in ("train", "validation", "test"):
            raise ValueError(f"split must be 'train', 'validation' or 'test'; got {split!r}")
        self.root = Path(root)
        names = self._listed("test" if split == "test" else "train")
        if split != "test":
            first = int(len(names) * TRAINING_PART)
            names = names[:first] if split == "train" else names[first:]
        self.names = names

    def __len__(self) -> int:
        return len(self.names)

    def load(self, number: int, rng: np.random.Generator) -> Frames:
        return self._frames(number, 0, 1, 2)

    def _frames(self, number: int, first: int, middle: int, last: int) -> Frames:
        folder = self.root / "sequences" / self.names[number]
        images = [read_image(folder / f"im{i + 1}.png") for i in (first, middle, last)]
        return Frames(*images, timestep=(middle - first) / (last - first))

    def _listed(self, part: str) -> list[str]:
        path = self.root / f"{self.prefix}_{part}list.txt"
        if not path.is_file():
            raise LayoutError(self._misfit(f"{path.name} is missing"))
        names = path.read_text().split()
        if not names:
            raise LayoutError(self._misfit(f"{path.name} is empty"))
        for name in (names[0], names[-1]):
            for i in range(self.images):
                image = f"sequences/{name}/im{i + 1}.png"
                if not (self.root / image).is_file():
                    raise LayoutError(self._misfit(f"{path.name} names {name}, and {image} is missing"))
        return names

    def _misfit(self, what: str) -> str:
        images = " ".join(f"im{i + 1}.png" for i in range(self.images))
        return misfit(
            self.root,
            self.name,
            what,
            f"{self.prefix}_trainlist.txt     a line a sequence: 00001/0001",
            f"{self.prefix}_testlist.txt",
            f"sequences/00001/0001/  {images}",
        )


class VimeoSeptuplets(VimeoTriplets):
    """Vimeo90K's septuplets, for any timestep; see `VimeoTriplets`.

    Three of the seven frames in their order, drawn anew each epoch, as for RIFE_m; of the test list always
    the first, the fourth and the last.

    Args:
        root: the folder `vimeo_septuplet`.
    """

    images, prefix, name = 7, "sep", "Vimeo90K's septuplets"

    def __init__(self, root: str | os.PathLike[str], split: str = "train", **options: object) -> None:
        super().__init__(root, split, **options)
        self.drawn = split != "test"

    def load(self, number: int, rng: np.random.Generator) -> Frames:
        if not self.drawn:
            return self._frames(number, 0, 3, 6)
        return self._frames(number, *sorted(rng.choice(7, 3, replace=False).tolist()))


class Clips(Triplets):
    """Windows of consecutive frames out of any folder of videos, or of folders of frames, at any depth.

    Super SloMo's Adobe240: each clip a folder of 12 frames, 9 of them from a random start, the first, the
    last and a random one between. With a window of 3: triplets of any videos. A clip has a sample for every
    window that fits into it side by side; where it starts is drawn, unless `drawn` is false.

    Args:
        root: a folder. Its parts for training and testing are given as folders of their own.
        window: frames, 3 or more; a shorter clip is left out.
        drawn: whether windows and timesteps are; otherwise windows stand side by side, and the target is the
            middle.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        window: int = 9,
        *,
        drawn: bool = True,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(augment, seed)
        if window < 3:
            raise ValueError(f"Clips: a window must be 3 frames or more; got {window}")
        self.window, self.drawn = window, drawn
        if not Path(root).is_dir():
            raise LayoutError(_clips_misfit(root, window, "it is no folder"))
        self.clips = [clip for clip in clips(Path(root)) if len(clip) >= window]
        if not self.clips:
            raise LayoutError(_clips_misfit(root, window, f"there is no clip of {window} frames"))
        # The number of the first sample after each clip.
        self.ends = list(accumulate(len(clip) // window for clip in self.clips))

    def __len__(self) -> int:
        return self.ends[-1]

    def load(self, number: int, rng: np.random.Generator) -> Frames:
        place = bisect_right(self.ends, number)
        clip, steps = self.clips[place], self.window - 1
        if self.drawn:
            start = int(rng.integers(len(clip) - steps))
            middle = int(rng.integers(1, steps))
        else:
            start = (number - (self.ends[place - 1] if place else 0)) * self.window
            middle = steps // 2
        images = clip.frames([start, start + middle, start + steps])
        return Frames(*images, timestep=middle / steps)


class UCF101(Triplets):
    """The 379 test triplets of UCF101 with motion masks, as Deep Voxel Flow's authors released them.

    A sample has besides the frames a mask [1, H, W] uint8: 255 where there is motion, else 0.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        super().__init__()
        self.root = Path(root)
        frames = self.root / "ucf101_interp_ours"
        if not frames.is_dir():
            raise LayoutError(self._misfit(f"{frames.name}/ is missing"))
        names = (entry.name for entry in frames.iterdir() if entry.is_dir())
        self.names = sorted(names, key=lambda name: (len(name), name))
        if not self.names:
            raise LayoutError(self._misfit(f"{frames.name}/ holds no folders"))
        for name in self.names:
            for path in self._paths(name):
                if not path.is_file():
                    raise LayoutError(self._misfit(f"{path.relative_to(self.root)} is missing"))

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number: int) -> Sample:
        mask = read_image(self._paths(self.names[number])[-1])
        return {
            **super().__getitem__(number),
            "mask": _tensor(np.where(mask[..., :1] > 0, 255, 0).astype(np.uint8)),
        }

    def load(self, number: int, rng: np.random.Generator) -> Frames:
        *paths, _ = self._paths(self.names[number])
        return Frames(*map(read_image, paths), timestep=0.5)

    def _paths(self, name: str) -> list[Path]:
        frames = self.root / "ucf101_interp_ours" / name
        images = [frames / f"{image}.png" for image in ("frame_00", "frame_01_gt", "frame_02")]
        return [*images, self.root / "motion_masks_ucf101_interp" / name / "motion_mask.png"]

    def _misfit(self, what: str) -> str:
        return misfit(
            self.root,
            "UCF101's test triplets",
            what,
            "ucf101_interp_ours/1/          frame_00.png frame_01_gt.png frame_02.png",
            "motion_masks_ucf101_interp/1/  motion_mask.png",
        )


def _clips_misfit(root: str | os.PathLike[str], window: int, what: str) -> str:
    return misfit(
        Path(root),
        "clips",
        what,
        f"any_video.mp4    {window} frames or more; several, and in folders, as you like",
        "any_folder/      000.jpg 001.jpg 002.jpg ...",
    )


def misfit(root: Path, data: str, what: str, *tree: str) -> str:
    """What a `LayoutError` says: what is wrong, which folder it may be instead, and the lines of the tree."""
    hint = ""
    if root.is_dir():
        first = tree[0].split()[0].partition("/")[0]
        nested = [entry for entry in sorted(root.iterdir()) if (entry / first).exists()]
        hint = f" It looks like {nested[0]} is the folder to give." if nested else ""
    lines = "".join(f"\n  {line}" for line in tree)
    return f"{root} does not hold {data}: {what}.{hint} Expected:\n{root}/{lines}"


def _tensor(image: np.ndarray) -> Tensor:
    """[H, W, C] as it lies in memory, flipped or cut out of another -> [C, H, W] contiguous."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
