"""Decoding on a device: the planes that the CPU's decoder gives, or an error that says why not."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import frames_of, make_clip

from vfi_kernels import cli, models
from vfi_kernels.video import Options, VideoError, hardware, interpolate, jobs

# What devices give -> what the CPU's decoder does, and by how many bits codes are shifted.
PACKINGS = {
    "nv12": ("yuv420p", 0),
    "nv16": ("yuv422p", 0),
    "nv24": ("yuv444p", 0),
    "p010le": ("yuv420p10le", 6),
    "p012le": ("yuv420p12le", 4),
    "p210le": ("yuv422p10le", 6),
    "p410le": ("yuv444p10le", 6),
    "nv12 of full range": ("yuvj420p", 0),
}


def decoder(frames: list[av.VideoFrame], wanted: str) -> hardware.Decoder:
    """Of a stream that a device decodes to these frames, and the CPU to the pixel format `wanted`."""
    context = SimpleNamespace(
        is_hwaccel=True,
        sw_format=av.VideoFormat(wanted),
        decode=lambda packet: frames,
        flush_buffers=lambda: None,
    )
    return hardware.Decoder(SimpleNamespace(codec_context=context))


@pytest.mark.parametrize("size", [(64, 48), (37, 21)])
@pytest.mark.parametrize("packing", PACKINGS)
def test_planes_bit_for_bit(packing: str, size: tuple[int, int]) -> None:
    wanted, shift = PACKINGS[packing]
    frame = av.VideoFrame(*size, packing.split()[0])
    frame.pts, frame.time_base = 7, Fraction(1, 25)
    frame.color_range, frame.colorspace = (2 if "full" in packing else 1), 9
    dtype = np.dtype("<u2" if shift else "u1")
    generator = np.random.default_rng(0)
    codes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        codes.append(generator.integers(0, 1 << (16 - shift if shift else 8), rows.shape).astype(dtype))
        rows[:] = codes[-1] << shift
    (made,) = decoder([frame], wanted).decode(None)
    assert made.format.name == wanted
    for name in ("pts", "time_base", "color_range", "colorspace"):
        assert getattr(made, name) == getattr(frame, name)
    width = made.planes[1].width
    channels = [codes[0][:, : size[0]], *(codes[1][:, k : 2 * width : 2] for k in (0, 1))]
    for plane, channel in zip(made.planes, channels, strict=True):
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width]
        assert np.array_equal(rows, channel)


def test_other_codes_are_refused() -> None:
    """Some drivers give 10 bits of 4:4:4 as 16."""
    frame = av.VideoFrame(64, 48, "yuv444p16le")
    with pytest.raises(VideoError, match="gives yuv444p16le for yuv444p10le"):
        decoder([frame], "yuv444p10le").decode(None)


def test_device_or_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = make_clip(tmp_path / "in.mp4", count=4), tmp_path / "out.mp4"
    how = ["interpolate", str(source), str(target), "--model", "blend", "--overwrite"]
    assert cli.main(how) == 0
    by_cpu = target.read_bytes()
    assert cli.main([*how, "--hwaccel", "auto"]) == 0
    assert target.read_bytes() == by_cpu
    target.unlink()
    capsys.readouterr()
    if cli.main([*how, "--hwaccel", "cuda"]) == 0:  # here is one
        assert target.read_bytes() == by_cpu
        return
    err = capsys.readouterr().err
    assert err.startswith(f"vfi: error: {source}: cannot be decoded by cuda, which is not there or does not")
    assert err.endswith("; --hwaccel none decodes it\n")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    source.write_bytes(b"nothing")  # the file is to blame, not the device
    assert cli.main([*how, "--hwaccel", "cuda"]) == 1
    assert "cannot be read as a video (Invalid data" in capsys.readouterr().err


def test_alpha_is_not_lost() -> None:
    """Devices do not see it."""
    stream = SimpleNamespace(
        codec_context=SimpleNamespace(codec=SimpleNamespace(canonical_name="vp9")),
        metadata={"alpha_mode": "1"},
    )
    with pytest.raises(VideoError, match="alpha"):
        hardware.decoder_of(stream, on_device=True)


def test_who_decodes_does_not_decide_the_output(tmp_path: Path) -> None:
    """What one device has begun another goes on with."""
    source, target = make_clip(tmp_path / "in.mp4", count=10), tmp_path / "out.mp4"
    model = models.create("blend")
    # Planning and merging need none: machines that do only that have none.
    plan = jobs.begin(source, target, Options(hwaccel="cuda", model="blend"), model)
    assert plan.options.hwaccel == "cuda"
    assert cli.main(["run", str(plan.folder), "--hwaccel", "none"]) == 0
    assert interpolate(source, target, model, resume=True, options=Options(model="blend")) == 20
    assert len(frames_of(target)) == 20
    plan = jobs.begin(source, tmp_path / "b.mp4", Options(hwaccel="cuda", model="blend"), model)
    assert cli.main(["run", str(plan.folder), "--hwaccel", "auto"]) == 0
    assert cli.main(["merge", str(plan.folder)]) == 0
    assert (tmp_path / "b.mp4").read_bytes() == target.read_bytes()


@pytest.mark.parametrize("name", ["gpu", "cuda:", "auto:1", "none:0", ""])
def test_unknown_devices_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert cli.main(["info", str(tmp_path / "in.mp4"), f"--hwaccel={name}"]) == 2
    err = capsys.readouterr().err
    assert "must be one of none, auto, " in err
    assert f"got {name!r}" in err
