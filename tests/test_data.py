"""Data on disk, in its published layouts, and augmentations."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

pytest.importorskip("av", reason="reading videos needs PyAV")
pytest.importorskip("cv2", reason="reading images needs OpenCV")

import av
import cv2
from clips import make_clip, picture

from vfi_kernels.data import (
    AUGMENTATIONS,
    UCF101,
    Augment,
    Clips,
    LayoutError,
    VimeoSeptuplets,
    VimeoTriplets,
    floats,
)
from vfi_kernels.data.augment import Frames
from vfi_kernels.data.frames import Video, clips, read_image
from vfi_kernels.video import VideoError, rgb_frames

# Small pictures of MPEG-PS share time stamps, and the number of threads decides how small they are.
B_FRAMES = {"gop_size": 5, "max_b_frames": 2, "thread_count": 1}
OPEN_GOP = {"gop_size": 10, "options": {"x264-params": "open-gop=1:bframes=3"}}


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def numbered(number: int, size: tuple[int, int] = (8, 12)) -> np.ndarray:
    """An image of which every pixel says which frame it is and where in it."""
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full(size, number), rows, columns], -1).astype(np.uint8)


def vimeo(root: Path, *, prefix: str = "tri", images: int = 3, train: int = 20, test: int = 2) -> Path:
    """Frame i of sequence s of either list is number 10 s + i."""
    names = [f"{1 + i // 10:05}/{1 + i % 10:04}" for i in range(train + test)]
    for s, name in enumerate(names):
        for i in range(images):
            save(root / "sequences" / name / f"im{i + 1}.png", numbered(10 * s + i))
    (root / f"{prefix}_trainlist.txt").write_text("\n".join(names[:train]) + "\n")
    (root / f"{prefix}_testlist.txt").write_text("\n".join(names[train:]) + "\n\n")
    return root


def ids(sample: dict[str, Tensor]) -> list[int]:
    return [int(sample[name][0].unique()) for name in ("frame0", "target", "frame1")]


def test_vimeo_triplets(tmp_path: Path) -> None:
    root = vimeo(tmp_path)
    train, validation, test = (VimeoTriplets(root, split) for split in ("train", "validation", "test"))
    assert [len(data) for data in (train, validation, test)] == [19, 1, 2]
    assert [ids(data[0]) for data in (train, validation, test)] == [
        [0, 1, 2],
        [190, 191, 192],
        [200, 201, 202],
    ]
    sample = train[3]
    assert sample["timestep"] == 0.5
    assert torch.equal(sample["target"].permute(1, 2, 0), torch.from_numpy(numbered(31)))  # RGB, not BGR
    with pytest.raises(IndexError, match="there are 2 samples; got number 2"):
        test[2]
    with pytest.raises(ValueError, match="'validation' or 'test'; got 'val'"):
        VimeoTriplets(root, "val")


def test_vimeo_septuplets(tmp_path: Path) -> None:
    root = vimeo(tmp_path, prefix="sep", images=7, train=20, test=1)
    train, test = VimeoSeptuplets(root), VimeoSeptuplets(root, "test")
    assert ids(test[0]) == [200, 203, 206]
    assert test[0]["timestep"] == 0.5
    seen = set()
    for epoch in range(30):
        train.set_epoch(epoch)
        sample = train[1]
        first, middle, last = ids(sample)
        assert 10 <= first < middle < last <= 16
        assert sample["timestep"].item() == pytest.approx((middle - first) / (last - first))
        seen.add((first, middle, last))
    assert len(seen) > 15  # of 35


def test_ucf101(tmp_path: Path) -> None:
    for name in ("10", "9"):
        folder = tmp_path / "ucf101_interp_ours" / name
        for i, image in enumerate(("frame_00", "frame_01_gt", "frame_02", "frame_01_ours")):
            save(folder / f"{image}.png", numbered(10 * int(name) + i))
        mask = np.zeros((8, 12, 3), np.uint8)
        mask[2:4, 5:] = 255
        save(tmp_path / "motion_masks_ucf101_interp" / name / "motion_mask.png", mask)
    data = UCF101(tmp_path)
    assert [ids(sample) for sample in (data[0], data[1])] == [[90, 91, 92], [100, 101, 102]]
    batch = floats(next(iter(DataLoader(data, batch_size=2))))
    assert batch["mask"].shape == (2, 1, 8, 12)
    assert batch["mask"].sum() == 2 * 2 * 7
    assert batch["timestep"].tolist() == [0.5, 0.5]
    (tmp_path / "motion_masks_ucf101_interp" / "9" / "motion_mask.png").unlink()
    with pytest.raises(LayoutError, match=r"motion_masks_ucf101_interp/9/motion_mask\.png is missing"):
        UCF101(tmp_path)


def test_clips_of_frames(tmp_path: Path) -> None:
    """Super SloMo's: folders of 12 frames, windows of 9."""
    for clip in range(2):
        for i in range(12):
            save(tmp_path / "train" / str(clip) / f"{i}.png", numbered(20 * clip + i))  # 10 follows 9
    (tmp_path / "train" / "0" / "notes.txt").write_text("not a frame")
    save(tmp_path / "train" / "short" / "0.png", numbered(99))
    data = Clips(tmp_path / "train")
    assert len(data) == 2
    seen = set()
    for epoch in range(60):
        data.set_epoch(epoch)
        sample = data[1]
        first, middle, last = ids(sample)
        assert last - first == 8
        assert 20 <= first < middle < last <= 31
        assert sample["timestep"].item() == (middle - first) / 8
        seen.add((first, middle))
    assert {first for first, _ in seen} == {20, 21, 22, 23}
    assert len({middle - first for first, middle in seen}) == 7
    fixed = Clips(tmp_path / "train", 3, drawn=False)
    assert [ids(fixed[i]) for i in range(8)] == [
        [20 * clip + 3 * i, 20 * clip + 3 * i + 1, 20 * clip + 3 * i + 2] for clip in (0, 1) for i in range(4)
    ]


@pytest.mark.parametrize(
    ("name", "codec", "tags"),
    [
        ("a.mp4", "libx264", B_FRAMES),
        ("a.mkv", "libx264", B_FRAMES),
        ("a.ts", "libx264", B_FRAMES),
        ("a.avi", "libx264", B_FRAMES),
        ("a.avi", "libx264", {"gop_size": 5, "max_b_frames": 0}),
        ("a.mov", "mpeg4", B_FRAMES),
        ("a.avi", "mpeg4", B_FRAMES),
        ("a.ts", "mpeg2video", B_FRAMES),
        ("a.mpg", "mpeg2video", B_FRAMES),
        ("a.mpg", "mpeg1video", B_FRAMES),  # its chroma lies elsewhere
        ("a.mp4", "libx264", OPEN_GOP),
        ("a.avi", "libx264", OPEN_GOP),
        # Key frames in name only: frames come later.
        ("a.mkv", "libx264", {"gop_size": 5, "options": {"x264-params": "intra-refresh=1"}}),
    ],
)
def test_frames_of_a_video(tmp_path: Path, name: str, codec: str, tags: dict[str, object]) -> None:
    """Frames from anywhere, in any order, are those of decoding from the start."""
    path = make_clip(tmp_path / name, 25, 24, codec=codec, tags=tags)
    whole, video = list(rgb_frames(path)), Video(path)
    assert len(video) == len(whole) == 24
    for numbers in (*([number] for number in range(24)), [0, 1, 2], [6, 7, 8], [9, 4], [23, 0, 11], [3, 3]):
        for number, frame in zip(numbers, video.frames(numbers), strict=True):
            assert np.array_equal(frame, whole[number]), number
    with pytest.raises(VideoError, match="frame 24 cannot be decoded"):
        video.frames([23, 24])


def test_frames_of_a_recording_that_begins_anywhere(tmp_path: Path) -> None:
    """What lies before the first key frame is not counted."""
    content = make_clip(tmp_path / "whole.ts", 25, 40, tags=B_FRAMES).read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(content[len(content) // 4 // 188 * 188 :])
    whole, video = list(rgb_frames(path)), Video(path)
    assert len(video) == len(whole) < 40
    for number in range(len(whole)):
        assert np.array_equal(video.frames([number])[0], whole[number]), number


@pytest.mark.parametrize(
    ("name", "codec", "b_frames"),
    [("a.mp4", "libx264", 2), ("a.mkv", "libx264", 2), ("a.avi", "mpeg4", 0), ("a.ts", "libx264", 2),
     ("a.mpg", "mpeg2video", 2)],
)  # fmt: skip
def test_videos_are_decoded_from_a_key_frame_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, codec: str, b_frames: int
) -> None:
    decoded = []

    def seen(video: Video, first: int) -> Iterator[tuple[int, av.VideoFrame]]:
        for number, frame in original(video, first):
            decoded.append(number)
            yield number, frame

    original = Video._decoded
    monkeypatch.setattr(Video, "_decoded", seen)
    tags = {"gop_size": 10, "max_b_frames": b_frames}
    Video(make_clip(tmp_path / name, 25, 60, codec=codec, tags=tags)).frames([58])
    assert decoded[-1] == 58
    assert len(decoded) <= 12


def test_clips_of_videos(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = make_clip(tmp_path / "deep" / "a.mp4", 25, 14, tags=B_FRAMES)
    make_clip(tmp_path / "b.mkv", 25, 7, codec="ffv1", start=40)
    whole = list(rgb_frames(path))
    data = Clips(tmp_path, 3, drawn=False)
    assert [len(clip) for clip in data.clips] == [7, 14]
    assert len(data) == 2 + 4
    assert torch.equal(data[2]["target"], torch.from_numpy(whole[1]).permute(2, 0, 1))
    (tmp_path / "c.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoError, match=r"c\.mp4: cannot be read as a video"):
        Clips(tmp_path)


def test_wrong_layouts_show_the_right_one(tmp_path: Path) -> None:
    root = vimeo(tmp_path / "vimeo_triplet")
    with pytest.raises(LayoutError) as error:
        VimeoTriplets(tmp_path)
    assert "tri_trainlist.txt is missing" in str(error.value)
    assert f"It looks like {root} is the folder to give" in str(error.value)
    assert "sequences/00001/0001/  im1.png im2.png im3.png" in str(error.value)
    with pytest.raises(LayoutError, match=r"septuplets: sep_trainlist.txt is missing(?s:.*)im7.png"):
        VimeoSeptuplets(root)
    shutil.rmtree(root / "sequences" / "00001")
    with pytest.raises(LayoutError, match=r"names 00001/0001, and sequences/00001/0001/im1.png is missing"):
        VimeoTriplets(root)
    (root / "tri_testlist.txt").write_text("")
    with pytest.raises(LayoutError, match=r"tri_testlist\.txt is empty"):
        VimeoTriplets(root, "test")
    with pytest.raises(LayoutError, match=r"ucf101_interp_ours/ is missing(?s:.*)frame_01_gt.png"):
        UCF101(tmp_path)
    with pytest.raises(LayoutError, match=r"no clip of 9 frames(?s:.*)any_video.mp4"):
        Clips(tmp_path)
    with pytest.raises(LayoutError, match="it is no folder"):
        Clips(tmp_path / "absent")
    with pytest.raises(ValueError, match="3 frames or more; got 2"):
        Clips(tmp_path, 2)


def test_images(tmp_path: Path) -> None:
    save(tmp_path / "a.png", numbered(7))
    assert np.array_equal(read_image(tmp_path / "a.png"), numbered(7))
    cv2.imwrite(str(tmp_path / "grey.png"), numbered(7)[..., 1])
    assert read_image(tmp_path / "grey.png").shape == (8, 12, 3)
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"b\.png: is no image, or damaged"):
        read_image(tmp_path / "b.png")
    with pytest.raises(FileNotFoundError):
        read_image(tmp_path / "absent.png")
    assert [len(clip) for clip in clips(tmp_path)] == [3]


def test_samples_are_a_matter_of_seed_epoch_and_number(tmp_path: Path) -> None:
    """Workers that outlive an epoch draw other numbers in the next; each the same as without workers."""
    root = vimeo(tmp_path, train=8)
    augment = Augment(crop=(4, 4), flip_x=0.5, reverse=0.5, turns=True)
    data, alone = VimeoTriplets(root, augment=augment), VimeoTriplets(root, augment=augment)
    loader = DataLoader(
        data, batch_size=2, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    epochs = []
    for epoch in (0, 1):
        data.set_epoch(epoch)
        alone.set_epoch(epoch)
        frames = torch.cat([batch["frame0"] for batch in loader])
        assert torch.equal(frames, torch.stack([alone[i]["frame0"] for i in range(len(alone))]))
        epochs.append(frames)
    assert not torch.equal(*epochs)
    other = VimeoTriplets(root, augment=augment, seed=1)
    assert not torch.equal(torch.stack([other[i]["frame0"] for i in range(len(other))]), epochs[0])
    assert torch.equal(pickle.loads(pickle.dumps(data))[0]["frame0"], epochs[1][0])


def test_floats() -> None:
    batch = {"frame0": torch.tensor([0, 51, 255], dtype=torch.uint8), "timestep": torch.tensor([0.25])}
    made = floats(batch)
    assert made["frame0"].tolist() == pytest.approx([0, 0.2, 1])
    assert made["timestep"].tolist() == [0.25]


def sample(size: tuple[int, int] = (8, 12), timestep: float = 0.25) -> Frames:
    return Frames(*(numbered(i, size) for i in range(3)), timestep)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_augmentations_truth_table() -> None:
    """Each alone and always; all frames alike."""
    plain = sample()
    assert Augment()(plain, rng()) == plain
    turned = Augment(flip_x=1)(plain, rng())
    for frame, image in zip((turned.before, turned.target, turned.after), range(3), strict=True):
        assert np.array_equal(frame, numbered(image)[:, ::-1])
    assert np.array_equal(Augment(flip_y=1)(plain, rng()).target, numbered(1)[::-1])
    assert np.array_equal(Augment(channels=1)(plain, rng()).target, numbered(1)[..., ::-1])
    back = Augment(reverse=1)(plain, rng())
    assert [frame[0, 0, 0] for frame in (back.before, back.target, back.after)] == [2, 1, 0]
    assert back.timestep == 0.75
    seen = set()
    for seed in range(40):
        made = Augment(crop=(4, 4), turns=True)(plain, rng(seed))
        corner = made.target[..., 1:] - made.target[..., 1:].min((0, 1))
        seen.add(tuple(corner[0, 0]))
        assert np.array_equal(made.before[..., 1:], made.after[..., 1:])
    assert seen == {(0, 0), (0, 3), (3, 0), (3, 3)}


def test_crops_come_from_everywhere() -> None:
    corners = {tuple(Augment(crop=(7, 10))(sample(), rng(seed)).target[0, 0, 1:]) for seed in range(100)}
    assert corners == {(y, x) for y in range(2) for x in range(3)}
    assert Augment(crop=(8, 12))(sample(), rng()).target.shape == (8, 12, 3)
    with pytest.raises(
        ValueError, match="crop of 9x10, shifted by 0, needs frames of at least 9x10; got 8x12"
    ):
        Augment(crop=(9, 10))(sample(), rng())
    with pytest.raises(ValueError, match=r"square crop; got \(8, 12\)"):
        Augment(crop=(8, 12), turns=True)


def test_shifted_crops_add_motion() -> None:
    shifts = set()
    for seed in range(300):
        made = Augment(crop=(4, 6), shift=2)(sample(timestep=0.5), rng(seed))
        before, target, after = (
            frame[0, 0, 1:].astype(int) for frame in (made.before, made.target, made.after)
        )
        assert np.array_equal(target - before, after - target)
        shifts.add(tuple(target - before))
    assert len(shifts) == 25
    with pytest.raises(ValueError, match=r"shift is for timestep 0\.5; got 0\.25"):
        Augment(crop=(4, 6), shift=2)(sample(), rng())
    with pytest.raises(ValueError, match="there is none"):
        Augment(shift=2)


def test_rotation_by_degrees() -> None:
    flat = Frames(*(np.full((40, 40, 3), 10 * i, np.uint8) for i in (1, 2, 3)), 0.5)
    turned = [Augment(rotate=10)(flat, rng(seed)) for seed in range(40)]
    corners = [made.target[0, 0, 0] for made in turned]
    assert 10 < sum(corner == 128 for corner in corners) < 30  # every other time
    assert all(made.target[20, 20, 0] == 20 for made in turned)
    # By the angle drawn, about the middle: the same as by an independent rotation, inside.
    image = picture(0)
    made = Augment(rotate=10)(Frames(image, image, image, 0.5), rng(3))
    draws = rng(3)
    assert draws.random(5)[-1] < 0.5  # the other changes draw before
    angle = np.deg2rad(draws.uniform(-10, 10))
    y, x = np.mgrid[:48, :64] - np.array([24, 32])[:, None, None]
    from_x = x * np.cos(angle) - y * np.sin(angle) + 32
    from_y = x * np.sin(angle) + y * np.cos(angle) + 24
    expected = cv2.remap(image, from_x.astype(np.float32), from_y.astype(np.float32), cv2.INTER_LINEAR)
    gap = np.abs(made.target.astype(int) - expected)[10:-10, 10:-10]
    assert gap.max() <= 3


def test_published_augmentations() -> None:
    large = Frames(*(numbered(i, (360, 640)) for i in range(3)), 0.5)
    shapes = {name: augment(large, rng(1)).target.shape[:2] for name, augment in AUGMENTATIONS.items()}
    assert shapes == {
        "rife": (224, 224), "superslomo": (352, 352), "dvf": (256, 256), "sepconv": (128, 128)
    }  # fmt: skip
