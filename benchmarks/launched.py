"""What the CUDA operators launch, without a GPU, and the memory that the kernels see."""

import contextlib
import ctypes
import functools
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import hardware
import numpy as np
import torch
from cases import BACKWARD, Case, Maker
from hardware import Architecture
from torch import Tensor
from torch.utils import _pytree as pytree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for tests.emulator

from tests.emulator import build  # noqa: E402
from vfi_kernels import reference  # noqa: E402
from vfi_kernels.jit.kernels import OPERATORS, Kernels  # noqa: E402
from vfi_kernels.jit.source import source_folder  # noqa: E402
from vfi_kernels.ops._register import ORDERED  # noqa: E402


@dataclass
class Launch:
    file: str
    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int  # dynamic bytes
    params: bytes


@functools.cache
def emulator():
    """The kernels with sums in a fixed order, on this machine."""
    sources = [build.HERE / "kernels_ordered.cpp"]
    return build.load(
        build.build("ops_emulated", sources, "plain", [source_folder() / "cuda"]), "ops_emulated"
    )


@contextlib.contextmanager
def allocated() -> Iterator[list[Tensor]]:
    """What torch.empty returns within, which workspaces do not outlive otherwise."""
    found: list[Tensor] = []
    empty = torch.empty

    def keeping(*arguments: Any, **options: Any) -> Tensor:
        found.append(empty(*arguments, **options))
        return found[-1]

    with mock.patch.object(torch, "empty", keeping):
        yield found


def launches(
    case: Case, direction: str, a: Architecture, ordered: bool = False
) -> tuple[list[Launch], list[Tensor]]:
    """What the public function launches, and the tensors that the kernels see. ordered: sums in a fixed
    order; what these kernels do depends on what frame_reach wrote, so the emulator runs that one.
    """
    found: list[Launch] = []

    def record(
        file: str,
        kernel: str,
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        shared: int,
        params: ctypes.Structure,
        device: torch.device,
    ) -> None:
        found.append(Launch(file, kernel, grid, block, shared, bytes(params)))
        if kernel.startswith("frame_reach"):
            emulator().launch(kernel, grid, block, shared, bytes(params))

    kernels = Kernels(record, lambda device: hardware.block_shared(a))
    called: list[tuple[str, tuple, Any]] = []

    def through(name: str):
        def call(*inputs: Any) -> Any:
            called.append((name, inputs, getattr(kernels, name)(*inputs)))
            return called[-1][2]

        return call

    functions = {name: through(name) for name in OPERATORS if name[0] != "_"}
    backends = importlib.import_module("vfi_kernels.backends")
    inputs = case.operation.build(Maker(case.size, case.dtype, case.layout, "cpu", 0))
    with (
        mock.patch.multiple(reference, **functions),
        mock.patch.object(backends, "_has_kernel", return_value=False),
    ):
        case.operation.ours(**inputs)
        (name, arguments, results), *_ = called
        if direction == BACKWARD:
            found.clear()
            torch.manual_seed(0)
            grads = pytree.tree_map(torch.rand_like, results)
            leaves = [leaf for leaf in pytree.tree_leaves(arguments) if isinstance(leaf, Tensor)]
            backward = getattr(kernels, f"_{name}_backward")
            needs = (1 << len(leaves)) - 1 | (ORDERED if ordered else 0)
            with allocated() as kept:
                results = [grads, backward(grads, *arguments, needs)]
            results += [t for t in kept if t.dtype == torch.int32]
    tensors = [leaf for leaf in pytree.tree_leaves((arguments, results)) if isinstance(leaf, Tensor)]
    return found, tensors


class Device:
    """The tensors' bytes at addresses that are aligned as a GPU's are: each in a range of its own."""

    SPACING = 1 << 36

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        sizes = [(t.data_ptr(), t.numel() * t.element_size()) for t in tensors if t.numel()]
        self._hosts = sizes
        self.ranges = [
            ((n + 1) * self.SPACING, np.frombuffer((ctypes.c_char * size).from_address(host), np.uint8))
            for n, (host, size) in enumerate(sizes)
        ]

    def moved(self, params: bytes) -> bytes:
        """A parameter struct whose pointers to the tensors point there."""
        words = np.frombuffer(params.ljust(-(-len(params) // 8) * 8, b"\0"), np.uint64).copy()
        for n, word in enumerate(words.tolist()):
            for (base, _), (host, size) in zip(self.ranges, self._hosts, strict=True):
                if host <= word < host + size:
                    words[n] = base + word - host
        return words.tobytes()
