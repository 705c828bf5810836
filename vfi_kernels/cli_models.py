"""The commands about models: `vfi models` and `vfi convert`."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from .cli_common import warn

__all__ = ["add_commands", "add_model", "add_options", "model_for", "options_for"]


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
    _add_model_option(convert, "that goes with the weights, as mode=extrapolate for dvf: noted in OUT")
    convert.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    convert.set_defaults(run=lambda options: _convert(convert, options))


def add_model(command: argparse.ArgumentParser, file: Callable[[str], Path]) -> None:
    """Adds what says which model makes the frames."""
    command.add_argument(
        "--model",
        metavar="NAME",
        help="one of those that vfi models lists (default: what --checkpoint fits; without one flow_refined "
        "on a GPU, flow on a CPU)",
    )
    command.add_argument(
        "--checkpoint", metavar="FILE", type=file, help="weights of the model, as its authors released them"
    )
    add_options(command)


def add_options(command: argparse.ArgumentParser) -> None:
    """Adds the model's own arguments, and how its network runs."""
    _add_model_option(command, "as scale=0.5 or tta=true: docs/models.md")
    command.add_argument(
        "--precision",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="what the network's layers compute in; flow stays float32 (default: %(default)s)",
    )
    command.add_argument(
        "--channels-last", action="store_true", help="lay the network out as GPUs want it in half precision"
    )
    command.add_argument(
        "--compile",
        action="store_true",
        help="compile the network with torch.compile, which takes a minute and makes every frame quicker",
    )


def _add_model_option(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument(
        "--model-option",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help=f"an argument of the model, {what}; may be repeated",
    )


def options_for(
    parser: argparse.ArgumentParser, name: str, arguments: argparse.Namespace, checkpoint: Path | None
) -> dict[str, Any]:
    """What `models.create` is to be given for model `name`: the options noted in its file, those of
    `add_options`, and nothing where the default is asked for."""
    from .models import checkpoints

    noted = checkpoints.noted(checkpoint) if checkpoint and checkpoints.intended(checkpoint) == name else {}
    run = {} if arguments.precision == "float32" else {"precision": arguments.precision}
    run |= {flag: True for flag in ("channels_last", "compile") if getattr(arguments, flag)}
    own = _own_options(parser, name, arguments.model_option)
    return (_warned(name, checkpoint, noted | own) if checkpoint else own) | run


def _warned(name: str, checkpoint: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What is found of the options, and after a warning the defaults of those that decide and nobody says."""
    from .models import registry

    guessed = registry.guessed(name, found)
    for option, default in guessed.items():
        _warn_once(
            f"{checkpoint} does not say what {name} was trained for; {option}={default} is taken, and "
            f"--model-option {option}=VALUE says otherwise"
        )
    return found | guessed


@cache
def _warn_once(message: str) -> None:
    """Of one file, however many videos are made by it."""
    warn(message)


def _own_options(parser: argparse.ArgumentParser, name: str, given: list[str]) -> dict[str, Any]:
    """The arguments of model `name` that `--model-option` gives, KEY=VALUE each."""
    from .models import registry

    known = registry.options(name)
    pairs = (text.partition("=")[::2] for text in given)
    found = {key: _read(value, known.get(key)) for key, value in pairs}
    try:
        registry.check(name, found)
        registry.blank(name, **found)
    except ValueError as error:
        parser.error(f"argument --model-option: {error}")
    return found


def _read(text: str, default: object) -> object:
    """A value of the kind that the default is of; as it is where it is none."""
    if isinstance(default, bool):
        return {"false": False, "true": True}.get(text, text)
    try:
        return float(text) if isinstance(default, float) else text
    except ValueError:
        return text


def model_for(
    parser: argparse.ArgumentParser, name: str | None, checkpoint: Path | None, device: str = "cpu"
) -> str:
    """The model that `--model` and `--checkpoint` ask for together, and where they do not, the best that is
    not slow: beside the search for flow, the network of flow_refined is nothing to a GPU and most of the time
    on a CPU.
    """
    from .models import checkpoints, registry

    if name is None and checkpoint is None:
        return "flow" if device.startswith("cpu") else "flow_refined"
    if name is None:
        return _detected(checkpoint, checkpoints.read(checkpoint))
    try:
        known = registry.entry(name)
    except ValueError as error:
        parser.error(f"argument --model: {error}")
    if known.learned and known.weights is None and checkpoint is None:
        parser.error(f"argument --model: {name} needs --checkpoint FILE; vfi models says where weights are")
    if checkpoint is not None and not known.learned:
        parser.error(f"argument --model: {name} has no weights; --checkpoint is for models that learn")
    return name


def _detected(path: Path, state: dict) -> str:
    name, *others = _fitting(path, state)
    if "rife_2r" in others:  # the others that share shapes are one network
        warn(f"{path} fits rife and rife_2r; --model rife is taken")
    return name


def _fitting(path: Path, state: dict) -> list[str]:
    """The model that is noted in a file, or all that it fits."""
    from .models import CheckpointError, checkpoints, registry

    fitting = registry.detect(state)
    if not fitting:
        raise CheckpointError(f"{path} {registry.advice(state)}")
    noted = checkpoints.intended(path)
    return [noted] if noted in fitting else fitting


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
    name, *others = [options.model] if options.model else _fitting(options.input, state)
    if others and options.model_option:
        parser.error(f"argument --model-option: needs --model, since {options.input} fits several")
    kept = registry.fitted(name, state, options.input)
    own = registry.told(name, state, options.input) | _own_options(parser, name, options.model_option)
    _warned(name, options.input, own)  # what is guessed is not noted
    checkpoints.write(options.output, kept, None if others else name, own)
    unsure = ", which --model NAME would note" if others else ""
    print(f"{options.output}: {' or '.join([name, *others])}{unsure}, {len(kept)} tensors")
    return 0
