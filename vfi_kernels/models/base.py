"""What every model can do: frames at any times between two others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Interpolator", "TimestepError", "like_weights", "per_entry"]

# Halvings by which a model that knows the middle only comes to a timestep: 1/64 and its multiples.
HALVINGS = 6


class TimestepError(ValueError):
    """A timestep that the model cannot make."""


class Interpolator(nn.Module):
    """Base of the models: the public interface. A subclass writes `synthesize`.

    Convention: frames are RGB, [N, 3, H, W], floating, in [0, 1]; timestep 0 is frame 0 and 1 is frame 1.
    The order of channels, normalisation, padding and cropping are the model's own affair.
    """

    multiple = 1
    """The network takes sides that are multiples of this."""
    pad_mode = "replicate"
    """How a frame gets there, to the right and at the bottom: "replicate", or "constant" for zeros."""
    middle_only = False
    """Whether timestep 0.5 is all that the network knows."""
    extras: tuple[str, ...] = ()
    """How names start that a checkpoint may hold besides the network's own; they are left out."""

    def forward(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor = 0.5) -> Tensor:
        """The frame at one time between two, as the network gives it: values may leave [0, 1].

        Args:
            frame0: [N, 3, H, W]; float16, bfloat16, float32 or float64.
            frame1: like frame0.
            timestep: one number for all pairs, or a tensor [N].

        Returns:
            [N, 3, H, W] in the frames' dtype.

        Raises:
            ValueError: shapes that do not fit, or a timestep outside [0, 1].
            TimestepError: a timestep other than 0.5, where the model knows no other.
        """
        self._check_frames(frame0, frame1)
        if self.middle_only and not _is_middle(timestep):
            raise TimestepError(
                f"{type(self).__name__}: knows the middle only, timestep must be 0.5; got {timestep}. "
                "interpolate() halves again and again for 1/4, 1/8 and the like"
            )
        return self._run(frame0, frame1, self._time(timestep, frame0))[:, 0]

    def interpolate(self, frame0: Tensor, frame1: Tensor, timesteps: Sequence[float] | Tensor) -> Tensor:
        """Frames at several times between two, clamped to [0, 1]; what they share is computed once.

        A model that knows the middle only goes to k/64 by halving again and again.

        Args:
            frame0: [N, 3, H, W].
            frame1: [N, 3, H, W].
            timesteps: T numbers for all pairs, or [N, T].

        Returns:
            [N, T, 3, H, W] in the frames' dtype.

        Raises:
            ValueError: shapes that do not fit, or a timestep outside [0, 1].
            TimestepError: a timestep that halving does not reach, where the model knows the middle only.
        """
        self._check_frames(frame0, frame1)
        times = self._times(timesteps, frame0)
        made = self._halve(frame0, frame1, times) if self.middle_only else self._run(frame0, frame1, times)
        return made.clamp(0, 1)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        """The network, everything checked: frames as `fit` returns them, times [N, T] -> [N*T, 3, H, W].

        Entries n*T .. n*T+T-1 belong to pair n. A model that knows the middle only gets T = 1 and times 0.5.
        """
        raise NotImplementedError

    def fit(self, frame: Tensor) -> Tensor:
        """A frame as the network takes it."""
        height, width = frame.shape[-2:]
        missing = (0, -width % self.multiple, 0, -height % self.multiple)
        return F.pad(frame, missing, mode=self.pad_mode) if any(missing) else frame

    def restore(self, made: Tensor, height: int, width: int) -> Tensor:
        """A result in the size of the frames that were given to `fit`."""
        return made[..., :height, :width]

    def _run(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        made = self.synthesize(self.fit(frame0), self.fit(frame1), times)
        return self.restore(made, *frame0.shape[-2:]).to(frame0.dtype).unflatten(0, times.shape)

    def _halve(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        """`interpolate` by the middle of the middle; each halving is one call for all intervals it splits."""
        whole = 1 << HALVINGS
        steps = times.cpu().double() * whole
        if not (steps == steps.round()).all():
            raise TimestepError(
                f"{type(self).__name__}: knows the middle only and reaches timesteps k/{whole} by halving; "
                f"got {times[0].tolist()}"
            )
        rows = steps.long().tolist()
        frames = {0: frame0, whole: frame1}
        length = whole
        while missing := {step for row in rows for step in row} - frames.keys():
            starts = sorted({step - step % length for step in missing})
            before = torch.cat([frames[start] for start in starts])
            after = torch.cat([frames[start + length] for start in starts])
            made = self._run(before, after, before.new_full((before.shape[0], 1), 0.5, dtype=torch.float32))
            length //= 2
            middles = made[:, 0].split(frame0.shape[0])
            frames.update({start + length: middle for start, middle in zip(starts, middles, strict=True)})
        return torch.stack([torch.stack([frames[step][n] for step in row]) for n, row in enumerate(rows)])

    def _check_frames(self, frame0: Tensor, frame1: Tensor) -> None:
        name = type(self).__name__
        if frame0.shape != frame1.shape or frame0.dim() != 4 or frame0.shape[1] != 3:
            raise ValueError(
                f"{name}: frames must both be [N, 3, H, W]; got {list(frame0.shape)} and {list(frame1.shape)}"
            )
        if not frame0.is_floating_point() or frame0.dtype != frame1.dtype:
            raise TypeError(
                f"{name}: frames must have one floating dtype; got {frame0.dtype} and {frame1.dtype}"
            )

    def _time(self, timestep: float | Tensor, frame: Tensor) -> Tensor:
        """[N, 1] float32 of one timestep for all pairs or a tensor [N]."""
        return self._times(timestep.reshape(-1, 1) if isinstance(timestep, Tensor) else [timestep], frame)

    def _times(self, timesteps: Sequence[float] | Tensor, frame: Tensor) -> Tensor:
        """[N, T] float32 on the frames' device. Under torch.compile the values of a tensor go unseen."""
        name, batch = type(self).__name__, frame.shape[0]
        if not isinstance(timesteps, Tensor) and len(timesteps) == 1:
            inside = 0 <= timesteps[0] <= 1  # NaN is not
            # A product: torch.compile keeps a float as a variable only where arithmetic takes it, and nothing
            # is copied from the host, which a CUDA graph could not hold.
            times = torch.ones((batch, 1), dtype=torch.float32, device=frame.device) * timesteps[0]
        else:
            times = torch.as_tensor(timesteps, dtype=torch.float32)
            inside = torch.compiler.is_compiling() or bool(((times >= 0) & (times <= 1)).all())
            if times.dim() not in (1, 2) or (times.dim() == 2 and times.shape[0] not in (1, batch)):
                raise ValueError(f"{name}: timesteps must be [T] or [{batch}, T]; got {list(times.shape)}")
            times = times.to(frame.device).expand(batch, -1).contiguous()
        if not inside:
            raise ValueError(f"{name}: timesteps must lie in [0, 1]; got {timesteps}")
        return times


def _is_middle(timestep: float | Tensor) -> bool:
    """A number costs no question to the device, which a CUDA graph could not hold."""
    if not isinstance(timestep, Tensor):
        return timestep == 0.5
    return torch.compiler.is_compiling() or bool((timestep == 0.5).all())


def per_entry(shared: Tensor, entries: int) -> Tensor:
    """[N, ...] for N pairs -> [N*T, ...] for their timesteps, pair by pair; T = 1 copies nothing."""
    if shared.shape[0] == entries:
        return shared
    return shared.repeat_interleave(entries // shared.shape[0], 0)


def like_weights(tensor: Tensor, layer: nn.Module) -> Tensor:
    """In the dtype of a layer's weights, for a network in half precision. (Autocast casts by itself.)"""
    return tensor.to(layer.weight.dtype)
