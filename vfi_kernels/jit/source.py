"""The CUDA source as one string: NVRTC gets no include paths, and CuPy's cache, which is keyed by the
source, would not notice a changed header."""

import functools
import re
from pathlib import Path

_INCLUDE = re.compile(r'^#include "([^"]+)"$', re.MULTILINE)


@functools.cache
def source_folder() -> Path:
    """csrc of the checkout for an editable install, otherwise the copy that was installed."""
    package = Path(__file__).parent.parent
    candidates = [package / "_csrc", package.parent / "csrc"]
    for folder in candidates:
        if (folder / "cuda").is_dir():
            return folder
    raise FileNotFoundError(f"the CUDA sources are neither in {candidates[0]} nor in {candidates[1]}")


@functools.cache
def inlined(name: str) -> str:
    """csrc/cuda/NAME with every header that it includes, each once, in order.

    It ends by opening the namespace: the name of a kernel, with its template arguments, is looked up at the
    very end.
    """
    seen: set[Path] = set()

    def expand(path: Path) -> str:
        if path in seen:
            return ""
        seen.add(path)
        text = path.read_text().replace("#pragma once\n", "")
        return _INCLUDE.sub(
            lambda m: expand((path.parent / m[1]).resolve()) if m[1] != "cuemu.h" else m[0], text
        )

    return expand((source_folder() / "cuda" / name).resolve()) + "\nusing namespace vfi;\n"
