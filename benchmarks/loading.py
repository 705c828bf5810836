"""How many training samples a second come from files or are made, beside how many the training takes.

    python benchmarks/loading.py [--recipes rife sepconv dvf default] [--workers 0 1 2] [--samples 48]
                                 [--rounds 3] [--batch 2] [--device cpu|cuda] [--json FILE]

The recipe's own stream and steps, with a smaller batch. Files are made first: triplets of 448x256 in PNG,
laid out like Vimeo90K, and noisy videos of 640x360 in MP4 (x264's defaults: key frames up to 250 frames
apart). They stay in the system's cache: this is the cost of decoding and augmenting, not of a disk. Neither
the workers' start nor the batches that they have ready are timed. `training.py` makes a table of the medians.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import limits
import numpy as np
import torch

from vfi_kernels.data import Limits, Synthetic
from vfi_kernels.training import recipes, sources
from vfi_kernels.training.processes import Group
from vfi_kernels.training.recipes import Recipe
from vfi_kernels.training.trainer import Trainer
from vfi_kernels.video.colour import to_image

FOLDERS = {"vimeo_triplets": "triplets", "clips": "videos"}
SEQUENCES, VIDEOS, FRAMES = 12, 2, 240
NOISE = 3  # of a sensor, in codes: without, a video would be too easily decoded


def write_data(root: Path) -> None:
    """Windows that move over wide pictures by 2 pixels a frame."""
    scenes = Synthetic((360, 640 + 2 * FRAMES), seed=1, length=SEQUENCES, limits=Limits(layers=2, blur=0))
    names = [f"00001/{k + 1:04}" for k in range(SEQUENCES)]
    for folder in FOLDERS.values():
        (root / folder).mkdir()
    (root / "triplets" / "tri_trainlist.txt").write_text("\n".join(names))
    for k, name in enumerate(names):
        picture = to_image(scenes[k]["frame0"])
        folder = root / "triplets" / "sequences" / name
        folder.mkdir(parents=True)
        for i in range(3):
            cv2.imwrite(str(folder / f"im{i + 1}.png"), picture[:256, 2 * i : 2 * i + 448, ::-1])
        if k < VIDEOS:
            write_video(root / "videos" / f"{k}.mp4", picture)


def write_video(path: Path, picture: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"g": "250"})
        video.width, video.height, video.pix_fmt = 640, 360, "yuv420p"
        for i in range(FRAMES):
            noisy = picture[:, 2 * i : 2 * i + 640] + NOISE * rng.standard_normal((360, 640, 1), np.float32)
            image = noisy.round().clip(0, 255).astype(np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode())


def loaded(recipe: Recipe, workers: int, samples: int, device: torch.device) -> float:
    """Samples a second that come from the recipe's stream."""
    source = sources.dataset(recipe.data, recipe.seed, flows=recipe.objective.name == "known_flow")
    count = -(-samples // recipe.batch)
    ready = 1 + 4 * workers  # what may lie prepared while nothing is timed
    numbers = sources.parts(recipe, 0, 1, 0, ready + count)
    batches = sources.stream(source, workers, numbers, device)
    for _ in islice(batches, ready):
        pass
    began = time.perf_counter()
    for batch in batches:
        float(batch["target"][0, 0, 0, 0])  # it is there
    return count * recipe.batch / (time.perf_counter() - began)


def taken(recipe: Recipe, steps: int, device: torch.device) -> float:
    """Samples a second that the recipe's steps take when data are there."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(recipe, Path(folder), Group(0, 1, device))
    parts = list(sources.stream(trainer.source, 0, sources.parts(recipe, 0, 1, 0, 1), device))
    trainer.step(parts, [])
    began = time.perf_counter()
    for _ in range(steps):
        trainer.step(parts, [])  # ends by reading the loss
    return steps * recipe.batch / (time.perf_counter() - began)


def measured(options: argparse.Namespace, name: str, root: Path) -> dict[str, Any]:
    changes = [f"batch={options.batch}"]
    if folder := FOLDERS.get(recipes.load(name).data.kind):
        changes.append(f"data.root={root / folder}")
    recipe, device = recipes.load(name, changes), torch.device(options.device)
    rates: dict[str, list[float]] = {}
    for _ in range(options.rounds):  # in turn: a disturbance meets all
        for workers in options.workers:
            rates.setdefault(f"workers_{workers}", []).append(
                loaded(recipe, workers, options.samples, device)
            )
        rates.setdefault("steps", []).append(taken(recipe, 2, device))
    samples = {what: [float(f"{rate:.3g}") for rate in sorted(several)] for what, several in rates.items()}
    told = ", ".join(f"{what} {statistics.median(several)}" for what, several in samples.items())
    print(f"{name}, samples a second: {told}", flush=True)
    return {"recipe": Path(name).stem, "data": recipe.data.kind, "batch": recipe.batch, "samples": samples}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipes", nargs="+", default=["rife", "sepconv", "dvf", "default"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=48, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    content = {"machine": limits.machine(options.device), "commit": limits.commit()}  # its load before ours
    print(f"load average {content['machine']['load_average']} before, {os.cpu_count()} processors")
    with tempfile.TemporaryDirectory() as root:
        write_data(Path(root))
        content["records"] = [measured(options, name, Path(root)) for name in options.recipes]
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
