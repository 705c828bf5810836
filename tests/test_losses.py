"""Losses and what each system minimises."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import released
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vfi_kernels import models
from vfi_kernels.models.rife import distillation
from vfi_kernels.training import losses, perceptual
from vfi_kernels.training.objectives import (
    OBJECTIVES,
    Distillation,
    KnownFlow,
    Reconstruction,
    SlowMotion,
    VoxelFlow,
)
from vfi_kernels.training.perceptual import Perceptual


def row(*values: float) -> Tensor:
    """One image of one row."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def close(got: Tensor, expected: Tensor | float, atol: float = 1e-6) -> None:
    torch.testing.assert_close(got, torch.as_tensor(expected).to(got), atol=atol, rtol=1e-5)


def test_truth_table() -> None:
    a, b = row(0, 1, 3), row(0, 3, 2)  # differences 0, 2, 1
    close(losses.l1(a, b), 1)
    close(losses.mse(a, b), 5 / 3)
    images = torch.cat([row(0, 2), row(0, 20), row(0, 0)]), torch.zeros(3, 1, 1, 2)
    close(losses.log_mse(*images, floor=0.01), math.log10(2.01 * 200.01 * 0.01) / 3)
    close(losses.charbonnier(a, b, 1), (math.sqrt(5) + math.sqrt(2) + 1) / 3 - 1)
    close(losses.total_variation(a), 1.5)
    close(losses.total_variation(a.mT), 1.5)
    close(losses.total_variation(torch.tensor([[[[0.0, 1], [4, 7]]]])), (1 + 3) / 2 + (4 + 6) / 2)
    assert losses.total_variation(row(5)) == 0  # no neighbours, and not the mean of nothing
    flow = torch.tensor([[3.0, 0], [4, 0]]).view(1, 2, 1, 2)
    close(losses.end_point_error(flow, torch.zeros_like(flow)), 2.5)
    close(losses.end_point_error(flow, torch.zeros_like(flow), row(1, 0)), 5)
    assert losses.end_point_error(flow, torch.zeros_like(flow), row(0, 0)) == 0


def test_warping_truth_table() -> None:
    """A bright pixel moves by one to the right in each half; flows that say so cost nothing inside."""
    frame0, truth, frame1 = row(1, 0, 0, 0), row(0, 1, 0, 0), row(0, 0, 1, 0)
    right = torch.tensor([1.0, 0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)
    flows = {"flow01": 2 * right, "flow10": -2 * right, "flow_t0": -right, "flow_t1": right}
    assert losses.warping(frame0, frame1, truth, **flows) == 0
    # Each flow that is zero leaves one pixel wrong in two places of four.
    for name in flows:
        close(losses.warping(frame0, frame1, truth, **{**flows, name: 0 * right}), 0.5)
    with_border = losses.warping(row(1, 0, 0, 9), frame1, truth, **flows, padding="border")
    # Along flow_t0 and flow10 the repeated first pixel, 1 + 2; along flow01 the last, 9 that is not there.
    close(with_border, (1 + 2 + 9) / 4)


def test_distillation_truth_table() -> None:
    """A flow counts where the block is more than 0.01 further from the truth than the teacher."""
    truth, taught = torch.zeros(1, 3, 1, 2), torch.full((1, 3, 1, 2), 0.1)
    made = torch.tensor([0.105, 0.2]).expand(1, 3, 1, 2)  # the first is not enough further
    flow = torch.zeros(1, 4, 1, 2, requires_grad=True)
    loss = distillation(flow, torch.full((1, 4, 1, 2), 3.0), made, taught, truth)
    close(loss, 3 / 2)
    loss.backward()
    assert flow.grad[..., 0].abs().sum() == 0
    assert (flow.grad[..., 1] < 0).all()


def test_no_gradient_is_nan_where_images_agree() -> None:
    """sqrt has an infinite slope at zero: times zero that is NaN."""
    x = torch.rand(1, 3, 33, 33, requires_grad=True)
    flow = torch.zeros(1, 4, 33, 33, requires_grad=True)
    same = x.detach()
    for loss in (losses.l1, losses.mse, losses.log_mse, losses.charbonnier, losses.laplacian, losses.ssim):
        [grad] = torch.autograd.grad(loss(x, same), x)
        assert grad.isfinite().all(), loss.__name__
    wrong, right = torch.ones(1, 3, 33, 33), torch.zeros(1, 3, 33, 33)
    for loss in (
        losses.total_variation(flow),
        losses.end_point_error(flow[:, :2], flow[:, :2].detach()),
        distillation(flow, flow.detach(), wrong, right, right),
    ):
        [grad] = torch.autograd.grad(loss, flow)
        assert (grad == 0).all()


@pytest.mark.parametrize(
    "loss",
    [
        losses.l1,
        losses.mse,
        losses.log_mse,
        losses.charbonnier,
        losses.total_variation,
        losses.laplacian,
        losses.ssim,
    ],
)
def test_gradcheck(loss: Callable[..., Tensor]) -> None:
    fast = loss in (losses.laplacian, losses.ssim)
    height, width = (33, 34) if loss is losses.laplacian else (3, 4)
    a, b = torch.rand(2, 1, 1, height, width, dtype=torch.float64)
    images = [a] if loss is losses.total_variation else [a, b]
    assert torch.autograd.gradcheck(loss, [image.requires_grad_() for image in images], fast_mode=fast)


def test_gradcheck_of_flows() -> None:
    frames = [torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    flows = [torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    assert torch.autograd.gradcheck(losses.warping, [*frames, *flows])
    assert torch.autograd.gradcheck(losses.end_point_error, flows[:2])
    far = [torch.rand(1, 3, 4, 5, dtype=torch.float64) for _ in range(3)]
    teacher = torch.randn(1, 4, 4, 5, dtype=torch.float64)
    student = torch.randn(1, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda flow: distillation(flow, teacher, *far), [student])


def test_losses_stay_wide_under_autocast() -> None:
    a, b = torch.rand(2, 1, 3, 40, 40)
    for loss in (losses.l1, losses.mse, losses.log_mse, losses.charbonnier, losses.laplacian, losses.ssim):
        expected = loss(a, b)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(loss(a, b), expected), loss.__name__
        assert loss(a.bfloat16(), b.bfloat16()).dtype == torch.float32


def test_golden_losses() -> None:
    _, golden = released.golden("losses.a")
    close(losses.laplacian(golden["a"], golden["b"]), golden["laplacian_loss"][0])
    close(losses.ssim(golden["a"], golden["noisy"]), golden["ssim_matlab"][0], 1e-5)
    assert losses.laplacian(golden["a"], golden["a"]) == 0
    assert losses.ssim(golden["a"], golden["a"]) == 1


def test_golden_distillation(tmp_path: Path) -> None:
    system = "rife_m"  # of `rife` the models' goldens look at the same tensors
    about, golden = released.golden(f"{system}.a")
    weights = released.weights(system, about["seed"], about["gains"])
    path = released.save(tmp_path / "weights", system, weights)
    model = models.create(system, checkpoint=path).train()
    batch = {name: golden[name] for name in ("frame0", "frame1")}
    batch |= {"target": golden["ground_truth"], "timestep": torch.tensor([about["timestep"]])}
    outcome = Distillation(model)(batch)
    close(outcome.frame, golden["out"], 1e-4)
    close(outcome.terms["distillation"], 0.01 * golden["loss_distill"].squeeze(), 1e-5)
    close(outcome.terms["reconstruction"], losses.laplacian(golden["out"], golden["ground_truth"]), 1e-4)
    close(outcome.flow, golden["flow_2"][:, :2], 1e-4)
    close(outcome.loss, sum(outcome.terms.values()))


# torchvision's convolutions up to the layer, by its numbering, and their widths.
VGG16 = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512}
VGG19 = {**dict.fromkeys((0, 2), 64), **dict.fromkeys((5, 7), 128), **dict.fromkeys((10, 12, 14, 16), 256)}
VGG19 |= dict.fromkeys((19, 21, 23, 25), 512)
NARROW = 16  # by how much narrower they are here, where numbers are computed
POOLS = {"vgg16.conv4_3": (4, 9, 16), "vgg19.relu4_4": (4, 9, 18)}
TABLES = {"vgg16.conv4_3": VGG16, "vgg19.relu4_4": VGG19}


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "WIDTHS", tuple(width // NARROW for width in perceptual.WIDTHS))


@pytest.mark.parametrize("layer", TABLES)
def test_vgg_is_as_torchvisions(layer: str) -> None:
    with torch.device("meta"):
        built = perceptual._features(perceptual.LAYERS[layer])
    assert {
        int(name.partition(".")[0]): len(bias) for name, bias in built.named_parameters() if bias.dim() == 1
    } == (TABLES[layer])
    assert {i for i, part in enumerate(built) if isinstance(part, nn.MaxPool2d)} == set(POOLS[layer])


def vgg_file(path: Path, layer: str) -> dict[str, Tensor]:
    """A file like torchvision's, cut off after the layer but for one more tensor."""
    state, inputs = {}, 3
    for number, width in TABLES[layer].items():
        width //= NARROW
        state[f"features.{number}.weight"] = torch.randn(width, inputs, 3, 3) * (2 / 9 / inputs) ** 0.5
        state[f"features.{number}.bias"] = torch.randn(width) / 10
        inputs = width
    torch.save({**state, "classifier.0.weight": torch.zeros(1, 1)}, path)
    return state


def features(image: Tensor, state: dict[str, Tensor], layer: str) -> Tensor:
    last = max(TABLES[layer])
    for number in range(last + 1):
        if number in TABLES[layer]:
            weight, bias = (state[f"features.{number}.{name}"] for name in ("weight", "bias"))
            image = F.conv2d(image, weight, bias, padding=1)
        else:
            image = F.max_pool2d(image, 2) if number in POOLS[layer] else image.relu()
    return image.relu() if layer == "vgg19.relu4_4" else image


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("layer", TABLES)
def test_perceptual_matches_reference(layer: str, tmp_path: Path) -> None:
    state = vgg_file(tmp_path / "vgg.pth", layer)
    a, b = torch.rand(2, 1, 3, 16, 24)
    loss = Perceptual(layer, tmp_path / "vgg.pth", mean=(0, 0, 0), std=(1, 1, 1))
    expected = F.mse_loss(features(a, state, layer), features(b, state, layer))
    close(loss(a, b), expected)
    assert (features(a, state, layer) < 0).any() == (layer == "vgg16.conv4_3")
    mean, std = (torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = F.mse_loss(*(features((x - mean) / std, state, layer) for x in (a, b)))
    close(Perceptual(layer, tmp_path / "vgg.pth")(a, b), expected)
    a.requires_grad_()
    b.requires_grad_()
    loss(a, b).backward()
    assert a.grad.abs().sum() > 0
    assert b.grad is None
    assert not any(weight.requires_grad for weight in loss.parameters())


@pytest.mark.usefixtures("narrow")
def test_perceptual_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"weights of vgg16.*--no-perceptual"):
        Perceptual("vgg16.conv4_3", None)
    with pytest.raises(ValueError, match=r"'vgg16\.conv4_3' or 'vgg19.relu4_4'; got 'vgg11'"):
        Perceptual("vgg11", tmp_path / "vgg.pth")
    with pytest.raises(FileNotFoundError):
        Perceptual("vgg16.conv4_3", tmp_path / "absent.pth")
    vgg_file(tmp_path / "vgg.pth", "vgg16.conv4_3")
    with pytest.raises(
        models.CheckpointError, match=r"vgg.pth does not fit torchvision's vgg19: \d+ missing"
    ):
        Perceptual("vgg19.relu4_4", tmp_path / "vgg.pth")


def batch(*, timestep: float = 0.5, side: int = 64) -> dict[str, Tensor]:
    frame0, target, frame1 = torch.rand(3, 1, 3, side, side)
    flows = {name: torch.randn(1, 2, side, side) for name in ("flow_t0", "flow_t1")}
    return {
        "frame0": frame0, "frame1": frame1, "target": target, "timestep": torch.tensor([timestep]), **flows
    }  # fmt: skip


def without_learning(objective: nn.Module, batch: dict[str, Tensor]) -> list[str]:
    """The weights that a step does not reach: DistributedDataParallel would wait for them."""
    outcome = objective(batch)
    assert outcome.frame.shape == batch["frame0"].shape
    assert all(term.dim() == 0 and term.dtype == torch.float32 for term in outcome.terms.values())
    outcome.loss.backward()
    return [name for name, weight in objective.named_parameters() if weight.grad is None]


def test_voxel_flow_objective() -> None:
    model = models.create("dvf").train()
    x = batch(side=32)
    objective = VoxelFlow(model)
    assert without_learning(objective, x) == []
    with torch.no_grad():
        terms = objective.eval()(x).terms
        close(terms["reconstruction"], (2 * model(x["frame0"], x["frame1"]) - 2 * x["target"]).abs().mean())
        field = model.field(x["frame0"], x["frame1"])  # before the halves of tanh
        close(terms["flow variation"], 0.01 * losses.total_variation(0.5 * field[:, :2]))
        close(terms["mask variation"], 0.005 * losses.total_variation(0.5 * field[:, 2:]))
        made = VoxelFlow(model, loss="mse", flow_weight=0, mask_weight=0)(x)
        close(made.loss, 4 * losses.mse(made.frame, x["target"]))


@pytest.mark.usefixtures("narrow")
def test_slow_motion_objective(tmp_path: Path) -> None:
    vgg_file(tmp_path / "vgg.pth", "vgg16.conv4_3")
    feature_loss = Perceptual("vgg16.conv4_3", tmp_path / "vgg.pth", mean=(0, 0, 0), std=(1, 1, 1))
    model, x = models.create("superslomo"), batch(timestep=0.25, side=32)
    objective = SlowMotion(model, perceptual=feature_loss)
    assert all(name.startswith("perceptual.") for name in without_learning(objective, x))
    with torch.no_grad():
        outcome = objective(x)
        made = model(x["frame0"], x["frame1"], 0.25)
        close(outcome.frame, made)
        close(outcome.terms["reconstruction"], 204 * losses.l1(made, x["target"]), 1e-4)
        features = (image - model.mean for image in (made, x["target"]))
        close(outcome.terms["perceptual"], 0.005 * feature_loss(*features))
        model.flow_computation.conv3.bias.copy_(torch.tensor([6.0, 1, 2, 9]))  # motion that differs both ways
        terms = SlowMotion(model)(x).terms
        assert terms.keys() == {"reconstruction", "warping", "smoothness"}
        frame0, frame1, truth = (model.centred(x[name]) for name in ("frame0", "frame1", "target"))
        forth, back = model.flows(frame0, frame1)
        to0, to1 = back / 16 - forth * 3 / 16, forth * 9 / 16 - back * 3 / 16  # at 1/4
        moves = (model.displacement(flow) for flow in (forth, back, to0, to1))
        close(terms["warping"], 102 * losses.warping(frame0, frame1, truth, *moves), 1e-3)
        close(terms["smoothness"], losses.total_variation(forth) + losses.total_variation(back))


@pytest.mark.usefixtures("narrow")
def test_reconstruction_objective(tmp_path: Path) -> None:
    vgg_file(tmp_path / "vgg.pth", "vgg19.relu4_4")
    feature_loss = Perceptual("vgg19.relu4_4", tmp_path / "vgg.pth")
    model = nn.Conv2d(3, 3, 1)
    model.forward = lambda frame0, frame1, timestep: model._conv_forward(frame0, model.weight, model.bias)
    x = batch(side=16)
    assert without_learning(Reconstruction(model), x) == []
    outcome = Reconstruction(model, loss=None, perceptual=feature_loss, perceptual_weight=2.0)(x)
    close(outcome.loss, 2 * feature_loss(outcome.frame, x["target"]))
    rife = Reconstruction(models.untrained("rife"))
    assert all(".block_tea." in name for name in without_learning(rife, batch()))
    assert not any(weight.requires_grad for weight in rife.model.block_tea.parameters())
    with pytest.raises(ValueError, match="nothing to minimise"):
        Reconstruction(model, loss=None)
    with pytest.raises(ValueError, match="'charbonnier' or 'laplacian'; got 'huber'"):
        Reconstruction(model, loss="huber")


def test_known_flow_objective() -> None:
    x = batch(timestep=0.3)
    objective = KnownFlow(models.create("rife_v4.6").train())
    missing = without_learning(objective, x)
    assert missing == []
    outcome = objective(x)
    close(outcome.frame, objective.model(x["frame0"], x["frame1"], 0.3))
    exact = {**x, "flow_t0": outcome.flow.detach()}
    assert objective(exact).terms["flow"] < outcome.terms["flow"]


def test_objectives_refuse_what_they_cannot_train() -> None:
    assert "slow_motion" in OBJECTIVES
    for kind in (VoxelFlow, Reconstruction):
        with pytest.raises(ValueError, match=r"mode 'interpolate'.*got 'extrapolate'"):
            kind(models.create("dvf", mode="extrapolate"))
    with pytest.raises(ValueError, match=r"multiples of 8; got \[60, 60\]"):
        VoxelFlow(models.create("dvf"))(batch(side=60))
    with pytest.raises(ValueError, match="middle only"):
        VoxelFlow(models.create("dvf"))(batch(timestep=0.25))
