"""The operators over the real CUDA kernels of csrc/cuda, run on CPU tensors by the emulator.

The host side is the package's own run-time compilation route with another launcher, so its parameter structs
and grids are tested as well. ``kernels()`` runs in this process; ``Recording`` writes the launches down for a
sanitized child.
"""

import ctypes
import functools
from pathlib import Path

import torch
from torch import Tensor

from tests.emulator import build
from tests.emulator.replay import save_recording
from vfi_kernels.jit import params as structs
from vfi_kernels.jit.choice import WARPS
from vfi_kernels.jit.kernels import Kernels
from vfi_kernels.jit.source import source_folder

SOURCES = [
    build.HERE / f"kernels_{name}.cpp"
    for name in ("pair", "tuned_pair", "backwarp", "tuned_backwarp", "ordered", "sepconv", "band")
]


def shared_limit(device: torch.device) -> int:
    """As if it were an H200."""
    return 227 << 10


def module_path(variant: str, defines: tuple[str, ...] = ()) -> Path:
    return build.build("ops_emulated", SOURCES, variant, [source_folder() / "cuda"], defines)


@functools.cache
def module():
    return build.load(module_path("plain"), "ops_emulated")


@functools.cache
def kernels() -> Kernels:
    """The operators; a kernel that breaks a rule of CUDA raises RuntimeError."""

    def launch(source, kernel, grid, block, shared, params, device) -> None:
        module().launch(kernel, grid, block, shared, bytes(params))

    return Kernels(launch, shared_limit)


def _pointers(params: ctypes.Structure, base: int = 0):
    """(byte offset, address) of every pointer in a parameter struct, nested structs included."""
    for name, kind in params._fields_:
        offset = base + getattr(type(params), name).offset
        value = getattr(params, name)
        if kind is ctypes.c_void_p:
            if value is not None:
                yield offset, value
        elif isinstance(value, ctypes.Structure):
            yield from _pointers(value, offset)
        elif isinstance(value, ctypes.Array):
            for i, item in enumerate(value):
                yield from _pointers(item, offset + i * ctypes.sizeof(item))


class Recording:
    """The launches of some operators and the memory that they see, for ``replay.py``.

    ``keep(tensor)`` makes a tensor's storage known before it is used; storages that the operators allocate
    are found by their addresses in the results, which must be kept too.
    """

    def __init__(self) -> None:
        self._launches: list[dict] = []
        self._storages: list[Tensor] = []
        self.kernels = Kernels(self._launch, shared_limit)

    def _launch(self, source, kernel, grid, block, shared, params, device) -> None:
        params = type(params).from_buffer_copy(params)
        shape = getattr(params, "pair", params)
        if getattr(shape, "reach", None):  # of a tensor that lives no longer than the call
            if kernel.startswith("frame_reach"):
                self._reach = torch.empty(4 * grid[0] * WARPS, dtype=torch.int32)
                self.keep(self._reach)
            shape.reach = self._reach.data_ptr()
        self._launches.append(
            {"kernel": kernel, "grid": grid, "block": block, "smem": shared, "params": params}
        )

    def keep(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            flat = tensor.new_empty(0).set_(tensor.untyped_storage()).view(torch.uint8)
            if flat.numel() and all(flat.data_ptr() != s.data_ptr() for s in self._storages):
                self._storages.append(flat)

    def _place(self, address: int) -> tuple[int, int]:
        for i, storage in enumerate(self._storages):
            if 0 <= address - storage.data_ptr() < storage.numel():
                return i, address - storage.data_ptr()
        raise KeyError(f"a kernel was given memory that no kept tensor owns: {address:#x}")

    def save(self, path: Path) -> None:
        launches = []
        for launch in self._launches:
            pointers = [[offset, *self._place(address)] for offset, address in _pointers(launch["params"])]
            launches.append({**launch, "params": bytes(launch["params"]).hex(), "pointers": pointers})
        save_recording(path, [s.numpy() for s in self._storages], launches)

    def buffer_of(self, tensor: Tensor) -> int:
        return self._place(tensor.untyped_storage().data_ptr())[0]


# The struct of each kernel family, for the comparison of sizes.
STRUCTS = {
    **{
        f"pair_{kernel}<{op}<": struct
        for kernel in (
            "forward",
            "forward_tuned",
            "forward_wide",
            "backward",
            "backward_tuned",
            "backward_channels",
        )
        for op, struct in (("WarpBlend", structs.WarpBlendParams), ("VoxelFlow", structs.VoxelFlowParams))
    },
    "backwarp_": structs.BackwarpParams,
    **{
        f"frame_{kernel}<{reads}<": struct
        for kernel in ("reach", "gather")
        for reads, struct in (
            ("PairReads<WarpBlend", structs.WarpBlendParams),
            ("PairReads<VoxelFlow", structs.VoxelFlowParams),
            ("BackwarpReads", structs.BackwarpParams),
        )
    },
    "sepconv_": structs.SepconvParams,
}
