"""Models that make a frame between two others."""

from .base import Interpolator, TimestepError
from .checkpoints import CheckpointError
from .registry import create, names

__all__ = ["CheckpointError", "Interpolator", "TimestepError", "create", "names"]
