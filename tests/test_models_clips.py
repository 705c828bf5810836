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
FACTOR = 2
LUMA = torch.tensor([0.299, 0.587, 0.114])[:, None, None]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The first frames of both, small, without loss."""
    folder, made = tmp_path_factory.mktemp("clips"), []
    for name in CLIPS:
        source = SHARED / "clips" / f"{name}.mp4"
        if not source.is_file():
            pytest.skip(f"{source} is absent: the clips are not part of the project")
        made.append(folder / f"{name}.mkv")
        with video.Reader(source) as reader:
            small = [frame.reformat(*SIZE) for frame, _ in islice(reader.frames(), 2)]
            with Writer(made[-1], Encoding(made[-1], small[0], fps=reader.rate, codec="ffv1")) as writer:
                for number, frame in enumerate(small):
                    writer.write(frame, number)
    return made


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
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


@pytest.mark.skipif(not released.GOLDENS.is_dir(), reason="the goldens are not part of the project")
@pytest.mark.parametrize("name", models.names())
def test_real_clips(
    name: str,
    clips: list[Path],
    files: dict[str, Path],
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`vfi interpolate` makes between frames of a clip what the model makes between them."""
    given: dict[str, Path] = {}
    if registry.entry(name).learned:
        network = str(registry.blank(name))
        if network not in files:
            files[network] = weights(name, tmp_path_factory.mktemp("weights"))
        given["checkpoint"] = files[network]
    own = {"mode": "interpolate"} if name == "dvf" else {}  # its files do not say
    model = models.create(name, **given, **own)
    options = [part for key, path in given.items() for part in (f"--{key}", str(path))]
    options += [part for key, value in own.items() for part in ("--model-option", f"{key}={value}")]
    for clip in clips:
        target = tmp_path_factory.mktemp("made") / "out.mkv"
        command = ["interpolate", str(clip), str(target), "--codec", "ffv1", "--factor", str(FACTOR)]
        assert cli.main([*command, "--model", name, *options]) == 0
        assert capsys.readouterr() == ("", "")
        frames = [video.to_tensor(frame) for frame in video.rgb_frames(target)]
        assert len(frames) == 2 * FACTOR
        assert torch.equal(frames[FACTOR], frames[-1])  # nothing follows the last frame of the clip
        assert not torch.equal(frames[0], frames[FACTOR])
        with torch.inference_mode():
            expected = model.interpolate(frames[0], frames[FACTOR], [1 / FACTOR])[0]
        # In luma, since the clips have colour at half the size and random weights make much of it.
        assert ((frames[1] - expected) * LUMA).sum(1).abs().mean() < 0.02
