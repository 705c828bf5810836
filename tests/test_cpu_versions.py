"""The instruction sets of the CPU kernels give the same results, to the last bits that FMA allows."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import vfi_kernels
from tests import oracle, samples
from tests.samples import BRAIN, BYTE, DOUBLE, FLOAT, HALF

ROOT = Path(__file__).parent.parent
LEVELS = ("base", "v3", "v4")
HEIGHT, WIDTH = 21, 53  # wider than the widest vector, and a multiple of none
INF, NAN = float("inf"), float("nan")

# Runs in a process of its own, since the instruction set is chosen once: calls an operator for each case.
CHILD = """
import sys, torch
import vfi_kernels
cases = torch.load(sys.argv[1])
torch.save([getattr(torch.ops.vfi_kernels, name)(*inputs) for name, inputs in cases], sys.argv[2])
"""


def run(level: str, *arguments: str, code: str = CHILD) -> subprocess.CompletedProcess:
    environment = {**os.environ, "VFI_CPU": level, "PYTHONPATH": str(Path(vfi_kernels.__file__).parents[1])}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)


def flows(kind: str, dtype: torch.dtype) -> Tensor:
    y, x = torch.meshgrid(torch.arange(HEIGHT) / 7.0, torch.arange(WIDTH) / 9.0, indexing="ij")
    flow = torch.stack([2.5 * torch.sin(x + y), 1.5 * torch.cos(x - y)])
    if kind == "constant":
        flow = torch.tensor([1.25, -0.5]).view(2, 1, 1).expand(2, HEIGHT, WIDTH)
    if kind == "rough":
        flow = 20 * torch.randn(2, HEIGHT, WIDTH)
    if kind == "wild":
        flow = flow.clone()
        flow.view(-1)[::7] = torch.tensor([NAN, INF, -INF, 1e30, -1e30]).repeat(64)[
            : flow.view(-1)[::7].numel()
        ]
    return torch.stack([flow, flow.flip(1)]).to(dtype)


def images(kind: str, channels: int, dtype: torch.dtype) -> Tensor:
    image = samples.image(2, channels, HEIGHT, WIDTH, dtype=dtype)
    if kind == "special" and dtype != BYTE:
        count = image.view(-1)[::11].numel()
        image.view(-1)[::11] = torch.tensor([NAN, INF, -INF, -0.0]).repeat(count)[:count].to(dtype)
        image[:, :, 5:9] = -0.0
    return image


def gapped(tensor: Tensor) -> Tensor:
    """The same values with a gap after each: no vector loop takes that, so the general loops do."""
    wide = torch.zeros(*tensor.shape, 2, dtype=tensor.dtype)
    wide[..., 0] = tensor
    return wide[..., 0]


def cases() -> list[tuple[str, list]]:
    """Calls of the forward operators, each a second time by the general loops."""
    found = []
    for name, inputs in forward_cases():
        frames = 1 if name == "backwarp" else 2
        twins = [
            [gapped(i) for i in frame] if name == "backwarp" else gapped(frame) for frame in inputs[:frames]
        ]
        found += [(name, inputs), (name, twins + inputs[frames:])]
    return found


def forward_cases() -> list[tuple[str, list]]:
    torch.manual_seed(0)
    still = torch.zeros(2, 2, HEIGHT, WIDTH)
    found = [
        ("backwarp", [[images("special", channels, dtype).contiguous(memory_format=layout)], still, padding])
        for dtype in (FLOAT, HALF, BRAIN)
        for channels, layout in [
            (3, torch.contiguous_format),
            (3, torch.channels_last),
            (4, torch.contiguous_format),
        ]
        for padding in ("border", "zeros")
    ]
    # Pixels of many channels: whole vectors and what is left over of them, and several images of one call.
    for channels in (1, 2, 4, 5, 8, 16, 17, 33):
        for dtypes in [(FLOAT, FLOAT), (HALF, FLOAT), (BRAIN, BRAIN), (BYTE, FLOAT)]:
            kind = ("constant", "smooth", "rough", "wild")[channels % 4]
            pair = [
                images("special", channels, dtypes[0]).contiguous(memory_format=torch.channels_last)
                for _ in range(2)
            ]
            flow, mask = flows(kind, dtypes[1]), samples.mask(2, HEIGHT, WIDTH, dtype=dtypes[1])
            padding = "zeros" if channels % 2 else "border"
            found.append(("warp_blend", [*pair, flow, flow.flip(0), mask, None, False, padding]))
            found.append(("voxel_flow", [*pair, torch.cat([flow, mask], 1), "interpolate", padding]))
            if dtypes[0] != BYTE:
                found.append(("backwarp", [[pair[0]], still, padding]))
                planar = images("special", 33 - channels + 1, dtypes[0])
                # Groups of equal strides; slices of pixels, whose output is planar; slices of planes.
                apart = torch.cat(pair, 1)
                mixed = [planar, pair[0], pair[1], apart[:, :channels], planar[:, :1]]
                found.append(("backwarp", [mixed, flow, padding]))
    for dtypes in [
        (FLOAT, FLOAT),
        (HALF, FLOAT),
        (HALF, HALF),
        (BRAIN, BRAIN),
        (BYTE, FLOAT),
        (DOUBLE, FLOAT),
    ]:
        for kind in ("constant", "smooth", "rough", "wild"):
            for channels, layout in [
                (1, torch.contiguous_format),
                (3, torch.channels_last),
                (5, torch.contiguous_format),
            ]:
                padding = "zeros" if channels == 5 or kind == "wild" else "border"
                content = "special" if kind in ("constant", "wild") else "plain"
                pair = [
                    images(content, channels, dtypes[0]).contiguous(memory_format=layout) for _ in range(2)
                ]
                flow = flows(kind, dtypes[1])
                mask = samples.mask(2, HEIGHT, WIDTH, dtype=dtypes[1])
                time = (
                    None
                    if channels == 1
                    else torch.tensor([0.25, 0.5], dtype=DOUBLE if dtypes[0] == DOUBLE else FLOAT)
                )
                found.append(("warp_blend", [*pair, flow, flow.flip(0), mask, time, channels == 5, padding]))
                found.append(("voxel_flow", [*pair, torch.cat([flow, mask], 1), "interpolate", padding]))
                if dtypes[0] != BYTE:
                    found.append(("backwarp", [pair, flow, padding]))
    return found


def gradient_cases() -> list[tuple[str, list]]:
    """Calls of the backward operators, for everything but the frames; each a second time by the general
    loops.
    """
    torch.manual_seed(1)
    found = []
    planar, last = torch.contiguous_format, torch.channels_last
    # One vector (4, 8 or 16 pixels) in a row, one and a pixel more, several and a rest; less than one.
    shapes = [(3, planar, WIDTH), (3, last, WIDTH), (1, planar, 16), (5, planar, 17), (3, last, 9)]
    shapes += [(4, planar, 8), (3, last, 16), (7, planar, 5), (3, last, 4), (2, planar, 3), (4, last, 17)]
    shapes += [(9, last, WIDTH), (20, last, 16)]
    dtypes = [(FLOAT, FLOAT), (HALF, FLOAT), (HALF, HALF), (BRAIN, BRAIN), (DOUBLE, FLOAT)]
    for (channels, layout, width), (image_type, flow_type), kind in itertools.product(
        shapes, dtypes, ("still", "constant", "smooth", "rough", "wild")
    ):
        turn = len(found) // 8
        content = "special" if turn % 2 else "plain"
        padding = ("border", "zeros")[turn // 2 % 2]
        repeat = 2 if turn % 3 == 0 else 1
        frames = [
            images(content, channels, image_type)[: 2 // repeat, ..., :width].contiguous(memory_format=layout)
            for _ in range(2)
        ]
        flow = torch.zeros(2, 2, HEIGHT, WIDTH) if kind == "still" else flows(kind, FLOAT)
        flow = flow[..., :width].to(flow_type).contiguous(memory_format=layout)
        mask = samples.mask(2, HEIGHT, width, dtype=flow_type)
        voxels = torch.cat([flow, 1.4 * mask - 0.2], 1)
        grad = samples.image(2, channels, HEIGHT, width, dtype=image_type)
        grad = [
            grad.contiguous(memory_format=layout),
            grad.contiguous(memory_format=planar if layout == last else last),
            grad[:1, :, :1, :1].expand(2, channels, HEIGHT, width),
        ][turn % 3]
        time = torch.tensor([0.0, 0.4], dtype=DOUBLE if image_type == DOUBLE else FLOAT) if turn % 2 else None
        logits, mode = turn % 5 > 2, ("interpolate", "extrapolate")[turn % 2]
        needs = [0b111100 if turn % 2 else 0b011100, 0b001000, 0b000100, 0b010000][turn % 4]
        other = [images("plain", 2, image_type)[: 2 // repeat, ..., :width].contiguous(), frames[1]]
        if image_type != DOUBLE:
            other.append(other[0].to(HALF if image_type == FLOAT else FLOAT))
        grads = [samples.image(2, i.shape[1], HEIGHT, width, dtype=i.dtype) for i in other]
        for twin in (lambda t: t, gapped):
            pair = [twin(frame) for frame in frames]
            found += [
                ("_warp_blend_backward",
                 [grad, *pair, flow, flow.flip(0), mask, time, logits, padding, needs]),
                ("_voxel_flow_backward", [grad, *pair, voxels, mode, padding, 0b100]),
                ("_backwarp_backward", [[grad], pair[:1], flow, padding, 0b10]),
                ("_backwarp_backward", [grads, [twin(i) for i in other], flow, padding, 1 << len(other)]),
            ]  # fmt: skip
    return found


def pairs_of(got: Tensor | list[Tensor], expected: Tensor | list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    if isinstance(got, Tensor):
        return [(got, expected)]
    return list(zip(got, expected, strict=True))


def assert_same(got: Tensor, expected: Tensor) -> None:
    assert got.dtype == expected.dtype
    assert got.stride() == expected.stride()
    if got.dtype == BYTE:
        assert (got.int() - expected.int()).abs().max() <= 1
        return
    rtol = 1.01 * oracle.EPS[got.dtype]
    torch.testing.assert_close(got, expected, equal_nan=True, atol=2e-6, rtol=rtol)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("versions") / "cases.pt"
    torch.save(cases(), path)
    return path


def results_of(table: Path) -> dict[str, list]:
    """What each instruction set that this processor has makes of a table."""
    found = {}
    for level in LEVELS:
        path = table.with_name(f"{table.stem}_{level}.pt")
        child = run(level, str(table), str(path))
        if "this processor has no" in child.stderr:
            continue
        assert child.returncode == 0, child.stderr
        found[level] = torch.load(path)
    return found


@pytest.fixture(scope="module")
def results(table: Path) -> dict[str, list]:
    return results_of(table)


@pytest.fixture(scope="module")
def gradients(tmp_path_factory) -> tuple[list, dict[str, list]]:
    path = tmp_path_factory.mktemp("versions") / "gradients.pt"
    torch.save(gradient_cases(), path)
    return torch.load(path), results_of(path)


@pytest.mark.parametrize("level", LEVELS[1:])
def test_levels_agree(table: Path, results: dict[str, list], level: str):
    if level not in results:
        pytest.skip(f"this processor has no {level}")
    for (name, _), got, expected in zip(torch.load(table), results[level], results["base"], strict=True):
        for a, b in pairs_of(got, expected):
            try:
                assert_same(a, b)
            except AssertionError as error:
                raise AssertionError(f"{name} {a.dtype} {tuple(a.shape)}: {error}") from None


@pytest.mark.parametrize("level", LEVELS)
def test_levels_match_reference(table: Path, results: dict[str, list], level: str):
    """NaN and Inf included."""
    if level not in results:
        pytest.skip(f"this processor has no {level}")
    for (name, inputs), got in zip(torch.load(table)[::2], results[level][::2], strict=True):
        for a, b in pairs_of(got, getattr(vfi_kernels.reference, name)(*inputs)):
            atol, rtol = (1, 0) if a.dtype == BYTE else (2e-4, 2e-4 + 2 * oracle.EPS[a.dtype])
            close = torch.isclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True)
            # Beside an Inf or NaN, a position that rounds over the edge of a pixel makes all the difference:
            # there few may differ.
            assert (close | ~(a.isfinite() & b.isfinite())).all(), (name, a.dtype, tuple(a.shape))
            assert close.double().mean() > 0.999, (name, a.dtype, tuple(a.shape))


@pytest.mark.parametrize("level", LEVELS)
def test_levels_match_the_general_loops(table: Path, results: dict[str, list], level: str):
    """These round positions alike: so every NaN and Inf is the same one, and every zero has the same sign."""
    if level not in results:
        pytest.skip(f"this processor has no {level}")
    general = results["base"][1::2]
    for (name, _), fast, slow in zip(torch.load(table)[::2], results[level][::2], general, strict=True):
        for a, b in pairs_of(fast, slow):
            case = (name, a.dtype, tuple(a.shape))
            if a.dtype == BYTE:
                assert (a.int() - b.int()).abs().max() <= 1, case
                continue
            torch.testing.assert_close(a, b, rtol=2 * oracle.EPS[a.dtype], atol=5e-6, equal_nan=True)
            zero = (a == 0) & (b == 0)
            assert torch.equal(a[zero].signbit(), b[zero].signbit()), case


@pytest.mark.parametrize("level", LEVELS)
def test_gradients_match_the_general_loops(gradients: tuple[list, dict[str, list]], level: str):
    """NaN and Inf included: where a sum is not finite, the general loop has the word."""
    calls, found = gradients
    if level not in found:
        pytest.skip(f"this processor has no {level}")
    for start in range(0, len(calls), 8):
        for place in range(start, start + 4):
            (name, inputs), got, expected = calls[place], found[level][place], found[level][place + 4]
            for a, b in zip(got, expected, strict=True):
                assert a.shape == b.shape
                same = torch.isclose(a, b, rtol=2 * oracle.EPS[a.dtype], atol=5e-5, equal_nan=True)
                assert same.all(), f"{name} {place} {a.dtype} {inputs[1][0].shape} {a[~same]} {b[~same]}"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_of_wide_rows_with_many_channels(layout: torch.memory_format):
    """More pixels than are located at once, and several images that share them."""
    torch.manual_seed(2)
    flow = 2 * torch.randn(1, 2, 2, 530)
    frames = [torch.rand(1, c, 2, 530).contiguous(memory_format=layout) for c in (5, 5, 3, 12)]
    grads = [torch.rand_like(frame) for frame in frames]
    mask = torch.rand(1, 1, 2, 530)
    ops = torch.ops.vfi_kernels
    for padding in ("border", "zeros"):
        got, expected = (
            [
                *ops._backwarp_backward(grads, images, flow, padding, 1 << 4),
                *ops._warp_blend_backward(
                    grads[0], *images[:2], flow, -flow, mask, None, False, padding, 0b011100
                ),
            ]
            for images in (frames, [gapped(frame) for frame in frames])
        )
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-5, atol=5e-5)


@pytest.mark.parametrize("level", LEVELS)
def test_zero_flow_is_the_identity(table: Path, results: dict[str, list], level: str):
    """Bit for bit, beside Inf and NaN too; of a NaN only that it is one."""
    if level not in results:
        pytest.skip(f"this processor has no {level}")
    for (name, inputs), got in zip(torch.load(table), results[level], strict=True):
        if name != "backwarp" or inputs[1].count_nonzero():
            continue
        [image], [result] = inputs[0], got
        bits = torch.int32 if image.dtype == FLOAT else torch.int16
        assert torch.equal(image.isnan(), result.isnan())
        assert torch.equal(
            torch.where(image.isnan(), 0, image.view(bits)), torch.where(image.isnan(), 0, result.view(bits))
        )


@pytest.mark.parametrize(("channels", "layout"), [(3, "planar"), (3, "last"), (20, "planar"), (20, "last")])
def test_rough_flows_are_taken_in_strips(channels: int, layout: str):
    """Large enough for a second band of rows, the one in strips; the last strip is narrower than a vector."""
    height, width = 140, 2 * 1024 + 5
    memory_format = torch.channels_last if layout == "last" else torch.contiguous_format
    pair = [torch.rand(1, channels, height, width).contiguous(memory_format=memory_format) for _ in range(2)]
    flow = [20 * torch.rand(1, 2, height, width) - 10 for _ in range(2)]
    mask = torch.rand(1, 1, height, width)
    inputs = [*pair, *flow, mask, None, False, "border"]
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2):
            torch.set_num_threads(count)
            results.append(torch.ops.vfi_kernels.warp_blend(*inputs))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])  # the bands are others
    torch.testing.assert_close(results[0], vfi_kernels.reference.warp_blend(*inputs), atol=5e-4, rtol=0)


FLUSHED = """
import torch, vfi_kernels
if torch.set_flush_denormal(True):
    bits = torch.arange(1, 1024, dtype=torch.int16).view(1, 1, 33, 31)
    image = bits.expand(1, 3, 33, 31).contiguous().view(torch.float16)
    for layout in (torch.contiguous_format, torch.channels_last):
        result = vfi_kernels.backwarp(image.contiguous(memory_format=layout), torch.zeros(1, 2, 33, 31))
        assert torch.equal(result.view(torch.int16), image.view(torch.int16)), result
"""


@pytest.mark.parametrize("level", LEVELS)
def test_subnormal_halves_are_not_flushed(level: str):
    """torch.set_flush_denormal is about float32, in which they are normal."""
    child = run(level, code=FLUSHED)
    if "this processor has no" not in child.stderr:
        assert child.returncode == 0, child.stderr


def test_an_unknown_level_is_an_error(table: Path):
    child = run("v5", str(table), "nowhere")
    assert child.returncode != 0
    assert "VFI_CPU must be base, v3 or v4; got v5" in child.stderr
