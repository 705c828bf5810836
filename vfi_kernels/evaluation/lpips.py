"""LPIPS, a measure that was fitted to what people see."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor, nn

from ..models import CheckpointError, checkpoints
from ..video import to_tensor
from .metrics import Metric, Pair

__all__ = ["LPIPS"]

WIDTHS = (64, 192, 384, 256, 256)

# Of AlexNet's features, numbered as torchvision does: what follows the ReLU of each convolution counts.
COUNTED = (1, 4, 7, 9, 11)

MEAN, DEVIATION = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class LPIPS(nn.Module):
    """Learned perceptual image patch similarity with AlexNet, version 0.1; 0 for equal images.

    Zhang, Isola, Efros, Shechtman, Wang: The Unreasonable Effectiveness of Deep Features as a Perceptual
    Metric, CVPR 2018.

    Args:
        alexnet: torchvision's file of weights, alexnet-owt-7be5be79.pth. Nothing is downloaded.
        linear: the authors' file, alex.pth, of weights/v0.1 in https://github.com/richzhang/PerceptualSimilarity.

    Raises:
        OSError: a file cannot be opened.
        CheckpointError: it holds something else.
    """

    def __init__(self, alexnet: str | os.PathLike[str], linear: str | os.PathLike[str]) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, WIDTHS[0], 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(WIDTHS[0], WIDTHS[1], 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(WIDTHS[1], WIDTHS[2], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTHS[2], WIDTHS[3], 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTHS[3], WIDTHS[4], 3, padding=1),
            nn.ReLU(),
        )
        expected = {f"lin{i}.model.1.weight": (1, width, 1, 1) for i, width in enumerate(WIDTHS)}
        weights = _fitting(linear, expected, "LPIPS's linear layers for AlexNet")
        for i, name in enumerate(expected):
            self.register_buffer(f"linear{i}", weights[name], persistent=False)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1), persistent=False)
        own = checkpoints.shapes(self.state_dict())
        checkpoints.load(self, _fitting(alexnet, own, "torchvision's AlexNet", "classifier."))
        self.requires_grad_(False)

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """[N], of images [N, 3, H, W] of RGB in [0, 1]; sides of 35 pixels or more."""
        distance = a.new_zeros(a.shape[0])
        a, b = ((2 * image - 1 - self.mean) / self.deviation for image in (a, b))
        counted = iter(range(len(COUNTED)))
        for number, layer in enumerate(self.features):
            a, b = layer(a), layer(b)
            if number in COUNTED:
                weight = self.get_buffer(f"linear{next(counted)}")
                distance = distance + (weight * (_unit(a) - _unit(b)).square()).sum(1).mean((1, 2))
        return distance

    def metric(self) -> Metric:
        """As a column of the report, measured where the weights are."""

        def measure(pair: Pair) -> float:
            images: list[np.ndarray] = [pair.made, pair.truth]
            return self(*(to_tensor(image, self.mean.device) for image in images)).item()

        return Metric("LPIPS", 4, measure)


def _unit(features: Tensor) -> Tensor:
    """Of length 1 at every pixel."""
    return features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)


def _fitting(
    path: str | os.PathLike[str], expected: checkpoints.Shapes, what: str, *extras: str
) -> dict[str, Tensor]:
    state = checkpoints.read(path)
    if misfit := checkpoints.compare(checkpoints.shapes(state), expected, extras):
        raise CheckpointError(f"{os.fspath(path)} does not hold {what}: {misfit}")
    return state
