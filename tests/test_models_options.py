"""What single systems have besides: the originals' other ways, training, and their corner cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_models_interface import frames, model
from torch import Tensor

from vfi_kernels import models, ops
from vfi_kernels.models import TimestepError
from vfi_kernels.models.resize import lanczos
from vfi_kernels.models.rife import distillation
from vfi_kernels.models.rife_parts import blend, plane
from vfi_kernels.models.sepconv import synthesize_pair


def like(name: str, **options: object) -> models.Interpolator:
    """A model with options and the weights of the one without."""
    made = models.create(name, **options)
    made.load_state_dict(model(name).state_dict())
    return made


@torch.inference_mode()
def test_dvf_extrapolates() -> None:
    net, pair = like("dvf", mode="extrapolate"), frames(16, 24)
    torch.testing.assert_close(net(*pair), ops.voxel_flow(*pair, net.voxel_flow(*pair), mode="extrapolate"))
    assert not torch.allclose(net(*pair), model("dvf")(*pair))
    with pytest.raises(TimestepError, match="one frame, after frame 1"):
        net.interpolate(*pair, [0.5])
    with pytest.raises(ValueError, match="mode must be 'interpolate' or 'extrapolate'; got 'inter'"):
        models.create("dvf", mode="inter")


def test_dvf_at_three_scales() -> None:
    net = models.create("dvf", multiscale=True)
    assert net.multiple == 32
    a, b = frames(40, 64)
    made = net.train()(a, b)
    assert made.shape == a.shape
    made.square().sum().backward()
    unused = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()]
    assert unused == []


@pytest.mark.parametrize("name", ["sepconv", "sepconv++", "superslomo", "rife", "rife_m", "rife_v4.15.lite"])
def test_begins_as_blend(name: str) -> None:
    """Closely, whatever the brightness, and every layer learns from the first step."""
    torch.manual_seed(0)
    net = models.create(name, begin_as_blend=True)
    a, b = (F.avg_pool2d(x, 5, 1, padding=2) for x in frames(64, 64))
    made = net(a, b)
    assert (made - (a + b) / 2).abs().mean() < 0.03
    (made * torch.linspace(0, 1, 64)).sum().backward()
    learned = [p for n, p in net.named_parameters() if "block_tea" not in n]
    assert all(p.grad.any() for p in learned)


@torch.inference_mode()
def test_centred_sepconv_keeps_colours() -> None:
    """Whatever the sums of its kernels."""
    torch.manual_seed(0)
    net = models.untrained("sepconv", centred=True)
    flat = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2, 3, 40, 64)
    torch.testing.assert_close(net(flat, flat), flat)
    a, b = frames(32, 64)
    mean = (a + b).mean((2, 3), keepdim=True) / 2
    expected = synthesize_pair(a - mean, b - mean, net.kernels(a, b)) + mean
    torch.testing.assert_close(net(a, b), expected)


@torch.inference_mode()
def test_paddings_of_sepconv() -> None:
    a, b = frames(40, 72)
    improved, paper = like("sepconv", padding="improved"), like("sepconv", padding="paper")
    assert improved.fit(a).shape[-2:] == (128, 128)
    assert paper.fit(a).shape[-2:] == (128, 128)
    assert torch.equal(paper.fit(a)[..., 25:65, 25:97], a)
    assert torch.equal(paper.fit(a)[..., :25, 25:97], a[..., :1, :].expand(-1, -1, 25, -1))
    expected = paper.synthesize(paper.fit(a), paper.fit(b), torch.tensor([[0.5]]))[..., 25:65, 25:97]
    torch.testing.assert_close(paper(a, b), expected)
    with pytest.raises(ValueError, match="padding must be None, 'improved' or 'paper'; got 'zeros'"):
        models.create("sepconv", padding="zeros")


@torch.inference_mode()
def test_sepconv_plus_divides_by_the_sum_of_its_kernels() -> None:
    """A picture of one value keeps it, whatever the kernels are."""
    net = model("sepconv++")
    flat = torch.tensor([0.2, 0.5, 0.9])[:, None, None].expand(1, 3, 16, 16).contiguous()
    torch.testing.assert_close(net(flat, flat), flat, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_lanczos() -> None:
    image = torch.rand(2, 3, 40, 70)
    torch.testing.assert_close(lanczos(image, 40, 70), image, atol=1e-6, rtol=0)
    torch.testing.assert_close(lanczos(torch.ones(1, 1, 9, 9), 4, 17), torch.ones(1, 1, 4, 17))
    smaller = lanczos(image, 32, 64)
    assert smaller.shape == (2, 3, 32, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lanczos(image, 32, 64), smaller)
    image_module = pytest.importorskip("PIL.Image", reason="the rest compares with Pillow")
    theirs = image_module.fromarray(image[0, 0].numpy()).resize((64, 32), image_module.Resampling.LANCZOS)
    torch.testing.assert_close(smaller[0, 0], torch.from_numpy(np.array(theirs)))


@torch.inference_mode()
def test_resizing_of_superslomo() -> None:
    net, (a, b) = like("superslomo", size="resize"), frames(45, 70)
    assert net.fit(a).shape[-2:] == (32, 64)
    assert net(a, b, 0.3).shape == a.shape
    legal = a[..., :32, :64].contiguous(), b[..., :32, :64].contiguous()
    torch.testing.assert_close(net(*legal, 0.3), model("superslomo")(*legal, 0.3), atol=1e-4, rtol=1e-4)
    assert net(a[..., :20, :20], b[..., :20, :20]).shape[-2:] == (20, 20)


@torch.inference_mode()
def test_align_corners_of_superslomo() -> None:
    """Still frames: the released sampling shrinks towards a corner, the modern one shifts by half a pixel."""
    still = frames(32, 64)[0]
    xs, ys = torch.meshgrid(torch.arange(64.0), torch.arange(32.0), indexing="xy")
    grid = torch.stack([xs / 64 * 2 - 1, ys / 32 * 2 - 1], -1)[None]
    for align_corners in (True, False):
        net = models.create("superslomo", align_corners=align_corners)
        for parameter in net.parameters():
            parameter.zero_()
        centred = still - net.mean
        sampled = F.grid_sample(centred, grid, align_corners=align_corners) + net.mean
        torch.testing.assert_close(net(still, still, 0.25), sampled, atol=1e-5, rtol=0)


def test_timesteps_of_rife_stay_float32() -> None:
    """0.3 in bfloat16 is 0.3008: between frames in half precision as well, the network sees 0.3."""
    seen = plane(torch.tensor([0.3]), torch.zeros(1, 3, 2, 4, dtype=torch.bfloat16))
    torch.testing.assert_close(seen, torch.full((1, 1, 2, 4), 0.3), atol=0, rtol=0)


@pytest.mark.parametrize("name", ["rife_m", "rife_v4.6"])
@torch.inference_mode()
def test_tta_of_rife(name: str) -> None:
    a, b = frames(32, 64)
    plain = model(name)
    turned = plain(a.flip(2, 3), b.flip(2, 3), 0.3).flip(2, 3)
    made = like(name, tta=True)(a, b, 0.3)
    torch.testing.assert_close(made, (plain(a, b, 0.3) + turned) / 2, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["rife_v4.0", "rife_v4.6", "rife_v4.10"])
@torch.inference_mode()
def test_ensemble_of_rife(name: str) -> None:
    """It does not matter any more which frame is the first."""
    a, b = frames(32, 64)
    net = like(name, ensemble=True)
    torch.testing.assert_close(net(a, b, 0.25), net(b, a, 0.75), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(model(name)(a, b, 0.25), model(name)(b, a, 0.75), atol=1e-4)
    with pytest.raises(ValueError, match=r"version 4\.25 has no ensemble"):
        models.create("rife_v4.25", ensemble=True)


@pytest.mark.parametrize(("scale", "multiple"), [(0.5, 64), (2, 32)])
@torch.inference_mode()
def test_scale_of_rife(scale: float, multiple: int) -> None:
    a, b = frames(40, 64)
    for name in ("rife", "rife_v4.6"):
        net = like(name, scale=scale)
        assert net.multiple == multiple
        made = net(a, b)
        assert made.shape == a.shape
        assert not torch.equal(made, model(name)(a, b))
    with pytest.raises(ValueError, match=r"scale must be 0\.25, 0\.5, 1, 2 or 4; got 3"):
        models.create("rife", scale=3)


@torch.inference_mode()
def test_very_fast_motion_of_rife_4_0() -> None:
    """Where the second block corrects by more than 32 pixels, all scales double, for that entry alone."""
    net = models.create("rife_v4.0")
    net.load_state_dict(model("rife_v4.0").state_dict())
    for layer, values in net.state_dict().items():
        if layer.endswith("bias"):
            values.zero_()  # so that black frames at time 0 move nowhere
    net.block1.lastconv.weight.mul_(100)
    (a, b), black = frames(64, 64), torch.zeros(1, 3, 64, 64)

    def by_hand(a: Tensor, b: Tensor, time: float, factor: int) -> tuple[Tensor, Tensor]:
        flow = mask = corrections = None
        t = torch.full((1, 1, 64, 64), time)
        for i, scale in enumerate((8, 4, 2, 1)):
            block = getattr(net, f"block{i}")
            if flow is None:
                flow, mask, _ = block([a, b, t], None, scale * factor)
                continue
            warped = [ops.backwarp(a, flow[:, :2]), ops.backwarp(b, flow[:, 2:])]
            more, more_mask, _ = block([*warped, t, mask], flow, scale * factor)
            if i == 1:
                corrections = torch.stack([part.abs().amax() for part in more.split(2, 1)])
            flow, mask = flow + more, mask + more_mask
        return blend(a, b, flow, mask), corrections

    fine, corrections = by_hand(a, b, 0.5, 1)
    assert corrections.min() > 32
    coarse, _ = by_hand(a, b, 0.5, 2)
    torch.testing.assert_close(net(a, b), coarse, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(fine, coarse, atol=1e-2)
    slow, corrections = by_hand(black, black, 0.0, 1)
    assert corrections.max() == 0
    both = net(torch.cat([a, black]), torch.cat([b, black]), torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(both, torch.cat([coarse, slow]), atol=1e-5, rtol=1e-4)
    assert net(a[..., :32, :], b[..., :32, :]).shape == (1, 3, 32, 64)


def test_training_of_rife() -> None:
    net = models.create("rife_m")
    a, b = frames(32, 32)
    truth = (a + b) / 2
    with pytest.raises(ValueError, match="ground_truth is for training mode"):
        net(a, b, 0.5, ground_truth=truth)
    net.train()
    with pytest.raises(ValueError, match="sides multiples of 32"):
        net(a[..., :30, :], b[..., :30, :], ground_truth=truth[..., :30, :])
    known = net(a, b, 0.5, ground_truth=truth)
    assert known.frame.min() >= 0
    assert known.frame.max() <= 1
    loss = (known.frame - truth).abs().mean() + (known.merged_teacher - truth).abs().mean()
    (loss + 0.01 * known.loss_distill).backward()
    missing = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert missing == []
    assert isinstance(net(a, b), Tensor)


def test_training_of_rife_as_prepared() -> None:
    """The true frame changes neither which timesteps there are nor how layers compute."""
    net, (a, b) = models.create("rife", precision="bfloat16", channels_last=True).train(), frames(32, 32)
    with pytest.raises(TimestepError, match=r"knows the middle only, timestep must be 0\.5; got 0\.3"):
        net(a, b, 0.3, ground_truth=a)
    seen = []
    net.block_tea.conv0.register_forward_hook(lambda _, __, made: seen.append(made))
    net(a, b, ground_truth=a)
    assert seen[0].dtype == torch.bfloat16
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_distillation_teaches_where_the_teacher_is_closer() -> None:
    flow = torch.zeros(1, 4, 1, 3, requires_grad=True)
    teacher = torch.ones(1, 4, 1, 3) * torch.tensor([2.0, 2.0, 0.0])
    truth = torch.zeros(1, 3, 1, 3)
    made = truth + torch.tensor([0.5, 0.105, 0.5])
    taught = truth + 0.1
    loss = distillation(flow, teacher, made, taught, truth)
    # The first pixel counts; the second would gain too little, and in the third both agree.
    assert loss.item() == pytest.approx(2 / 3)
    loss.backward()
    torch.testing.assert_close(flow.grad[0, :, 0, 0], torch.full((4,), -1 / 12))
    assert not flow.grad[..., 1:].any()
