"""The loop that trains: a recipe and a folder -> weights."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from .. import models
from . import saving, schedules, sources
from .build import objective, optimiser
from .journal import Journal
from .objectives import Batch, Outcome
from .processes import Group
from .recipes import Recipe, RecipeError, differences, dump

__all__ = ["Diverged", "Trainer"]

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Diverged(RuntimeError):
    """A loss or a gradient that is NaN or infinite; the message names the file with the batch."""


class Trainer:
    """One training, in a folder:

    recipe.yaml; checkpoints/step-*.pt; model.safetensors, the weights of the last checkpoint, for
    `models.create`; log.jsonl and TensorBoard's events, see `Journal`; diverged/ where it did.

    Args:
        group: the processes that take part.
        resume: whether to go on from the newest checkpoint in the folder, if there is one. Without, a folder
            with checkpoints is refused, and so is going on by a recipe that would have learned otherwise.
    """

    def __init__(self, recipe: Recipe, folder: Path, group: Group, *, resume: bool = False) -> None:
        self.recipe, self.folder, self.group = recipe, folder, group
        if recipe.batch % (group.size * recipe.accumulate):
            raise RecipeError(
                f"batch {recipe.batch} cannot be divided into {recipe.accumulate} parts on each of "
                f"{group.size} processes"
            )
        found = saving.newest(folder / "checkpoints")
        if found is not None and not resume:
            raise FileExistsError(f"{folder}: holds a training already; --resume goes on with it")
        state = None if found is None else saving.load(found)
        if state is not None:
            self._compare(state["recipe"])
        self.source = sources.dataset(recipe.data, recipe.seed, flows=recipe.objective.name == "known_flow")
        self.held_out = sources.held_out(recipe)
        self.steps = recipe.steps or math.ceil(recipe.epochs * len(self.source) / recipe.batch)
        self.objective = objective(recipe).to(group.device)
        self.model: nn.Module = self.objective.model
        for where, data in (("data", recipe.data), ("validation.data", recipe.validation.data)):
            if data is None or not self.model.middle_only:
                continue
            if sources.any_time(data, drawn=where == "data"):
                raise RecipeError(
                    f"{where}: {recipe.model.name} knows the middle only, and there are other times"
                )
        if recipe.channels_last:
            self.objective.to(memory_format=torch.channels_last)
        self.optimiser = optimiser(recipe.optimiser, self.model)
        self.scaler = torch.amp.GradScaler(group.device.type, enabled=recipe.precision == "float16")
        self.average = None
        if recipe.average is not None:
            mean = get_ema_multi_avg_fn(recipe.average)
            self.average = AveragedModel(self.model, multi_avg_fn=mean, use_buffers=True)
        self.done = 0
        if state is not None:
            self._restore(state)
        if recipe.compile:
            self.objective.compile()
        self.parallel: nn.Module = self.objective
        if group.size > 1:
            devices = [group.device.index] if group.device.type == "cuda" else None
            self.parallel = DistributedDataParallel(self.objective, device_ids=devices)

    def run(self) -> int:
        """Train to the end, or until SIGINT or SIGTERM: then the step is finished and a checkpoint written.

        Returns:
            0, or 128 and the signal's number.

        Raises:
            Diverged: the weights are as before the step that it is about.
        """
        recipe, group = self.recipe, self.group
        if group.leads:
            text = dump(recipe)
            saving.place(self.folder / "recipe.yaml", lambda path: path.write_text(text))
        numbers = sources.parts(recipe, group.rank, group.size, self.done, self.steps)
        batches = sources.stream(self.source, recipe.data.workers, numbers, group.device)
        journal = nullcontext()
        if group.leads:
            journal = Journal(self.folder, self.done, self.steps, recipe.batch)
        with journal as told, _signals() as signals:
            while self.done < self.steps:
                began = time.monotonic()
                parts = [self._laid_out(next(batches)) for _ in range(recipe.accumulate)]
                waited = time.monotonic() - began
                terms, gradient, outcome, stop = self.step(parts, signals)
                ended = self.done == self.steps
                stop = 0 if ended else stop  # nothing is left to stop
                if told is not None:
                    told.waited(waited)
                    if ended or stop or self.done % recipe.log == 0:
                        told.step(self.done, terms, self.rate, gradient)
                # What asks to stop may not wait for a validation. Otherwise a checkpoint comes after it: none
                # is left out by a training that goes on from there.
                if stop:
                    self.save()
                    if told is not None:
                        told.stopped(self.done, signal.Signals(stop).name)
                if ended or self.done % recipe.validation.every == 0:
                    psnr, blend = self.validate()
                    if told is not None:
                        told.validation(self.done, psnr, blend)
                        told.pictures(self.done, parts[-1], outcome)
                if stop:
                    return 128 + stop
                if ended or self.done % recipe.save == 0:
                    self.save()
        return 0

    def step(self, parts: list[Batch], signals: list[int]) -> tuple[dict[str, float], float, Outcome, int]:
        """One step of the optimiser.

        Args:
            signals: what this process received so far.

        Returns:
            The terms of the loss, over all processes; the length of the gradient; what the last batch came
            to; and a signal that any process received, or 0.
        """
        recipe, device = self.recipe, self.group.device
        rate = recipe.optimiser.rate * schedules.share(recipe.schedule, self.done, self.steps)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        # Whatever a model draws is a matter of the step alone: nothing to save.
        torch.manual_seed(hash((recipe.seed, self.done, self.group.rank)))
        self.objective.train()
        count = len(parts) * self.group.size
        sums: Tensor | float = 0.0
        for i, batch in enumerate(parts):
            with self._alone(i + 1 < len(parts)):
                with torch.autocast(
                    device.type, DTYPES[recipe.precision], enabled=recipe.precision != "float32"
                ):
                    outcome = self.parallel(batch)
                self.scaler.scale(outcome.loss / len(parts)).backward()
            sums = sums + torch.stack([term.detach().float() for term in outcome.terms.values()]) / count
        self.scaler.unscale_(self.optimiser)
        gradient = clip_grad_norm_(self.model.parameters(), recipe.optimiser.clip or math.inf)
        # One look at the device for all of it, and all processes come to the same conclusion.
        mine = signals[0] if signals else 0
        facts = self.group.sum(torch.cat([sums, sums.new_tensor([bool(mine)])]))
        *values, asked, length = torch.cat([facts, gradient.float().view(1)]).tolist()
        terms = dict(zip(outcome.terms, values, strict=True))
        # float16's scaler tries larger scales until gradients overflow, and leaves such a step out.
        if not all(map(math.isfinite, values if self.scaler.is_enabled() else [*values, length])):
            raise self._diverged(parts, terms, length)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.done += 1
        return terms, length, outcome, (mine or signal.SIGTERM) if asked else 0

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return self.optimiser.param_groups[0]["lr"]

    @property
    def result(self) -> nn.Module:
        """The model that is validated and written."""
        return self.model if self.average is None else self.average.module

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """PSNR in dB of the model, and of `blend`, over all frames together that are not trained on.

        By the mean of the squared error and not of the frames' PSNR: where nothing moves `blend` is perfect,
        and a few such frames would decide.
        """
        model, blend = self.result.eval(), models.create("blend")
        mine = sources.samples(
            self.held_out, self.recipe.validation.samples, self.group.rank, self.group.size
        )
        errors = torch.zeros(3, dtype=torch.float64, device=self.group.device)
        for sample in mine:
            batch = {name: tensor.to(self.group.device) for name, tensor in sample.items()}
            for i, each in enumerate((model, blend)):
                made = each(batch["frame0"], batch["frame1"], batch["timestep"]).clamp(0, 1)
                errors[i] += (made - batch["target"]).double().square().mean()
            errors[2] += 1
        *errors, count = self.group.sum(errors).tolist()
        psnr, baseline = (-10 * math.log10(max(error / count, 1e-10)) for error in errors)
        return psnr, baseline

    def save(self) -> None:
        """The weights, and a checkpoint. Processes are alike, so one of them writes."""
        if not self.group.leads:
            return
        state = {
            "step": self.done,
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        model = self.recipe.model
        # First: a training whose last checkpoint is there has nothing left to do.
        saving.write_weights(
            self.folder / "model.safetensors", self.result.state_dict(), model.name, model.options
        )
        saving.write_checkpoint(self.folder / "checkpoints", self.done, state, self.recipe.keep)

    def _compare(self, begun: dict[str, Any]) -> None:
        old, new = (" ".join(values) for values in differences(begun, self.recipe))
        if old:
            raise RecipeError(
                f"{self.folder}: was begun with {old}, and not with {new}; go on with the former "
                f"({self.folder / 'recipe.yaml'} has all of it), or train another from its weights: "
                f"model.checkpoint={self.folder / 'model.safetensors'} --out OTHER"
            )

    def _restore(self, state: dict[str, Any]) -> None:
        if state["step"] > self.steps:
            raise RecipeError(f"steps: {state['step']} are done in {self.folder}; got {self.steps}")
        self.model.load_state_dict(state["model"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.done = state["step"]

    def _laid_out(self, batch: Batch) -> Batch:
        if self.recipe.channels_last:
            batch = {
                name: tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
                for name, tensor in batch.items()
            }
        if self.group.device.type == "cuda":
            torch.cuda.synchronize()  # so that time spent on making data counts as that
        return batch

    def _alone(self, alone: bool) -> Any:
        """Whether gradients stay in this process, and are summed with the next part's."""
        return self.parallel.no_sync() if alone and self.group.size > 1 else nullcontext()

    def _diverged(self, parts: list[Batch], terms: dict[str, float], gradient: float) -> Diverged:
        path = self.folder / "diverged" / f"step-{self.done:08}-process-{self.group.rank}.pt"
        state = {"step": self.done, "terms": terms, "gradient": gradient, "batches": parts}
        saving.place(path, lambda unfinished: torch.save(state, unfinished))
        told = ", ".join(f"{name} {value:.4g}" for name, value in terms.items())
        return Diverged(
            f"step {self.done}: loss is not finite ({told}; gradient {gradient:.4g}); its batch is in {path}"
        )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that ask to stop, as they come; the step under way is finished first."""
    received: list[int] = []

    before: dict[int, Callable | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        for name in (signal.SIGINT, signal.SIGTERM):
            before[name] = signal.signal(name, lambda number, _: received.append(number))
    try:
        yield received
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
