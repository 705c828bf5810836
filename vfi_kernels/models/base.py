"""What every model can do: frames at any times between two others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .precision import PRECISIONS, autocast

__all__ = ["Interpolator", "TimestepError", "like_weights", "padded", "per_entry"]

# Halvings by which a model that knows the middle only comes to a timestep: 1/64 and its multiples.
HALVINGS = 6


# Graphs that torch may keep of one `synthesize`, which all of RIFE share. Its own limit is 8: a ninth size of
# frames or number of timesteps would run eagerly.
GRAPHS = 64


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

    precision: torch.dtype | None = None
    """What layers compute in; None leaves that to the weights and the caller's autocast. See `prepare`."""
    layout: torch.memory_format = torch.preserve_format
    """How frames lie in memory when the network gets them."""
    _compiled: Callable[..., Tensor] | None = None

    def prepare(
        self, *, precision: str = "float32", channels_last: bool = False, compile: bool = False
    ) -> Interpolator:
        """Says how the network runs, all of it anew; returns the model itself.

        Frames are taken and given in their own dtype all the same, and what makes flow is float32.

        Args:
            precision: what layers compute in, by autocast: "float32", "float16" or "bfloat16".
            channels_last: whether the channels of a pixel lie side by side, as GPUs want them in half
                precision.
            compile: whether `torch.compile` makes the network one graph. That takes a minute for every size
                of frames and every number of timesteps.

        Raises:
            ValueError: a precision that there is not.
        """
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}; got {precision!r}")
        self.precision = PRECISIONS[precision]
        if channels_last or self.layout == torch.channels_last:
            self.to(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
        self.layout = torch.channels_last if channels_last else torch.preserve_format
        # Of the class and not of this model, whose copies would run its weights.
        self._compiled = _compiled(type(self).synthesize) if compile else None
        return self

    def forward(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor = 0.5) -> Tensor:
        """The frame at one time between two, as the network gives it: values may leave [0, 1].

        Args:
            frame0: [N, 3, H, W]; float16, bfloat16, float32 or float64.
            frame1: like frame0.
            timestep: one number for all pairs, or a tensor [N].

        Returns:
            [N, 3, H, W] in the frames' dtype.

        Raises:
            TypeError: frames that are no floating tensors, or a timestep that is no real number.
            ValueError: shapes or devices that do not fit, or a timestep outside [0, 1].
            TimestepError: a timestep other than 0.5, where the model knows no other.
        """
        times = self._checked(frame0, frame1, timestep)
        return self._run(frame0, frame1, times)[:, 0] if times.numel() else torch.empty_like(frame0)

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
            TypeError: frames that are no floating tensors, or timesteps that are no real numbers.
            ValueError: shapes or devices that do not fit, or a timestep outside [0, 1].
            TimestepError: a timestep that halving does not reach, where the model knows the middle only.
        """
        self._check_frames(frame0, frame1)
        if not isinstance(timesteps, Tensor):
            timesteps = self._listed(timesteps)
        times = self._times(timesteps, frame0)
        if times.numel() == 0:
            return frame0.new_empty(times.shape + frame0.shape[1:])
        if not self.middle_only:
            return self._run(frame0, frame1, times).clamp(0, 1)
        rows = times.tolist() if isinstance(timesteps, Tensor) else [timesteps] * frame0.shape[0]
        return self._halve(frame0, frame1, rows).clamp(0, 1)

    def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        """The network, everything checked: frames as `fit` returns them, times [N, T] -> [N*T, 3, H, W].

        Entries n*T .. n*T+T-1 belong to pair n. A model that knows the middle only gets T = 1 and times 0.5.
        """
        raise NotImplementedError

    def fit(self, frame: Tensor) -> Tensor:
        """A frame as the network takes it."""
        return padded(frame, self.multiple, self.pad_mode)

    def restore(self, made: Tensor, height: int, width: int) -> Tensor:
        """A result in the size of the frames that were given to `fit`."""
        return made[..., :height, :width]

    def _run(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
        pair = self._fitted(frame0, frame1)
        with autocast(frame0, self.precision):
            made = self._compiled(self, *pair, times) if self._compiled else self.synthesize(*pair, times)
        return self.restore(made, *frame0.shape[-2:]).to(frame0.dtype).unflatten(0, times.shape)

    def _fitted(self, *frames: Tensor) -> list[Tensor]:
        """As the network takes them, in the layout of `prepare`."""
        return [self.fit(frame.to(memory_format=self.layout)) for frame in frames]

    def _halve(self, frame0: Tensor, frame1: Tensor, times: Sequence[Sequence[float]]) -> Tensor:
        """`interpolate` by the middle of the middle, at the times of each pair; each halving is one call for
        all intervals that it splits.
        """
        whole = 1 << HALVINGS
        rows = [[int(t * whole) for t in row] for row in times]
        for found, row in zip(rows, times, strict=True):
            if any(step != t * whole for step, t in zip(found, row, strict=True)):
                raise TimestepError(
                    f"{type(self).__name__}: knows the middle only and reaches timesteps k/{whole} by "
                    f"halving; got {list(row)}"
                )
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

    def _checked(self, frame0: Tensor, frame1: Tensor, timestep: float | Tensor) -> Tensor:
        """Times [N, 1] of a call for one frame, everything that it was given checked."""
        self._check_frames(frame0, frame1)
        times = self._time(timestep, frame0)
        if self.middle_only and not _is_middle(timestep):
            raise TimestepError(
                f"{type(self).__name__}: knows the middle only, timestep must be 0.5; got {timestep}. "
                "interpolate() halves again and again for 1/4, 1/8 and the like"
            )
        return times

    def _check_frames(self, frame0: Tensor, frame1: Tensor) -> None:
        name = type(self).__name__
        if not (isinstance(frame0, Tensor) and isinstance(frame1, Tensor)):
            raise TypeError(f"{name}: frames must be tensors; got {_kind(frame0)} and {_kind(frame1)}")
        if frame0.shape != frame1.shape or frame0.dim() != 4 or frame0.shape[1] != 3:
            raise ValueError(
                f"{name}: frames must both be [N, 3, H, W]; got {list(frame0.shape)} and {list(frame1.shape)}"
            )
        if 0 in frame0.shape[2:]:
            raise ValueError(f"{name}: frames must have pixels; got {list(frame0.shape)}")
        if frame0.device != frame1.device:
            raise ValueError(f"{name}: frames must be on one device; got {frame0.device} and {frame1.device}")
        if not frame0.is_floating_point() or frame0.dtype != frame1.dtype:
            raise TypeError(
                f"{name}: frames must have one floating dtype; got {frame0.dtype} and {frame1.dtype}"
            )

    def _time(self, timestep: float | Tensor, frame: Tensor) -> Tensor:
        """[N, 1] float32 of one timestep for all pairs or a tensor [N]."""
        if not isinstance(timestep, Tensor):
            if not isinstance(timestep, Real):
                raise TypeError(
                    f"{type(self).__name__}: timestep must be a real number or a tensor [{frame.shape[0]}]; "
                    f"got {timestep!r}"
                )
            return self._times([timestep], frame)
        if timestep.numel() not in (1, frame.shape[0]):
            raise ValueError(
                f"{type(self).__name__}: timestep must be a number or [{frame.shape[0]}]; "
                f"got {list(timestep.shape)}"
            )
        return self._times(timestep.reshape(-1, 1), frame)

    def _listed(self, timesteps: Iterable[Any]) -> list[float] | Tensor:
        """T numbers as they are, rows [N, T] of them as a tensor."""
        try:
            listed = list(timesteps)
            return listed if all(isinstance(t, Real) for t in listed) else torch.tensor(listed)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"{type(self).__name__}: timesteps must be a list of numbers, or of lists of as many numbers "
                f"each; got {timesteps!r}"
            ) from None

    def _times(self, timesteps: Sequence[float] | Tensor, frame: Tensor) -> Tensor:
        """[N, T] float32 on the frames' device.

        Numbers are filled in there: a copy from the host would wait for the device, and no CUDA graph holds
        one.
        """
        name, batch = type(self).__name__, frame.shape[0]
        if isinstance(timesteps, Tensor):
            if timesteps.is_complex():
                raise TypeError(f"{name}: timesteps must be real; got {timesteps.dtype}")
            if timesteps.dim() not in (1, 2) or (
                timesteps.dim() == 2 and timesteps.shape[0] not in (1, batch)
            ):
                raise ValueError(
                    f"{name}: timesteps must be [T] or [{batch}, T]; got {list(timesteps.shape)}"
                )
            inside = not _checkable(timesteps) or bool(((timesteps >= 0) & (timesteps <= 1)).all())
            times = timesteps.to(frame.device, torch.float32).expand(batch, -1).contiguous()
        else:
            inside = all(0 <= t <= 1 for t in timesteps)  # NaN is not
            times = torch.ones((batch, len(timesteps)), dtype=torch.float32, device=frame.device)
            for column, t in zip(times.unbind(1), timesteps, strict=True):
                # A product: torch.compile keeps a float as a variable only where arithmetic takes it.
                column.mul_(t)
        if not inside:
            raise ValueError(f"{name}: timesteps must lie in [0, 1]; got {timesteps}")
        return times


def _compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """With `GRAPHS` for the limit, of these calls alone."""
    graphs = torch.compile(function, dynamic=False)

    def run(*inputs: Any) -> Tensor:
        if torch.compiler.is_compiling():  # part of a larger graph
            return graphs(*inputs)
        with torch._dynamo.config.patch(recompile_limit=GRAPHS):
            return graphs(*inputs)

    return run


def _kind(value: object) -> str:
    return "a tensor" if isinstance(value, Tensor) else type(value).__name__


def _is_middle(timestep: float | Tensor) -> bool:
    if not isinstance(timestep, Tensor):
        return timestep == 0.5
    return not _checkable(timestep) or bool((timestep == 0.5).all())


def _checkable(values: Tensor) -> bool:
    """Not while a graph is made, by torch.compile or of a stream: it has to serve other values too."""
    if torch.compiler.is_compiling() or values.is_meta:
        return False
    return not (values.is_cuda and torch.cuda.is_current_stream_capturing())


def padded(x: Tensor, multiple: int, mode: str) -> Tensor:
    """To sides that are multiples, on the right and at the bottom."""
    height, width = x.shape[-2:]
    missing = (0, -width % multiple, 0, -height % multiple)
    return F.pad(x, missing, mode=mode) if any(missing) else x


def per_entry(shared: Tensor, entries: int) -> Tensor:
    """[N, ...] for N pairs -> [N*T, ...] for their timesteps, pair by pair; N = 1 or T = 1 copies nothing."""
    return shared[:, None].expand(-1, entries // shared.shape[0], *shared.shape[1:]).flatten(0, 1)


def like_weights(tensor: Tensor, layer: nn.Module) -> Tensor:
    """In the dtype of a layer's weights, for a network in half precision. (Autocast casts by itself.)"""
    return tensor.to(layer.weight.dtype)
