"""Adaptive separable convolution: `sepconv` of one image, and `sepconv_pair`, SepConv's synthesis from two
frames.
"""

import torch
from torch import Tensor

from ..reference.numbers import sum_dtype
from . import _check
from ._call import call
from ._gradient import Gradient, differentiable
from ._register import define, empty_gradients, empty_image

PADDINGS = ("valid", "replicate")
PARTS = 3  # image, vertical and horizontal of each term


def sepconv(image: Tensor, vertical: Tensor, horizontal: Tensor, *, padding: str = "valid") -> Tensor:
    """Applies to every pixel a separable kernel of its own.

    out[n, c, y, x] = sum over i, j of image[n, c, y+i, x+j] vertical[n, i, y, x] horizontal[n, j, y, x]

    Convention:
        Axes: [N, C, H, W]; taps lie along the channels of `vertical` and `horizontal`.
        Sign: a correlation, nothing is flipped: tap 0 is the top row and the left column.
        Border: "valid" reads an image that is Kv - 1 rows and Kh - 1 columns larger than the result;
            "replicate" reads an image
        as large as the result, as if its border were repeated (K - 1) // 2 times before and K // 2 times
        after.

    Args:
        image: [N, C, H + Kv - 1, W + Kh - 1] ("valid") or [N, C, H, W] ("replicate"); float16, bfloat16,
            float32, float64, or uint8 (without a gradient).
        vertical: [N, Kv, H, W], any Kv >= 1; the image's dtype or float32.
        horizontal: [N, Kh, H, W], any Kh >= 1; the image's dtype or float32.
        padding: "valid" or "replicate".

    Returns:
        [N, C, H, W] in the image's dtype and layout; uint8 is rounded to nearest and saturated. Sums are
        float32, or float64 for a float64 image. With ``torch.get_float32_matmul_precision()`` "high" or
        "medium", coarser tensor-core products may be used for float32, as in a matmul.

    Raises:
        ValueError: a shape, a device or the padding does not fit.
        TypeError: a dtype does not fit, or an argument is not a tensor.

    Source: Niklaus et al., Video Frame Interpolation via Adaptive Separable Convolution, 2017.
    """
    _check.tensors("sepconv", image=image, vertical=vertical, horizontal=horizontal)
    dtype = image.dtype
    [image], taps = _check.promote([image], [vertical, horizontal])
    check("sepconv", [image], taps[:1], taps[1:], padding)
    vertical, horizontal = _check.unify(taps)
    return _check.cast(_run([image], [vertical], [horizontal], padding), dtype)


def sepconv_pair(
    frame0: Tensor,
    vertical0: Tensor,
    horizontal0: Tensor,
    frame1: Tensor,
    vertical1: Tensor,
    horizontal1: Tensor,
    *,
    padding: str = "replicate",
) -> Tensor:
    """sepconv(frame0, vertical0, horizontal0) + sepconv(frame1, vertical1, horizontal1) in one pass.

    See `sepconv` for the conventions. The sum is rounded to the frames' dtype once.

    Args:
        frame0, frame1: [N, C, H, W] ("replicate") or [N, C, H + Kv - 1, W + Kh - 1] ("valid"), of one dtype:
            float16, bfloat16, float32, float64, or uint8 (without a gradient).
        vertical0, vertical1: [N, Kv, H, W], any Kv >= 1 each; the frames' dtype or float32.
        horizontal0, horizontal1: [N, Kh, H, W], any Kh >= 1 each; the frames' dtype or float32.
        padding: "valid" or "replicate".

    Returns:
        [N, C, H, W] in the frames' dtype and the layout of frame 0; uint8 is rounded to nearest and
        saturated.

    Raises:
        ValueError: a shape, a device or the padding does not fit.
        TypeError: a dtype does not fit, or an argument is not a tensor.

    Source: as `sepconv`.
    """
    _check.tensors(
        "sepconv_pair",
        frame0=frame0,
        vertical0=vertical0,
        horizontal0=horizontal0,
        frame1=frame1,
        vertical1=vertical1,
        horizontal1=horizontal1,
    )
    dtype = frame0.dtype
    frames, taps = _check.promote([frame0, frame1], [vertical0, vertical1, horizontal0, horizontal1])
    check("sepconv_pair", frames, taps[:2], taps[2:], padding)
    taps = _check.unify(taps)
    return _check.cast(_run(frames, taps[:2], taps[2:], padding), dtype)


def check(
    op: str, images: list[Tensor], verticals: list[Tensor], horizontals: list[Tensor], padding: str
) -> None:
    _check.choice(op, "padding", padding, PADDINGS)
    for i, (image, vertical, horizontal) in enumerate(zip(images, verticals, horizontals, strict=True)):
        end = "" if op == "sepconv" else str(i)
        name = f"frame{i}" if end else "image"
        vertical_name, horizontal_name = f"vertical{end}", f"horizontal{end}"
        _check.image(op, name, image, byte=True)
        _check_taps(op, vertical_name, vertical, name, image)
        _check_taps(op, horizontal_name, horizontal, name, image)
        if vertical.shape[2:] != horizontal.shape[2:]:
            expected = f"[N, K, {vertical.shape[2]}, {vertical.shape[3]}] like {vertical_name}"
            raise ValueError(f"{op}: {horizontal_name} must be {expected}; got {_check.shape(horizontal)}")
        _check_size(op, name, image, vertical, horizontal, padding)
        if i > 0:
            _check_second(op, name, image, vertical_name, vertical, images[0], verticals[0])


def _check_taps(op: str, name: str, taps: Tensor, image_name: str, image: Tensor) -> None:
    if taps.dim() != 4 or taps.shape[1] < 1:
        raise ValueError(f"{op}: {name} must be [N, K, H, W] with K >= 1; got {_check.shape(taps)}")
    _check.same_batch(op, name, taps, image_name, image)
    _check.companion_dtype(op, name, taps, image_name, image)
    _check.device(op, name, taps, image_name, image)


def _check_size(
    op: str, name: str, image: Tensor, vertical: Tensor, horizontal: Tensor, padding: str
) -> None:
    height, width = vertical.shape[2], vertical.shape[3]
    if height < 1 or width < 1:
        raise ValueError(f"{op}: the taps must have H, W >= 1; got {_check.shape(vertical)}")
    if padding == "valid":
        height, width = height + vertical.shape[1] - 1, width + horizontal.shape[1] - 1
    if image.shape[2] != height or image.shape[3] != width:
        expected = f"[{image.shape[0]}, {image.shape[1]}, {height}, {width}]"
        raise ValueError(
            f"{op}: {name} must be {expected} to fit the taps with {padding!r}; got {_check.shape(image)}"
        )


def _check_second(
    op: str, name: str, image: Tensor, vertical_name: str, vertical: Tensor, frame0: Tensor, vertical0: Tensor
) -> None:
    """The second term adds to the first; its number of taps is its own."""
    if image.shape[:2] != frame0.shape[:2]:
        expected = f"[{frame0.shape[0]}, {frame0.shape[1]}, H, W]"
        raise ValueError(f"{op}: {name} must be {expected} like frame0; got {_check.shape(image)}")
    if vertical.shape[2:] != vertical0.shape[2:]:
        expected = f"[N, K, {vertical0.shape[2]}, {vertical0.shape[3]}] like vertical0"
        raise ValueError(f"{op}: {vertical_name} must be {expected}; got {_check.shape(vertical)}")
    _check.same_dtype(op, name, image, "frame0", frame0)
    _check.device(op, name, image, "frame0", frame0)


def _run(images: list[Tensor], verticals: list[Tensor], horizontals: list[Tensor], padding: str) -> Tensor:
    return call("sepconv", images[0].device, images, verticals, horizontals, padding, _coarse())


@torch.compiler.assume_constant_result
def _coarse() -> bool:
    """Whether float32 may be multiplied coarsely, as in a matmul. torch.compile guards on the setting itself,
    but cannot trace its getter.
    """
    return torch.get_float32_matmul_precision() != "highest"


def _operation(images: list[Tensor]) -> str:
    return "sepconv" if len(images) == 1 else "sepconv_pair"


def _fake(
    images: list[Tensor], verticals: list[Tensor], horizontals: list[Tensor], padding: str, coarse: bool
) -> Tensor:
    check(_operation(images), images, verticals, horizontals, padding)
    size = (images[0].shape[0], images[0].shape[1], *verticals[0].shape[2:])
    return empty_image(size, images[0])


def _fake_backward(
    grad: Tensor,
    images: list[Tensor],
    verticals: list[Tensor],
    horizontals: list[Tensor],
    padding: str,
    coarse: bool,
    needs: int,
) -> list[Tensor]:
    check(_operation(images), images, verticals, horizontals, padding)
    inputs = []
    for image, vertical, horizontal in zip(images, verticals, horizontals, strict=True):
        inputs += [
            (image, sum_dtype(image.dtype)),
            (vertical, vertical.dtype),
            (horizontal, horizontal.dtype),
        ]
    return empty_gradients(inputs, needs)


def _reads(wanted: list[bool]) -> list[bool]:
    """Each factor of a term for the gradients of the other two."""
    terms = len(wanted) // PARTS
    images, verticals, horizontals = (wanted[part * terms : (part + 1) * terms] for part in range(PARTS))
    return [
        *(v or h for v, h in zip(verticals, horizontals, strict=True)),
        *(i or h for i, h in zip(images, horizontals, strict=True)),
        *(i or v for i, v in zip(images, verticals, strict=True)),
    ]


def _order(count: int) -> list[int]:
    """Inputs are sorted by part, results by term."""
    terms = count // PARTS
    return [term * PARTS + part for part in range(PARTS) for term in range(terms)]


# Sums one or two terms of image [N, C, ...] with vertical taps [N, Kv, H, W] and horizontal taps [N, Kh, H,
# W]. coarse: whether float32 may be multiplied with float16's precision.
define(
    "sepconv(Tensor[] images, Tensor[] verticals, Tensor[] horizontals, str padding, bool coarse) -> Tensor",
    _fake,
    frames=(),
)

# The gradients of image, vertical and horizontal of term 0, then of term 1.
_backward = define(
    "_sepconv_backward(Tensor grad, Tensor[] images, Tensor[] verticals, Tensor[] horizontals, str padding, "
    "bool coarse, int needs) -> Tensor[]",
    _fake_backward,
    frames=(),
)

GRADIENT = Gradient(_backward, _reads, order=_order)  # every result is a gather: deterministic everywhere
differentiable("sepconv", GRADIENT)
