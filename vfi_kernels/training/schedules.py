"""How the learning rate changes while training goes on."""

from __future__ import annotations

import math

from .recipes import Schedule

__all__ = ["share"]


def share(schedule: Schedule, step: int, steps: int) -> float:
    """The learning rate of a step, the first of `steps` being 0, as a part of the optimiser's rate."""
    if step < schedule.warmup:
        return step / schedule.warmup
    if schedule.kind == "cosine":
        done = (step - schedule.warmup) / max(steps - schedule.warmup, 1)
        return schedule.final + (1 - schedule.final) * (0.5 + 0.5 * math.cos(math.pi * done))
    if schedule.kind == "milestones":
        return schedule.factor ** sum(step >= part * steps for part in schedule.milestones)
    return 1.0
