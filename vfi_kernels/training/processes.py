"""The processes that train together: started by `torchrun`, or one alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as distributed
from torch import Tensor

__all__ = ["Group", "together"]


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


@contextmanager
def together(device: str) -> Iterator[Group]:
    """This process among those that torchrun started.

    Args:
        device: "cpu" or "cuda"; of several processes on a machine, each takes a GPU of its own.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Group(0, 1, torch.device(device))
        return
    place = torch.device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Group(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()
