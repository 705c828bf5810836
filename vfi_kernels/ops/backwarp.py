"""Backward sampling along a flow: `backwarp` for one image, `backwarp_multi` for several along one flow."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..reference.numbers import sum_dtype
from . import _check
from ._call import call
from ._gradient import Gradient, differentiable
from ._register import define, empty_gradients, empty_image

PADDINGS = ("border", "zeros")
MAX_IMAGES = 8  # of one operator call; longer lists take several


def backwarp(image: Tensor, flow: Tensor, *, padding: str = "border") -> Tensor:
    """Samples an image along a flow: out[n, :, y, x] = image[n, :, y + dy, x + dx], bilinearly.

    Equal to ``grid_sample(bilinear, align_corners=True)`` on the matching grid, in pixels and with float32
    coordinates.

    Convention:
        Axes: [N, C, H, W]; flow channel 0 is dx (to the right), channel 1 is dy (down).
        Units: pixels of the image. Pixel centres lie on integers: zero flow returns the image bit for bit.
        Sign: backward; the flow points from an output pixel to where it is read.
        Border: "border" clamps the coordinate to the image, with zero gradient there; "zeros" counts taps
            outside as zero.
        A NaN coordinate reads at 0. An infinite one reads at the border it points to, or zero.

    Args:
        image: [N, C, H, W]; float16, bfloat16, float32 or float64.
        flow: [N, 2, H, W]; the image's dtype or float32. With [N*T, 2, H, W], image n serves the entries
            n*T .. n*T+T-1.
        padding: "border" or "zeros".

    Returns:
        [N, C, H, W] (or [N*T, ...]) in the image's dtype and layout. Sums are float32, or float64 for a
        float64 image.

    Raises:
        ValueError: a shape, a device or the padding does not fit.
        TypeError: a dtype does not fit, or an argument is not a tensor.

    Source: Jaderberg et al., Spatial Transformer Networks, 2015 (bilinear sampling and its gradients).
    """
    _check.tensors("backwarp", image=image, flow=flow)
    [image], [flow] = _check.promote([image], [flow])
    check("backwarp", [image], flow, padding)
    return _run([image], flow, padding)[0]


def backwarp_multi(images: Sequence[Tensor], flow: Tensor, *, padding: str = "border") -> list[Tensor]:
    """Samples several tensors along one flow, with coordinates and weights computed once, in one launch.

    Each result equals ``backwarp(image, flow, padding=padding)``; see there for the conventions.

    Args:
        images: one or more tensors [N, C, H, W] of the same N, H, W (an image and its features); any C and
            floating dtype each.
        flow: [N, 2, H, W] or [N*T, 2, H, W]; float32, or the dtype of all the images.
        padding: "border" or "zeros".

    Returns:
        A list of [N, C, H, W] (or [N*T, ...]), each in the dtype and layout of its image.

    Raises:
        ValueError: a shape, a device or the padding does not fit, or there is no image.
        TypeError: a dtype does not fit, or an argument is not a tensor.

    Source: as `backwarp`.
    """
    if isinstance(images, Tensor) or not isinstance(images, Sequence):
        raise TypeError(f"backwarp_multi: images must be a list of tensors; got {type(images).__name__}")
    if not images:
        raise ValueError("backwarp_multi: images must hold at least one tensor; got an empty list")
    _check.tensors("backwarp_multi", flow=flow, **{f"images[{i}]": image for i, image in enumerate(images)})
    images = list(images)
    # Images of different dtypes may stand side by side: each is promoted with the flow for itself.
    for image in images:
        flow = _check.promote([image], [flow])[1][0]
    check("backwarp_multi", images, flow, padding)
    results: list[Tensor | None] = [None] * len(images)
    for wide in (False, True):
        # One call has one dtype of coordinates; float64 images get theirs.
        places = [i for i, image in enumerate(images) if (image.dtype == torch.float64) == wide]
        for start in range(0, len(places), MAX_IMAGES):
            part = places[start : start + MAX_IMAGES]
            for place, result in zip(part, _run([images[i] for i in part], flow, padding), strict=True):
                results[place] = result
    return results


def check(op: str, images: list[Tensor], flow: Tensor, padding: str) -> None:
    name = "image" if op == "backwarp" else "images[0]"
    for i, image in enumerate(images):
        here = name if i == 0 else f"images[{i}]"
        _check.image(op, here, image, byte=False)
        _check.same_size(op, here, image, name, images[0])
        _check.fields(op, here, image, flow=(flow, 2))
    _check.choice(op, "padding", padding, PADDINGS)


def _run(images: list[Tensor], flow: Tensor, padding: str) -> list[Tensor]:
    return call("backwarp", flow.device, images, flow, padding)


def _fake(images: list[Tensor], flow: Tensor, padding: str) -> list[Tensor]:
    check("backwarp_multi", images, flow, padding)
    return [empty_image((flow.shape[0], *image.shape[1:]), image) for image in images]


def _fake_backward(
    grads: list[Tensor], images: list[Tensor], flow: Tensor, padding: str, needs: int
) -> list[Tensor]:
    check("backwarp_multi", images, flow, padding)
    return empty_gradients(
        [*((image, sum_dtype(image.dtype)) for image in images), (flow, flow.dtype)], needs
    )


def _reads(wanted: list[bool]) -> list[bool]:
    """The images only for the gradient of the flow, the flow always."""
    return [wanted[-1]] * (len(wanted) - 1) + [True]


# Samples images [F, C, H, W] along a flow [N, 2, H, W] in pixels, N a multiple of F.
define("backwarp(Tensor[] images, Tensor flow, str padding) -> Tensor[]", _fake, frames=(0,))

# The gradients of the images, then of the flow.
_backward = define(
    "_backwarp_backward(Tensor[] grads, Tensor[] images, Tensor flow, str padding, int needs) -> Tensor[]",
    _fake_backward,
    frames=(),
)

GRADIENT = Gradient(_backward, _reads)
differentiable("backwarp", GRADIENT)
