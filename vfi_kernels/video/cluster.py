"""The chunks of a plan on a Ray cluster: a task each, begun again on another worker where one is lost."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType

from . import plan as plans
from ._av import VideoError
from .pipeline import Profile

__all__ = ["make"]

# How often a chunk is begun again when the worker that makes it is lost.
RETRIES = 5


def make(plan: plans.Plan, indices: list[int], progress: Callable[[int], None]) -> Profile:
    """Make chunks on the cluster that RAY_ADDRESS names, or on this machine.

    Args:
        plan: written; its folder and source are under the same names on every machine.
        indices: numbers of chunks.
        progress: called before the first and after every chunk with how many frames there are now.

    Returns:
        How long it took.

    Raises:
        ImportError: Ray is not installed.
        VideoError: what the first task raises that fails.
    """
    begin = time.perf_counter()
    done = 0
    with _connected() as ray:
        progress(done)  # the rate counts from here, not from the first chunk's end
        task = ray.remote(
            max_retries=RETRIES, num_gpus=1 if plan.options.device == "cuda" else 0, num_cpus=1
        )(_chunk)
        waiting = [task.remote(str(plan.folder), index) for index in indices]
        while waiting:
            ready, waiting = ray.wait(waiting)
            try:
                done += sum(ray.get(ready))
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                raise VideoError(f"Ray: {error}") from error
            progress(done)
    return Profile(done, time.perf_counter() - begin, ())


@contextmanager
def _connected() -> Iterator[ModuleType]:
    """Ray, begun and ended here unless it runs already."""
    try:
        import ray
    except ImportError as error:
        raise ImportError("--engine ray needs Ray: pip install 'vfi-kernels[ray]'") from error
    ours = not ray.is_initialized()
    with redirect_stdout(sys.stderr):  # it tells of workers that die, between our lines of JSON
        try:
            if ours:
                ray.init(log_to_driver=False, include_dashboard=False, configure_logging=False)
            yield ray
        finally:
            if ours:
                ray.shutdown()


def _chunk(folder: str, index: int) -> int:
    """One chunk, in a worker's process; the number of its frames."""
    from . import jobs  # which knows this module

    plan = plans.read(Path(folder))
    jobs.run(plan, [index])
    return len(plan.facts(index)["frames"])
