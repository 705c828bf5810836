"""Features of the VGG networks, for the perceptual losses of Super SloMo and SepConv."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..models import CheckpointError, checkpoints
from .losses import mse

__all__ = ["LAYERS", "Perceptual"]

# Convolutions of each stage, 3 x 3; a maximum over 2 x 2 lies between stages.
STAGES = {"vgg16": (2, 2, 3, 3), "vgg19": (2, 2, 4, 4)}
WIDTHS = (64, 128, 256, 512)


@dataclass(frozen=True)
class Layer:
    """Whose features, and whether they are taken after the ReLU of the last convolution."""

    network: str
    activated: bool


LAYERS = {"vgg16.conv4_3": Layer("vgg16", False), "vgg19.relu4_4": Layer("vgg19", True)}

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Perceptual(nn.Module):
    """Mean squared difference of the features of two images. Its own weights are not trained.

    Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015. The
    parameters have torchvision's names.

    Args:
        layer: "vgg16.conv4_3" as for Super SloMo, or "vgg19.relu4_4" as for SepConv's "lf".
        weights: torchvision's file of that network, trained on ImageNet (vgg16-397923af.pth,
            vgg19-dcbb9e9d.pth). Nothing is downloaded.
        mean, std: what is subtracted from RGB images in [0, 1], and what they are divided by then. Those of
            ImageNet; Super SloMo's authors give images without their own mean: zeros and ones here.

    Raises:
        ValueError: no such layer, or no file was given.
        OSError: the file cannot be opened.
        CheckpointError: it does not hold that network.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        layer: str,
        weights: str | os.PathLike[str] | None,
        *,
        mean: Sequence[float] = IMAGENET[0],
        std: Sequence[float] = IMAGENET[1],
    ) -> None:
        super().__init__()
        if layer not in LAYERS:
            raise ValueError(f"Perceptual: layer must be {' or '.join(map(repr, LAYERS))}; got {layer!r}")
        network = LAYERS[layer].network
        if weights is None:
            raise ValueError(
                f"the perceptual loss needs torchvision's weights of {network}, trained on ImageNet: give "
                "their file, or train without this loss (--no-perceptual)"
            )
        self.features = _features(LAYERS[layer])
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self._load(network, weights)
        self.requires_grad_(False)

    def _load(self, network: str, weights: str | os.PathLike[str]) -> None:
        state = checkpoints.read(weights)
        # Deeper features and the classifier lie in the file as well.
        misfit = checkpoints.compare(
            checkpoints.shapes(state), checkpoints.shapes(self.state_dict()), ("features.", "classifier.")
        )
        if misfit:
            raise CheckpointError(f"{os.fspath(weights)} does not fit torchvision's {network}: {misfit}")
        checkpoints.load(self, state)

    def forward(self, made: Tensor, truth: Tensor) -> Tensor:
        """A number, for images [N, 3, H, W] of RGB; sides of 8 pixels or more."""
        with torch.no_grad():
            expected = self._extract(truth)
        return mse(self._extract(made), expected)

    def _extract(self, image: Tensor) -> Tensor:
        return self.features((image - self.mean) / self.std)


def _features(layer: Layer) -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 3
    for count, width in zip(STAGES[layer.network], WIDTHS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
    return nn.Sequential(*(layers if layer.activated else layers[:-1]))
