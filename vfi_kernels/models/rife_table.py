"""The RIFE 4.x line: which network each version is."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["VERSIONS", "Design", "Encoder"]


@dataclass(frozen=True)
class Encoder:
    """Features of a frame, at its size, that the blocks see beside it."""

    hidden: int
    outputs: int
    names: tuple[str, ...] = ("cnn0", "cnn1", "cnn2", "cnn3")
    """Of its layers in `encode`. All are convolutions but the last, which enlarges."""
    activation: bool = True
    """Whether a LeakyReLU stands between the layers."""


@dataclass(frozen=True)
class Design:
    """One network. Its versions differ in training only."""

    widths: tuple[int, ...]
    """Channels of each block."""
    scales: tuple[int, ...] = (8, 4, 2, 1)
    """1 / the size at which each block works."""
    body: str = "residual"
    """The layers of a block: "prelu", with a shortcut around all; "leaky", without; or "residual", with a
    scaled shortcut around each, and the block's result at twice the size by a shuffle of pixels.
    """
    depth: int = 8
    """How many layers that are."""
    planes: int = 6
    """What a block returns: flow 4, mask 1, and what it tells the next block or, where that does not listen,
    nothing."""
    encoder: Encoder | None = None
    groups: int = 1
    """Of the convolutions in the body."""
    carries: bool = False
    """Whether the next block sees the planes behind flow and mask."""
    replaces_mask: bool = True
    """Whether a block's mask takes the place of the one before, and is not added to it."""
    coarser_for_fast: bool = False
    """Whether very fast motion is estimated again with all scales doubled."""

    @property
    def multiple(self) -> int:
        """Two strides of two at the coarsest scale."""
        return 4 * self.scales[0]

    @property
    def features(self) -> int:
        return self.encoder.outputs if self.encoder else 0


HEAD = Encoder(32, 8)
SMALL_HEAD = Encoder(16, 4)
SEQUENCE = Encoder(32, 8, names=("0", "2", "4", "6"))

FULL = (192, 128, 96, 64)
LITE = (128, 96, 64, 48)

V4_0 = Design(FULL, body="prelu", planes=5, replaces_mask=False, coarser_for_fast=True)
V4_2 = Design(FULL, body="leaky", planes=5, replaces_mask=False)
V4_5 = Design(FULL, planes=5, replaces_mask=False)
V4_6 = Design(FULL, replaces_mask=False)
V4_7 = Design(FULL, encoder=Encoder(16, 4, names=("0", "1"), activation=False))
V4_10 = Design(FULL, encoder=SEQUENCE)
V4_12_LITE = Design(LITE, encoder=replace(SEQUENCE, outputs=4))
V4_13 = Design(FULL, encoder=HEAD)
V4_14_LITE = Design(FULL, encoder=HEAD, groups=2)
V4_15_LITE = Design(LITE, encoder=SMALL_HEAD)
V4_20 = Design((384, 192, 96, 48), encoder=HEAD)
V4_21 = Design((256, 192, 96, 48), encoder=HEAD, planes=13, carries=True)
V4_22_LITE = replace(V4_21, widths=(192, 128, 64, 32), encoder=SMALL_HEAD)
V4_25 = replace(V4_22_LITE, widths=(192, 128, 96, 64, 32), scales=(16, 8, 4, 2, 1))
V4_25_LITE = replace(V4_25, widths=(192, 128, 96, 64, 24), scales=(32, 16, 8, 4, 1))
V4_25_HEAVY = replace(V4_25, widths=(384, 256, 192, 128, 64))
V4_26_HEAVY = replace(V4_25, encoder=Encoder(16, 16))

VERSIONS: dict[str, Design] = {
    "4.0": V4_0,
    "4.1": V4_0,
    "4.2": V4_2,
    "4.3": V4_2,
    "4.4": V4_2,
    "4.5": V4_5,
    "4.6": V4_6,
    "4.7": V4_7,
    "4.8": V4_7,
    "4.9": V4_7,
    "4.10": V4_10,
    "4.11": V4_10,
    "4.12": V4_10,
    "4.12.lite": V4_12_LITE,
    "4.13": V4_13,
    "4.13.lite": V4_12_LITE,
    "4.14": V4_13,
    "4.14.lite": V4_14_LITE,
    "4.15": V4_13,
    "4.15.lite": V4_15_LITE,
    "4.16.lite": V4_15_LITE,
    "4.17": V4_13,
    "4.17.lite": V4_15_LITE,
    "4.18": V4_13,
    "4.19": V4_13,
    "4.20": V4_20,
    "4.21": V4_21,
    "4.22": V4_21,
    "4.22.lite": V4_22_LITE,
    "4.23": V4_21,
    "4.24": V4_13,
    "4.25": V4_25,
    "4.25.lite": V4_25_LITE,
    "4.25.heavy": V4_25_HEAVY,
    "4.26": V4_25,
    "4.26.heavy": V4_26_HEAVY,
}
