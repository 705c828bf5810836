"""Measures of made frames, and the benchmarks of the field."""
