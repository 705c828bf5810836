"""What decides the bytes of the output, in one record that goes to JSON and back."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from typing import Any, Literal

import torch
from torch import nn

from . import encoding, hardware, scenes

__all__ = ["Options", "digest"]

# Frames made at once. More share the work that a pair needs once; a pair may be minutes apart, so there is a
# bound.
BATCH = 8

# Source seconds that one chunk holds: what a crash costs at most, and a key frame of the output each.
CHUNK_SECONDS = Fraction(10)

# Smaller ones show a model too little of what moves.
SMALLEST_TILE = 64

RATIOS = ("factor", "fps", "slow_motion", "source_fps", "chunk_seconds")

# What may differ between runs that make one output: where weights lie, what decodes, whether problems stop.
FREE = ("checkpoint", "hwaccel", "keep_going", "force")


@dataclass(frozen=True)
class Options:
    """How a video is interpolated. Two runs with the same options give the same bytes on the same machine.

    Attributes:
        factor: output rate over source rate; 2, or 1 in slow motion, where neither this nor `fps` is given.
        fps: output rate, frames a second.
        slow_motion: how many times longer the output lasts.
        slow_motion_audio: what becomes of the sound then: left out, copied at its own speed, or stretched as
            well, at its own pitch.
        vfr: keep the source's own times, and put `factor` - 1 frames evenly between two of its frames.
        scene_cuts: whether to look for cuts.
        scene_threshold: what a cut scores at least, in (0, 1]; lower finds more.
        duplicates: "retime" makes a run of up to four equal frames one that lasts as long, so that movement
            goes on through it; those of a telecine are at even distances: `cadence`.
        source_fps: images a second, where the source is images; 25 where it is not given.
        codec: video encoder, for example libx264 or, lossless, ffv1.
        crf: constant rate factor of the encoder: lower is better and larger.
        preset: what the encoder calls its speed; its own choice where there is none.
        batch: frames made at once between two others.
        tile: side of the overlapping squares in which larger frames are made; None makes them whole.
        chunk_seconds: how much of the source a chunk holds, about.
        model: name of the model.
        model_options: the arguments that `vfi_kernels.models.create` got for it; empty for an object.
        checkpoint: file of its weights, None where it has none or was given as an object.
        weights: `digest` of the model.
        device: the kind of device it runs on: cpu, cuda.
        hwaccel: what decodes: "none" is the CPU; "cuda", "cuda:1" or what else `hardware.check` takes.
        keep_going: hold the last good frame where one cannot be decoded, instead of stopping.
        force: accept frames and lengths beyond `limits`.

    Raises:
        ValueError: a number out of range.
    """

    factor: Fraction | int | None = None
    fps: Fraction | int | None = None
    slow_motion: Fraction | int = 1
    slow_motion_audio: Literal["drop", "keep", "stretch"] = "drop"
    vfr: bool = False
    scene_cuts: bool = True
    scene_threshold: float = scenes.THRESHOLD
    duplicates: Literal["keep", "retime"] = "keep"
    source_fps: Fraction | int | None = None
    codec: str = "libx264"
    crf: int = 16
    preset: str | None = None
    batch: int = BATCH
    tile: int | None = None
    chunk_seconds: Fraction | int = CHUNK_SECONDS
    model: str = ""
    model_options: dict[str, bool | float | str] = field(default_factory=dict)
    checkpoint: str | None = None
    weights: str = ""
    device: str = "cpu"
    hwaccel: str = "none"
    keep_going: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        scenes.CutDetector(self.scene_threshold)  # knows its own range
        hardware.check(self.hwaccel)
        encoding.check_quality(self.codec, self.crf, self.preset)
        for name in ("batch", "chunk_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive; got {getattr(self, name)}")
        if self.tile is not None and self.tile < SMALLEST_TILE:
            raise ValueError(f"tile must be at least {SMALLEST_TILE}; got {self.tile}")

    def to_json(self) -> dict[str, Any]:
        """Ratios as text: "30000/1001"."""
        values = asdict(self)
        return values | {name: values[name] and str(values[name]) for name in RATIOS}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Options:
        """
        Raises:
            TypeError, ValueError: not what `to_json` gives.
        """
        return cls(**values | {name: values[name] and Fraction(values[name]) for name in RATIOS})

    def difference(self, other: Options) -> str | None:
        """The first option in which they differ, in words; None where they are equal."""
        for name in (entry.name for entry in fields(self)):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs and name not in FREE:
                return f"{name.replace('_', ' ')} {mine}, not {theirs}"
        return None


def digest(model: nn.Module) -> str:
    """Sixteen hexadecimal digits that change with any weight of the model; empty where it has none."""
    state = model.state_dict()
    if not state:
        return ""
    total = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().flatten().view(dtype=torch.uint8).numpy())
    return total.hexdigest()[:16]
