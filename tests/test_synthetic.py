"""Synthetic scenes: frames, flow and visibility by construction."""

from __future__ import annotations

import copy
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from vfi_kernels import backwarp
from vfi_kernels.data.scene import FAR, MOTION, SHAPE, Scenes
from vfi_kernels.data.synthetic import Limits, Synthetic

SIZE = (48, 64)
LIVELY = Limits(layers=5, camera=8, speed=12, turn=15, zoom=0.1, bend=4, blur=0)
PAIRS = {"01": (0, 1), "10": (1, 0), "_t0": ("t", 0), "_t1": ("t", 1)}


def rectangles(size: tuple[int, int], *rectangles: dict[str, float], background: float = 0.0) -> Scenes:
    """One scene of flat grey rectangles, back to front: half_x, half_y, x, y and dx, dy to frame 1; grey."""
    layers = len(rectangles) + 1
    motion, shape = torch.zeros(3, 1, layers, len(MOTION)), torch.zeros(1, layers, len(SHAPE))
    shape[..., SHAPE.index("ring")] = FAR
    shape[0, 0, :2] = FAR
    greys = [background]
    for layer, about in enumerate(rectangles, 1):
        shape[0, layer, :2] = torch.tensor([about["half_x"], about["half_y"]])
        start = torch.tensor([about["x"], about["y"]])
        motion[:2, 0, layer, :2] = torch.stack([start, start + torch.tensor([about["dx"], about["dy"]])])
        greys.append(about["grey"])
    textures = torch.tensor(greys).view(1, -1, 1, 1, 1).expand(1, layers, 3, 8, 8)
    return Scenes(
        size, textures, motion, torch.zeros(3, 1, 1, 4), torch.zeros(1, layers, 2), shape, torch.zeros(1)
    )


def at(time: float, count: int = 1) -> Tensor:
    return torch.full((count,), time)


def inside_one_layer(scenes: Scenes, time: Tensor) -> Tensor:
    """[N, 1, H, W]: pixels whose neighbours show the same layer, whole."""
    front = scenes.view(time).front.float()
    most, least = F.max_pool2d(front, 5, 1, 2), -F.max_pool2d(-front, 5, 1, 2)
    return (most == least).float()


def test_two_rectangles_truth_table() -> None:
    """On a row of 12: a wide grey one stands, a white one of two pixels moves by four over it."""
    wide = {"half_x": 2, "half_y": 9, "x": 0, "y": 0, "dx": 0, "dy": 0, "grey": 0.5}
    small = {"half_x": 1, "half_y": 9, "x": -3, "y": 0, "dx": 4, "dy": 0, "grey": 1.0}
    scenes = rectangles((1, 12), wide, small)
    views = {time: scenes.view(at(time)) for time in (0.0, 0.5, 1.0)}
    rows = {time: scenes.frame(view)[0, 0, 0].tolist() for time, view in views.items()}
    assert rows[0.0] == [0, 0, 1, 1, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0]
    assert rows[0.5] == [0, 0, 0, 0, 1, 1, 0.5, 0.5, 0, 0, 0, 0]
    assert rows[1.0] == [0, 0, 0, 0, 0.5, 0.5, 1, 1, 0, 0, 0, 0]
    flow, seen = scenes.flow(views[0.0], views[1.0])
    assert flow[0, 0, 0].tolist() == [0, 0, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0]
    assert (flow[0, 1] == 0).all()
    assert seen[0, 0, 0].tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1]
    flow, seen = scenes.flow(views[0.5], views[0.0])
    assert flow[0, 0, 0].tolist() == [0, 0, 0, 0, -2, -2, 0, 0, 0, 0, 0, 0]
    assert seen[0, 0, 0].tolist() == [1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    behind = rectangles((1, 12), small, wide)
    assert behind.frame(behind.view(at(0.5)))[0, 0, 0].tolist() == [0, 0, 0, 0] + [0.5] * 4 + [0] * 4
    _, seen = behind.flow(behind.view(at(0)), behind.view(at(0.5)))
    assert seen[0, 0, 0].tolist() == [1, 1, 0, 0] + [1] * 8


def test_edges_cover_pixels_in_part() -> None:
    box = {"half_x": 1.25, "half_y": 9, "x": 0, "y": 0, "dx": 0.5, "dy": 0, "grey": 1.0}
    scenes = rectangles((1, 5), box)
    assert scenes.frame(scenes.view(at(0)))[0, 0, 0].tolist() == [0, 0.75, 1, 0.75, 0]
    assert scenes.frame(scenes.view(at(1)))[0, 0, 0].tolist() == [0, 0.25, 1, 1, 0.25]
    box = {"half_x": 1.125, "half_y": 9, "x": 0, "y": 0, "dx": 0, "dy": 0, "grey": 1.0}
    large = rectangles((1, 7), box)
    large.motion[:2, :, 1, MOTION.index("log_zoom")] = math.log(2)
    torch.testing.assert_close(
        large.frame(large.view(at(0)))[0, 0, 0], torch.tensor([0, 0.75, 1, 1, 1, 0.75, 0])
    )


def test_what_leaves_the_frame_is_not_seen() -> None:
    box = {"half_x": 1.5, "half_y": 9, "x": 1, "y": 0, "dx": 2, "dy": 0, "grey": 1.0}
    scenes = rectangles((1, 5), box)
    _, seen = scenes.flow(scenes.view(at(0)), scenes.view(at(1)))
    assert seen[0, 0, 0].tolist() == [1, 1, 1, 0, 0]


def test_motion_blur() -> None:
    """A point of light that moves by four pixels in half of the time between frames draws a line."""
    dot = {"half_x": 0.5, "half_y": 9, "x": -4, "y": 0, "dx": 8, "dy": 0, "grey": 1.0}
    sharp = rectangles((1, 11), dot)
    blurred = replace(sharp, shutter=torch.tensor([0.5]))
    row = blurred.frame(blurred.view(at(0.5)), exposures=64)[0, 0, 0]
    expected = torch.tensor([0, 0, 0, 0.125, 0.25, 0.25, 0.25, 0.125, 0, 0, 0])
    torch.testing.assert_close(row, expected, atol=1e-3, rtol=0)
    both = replace(sharp.select(torch.tensor([0, 0])), shutter=torch.tensor([0, 0.5]))
    rows = both.frame(both.view(at(0.5, 2)), exposures=64)[:, 0, 0]
    assert torch.equal(rows[0], sharp.frame(sharp.view(at(0.5)))[0, 0, 0])
    assert torch.equal(rows[1], row)


def test_the_way_there_and_back() -> None:
    """The point that a flow leads to has the same layer coordinates; in float64, to rounding."""
    scenes, _ = Synthetic(SIZE, limits=LIVELY).scenes(range(3))
    scenes = Scenes(**{k: v.double() if isinstance(v, Tensor) else v for k, v in scenes.__dict__.items()})
    here, there = scenes.view(at(0.3, 3).double()), scenes.view(at(1, 3).double())
    forth, seen = scenes.flow(here, there)
    back, _ = scenes.flow(there, here)
    # Flow is smooth inside a layer: between pixels its interpolation is good to a few hundredths of a pixel.
    returned = forth + backwarp(back, forth)
    inside = inside_one_layer(scenes, at(0.3, 3).double())
    landed = backwarp(inside_one_layer(scenes, at(1, 3).double()).double(), forth)
    counts = (seen * inside * (landed == 1)).bool().expand_as(returned)
    assert counts.float().mean() > 0.4
    assert returned[counts].abs().max() < 0.02
    assert forth.abs().amax() > 5


def test_warping_along_the_flow_gives_the_frame() -> None:
    """Where it is seen and away from edges, to the error of bilinear interpolation: 0.002 on average here.

    Straight on a ramp, which bilinear interpolation follows, it is a rounding error.
    """
    scenes, _ = Synthetic(SIZE, seed=1, limits=LIVELY).scenes(range(4))
    side = scenes.textures.shape[-1]
    ramp = torch.linspace(0, 1, side).expand(side, side)
    ramps = torch.stack([ramp, ramp.T, (ramp + ramp.T) / 2]).expand_as(scenes.textures)
    smooth = replace(scenes, textures=ramps)
    straight = replace(smooth, motion=smooth.motion.clone())
    straight.motion[..., 4:6] = 0  # no waves: the ramp stays straight in the frame
    for kind, mean, most in ((scenes, 0.0025, 0.06), (smooth, 5e-5, 1e-3), (straight, 1e-7, 1e-4)):
        times = {0: at(0, 4), 1: at(1, 4), "t": torch.tensor([0.1, 0.4, 0.5, 0.9])}
        views = {name: kind.view(time) for name, time in times.items()}
        for here, there in PAIRS.values():
            flow, seen = kind.flow(views[here], views[there])
            inside = inside_one_layer(kind, times[here])
            read = backwarp(inside_one_layer(kind, times[there]), flow) == 1
            error = (backwarp(kind.frame(views[there]), flow) - kind.frame(views[here])).abs()
            error = error[(seen * inside * read).bool().expand_as(error)]
            assert error.numel() > 4 * 3 * 48 * 64 * 0.4
            assert error.mean() < mean
            assert error.max() < most


def test_time_reversal() -> None:
    scenes, _ = Synthetic(SIZE, limits=Limits(blur=1)).scenes(range(2))
    back = scenes.reversed()
    for time in (0.0, 0.3, 1.0):
        there, mirrored = scenes.view(at(time, 2)), back.view(at(1 - time, 2))
        # An edge's pixel may change side by rounding; frames are continuous.
        torch.testing.assert_close(scenes.frame(there), back.frame(mirrored), atol=2e-4, rtol=0)
        flow, seen = scenes.flow(there, scenes.view(at(1, 2)))
        other, also = back.flow(mirrored, back.view(at(0, 2)))
        assert ((flow - other).abs().amax(1) < 1e-3).float().mean() > 0.999
        assert (seen == also).float().mean() > 0.999


def test_ends_are_the_frames_themselves() -> None:
    for timestep, same, flow in ((0, "frame0", "_t0"), (1, "frame1", "_t1")):
        batch = Synthetic(SIZE, timestep=timestep, limits=LIVELY).batch(range(2))
        assert torch.equal(batch["target"], batch[same])
        assert batch["flow" + flow].abs().max() < 1e-4
        assert (batch["seen" + flow] == 1).all()
        other = "_t1" if timestep == 0 else "_t0"
        between = "01" if timestep == 0 else "10"
        assert torch.equal(batch["flow" + other], batch["flow" + between])


def test_a_batch_is_what_it_says() -> None:
    scenes = Synthetic(SIZE, timestep=None)
    batch = scenes.batch(range(6))
    for name in ("frame0", "frame1", "target"):
        assert batch[name].shape == (6, 3, *SIZE)
        assert 0 <= batch[name].min() < 0.3 < 0.7 < batch[name].max() <= 1
    assert len(set(batch["timestep"].tolist())) == 6
    for name in PAIRS:
        assert batch["flow" + name].shape == (6, 2, *SIZE)
        assert set(batch["seen" + name].unique().tolist()) == {0, 1}
    assert all(tensor.dtype == torch.float32 for tensor in batch.values())
    plain = Synthetic(SIZE, timestep=None, flows=False).batch(range(6))
    assert plain.keys() == {"frame0", "frame1", "target", "timestep"}
    assert all(torch.equal(plain[name], batch[name]) for name in plain)
    # Motion is there, and an in-between frame is nearer to its warped neighbour than their mean is.
    blend = ((batch["frame0"] + batch["frame1"]) / 2 - batch["target"]).abs().mean()
    warped = (backwarp(batch["frame0"], batch["flow_t0"]) - batch["target"]).abs() * batch["seen_t0"]
    assert warped.mean() < blend / 4


def test_a_scene_is_its_seed_and_number() -> None:
    """Not the batch, the worker, or what was made before."""
    scenes = Synthetic(SIZE, seed=7, length=6, timestep=None, limits=Limits(blur=0.5))
    together = scenes.batch(range(6))
    whole = [scenes.scenes(range(6)), scenes.scenes([4])]
    (many, time), (one, _) = whole
    frames = many.frame(many.view(time))  # as on a GPU: all at once, with layers that are not there
    torch.testing.assert_close(frames, together["target"], atol=1e-4, rtol=0)
    assert torch.equal(one.textures[0], many.textures[4, : one.textures.shape[1]])
    loader = DataLoader(scenes, batch_size=2, num_workers=2, multiprocessing_context="fork")
    for number, batch in enumerate(loader):
        for name, tensor in batch.items():
            assert torch.equal(tensor, together[name][2 * number : 2 * number + 2]), name
    again = pickle.loads(pickle.dumps(copy.deepcopy(scenes)))[3]
    assert all(torch.equal(again[name], tensor[3]) for name, tensor in together.items())
    other = Synthetic(SIZE, seed=8, timestep=None)[3]
    assert (other["frame0"] - again["frame0"]).abs().mean() > 0.05
    with pytest.raises(IndexError, match="there are 6 scenes; got number 6"):
        scenes[6]


@pytest.mark.parametrize(("rarity", "quarter", "half"), [(2, 0.5, 0.71), (1, 0.25, 0.5), (0, 0, 0)])
def test_rarity_of_fast_motion(rarity: float, quarter: float, half: float) -> None:
    """The shares of ways, of what moves, that are shorter than a quarter and a half of the longest."""
    scenes, _ = Synthetic(SIZE, limits=Limits(layers=2, camera=12, rarity=rarity)).scenes(range(150))
    ways = (scenes.camera[1] - scenes.camera[0])[:, 0, :2].norm(dim=1) / 12
    ways = ways[ways > 0]
    assert 0.7 < len(ways) / 150 < 0.9
    assert ways.max() <= 1 + 1e-6
    assert (ways < 0.25).float().mean() == pytest.approx(quarter, abs=0.12)
    assert (ways < 0.5).float().mean() == pytest.approx(half, abs=0.12)


def test_photographs(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    with pytest.raises(ValueError, match="holds no photographs"):
        Synthetic(SIZE, photographs=tmp_path)
    (tmp_path / "deep").mkdir()
    image = torch.zeros(300, 200, 3, dtype=torch.uint8).numpy()
    image[..., 2] = 255  # red, in OpenCV's order
    cv2.imwrite(str(tmp_path / "deep" / "large.png"), image)
    cv2.imwrite(str(tmp_path / "small.jpg"), image[:20, :30])
    scenes, _ = Synthetic(SIZE, photographs=tmp_path, limits=Limits(layers=3)).scenes(range(8))
    red = torch.tensor([1.0, 0, 0]).view(3, 1, 1)
    is_red = ((scenes.textures - red).abs() < 0.02).flatten(2).all(-1)
    assert 0 < is_red.sum() < is_red.numel()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"timestep must be None or in \[0, 1\]; got 1.5"):
        Synthetic(SIZE, timestep=1.5)
    with pytest.raises(ValueError, match="layers must be 2 or more; got 1"):
        Synthetic(SIZE, limits=Limits(layers=1))
