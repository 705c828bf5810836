"""What is measured: operations, inputs, rivals, the least work they can do; what of it runs by default."""

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import chains
import torch
from torch import Tensor

import vfi_kernels

CHANNELS = 3
FEATURES = 16  # of backwarp_multi's second tensor, as in RIFE's ContextNet
TAPS = 51
TIMESTEP = 0.5
SIZES = {
    "256p": (456, 256),
    "540p": (960, 540),
    "720p": (1280, 720),
    "1080p": (1920, 1080),
    "4k": (3840, 2160),
}
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "uint8": torch.uint8,
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
FORWARD, BACKWARD = "forward", "backward"
PASSES = (FORWARD, BACKWARD)

# A coordinate this near to an integer may be floored either way in float32; its gradient jumps there, and the
# error column would show the jump. Larger than the rounding of a coordinate up to 8192, 2.4e-4.
INTEGER_GAP = 2e-3


def parse_size(name: str) -> tuple[int, int]:
    """(width, height) of "1080p" or "640x360"."""
    if name in SIZES:
        return SIZES[name]
    match = re.fullmatch(r"(\d+)x(\d+)", name)
    if match is None or min(int(n) for n in match.groups()) < 2:
        raise ValueError(f"size must be WxH (both at least 2) or one of {', '.join(SIZES)}; got {name!r}")
    return int(match[1]), int(match[2])


class Maker:
    """Random inputs of one size, of batch 1, on the device: images and taps noise, flows like a network's."""

    def __init__(self, size: str, dtype: str, layout: str, device: str, seed: int):
        self.width, self.height = parse_size(size)
        self.dtype = DTYPES[dtype]
        self.layout = LAYOUTS[layout]
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def uniform(self, channels: int, height: int, width: int) -> Tensor:
        return torch.rand((1, channels, height, width), generator=self.generator, device=self.device)

    def image(self, channels: int = CHANNELS, apron: int = 0) -> Tensor:
        """[1, C, H + apron, W + apron] in [0, 1], or 0 to 255."""
        values = self.uniform(channels, self.height + apron, self.width + apron)
        return self.laid_out((values * 256 if self.dtype == torch.uint8 else values).to(self.dtype))

    def motion(self) -> Tensor:
        """[1, 2, H, W]: waves of 5 px across the frame, 0.05 px of noise, nothing too near to an integer."""
        xs = torch.linspace(0, 1, self.width, device=self.device)
        ys = torch.linspace(0, 1, self.height, device=self.device)[:, None]
        phases = (2 * math.pi * self.uniform(4, 1, 1)).flatten()
        waves = [
            3 * torch.sin(9 * xs + 5 * ys + phases[2 * i])
            + 2 * torch.cos(4 * xs - 11 * ys + phases[2 * i + 1])
            for i in range(2)
        ]
        flow = torch.stack(waves)[None]
        flow = flow + 0.05 * torch.randn(flow.shape, generator=self.generator, device=self.device)
        return _off_integers(flow)

    def flow(self) -> Tensor:  # [1, 2, H, W] float32
        return self.laid_out(self.motion())

    def rough_flow(self) -> Tensor:
        """[1, 2, H, W] float32: white noise of 10 px, where no two pixels read neighbours."""
        return self.laid_out(_off_integers(20 * self.uniform(2, self.height, self.width) - 10))

    def voxel_flow(self) -> Tensor:  # [1, 3, H, W] float32, dt inside (0, 1)
        return self.laid_out(torch.cat([self.motion(), self.fraction()], 1))

    def fraction(self) -> Tensor:  # [1, 1, H, W] float32
        return 0.05 + 0.9 * self.uniform(1, self.height, self.width)

    def taps(self, total: float = 1) -> Tensor:
        """[1, TAPS, H, W] with a sum of about `total`; the images' dtype, or float32 beside uint8."""
        dtype = torch.float32 if self.dtype == torch.uint8 else self.dtype
        return self.laid_out((self.uniform(TAPS, self.height, self.width) * (2 * total / TAPS)).to(dtype))

    def laid_out(self, tensor: Tensor) -> Tensor:
        return tensor.contiguous(memory_format=self.layout)


def _off_integers(flow: Tensor) -> Tensor:
    base = flow.floor()
    return base + (flow - base).clamp(INTEGER_GAP, 1 - INTEGER_GAP)


def _backwarp_inputs(make: Maker) -> dict[str, Tensor]:
    return {"image": make.image(), "flow": make.flow()}


def _rough_inputs(make: Maker) -> dict[str, Tensor]:
    return {"image": make.image(), "flow": make.rough_flow()}


def _backwarp_multi_inputs(make: Maker) -> dict[str, Tensor]:
    return {"image": make.image(), "features": make.image(FEATURES), "flow": make.flow()}


def _blend_inputs(make: Maker) -> dict[str, Tensor]:
    inputs = {"frame0": make.image(), "frame1": make.image(), "flow0": make.flow(), "flow1": make.flow()}
    return {**inputs, "mask": make.fraction()}


def _voxel_inputs(make: Maker) -> dict[str, Tensor]:
    return {"frame0": make.image(), "frame1": make.image(), "flow": make.voxel_flow()}


def _sepconv_inputs(make: Maker) -> dict[str, Tensor]:
    return {"image": make.image(apron=TAPS - 1), "vertical": make.taps(), "horizontal": make.taps()}


def _pair_inputs(make: Maker) -> dict[str, Tensor]:
    names = ("frame", "vertical", "horizontal")
    return {
        f"{name}{i}": make.image() if name == "frame" else make.taps(0.5**0.5)
        for i in range(2)
        for name in names
    }


def _backwarp_multi(image: Tensor, features: Tensor, flow: Tensor) -> list[Tensor]:
    return vfi_kernels.backwarp_multi([image, features], flow)


def _visibility(**inputs: Tensor) -> Tensor:
    return vfi_kernels.warp_blend(**inputs, timestep=TIMESTEP)


def _visibility_chain(grid: Tensor, **inputs: Tensor) -> list[Tensor]:
    return chains.visibility_blend(grid, **inputs, timestep=TIMESTEP)


# Floating-point operations an output pixel: additions and multiplications, a fused multiply-add is two.
# Clamps, floors and index arithmetic don't count: this is the least arithmetic, not what a kernel issues.
#   position   x + dx, y + dy (2), fractional parts and their complements (4), four weights (4)    10
#   sampling   four taps a channel: 4 multiplications, 3 additions                                 7 C
#   dots       sum over c of gradient * tap, for each of four taps                                 4 (2 C - 1)
#   slopes     from the dots, dx: (1 - wy)(d1 - d0) + wy (d3 - d2), dy alike                       10
#   weighing   weight times dot over the four taps: 4 multiplications, 3 additions                 7
#   spreading  to the frame: four taps a channel, multiply and add                                 8 C
POSITION, SLOPES, WEIGHING = 10, 10, 7


def _sampling(channels: int) -> int:
    return POSITION + 7 * channels


def _flow_gradient(channels: int) -> int:
    return POSITION + 4 * (2 * channels - 1) + SLOPES


def _backwarp_flops(channels: int, direction: str, frames: bool) -> int:
    if direction == FORWARD:
        return _sampling(channels)
    return _flow_gradient(channels) + (8 * channels if frames else 0)


def _two_frames_flops(weights: int, gradient_weights: int, direction: str, frames: bool) -> int:
    """weights: for the frames' two shares; gradient_weights: from two weighed dots to the gradients."""
    if direction == FORWARD:
        return 2 * _sampling(CHANNELS) + weights + 3 * CHANNELS  # a w0 + b w1
    fields = 2 * (_flow_gradient(CHANNELS) + 2 + WEIGHING) + weights + gradient_weights  # share * slope
    return fields + (2 * (CHANNELS + 8 * CHANNELS) if frames else 0)  # share * gradient, spread


def _sepconv_flops(terms: int, direction: str, frames: bool) -> int:
    if direction == FORWARD:
        return terms * CHANNELS * TAPS * (2 * TAPS + 2)  # rows of TAPS, then their sum down
    # s = sum_c gradient * image (2 C - 1), gv += h s and gh += v s (4), for every i, j.
    taps = TAPS * TAPS * (2 * CHANNELS + 3)
    # gradient * v for every c, i, then times h added to the image, for every j.
    image = CHANNELS * TAPS * (2 * TAPS + 1) if frames else 0
    return terms * (taps + image)


@dataclass(frozen=True)
class Operation:
    name: str
    variant: str  # "" for the plain one; apart from it the arguments that differ
    build: Callable[[Maker], dict[str, Tensor]]
    ours: Callable[..., Tensor | list[Tensor]]
    eager: Callable[..., list[Tensor]]
    # Of an output pixel, for (pass, whether the frames want gradients). A partial: the cost sheet's processes
    # are handed operations.
    flops: Callable[[str, bool], int]
    frames: tuple[str, ...]  # inputs whose gradient is a scatter
    for_compile: Callable[..., list[Tensor]] | None = None  # where another form compiles better than `eager`
    byte: bool = False  # takes uint8

    @property
    def label(self) -> str:
        return f"{self.name} {self.variant}".strip()

    @property
    def is_convolution(self) -> bool:
        return self.name.startswith("sepconv")


BLEND_FRAMES = ("frame0", "frame1")
OPERATIONS = [
    Operation("backwarp", "", _backwarp_inputs, vfi_kernels.backwarp, chains.backwarp,
              partial(_backwarp_flops, CHANNELS), ("image",)),
    Operation("backwarp", "white noise", _rough_inputs, vfi_kernels.backwarp, chains.backwarp,
              partial(_backwarp_flops, CHANNELS), ("image",)),
    # The position is shared: once for all channels.
    Operation("backwarp_multi", "", _backwarp_multi_inputs, _backwarp_multi, chains.backwarp_multi,
              partial(_backwarp_flops, CHANNELS + FEATURES), ("image", "features")),
    # 1 - m; gradient of the mask: the difference of the weighed dots.
    Operation("warp_blend", "", _blend_inputs, vfi_kernels.warp_blend, chains.warp_blend,
              partial(_two_frames_flops, 1, 1), BLEND_FRAMES, byte=True),
    # 1 - m, two products, their sum, a division, two products; gradient: a difference, t (1 - t) / sum^2.
    Operation("warp_blend", "visibility", _blend_inputs, _visibility, _visibility_chain,
              partial(_two_frames_flops, 7, 4), BLEND_FRAMES, byte=True),
    # 1 - dt; gradient: dx, dy are the sum of both frames', dt the difference of the weighed dots.
    Operation("voxel_flow", "", _voxel_inputs, vfi_kernels.voxel_flow, chains.voxel_flow,
              partial(_two_frames_flops, 1, 3), BLEND_FRAMES, byte=True),
    Operation("sepconv", "", _sepconv_inputs, vfi_kernels.sepconv, chains.sepconv,
              partial(_sepconv_flops, 1), ("image",), chains.sepconv_fused, byte=True),
    Operation("sepconv_pair", "", _pair_inputs, vfi_kernels.sepconv_pair, chains.sepconv_pair,
              partial(_sepconv_flops, 2), BLEND_FRAMES, chains.sepconv_pair_fused, byte=True),
]  # fmt: skip
NAMES = list(dict.fromkeys(operation.name for operation in OPERATIONS))
WARPS = tuple(name for name in NAMES if not name.startswith("sepconv"))
CONVOLUTIONS = tuple(name for name in NAMES if name.startswith("sepconv"))


def run_ours(operation: Operation, inputs: dict[str, Tensor]) -> list[Tensor]:
    result = operation.ours(**inputs)
    return [result] if isinstance(result, Tensor) else list(result)


@contextlib.contextmanager
def simple_kernels() -> Iterator[None]:
    """Within, the simple CUDA kernels serve every call: they are the baseline. Launches read the variable."""
    name = "VFI_CUDA_KERNELS"
    before = os.environ.get(name)
    os.environ[name] = "simple"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def least_bytes(inputs: Sequence[Tensor], outputs: Sequence[Tensor], gradients: Sequence[Tensor] = ()) -> int:
    """Bytes to and from memory if everything is read or written once.

    Forward: the inputs, the outputs. Backward: the inputs again, the incoming gradient (as large as the
    outputs), and the gradients asked for, each in its input's dtype. So warp_blend, float32: 2 * 12 (frames)
    + 2 * 8 (flows) + 4 (mask) + 12 (output) = 56 a pixel forward; with all gradients 56 + 44 = 100 backward.
    """
    return sum(t.numel() * t.element_size() for t in (*inputs, *outputs, *gradients))


@dataclass(frozen=True)
class Case:
    operation: Operation
    size: str
    dtype: str
    layout: str
    passes: tuple[str, ...] = PASSES
    compile: bool = True  # whether torch.compile of the chain is measured as well


def cases(
    operations: Sequence[str],
    sizes: Sequence[str],
    dtypes: Sequence[str] = ("float32",),
    layouts: Sequence[str] = ("contiguous",),
    passes: Sequence[str] = PASSES,
    compile: bool = True,
    variants: bool = True,
) -> list[Case]:
    """All combinations that exist: no gradients of uint8, uint8 only where an operation takes it."""
    found = []
    for size in sizes:
        for dtype in dtypes:
            here = tuple(p for p in passes if p == FORWARD or dtype != "uint8")
            for layout in layouts:
                for operation in OPERATIONS:
                    exists = here and (operation.byte or dtype != "uint8")
                    asked = operation.name in operations and (variants or not operation.variant)
                    if asked and exists:
                        found.append(Case(operation, size, dtype, layout, here, compile))
    return found


def default_cases(device: str) -> list[Case]:
    """The most telling first: a run that meets its deadline leaves out the end.

    On a CPU the rivals of sepconv take seconds a call, its gradients tens of seconds: smaller sizes there.
    """
    if device == "cpu":
        return [
            *cases(WARPS, ["1080p"]),
            *cases(CONVOLUTIONS, ["540p"], passes=[FORWARD]),
            *cases(CONVOLUTIONS, ["256p"], passes=[BACKWARD]),
            *cases(WARPS, ["1080p"], ["float16"], variants=False),
            *cases(WARPS, ["1080p"], ["float32"], ["channels_last"], compile=False, variants=False),
            *cases(WARPS, ["1080p"], ["float16"], ["channels_last"], [FORWARD], False, False),
            *cases(["warp_blend", "voxel_flow"], ["1080p"], ["uint8"], compile=False, variants=False),
            *cases(CONVOLUTIONS, ["540p"], ["float16"], passes=[FORWARD], compile=False),
        ]
    # What targets are about and takes no compilation comes first.
    return [
        *cases(WARPS, ["4k"], ["float32", "float16"], compile=False, variants=False),
        *cases(["warp_blend", "voxel_flow"], ["1080p", "4k"], ["uint8"], compile=False, variants=False),
        *cases(CONVOLUTIONS, ["1080p"], ["float32", "float16"]),
        *cases(WARPS, ["1080p"], ["float32", "float16"]),
        *cases(WARPS, ["1080p"], ["float32", "float16"], ["channels_last"], compile=False, variants=False),
        *cases(CONVOLUTIONS, ["1080p"], ["uint8"], compile=False),
    ]
