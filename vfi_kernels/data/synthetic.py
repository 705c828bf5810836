"""Endless synthetic training data: scenes drawn at random, with exact in-between frames and flow."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from .scene import FAR, MOTION, SHAPE, Scenes
from .textures import Photographs, procedural

__all__ = ["Limits", "Synthetic"]

Batch = dict[str, Tensor]

# How far the value half-way of a path may be off the middle, as a part of a quarter of the way.
BOW = 0.4

# Texture beyond the frame's longer side, in texels.
MARGIN = 64


@dataclass(frozen=True)
class Limits:
    """How much moves how far between frame 0 and frame 1, at most; most of it is slower.

    Attributes:
        layers: 2 or more, the background and up to this many less one before it.
        camera: pixels of everything.
        speed: pixels of a layer.
        turn: degrees of the camera, and of a layer.
        zoom: growth of the camera's picture, and of a layer: 0.1 is 10 %.
        bend: pixels that a part of a layer moves away from the rest.
        rarity: of fast motion. 2: half of all ways are shorter than a quarter of the longest; 1: all lengths
            are as likely; 0: what moves, moves as far as it may.
        blur: the share of scenes with motion blur; such a scene takes about four times as long.
    """

    layers: int = 6
    camera: float = 12
    speed: float = 32
    turn: float = 8
    zoom: float = 0.08
    bend: float = 4
    rarity: float = 2
    blur: float = 0.1


class Synthetic(Dataset):
    """Scenes of textured shapes that move, turn, grow, bend and hide each other, drawn from a seed.

    Scene number i is a matter of the seed and i alone: not of the batch that it is made in, of the process or
    of the number of workers. What moves where is the same on every device. The noise in textures is drawn on
    the device, so it is the same on devices of one kind.

    Frames are antialiased: texels are as large as pixels or larger (where a layer bends, about), and edges
    cover pixels in part.

    Args:
        size: height and width of the frames.
        seed: of everything.
        length: how many scenes there are to index; `batch` takes any number.
        timestep: of the in-between frame; None for any, drawn for each scene.
        limits: how much moves how far.
        photographs: a folder of images; half of the textures are squares of them.
        flows: whether flows and visibility are made as well; without them it is about twice as fast.
    """

    def __init__(
        self,
        size: tuple[int, int] = (256, 256),
        *,
        seed: int = 0,
        length: int = 10_000,
        timestep: float | None = 0.5,
        limits: Limits = Limits(),
        photographs: str | os.PathLike[str] | None = None,
        flows: bool = True,
    ) -> None:
        if timestep is not None and not 0 <= timestep <= 1:
            raise ValueError(f"Synthetic: timestep must be None or in [0, 1]; got {timestep}")
        if limits.layers < 2:
            raise ValueError(f"Synthetic: layers must be 2 or more; got {limits.layers}")
        self.size, self.seed, self.length = size, seed, length
        self.timestep, self.limits, self.flows = timestep, limits, flows
        self.photographs = None if photographs is None else Photographs(photographs)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < self.length:
            raise IndexError(f"Synthetic: there are {self.length} scenes; got number {number}")
        return {name: tensor[0] for name, tensor in self.batch([number]).items()}

    def batch(self, numbers: Sequence[int], device: str | torch.device = "cpu") -> Batch:
        """The scenes with these numbers.

        Returns:
            frame0, frame1, target: [N, 3, H, W] float32 RGB in [0, 1]; the target is the frame at timestep.
            timestep: [N].
            flow01, flow10, flow_t0, flow_t1: [N, 2, H, W] in pixels, from the first time to the second, as
                `backwarp` takes them: backwarp(frame0, flow_t0) is the target where frame 0 sees the same.
            seen01, seen10, seen_t0, seen_t1: [N, 1, H, W], 1 where a point is seen at the second time too.
        """
        device = torch.device(device)
        # One by one, what is computed for a scene stays in a CPU's cache.
        groups = [[number] for number in numbers] if device.type == "cpu" else [list(numbers)]
        made = [self._made(group, device) for group in groups]
        return {name: torch.cat([part[name] for part in made]) for name in made[0]}

    @torch.no_grad()
    def _made(self, numbers: list[int], device: torch.device) -> Batch:
        scenes, time = self.scenes(numbers, device)
        start, end = torch.zeros_like(time), torch.ones_like(time)
        views = {"0": scenes.view(start), "1": scenes.view(end), "_t": scenes.view(time)}
        batch = {
            "frame0": scenes.frame(views["0"]),
            "frame1": scenes.frame(views["1"]),
            "target": scenes.frame(views["_t"]),
            "timestep": time,
        }
        if self.flows:
            for names in ("01", "10", "_t0", "_t1"):
                here, there = names[:-1], names[-1]
                batch["flow" + names], batch["seen" + names] = scenes.flow(views[here], views[there])
        return batch

    def scenes(self, numbers: Sequence[int], device: str | torch.device = "cpu") -> tuple[Scenes, Tensor]:
        """The scenes with these numbers and the timesteps of their in-between frames [N]."""
        drawn = [self._drawn(number, torch.device(device)) for number in numbers]
        layers = max(shape.shape[0] for shape, *_ in drawn)
        shape, bend, motion, camera, textures, shutter, time = zip(*drawn, strict=True)
        scenes = Scenes(
            self.size,
            textures=torch.stack([_filled(part, layers, 0) for part in textures]),
            motion=torch.stack([_filled(part, layers, 0, axis=1) for part in motion], 1).to(device),
            camera=torch.stack(camera, 1).to(device),
            bend=torch.stack([_filled(part, layers, 0) for part in bend]).to(device),
            shape=torch.stack([_filled(part, layers, -FAR) for part in shape]).to(device),
            shutter=torch.stack(shutter),
        )
        return scenes, torch.stack(time).to(device)

    def _drawn(self, number: int, device: torch.device) -> tuple[Tensor, ...]:
        """One scene's tensors, textures on the device and the rest on the CPU."""
        drawing = Drawing(self.seed, number)
        layers = int(drawing.number(2, self.limits.layers + 1).item())
        shape = drawing.shapes(self.size, layers)
        motion, camera, bend = drawing.paths(self.size, layers, self.limits)
        shutter = torch.where(drawing.number() < self.limits.blur, drawing.number(0.1, 0.5), 0)
        time = drawing.number() if self.timestep is None else torch.tensor(float(self.timestep))
        side = max(self.size) + MARGIN
        textures = procedural(layers, side, drawing.generator, drawing.on(device))
        if self.photographs is not None:
            for layer in range(layers):
                if drawing.number() < 0.5:
                    textures[layer] = self.photographs.square(side, drawing.generator).to(device)
        return shape, bend, motion, camera, textures, shutter, time


def _filled(part: Tensor, layers: int, value: float, axis: int = 0) -> Tensor:
    """With layers that are not there, up to a number of layers."""
    missing = [*part.shape]
    missing[axis] = layers - part.shape[axis]
    return torch.cat([part, part.new_full(missing, value)], axis)


class Drawing:
    """The random numbers of one scene."""

    def __init__(self, seed: int, number: int) -> None:
        digest = hashlib.blake2b(f"{seed} {number}".encode(), digest_size=8).digest()
        self.seed = int.from_bytes(digest, "little") >> 1
        self.generator = torch.Generator().manual_seed(self.seed)

    def on(self, device: torch.device) -> torch.Generator:
        """For what is drawn on a device: other numbers than the generator's own."""
        return torch.Generator(device).manual_seed(self.seed + 1)

    def number(self, low: float = 0, high: float = 1, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator)

    def paths(self, size: tuple[int, int], layers: int, most: Limits) -> tuple[Tensor, Tensor, Tensor]:
        """Motion [3, L, 8], camera [3, 1, 4] and the waves of bending [L, 2]."""
        height, width = size
        turn, zoom = torch.pi / 180 * most.turn, torch.tensor(1 + most.zoom).log().item()
        camera = self._path(torch.zeros(1, 4), self._change(1, most.camera, turn, zoom, most.rarity))

        middle = torch.zeros(layers, len(MOTION))
        front = middle[1:]
        front[:, 0] = self.number(-0.5, 0.5, layers - 1) * width
        front[:, 1] = self.number(-0.5, 0.5, layers - 1) * height
        front[:, 2] = self.number(-torch.pi, torch.pi, layers - 1)
        # Camera and layer shrink by half of `zoom` at most: no texel gets smaller than a pixel.
        middle[:, 3] = zoom + self.number(0, 0.6, layers)
        bends = self.number(0, 1, layers, 1) < 0.5
        middle[:, 4:6] = self.number(-1, 1, layers, 2) * most.bend * bends
        middle[:, 6:] = self.number(0, 2 * torch.pi, layers, 2)
        change = torch.cat(
            [
                self._change(layers, most.speed, turn, zoom, most.rarity),
                self.number(-0.5, 0.5, layers, 2) * most.bend * bends,
                self.number(-1, 1, layers, 2),
            ],
            1,
        )
        change[0, :2] = 0  # the camera moves the background
        wavelengths = self.number(0.2, 1, layers, 2) * min(size)
        return self._path(middle, change), camera, 2 * torch.pi / wavelengths

    def shapes(self, size: tuple[int, int], layers: int) -> Tensor:
        """[L, 10]: boxes, discs, bars, blobs and rings, before a background that is everywhere."""
        half = min(size) * torch.exp(self.number(-4, -1, layers, 1))  # of 256: 5 to 94 pixels
        aspect = self.number(-0.8, 0.8, layers, 1).exp()
        halves = torch.cat([half * aspect, half / aspect], 1)
        least = halves.amin(1, keepdim=True)
        radius = least * self.number(0, 1, layers, 1) * (self.number(0, 1, layers, 1) < 0.7)
        ring = torch.where(
            self.number(0, 1, layers, 1) < 0.2, 2 + 0.4 * least * self.number(0, 1, layers, 1), FAR
        )
        wobble = least * self.number(0, 0.3, layers, 2) * (self.number(0, 1, layers, 1) < 0.6)
        waves = torch.pi / (halves.flip(1) * self.number(0.5, 2, layers, 2))
        shape = torch.cat([halves, radius, ring, wobble, waves, self.number(0, 2 * torch.pi, layers, 2)], 1)
        shape[0] = shape.new_tensor([FAR, FAR, 0, FAR] + [0] * (len(SHAPE) - 4))
        return shape

    def _change(self, layers: int, pixels: float, turn: float, zoom: float, rarity: float) -> Tensor:
        """[layers, 4] from frame 0 to frame 1; a fifth only stands still or shifts."""
        direction = self.number(0, 2 * torch.pi, layers)
        length = pixels * self.number(0, 1, layers).pow(rarity)
        moves = self.number(0, 1, 2, layers) < 0.8
        change = torch.stack([direction.cos() * length, direction.sin() * length], 1) * moves[0, :, None]
        turns = self.number(-1, 1, layers, 2) * self.number(-1, 1, layers, 2).abs() * moves[1, :, None]
        return torch.cat([change, turns * turns.new_tensor([turn, zoom])], 1)

    def _path(self, middle: Tensor, change: Tensor) -> Tensor:
        bow = change * self.number(-BOW, BOW, *change.shape)
        return torch.stack([middle - change / 2, middle + change / 2, bow])
