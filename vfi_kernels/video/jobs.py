"""A whole video: planned, made chunk by chunk, merged; and what becomes of it when it is interrupted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from .. import models
from . import chunks, cluster, cutting, images, muxing, sequences, signature
from . import plan as plans
from ._av import VideoError
from .options import Options, digest
from .pipeline import Profile
from .plan import Plan
from .sources import open_source

__all__ = ["begin", "check_target", "interpolate", "left", "merge", "run"]

Warn = Callable[[str], None]
Progress = Callable[[int, "int | None"], None]


def interpolate(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    model: torch.nn.Module,
    *,
    options: Options | None = None,
    device: torch.device | str = "cpu",
    engine: Literal["local", "ray"] = "local",
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = lambda done, total: None,
    warn: Warn = warnings.warn,
    started: Callable[[Plan, int | None], None] = lambda plan, total: None,
    profile: Callable[[Profile], None] = lambda profile: None,
    **wishes: Any,
) -> int:
    """Write `source` to `target` at a higher (or any other) frame rate; sound is copied, the duration stays.

    Output frame k is shown k / fps after the first frame. Where that is a source frame's own time, the
    decoded frame goes to the encoder as it is; elsewhere `model` makes the frame from its two neighbours, or,
    where a new shot begins between them, the earlier one is held. `target` appears when it is complete.

    The work is done in chunks. Whatever ends it early, finished chunks stay in `<target>.vfi`, and `resume`
    goes on to the same bytes as if nothing had happened; where `target` is complete already, it says so.

    Args:
        source: video file.
        target: video file; the suffix names the container.
        model: as `vfi_kernels.models.create` gives.
        options: how; None where `wishes` say it.
        device: where the model runs.
        engine: "ray" makes the chunks on a Ray cluster; `options` name a model of `vfi_kernels.models` then.
        overwrite: replace `target` if it exists, and what is left of an earlier run unless `resume`.
        resume: go on with what is left of an earlier run, or begin where nothing is.
        progress: called after each output frame with the number written and the number expected, None if
            unknown.
        warn: called with one line about what cannot be kept.
        started: called once, with the plan and the number of frames expected, before any is made.
        profile: called once, when all chunks are there, with where the time went.
        **wishes: fields of `Options`: factor, fps, codec and so on.

    Returns:
        The number of frames written.

    Raises:
        ValueError: options that contradict each other, or a number out of range.
        VideoError: a file cannot be read or written as asked.
    """
    options = options or Options(**wishes)
    with _begun(
        source, target, options, model, device=device, overwrite=overwrite, resume=resume, warn=warn
    ) as (plan, total):
        missing = plan.missing()
        if missing and not overwrite and _is_there(plan.target):  # so far only `resume` gets
            frames = signature.frames_of(plan)
            started(plan, total)
            profile(Profile(0, 0.0, ()))
            warn(f"{plan.target}: is complete, nothing is left to do")
            return frames
        plan.write()
        started(plan, total)
        earlier = sum(len(plan.facts(k)["frames"]) for k in range(len(plan.chunks)) if k not in missing)

        def count(done: int) -> None:
            progress(earlier + done, total)

        try:
            if engine == "ray":
                profile(cluster.make(plan, missing, count))
            else:
                profile(chunks.make(plan, model, missing, device=device, progress=count))
            return muxing.merge(plan, warn)
        finally:
            if len(plan.missing()) == len(plan.chunks):
                plan.discard()


def run(
    plan: Plan,
    indices: list[int],
    *,
    device: torch.device | str | None = None,
    progress: Callable[[int], None] = lambda frames: None,
) -> Profile:
    """Make those of these chunks that are missing, with the model that the plan names.

    Raises:
        Busy: another process makes some of them; all others are there.
        VideoError: the source, the weights or the versions of packages are not those of the plan; a file
            cannot be read or written.
    """
    plan.check_source()
    plan.check_versions()
    options = plan.options
    model = models.create(options.model, checkpoint=options.checkpoint, **options.model_options)
    if digest(model) != options.weights:
        raise VideoError(
            f"{options.checkpoint or options.model}: holds other weights than when the plan was made"
        )
    missing = set(plan.missing())
    wanted = [index for index in indices if index in missing]
    return chunks.make(plan, model, wanted, device=device or options.device, progress=progress)


def merge(plan: Plan, *, overwrite: bool = False, warn: Warn = warnings.warn) -> int:
    """As `muxing.merge`, where nobody else is at work.

    Raises:
        Busy: another process merges or makes all of it.
        VideoError: as `muxing.merge`; there is an output, and no `overwrite`.
    """
    check_target(plan.source, plan.target, overwrite)
    with plan.held():
        return muxing.merge(plan, warn)


def left(plan: Plan) -> str:
    """What a run that did not end well has left to go on with, in words; empty where nothing."""
    try:
        plan.check_source()
    except VideoError:
        return ""
    count = len(plan.chunks)
    if not (plan.folder / plans.MANIFEST).exists():
        return ""
    return f"{count - len(plan.missing())} of {count} chunks are kept in {plan.folder}: --resume goes on"


def begin(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: Options,
    model: torch.nn.Module,
    **how: Any,
) -> Plan:
    """Plan the work and write its manifest, for `run` and `merge`; arguments as of `interpolate`.

    Raises:
        ValueError: as `interpolate`.
        VideoError: as `interpolate`; an earlier run of other options or another source.
    """
    with _begun(source, target, options, model, going_on="vfi run and vfi merge go", **how) as (plan, _):
        plan.write()
        return plan


@contextmanager
def _begun(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    options: Options,
    model: torch.nn.Module,
    *,
    device: torch.device | str = "cpu",
    overwrite: bool = False,
    resume: bool = False,
    warn: Warn = warnings.warn,
    going_on: str = "--resume goes",
) -> Iterator[tuple[Plan, int | None]]:
    """A plan and how many frames the output will have, None where nobody knows. What is in the work folder
    is of the same plan, and others are kept out until the block ends. What is left of an earlier run is told
    with what is `going_on` with it.
    """
    source, target = Path(source), Path(target)
    check_target(source, target, overwrite or resume)
    with open_source(source, options) as reader:
        schedule = cutting.schedule_for(reader, options)
        options = replace(
            options,
            model=options.model or type(model).__name__,
            weights=digest(model),
            device=torch.device(device).type,
        )
        marks = reader.marks()
        plan = plans.make(source, target, reader, marks, options)
        muxing.check(plan, reader, warn)
        total = schedule.at_most(cutting.end_of(reader, marks), len(marks))
    with plan.held():
        if any(path.name != plans.LOCK for path in plan.folder.iterdir()):
            _go_on(plan, overwrite, resume, going_on)
        _warn_of_space(plan, warn)
        yield plan, total


def _go_on(plan: Plan, overwrite: bool, resume: bool, going_on: str) -> None:
    if not resume and not overwrite:
        raise VideoError(
            f"{plan.folder}: holds what is left of an earlier run; {going_on} on with it, "
            "--overwrite begins again"
        )
    if not resume or not (plan.folder / plans.MANIFEST).exists():
        if maker := plan.maker():
            raise VideoError(f"{plan.folder}: {maker} is making chunks in it; wait for it or end it")
        plan.discard()
        return
    if difference := plans.read(plan.folder).difference(plan):
        raise VideoError(
            f"{plan.folder}: was begun with {difference}; --overwrite without --resume begins again"
        )
    plan.clear_unfinished()


def _warn_of_space(plan: Plan, warn: Warn) -> None:
    """What the encoder will need nobody knows: more frames than the source has, but likely made smaller."""
    guess = 2 * plan.size  # the chunks, and the output that they are merged to
    if plan.free < guess:
        warn(f"{plans.in_words(plan.free)} are free on the disk; about {plans.in_words(guess)} may be needed")


def check_target(source: Path, target: Path, overwrite: bool) -> None:
    """
    Raises:
        VideoError: the output's name is the source's or taken, or its folder is missing.
    """
    if not target.parent.is_dir():
        raise VideoError(f"{target.parent}: no such folder")
    if sequences.is_images(target) and ("%" in target.name or not target.suffix):
        _check_images(source, target, overwrite)
    elif target.exists():
        if not target.is_file():
            raise VideoError(f"{target}: is not a file")
        if source.exists() and target.samefile(source):
            raise VideoError(f"{target}: is the input itself; give the output another name")
        if not overwrite:
            raise VideoError(f"{target}: exists already; --overwrite replaces it")


def _is_there(target: Path) -> bool:
    return any(path.exists() for path in sequences.written(target))


def _check_images(source: Path, target: Path, overwrite: bool) -> None:
    sequences.codec_of(target)
    taken = sequences.existing(target)
    if images.is_images(source) and set(taken) & set(images.files_of(source, gaps=True, force=True)):
        raise VideoError(f"{target}: is the input itself; give the output another name")
    if target.is_file():
        raise VideoError(f"{target}: is a file; a folder of images needs another name")
    if taken and not overwrite:
        raise VideoError(f"{taken[0]}: exists already; --overwrite replaces all images of that pattern")
