"""CUDA kernels compiled at first use by NVRTC through CuPy, where the package was built without nvcc.

They are the kernels of csrc/cuda, launched by ``kernels.py`` and registered as the CUDA implementation of
the operators, so autograd, ``torch.compile`` and ``vmap`` work as with the compiled library.
"""

import ctypes
import functools

import numpy as np
import torch

from vfi_kernels.jit import source
from vfi_kernels.jit.kernels import OPERATORS, Kernels, Launch, SharedLimit

__all__ = ["available"]


@functools.cache
def _function(cupy, file: str, kernel: str, device: int, most_shared: int):
    """The compiled kernel; a module belongs to the device it was loaded on.

    most_shared: bytes of shared memory that a launch may ask for; 0 for a kernel that asks for none.
    """
    options = ("-std=c++17", "-default-device")
    module = cupy.RawModule(code=source.inlined(file), options=options, name_expressions=(kernel,))
    function = module.get_function(kernel)
    if most_shared:  # the same for every launch: threads do not disturb each other
        function.max_dynamic_shared_size_bytes = most_shared - function.shared_size_bytes
        function.preferred_shared_memory_carveout = 100  # percent, so that two blocks fit where there is room
    return function


def _launch_with(cupy, shared_limit: SharedLimit) -> Launch:
    def launch(
        file, kernel, grid, block, shared: int, params: ctypes.Structure, device: torch.device
    ) -> None:
        # CuPy takes a struct by value as an array of one element; its dtype only has to have the size.
        by_value = np.frombuffer(bytes(params), dtype=[("bytes", np.uint8, ctypes.sizeof(params))])
        index = torch.cuda.current_device() if device.index is None else device.index
        stream = torch.cuda.current_stream(index).cuda_stream
        with cupy.cuda.Device(index), cupy.cuda.ExternalStream(stream, index):
            function = _function(cupy, file, kernel, index, shared_limit(device) if shared else 0)
            function(grid, block, (by_value,), shared_mem=shared)

    return launch


def _shared_limit(device: torch.device) -> int:
    properties = torch.cuda.get_device_properties(device)
    return properties.shared_memory_per_block_optin if properties.major >= 8 else 0


@functools.cache
def available() -> tuple[bool, str]:
    """Whether kernels can be compiled at run time, and if not, what is missing. The first call registers
    them.
    """
    try:
        import cupy
    except ImportError as error:
        return False, f"CuPy is not installed ({error})"
    except Exception as error:  # CuPy looks for the driver's libraries as it is imported
        return False, f"CuPy cannot be used ({error})"
    if not torch.cuda.is_available():
        return False, "torch finds no CUDA device"
    global _library  # dropping it would take the registrations back
    _library = torch.library.Library("vfi_kernels", "IMPL")
    kernels = Kernels(_launch_with(cupy, _shared_limit), _shared_limit)
    for name in OPERATORS:
        _library.impl(name, getattr(kernels, name), "CUDA")
    return True, ""
