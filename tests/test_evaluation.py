"""`vfi eval` on tiny trees of every layout, against figures computed by hand, and on real clips."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="evaluation needs PyAV")
pytest.importorskip("cv2", reason="evaluation needs OpenCV")

import cv2
from clips import SHARED, make_clip
from eval_trees import means, middle, noise, psnr, refused, run, save, vimeo90k
from torch import Tensor

from vfi_kernels import models
from vfi_kernels.data import LayoutError
from vfi_kernels.evaluation import KINDS, benchmarks, metrics
from vfi_kernels.evaluation.published import PUBLISHED
from vfi_kernels.evaluation.run import evaluate
from vfi_kernels.video import rgb_frames

Measure = Callable[[np.ndarray, np.ndarray], float]


def check(found: dict[str, float], pairs: list[tuple[np.ndarray, np.ndarray]], **measures: Measure) -> None:
    """Figures are the means over pairs of a made and a true frame."""
    for name, measure in measures.items():
        name = name.replace("_", " ").replace("3D", "3-D")
        assert found[name] == pytest.approx(np.mean([measure(*pair) for pair in pairs]), abs=1e-6), name


def test_vimeo90k(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "vimeo_triplet"
    root.mkdir()
    pairs = vimeo90k(root)
    report = run(tmp_path, "--data", "vimeo90k", root, "--model", "blend")
    check(means(report)["Vimeo90K"], pairs, PSNR=psnr, SSIM_3D=metrics.ssim_3d)
    assert [row["name"] for row in report["results"][0]["frames"]] == ["00001/0001", "00001/0002"]
    assert report["results"][0]["whole"]
    table = capsys.readouterr().out
    assert "| here, 2 frames" in table
    assert re.search(r"\| RIFE +\| 35\.615 \| 0\.9779 +\| github\.com/hzwer/ECCV2022-RIFE, README +\|", table)
    one = run(tmp_path, "--data", "vimeo90k", root, "--model", "blend", "--limit", 1)
    check(means(one)["Vimeo90K"], pairs[:1], PSNR=psnr)
    assert "here, the first 1 frames" in capsys.readouterr().out
    err = refused(capsys, "--data", "vimeo90k", tmp_path)
    assert f"It looks like {root} is the folder to give. Expected:\n{tmp_path}/\n" in err
    assert "\n  sequences/00001/0001/  im1.png im2.png im3.png\n" in err


def test_ucf101(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs, masks = [], []
    for seed in (1, 2):
        folder = tmp_path / "ucf101_interp_ours" / str(seed)
        names = ("frame_00", "frame_01_gt", "frame_02")
        before, truth, after = (save(folder / f"{n}.png", noise(seed + 9 * i)) for i, n in enumerate(names))
        mask = np.zeros_like(before)
        mask[:, : 4 + seed] = 255
        save(tmp_path / "motion_masks_ucf101_interp" / str(seed) / "motion_mask.png", mask)
        pairs.append((middle(before, after), truth))
        masks.append(4 + seed)
    found = means(run(tmp_path, "--data", "ucf101", tmp_path, "--model", "blend"))["UCF101"]
    check(found, pairs, PSNR=psnr, SSIM_3D=metrics.ssim_3d)
    white = [psnr(a[:, :k], b[:, :k]) for (a, b), k in zip(pairs, masks, strict=True)]
    assert found["PSNR (DVF)"] == pytest.approx(np.mean(white))
    black = [(a[:, k:], b[:, k:]) for (a, b), k in zip(pairs, masks, strict=True)]
    assert found["PSNR (SloMo)"] == pytest.approx(np.mean([psnr(a, b) for a, b in black]))
    distances = [np.sqrt(((a.astype(float) - b) ** 2).sum(-1)).mean() for a, b in black]
    assert found["IE (SloMo)"] == pytest.approx(np.mean(distances))
    capsys.readouterr()
    (tmp_path / "ucf101_interp_ours" / "2" / "frame_02.png").unlink()
    assert "motion_mask.png" in refused(capsys, "--data", "ucf101", tmp_path).splitlines()[-1]


def test_middlebury(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """SepConv's script takes the whole part; RIFE's rounds, and fills up what is smaller than 640 x 480."""
    root = tmp_path / "middlebury"
    pairs, rounded = [], []
    for seed, name in enumerate(("Venus", "Beanbags")):
        before = save(root / "other-data" / name / "frame10.png", noise(seed))
        after = save(root / "other-data" / name / "frame11.png", noise(seed + 5) + 1)  # halves
        truth = save(root / "other-gt-interp" / name / "frame10i11.png", noise(seed + 9))
        pairs.append((middle(before, after), truth))
        rounded.append((np.rint((before.astype(float) + after) / 2), truth))
    report = run(tmp_path, "--data", "middlebury", root, "--model", "blend")
    first, second = means(report).values()
    check(first, pairs, PSNR=psnr, SSIM=metrics.ssim)
    # Halves go either way, so this is no exact figure; the next test has one.
    assert second["IE"] == pytest.approx(np.mean([np.abs(a - b).mean() for a, b in rounded]), abs=0.1)
    capsys.readouterr()
    assert f"It looks like {root} is" in refused(capsys, "--data", "middlebury", tmp_path)
    (root / "other-data" / "Venus" / "frame11.png").unlink()
    err = refused(capsys, "--data", "middlebury", root)
    assert "other-data/Venus/frame11.png is missing" in err
    assert "\n  other-gt-interp/Beanbags/  frame10i11.png\n" in err


def test_canvas_is_zeros_to_the_right_and_below() -> None:
    shapes = []

    class Spy(type(models.create("repeat"))):
        def interpolate(self, frame0, frame1, timesteps):
            shapes.append((frame0.shape, frame0[..., 16:, :].sum() + frame0[..., 20:].sum()))
            return super().interpolate(frame0, frame1, timesteps)

    item = benchmarks.Item("x", noise(1), noise(2), ((0.5, noise(3)),))
    part = benchmarks.Part("Middlebury", benchmarks.FILLED, 1, lambda: iter([item]))
    results, _ = evaluate([part], {"spy": Spy()})
    assert shapes == [((1, 3, 480, 640), 0)]
    assert results[0].mean("IE") == pytest.approx(np.abs(noise(1).astype(float) - noise(3)).mean())


@pytest.mark.parametrize("prefix", ["data/SNU-FILM/test", "test"])
@pytest.mark.parametrize("folder", [".", "eval_modes"])
def test_snu_film(tmp_path: Path, capsys: pytest.CaptureFixture[str], prefix: str, folder: str) -> None:
    """The lists as they are published, whose paths start elsewhere, and edited ones."""
    root = tmp_path / "SNU-FILM"
    (root / folder).mkdir(parents=True)
    pairs = {}
    for seed, level in enumerate(("easy", "medium", "hard", "extreme")):
        names = [f"YouTube_test/{seed:04}/{i}.png" for i in (1, 2, 3)]
        before, truth, after = (save(root / "test" / n, noise(seed + 4 * i)) for i, n in enumerate(names))
        pairs[f"SNU-FILM {level}"] = [(middle(before, after), truth)]
        (root / folder / f"test-{level}.txt").write_text(
            " ".join(f"{prefix}/{name}" for name in names) + "\n"
        )
    found = means(run(tmp_path, "--data", "snu-film", root, "--model", "blend"))
    assert list(found) == list(pairs)
    for part, expected in pairs.items():
        check(found[part], expected, SSIM_3D=metrics.ssim_3d)
        assert found[part]["PSNR"] == pytest.approx(psnr(*expected[0]), abs=1e-3)  # 1e-8 more of error
    capsys.readouterr()
    (root / "test" / "YouTube_test" / "0003" / "2.png").unlink()
    assert "test/YouTube_test/0003/2.png is missing" in refused(capsys, "--data", "snu-film", root)
    (root / folder / "test-hard.txt").write_text("a.png b.png\n")
    assert "test-hard.txt should have three images a line" in refused(capsys, "--data", "snu-film", root)
    (root / folder / "test-hard.txt").unlink()
    err = refused(capsys, "--data", "snu-film", root)
    assert "test-hard.txt is missing" in err
    assert "or in eval_modes/" in err


def test_xtest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Frames 4, 8 .. 28 between 0 and 32, at eighths."""
    root = tmp_path / "test"
    pairs = []
    for kind, scene in (("Type1", "TEST01"), ("Type3", "TEST15")):
        folder = root / kind / scene
        first = noise(len(kind + scene)) // 4
        step = noise(len(scene) + 1) // 16  # eighths are whole
        frames = [first if n == 0 else first + 8 * step if n == 32 else noise(n) for n in range(33)]
        for number, frame in enumerate(frames):
            save(folder / f"{number:04}.png", frame)
        pairs += [(first + k * step, frames[4 * k]) for k in range(1, 8)]
    report = run(tmp_path, "--data", "xtest", root, "--model", "blend")
    check(means(report)["X-TEST 4K, 8x"], pairs, PSNR=psnr, SSIM_luma=metrics.ssim_luma)
    assert [row["timestep"] for row in report["results"][0]["frames"][:7]] == [k / 8 for k in range(1, 8)]
    capsys.readouterr()
    assert f"It looks like {root} is" in refused(capsys, "--data", "xtest", tmp_path)
    (root / "Type3" / "TEST15" / "0032.png").unlink()
    assert "Type3/TEST15 should have 33 images; it has 32" in refused(capsys, "--data", "xtest", root)


def test_xiph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Odd frames are given, even ones made: 49 of each clip, at half the size and of the middle."""
    root = tmp_path / "netflix"
    frames = [np.kron(noise(n, (8, 10)), np.ones((2, 2, 1), np.uint8)) for n in range(1, 101)]
    for name in benchmarks.XIPH:
        for number, frame in enumerate(frames, 1):
            save(root / f"{name}-{number:03}.png", frame)
    report = run(tmp_path, "--data", "xiph", root, "--model", "blend")
    triples = [frames[n - 2 : n + 1] for n in range(2, 99, 2)]
    views = {"Xiph 2K": np.s_[::2, ::2], 'Xiph "4K"': np.s_[4:12, 5:15]}
    for part, view in views.items():
        pairs = [(middle(a[view], b[view]), truth[view]) for a, truth, b in triples]
        check(means(report)[part], pairs, PSNR=psnr, SSIM=metrics.ssim)
    names = [row["name"] for row in report["results"][0]["frames"]]
    assert len(names) == 392
    assert names[48:50] == ["BoxingPractice-098", "Crosswalk-002"]
    capsys.readouterr()
    (root / "Tango-099.png").unlink()
    err = refused(capsys, "--data", "xiph", root)
    assert "Tango-099.png is missing" in err
    assert err.endswith("\n  Tango-001.png ... Tango-100.png\n")


def test_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files and folders of frames, several models in one run, and what the mean of the clips is."""
    root = tmp_path / "clips"
    for number in range(8):
        save(root / "frames" / f"{number}.png", noise(number))
    clip = make_clip(root / "a.mkv", 25, 7, codec="ffv1", pixels="bgr0")
    sheet = tmp_path / "sheet.png"
    report = run(
        tmp_path, "--data", "videos", root, "--model", "blend", "--model", "repeat", "--sheet", sheet
    )
    images = {"a.mkv": list(rgb_frames(clip)), "frames": [noise(number) for number in range(8)]}
    for result in report["results"]:
        frames = images[result["part"]]
        rows = result["frames"]
        assert [row["name"] for row in rows] == ["frames 0 to 2", "frames 2 to 4", "frames 4 to 6"]
        for k, row in enumerate(rows):
            before, truth, after = frames[2 * k : 2 * k + 3]
            made = before if result["model"] == "repeat" else np.rint((before.astype(float) + after) / 2)
            assert row["PSNR"] == pytest.approx(psnr(made, truth), abs=0.1)  # halves go either way
    blends = [result["mean"]["PSNR"] for result in report["results"] if result["model"] == "blend"]
    out = capsys.readouterr().out
    mean = next(line for line in out.partition("## Mean of the clips")[2].splitlines() if "blend" in line)
    assert f"| {np.mean(blends):.2f} |" in mean
    assert [len(worst) for worst in report["worst"].values()] == [6, 6]
    assert report["worst"]["blend"][0]["name"].startswith("frames: frames ")
    scores = [row["PSNR"] for row in report["worst"]["blend"]]
    assert scores == sorted(scores)
    assert cv2.imread(str(sheet)).shape[1] == 5 * 320

    thirds = run(tmp_path, "--data", "videos", clip, "--model", "repeat", "--factor", 3)
    rows = thirds["results"][0]["frames"]
    assert [row["timestep"] for row in rows] == pytest.approx([1 / 3, 2 / 3] * 2)
    assert rows[3]["PSNR"] == pytest.approx(psnr(images["a.mkv"][3], images["a.mkv"][5]), abs=1e-6)
    capsys.readouterr()
    err = refused(capsys, "--data", "videos", root, "--factor", 9)
    assert "there is none of 10 frames or more" in err
    assert "any_video.mp4" in err
    assert "there is none of 3 frames" in refused(capsys, "--data", "videos", tmp_path / "absent")


def test_synthetic_scenes_are_the_same_every_time(tmp_path: Path) -> None:
    command = ("--data", "synthetic", "--limit", 2, "--model", "blend", "--model", "repeat")
    first, second = (means(run(tmp_path, *command)) for _ in range(2))
    assert first == second
    (part,) = benchmarks.parts("synthetic", None)
    assert part.count == 100
    item = next(part.items())
    assert item.before.shape == (256, 256, 3)
    assert not np.array_equal(item.before, item.truths[0][1])


def clip_of(name: str) -> Path:
    source = SHARED / "clips" / name
    if not source.is_file():
        pytest.skip(f"{source} is absent: the clips are not part of the project")
    return source


def test_carphone_has_its_known_figures(tmp_path: Path) -> None:
    """Those that came with the clip, of its first 41 frames."""
    expected = {"repeat": (29.34, 0.920), "blend": (31.86, 0.952), "flow": (31.99, 0.956)}
    wanted = [word for name in expected for word in ("--model", name)]
    report = run(tmp_path, "--data", "videos", clip_of("carphone.mp4"), "--limit", 20, *wanted)
    found = {result["model"]: result["mean"] for result in report["results"]}
    for name in ("repeat", "blend"):  # by other chroma filters
        assert found[name]["PSNR"] == pytest.approx(expected[name][0], abs=0.06)
        assert found[name]["SSIM"] == pytest.approx(expected[name][1], abs=0.002)
    # Our flow is better than the one that was measured.
    assert expected["flow"][0] < found["flow"]["PSNR"] < 32.5
    assert expected["flow"][1] < found["flow"]["SSIM"] < 0.965


def test_models_rank_on_real_video(tmp_path: Path) -> None:
    wanted = [word for name in ("repeat", "blend", "flow") for word in ("--model", name)]
    report = run(tmp_path, "--data", "videos", clip_of("bigbuckbunny.mp4"), "--limit", 3, *wanted)
    for column, sign in {"PSNR": 1, "SSIM": 1, "SSIM 3-D": 1, "IE": -1}.items():
        values = [sign * result["mean"][column] for result in report["results"]]
        assert values == sorted(values), column


def test_the_next_pair_is_loaded_meanwhile() -> None:
    """One ahead and no further; what goes wrong there is raised here."""
    loaded, comes = [], [threading.Event() for _ in range(3)]

    def items() -> Iterator[benchmarks.Item]:
        for number, event in enumerate(comes):
            loaded.append(number)
            event.set()
            yield benchmarks.Item(str(number), *[noise(number)] * 2, ((0.5, noise(number)),))
        raise LayoutError("frame 3 is missing")

    class Slow(models.Interpolator):
        seen = 0

        def synthesize(self, frame0: Tensor, frame1: Tensor, times: Tensor) -> Tensor:
            self.seen += 1
            if self.seen < 3:
                assert comes[self.seen].wait(10)  # in vain, if it were loaded afterwards
                assert loaded[-1] == self.seen
            return frame0

    model = Slow()
    with pytest.raises(LayoutError, match="frame 3"):
        evaluate([benchmarks.Part("", benchmarks.USUAL, 4, items)], {"slow": model})
    assert (model.seen, loaded) == (3, [0, 1, 2])


def test_every_published_figure_has_its_place() -> None:
    """A part and a column of that name, or it would never be shown."""
    columns: dict[str, set[str]] = {}
    for name, protocol in {
        "Vimeo90K": benchmarks.VIMEO,
        "UCF101": benchmarks.MASKED,
        "Middlebury": benchmarks.TRUNCATED,
        "Middlebury, filled to 640x480": benchmarks.FILLED,
        **{f"SNU-FILM {level}": benchmarks.FILM for level in benchmarks.LEVELS},
        "Xiph 2K": benchmarks.USUAL,
        'Xiph "4K"': benchmarks.USUAL,
        "X-TEST 4K, 8x": benchmarks.XTEST,
    }.items():
        columns[name] = {metric.name for metric in protocol.metrics}
    for row in PUBLISHED:
        assert row.values.keys() <= columns[row.part], row
        assert row.source
    assert columns.keys() == {row.part for row in PUBLISHED}
    assert benchmarks.OPENERS.keys() == KINDS.keys()
    with pytest.raises(ValueError, match="kind must be one of vimeo90k"):
        benchmarks.parts("imagenet", None)
    with pytest.raises(LayoutError):
        benchmarks.parts("xiph", Path("absent"))
