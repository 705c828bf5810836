"""SASS, the machine code of NVIDIA GPUs: `listing` reads it, `warp` runs it."""
