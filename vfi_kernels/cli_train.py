"""The command `vfi train`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .cli_common import device

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Adds it to the command line."""
    train = commands.add_parser(
        "train",
        help="train a model by a recipe",
        description="Train by RECIPE, a YAML file or the name of one in the package, into a folder. SIGINT "
        "and SIGTERM finish the step, save and stop. Several processes: torchrun --no-python vfi train ...",
    )
    train.add_argument("recipe", metavar="RECIPE", nargs="?", help="file.yaml, or one of --list")
    train.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        help="in place of what RECIPE says: batch=4",
    )
    train.add_argument("--list", action="store_true", help="list the recipes in the package")
    train.add_argument("--show", action="store_true", help="print the whole recipe and do nothing")
    train.add_argument(
        "--out", metavar="FOLDER", type=Path, help="folder of the training (default: runs/RECIPE's name)"
    )
    train.add_argument(
        "--resume", action="store_true", help="go on from FOLDER's newest checkpoint, if there is one"
    )
    train.add_argument(
        "--no-perceptual", action="store_true", help="without the perceptual loss: no weights of VGG needed"
    )
    train.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    train.intermixed = True
    train.set_defaults(run=lambda options: _train(train, options))


def _train(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    from .training import recipes

    if options.list:
        width = max(map(len, recipes.names()))
        for name in recipes.names():
            print(f"{name:{width}}  {recipes.load(name).about}")
        return 0
    if options.recipe is None:
        parser.error("expected RECIPE; --list tells which there are")
    overrides = [*options.overrides, *(["objective.perceptual=null"] if options.no_perceptual else [])]
    try:
        recipe = recipes.load(options.recipe, overrides)
    except recipes.RecipeError as error:
        parser.error(str(error))
    if options.show:
        print(recipes.dump(recipe), end="")
        return 0
    return _run(parser, recipe, options)


def _run(parser: argparse.ArgumentParser, recipe: object, options: argparse.Namespace) -> int:
    import torch

    from .training.processes import own, together
    from .training.recipes import RecipeError
    from .training.trainer import Trainer

    name = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    place = device(parser, own(name))
    folder = options.out or Path("runs") / Path(options.recipe).stem
    with together(place) as group:
        try:
            return Trainer(recipe, folder, group, resume=options.resume).run()
        except RecipeError as error:
            parser.error(str(error))
        except ValueError as error:  # of the data; where the layout is wrong, with the tree that is expected
            print("vfi: error:", error, file=sys.stderr)
            return 1
