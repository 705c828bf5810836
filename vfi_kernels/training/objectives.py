"""What each paper minimises: a model and a batch -> the terms of the loss.

An objective holds its model: DistributedDataParallel and torch.compile take the objective, so that training
may call any part of the model. The model's weights are under `model.` in the objective's state.

A batch is a dict of tensors (`vfi_kernels.data`): frame0, frame1 and target [N, 3, H, W], RGB in [0, 1];
timestep [N]; for `KnownFlow` also flow_t0 and flow_t1 [N, 2, H, W].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .. import ops
from ..models.dvf import DVF
from ..models.rife import RIFE
from ..models.rife_4x import RIFE4
from ..models.superslomo import SuperSloMo, approximate
from . import losses
from .perceptual import Perceptual

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Distillation",
    "KnownFlow",
    "Outcome",
    "Reconstruction",
    "SlowMotion",
    "VoxelFlow",
]

Batch = dict[str, Tensor]
Loss = Callable[[Tensor, Tensor], Tensor]

RECONSTRUCTIONS: dict[str, Loss] = {
    "l1": losses.l1,
    "mse": losses.mse,
    "log_mse": losses.log_mse,
    "charbonnier": losses.charbonnier,
    "laplacian": losses.laplacian,
}


class Outcome(NamedTuple):
    """What a step of training looks at."""

    terms: dict[str, Tensor]
    """Numbers by name, weighted: their sum is minimised."""
    frame: Tensor
    """What the model made, [N, 3, H, W] RGB, not clamped; for pictures."""
    flow: Tensor | None
    """From the made frame to frame 0, [N, 2, H, W] in pixels, where the model has one; for pictures."""

    @property
    def loss(self) -> Tensor:
        return sum(self.terms.values())


class Reconstruction(nn.Module):
    """The made frame against the true one: SepConv, or any model.

    Niklaus, Mai, Liu: Video Frame Interpolation via Adaptive Separable Convolution, ICCV 2017: "l1" alone, or
    features of VGG19 alone ("lf"). RIFE is trained without its teacher.

    Args:
        loss: one of `RECONSTRUCTIONS`, or None for the perceptual loss alone.
        perceptual: None, or the perceptual loss, and its weight.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: str | None = "l1",
        perceptual: Perceptual | None = None,
        perceptual_weight: float = 1.0,
    ) -> None:
        super().__init__()
        if loss is None and perceptual is None:
            raise ValueError(
                "Reconstruction: loss is None and there is no perceptual loss: nothing to minimise"
            )
        _between(model)
        if isinstance(model, RIFE):
            model.block_tea.requires_grad_(False)  # DistributedDataParallel would wait for its gradients
        self.model = model
        self.reconstruction = None if loss is None else _reconstruction(loss)
        self.perceptual = perceptual
        self.perceptual_weight = perceptual_weight

    def forward(self, batch: Batch) -> Outcome:
        made = self.model(batch["frame0"], batch["frame1"], batch["timestep"])
        terms = {}
        if self.reconstruction is not None:
            terms["reconstruction"] = self.reconstruction(made, batch["target"])
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual_weight * self.perceptual(made, batch["target"])
        return Outcome(terms, made, None)


class VoxelFlow(nn.Module):
    """Deep Voxel Flow: frames in [-1, 1], and total variation of flow and mask.

    Liu, Yeh, Tang, Liu, Agarwala: Video Frame Synthesis using Deep Voxel Flow, ICCV 2017, eq. 4. The flow is
    in halves of the frame, as the network gives it. pytorch-voxel-flow trains by loss "mse" and weights of 0.
    """

    def __init__(
        self, model: DVF, *, loss: str = "l1", flow_weight: float = 0.01, mask_weight: float = 0.005
    ) -> None:
        super().__init__()
        _between(model)
        self.model = model
        self.reconstruction = _reconstruction(loss)
        self.flow_weight, self.mask_weight = flow_weight, mask_weight

    def forward(self, batch: Batch) -> Outcome:
        frame0, frame1, truth = _legal(self.model, batch)
        field = self.model.voxel_flow(frame0, frame1)
        made = ops.voxel_flow(frame0, frame1, field, mode=self.model.mode)
        flow, time = field.split([2, 1], 1)
        height, width = truth.shape[-2:]
        halves = flow.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)]).view(1, 2, 1, 1)
        terms = {
            # [0, 1] -> [-1, 1]; the shift falls out of the difference.
            "reconstruction": self.reconstruction(2 * made, 2 * truth),
            "flow variation": self.flow_weight * losses.total_variation(flow * halves),
            "mask variation": self.mask_weight * losses.total_variation(time),
        }
        return Outcome(terms, made, -flow)


class SlowMotion(nn.Module):
    """Super SloMo: reconstruction, features of VGG16, warping and smoothness.

    Jiang, Sun, Jampani, Yang, Learned-Miller, Kautz: Super SloMo, CVPR 2018, eqs. 7 to 10. The weights are
    avinashpaliwal/Super-SloMo's: the paper's 0.8, 0.4, 0.005 and 1, the first two times 255, since frames are
    in [0, 1]. VGG gets frames without the data's mean and in no other way normalised.
    """

    def __init__(
        self,
        model: SuperSloMo,
        *,
        perceptual: Perceptual | None = None,
        reconstruction_weight: float = 204,
        warping_weight: float = 102,
        perceptual_weight: float = 0.005,
        smoothness_weight: float = 1,
    ) -> None:
        super().__init__()
        self.model = model
        self.perceptual = perceptual
        self.reconstruction_weight, self.warping_weight = reconstruction_weight, warping_weight
        self.perceptual_weight, self.smoothness_weight = perceptual_weight, smoothness_weight

    def forward(self, batch: Batch) -> Outcome:
        model, times = self.model, batch["timestep"].float()
        frame0, frame1, truth = map(model.centred, _legal(model, batch))
        flow01, flow10 = model.flows(frame0, frame1)
        made = model.between(frame0, frame1, flow01, flow10, times)
        flow_t0, flow_t1 = approximate(flow01, flow10, times)
        moves = map(model.displacement, (flow01, flow10, flow_t0, flow_t1))
        smoothness = losses.total_variation(flow01) + losses.total_variation(flow10)
        terms = {
            "reconstruction": self.reconstruction_weight * losses.l1(made, truth),
            "warping": self.warping_weight * losses.warping(frame0, frame1, truth, *moves),
            "smoothness": self.smoothness_weight * smoothness,
        }
        if self.perceptual is not None:
            terms["perceptual"] = self.perceptual_weight * self.perceptual(made, truth)
        return Outcome(terms, made + model.mean.to(made.dtype), flow_t0)


class Distillation(nn.Module):
    """RIFE: Laplacian loss of the student and of the teacher, and the student's flow against the teacher's.

    Huang, Zhang, Heng, Shi, Zhou: Real-Time Intermediate Flow Estimation, ECCV 2022, eqs. 5 to 7. Weight 0.01
    for RIFE; RIFE_m was trained with 0.005 or 0.002.
    """

    def __init__(self, model: RIFE, *, distillation_weight: float = 0.01) -> None:
        super().__init__()
        self.model = model
        self.distillation_weight = distillation_weight

    def forward(self, batch: Batch) -> Outcome:
        truth = batch["target"]
        known = self.model(batch["frame0"], batch["frame1"], batch["timestep"], ground_truth=truth)
        terms = {
            "reconstruction": losses.laplacian(known.frame, truth),
            "teacher": losses.laplacian(known.merged_teacher, truth),
            "distillation": self.distillation_weight * known.loss_distill,
        }
        return Outcome(terms, known.frame, known.flows[-1][:, :2])


class KnownFlow(nn.Module):
    """The frame, and the flow against the exact one of synthetic scenes. Not of a paper.

    Args:
        loss: as for `Reconstruction`.
        flow_weight: of the mean end-point error of both flows, in pixels.
    """

    def __init__(self, model: RIFE4, *, loss: str = "laplacian", flow_weight: float = 0.01) -> None:
        super().__init__()
        self.model = model
        self.reconstruction = _reconstruction(loss)
        self.flow_weight = flow_weight

    def forward(self, batch: Batch) -> Outcome:
        frame0, frame1, truth = _legal(self.model, batch)
        last = self.model.flow(frame0, frame1, batch["timestep"].float())
        made = self.model.picture(frame0, frame1, last)
        flow_t0, flow_t1 = last.flow.split(2, 1)
        apart = losses.end_point_error(flow_t0, batch["flow_t0"])
        apart = apart + losses.end_point_error(flow_t1, batch["flow_t1"])
        terms = {"reconstruction": self.reconstruction(made, truth), "flow": self.flow_weight * apart}
        return Outcome(terms, made, flow_t0)


OBJECTIVES: dict[str, Callable[..., nn.Module]] = {
    "reconstruction": Reconstruction,
    "voxel_flow": VoxelFlow,
    "slow_motion": SlowMotion,
    "distillation": Distillation,
    "known_flow": KnownFlow,
}
"""By name, as recipes give them."""


def _reconstruction(name: str) -> Loss:
    if name not in RECONSTRUCTIONS:
        raise ValueError(f"loss must be {' or '.join(map(repr, RECONSTRUCTIONS))}; got {name!r}")
    return RECONSTRUCTIONS[name]


def _between(model: nn.Module) -> None:
    """Of all data the target is between the frames."""
    if isinstance(model, DVF) and model.mode != "interpolate":
        raise ValueError(
            f"DVF: training needs mode 'interpolate': no data has a later frame; got {model.mode!r}"
        )


def _legal(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Frames and target, for objectives that call parts of a model: nothing pads them there."""
    frames = batch["frame0"], batch["frame1"], batch["target"]
    sides = frames[0].shape[-2:]
    if any(side % model.multiple for side in sides):
        raise ValueError(
            f"{type(model).__name__}: training needs sides that are multiples of {model.multiple}; got "
            f"{list(sides)}: choose another crop"
        )
    if model.middle_only and not torch.compiler.is_compiling() and not (batch["timestep"] == 0.5).all():
        raise ValueError(f"{type(model).__name__}: knows the middle only; got {batch['timestep'].tolist()}")
    return frames
