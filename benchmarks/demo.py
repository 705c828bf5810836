"""The demo: a clip whose frames in between are known, interpolated by the command line and measured.

    python benchmarks/demo.py [--out DIR]

Draws a short scene at 120 frames a second, keeps every fourth, adds a sound track, runs `vfi interpolate
--factor 4` on it and writes DIR/demo.mp4 (the result), DIR/demo.png (pictures side by side) and a table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from vfi_kernels import cli
from vfi_kernels.video import Score, mean_score, psnr, rgb_frames, ssim

WIDTH, HEIGHT = 640, 360
FACTOR = 4
FPS = 30
COUNT = 45  # source frames, 1.5 s
SAMPLE_RATE = 48_000
CRF = 8  # the table is about the frames, not about what the encoder leaves of them
METHODS = {"flow": "ours (flow)", "blend": "blend", "repeat": "repeat"}

# Every side is drawn at this multiple of its final size and averaged down: edges without steps.
OVERSAMPLING = 2

TEXT = (
    "The frames of a film are samples of a scene in time, and between two samples the scene went on. "
    "To show it as it was, every point must be found again in the next frame, and carried part of the way. "
    "Where one thing covers another, only one of the two frames has seen what lies there, and the other has "
    "nothing to say about it. 0123456789 (x, y) + (dx, dy) "
)


# --- the scene: textures, then where they are at a given time -----------------------------------------------


def noise(size: int, seed: int, octaves: int = 7, persistence: float = 0.62) -> np.ndarray:
    """[size, size] float in [0, 1]: value noise, several octaves."""
    rng = np.random.default_rng(seed)
    total = np.zeros((size, size), np.float32)
    for octave in range(octaves):
        cells = 2 ** (octave + 2)
        grid = rng.random((cells, cells), np.float32)
        total += persistence**octave * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return cv2.normalize(total, None, 0, 1, cv2.NORM_MINMAX)


def palette(value: np.ndarray, *colours: tuple[int, int, int]) -> np.ndarray:
    """[H, W] in [0, 1] -> [H, W, 3] uint8 through evenly spaced colours."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(value, stops, [c[i] for c in colours]) for i in range(3)], -1).astype(np.uint8)


def wall() -> np.ndarray:
    """Stones with joints, [1600, 1600, 4] RGBA."""
    size = 1600
    grain = noise(size, 1)
    image = palette(grain, (52, 44, 60), (120, 92, 84), (176, 150, 118), (222, 208, 180))
    for row in range(0, size, 80):
        cv2.line(image, (0, row), (size, row), (46, 42, 48), 5)
        for column in range((row // 80 % 2) * 70, size, 140):
            cv2.line(image, (column, row), (column, row + 80), (46, 42, 48), 5)
    return opaque(image)


def page() -> np.ndarray:
    """A printed page, [640, 520, 4] RGBA."""
    image = palette(noise(640, 2)[:, :520], (226, 218, 200), (250, 246, 236))
    cv2.putText(
        image, "On frames between", (28, 60), cv2.FONT_HERSHEY_TRIPLEX, 1.35, (60, 24, 20), 2, cv2.LINE_AA
    )
    words = (TEXT * 4).split()
    for y in range(110, 620, 34):
        line = ""
        while words and len(line) + len(words[0]) < 34:
            line += words.pop(0) + " "
        cv2.putText(image, line, (28, y), cv2.FONT_HERSHEY_COMPLEX, 0.72, (30, 28, 36), 1, cv2.LINE_AA)
    cv2.rectangle(image, (3, 3), (516, 636), (120, 96, 70), 5)
    return opaque(image)


def disc() -> np.ndarray:
    """A painted wooden wheel, [440, 440, 4] RGBA, round."""
    size, middle = 440, 219.5
    y, x = np.mgrid[:size, :size].astype(np.float32) - middle
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    grain = noise(size, 3)
    rings = 0.5 + 0.5 * np.sin(radius / 5 + 5 * grain)
    image = palette(0.55 * rings + 0.45 * grain, (92, 40, 18), (188, 110, 44), (244, 200, 120))
    spokes = (np.sin(6 * angle) > 0.55) & (radius > 60) & (radius < 185)
    image[spokes] = palette(grain, (10, 60, 92), (60, 170, 190))[spokes]
    return cover(image, np.clip(middle - radius, 0, 1))


def poster() -> np.ndarray:
    """Checks, stripes and a gradient, [400, 400, 4] RGBA."""
    size = 400
    y, x = np.mgrid[:size, :size]
    grain = noise(size, 4)
    image = palette(0.6 * x / size + 0.4 * grain, (20, 60, 40), (70, 140, 60), (230, 220, 90))
    checks = ((x // 25 + y // 25) % 2 == 0) & (y < 200)
    image[checks] = palette(grain, (130, 20, 40), (230, 90, 90))[checks]
    stripes = ((x + y) // 14 % 2 == 0) & (y > 290)
    image[stripes] //= 2
    cv2.putText(image, "ZOOM", (70, 270), cv2.FONT_HERSHEY_TRIPLEX, 2.4, (250, 246, 230), 5, cv2.LINE_AA)
    return opaque(image)


def leaf() -> np.ndarray:
    """Something ragged close to the camera, [300, 300, 4] RGBA."""
    size = 300
    y, x = np.mgrid[:size, :size].astype(np.float32) / (size - 1) * 2 - 1
    grain = noise(size, 5)
    shape = 0.82 - np.hypot(x, y * 1.3) + 0.55 * (noise(size, 6, 5) - 0.5)
    veins = 0.5 + 0.5 * np.sin(26 * (x + 0.35 * np.abs(y)))
    image = palette(0.7 * grain + 0.3 * veins, (18, 34, 66), (60, 92, 160), (190, 208, 240))
    return cover(image, np.clip(shape * 60, 0, 1))


def opaque(image: np.ndarray) -> np.ndarray:
    return cover(image, np.ones(image.shape[:2], np.float32))


def cover(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """RGBA, colour multiplied by alpha so that resampling leaves no fringe, softened as by a lens."""
    layer = np.dstack([image * alpha[..., None], alpha]).astype(np.float32)
    return cv2.GaussianBlur(layer, (0, 0), 0.7)


# layer: centre (x, y) in frame pixels, velocity in pixels a second, degrees and degrees a second, scale and
# growth a second
SCENE = (
    (wall, (320, 180), (-60, 18), 4, -5, 0.80, 0.05),
    (poster, (486, 130), (-30, 30), -6, 6, 0.44, 0.22),
    (page, (150, 170), (95, 18), -14, 16, 0.52, 0.04),
    (disc, (430, 268), (-150, -30), 0, 75, 0.46, 0.00),
    (leaf, (36, 300), (300, -110), 10, -40, 0.50, 0.06),
)


def draw(layers: list[np.ndarray], seconds: float) -> np.ndarray:
    """The scene at a time, [HEIGHT, WIDTH, 3] uint8."""
    size = (WIDTH * OVERSAMPLING, HEIGHT * OVERSAMPLING)
    canvas = np.zeros((size[1], size[0], 3), np.float32)
    for layer, (_, centre, velocity, angle, spin, scale, growth) in zip(layers, SCENE, strict=True):
        middle = (layer.shape[1] / 2, layer.shape[0] / 2)
        matrix = cv2.getRotationMatrix2D(
            middle, angle + spin * seconds, (scale + growth * seconds) * OVERSAMPLING
        )
        for axis in range(2):
            matrix[axis, 2] += (centre[axis] + velocity[axis] * seconds) * OVERSAMPLING - middle[axis]
        placed = cv2.warpAffine(layer, matrix, size, flags=cv2.INTER_LINEAR)
        canvas = placed[..., :3] + canvas * (1 - placed[..., 3:])
    small = cv2.resize(canvas, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


def scene() -> list[np.ndarray]:
    """Every true frame at FPS * FACTOR; the last source frame is the last one."""
    layers = [make() for make, *_ in SCENE]
    return [draw(layers, k / (FPS * FACTOR)) for k in range((COUNT - 1) * FACTOR + 1)]


def tone() -> np.ndarray:
    """A quiet sine with a click every half second, [1, samples] float."""
    at = np.arange(SAMPLE_RATE * COUNT // FPS) / SAMPLE_RATE
    click = np.exp(-(at % 0.5) * 120) * np.sin(2 * np.pi * 1800 * at)
    return (0.15 * np.sin(2 * np.pi * 220 * at) + 0.6 * click).astype(np.float32)[None]


# --- the clip -----------------------------------------------------------------------------------------------


def encode(path: Path, frames: list[np.ndarray]) -> None:
    """The source clip: H.264 at FPS, BT.709, with AAC sound."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "4"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        context = video.codec_context
        context.colorspace = context.color_primaries = context.color_trc = 1
        context.color_range = 1
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        sound = av.AudioFrame.from_ndarray(tone(), format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG")
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        container.mux(audio.encode(sound))
        container.mux(audio.encode())


def between(frames: list[np.ndarray]) -> list[np.ndarray]:
    """Only the frames that had to be made, up to the last source frame."""
    return [f for k, f in enumerate(frames[: (COUNT - 1) * FACTOR + 1]) if k % FACTOR]


# --- the contact sheet --------------------------------------------------------------------------------------


def labelled(image: np.ndarray, text: str) -> np.ndarray:
    bar = np.full((30, image.shape[1], 3), 24, np.uint8)
    cv2.putText(bar, text, (8, 21), cv2.FONT_HERSHEY_DUPLEX, 0.55, (240, 240, 240), 1, cv2.LINE_AA)
    return np.vstack([bar, image])


def error_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Largest channel difference, times four, black to white."""
    error = np.abs(image.astype(np.int16) - truth).max(-1, keepdims=True)
    return np.repeat(np.clip(error * 4, 0, 255), 3, -1).astype(np.uint8)


def sheet(truth: list[np.ndarray], made: dict[str, list[np.ndarray]]) -> np.ndarray:
    """One half-way frame whole, and two details of it and of another, for every method."""
    rows = []
    whole = (slice(0, HEIGHT), slice(0, WIDTH))
    moments = [
        (len(truth) // 2, whole, ""),
        (len(truth) // 2, detail(300, 190), "detail, "),
        (len(truth) // 4, detail(160, 150), "detail, "),
    ]
    for k, area, kind in moments:
        k -= k % (FACTOR - 1) - 1  # the frame half-way between two source frames
        panels = [labelled(panel(truth[k][area]), f"{kind}truth, in-between frame {k}")]
        for name, label in METHODS.items():
            score = f"{psnr(made[name][k], truth[k]):.1f} dB"
            panels.append(
                labelled(panel(made[name][k][area]), f"{kind}{label}" + (f", {score}" if not kind else ""))
            )
        for name in ("flow", "blend"):
            panels.append(
                labelled(panel(error_map(made[name][k], truth[k])[area]), f"{kind}error x4, {METHODS[name]}")
            )
        rows += [np.hstack(panels[:3]), np.hstack(panels[3:])]
    return np.vstack(rows)


def detail(x: int, y: int) -> tuple[slice, slice]:
    return slice(y - 60, y + 60), slice(x - 106, x + 107)


def panel(image: np.ndarray) -> np.ndarray:
    return cv2.resize(
        image, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC if image.shape[0] < HEIGHT else cv2.INTER_AREA
    )


# --- all of it ----------------------------------------------------------------------------------------------


def run(out: Path) -> dict[str, Score]:
    """Write the demo into a folder; the mean score of every method on the frames in between."""
    out.mkdir(parents=True, exist_ok=True)
    frames = scene()
    truth = between(frames)
    made = {}
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "source.mp4"
        encode(clip, frames[::FACTOR])
        for name in METHODS:
            target = out / "demo.mp4" if name == "flow" else Path(folder) / f"{name}.mp4"
            arguments = ["interpolate", str(clip), str(target), "--factor", str(FACTOR), "--model", name]
            arguments += ["--crf", str(CRF), "--overwrite"]
            began = time.perf_counter()
            if cli.main(arguments):
                raise SystemExit(1)
            print(f"vfi {arguments[0]} --factor {FACTOR} --model {name}: {time.perf_counter() - began:.1f} s")
            made[name] = between(list(rgb_frames(target)))
    cv2.imwrite(str(out / "demo.png"), cv2.cvtColor(sheet(truth, made), cv2.COLOR_RGB2BGR))
    scores = {}
    for name, images in made.items():
        scores[name] = mean_score([Score(psnr(a, b), ssim(a, b)) for a, b in zip(images, truth, strict=True)])
    return scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        help="folder for demo.mp4 and demo.png (default: %(default)s)",
    )
    scores = run(parser.parse_args().out)
    print(f"\n{FPS} to {FPS * FACTOR} frames a second, in-between frames against the truth:")
    print(f"{'method':<12} {'PSNR dB':>8} {'SSIM':>7}")
    for name, score in scores.items():
        print(f"{METHODS[name]:<12} {score.psnr:8.2f} {score.ssim:7.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
