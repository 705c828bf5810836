"""The benchmarks: where their frames lie on disk, and what each does with a made frame.

A benchmark has parts, each with figures of its own. A part hands out pairs of frames with the true ones
between, loaded one after the other, and says by which protocol a made frame is measured. Figures are means
over frames. docs/evaluation.md has the protocols in a table, with their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..data import UCF101, LayoutError, Synthetic, VimeoTriplets
from ..data.frames import ImageFolder, Video, clips, read_image
from ..data.triplets import Triplets, misfit
from ..video import to_image
from . import KINDS, metrics
from .metrics import Metric

__all__ = ["Item", "Part", "Protocol", "parts"]

LEVELS = ("easy", "medium", "hard", "extreme")

XIPH = (
    "BoxingPractice",
    "Crosswalk",
    "DrivingPOV",
    "FoodMarket",
    "FoodMarket2",
    "RitualDance",
    "SquareAndTimelapse",
    "Tango",
)
XIPH_PAIRS = 49

XTEST_FRAMES = 33
XTEST_FACTOR = 8

# Scenes of a seed that no recipe has.
HELD_OUT, SCENES = 271_828, 100


class Item(NamedTuple):
    """Two frames and what lies between them, [H, W, 3] uint8 RGB; each true frame with its timestep."""

    name: str
    before: np.ndarray
    after: np.ndarray
    truths: tuple[tuple[float, np.ndarray], ...]
    mask: np.ndarray | None = None


@dataclass(frozen=True)
class Protocol:
    """What is done with a made frame.

    Attributes:
        metrics: the columns.
        truncated: whether 8 bits are the whole part, or the nearest.
        canvas: height and width to which frames are filled with zeros, to the right and at the bottom, before
            the model sees them.
    """

    metrics: tuple[Metric, ...]
    truncated: bool = False
    canvas: tuple[int, int] | None = None


@dataclass(frozen=True)
class Layout:
    """What a folder should hold: `tree` is shown where it does not."""

    root: Path
    data: str
    tree: tuple[str, ...]

    def error(self, what: str) -> LayoutError:
        return LayoutError(misfit(self.root, self.data, what, *self.tree))

    def require(self, *names: str) -> None:
        for name in names:
            if not (self.root / name).is_file():
                raise self.error(f"{name} is missing")


@dataclass(frozen=True)
class Part:
    """Frames with one figure: `count` pairs, in this order, loaded as they are asked for."""

    name: str
    protocol: Protocol
    count: int
    items: Callable[[], Iterator[Item]]


USUAL = Protocol((metrics.PSNR, metrics.SSIM))
ALL = Protocol((metrics.PSNR, metrics.SSIM, metrics.SSIM_3D, metrics.IE))
VIMEO = Protocol((metrics.PSNR, metrics.SSIM_3D_EXACT))
MASKED = Protocol((metrics.PSNR, metrics.SSIM_3D, *metrics.WITHIN_MASK))
FILM = Protocol((metrics.PSNR_FLOOR, metrics.SSIM_3D))
XTEST = Protocol((metrics.PSNR, metrics.SSIM_LUMA))
TRUNCATED = Protocol((metrics.PSNR, metrics.SSIM), truncated=True)
FILLED = Protocol((metrics.IE,), canvas=(480, 640))


def parts(kind: str, path: Path | None, factor: int = 2) -> list[Part]:
    """The parts of a benchmark.

    Args:
        kind: one of `KINDS`.
        path: its folder; of "synthetic" it may be None.
        factor: of "videos" only, how many times the rate is to become.

    Raises:
        LayoutError: the folder is laid out differently; the message shows how it should be.
        VideoError: a video cannot be read.
    """
    if kind not in OPENERS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}; got {kind!r}")
    return videos(path, factor) if kind == "videos" else OPENERS[kind](path)


def vimeo90k(root: Path) -> list[Part]:
    return [_triplets("Vimeo90K", VIMEO, VimeoTriplets(root, "test"))]


def ucf101(root: Path) -> list[Part]:
    return [_triplets("UCF101", MASKED, UCF101(root))]


def _triplets(name: str, protocol: Protocol, data: Triplets) -> Part:
    def items() -> Iterator[Item]:
        for number, title in enumerate(data.names):
            sample = {key: tensor.numpy() for key, tensor in data[number].items()}
            before, after, truth = (sample[key].transpose(1, 2, 0) for key in ("frame0", "frame1", "target"))
            mask = sample["mask"][0] > 0 if "mask" in sample else None
            yield Item(title, before, after, ((0.5, truth),), mask)

    return Part(name, protocol, len(data), items)


def middlebury(root: Path) -> list[Part]:
    layout = Layout(
        root,
        "Middlebury's OTHER",
        (
            "other-data/Beanbags/       frame10.png frame11.png",
            "other-gt-interp/Beanbags/  frame10i11.png",
        ),
    )
    names = sorted(truth.parent.name for truth in root.glob("other-gt-interp/*/frame10i11.png"))
    if not names:
        raise layout.error("other-gt-interp/ has no frame10i11.png")
    frames = [[f"other-data/{name}/frame1{i}.png" for i in (0, 1)] for name in names]
    layout.require(*(path for pair in frames for path in pair))

    def items() -> Iterator[Item]:
        for name, pair in zip(names, frames, strict=True):
            before, after = (read_image(root / path) for path in pair)
            truth = read_image(root / "other-gt-interp" / name / "frame10i11.png")
            yield Item(name, before, after, ((0.5, truth),))

    return [
        Part("Middlebury", TRUNCATED, len(names), items),
        Part("Middlebury, filled to 640x480", FILLED, len(names), items),
    ]


def snu_film(root: Path) -> list[Part]:
    layout = Layout(
        root,
        "SNU-FILM",
        (
            "test-easy.txt test-medium.txt test-hard.txt test-extreme.txt    or in eval_modes/",
            "test/    the folders of images that the lists name",
        ),
    )
    return [_level(layout, level) for level in LEVELS]


def _level(layout: Layout, level: str) -> Part:
    root = layout.root
    places = [root / folder / f"test-{level}.txt" for folder in (".", "eval_modes")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise layout.error(f"test-{level}.txt is missing")
    # The lists' paths start at the root of their authors' repository.
    names = [name.rpartition("SNU-FILM/")[2] for name in path.read_text().split()]
    lines = list(zip(*[iter(names)] * 3, strict=False))
    if not lines or 3 * len(lines) != len(names):
        raise layout.error(f"{path.name} should have three images a line")
    layout.require(*lines[0], *lines[-1])

    def items() -> Iterator[Item]:
        for line in lines:
            before, truth, after = (read_image(root / name) for name in line)
            yield Item(line[1], before, after, ((0.5, truth),))

    return Part(f"SNU-FILM {level}", FILM, len(lines), items)


def xtest(root: Path) -> list[Part]:
    layout = Layout(
        root,
        "X4K1000FPS's X-TEST",
        ("Type1/TEST01_003_f0433/  0000.png to 0032.png", "Type2/...", "Type3/..."),
    )
    scenes = [ImageFolder(folder) for folder in sorted(root.glob("Type*/*")) if folder.is_dir()]
    if not scenes:
        raise layout.error("there is no scene in Type1/")
    for scene in scenes:
        if len(scene) != XTEST_FRAMES:
            where = scene.path.relative_to(root)
            raise layout.error(f"{where} should have {XTEST_FRAMES} images; it has {len(scene)}")

    def items() -> Iterator[Item]:
        for scene in scenes:
            frames = scene.frames(range(0, XTEST_FRAMES, (XTEST_FRAMES - 1) // XTEST_FACTOR))
            yield _between(scene.path.relative_to(root).as_posix(), frames)

    return [Part("X-TEST 4K, 8x", XTEST, len(scenes), items)]


def xiph(root: Path) -> list[Part]:
    layout = Layout(root, "the clips of Xiph", tuple(f"{name}-001.png ... {name}-100.png" for name in XIPH))
    ends = (1, 2 * XIPH_PAIRS + 1)
    layout.require(*(f"{name}-{number:03}.png" for name in XIPH for number in ends))

    def items(view: Callable[[np.ndarray], np.ndarray]) -> Iterator[Item]:
        for name in XIPH:
            frames = (view(read_image(root / f"{name}-{number:03}.png")) for number in count(1))
            after = next(frames)
            for pair in range(XIPH_PAIRS):
                before, truth, after = after, next(frames), next(frames)
                yield Item(f"{name}-{2 * pair + 2:03}", before, after, ((0.5, truth),))

    views = {"Xiph 2K": _halved, 'Xiph "4K"': _middle}
    return [Part(name, USUAL, len(XIPH) * XIPH_PAIRS, partial(items, view)) for name, view in views.items()]


def _halved(image: np.ndarray) -> np.ndarray:
    """2048 x 1080 of 4096 x 2160."""
    height, width = image.shape[:2]
    return cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)


def _middle(image: np.ndarray) -> np.ndarray:
    """2048 x 1080 of 4096 x 2160, as they are."""
    height, width = image.shape[:2]
    return image[height // 4 : height - height // 4, width // 4 : width - width // 4]


def videos(root: Path, factor: int = 2) -> list[Part]:
    """One of `factor` frames is kept, and the others are made again; frames count as equally far apart."""
    found = [Video(root)] if root.is_file() else clips(root)
    long = [clip for clip in found if len(clip) > factor]
    if not long:
        layout = Layout(
            root,
            "clips",
            ("any_video.mp4    several, and in folders, as you like", "any_folder/      000.jpg 001.jpg ..."),
        )
        raise layout.error(f"there is none of {factor + 1} frames or more")

    def items(clip: ImageFolder | Video) -> Iterator[Item]:
        window: list[np.ndarray] = []
        for number, frame in enumerate(clip):
            window.append(frame)
            if len(window) == factor + 1:
                yield _between(f"frames {number - factor} to {number}", window)
                window = window[-1:]

    names = [clip.path.name if clip.path == root else clip.path.relative_to(root).as_posix() for clip in long]
    return [
        Part(name, ALL, (len(clip) - 1) // factor, partial(items, clip))
        for clip, name in zip(long, names, strict=True)
    ]


def _between(name: str, frames: list[np.ndarray]) -> Item:
    """The first and the last frame, and what is between them at equal distances."""
    last = len(frames) - 1
    truths = tuple((number / last, frames[number]) for number in range(1, last))
    return Item(name, frames[0], frames[-1], truths)


def synthetic(photographs: Path | None) -> list[Part]:
    data = Synthetic(seed=HELD_OUT, length=SCENES, photographs=photographs, flows=False)

    def items() -> Iterator[Item]:
        for number in range(len(data)):
            scene = data[number]
            before, after, truth = (to_image(scene[key]) for key in ("frame0", "frame1", "target"))
            yield Item(f"scene {number}", before, after, ((0.5, truth),))

    return [Part("synthetic", ALL, len(data), items)]


OPENERS: Mapping[str, Callable[[Path], list[Part]]] = {
    "vimeo90k": vimeo90k,
    "ucf101": ucf101,
    "middlebury": middlebury,
    "snu-film": snu_film,
    "xtest": xtest,
    "xiph": xiph,
    "videos": videos,
    "synthetic": synthetic,
}
