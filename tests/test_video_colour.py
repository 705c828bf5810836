"""Colours: the standards' own numbers, the exact way back, and the tags that say which standard it is."""

# ruff: noqa: E402 (imports follow importorskip)

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
import torch

av = pytest.importorskip("av", reason="vfi_kernels.video needs PyAV")
np = pytest.importorskip("numpy")

from clips import frames_of, picture, planes_of

from vfi_kernels import models
from vfi_kernels.video import VideoError, interpolate, signalling
from vfi_kernels.video.colour import Converter
from vfi_kernels.video.yuv import Coding, Layout

MPEG, JPEG = 1, 2
RED, GREEN, BLUE, WHITE, BLACK, GREY = (
    (1.0, 0, 0),
    (0, 1.0, 0),
    (0, 0, 1.0),
    (1.0, 1.0, 1.0),
    (0, 0, 0),
    (0.5, 0.5, 0.5),
)


def frame_of(pixels: str, codes: list[object], size: tuple[int, int] = (8, 8), **tags: int) -> av.VideoFrame:
    """A frame from one number or array a plane."""
    frame = av.VideoFrame(*size, pixels)
    for plane, code in zip(frame.planes, codes, strict=True):
        dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
        rows = np.frombuffer(plane, dtype).reshape(plane.height, -1)
        rows[:, : plane.width] = code
    for name, value in tags.items():
        setattr(frame, name, value)
    return frame


def codes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
    return [np.frombuffer(p, dtype).reshape(p.height, -1)[:, : p.width].astype(int) for p in frame.planes]


@pytest.mark.parametrize(
    ("matrix", "full", "bits", "colours"),
    [
        # E' to codes by hand, from the equations of BT.601, BT.709, BT.2020 and H.273
        (
            6,
            MPEG,
            8,
            {RED: (81, 90, 240), GREEN: (145, 54, 34), BLUE: (41, 240, 110), WHITE: (235, 128, 128)},
        ),
        (5, JPEG, 8, {RED: (76, 85, 255), GREEN: (150, 44, 21), BLUE: (29, 255, 107), GREY: (128, 128, 128)}),
        (
            1,
            MPEG,
            8,
            {RED: (63, 102, 240), GREEN: (173, 42, 26), BLUE: (32, 240, 118), BLACK: (16, 128, 128)},
        ),
        (
            1,
            JPEG,
            8,
            {RED: (54, 99, 255), GREEN: (182, 30, 12), BLUE: (18, 255, 116), WHITE: (255, 128, 128)},
        ),
        (
            9,
            MPEG,
            10,
            {RED: (294, 387, 960), GREEN: (658, 189, 100), BLUE: (116, 960, 476), GREY: (502, 512, 512)},
        ),
        (9, JPEG, 10, {RED: (269, 369, 1023), WHITE: (1023, 512, 512)}),
        (1, MPEG, 12, {RED: (1001, 1637, 3840), WHITE: (3760, 2048, 2048), BLACK: (256, 2048, 2048)}),
        (9, JPEG, 12, {GREEN: (2776, 572, 165), BLACK: (0, 2048, 2048)}),
    ],
)
def test_matrix_and_range(
    matrix: int, full: int, bits: int, colours: dict[tuple[float, ...], tuple[int, ...]]
) -> None:
    pixels = "yuv444p" if bits == 8 else f"yuv444p{bits}le"
    for rgb, codes in colours.items():
        colour = Converter(frame_of(pixels, [0, 0, 0], colorspace=matrix, color_range=full))
        made = colour.from_rgb(torch.tensor(rgb)[None, :, None, None].expand(1, 3, 8, 8))
        assert [int(plane[3, 3]) for plane in codes_of(made)] == list(codes)
        back = colour.to_rgb(frame_of(pixels, list(codes)))[0, :, 3, 3]
        assert back.tolist() == pytest.approx(rgb, abs=1.7 / (1 << bits))  # codes round


@pytest.mark.parametrize(
    ("siting", "across", "down"),
    [
        ("left", [0, 40, 80, 120, 160, 160], [10, 30, 70, 90]),
        ("center", [0, 20, 60, 100, 140, 160], [10, 30, 70, 90]),
        ("topleft", [0, 40, 80, 120, 160, 160], [10, 50, 90, 90]),
        ("top", [0, 20, 60, 100, 140, 160], [10, 50, 90, 90]),
        ("bottomleft", [0, 40, 80, 120, 160, 160], [10, 30, 70, 90]),  # read as the middle of two rows
        ("bottom", [0, 20, 60, 100, 140, 160], [10, 30, 70, 90]),
    ],
)
def test_chroma_lies_where_the_stream_says(siting: str, across: list[int], down: list[int]) -> None:
    """Values between the samples lie on straight lines; the ends continue."""
    coding = Coding(Layout("yuv", 8, 1, 1, False), 1, True, siting)
    luma, flat = torch.zeros(4, 6), torch.full((2, 3), 128)
    columns = coding.decode([luma, flat, torch.tensor([0, 80, 160]).expand(2, 3)])[0, 0]
    rows = coding.decode([luma, flat, torch.tensor([[10], [90]]).expand(2, 3)])[0, 0]
    scale = 255 / (2 * (1 - 0.2126))  # red is this much of the chroma
    assert (columns[1] * scale + 128).tolist() == pytest.approx(across, abs=1e-3)
    assert (rows[:, 1] * scale + 128).tolist() == pytest.approx(down, abs=1e-3)


@pytest.mark.parametrize("chroma", [(0, 0), (1, 0), (1, 1), (0, 1), (2, 0)])
@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_every_code_comes_back(chroma: tuple[int, int], siting: str, bits: int) -> None:
    """Noise of all codes, most of them no RGB colour, at sizes that end in the middle of a chroma sample."""
    across, down = chroma
    generator = torch.Generator().manual_seed(1)
    for height, width in ((6, 8), (7, 9), (1, 1), (3, 2)):
        small = (-(-height >> down), -(-width >> across))
        for matrix, full in ((1, False), (5, True), (9, False)):
            coding = Coding(Layout("yuv", bits, across, down, True), matrix, full, siting)
            sizes = [(height, width), small, small, (height, width)]
            planes = [torch.randint(0, 1 << bits, size, generator=generator).float() for size in sizes]
            back = coding.encode(coding.decode(planes))
            assert all(torch.equal(a, b) for a, b in zip(planes, back, strict=True))


def flat_clip(path: Path, frame: av.VideoFrame, codec: str = "ffv1", **options: str) -> Path:
    """Three times the same frame, with its tags; the colours of `frame` itself, whatever they are."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, frame.format.name
        for tag in ("color_range", "colorspace", "color_primaries", "color_trc"):
            setattr(stream.codec_context, tag, getattr(frame, tag))
        for k in range(3):
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("matrix", [2, 1, 6, 9])
@pytest.mark.parametrize("full", [MPEG, JPEG])
def test_flat_clips_come_out_flat(tmp_path: Path, chroma: str, bits: int, matrix: int, full: int) -> None:
    """Originals and made frames have the very same codes, also where these are no RGB colour."""
    pixels = f"yuv{chroma}p" + ("" if bits == 8 else f"{bits}le")
    colours = [(90, 60, 200), (3, 250, 128), (255, 255, 1)]
    columns = [np.repeat([colour[k] << (bits - 8) for colour in colours], 8) for k in range(3)]
    if chroma != "444":
        columns[1:] = [column[::2] for column in columns[1:]]
    frame = frame_of(pixels, columns, (24, 16), colorspace=matrix, color_range=full)
    source = flat_clip(tmp_path / "in.mkv", frame)
    interpolate(
        source, tmp_path / "out.mkv", models.create("blend"), factor=3, codec="ffv1", warn=pytest.fail
    )
    made = frames_of(tmp_path / "out.mkv")
    assert len(made) == 9
    assert {(f.format.name, int(f.color_range)) for f in made} == {(pixels, full)}
    for plane, column in zip(zip(*map(codes_of, made), strict=True), columns, strict=True):
        assert (np.stack(plane) == column).all()


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "gray", "gbrp", "yuva420p", "ya8", "rgb48le"])
def test_stills_come_out_still(tmp_path: Path, pixels: str) -> None:
    """The same, with a picture."""
    drawn = av.VideoFrame.from_ndarray(picture(0, 33, 21), format="rgb24").reformat(format=pixels)
    source = flat_clip(tmp_path / "in.mkv", drawn) if pixels not in ("gbrp", "rgb48le") else None
    if source is None:
        source = flat_clip(tmp_path / "in.mkv", drawn.reformat(format={"gbrp": "bgr0"}.get(pixels, pixels)))
    interpolate(source, tmp_path / "out.mkv", models.create("blend"), factor=3, codec="ffv1")
    made = frames_of(tmp_path / "out.mkv")
    assert len(made) == 9
    assert all(planes_of(f) == planes_of(made[0]) for f in made)


def test_untagged_sources_follow_one_rule() -> None:
    """As players: BT.709 from 1280 x 720 on, limited range; yuvj and gray are full."""

    def read(pixels: str, codes: list[int], size: tuple[int, int] = (64, 48), **tags: int) -> list[float]:
        frame = frame_of(pixels, codes, size, **tags)
        return Converter(frame).to_rgb(frame)[0, :, 3, 3].tolist()

    red_601, red_709 = [81, 90, 240], [63, 102, 240]
    for size, codes in (
        ((64, 48), red_601),
        ((720, 576), red_601),
        ((1280, 8), red_709),
        ((8, 720), red_709),
    ):
        assert read("yuv420p", codes, size) == pytest.approx([1, 0, 0], abs=0.01)
    assert read("yuvj420p", [76, 85, 255]) == pytest.approx([1, 0, 0], abs=0.01)
    assert read("gray", [255]) == [1, 1, 1]
    assert read("gray", [235], color_range=MPEG) == [1, 1, 1]


@pytest.mark.parametrize("container", ["mkv", "mp4"])
@pytest.mark.parametrize(("transfer", "siting"), [(16, "topleft"), (18, "bottomleft")])  # PQ and HLG
def test_tags_are_carried(tmp_path: Path, container: str, transfer: int, siting: str) -> None:
    tags = {"colorspace": 9, "color_primaries": 9, "color_trc": transfer, "color_range": MPEG}
    frame = frame_of("yuv420p10le", [500, 400, 600], (64, 48), **tags)
    source = flat_clip(tmp_path / f"in.{container}", frame, "libx264", chroma_sample_location=siting)
    target = tmp_path / f"out.{container}"
    interpolate(source, target, models.create("blend"), warn=pytest.fail)
    made = frames_of(target)[1]
    assert {name: int(getattr(made, name)) for name in tags} == tags
    assert made.format.name == "yuv420p10le"
    with av.open(str(target)) as file:
        assert signalling.chroma_siting(file.streams.video[0]) == siting


def hdr_clip(path: Path) -> Path:
    frame = frame_of("yuv420p10le", [500, 400, 600], (64, 64), colorspace=9, color_primaries=9, color_trc=16)
    display = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"
    return flat_clip(
        path,
        frame,
        "libx265",
        **{"x265-params": f"log-level=error:master-display={display}:max-cll=1000,400"},
    )


@pytest.mark.parametrize(
    ("codec", "container"), [("libx264", "mp4"), ("libx265", "mkv"), ("libx265", "mp4"), ("libsvtav1", "mp4")]
)
def test_hdr10_data_is_carried(tmp_path: Path, codec: str, container: str) -> None:
    source = hdr_clip(tmp_path / "in.mkv")
    target = tmp_path / f"out.{container}"
    interpolate(source, target, models.create("blend"), codec=codec, warn=pytest.fail)
    made = frames_of(target)
    data = {side.type.name: bytes(side) for side in made[0].side_data}
    assert np.frombuffer(data["CONTENT_LIGHT_LEVEL"], np.int32).tolist() == [1000, 400]
    display = np.frombuffer(data["MASTERING_DISPLAY_METADATA"], np.int32)[:20].reshape(10, 2)
    expected = [0.68, 0.32, 0.265, 0.69, 0.15, 0.06, 0.3127, 0.329, 0.005, 1000]
    assert (display[:, 0] / display[:, 1]).tolist() == pytest.approx(expected, rel=1e-4, abs=4e-5)
    assert {f.format.name for f in made} == {"yuv420p10le"}


def test_hdr10_data_that_is_lost_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    source = hdr_clip(tmp_path / "in.mkv")
    interpolate(source, tmp_path / "out.mkv", models.create("blend"), codec="ffv1", warn=told.append)
    assert told == [
        "HDR: ffv1 does not keep the mastering display's data",
        "HDR: ffv1 does not keep the content light level",
    ]


@pytest.mark.parametrize("kind", ["DYNAMIC_HDR_PLUS", "DOVI_METADATA", "DOVI_RPU_BUFFER"])
def test_hdr_data_of_each_frame_is_told(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(signalling, "side_data", lambda frame: {kind: b""})
    frame = av.VideoFrame(64, 48, "yuv420p10le")
    losses = ["HDR: Dolby Vision's and HDR10+'s data for each frame are not kept"]
    assert signalling.encoder_options(frame, "libx265", None)[1] == losses


@pytest.mark.parametrize(
    ("pixels", "codec", "stored", "warning"),
    [
        ("yuv420p10le", "libx264", "yuv420p10le", ""),
        ("yuv422p10le", "libx265", "yuv422p10le", ""),
        ("yuv420p12le", "libx265", "yuv420p12le", ""),
        ("yuv444p12le", "ffv1", "yuv444p12le", ""),
        ("yuv420p12le", "libx264", "yuv420p10le", "libx264 does not hold the 12 bits of yuv420p12le: "),
        ("yuv444p", "libsvtav1", "yuv420p", "libsvtav1 does not hold the full chroma of yuv444p: "),
        ("yuva420p", "libx264", "yuv420p", "libx264 does not hold the transparency of yuva420p: "),
        ("yuva420p", "libvpx-vp9", "yuv420p", "libvpx-vp9 does not hold the transparency of yuva420p: "),
        ("yuva420p", "libx265", "yuv420p", "libx265 does not hold the transparency of yuva420p: "),
        ("yuva444p12le", "libsvtav1", "yuv420p10le", "libsvtav1 does not hold the transparency of "),
        ("gray", "libsvtav1", "yuv420p", ""),
        ("ya8", "ffv1", "ya8", ""),
        ("bgra", "libx264", "yuv444p", "libx264 does not hold the transparency of bgra: "),
        ("rgb24", "ffv1", "bgr0", ""),
        ("rgb48be", "ffv1", "gbrp16le", ""),
        ("rgb24", "libx264", "yuv444p", ""),
        ("nv12", "libx265", "yuv420p", ""),
        ("p010le", "libsvtav1", "yuv420p10le", ""),
        ("yuvj420p", "libx264", "yuvj420p", ""),
        ("yuvj420p", "ffv1", "yuv420p", ""),
        ("yuv411p", "libx264", "yuv422p", ""),
    ],
)
def test_the_pixel_format_that_loses_least(pixels: str, codec: str, stored: str, warning: str) -> None:
    formats = [f.name for f in av.Codec(codec, "w").video_formats]
    colour = Converter(av.VideoFrame(64, 48, pixels), codec, formats)
    assert colour.format == stored
    assert bool(colour.losses) == bool(warning)
    assert "".join(colour.losses).startswith(warning)


def test_an_encoder_without_a_fitting_format_is_refused() -> None:
    with pytest.raises(VideoError, match="libx264 cannot store yuv420p at 33x35"):
        Converter(av.VideoFrame(33, 35, "yuv420p"), "libx264", ["yuv420p", "pal8"])


def test_opaque_alpha_is_no_loss() -> None:
    """GIFs decode to bgra whether anything is seen through them or not."""
    frame = av.VideoFrame.from_ndarray(np.full((8, 8, 4), 255, np.uint8), format="bgra")
    assert Converter(frame, "libx264", ["yuv444p"]).losses == []


def test_interlaced_input_is_told(tmp_path: Path) -> None:
    frame = frame_of("yuv420p", [90, 60, 200], (64, 48))
    source = flat_clip(tmp_path / "in.mkv", frame, "libx264", **{"x264-params": "interlaced=1"})
    told: list[str] = []
    interpolate(source, tmp_path / "out.mkv", models.create("blend"), warn=told.append)
    assert told == ["the input is interlaced: frames are made of whole ones, so deinterlace it before"]


def test_alpha_is_interpolated_like_a_picture(tmp_path: Path) -> None:
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 8, "yuva420p"
        for k in range(2):
            frame = frame_of("yuva420p", [50 + 20 * k, 128, 128, 200 * k], (16, 8))
            frame.pts, frame.time_base = k, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    interpolate(
        source, target, models.create("blend"), codec="ffv1", scene_cuts=False, warn=pytest.fail, factor=4
    )
    made = [[int(plane[2, 2]) for plane in codes_of(frame)] for frame in frames_of(target)]
    assert made[:5] == [[50 + 5 * k, 128, 128, 50 * k] for k in range(5)]
