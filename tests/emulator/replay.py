"""Runs recorded kernel launches in a process of their own: ``replay.py MODULE RECORDING OUTPUT``.

The sanitizers need a process that starts with their runtime loaded, and end it where they find something. So
a test records what a host function would launch, and this program, which needs only NumPy, launches it.

A recording is an .npz file with

* ``buf0``, ``buf1``, ...: the bytes of every storage that the kernels see, uint8 [size],
* ``launches``: JSON text, a list of objects with ``kernel`` (name in the module), ``grid`` and ``block``
  ([x, y, z]), ``smem`` (bytes of dynamic shared memory), ``params`` (hexadecimal bytes of the parameter
  struct) and ``pointers``: a list of [byte offset in params, number of the buffer, byte offset in it].

The output has the buffers as the launches left them, under the same names. The environment variable
CUEMU_ORDER (fwd, rev or a seed) sets the order of blocks and threads.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np


def load(path: Path | str, name: str) -> ModuleType:
    """Import the extension module ``name``, built by ``build.build``, from its file."""
    loader = importlib.machinery.ExtensionFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def save_recording(path: Path | str, buffers: Sequence[np.ndarray], launches: list[dict]) -> None:
    """Write a recording; ``buffers`` may be C-contiguous arrays of any type and shape."""
    arrays = {f"buf{i}": np.frombuffer(array.tobytes(), np.uint8) for i, array in enumerate(buffers)}
    np.savez(path, launches=json.dumps(launches), **arrays)


def with_pointers(params: bytes, pointers: list[list[int]], addresses: list[int]) -> bytes:
    """The parameter struct with the recorded pointers filled in; ``addresses`` are those of the buffers."""
    patched = bytearray(params)
    for offset, buffer, offset_in_buffer in pointers:
        struct.pack_into("P", patched, offset, addresses[buffer] + offset_in_buffer)
    return bytes(patched)


def replay(module: ModuleType, recording: Path | str, output: Path | str) -> None:
    """Launch everything in ``recording`` in order, then write the buffers to ``output``."""
    with np.load(recording) as arrays:
        launches = json.loads(str(arrays["launches"]))
        buffers = [module.HostBuffer(arrays[f"buf{i}"]) for i in range(len(arrays.files) - 1)]
    addresses = [buffer.address for buffer in buffers]
    for launch in launches:
        params = with_pointers(bytes.fromhex(launch["params"]), launch["pointers"], addresses)
        module.launch(launch["kernel"], launch["grid"], launch["block"], launch["smem"], params)
    np.savez(output, **{f"buf{i}": np.frombuffer(b.contents(), np.uint8) for i, b in enumerate(buffers)})


def main(arguments: Sequence[str]) -> None:
    module, recording, output = arguments
    # The file is named <module>.<tag of the interpreter>.so.
    replay(load(module, Path(module).name.split(".")[0]), recording, output)


if __name__ == "__main__":
    main(sys.argv[1:])
