"""Augmentations of frames: each system's, as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["AUGMENTATIONS", "Augment", "Frames"]


@dataclass(frozen=True)
class Frames:
    """A sample before it becomes tensors.

    Attributes:
        before, target, after: [H, W, 3] uint8 RGB.
        timestep: of the target, 0 to 1.
    """

    before: np.ndarray
    target: np.ndarray
    after: np.ndarray
    timestep: float

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> Frames:
        """The same done to every frame."""
        return Frames(change(self.before), change(self.target), change(self.after), self.timestep)

    def reversed(self) -> Frames:
        """The other way in time."""
        return Frames(self.after, self.target, self.before, 1 - self.timestep)


@dataclass(frozen=True)
class Augment:
    """Changes a sample at random; what is done, is done to all its frames, in this order.

    Attributes:
        resize: height and width, bilinearly.
        crop: height and width of a part from anywhere.
        shift: up to so many pixels by which the crop of the frame before is off in any direction, and that of
            the frame after in the opposite one: motion that is not in the data. For timestep 0.5.
        channels: how often red and blue are exchanged.
        flip_y, flip_x: how often up and down, left and right are exchanged.
        reverse: how often time runs backwards: timestep t becomes 1 - t.
        turns: whether to turn by 0, 90, 180 or 270 degrees; the crop must be square.
        rotate: up to so many degrees, either way, every other time; mid-grey comes in at the corners.
    """

    resize: tuple[int, int] | None = None
    crop: tuple[int, int] | None = None
    shift: int = 0
    channels: float = 0
    flip_y: float = 0
    flip_x: float = 0
    reverse: float = 0
    turns: bool = False
    rotate: float = 0

    def __post_init__(self) -> None:
        if self.turns and (self.crop is None or self.crop[0] != self.crop[1]):
            raise ValueError(f"Augment: turns need a square crop; got {self.crop}")
        if self.shift and self.crop is None:
            raise ValueError("Augment: shift moves the crop, and there is none")

    def __call__(self, frames: Frames, rng: np.random.Generator) -> Frames:
        """
        Raises:
            ValueError: the frames are too small for the crop, or a shift for a timestep other than 0.5.
        """
        if self.resize is not None:
            frames = frames.each(self._resized)
        if self.crop is not None:
            frames = self._cropped(frames, rng)
        if rng.random() < self.channels:
            frames = frames.each(lambda image: image[..., ::-1])
        if rng.random() < self.flip_y:
            frames = frames.each(lambda image: image[::-1])
        if rng.random() < self.flip_x:
            frames = frames.each(lambda image: image[:, ::-1])
        if rng.random() < self.reverse:
            frames = frames.reversed()
        if self.turns:
            quarters = int(rng.integers(4))
            frames = frames.each(lambda image: np.rot90(image, quarters))
        if self.rotate and rng.random() < 0.5:
            degrees = rng.uniform(-self.rotate, self.rotate)
            frames = frames.each(lambda image: _rotated(image, degrees))
        return frames

    def _resized(self, image: np.ndarray) -> np.ndarray:
        import cv2

        height, width = self.resize
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)

    def _cropped(self, frames: Frames, rng: np.random.Generator) -> Frames:
        (height, width), edge = self.crop, self.shift
        spare_y, spare_x = (
            side - part for side, part in zip(frames.target.shape, (height, width), strict=False)
        )
        if min(spare_y, spare_x) < 2 * edge:
            size = f"{frames.target.shape[0]}x{frames.target.shape[1]}"
            raise ValueError(
                f"Augment: a crop of {height}x{width}, shifted by {edge}, needs frames of at least "
                f"{height + 2 * edge}x{width + 2 * edge}; got {size}"
            )
        if edge and frames.timestep != 0.5:
            raise ValueError(f"Augment: shift is for timestep 0.5; got {frames.timestep}")
        top, left = (int(rng.integers(edge, spare - edge, endpoint=True)) for spare in (spare_y, spare_x))
        y, x = rng.integers(-edge, edge, 2, endpoint=True)

        def part(image: np.ndarray, down: int, right: int) -> np.ndarray:
            return image[top + down : top + down + height, left + right : left + right + width]

        before, after = part(frames.before, y, x), part(frames.after, -y, -x)
        return Frames(before, part(frames.target, 0, 0), after, frames.timestep)


def _rotated(image: np.ndarray, degrees: float) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
    return cv2.warpAffine(
        np.ascontiguousarray(image), matrix, (width, height), flags=cv2.INTER_LINEAR, borderValue=(128,) * 3
    )


AUGMENTATIONS = {
    "rife": Augment(crop=(224, 224), channels=0.5, flip_y=0.5, flip_x=0.5, reverse=0.5, turns=True),
    "superslomo": Augment(crop=(352, 352), flip_x=0.5, reverse=0.5),
    "dvf": Augment(resize=(256, 256), flip_x=0.5, rotate=10),
    # The paper's crops of 128 out of patches of 150, windows of the outer frames moved in between.
    "sepconv": Augment(crop=(128, 128), shift=8, flip_y=0.5, flip_x=0.5, reverse=0.5),
}
"""By name, as recipes give them: what is published of each system."""
