"""What every model can do: frames at any times between two others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Interpolator"]


class Interpolator(nn.Module):
    """Base of the models. A subclass writes `interpolate_many`.

    Convention: frames are RGB, [N, 3, H, W], floating, in [0, 1]; timestep 0 is frame 0 and 1 is frame 1.
    """

    def forward(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor = 0.5) -> Tensor:
        """The frame at one time between two.

        Args:
            frame0: [N, 3, H, W].
            frame1: [N, 3, H, W].
            timestep: one number for all pairs, or [N].

        Returns:
            [N, 3, H, W].
        """
        times = torch.as_tensor(timestep, dtype=torch.float32).reshape(-1, 1)
        return self.interpolate(frame0, frame1, times)[:, 0]

    def interpolate(self, frame0: Tensor, frame1: Tensor, timesteps: Sequence[float] | Tensor) -> Tensor:
        """Frames at several times between two; what they have in common is computed once.

        Args:
            frame0: [N, 3, H, W].
            frame1: [N, 3, H, W].
            timesteps: T numbers for all pairs, or [N, T].

        Returns:
            [N, T, 3, H, W]; values may leave [0, 1] where a model's do.

        Raises:
            ValueError: shapes that do not fit, or a timestep outside [0, 1].
        """
        name = type(self).__name__
        if frame0.shape != frame1.shape or frame0.dim() != 4 or frame0.shape[1] != 3:
            raise ValueError(
                f"{name}: frames must both be [N, 3, H, W]; got {list(frame0.shape)} and {list(frame1.shape)}"
            )
        times = torch.as_tensor(timesteps, dtype=torch.float32, device=frame0.device)
        batch = frame0.shape[0]
        if times.dim() not in (1, 2) or (times.dim() == 2 and times.shape[0] not in (1, batch)):
            raise ValueError(f"{name}: timesteps must be [T] or [{batch}, T]; got {list(times.shape)}")
        if not ((times >= 0) & (times <= 1)).all():  # NaN takes this branch
            raise ValueError(f"{name}: timesteps must lie in [0, 1]; got {times.tolist()}")
        return self.interpolate_many(frame0, frame1, times.expand(batch, -1).contiguous())

    def interpolate_many(self, frame0: Tensor, frame1: Tensor, timesteps: Tensor) -> Tensor:
        """`interpolate` with everything checked; timesteps is [N, T] float32."""
        raise NotImplementedError
