"""Models that make a frame between two others."""

from .base import Interpolator
from .registry import create, names

__all__ = ["Interpolator", "create", "names"]
