"""Every model from the command line, on real clips, with weights in files as the authors released theirs."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

import released
from shared import SHARED

from vfi_kernels import cli, models, video
from vfi_kernels.models import checkpoints, registry
from vfi_kernels.video import Encoding, Writer

SYSTEMS = {"sepconv++": "resepconv"}  # as the goldens call it
CLIPS = ("carphone", "bigbuckbunny")
SIZE = (176, 144)  # of carphone
# One of each kind of network, at a clip's own size, and two that are quick at 1280x720.
KINDS = ("dvf", "sepconv", "sepconv++", "superslomo", "rife", "rife_m", "rife_2r")
KINDS += ("rife_v4.0", "rife_v4.6", "rife_v4.10", "rife_v4.21", "rife_v4.25", "flow_refined")
NATIVE = [(name, "carphone") for name in KINDS]
NATIVE += [(name, "bigbuckbunny") for name in ("rife_v4.15.lite", "rife_v4.22.lite")]
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first two frames of both, small."""
    folder = tmp_path_factory.mktemp("clips")
    return [beginning(name, folder, 2, SIZE) for name in CLIPS]


def beginning(name: str, folder: Path, count: int, size: tuple[int, int] | None = None) -> Path:
    """The first frames of a clip, without loss."""
    source, made = SHARED / "clips" / f"{name}.mp4", folder / f"{name}.mkv"
    if not source.is_file():
        pytest.skip(f"{source} is absent: the clips are not part of the project")
    with video.Reader(source) as reader:
        frames = [frame.reformat(*size) if size else frame for frame, _ in islice(reader.frames(), count)]
        with Writer(made, Encoding(made, frames[0], fps=reader.rate, codec="ffv1")) as writer:
            for number, frame in enumerate(frames):
                writer.write(frame, number)
    return made


@pytest.fixture(scope="module")
def files() -> dict[object, Path]:
    """Weights that are written already, by what tells one network from another."""
    return {}


def weights(name: str, folder: Path) -> Path:
    """The golden's, in the released wrapping; of a model without goldens, those that it begins with."""
    system = SYSTEMS.get(name, name)
    version = name.startswith("rife_v")
    if not version and not (released.GOLDENS / f"shapes_{system}.json").is_file():
        checkpoints.write(folder / "own.safetensors", models.create(name).state_dict(), name)
        return folder / "own.safetensors"
    if version:  # as the goldens of 4.0 and 4.6
        last = [tensor for tensor in released.shapes(system) if "lastconv" in tensor]
        seed, gains = 0, {tensor: 0.02 if tensor.endswith("weight") else 4.0 for tensor in last}
    else:
        about, _ = released.golden(f"{system}.a")
        seed, gains = about["seed"], about["gains"]
    return released.save(folder / "weights", system, released.weights(system, seed, gains))


class Runs:
    """Of one model, in Python and on the command line, with the same weights."""

    def __init__(self, name: str, files: dict[object, Path], folder: Path) -> None:
        given: dict[str, Path] = {}
        if registry.entry(name).learned:
            network = registry.entry(name).network
            if network not in files:
                files[network] = weights(name, folder)
            given["checkpoint"] = files[network]
        own = {"mode": "interpolate"} if name == "dvf" else {}  # its files do not say
        self.model = models.create(name, **given, **own)
        self.options = ["--model", name, "--codec", "ffv1"]
        self.options += [part for key, path in given.items() for part in (f"--{key}", str(path))]
        self.options += [part for key, value in own.items() for part in ("--model-option", f"{key}={value}")]

    def compare(self, clip: Path, target: Path, count: int, factor: int) -> None:
        """`vfi interpolate` makes between the frames of a clip what the model makes between them."""
        command = ["interpolate", str(clip), str(target), "--factor", str(factor)]
        assert cli.main([*command, *self.options]) == 0
        frames = [video.to_tensor(frame) for frame in video.rgb_frames(target)]
        assert len(frames) == count * factor
        assert frames[0].shape[-2:] == next(video.rgb_frames(clip)).shape[:2]
        # Nothing follows the last frame of the clip.
        assert torch.equal(frames[-factor], frames[-1])
        times = [i / factor for i in range(1, factor)]
        for start in range(0, (count - 1) * factor, factor):
            before, *made, after = frames[start : start + factor + 1]
            assert not torch.equal(before, after)
            with torch.inference_mode():
                expected = self.model.interpolate(before, after, times)[0]
            # In luma, since the clips have colour at half the size and random weights make much of it.
            difference = (torch.cat(made) - expected) * LUMA
            assert difference.sum(1).abs().mean((1, 2)).max() < 0.02


needs_goldens = pytest.mark.skipif(
    not released.GOLDENS.is_dir(), reason="the goldens are not part of the project"
)


@needs_goldens
@pytest.mark.parametrize("name", models.names())
def test_real_clips(
    name: str,
    clips: list[Path],
    files: dict[object, Path],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = Runs(name, files, tmp_path_factory.mktemp("weights"))
    for clip in clips:
        runs.compare(clip, tmp_path_factory.mktemp("made") / "out.mkv", 2, 2)
    assert capsys.readouterr() == ("", "")


@needs_goldens
@pytest.mark.parametrize(("name", "clip"), NATIVE)
def test_clips_at_their_own_size(
    name: str, clip: str, files: dict[object, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Three frames, and where the model knows any time three between two."""
    folder = tmp_path_factory.mktemp("native")
    runs = Runs(name, files, folder)
    runs.compare(beginning(clip, folder, 3), folder / "out.mkv", 3, 2 if runs.model.middle_only else 4)
