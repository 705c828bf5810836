"""Compiled launches (csrc/cuda) and run-time compilation (vfi_kernels/jit) pick the same kernels and grids.

Both are written down for the same tensors: the former on a CUDA runtime that launches nothing.
"""

import ctypes
import functools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import samples
from tests.emulator import build
from tests.samples import BYTE, FLOAT, HALF
from vfi_kernels.jit.kernels import Kernels
from vfi_kernels.jit.params import TYPE_NAMES
from vfi_kernels.jit.source import source_folder
from vfi_kernels.ops._register import ORDERED

pytestmark = [
    pytest.mark.host_only,
    pytest.mark.skipif(bool(build.unavailable("plain")), reason=build.unavailable("plain") or "available"),
]
OPERATORS = {"warp_blend": "WarpBlend", "voxel_flow": "VoxelFlow", "backwarp": "Backwarp"}
LAST = torch.channels_last


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, bytes], list[str]]:
    """The kernels that csrc/cuda launches for a call and its parameters."""
    here = Path(__file__).parent
    folders = [build.HERE, build.HERE / "cuemu", here / "cuda_runtime", source_folder() / "cuda"]
    flags = ["-std=c++17", "-O0", "-fPIC", "-shared", "-Wall", "-Wno-unknown-pragmas", "-DCUEMU_FEW_TYPES"]
    path = tmp_path_factory.mktemp("launches") / "launches.so"
    command = [build.COMPILER, *flags, *(f"-I{folder}" for folder in folders)]
    subprocess.run([*command, str(here / "cuda_launches.cpp"), "-ldl", "-o", str(path)], check=True)
    library = ctypes.CDLL(str(path))
    library.launches.restype = ctypes.c_char_p

    def launches(call: str, params: bytes) -> list[str]:
        text = library.launches(call.encode(), params).decode()
        for theirs, ours in [("float", "f32"), ("unsigned char", "u8"), (" >", ">"), ("vfi::", "")]:
            text = text.replace(theirs, ours)
        return [re.sub(r"void (\w+<.*>)\(.*\)", r"\1", line) for line in text.splitlines()]

    return launches


class Recorder:
    """Kernels that are not launched, and the parameters of the first one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.params = b""
        self.kernels = Kernels(self._launch, lambda device: 99 << 10)

    def _launch(self, source, kernel, grid, block, shared, params, device) -> None:
        self.params = self.params or bytes(params)
        self.lines.append(" ".join([kernel, *map(str, grid), str(shared)]))


def same_launches(compiled, operation: str, inputs: list, grads: list[Tensor] | None = None) -> list[str]:
    """Compares one call: the forward pass, or the gradients of `grads`, all of them."""
    images, flow = (inputs[0], inputs[1]) if operation == "backwarp" else (inputs[:1], inputs[2])
    image_type = FLOAT if operation == "backwarp" else images[0].dtype
    way = "forward" if grads is None else "backward"
    call = f"{way} {OPERATORS[operation]}<{TYPE_NAMES[image_type]}, {TYPE_NAMES[flow.dtype]}>"
    names = []
    for order in (0,) if grads is None else (0, ORDERED):
        recorder = Recorder()
        if grads is None:
            getattr(recorder.kernels, operation)(*inputs)
        else:
            grad = grads if operation == "backwarp" else grads[0]
            getattr(recorder.kernels, f"_{operation}_backward")(grad, *inputs, 0xFF | order)
        assert compiled(call, recorder.params) == recorder.lines
        names += [line.split("<")[0] for line in recorder.lines]
    return names


def strided(tensor: Tensor, *strides: int) -> Tensor:
    """With these strides, in memory that nobody touches."""
    size = 1 + sum((length - 1) * stride for length, stride in zip(tensor.shape, strides, strict=True))
    return torch.empty(size, dtype=tensor.dtype).as_strided(tensor.shape, strides)


def pixels(step: int, row: int = 0, entry: int = 0, start: int = 0) -> Callable[[Tensor], Tensor]:
    """Channels side by side, in rows and entries of multiples of 16 numbers: from pixel to pixel, more from
    row to row and from entry to entry, and left at the start.
    """

    def view(tensor: Tensor) -> Tensor:
        n, _, h, w = tensor.shape
        rows = -(-w * step // 16) * 16 + row
        entries = -(-h * rows // 16) * 16 + entry
        memory = torch.empty(start + n * entries + step, dtype=tensor.dtype)
        return memory[start:].as_strided(tensor.shape, (entries, 1, rows, step))

    return view


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "planes": Tensor.contiguous,
    "pixels": lambda t: t.contiguous(memory_format=LAST),
    "gaps": lambda t: torch.empty([2 * size for size in t.shape], dtype=t.dtype)[:, ::2, ::2, ::2][: len(t)],
    "part of planes": lambda t: torch.empty(*t.shape[:2], t.shape[2] + 1, t.shape[3] + 3)[..., 1:, 2:-1].to(
        t.dtype
    ),
    "turned": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "shared by all entries": lambda t: t[:1].contiguous(memory_format=LAST).expand(t.shape),
    "one pixel everywhere": lambda t: t[..., :1, :1].contiguous(memory_format=LAST).expand(t.shape),
    "wider pixels": pixels(32),
    "wider rows": pixels(16, row=16),
    "odd rows": pixels(16, row=1),
    "odd entries": pixels(16, entry=1),
    "odd start": pixels(16, start=1),
    "odd pixels": pixels(17),
}


def image_in(layout: str, dtype: torch.dtype, *shape: int) -> Tensor:
    return LAYOUTS[layout](torch.empty(shape, dtype=dtype))


def warp_inputs(operation: str, layouts, dtype, n: int, c: int, h: int, w: int) -> list:
    """layouts: of two frames, and of what is beside them."""
    frames = [image_in(layout, dtype, n, c, h, w) for layout in layouts[:2]]
    if operation == "backwarp":
        other = image_in(layouts[1], HALF, n, 8, h, w)
        return [[frames[0], other], image_in(layouts[2], FLOAT, n, 2, h, w), "border"]
    if operation == "voxel_flow":
        return [*frames, image_in(layouts[2], FLOAT, n, 3, h, w), "interpolate", "zeros"]
    flows = [image_in(layout, FLOAT, n, 2, h, w) for layout in (layouts[2], layouts[0])]
    return [*frames, *flows, image_in(layouts[2], FLOAT, n, 1, h, w), None, True, "border"]


def all_launches(compiled, operation: str, layouts, dtype, n: int, c: int, h: int, w: int) -> list[str]:
    """Forward, and backward with a gradient in either frame's layout."""
    if operation == "backwarp" and dtype == BYTE:
        return []
    inputs = warp_inputs(operation, layouts, dtype, n, c, h, w)
    names = same_launches(compiled, operation, inputs)
    if dtype != BYTE:
        for layout in layouts[:2]:
            images = inputs[0] if operation == "backwarp" else inputs[:1]
            grads = [image_in(layout, image.dtype, *image.shape) for image in images]
            names += same_launches(compiled, operation, inputs, grads)
    return names


@functools.cache
def mixtures() -> list[tuple[str, str, str]]:
    """Of two frames and what is beside them: all layouts in every place, beside the usual ones."""
    usual = ["planes", "pixels"]
    same = [(a, a, b) for a in LAYOUTS for b in LAYOUTS]
    return [*same, *((a, b, c) for a in usual for b in LAYOUTS for c in usual)]


@pytest.mark.parametrize("channels", [1, 3, 4, 6, 16])
@pytest.mark.parametrize("dtype", [FLOAT, HALF, BYTE], ids=str)
@pytest.mark.parametrize("operation", OPERATORS)
def test_layouts(compiled, operation, dtype, channels):
    names = set()
    for layouts in mixtures():
        names.update(all_launches(compiled, operation, layouts, dtype, 2, channels, 5, 6))
    if operation == "backwarp":
        expected = {
            "backwarp_forward",
            "backwarp_forward_tuned",
            "backwarp_backward",
            "backwarp_backward_tuned",
        }
    else:
        wide = channels * dtype.itemsize % 16 == 0
        expected = {"pair_forward", "pair_forward_tuned"} | ({"pair_forward_wide"} if wide else set())
        expected |= {"pair_backward", "pair_backward_tuned" if channels == 3 else "pair_backward_channels"}
    if dtype == BYTE:
        expected = {name for name in expected if "forward" in name and "backwarp" not in name}
    else:
        expected |= {"frame_reach", "frame_gather"}
    assert names == expected


@pytest.mark.parametrize("operation", OPERATORS)
@pytest.mark.parametrize("layout", ["planes", "pixels"])
@pytest.mark.parametrize(
    "size",
    [(1, 3, 1, 8), (1, 3, 8, 1), (1, 8, 2, 2), (65535, 8, 2, 2), (65536, 8, 2, 2), (1, 4, 524280, 2),
     (1, 4, 524281, 2), (3, 16, 67, 131)],
    ids=str,
)  # fmt: skip
def test_sizes(compiled, operation, layout, size):
    for dtype in (FLOAT, BYTE):
        all_launches(compiled, operation, [layout] * 3, dtype, *size)


@pytest.mark.parametrize("operation", ["warp_blend", "voxel_flow"])
@pytest.mark.parametrize("height", [4, 5])
def test_planes_of_2_29_elements(compiled, operation, height):
    """The largest that the tuned kernels address, and one more row."""
    inputs = warp_inputs(operation, ["planes"] * 3, BYTE, 1, 3, height, 8)
    inputs[0] = strided(inputs[0], 0, 8, 1 << 27, 1)
    names = same_launches(compiled, operation, inputs)
    assert names == ["pair_forward_tuned" if height == 4 else "pair_forward"]


@pytest.mark.parametrize("operation", OPERATORS)
def test_simple_kernels_where_wanted(compiled, monkeypatch, operation):
    monkeypatch.setenv("VFI_CUDA_KERNELS", "simple")
    names = all_launches(compiled, operation, ["pixels"] * 3, FLOAT, 2, 8, 6, 7)
    assert not any(part in name for name in names for part in ("tuned", "wide", "channels"))


def same_sepconv(compiled, inputs: list, coarse: bool = False) -> set[str]:
    """Compares the forward pass and all gradients; the kernels."""
    images, verticals, *_ = inputs
    types = f"Sepconv<{TYPE_NAMES[images[0].dtype]}, {TYPE_NAMES[verticals[0].dtype]}>"
    forward = Recorder()
    out = forward.kernels.sepconv(*inputs[:4], coarse)
    assert compiled(f"forward {types}", forward.params) == forward.lines
    lines = forward.lines
    if images[0].dtype != BYTE:
        backward = Recorder()
        backward.kernels._sepconv_backward(out, *inputs[:4], coarse, 0xFF)
        # Kernels of the tensor cores before the others there, in the order of the gradients here.
        assert sorted(compiled(f"backward {types}", backward.params)) == sorted(backward.lines)
        lines = lines + backward.lines
    return {line.split("<")[0].removeprefix("sepconv_") for line in lines}


BAND = {"band_forward", "band_vertical", "band_horizontal", "band_image"}
TILED = {"tiled_forward", "tiled_taps", "tiled_image"}


@pytest.mark.parametrize("padding", ["valid", "replicate"])
@pytest.mark.parametrize("dtype", [FLOAT, HALF, BYTE], ids=str)
@pytest.mark.parametrize("terms", [1, 2])
def test_sepconv(compiled, terms, dtype, padding):
    """Taps and channels at every limit, on a device with 99 KB of shared memory a block."""
    sizes = [(1, 3, 5, 33), (2, 1, 130, 70), (1, 4, 67, 200), (300, 2, 17, 3)]
    taps = [(5, 5), (15, 16), (16, 15), (16, 16), (17, 54), (51, 51), (52, 57), (53, 55), (54, 56), (55, 57),
            (57, 57), (58, 20), (20, 58), (70, 70)]  # fmt: skip
    names = set()
    for n, c, h, w in sizes:
        for kv, kh in taps:
            inputs = samples.sepconv_inputs(terms, n, c, h, w, kv, kh, (dtype, FLOAT), padding)
            for coarse in (False, True):
                names |= same_sepconv(compiled, inputs, coarse)
    assert names == {name for name in BAND | TILED if dtype != BYTE or "forward" in name}


def test_layouts_of_sepconv(compiled):
    images, verticals, horizontals, *padding = samples.sepconv_inputs(
        1, 2, 3, 5, 33, 20, 20, (FLOAT, FLOAT), "replicate"
    )
    images = [images[0].contiguous(memory_format=LAST)]
    assert same_sepconv(compiled, [images, verticals, horizontals, *padding]) == BAND
    verticals = [verticals[0].contiguous(memory_format=LAST)]
    assert same_sepconv(compiled, [images, verticals, horizontals, *padding]) == TILED


def test_simple_sepconv_where_wanted(compiled, monkeypatch):
    monkeypatch.setenv("VFI_CUDA_KERNELS", "simple")
    inputs = samples.sepconv_inputs(2, 2, 3, 5, 33, 20, 20, (FLOAT, FLOAT), "replicate")
    assert not same_sepconv(compiled, inputs) & (BAND | TILED)
