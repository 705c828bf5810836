"""The commands about models: `vfi models` and `vfi convert`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["add_commands", "model_for"]


def add_commands(commands: argparse._SubParsersAction, file: Callable[[str], Path]) -> None:
    """Adds both to the command line; `file` reads an argument that names one."""
    listing = commands.add_parser(
        "models",
        help="the models, and where their weights are",
        description="List the models: name, parameters, licence and source of the released weights.",
    )
    listing.set_defaults(run=_list)

    convert = commands.add_parser(
        "convert",
        help="rewrite a file of weights as safetensors",
        description="Read IN, a file of weights as its authors released it, and write it as safetensors. "
        "No code of the file is run.",
    )
    convert.add_argument("input", metavar="IN", type=file, help="file of weights")
    convert.add_argument("output", metavar="OUT.safetensors", type=file, help="file to write")
    convert.add_argument("--model", metavar="NAME", help="what the weights are for (default: what they fit)")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    convert.set_defaults(run=lambda options: _convert(convert, options))


def model_for(parser: argparse.ArgumentParser, name: str | None, checkpoint: Path | None) -> str:
    """The model that `--model` and `--checkpoint` ask for together."""
    from .models import checkpoints, registry

    if name is None:
        return "flow" if checkpoint is None else _detected(checkpoint, checkpoints.read(checkpoint))
    try:
        learned = registry.entry(name).learned
    except ValueError as error:
        parser.error(f"argument --model: {error}")
    if learned and checkpoint is None:
        parser.error(f"argument --model: {name} needs --checkpoint FILE; vfi models says where weights are")
    if checkpoint is not None and not learned:
        parser.error(f"argument --checkpoint: {name} has no weights")
    return name


def _detected(path: Path, state: dict) -> str:
    from .models import CheckpointError, checkpoints, registry

    fitting = registry.detect(state)
    if not fitting:
        raise CheckpointError(f"{path} {registry.advice(state)}")
    noted = checkpoints.intended(path)
    if noted in fitting:
        return noted
    if "rife_2r" in fitting:
        print(f"vfi: warning: {path} fits rife and rife_2r; --model rife is taken", file=sys.stderr)
    return fitting[0]


def _list(options: argparse.Namespace) -> int:
    from .models import registry

    rows = [("name", "parameters", "licence of the weights", "where")]
    for name in registry.names():
        known = registry.entry(name)
        count = sum(math.prod(shape) for shape in registry.parameters(name)) if known.learned else 0
        rows.append((name, f"{count:,}" if count else "-", known.licence or "-", known.source or "-"))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for name, count, licence, source in rows:
        print(f"{name:{widths[0]}}  {count:>{widths[1]}}  {licence:{widths[2]}}  {source}")
    return 0


def _convert(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from .models import checkpoints, registry

    if options.output.suffix != ".safetensors":
        parser.error(f"argument OUT.safetensors: expected a name that ends so; got {str(options.output)!r}")
    if options.model is not None:
        model_for(parser, options.model, options.input)
    if options.output.exists() and not options.overwrite:
        raise FileExistsError(f"{options.output}: exists already; --overwrite replaces it")
    state = checkpoints.read(options.input)
    name = options.model or _detected(options.input, state)
    kept = registry.fitted(name, state, options.input)
    checkpoints.write(options.output, kept, name)
    print(f"{options.output}: {name}, {len(kept)} tensors")
    return 0
