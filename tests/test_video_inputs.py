"""Inputs that are no plain video: image files, animations, and headers that promise too much."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
cv2 = pytest.importorskip("cv2", reason="clips are made with OpenCV")

from clips import command, frames_of, make_clip, picture, planes_of, times_of

from vfi_kernels import cli, models
from vfi_kernels.video import VideoError, images, interpolate, limits
from vfi_kernels.video.images import Images, files_of

F = Fraction
BLEND = models.create("blend")


def run(source: Path, target: Path, **options: object) -> list[av.VideoFrame]:
    """Interpolate without loss by the quick model; the output's frames."""
    defaults = {"warn": pytest.fail, "codec": "ffv1", "scene_cuts": False}
    interpolate(source, target, BLEND, **{**defaults, **options})
    return frames_of(target)


def still(
    path: Path, k: int, codec: str = "png", pixels: str = "rgb24", size: tuple[int, int] = (32, 24)
) -> Path:
    """One picture in a file of its own."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = *size, pixels, F(1, 25)
    frame = av.VideoFrame.from_ndarray(picture(k, *size), format="rgb24").reformat(format=pixels)
    path.write_bytes(b"".join(bytes(packet) for packet in context.encode(frame) + context.encode(None)))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three numbered images, whose names sort otherwise as text."""
    made = tmp_path / "shots"
    made.mkdir()
    for k in range(3):
        still(made / f"a_{9 + k}.png", k)
    return made


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels", "stored"),
    [
        (".png", "png", "rgb24", "bgr0"),
        (".png", "png", "rgb48be", "gbrp16le"),
        (".png", "png", "gray", "gray"),
        (".png", "png", "gray16be", "gray16le"),
        (".png", "png", "rgba", "bgra"),
        (".png", "png", "ya8", "ya8"),
        (".jpg", "mjpeg", "yuvj420p", "yuv420p"),
        (".tif", "tiff", "rgb48le", "gbrp16le"),
        (".bmp", "bmp", "bgr24", "bgr0"),
        (".webp", "libwebp", "yuv420p", "yuv420p"),
    ],
)
@pytest.mark.parametrize("kind", ["folder", "pattern"])
def test_images(tmp_path: Path, suffix: str, codec: str, pixels: str, stored: str, kind: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    files = [still(source / f"shot{9 + k:02}{suffix}", k, codec, pixels) for k in range(3)]
    name = source / f"shot%02d{suffix}" if kind == "pattern" else source
    made = run(name, tmp_path / "out.mkv", source_fps=F(10))
    assert [frame.pts * frame.time_base for frame in made] == [F(k, 20) for k in range(6)]
    assert {frame.format.name for frame in made} == {stored}
    for k, file in enumerate(files):
        given = frames_of(file)[0]
        levels = [
            frame.to_ndarray(format="gbrpf32le") for frame in (given.reformat(format=stored), made[2 * k])
        ]
        assert np.array_equal(*levels)
    assert planes_of(made[1]) != planes_of(made[0])


def test_exr(tmp_path: Path) -> None:
    """Floats become integers: white is 1, and what is brighter is cut off."""
    (tmp_path / "in").mkdir()
    for k in range(2):
        light = np.full((24, 32, 3), 0.25 * (k + 1), np.float32)
        light[:, 16:] = 2
        context = av.CodecContext.create("exr", "w")
        context.width, context.height, context.pix_fmt, context.time_base = 32, 24, "gbrpf32le", F(1, 25)
        packets = context.encode(av.VideoFrame.from_ndarray(light, format="gbrpf32le"))
        (tmp_path / "in" / f"{k}.exr").write_bytes(bytes((packets or context.encode(None))[0]))
    told: list[str] = []
    made = run(tmp_path / "in", tmp_path / "out.mkv", warn=told.append)
    assert told == ["ffv1 does not hold the 32 bits of gbrpf32le: stored as gbrp16le"]
    levels = [frame.to_ndarray(format="gbrp16le")[5, [5, 20], 0].tolist() for frame in made]
    full = 65535
    expected = [[full * share, full] for share in (0.25, 0.375, 0.5, 0.5)]
    np.testing.assert_allclose(levels, expected, atol=1)


def test_images_sort_by_number_and_gaps_are_told(folder: Path) -> None:
    assert [file.name for file in files_of(folder)] == ["a_9.png", "a_10.png", "a_11.png"]
    assert [file.name for file in files_of(folder / "a_%d.png")] == ["a_9.png", "a_10.png", "a_11.png"]
    (folder / "a_10.png").unlink()
    assert len(files_of(folder)) == 2
    with pytest.raises(VideoError, match=r"a_10\.png: is missing"):
        files_of(folder / "a_%d.png")


def test_rate_of_images_is_25_unless_given(folder: Path) -> None:
    with Images(folder) as shots:
        assert [time for _, time in shots.frames()] == [F(0), F(1, 25), F(2, 25)]
        assert shots.end == shots.duration == F(3, 25)
        assert [number for _, number, _ in shots.marks()] == [0, 1, 2]
        assert [time for _, time in shots.frames_from(2)] == [F(2, 25)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("%d_%d.png", "expected one number like %04d, in the file's name only"),
        ("%s.png", "expected one number"),
        ("%n%4$n.png", "expected one number"),
        ("%-999999999d.png", "expected one number"),
        ("../%04d/x%d.png", "expected one number"),
        ("b_%04d.png", "there are no such files"),
        ("nowhere/b_%04d.png", "no such folder"),
        ("b.png", "no such file"),
    ],
)
def test_patterns_that_are_none(folder: Path, name: str, message: str) -> None:
    with pytest.raises(VideoError, match=message):
        files_of(folder / name)


def test_folders_that_are_no_sequence(folder: Path, tmp_path: Path) -> None:
    still(folder / "b.jpg", 0, "mjpeg", "yuvj420p")
    with pytest.raises(VideoError, match=r"holds \.jpg and \.png files; choose"):
        files_of(folder)
    assert len(files_of(folder / "a_%d.png")) == 3
    (tmp_path / "empty").mkdir()
    with pytest.raises(VideoError, match="holds no images"):
        files_of(tmp_path / "empty")
    (folder / "b.jpg").unlink()
    still(folder / "a_12.png", 0, size=(16, 8))
    with pytest.raises(VideoError, match="image 4 is 16x8 rgb24, the first one 32x24 rgb24"):
        list(Images(folder).frames())


def test_an_image_is_what_its_suffix_says(tmp_path: Path) -> None:
    """A list of other files does not become one by its content."""
    clip = make_clip(tmp_path / "in.ts", count=3)
    (tmp_path / "list.png").write_text(f"#EXTM3U\n#EXTINF:1,\n{clip.name}\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match=r"list\.png: cannot be read as an image"):
        run(tmp_path / "list.png", tmp_path / "out.mkv")


@pytest.mark.parametrize(("codec", "pixels"), [("png", "rgb24"), ("mjpeg", "yuvj420p")])
@pytest.mark.parametrize("part", [0.0, 0.6])
def test_half_an_image_is_told(folder: Path, codec: str, pixels: str, part: float) -> None:
    suffix = {"png": ".png", "mjpeg": ".jpg"}[codec]
    files = [still(folder / f"x{k}{suffix}", k, codec, pixels) for k in range(3)]
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(VideoError, match=rf"x1{suffix}: cannot be read as an image"):
        list(Images(folder / f"x%d{suffix}").frames())


def bomb(path: Path, width: int, height: int) -> Path:
    """A few kilobytes of PNG that unpack to one bit for each of many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(((width + 7) // 8 + 1) * height), 9))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + rows + chunk(b"IEND", b""))
    return path


def test_images_that_unpack_to_too_much(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="more than 67108864 pixels; --force lifts the limit"):
        Images(bomb(tmp_path / "bomb.png", 40_000, 2000))
    assert Images(bomb(tmp_path / "long.png", 40_000, 1000)).first.width == 40_000
    assert Images(tmp_path / "bomb.png", force=True).first.height == 2000


def test_more_images_than_the_limit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_FRAMES", 2)
    with pytest.raises(VideoError, match="more than 2; --force lifts the limit"):
        Images(folder / "a_%d.png")
    assert Images(folder / "a_%d.png", force=True).first.height == 24


@pytest.fixture
def animation(tmp_path: Path) -> Path:
    """An animated WebP of four frames."""
    path = tmp_path / "in.webp"
    with av.open(str(path), "w", options={"loop": "0"}) as container:
        stream = container.add_stream("libwebp_anim", rate=10, options={"lossless": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgra"
        for k in range(4):
            frame = av.VideoFrame.from_ndarray(picture(k, 32, 24), format="rgb24").reformat(format="bgra")
            frame.pts = k
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_animated_webp(animation: Path, tmp_path: Path) -> None:
    made = run(animation, tmp_path / "out.mkv")
    assert [frame.pts * frame.time_base for frame in made] == [F(k, 20) for k in range(8)]
    for k in range(4):
        assert np.array_equal(made[2 * k].to_ndarray(format="rgb24"), picture(k, 32, 24))


def test_animations_that_need_too_much_memory(animation: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All frames are in memory at once: counted before any is decoded."""
    monkeypatch.setattr(images, "MAX_ANIMATION", 4 * 32 * 24 * 4 - 1)
    monkeypatch.setattr(cv2, "imreadanimation", lambda path: pytest.fail("was decoded"))
    with pytest.raises(VideoError, match="4 frames of 32x24 need too much memory; see --force"):
        Images(animation)
    monkeypatch.undo()
    monkeypatch.setattr(images, "MAX_ANIMATION", 0)
    assert len(Images(animation, force=True).marks()) == 4


def test_half_an_animation_is_told_in_one_line(
    animation: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """OpenCV writes what it thinks of a file past Python; elsewhere it may go on to do so."""
    animation.write_bytes(animation.read_bytes()[:-500])
    assert command(animation, tmp_path / "out.mkv") == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "in.webp: cannot be read as an image" in error
    assert cv2.utils.logging.getLogLevel() == cv2.utils.logging.LOG_LEVEL_WARNING


def gif(path: Path, delays: list[int]) -> Path:
    """A GIF of gray levels, each for so many hundredths of a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "gray"
        stream.time_base = stream.codec_context.time_base = F(1, 100)
        for k in range(len(delays)):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32), 40 * k, np.uint8), format="gray")
            frame.pts, frame.time_base = sum(delays[:k]), F(1, 100)
            for packet in stream.encode(frame):
                packet.duration = delays[k]
                container.mux(packet)
    return path


def test_gif_in(tmp_path: Path) -> None:
    made = run(gif(tmp_path / "in.gif", [10, 10, 20, 10]), tmp_path / "out.mkv", fps=20)
    levels = [int(frame.to_ndarray(format="gray")[5, 5]) for frame in made]
    assert levels == [0, 20, 40, 60, 80, 90, 100, 110, 120, 120]


def test_apng_in(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.apng", 10, 4, codec="apng", pixels="rgb24", size=(32, 24))
    made = run(source, tmp_path / "out.mkv", factor=1)
    assert [frame.pts * frame.time_base for frame in made] == [F(k, 10) for k in range(4)]
    for k, frame in enumerate(made):
        assert np.array_equal(frame.to_ndarray(format="rgb24"), picture(k, 32, 24))
    with pytest.raises(VideoError, match=r"in\.png: is an animation, which is read under a name in \.apng"):
        run(source.rename(tmp_path / "in.png"), tmp_path / "no.mkv")


def test_photos_keep_their_rotation(tmp_path: Path) -> None:
    """As the camera notes it."""
    tags = struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, 0x112, 3, 1, 6, 0, 0)  # one: orientation 6
    exif = b"Exif\0\0" + tags
    (tmp_path / "in").mkdir()
    for k in range(2):
        file = still(tmp_path / "in" / f"{k}.jpg", k, "mjpeg", "yuvj420p")
        photo = file.read_bytes()
        file.write_bytes(photo[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + photo[2:])
    assert run(tmp_path / "in", tmp_path / "out.mkv")[0].rotation == -90
    told: list[str] = []
    interpolate(tmp_path / "in", tmp_path / "%d.png", BLEND, warn=told.append)
    assert told == ["image2 does not hold the rotation of -90 degrees; an .mkv output does"]


@pytest.mark.parametrize("name", ["http://host/in.mp4", "concat:a.mp4|b.mp4", "pipe:0", "data:x"])
def test_only_files(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(name, tmp_path / "out.mkv") == 2
    assert "only files are read and written" in capsys.readouterr().err


def test_names_go_to_no_shell(tmp_path: Path) -> None:
    folder = tmp_path / "a; touch owned; $(touch owned) `touch owned` 'q\" %d"
    folder.mkdir()
    source = make_clip(folder / "-i in|x.mp4", count=2)
    assert command(source, folder / "out &.mkv") == 0
    assert not list(tmp_path.rglob("owned"))


def test_options_of_images(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip(tmp_path / "in.mp4", count=2)
    assert command(clip, tmp_path / "out.mkv", "--input-fps", "10") == 2
    assert "needs images" in capsys.readouterr().err
    assert command(clip, tmp_path / "%d.png") == 2
    assert "%d.png has its own" in capsys.readouterr().err
    assert cli.main(["interpolate", str(folder), str(folder / "a_%d.png"), "--overwrite"]) == 1
    assert "is the input itself" in capsys.readouterr().err
    assert command(folder, tmp_path / "out.mkv", "--input-fps", "24000/1001") == 0
    assert len(times_of(tmp_path / "out.mkv")) == 6
    assert cli.main(["info", str(folder)]) == 0
    assert "images" in capsys.readouterr().out


def test_odd_size_of_full_hd(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "in.mkv", count=2, codec="ffv1", size=(1917, 1077))
    made = run(source, tmp_path / "out.mkv")
    assert {(frame.width, frame.height, frame.format.name) for frame in made} == {(1917, 1077, "yuv420p")}
    assert [planes_of(frame) for frame in made[::2]] == [planes_of(frame) for frame in frames_of(source)]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1", "ffv1"])
def test_odd_sizes(tmp_path: Path, codec: str) -> None:
    source = make_clip(tmp_path / "in.mkv", count=3, codec="ffv1", size=(77, 65))
    told: list[str] = []
    interpolate(source, tmp_path / "out.mkv", BLEND, codec=codec, warn=told.append)
    even = codec in ("libx264", "libx265")
    lines = [f"{codec} needs even sides for yuv420p; 77x65 is stored as yuv444p"] if even else []
    assert told == lines
    made = frames_of(tmp_path / "out.mkv")
    assert {(f.width, f.height, f.format.name) for f in made} == {(77, 65, "yuv444p" if even else "yuv420p")}
    assert len(made) == 6
