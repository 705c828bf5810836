"""The processes that train together: started by `torchrun`, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor

__all__ = ["Group", "own", "together"]


@dataclass(frozen=True)
class Group:
    """
    Attributes:
        rank, size: this process's number, and how many there are.
        device: this process's.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Of all processes, in each of them."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values


def own(device: str) -> str:
    """The name of this process's device: of several processes on a machine, each takes a GPU of its own."""
    return f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" and "LOCAL_RANK" in os.environ else device


@contextmanager
def together(device: torch.device) -> Iterator[Group]:
    """This process among those that torchrun started."""
    if "WORLD_SIZE" not in os.environ:
        yield Group(0, 1, device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
