"""Pictures of flow: direction as hue, length as saturation."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["flow_picture", "wheel"]

# How many steps lie between red, yellow, green, cyan, blue, magenta and red again.
ARCS = (15, 6, 4, 11, 13, 6)
CORNERS = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1), (1, 0, 0))


def wheel() -> Tensor:
    """[55, 3] RGB in [0, 1], by direction: clockwise from where the flow points to the right.

    Baker, Scharstein, Lewis, Roth, Black, Szeliski: A Database and Evaluation Methodology for Optical Flow,
    IJCV 2011.
    """
    corners = torch.tensor(CORNERS, dtype=torch.float32)
    arcs = [
        torch.lerp(corners[i], corners[i + 1], torch.arange(count)[:, None] / count)
        for i, count in enumerate(ARCS)
    ]
    return torch.cat(arcs)


def flow_picture(flow: Tensor, longest: float | None = None) -> Tensor:
    """RGB [N, 3, H, W] in [0, 1] of flows [N, 2, H, W]: white where nothing moves.

    Args:
        longest: the length, in pixels, that is drawn in full colour, and darker beyond; None for the longest
            flow there is.
    """
    flow = flow.detach().float().cpu().nan_to_num()
    length = torch.linalg.vector_norm(flow, dim=1)
    length = length / max(length.max().item() if longest is None else longest, 1e-6)
    colours = wheel()
    place = (torch.atan2(flow[:, 1], flow[:, 0]) / (2 * math.pi) % 1) * len(colours)
    first = place.long() % len(colours)
    hue = torch.lerp(colours[first], colours[(first + 1) % len(colours)], (place % 1)[..., None])
    length = length[..., None]
    picture = torch.where(length <= 1, 1 - length * (1 - hue), 0.75 * hue)
    return picture.permute(0, 3, 1, 2)
