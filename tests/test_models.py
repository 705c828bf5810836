"""The models: shapes, times, and that flow follows a motion that is known."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

from clips import SHARED, picture

from vfi_kernels import models, video


def pair(step: float = 4, width: int = 128, height: int = 96) -> tuple[torch.Tensor, torch.Tensor]:
    """Two frames, the second `2 * step` pixels to the right of the first."""
    return video.to_tensor(picture(0, width, height)), video.to_tensor(picture(step, width, height))


WEIGHTLESS = ("flow", "blend", "repeat")


def test_truth_table() -> None:
    a, b = torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)
    assert models.create("blend")(a, b, 0.25).unique().tolist() == [0.25]
    assert models.create("repeat")(a, b, 0.9).unique().tolist() == [0]


def test_flow_convention() -> None:
    a, b = pair()
    forward, backward = models.create("flow").flows(a, b)
    inner = (..., slice(24, -24), slice(24, -24))
    assert forward[:, 0][inner].median() == pytest.approx(8, abs=0.2)
    assert backward[:, 0][inner].median() == pytest.approx(-8, abs=0.2)
    assert forward[:, 1][inner].median() == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("size", [(40, 40), (33, 45), (45, 43), (46, 46), (16, 41), (48, 64)])
def test_search_does_not_remember(size: tuple[int, int]) -> None:
    """OpenCV's does, at some sizes; frames would then depend on where a run was resumed."""
    torch.manual_seed(0)
    first, second = torch.rand(2, 2, 1, 3, *size)
    model = models.create("flow")
    model.flows(*first)
    torch.testing.assert_close(model.flows(*second), models.create("flow").flows(*second), atol=0, rtol=0)


def test_flow_is_searched_in_full_precision() -> None:
    a, b = pair()
    model = models.create("flow")
    with torch.autocast("cpu", torch.bfloat16):
        found = model.flows(a, b)
    torch.testing.assert_close(found, model.flows(a, b), atol=0, rtol=0)


@pytest.mark.parametrize("t", [0.25, 0.5, 0.75])
def test_flow_finds_the_frame_in_between(t: float) -> None:
    a, b = pair()
    truth = picture(4 * t, 128, 96)[16:-16, 16:-16]
    made = {name: video.to_image(models.create(name)(a, b, t)[0])[16:-16, 16:-16] for name in WEIGHTLESS}
    assert video.psnr(made["flow"], truth) > 36
    assert video.psnr(made["flow"], truth) > video.psnr(made["blend"], truth) + 8


def test_still_pictures_stay() -> None:
    a, _ = pair()
    assert torch.equal(
        models.create("flow").interpolate(a, a, [0.3])[:, 0].mul(255).round(), a.mul(255).round()
    )


@pytest.mark.parametrize("name", WEIGHTLESS)
def test_many_times_equal_one_by_one(name: str) -> None:
    model = models.create(name)
    a, b = pair(width=48, height=40)
    a, b = torch.cat([a, b]), torch.cat([b, a])
    many = model.interpolate(a, b, [0.2, 0.5, 0.9])
    assert many.shape == (2, 3, 3, 40, 48)
    for i, t in enumerate([0.2, 0.5, 0.9]):
        torch.testing.assert_close(many[:, i], model(a, b, t))
    own = model(a, b, torch.tensor([0.2, 0.9]))
    torch.testing.assert_close(own, torch.stack([many[0, 0], many[1, 2]]))


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (8, 8), (17, 9), (33, 47)])
def test_any_size(size: tuple[int, int]) -> None:
    frame = torch.rand(1, 3, *size)
    made = models.create("flow")(frame, frame.flip(-1), 0.5)
    assert made.shape == frame.shape
    assert made.isfinite().all()


def test_errors() -> None:
    model = models.create("blend")
    frame = torch.zeros(1, 3, 4, 4)
    with pytest.raises(
        ValueError, match=r"Blend: frames must both be \[N, 3, H, W\]; got \[1, 3, 4, 4\] and \[1, 3, 4, 5\]"
    ):
        model(frame, torch.zeros(1, 3, 4, 5))
    for t in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"timesteps must lie in \[0, 1\]"):
            model(frame, frame, t)
    with pytest.raises(ValueError, match=r"timestep must be a number or \[1\]; got \[2\]"):
        model(frame, frame, torch.tensor([0.1, 0.2]))
    with pytest.raises(ValueError, match=r"timesteps must be \[T\] or \[1, T\]; got \[2, 1\]"):
        model.interpolate(frame, frame, [[0.1], [0.2]])
    with pytest.raises(ValueError, match="unknown model 'flwo'; did you mean 'flow'"):
        models.create("flwo")
    with pytest.raises(ValueError, match="there are dvf, sepconv, "):
        models.create("zzz")


@pytest.mark.parametrize(("clip", "least"), [("bigbuckbunny", 34.2), ("carphone", 31.9)])
def test_yardstick(clip: str, least: float) -> None:
    """Every second of the first 41 frames removed and rebuilt, as the clips' table measures."""
    path = SHARED / "clips" / f"{clip}.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the clips are not part of the project")
    frames = list(islice(video.rgb_frames(path), 41))
    model = models.create("flow")
    scores = []
    for before, removed, after in zip(frames[:-2:2], frames[1::2], frames[2::2], strict=True):
        made = video.to_image(model(video.to_tensor(before), video.to_tensor(after))[0])
        scores.append(video.psnr(made, removed))
    assert sum(scores) / len(scores) >= least
