"""Files of weights: every wrapping, wrong files, files that want to run code, and the commands."""

from __future__ import annotations

import dataclasses
import os
import pickle
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="the model 'flow' needs OpenCV")

import released
from clips import make_clip, times_of

from vfi_kernels import cli, models
from vfi_kernels.models import CheckpointError, checkpoints, registry
from vfi_kernels.models.rife_table import VERSIONS

SYSTEMS = ("dvf", "sepconv", "sepconv++", "superslomo", "rife", "rife_m", "rife_v4.6", "rife_v4.25")


def random_weights(name: str) -> dict[str, Tensor]:
    """By the names of the authors' own modules."""
    state = models.create(name).state_dict()
    return {n.replace(".", "/", 1) if name == "superslomo" else n: t for n, t in state.items()}


def file_for(folder: Path, name: str, **extra: Tensor) -> Path:
    return released.save(folder / f"{name}.pkl", name, {**random_weights(name), **extra})


@pytest.mark.parametrize("name", SYSTEMS)
def test_released_files_load(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = random_weights(name)
    path = released.save(tmp_path / "released", name, weights)
    model = models.create(name, checkpoint=path)
    assert not model.training
    state = {tensor.replace("/", "."): value for tensor, value in weights.items()}
    torch.testing.assert_close(dict(model.state_dict()), state, atol=0, rtol=0)
    assert name in registry.detect(checkpoints.read(path))

    converted = tmp_path / "converted.safetensors"
    assert cli.main(["convert", str(path), str(converted)]) == 0
    fitting = registry.detect(state)
    assert checkpoints.intended(converted) == (name if fitting == [name] else None)
    again = models.create(name, checkpoint=converted)
    torch.testing.assert_close(dict(again.state_dict()), state, atol=0, rtol=0)
    out, err = capsys.readouterr()
    assert f"{len(state)} tensors" in out
    assert bool(err) == (name == "dvf")  # whose mode nobody says
    assert all(fitting in out for fitting in registry.detect(state))


def test_other_forms_of_one_file(tmp_path: Path) -> None:
    """Without a prefix, in the format before zip, and in half precision."""
    state = random_weights("rife_v4.6")
    torch.save(state, tmp_path / "bare.pth")
    released.save(tmp_path / "old.pkl", "rife_v4.6", state, _use_new_zipfile_serialization=False)
    released.save(tmp_path / "half.pkl", "rife_v4.6", {n: t.half() for n, t in state.items()})
    for path in tmp_path.iterdir():
        model = models.create("rife_v4.6", checkpoint=path)
        for name, value in model.state_dict().items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, state[name], atol=1e-3, rtol=0)


def test_parts_of_superslomo_with_a_prefix(tmp_path: Path) -> None:
    """Saved from DistributedDataParallel, each part for itself."""
    state, parts = random_weights("superslomo"), {"state_dictFC": {}, "state_dictAT": {}}
    for name, tensor in state.items():
        part, _, rest = name.partition("/")
        parts["state_dictFC" if part == "flow_computation" else "state_dictAT"][f"module.{rest}"] = tensor
    torch.save(parts, tmp_path / "a.ckpt")
    made = models.create("superslomo", checkpoint=tmp_path / "a.ckpt").state_dict()
    expected = {name.replace("/", "."): tensor for name, tensor in state.items()}
    torch.testing.assert_close(dict(made), expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("one", "other"), [("conv4.bias", "module.conv4.bias"), ("netConv1.0.bias", "moduleConv1.0.bias")]
)
def test_two_names_for_one_weight(one: str, other: str, tmp_path: Path) -> None:
    torch.save({one: torch.zeros(3), other: torch.ones(3)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"{one} and {other} are two names of one tensor"):
        checkpoints.read(tmp_path / "a.pth")


def test_wrong_numbers(tmp_path: Path) -> None:
    """Of a dtype that weights have not, or that no frame can come of."""
    state, path = random_weights("dvf"), tmp_path / "a.pth"
    for name, wrong, message in (
        ("conv4.bias", torch.zeros(3, dtype=torch.int64), "conv4.bias is int64, weights are floating"),
        (
            "conv4.bias",
            torch.zeros(3, dtype=torch.complex64),
            "conv4.bias is complex64, weights are floating",
        ),
        (
            "conv4.bias",
            torch.full((3,), torch.nan),
            "NaN or infinity, which spoil every frame, 1 of 37: conv4.bias",
        ),
        ("conv1_bn.running_var", torch.full((64,), torch.inf), "1 of 37: conv1_bn.running_var"),
    ):
        torch.save({**state, name: wrong}, path)
        assert message in refusal("dvf", path)
        assert cli.main(["convert", str(path), str(tmp_path / "a.safetensors")]) == 1
    torch.save(
        {
            name: torch.full_like(tensor, torch.nan) if tensor.is_floating_point() else tensor
            for name, tensor in state.items()
        },
        path,
    )
    assert "37 of 37: conv1.weight, " in refusal("dvf", path)
    # What is not used is not looked at.
    extra = file_for(
        tmp_path, "rife_v4.25", **{"teacher.a": torch.tensor([torch.nan]), "caltime.n": torch.ones(1).int()}
    )
    models.create("rife_v4.25", checkpoint=extra)


def test_documented_extras_are_left_out(tmp_path: Path) -> None:
    more = {"teacher.conv0.weight": torch.rand(3), "caltime.0.bias": torch.rand(1)}
    path = file_for(tmp_path, "rife_v4.25", **more)
    assert "teacher.conv0.weight" not in models.create("rife_v4.25", checkpoint=path).state_dict()
    refined = file_for(
        tmp_path, "rife_v4.3", **{"unet.conv.bias": torch.rand(3), "contextnet.x": torch.rand(1)}
    )
    assert registry.detect(checkpoints.read(refined)) == ["rife_v4.2", "rife_v4.3", "rife_v4.4"]
    assert cli.main(["convert", str(refined), str(tmp_path / "out.safetensors")]) == 0
    assert (
        checkpoints.read(tmp_path / "out.safetensors").keys()
        == models.create("rife_v4.3").state_dict().keys()
    )
    with pytest.raises(CheckpointError, match=r"1 unexpected: unet\.conv\.bias"):
        models.create(
            "rife_v4.6", checkpoint=file_for(tmp_path, "rife_v4.6", **{"unet.conv.bias": torch.rand(3)})
        )


def test_a_converted_file_says_which_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Shapes cannot: those of rife and rife_2r are the same, those of versions of one network as well."""
    for name in ("rife_2r", "rife_v4.26"):
        path, target = file_for(tmp_path, name), tmp_path / f"{name}.safetensors"
        assert cli.main(["convert", str(path), str(target), "--model", name]) == 0
        assert checkpoints.intended(path) is None
        assert cli.main(["convert", str(target), str(tmp_path / "again.safetensors"), "--overwrite"]) == 0
        out, err = capsys.readouterr()
        assert f"again.safetensors: {name}, " in out
        assert err == ""
        models.create(name, checkpoint=target)
    models.create("rife_v4.25", checkpoint=target)  # the same network
    # Where several fit and nobody says which, none is noted: a note would be a guess.
    assert cli.main(["convert", str(path), str(target), "--overwrite"]) == 0
    assert "rife_v4.25 or rife_v4.26, which --model NAME would note" in capsys.readouterr().out
    assert checkpoints.intended(target) is None
    again = ["convert", str(path), str(target), "--overwrite", "--model-option", "scale=0.5"]
    assert cli.main(again) == 2
    assert "argument --model-option: needs --model" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="holds weights of rife_2r, of the same shapes as rife's"):
        models.create("rife", checkpoint=tmp_path / "rife_2r.safetensors")
    # A note that cannot be true does not count.
    checkpoints.write(target, random_weights("rife_v4.6"), "dvf")
    assert cli.main(["convert", str(target), str(tmp_path / "again.safetensors"), "--overwrite"]) == 0
    assert "again.safetensors: rife_v4.6, " in capsys.readouterr().out


def test_networks_are_compared_and_not_how_they_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of the same shapes that differ in scales alone print alike."""
    other = dataclasses.replace(VERSIONS["4.15.lite"], scales=(16, 8, 4, 2))
    monkeypatch.setitem(VERSIONS, "9.9", other)
    monkeypatch.setitem(registry.MODELS, "rife_v9.9", registry.Entry(partial(registry.RIFE4, "9.9"), "MIT"))
    checkpoints.write(tmp_path / "a.safetensors", random_weights("rife_v4.15.lite"), "rife_v9.9")
    assert "holds weights of rife_v9.9, of the same shapes" in refusal(
        "rife_v4.15.lite", tmp_path / "a.safetensors"
    )
    networks = {name: registry.entry(name).network for name in models.names()}
    assert networks["rife_v4.25"] == networks["rife_v4.26"]
    assert networks["rife"] != networks["rife_2r"]


def test_multiscale_files_tell_their_form(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Their tensors do; whether they interpolate only a note does, and `vfi convert` writes one."""
    large = models.create("dvf", multiscale=True)
    path, target = tmp_path / "large.pth", tmp_path / "large.safetensors"
    torch.save(large.state_dict(), path)
    assert cli.main(["convert", str(path), str(target), "--model-option", "mode=extrapolate"]) == 0
    out, err = capsys.readouterr()
    assert f"large.safetensors: dvf, {len(large.state_dict())} tensors" in out
    assert err == ""
    assert checkpoints.noted(target) == {"multiscale": True, "mode": "extrapolate"}
    guess = pytest.warns(UserWarning, match=r"large\.pth does not say .*; mode='interpolate' is taken$")
    for file, mode, told in ((path, "interpolate", guess), (target, "extrapolate", nullcontext())):
        with told:
            again = models.create("dvf", checkpoint=file)
        assert (len(again.coarse), again.mode) == (2, mode)
        torch.testing.assert_close(dict(again.state_dict()), dict(large.state_dict()), atol=0, rtol=0)
    assert models.create("dvf", checkpoint=target, mode="interpolate").mode == "interpolate"
    with pytest.raises(CheckpointError, match="fits dvf with multiscale=True"):
        models.create("dvf", checkpoint=path, multiscale=False)
    assert "It fits dvf with multiscale=True" in refusal("rife", path)
    # Converted again it keeps its note, and that is not asked for any more.
    assert cli.main(["convert", str(target), str(tmp_path / "again.safetensors")]) == 0
    assert capsys.readouterr().err == ""
    assert checkpoints.noted(tmp_path / "again.safetensors") == checkpoints.noted(target)


def test_wrong_notes(tmp_path: Path) -> None:
    path, state = tmp_path / "a.safetensors", random_weights("dvf")
    checkpoints.write(path, state, "dvf", {"speed": 1})
    assert "notes options that are none: dvf has" in refusal("dvf", path)
    save_file(state, path, {"model": "dvf", "options": "{"})
    assert "notes options that are none: {" in refusal("dvf", path)


def test_counters_of_old_files(tmp_path: Path) -> None:
    state = {n: t for n, t in random_weights("dvf").items() if "num_batches" not in n}
    models.create("dvf", checkpoint=released.save(tmp_path / "dvf.pth", "dvf", state))


def refusal(name: str, path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        models.create(name, checkpoint=path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_models_file(tmp_path: Path) -> None:
    line = refusal("rife_v4.6", file_for(tmp_path, "rife_v4.8"))
    assert (
        "does not fit rife_v4.6: 4 unexpected: encode.0.weight, encode.0.bias, encode.1.weight, ...;" in line
    )
    assert "block0.conv0.0.0.weight [96, 15, 3, 3] in place of [96, 7, 3, 3]" in line
    assert line.endswith("It fits rife_v4.7, rife_v4.8, rife_v4.9")
    assert "It fits dvf" in refusal("sepconv", file_for(tmp_path, "dvf"))


def test_incomplete_file(tmp_path: Path) -> None:
    state = random_weights("rife_v4.6")
    del state["block2.lastconv.0.bias"]
    line = refusal("rife_v4.6", released.save(tmp_path / "a.pkl", "rife_v4.6", state))
    assert "1 missing: block2.lastconv.0.bias. It fits no model; rife_v4.6 comes nearest" in line
    flow_net = {n: t for n, t in random_weights("superslomo").items() if n.startswith("flow_comp")}
    line = refusal("superslomo", released.save(tmp_path / "b.ckpt", "superslomo", flow_net))
    assert "46 missing: flow_interpolation.conv1.weight" in line


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_file(zipped: bool, tmp_path: Path) -> None:
    path = released.save(
        tmp_path / "a.pkl", "rife_v4.6", random_weights("rife_v4.6"), _use_new_zipfile_serialization=zipped
    )
    whole = path.read_bytes()
    for length in (0, 1, 20, 1000, len(whole) // 2, len(whole) - 100):
        path.write_bytes(whole[:length])
        assert "damaged or cut short" in refusal("rife_v4.6", path)
    checkpoints.write(path, random_weights("rife_v4.6"), "rife_v4.6")
    path.write_bytes(path.read_bytes()[:-8])
    assert "damaged or cut short" in refusal("rife_v4.6", path)
    path.write_text("<html>404</html>")
    assert "is no checkpoint" in refusal("rife_v4.6", path)
    tensor = torch.rand(3)
    parts = ({"state_dictFC": 1, "state_dictAT": 2}, {"state_dictFC": {1: tensor}, "state_dictAT": tensor})
    for content in ([1, 2], {"a": 1}, {}, tensor, {1: tensor}, {"state_dict": {1: tensor}}, *parts):
        torch.save(content, path)
        assert "holds no weights" in refusal("rife_v4.6", path)
    with pytest.raises(FileNotFoundError):
        models.create("rife_v4.6", checkpoint=tmp_path / "none.pkl")
    with pytest.raises(ValueError, match="blend has no weights"):
        models.create("blend", checkpoint=path)


class Evil:
    """Makes a folder when it is unpickled in the ordinary way."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("how", ["zip", "legacy", "bare"])
def test_no_code_is_run(how: str, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.pkl"
    content = {**random_weights("rife_v4.6"), "more": Evil(trace)}
    if how == "bare":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "zip")
    line = refusal("rife_v4.6", path)
    if how != "bare":
        assert "is refused, since reading it would call" in line
    assert not trace.exists()
    if how == "bare":
        pickle.loads(path.read_bytes())
        assert trace.exists()  # it would have worked


def test_stand_ins_are_not_left_behind(tmp_path: Path) -> None:
    models.create("dvf", checkpoint=file_for(tmp_path, "dvf"))
    assert not set(checkpoints.STAND_INS) & set(torch.serialization.get_safe_globals())


def fails(capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
    assert cli.main([str(a) for a in arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows[1:]] == models.names()
    assert any(row.split()[:3] == ["superslomo", "39,610,473", "MIT"] for row in rows)

    path, target = file_for(tmp_path, "rife_v4.6"), tmp_path / "out.safetensors"
    assert "expected a name that ends so" in fails(capsys, 2, "convert", path, tmp_path / "out.pth")
    assert "did you mean 'rife_v4.6'" in fails(capsys, 2, "convert", path, target, "--model", "rife_v46")
    assert "does not fit dvf" in fails(capsys, 1, "convert", path, target, "--model", "dvf")
    assert not target.exists()
    target.write_text("mine")
    assert "--overwrite" in fails(capsys, 1, "convert", path, target)
    assert target.read_text() == "mine"
    assert cli.main(["convert", str(path), str(target), "--overwrite", "--model", "rife_v4.6"]) == 0
    assert "rife_v4.6" in capsys.readouterr().out
    (tmp_path / "empty").write_bytes(b"")
    assert target.stat().st_mode == (tmp_path / "empty").stat().st_mode
    assert "cut short" in fails(capsys, 1, "convert", tmp_path / "empty", tmp_path / "b.safetensors")
    torch.save({"a": torch.rand(2)}, tmp_path / "other.pt")
    assert "fits no model" in fails(capsys, 1, "convert", tmp_path / "other.pt", tmp_path / "b.safetensors")


@pytest.mark.parametrize("name", ["dvf", "sepconv", "sepconv++", "superslomo", "rife_2r", "rife_v4.25.lite"])
def test_interpolate_a_clip(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, weights = make_clip(tmp_path / "in.mp4", 25, 2), file_for(tmp_path, name)
    arguments = ["interpolate", str(clip), str(tmp_path / "out.mp4"), "--checkpoint", str(weights)]
    assert cli.main([*arguments, "--model", name, "--factor", "4"]) == 0
    assert len(times_of(tmp_path / "out.mp4")) == 8
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("mode=interpolate is taken") == err.count("\n") == (name == "dvf")


def test_wrong_use_of_interpolate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip, weights = make_clip(tmp_path / "in.mp4", 25, 2), file_for(tmp_path, "dvf")
    start = ("interpolate", clip, tmp_path / "out.mp4")
    assert "rife needs --checkpoint FILE" in fails(capsys, 2, *start, "--model", "rife")
    wrong = ("--checkpoint", weights, "--model", "blend")
    assert "blend has no weights" in fails(capsys, 2, *start, *wrong)
    wrong = ("--checkpoint", weights, "--model", "rife")
    assert "It fits dvf" in fails(capsys, 1, *start, *wrong)
    wrong = ("--checkpoint", weights, "--model", "dvf", "--factor", 3)
    wrong += ("--model-option", "mode=interpolate")
    assert "DVF: knows the middle only and reaches timesteps k/64" in fails(capsys, 1, *start, *wrong)
    assert cli.main([*map(str, start), "--checkpoint", str(weights)]) == 0  # the file says which model
    assert len(times_of(tmp_path / "out.mp4")) == 4
    told = "does not say what dvf was trained for; mode=interpolate is taken, and --model-option mode=VALUE"
    assert told in capsys.readouterr().err
