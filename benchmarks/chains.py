"""The operations as they are written without this package: eager PyTorch, in the forms that projects use.

Every chain takes the inputs of the operation by name, and `grid`, the cached base grid [1, 2, H, W] of
grid_sample. Run on float64 inputs the same chains are the oracle. Half-precision and uint8 images are sampled
in the flow's dtype, float32: autocast does the same, since a half-precision grid is wrong by pixels here.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def base_grid(
    height: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Tensor:  # [1, 2, H, W] in [-1, 1]
    xs = torch.linspace(-1, 1, width, dtype=dtype, device=device).expand(height, width)
    ys = torch.linspace(-1, 1, height, dtype=dtype, device=device)[:, None].expand(height, width)
    return torch.stack([xs, ys])[None]


def finish(result: Tensor, like: Tensor) -> Tensor:
    """In the dtype of the image `like`; uint8 by rounding and saturating."""
    if like.dtype == torch.uint8:
        result = result.round().clamp(0, 255)
    return result.to(like.dtype)


def warp(
    grid: Tensor, image: Tensor, flow: Tensor, padding: str = "border"
) -> Tensor:  # [1, 2, H, W], [N, C, H, W], [N, 2, H, W]
    """RIFE's warplayer: the flow scaled to [-1, 1], added to the cached grid, grid_sample."""
    height, width = flow.shape[2:]
    scaled = torch.cat([flow[:, 0:1] / ((width - 1) / 2), flow[:, 1:2] / ((height - 1) / 2)], 1)
    where = (grid + scaled).permute(0, 2, 3, 1)
    return F.grid_sample(
        image.to(flow.dtype), where, mode="bilinear", padding_mode=padding, align_corners=True
    )


def backwarp(grid: Tensor, image: Tensor, flow: Tensor, padding: str = "border") -> list[Tensor]:
    return [finish(warp(grid, image, flow, padding), image)]


def backwarp_multi(grid: Tensor, image: Tensor, features: Tensor, flow: Tensor) -> list[Tensor]:
    """One call of the warplayer for the image and one for its features, as IFNet and its ContextNet do."""
    return [finish(warp(grid, part, flow), part) for part in (image, features)]


def warp_blend(
    grid: Tensor,
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    padding: str = "border",
) -> list[Tensor]:
    """RIFE's blend."""
    w0, w1 = warp(grid, frame0, flow0, padding), warp(grid, frame1, flow1, padding)
    return [finish(w0 * mask + w1 * (1 - mask), frame0)]


def visibility_blend(
    grid: Tensor,
    frame0: Tensor,
    frame1: Tensor,
    flow0: Tensor,
    flow1: Tensor,
    mask: Tensor,
    timestep: float | Tensor,
    padding: str = "border",
) -> list[Tensor]:
    """Super SloMo's blend; `mask` is the visibility from frame 0."""
    w0, w1 = warp(grid, frame0, flow0, padding), warp(grid, frame1, flow1, padding)
    v0, v1 = (1 - timestep) * mask, timestep * (1 - mask)
    return [finish((v0 * w0 + v1 * w1) / (v0 + v1), frame0)]


def voxel_flow(grid: Tensor, frame0: Tensor, frame1: Tensor, flow: Tensor) -> list[Tensor]:
    """Deep Voxel Flow's sampling as two grid_samples and a mean over time."""
    motion, dt = flow[:, :2], flow[:, 2:3].clamp(0, 1)
    w0, w1 = warp(grid, frame0, -motion), warp(grid, frame1, motion)
    return [finish((1 - dt) * w0 + dt * w1, frame0)]


def separable(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Kv rows of Kh addcmul each: no unfold, whose copy of every window would take Kv * Kh images of memory.

    Split and sliced once outside the inner loop: otherwise every gradient of a tap or a window would be
    padded to the size of all of them, Kv * Kh times.
    """
    height, width = vertical.shape[2:]
    across = horizontal.split(1, 1)
    total = image.new_zeros((image.shape[0], image.shape[1], height, width))
    for i, weight in enumerate(vertical.split(1, 1)):
        band = image[:, :, i : i + height]
        row = torch.zeros_like(total)
        for j, tap in enumerate(across):
            row = row.addcmul_(band[:, :, :, j : j + width], tap)
        total = total.addcmul_(row, weight)
    return total


def separable_fused(image: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """One sum over all windows: torch.compile fuses it into one loop, eagerly it takes Kv * Kh images."""
    windows = image.unfold(2, vertical.shape[1], 1).unfold(3, horizontal.shape[1], 1)  # [N, C, H, W, Kv, Kh]
    down = vertical.permute(0, 2, 3, 1)[:, None, :, :, :, None]
    across = horizontal.permute(0, 2, 3, 1)[:, None, :, :, None, :]
    return (windows * down * across).sum((4, 5))


def pad_border(image: Tensor, taps_y: int, taps_x: int) -> Tensor:
    before_x, before_y = (taps_x - 1) // 2, (taps_y - 1) // 2
    return F.pad(image, (before_x, taps_x // 2, before_y, taps_y // 2), mode="replicate")


def _sum_of_terms(form, terms: list[tuple[Tensor, Tensor, Tensor]], replicate: bool) -> list[Tensor]:
    """Sums in float32 for half-precision and uint8 images, for accuracy like that of the operation."""
    dtype = torch.promote_types(terms[0][0].dtype, torch.float32)
    total = None
    for image, vertical, horizontal in terms:
        wide = image.to(dtype)
        if replicate:
            wide = pad_border(wide, vertical.shape[1], horizontal.shape[1])
        term = form(wide, vertical.to(dtype), horizontal.to(dtype))
        total = term if total is None else total + term
    return [finish(total, terms[0][0])]


def sepconv(grid: Tensor, image: Tensor, vertical: Tensor, horizontal: Tensor) -> list[Tensor]:
    return _sum_of_terms(separable, [(image, vertical, horizontal)], replicate=False)


def sepconv_fused(grid: Tensor, image: Tensor, vertical: Tensor, horizontal: Tensor) -> list[Tensor]:
    return _sum_of_terms(separable_fused, [(image, vertical, horizontal)], replicate=False)


def pair_terms(frame0, vertical0, horizontal0, frame1, vertical1, horizontal1) -> list[tuple]:
    return [(frame0, vertical0, horizontal0), (frame1, vertical1, horizontal1)]


def sepconv_pair(grid: Tensor, **inputs: Tensor) -> list[Tensor]:
    return _sum_of_terms(separable, pair_terms(**inputs), replicate=True)


# Apart from what is compiled: fused into the windows, the padding would be worked out again for every tap.
pad_apart = torch.compiler.disable(pad_border)


def sepconv_pair_fused(
    grid: Tensor, frame0, vertical0, horizontal0, frame1, vertical1, horizontal1
) -> list[Tensor]:
    padded0 = pad_apart(frame0, vertical0.shape[1], horizontal0.shape[1])
    padded1 = pad_apart(frame1, vertical1.shape[1], horizontal1.shape[1])
    terms = [(padded0, vertical0, horizontal0), (padded1, vertical1, horizontal1)]
    return _sum_of_terms(separable_fused, terms, replicate=False)
