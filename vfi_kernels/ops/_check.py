"""Checks of arguments that several operations share, and the promotion of dtypes.

Every message reads `operation: what was expected; got what`. Shapes and values raise ValueError, dtypes and
things that are not tensors TypeError. All of it is traced by torch.compile: nothing here looks at the values
of a tensor.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
IMAGES = (*FLOATS, torch.uint8)
# Asked once: Dynamo of torch 2.10 does not trace the question.
AUTOCASTING = frozenset(filter(torch.amp.is_autocast_available, ("cpu", "cuda", "mps", "xpu")))


def names(dtypes: Sequence[torch.dtype]) -> str:
    return " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def shape(tensor: Tensor) -> list[int]:
    return list(tensor.shape)


def tensors(op: str, **arguments: object) -> None:
    for name, value in arguments.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{op}: {name} must be a tensor; got {type(value).__name__}")
        if value.layout != torch.strided:
            raise TypeError(f"{op}: {name} must be a dense tensor; got layout {value.layout}")


def choice(op: str, name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{op}: {name} must be {' or '.join(map(repr, allowed))}; got {value!r}")


def flag(op: str, name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be a bool; got {type(value).__name__}")


def image(op: str, name: str, tensor: Tensor, *, byte: bool) -> None:
    """An image batch [N, C, H, W] in a floating dtype, or in uint8 where `byte` says so."""
    size = tensor.shape
    if len(size) != 4:
        raise ValueError(f"{op}: {name} must be [N, C, H, W]; got {shape(tensor)}")
    if size[1] < 1 or size[2] < 1 or size[3] < 1:
        raise ValueError(f"{op}: {name} must be [N, C, H, W] with C, H, W >= 1; got {shape(tensor)}")
    allowed = IMAGES if byte else FLOATS
    if tensor.dtype not in allowed:
        raise TypeError(f"{op}: {name} must be {names(allowed)}; got {names([tensor.dtype])}")


def same_size(op: str, name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """An image beside another: the same batch, height and width, on the same device."""
    if tensor.shape[0] != other.shape[0] or tensor.shape[2:] != other.shape[2:]:
        expected = f"[{other.shape[0]}, C, {other.shape[2]}, {other.shape[3]}]"
        raise ValueError(f"{op}: {name} must be {expected} like {other_name}; got {shape(tensor)}")
    device(op, name, tensor, other_name, other)


def same(op: str, name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """A second frame has the shape, dtype and device of the first."""
    if tensor.shape != other.shape:
        raise ValueError(f"{op}: {name} must be {shape(other)} like {other_name}; got {shape(tensor)}")
    same_dtype(op, name, tensor, other_name, other)
    device(op, name, tensor, other_name, other)


def same_dtype(op: str, name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.dtype != other.dtype:
        raise TypeError(
            f"{op}: {name} must be {names([other.dtype])} like {other_name}; got {names([tensor.dtype])}"
        )


def device(op: str, name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.device != other.device:
        raise ValueError(f"{op}: {name} must be on {other.device} like {other_name}; got {tensor.device}")


def companion_dtype(op: str, name: str, tensor: Tensor, image_name: str, image: Tensor) -> None:
    """Flow, mask and taps come in the image's dtype or in float32."""
    dtype = tensor.dtype
    if dtype != torch.float32 and (dtype != image.dtype or dtype == torch.uint8):
        allowed = dict.fromkeys((torch.float32 if image.dtype == torch.uint8 else image.dtype, torch.float32))
        raise TypeError(
            f"{op}: {name} must be {names(list(allowed))} with {image_name} in {names([image.dtype])}; "
            f"got {names([dtype])}"
        )


def fields(op: str, image_name: str, image: Tensor, **found: tuple[Tensor, int]) -> None:
    """Flows and masks [N, channels, H, W] of an image batch [F, C, H, W], N a multiple of F.

    Args:
        found: name: (tensor, channels), all of one batch.
    """
    frames, _, height, width = image.shape
    first = ""
    for name, (tensor, channels) in found.items():
        size = tensor.shape
        if len(size) != 4 or size[1] != channels or size[2] != height or size[3] != width:
            expected = f"[N, {channels}, {height}, {width}]"
            raise ValueError(f"{op}: {name} must be {expected} like {image_name}; got {shape(tensor)}")
        if not first:
            first, entries = name, size[0]
            if entries != frames and (frames == 0 or entries % frames != 0):
                raise ValueError(
                    f"{op}: {name} must have a batch of {frames} like {image_name}, or a multiple of it; "
                    f"got {shape(tensor)}"
                )
        elif size[0] != entries:
            raise ValueError(f"{op}: {name} must have a batch of {entries} like {first}; got {shape(tensor)}")
        companion_dtype(op, name, tensor, image_name, image)
        device(op, name, tensor, image_name, image)


def same_batch(op: str, name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    if tensor.shape[0] != other.shape[0]:
        raise ValueError(
            f"{op}: {name} must have a batch of {other.shape[0]} like {other_name}; got {shape(tensor)}"
        )


def promote(images: list[Tensor], companions: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Under autocast, float32 in place of dtypes that do not go together; otherwise everything as it is.

    Mixed precision gives networks half-precision outputs beside float32 frames. What is allowed anyway stays:
    half-precision images are summed in float32. float64, which autocast leaves alone, is not narrowed.
    """
    device_type = images[0].device.type
    if device_type not in AUTOCASTING or not torch.is_autocast_enabled(device_type):
        return images, companions
    if any(i.dtype != images[0].dtype for i in images) and all(i.is_floating_point() for i in images):
        wide = torch.float64 if any(i.dtype == torch.float64 for i in images) else torch.float32
        images = [i.to(wide) for i in images]
    fitting = (images[0].dtype, torch.float32)
    return images, [c if c.dtype in fitting or not c.is_floating_point() else c.float() for c in companions]


def cast(result: Tensor, dtype: torch.dtype) -> Tensor:
    """Back from a promotion; an exported program is spared a cast to the same dtype."""
    return result if result.dtype == dtype else result.to(dtype)


def unify(companions: list[Tensor]) -> list[Tensor]:
    """Companions of one image, each allowed beside it, in one common dtype: the operators take one."""
    if len({c.dtype for c in companions}) == 1:
        return companions
    wide = torch.float64 if any(c.dtype == torch.float64 for c in companions) else torch.float32
    return [c.to(wide) for c in companions]
