"""Layouts that neither contiguous nor channels_last tensors have, at each instruction set: cropped, expanded
and sliced frames, frames of two layouts, flows side by side. All agree with the general loops.
"""

import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests import oracle, samples
from tests.samples import BRAIN, BYTE, FLOAT, HALF
from tests.test_cpu_versions import HEIGHT, LEVELS, WIDTH, flows, gapped, images, pairs_of, results_of

LAST = torch.channels_last


def last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=LAST)


def cropped(frame: Tensor) -> Tensor:
    wide = last(torch.nn.functional.pad(frame.float(), (2, 3, 1, 2), value=torch.nan).to(frame.dtype))
    return wide[..., 1:-2, 2:-3]


def expanded(frame: Tensor) -> Tensor:
    return last(frame[:1]).expand(2, -1, -1, -1)


def sliced(frame: Tensor) -> Tensor:
    """Of pixels with a channel more."""
    return last(torch.cat([frame, frame[:, :1]], 1))[:, : frame.shape[1]]


LAYOUTS = {
    "last": (last, last),
    "cropped": (cropped, cropped),
    "expanded": (expanded, expanded),
    "sliced": (sliced, sliced),
    "planar and last": (lambda frame: frame, last),
    "last and planar": (last, lambda frame: frame),
    "last and sliced": (last, sliced),
    "planar and cropped": (lambda frame: frame, cropped),
}


def calls() -> list[tuple[str, list]]:
    """Each a second time by the general loops."""
    torch.manual_seed(2)
    found = []
    dtypes = [(FLOAT, FLOAT), (HALF, FLOAT), (BRAIN, BRAIN), (BYTE, FLOAT)]
    kinds = itertools.cycle(["constant", "smooth", "rough", "wild"])
    for (one, two), channels, (image_type, flow_type) in itertools.product(
        LAYOUTS.values(), (2, 3, 4, 9), dtypes
    ):
        kind, turn = next(kinds), len(found) // 2
        padding = ("border", "zeros")[turn // 3 % 2]
        content = ("plain", "special")[turn % 5 % 2]
        frames = [layout(images(content, channels, image_type)) for layout in (one, two)]
        flow = last(flows(kind, flow_type))
        mask = samples.mask(2, HEIGHT, WIDTH, dtype=flow_type)
        voxels = last(torch.cat([flow, mask], 1))
        grad = samples.image(2, channels, HEIGHT, WIDTH, dtype=image_type)
        for twin in (lambda t: t, gapped):
            pair = [twin(frame) for frame in frames]
            found += [
                ("warp_blend", [*pair, flow, flow.flip(0), mask, None, False, padding]),
                ("voxel_flow", [*pair, voxels, "interpolate", padding]),
            ]
            if image_type != BYTE:
                found += [
                    ("backwarp", [pair, flow, padding]),
                    ("_warp_blend_backward",
                     [grad, *pair, flow, flow.flip(0), mask, None, False, padding, 0b011100]),
                    ("_voxel_flow_backward", [grad, *pair, voxels, "interpolate", padding, 0b100]),
                    ("_backwarp_backward", [[grad, grad], pair, flow, padding, 0b100]),
                ]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[list, dict[str, list]]:
    path: Path = tmp_path_factory.mktemp("layouts") / "calls.pt"
    torch.save(calls(), path)
    return torch.load(path), results_of(path)


@pytest.mark.parametrize("level", LEVELS)
def test_layouts_match_the_general_loops(results: tuple[list, dict[str, list]], level: str):
    table, found = results
    if level not in found:
        pytest.skip(f"this processor has no {level}")
    place = 0
    while place < len(table):
        count = 2 if table[place][1][0].dtype == BYTE else 6
        for (name, inputs), got, expected in zip(
            table[place : place + count],
            found[level][place : place + count],
            found["base"][place + count : place + 2 * count],
            strict=True,
        ):
            for a, b in pairs_of(got, expected):
                if a.dtype == BYTE:
                    assert (a.int() - b.int()).abs().max() <= 1, (name, a.shape)
                    continue
                atol = 5e-5 if name.startswith("_") else 5e-6
                close = torch.isclose(a, b, rtol=2 * oracle.EPS[a.dtype], atol=atol, equal_nan=True)
                assert close.all(), (name, a.dtype, tuple(a.shape), [i.stride() for i in inputs[0]])
                if not name.startswith("_"):
                    zero = (a == 0) & (b == 0)
                    assert torch.equal(a[zero].signbit(), b[zero].signbit()), (name, a.dtype, tuple(a.shape))
        place += 2 * count
