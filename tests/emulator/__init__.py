"""Runs the CUDA kernels of this project on the CPU, for tests. See cuemu/cuemu.h, build.py and replay.py."""
