"""Scenes of layers that move: the frame, the flow and what is visible at any time, exactly.

A layer is a texture and a shape in its own coordinates u. At time t it lies in the frame at

    x(u, t) = camera(t) * pose(t) * bend(u, t)

where camera and pose turn, zoom and shift, and bend shears the rows along a wave and then the columns along
another: smooth, different everywhere, and undone exactly by the opposite shears in the opposite order. So the
layer's point at a pixel is known in closed form, at any time, and with it the point's way to any other time.
A frame is one sample of every layer a pixel; no frame is made by warping another.

Convention: pixels, x to the right, y down, both from the centre of the frame; time 0 is frame 0 and 1 is
frame 1. Of a batch of N scenes with L layers, the last layer is in front. A layer is there for a pixel where
it covers half of it or more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["FAR", "MOTION", "SHAPE", "Scenes", "View"]

MOTION = ("x", "y", "angle", "log_zoom", "bend_x", "bend_y", "phase_x", "phase_y")
"""What changes in time, of a layer. The camera has the first four. Angles in radians, the rest in pixels."""

SHAPE = (
    "half_x",
    "half_y",
    "radius",
    "ring",
    "wobble_x",
    "wobble_y",
    "wave_x",
    "wave_y",
    "phase_x",
    "phase_y",
)
"""A box with round corners in coordinates that wobble; only a ring of this width inside of its edge."""

FAR = 1e6
"""Half the size of a layer without an edge, and minus that of no layer; the ring of a filled shape."""

# How far outside the frame rounding may put a pixel that does not move.
ROUNDING = 1e-2


class Placed(NamedTuple):
    """Where the layers are at a time, each [N, L, 1, 1]: x = turn * bend(u) + shift in complex numbers."""

    turn_x: Tensor
    turn_y: Tensor
    shift_x: Tensor
    shift_y: Tensor
    waves: tuple[Tensor, ...]  # amplitudes, frequencies, phases of x and y
    zoom: Tensor


class View(NamedTuple):
    """What a frame's pixels look at."""

    time: Tensor  # [N]
    placed: Placed
    u: Tensor  # [N, L, H, W], the point of every layer, seen or hidden
    v: Tensor
    cover: Tensor  # [N, L, H, W], how much of the pixel is inside the layer's edge, 0 to 1
    front: Tensor  # [N, 1, H, W], the number of the layer in front


@dataclass(frozen=True)
class Scenes:
    """N scenes of L layers, on one device.

    Attributes:
        size: height and width of the frames.
        textures: [N, L, 3, S, S], RGB; one texel is one pixel of the layer, the middle is u = 0. Outside it
            goes on mirrored.
        motion: [3, N, L, 8], `MOTION` at time 0, at time 1, and four times what it is off the mean of both
            half-way.
        camera: [3, N, 1, 4], likewise, of all layers together.
        bend: [N, L, 2], radians a pixel of the waves along which rows and columns are shorn.
        shape: [N, L, 10], `SHAPE`; the first layer is behind all others and has no edge.
        shutter: [N] on the CPU, how long a frame is exposed, around its time; 0 is without motion blur.
    """

    size: tuple[int, int]
    textures: Tensor
    motion: Tensor
    camera: Tensor
    bend: Tensor
    shape: Tensor
    shutter: Tensor

    def reversed(self) -> Scenes:
        """The same run backwards: time t becomes 1 - t."""
        order = [1, 0, 2]
        return replace(self, motion=self.motion[order], camera=self.camera[order])

    def view(self, time: Tensor) -> View:
        """What is seen at a time [N]."""
        placed = self._placed(time)
        u, v = _to_layers(placed, *self._grid())
        cover = self._cover(placed, u, v)
        return View(time, placed, u, v, cover, _front(cover))

    def frame(self, view: View, exposures: int = 8) -> Tensor:
        """[N, 3, H, W] RGB; scenes with motion blur are the mean of `exposures` moments."""
        frame = self._picture(view)
        blurred = self.shutter.nonzero().flatten()
        if blurred.numel():
            scenes, time, shutter = self.select(blurred), view.time[blurred], self.shutter[blurred]
            moments = [(k + 0.5) / exposures - 0.5 for k in range(exposures)]
            views = (scenes.view(time + moment * shutter.to(time)) for moment in moments)
            frame[blurred] = sum(map(scenes._picture, views)) / exposures
        return frame

    def select(self, numbers: Tensor) -> Scenes:
        """Some of the scenes."""
        return Scenes(
            self.size,
            self.textures[numbers],
            self.motion[:, numbers],
            self.camera[:, numbers],
            self.bend[numbers],
            self.shape[numbers],
            self.shutter[numbers],
        )

    def _picture(self, view: View) -> Tensor:
        """[N, 3, H, W]: the layers over each other, back to front. Without motion blur."""
        entries, layers = self.textures.shape[:2]
        # Texels of a square of side S: -1 and 1 are the centres of the first and the last.
        half = (self.textures.shape[-1] - 1) / 2
        points = torch.stack([view.u, view.v], -1).flatten(0, 1) / half
        colours = F.grid_sample(
            self.textures.flatten(0, 1), points, padding_mode="reflection", align_corners=True
        ).unflatten(0, (entries, layers))
        frame = colours[:, 0]
        for layer in range(1, layers):
            frame = torch.lerp(frame, colours[:, layer], view.cover[:, layer, None])
        return frame

    def flow(self, view: View, other: View) -> tuple[Tensor, Tensor]:
        """From one time to another, of what is in front of each pixel.

        Returns:
            The flow [N, 2, H, W] in pixels, and [N, 1, H, W] 1 where the point is seen at the other time. It
            is 0 where another layer hides it, or it is beyond the centres of the frame's outermost pixels.
        """
        x, y = self._grid()
        to_x, to_y = (field.gather(1, view.front) for field in _from_layers(other.placed, view.u, view.v))
        cover = self._cover(other.placed, *_to_layers(other.placed, to_x, to_y))
        # Its own edge may be lost to rounding: it is hidden only by what is in front of it.
        seen = _front(cover) <= view.front
        height, width = self.size
        seen &= (to_x.abs() <= (width - 1) / 2 + ROUNDING) & (to_y.abs() <= (height - 1) / 2 + ROUNDING)
        return torch.cat([to_x - x, to_y - y], 1), seen.to(to_x.dtype)

    def _grid(self) -> tuple[Tensor, Tensor]:
        height, width = self.size
        x, y = (
            torch.arange(side, dtype=self.motion.dtype, device=self.motion.device) - (side - 1) / 2
            for side in (width, height)
        )
        return x.view(1, 1, 1, width), y.view(1, 1, height, 1)

    def _placed(self, time: Tensor) -> Placed:
        x, y, angle, log_zoom, *waves = _at(self.motion, time)
        camera_x, camera_y, camera_angle, camera_log_zoom = _at(self.camera, time)
        camera = torch.complex(camera_log_zoom, camera_angle).exp()
        turn = camera * torch.complex(log_zoom, angle).exp()
        shift = camera * torch.complex(x, y) + torch.complex(camera_x, camera_y)
        frequencies = self.bend[..., None, None].unbind(2)
        waves = (*waves[:2], *frequencies, *waves[2:])
        return Placed(turn.real, turn.imag, shift.real, shift.imag, waves, turn.abs())

    def _cover(self, placed: Placed, u: Tensor, v: Tensor) -> Tensor:
        half_x, half_y, radius, ring, *wobble = self.shape[..., None, None].unbind(2)
        u, v = _bent(u, v, *wobble)
        out_x, out_y = u.abs() - (half_x - radius), v.abs() - (half_y - radius)
        # The distance to the edge of a box with round corners, positive inside.
        inside = (
            radius
            - (out_x.clamp(min=0).square() + out_y.clamp(min=0).square()).sqrt()
            - torch.maximum(out_x, out_y).clamp(max=0)
        )
        inside = torch.minimum(inside, ring - inside)
        # Of a pixel that a straight edge crosses at this distance from the pixel's centre.
        return (0.5 + inside * placed.zoom).clamp(0, 1)


def _at(path: Tensor, time: Tensor) -> tuple[Tensor, ...]:
    """Paths [3, N, L, K] at times [N]: K values [N, L, 1, 1]."""
    start, end, bow = path[..., None, None]
    t = time.to(path.dtype).view(-1, 1, 1, 1, 1)
    return ((1 - t) * start + t * end + t * (1 - t) * bow).unbind(2)


def _bent(u: Tensor, v: Tensor, amount_x: Tensor, amount_y: Tensor, *waves: Tensor) -> tuple[Tensor, Tensor]:
    wave_x, wave_y, phase_x, phase_y = waves
    u = u + amount_x * (wave_x * v + phase_x).sin()
    return u, v + amount_y * (wave_y * u + phase_y).sin()


def _straight(
    u: Tensor, v: Tensor, amount_x: Tensor, amount_y: Tensor, *waves: Tensor
) -> tuple[Tensor, Tensor]:
    """Undoes `_bent`."""
    wave_x, wave_y, phase_x, phase_y = waves
    v = v - amount_y * (wave_y * u + phase_y).sin()
    return u - amount_x * (wave_x * v + phase_x).sin(), v


def _to_layers(placed: Placed, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Points of the frame, one or one for each layer, in the layers' coordinates."""
    x, y = x - placed.shift_x, y - placed.shift_y
    over_x, over_y = placed.turn_x / placed.zoom.square(), placed.turn_y / placed.zoom.square()
    return _straight(x * over_x + y * over_y, y * over_x - x * over_y, *placed.waves)


def _from_layers(placed: Placed, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Undoes `_to_layers`."""
    u, v = _bent(u, v, *placed.waves)
    x = u * placed.turn_x - v * placed.turn_y + placed.shift_x
    return x, u * placed.turn_y + v * placed.turn_x + placed.shift_y


def _front(cover: Tensor) -> Tensor:
    """The number of the front layer that covers at least half of a pixel: [N, 1, H, W]."""
    numbers = torch.arange(cover.shape[1], device=cover.device).view(1, -1, 1, 1)
    return torch.where(cover >= 0.5, numbers, 0).amax(1, keepdim=True)
