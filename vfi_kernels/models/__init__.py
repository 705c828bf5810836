"""Models that make a frame between two others."""

from .base import Interpolator, TimestepError
from .checkpoints import CheckpointError
from .registry import create, names, untrained

__all__ = ["CheckpointError", "Interpolator", "TimestepError", "create", "names", "untrained"]
