"""`gesso sequence`: folders and videos in and out, the report, resuming, and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gesso.data import toy_sequence
from gesso.data.spaces import published
from gesso.labels import colourise
from gesso.synthesis import videos
from gesso.synthesis.synthesizer import read_record
from support import picture_model, refused

pytestmark = pytest.mark.usefixtures("one_thread")
SPACE = published("toy")
NO_FFMPEG = "ffmpeg is not on the PATH"
with_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason=NO_FFMPEG)
COUNT = 4


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy sequence; read only."""
    root = tmp_path_factory.mktemp("drawn") / "street"
    toy_sequence.write(root, COUNT, height=32, width=64, seed=11)
    return root


@pytest.fixture
def street(drawn: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(drawn, tmp_path / "street"))


def frames(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def labels(folder: Path) -> list[np.ndarray]:
    found = []
    for path in sorted((folder / "labels").iterdir()):
        with Image.open(path) as image:
            found.append(np.asarray(image).astype(np.int64))
    return found


# ----------------------------------------------------------------------------------------------------- folders


def test_a_folder_becomes_frames_in_kept_styles_and_a_report(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path
) -> None:
    out, report = tmp_path / "out", tmp_path / "flicker.json"
    done = gesso("sequence", drawn, "-o", out, "--model", model_file, "--seed", 3, "--report", report)
    assert done.code == 0, done.err
    assert f"{COUNT} frames in {out}" in done.out
    assert [path.name for path in sorted(out.iterdir())] == [f"{n:06d}.png" for n in range(COUNT)]
    styles = [read_record(path)["style"]["instances"] for path in sorted(out.iterdir())]  # type: ignore[index]
    shared = set(styles[0]) & set(styles[-1])
    assert any(name.startswith("car:") for name in shared)
    assert all(styles[0][name] == styles[-1][name] for name in shared)
    measured = json.loads(report.read_text())
    assert list(measured["flicker"]) == ["kept", "free", "photographs"]
    assert measured["flicker"]["kept"]["all"] < measured["flicker"]["free"]["all"]
    assert len(measured["flicker"]["photographs"]["pairs"]) == COUNT - 1
    assert [line.split(":")[0] for line in done.out.splitlines()[-3:]] == ["styles kept", "styles free", "photographs"]


def test_instance_maps_beside_in_a_folder_of_their_own_or_none(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path
) -> None:
    model, made = ("--model", model_file), {}
    given = ("--instances", drawn / "instances")
    for name, words in {
        "dataset": (drawn,),
        "beside": (drawn / "labels", *given),
        "named": ("--labels", drawn / "labels", *given),
        "bare": (drawn / "labels",),
        "tracked": (drawn, "--track-ids"),
    }.items():
        done = gesso("sequence", *words, "-o", tmp_path / name, *model, "--limit", 2)
        assert done.code == 0, done.err
        assert ("connected components" in done.out) == (name == "bare")
        made[name] = [np.asarray(Image.open(path).copy()) for path in sorted((tmp_path / name).iterdir())]
    for name in ("beside", "named"):
        np.testing.assert_array_equal(made[name], made["dataset"])


def test_frames_follow_each_other_by_number(gesso: Any, drawn: Path, model_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    for number, file in enumerate(sorted((drawn / "labels").iterdir())[:3], start=9):
        shutil.copy(file, folder / f"f{number}.png")
    SPACE.save(folder / "labels.json")
    report = tmp_path / "r.json"
    assert gesso("sequence", folder, "-o", tmp_path / "o", "--model", model_file, "--report", report).code == 0
    assert json.loads(report.read_text())["frames"] == ["f9", "f10", "f11"]


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("sequence", drawn, "-o", out, "--model", model_file, "--styles", "free", "--smooth", 0.4)
    words += ("--smooth-styles", 0.5, "--style-from-photographs")
    assert gesso(*words).code == 0
    whole = frames(out)
    (out / "000001.png").write_bytes(whole[1][:-20])  # half a frame, as other programs leave them
    (out / "000003.png").unlink()
    refused(gesso(*words), "000001.png is there", "--overwrite")
    (out / "000001.png").unlink()
    done = gesso(*words)
    assert "2 of them were there" in done.out
    assert frames(out) == whole


def test_a_frame_is_made_again_where_one_before_it_changed(
    gesso: Any, street: Path, model_file: Path, tmp_path: Path
) -> None:
    words = ("sequence", street, "-o", tmp_path / "out", "--model", model_file)
    assert gesso(*words).code == 0
    label = np.asarray(Image.open(street / "labels" / "000001.png").copy()).copy()
    label[-1, -1] = SPACE.index("sky")
    Image.fromarray(label).save(street / "labels" / "000001.png")
    refused(gesso(*words), "000001.png is there, and so are 2 others")
    done = gesso(*words, "--overwrite")
    assert done.code == 0 and "1 of them were there" in done.out


def test_a_photograph_gives_the_first_frames_styles_to_all(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path
) -> None:
    photograph = drawn / "images" / "000000.png"
    model = ("--model", model_file)
    assert gesso("sequence", drawn, "-o", tmp_path / "a", *model, "--style-image", photograph).code == 0
    assert gesso("sequence", drawn, "-o", tmp_path / "b", *model, "--style-from-photographs").code == 0
    styles = [read_record(tmp_path / name / "000002.png")["style"]["instances"] for name in "ab"]  # type: ignore[index]
    first = read_record(tmp_path / "b" / "000000.png")["style"]["instances"]  # type: ignore[index]
    assert all(styles[0][name] == styles[1][name] for name in first if name in styles[0])
    chosen = ("--style", "car=1", "--style", "instance:road:2=0.1,0.2,0.3")
    assert gesso("sequence", drawn, "-o", tmp_path / "c", *model, *chosen).code == 0
    worn = read_record(tmp_path / "c" / "000003.png")["style"]["instances"]  # type: ignore[index]
    assert worn["road:2"] == [0.1, 0.2, 0.3]
    assert {tuple(v) for name, v in worn.items() if name.startswith("car:")} == {(-0.7, 0.2, 0.3)}


def test_the_toy_world_moves(gesso: Any, tmp_path: Path) -> None:
    done = gesso("toy", tmp_path / "t", "--frames", 2, "--size", "32x64", "--time", "day")
    assert done.code == 0 and "2 frames of 32x64" in done.out
    assert len(list((tmp_path / "t" / "instances").iterdir())) == 2


# ------------------------------------------------------------------------------------------------------ what is refused


def test_frames_of_unequal_sizes_are_refused(gesso: Any, street: Path, model_file: Path, tmp_path: Path) -> None:
    for kind in ("labels", "instances", "images"):
        path = street / kind / "000002.png"
        with Image.open(path) as image:
            small = image.resize((32, 32), Image.Resampling.NEAREST)
        small.save(path)
    done = gesso("sequence", street, "-o", tmp_path / "o", "--model", model_file)
    refused(done, "000002.png is 32x32", "000000.png is 64x32", "of one size")
    assert not (tmp_path / "o").exists()


def test_a_frame_without_its_instance_map_is_no_gap(gesso: Any, street: Path, model_file: Path, tmp_path: Path) -> None:
    (street / "instances" / "000001.png").unlink()
    done = gesso("sequence", street, "-o", tmp_path / "o", "--model", model_file)
    refused(done, "000001.png has no instance map", "no gaps")


def test_empty_and_missing_folders_are_refused(gesso: Any, model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(gesso("sequence", tmp_path / "empty", "-o", tmp_path / "o", "--model", model_file), "holds no image")
    refused(gesso("sequence", tmp_path / "none", "-o", tmp_path / "o", "--model", model_file), "none does not exist")


def test_nothing_is_overwritten_or_mixed(gesso: Any, street: Path, model_file: Path, tmp_path: Path) -> None:
    model = ("--model", model_file)
    out = tmp_path / "out"
    out.mkdir()
    Image.new("RGB", (64, 32)).save(out / "000002.png")
    before = frames(out)
    refused(gesso("sequence", street, "-o", out, *model), "000002.png is there", "--overwrite")
    assert frames(out) == before
    Image.new("RGB", (64, 32)).save(out / "holiday.png")
    refused(gesso("sequence", street, "-o", out, *model, "--overwrite"), "holiday.png", "another folder")
    refused(
        gesso("sequence", street, "-o", street / "images", *model, "--report", tmp_path / "r.json"), "which is read"
    )
    (tmp_path / "r.json").write_text("mine")
    refused(gesso("sequence", street, "-o", tmp_path / "o", *model, "--report", tmp_path / "r.json"), "r.json is there")
    assert (tmp_path / "r.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--fps", 0), "frames per second"),
        (("--limit", 0), "limit is at least 1"),
        (("--smooth", 1), "below 1"),
        (("--smooth-styles", 0.5), "do not change"),
        (("--random-styles", 3), "gesso generate"),
        (("--seed", -1), "seed is -1"),
        (("--limit", 1, "--report", "r.json"), "only one"),
        (("--style", "instance:car:77777=1"), "car:77777"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    refused(gesso("sequence", drawn, "-o", tmp_path / "o", "--model", model_file, *words), said)


def test_models_that_take_pictures_are_refused(gesso: Any, drawn: Path, tmp_path: Path) -> None:
    model = picture_model(3, tmp_path)
    refused(gesso("sequence", drawn / "images", "-o", tmp_path / "o", "--model", model), "takes pictures")


# --------------------------------------------------------------------------------------------------------------- videos


def test_a_missing_ffmpeg_is_named_before_anything_is_made(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = gesso("sequence", drawn, "-o", tmp_path / "film.mp4", "--model", model_file)
    refused(done, "film.mp4 is a video", "ffmpeg", "apt install ffmpeg")
    (tmp_path / "in.mp4").write_bytes(b"x")
    refused(gesso("sequence", tmp_path / "in.mp4", "-o", tmp_path / "o", "--model", model_file), "apt install ffmpeg")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4"]


def fake_ffmpeg(folder: Path, script: str) -> None:
    """A program that is called ffmpeg, first on the PATH."""
    program = folder / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


def test_an_ffmpeg_that_fails_leaves_no_video_and_the_frames(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_ffmpeg(tmp_path, "echo 'Unknown encoder libx264' >&2; exit 7")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    words = ("sequence", drawn, "-o", tmp_path / "film.mp4", "--model", model_file)
    refused(gesso(*words), "film.mp4", "exit code 7", "Unknown encoder libx264")
    assert len(frames(tmp_path / "film.mp4.frames")) == COUNT
    assert not (tmp_path / "film.mp4").exists()
    (tmp_path / "bin" / "ffmpeg").write_text('#!/bin/sh\nfor last; do :; done\ncat > "$last"\n')  # copies raw pixels
    done = gesso(*words)
    assert f"{COUNT} of them were there" in done.out, done.err
    assert (tmp_path / "film.mp4").stat().st_size == COUNT * 32 * 64 * 3, "every frame, raw"
    assert not (tmp_path / "film.mp4.frames").exists()
    refused(gesso(*words), "film.mp4 is there", "--overwrite")


def test_other_videos_are_not_written(gesso: Any, drawn: Path, model_file: Path, tmp_path: Path) -> None:
    refused(gesso("sequence", drawn, "-o", tmp_path / "film.avi", "--model", model_file), ".mp4 or .webm")


def filmed(path: Path, pictures: list[np.ndarray], *codec: str) -> None:
    """A video of pictures."""
    height, width = pictures[0].shape[:2]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", "12", "-i", "-"]
    words = ["ffmpeg", "-loglevel", "error", *raw, *codec, str(path)]
    subprocess.run(words, input=b"".join(p.tobytes() for p in pictures), check=True)


@with_ffmpeg
@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("whole.mkv", ("-c:v", "ffv1", "-pix_fmt", "bgr0")),
        ("small.mp4", ("-c:v", "libx264", "-crf", "10", "-pix_fmt", "yuv444p")),
    ],
)
def test_a_video_of_coloured_label_maps_is_read(
    gesso: Any, drawn: Path, model_file: Path, tmp_path: Path, name: str, codec: tuple[str, ...]
) -> None:
    filmed(tmp_path / name, [colourise(one, SPACE) for one in labels(drawn)], *codec)
    (tmp_path / "decoded").mkdir()
    for file, label in zip(videos.read_frames(tmp_path / name, tmp_path / "decoded"), labels(drawn), strict=True):
        with Image.open(file) as image:
            found = videos.layout_of(np.asarray(image), SPACE, "frame")
        assert (found == label).mean() >= (1 if name == "whole.mkv" else 0.97)
    done = gesso("sequence", tmp_path / name, "-o", tmp_path / "film.webm", "--model", model_file)
    assert done.code == 0, done.err
    (tmp_path / "made").mkdir()
    assert len(videos.read_frames(tmp_path / "film.webm", tmp_path / "made")) == COUNT
    if name == "whole.mkv":
        assert gesso("sequence", tmp_path / name, "-o", tmp_path / "v", "--model", model_file).code == 0
        assert gesso("sequence", drawn / "labels", "-o", tmp_path / "f", "--model", model_file).code == 0
        pairs = zip(sorted((tmp_path / "v").iterdir()), sorted((tmp_path / "f").iterdir()), strict=True)
        for one, other in pairs:
            with Image.open(one) as a, Image.open(other) as b:
                np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@with_ffmpeg
def test_a_video_of_something_else_is_refused(gesso: Any, drawn: Path, model_file: Path, tmp_path: Path) -> None:
    pictures = [np.random.default_rng(n).integers(0, 255, (32, 64, 3), dtype=np.uint8) for n in range(2)]
    filmed(tmp_path / "film.mkv", pictures, "-c:v", "ffv1", "-pix_fmt", "bgr0")
    done = gesso("sequence", tmp_path / "film.mkv", "-o", tmp_path / "o", "--model", model_file)
    refused(done, "frame 1 of", "in no colour of toy", "ffv1")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    refused(gesso("sequence", tmp_path / "broken.mp4", "-o", tmp_path / "o", "--model", model_file), "cannot read")
    refused(gesso("sequence", tmp_path / "none.mp4", "-o", tmp_path / "o", "--model", model_file), "does not exist")
    assert not (tmp_path / "o").exists()


@with_ffmpeg
def test_a_video_holds_the_frames_also_of_odd_sides(tmp_path: Path) -> None:
    pictures = [np.full((33, 65, 3), gray, np.uint8) for gray in (40, 120, 200)]
    videos.write_video(tmp_path / "v.mp4", pictures, fps=12)
    (tmp_path / "f").mkdir()
    for file, picture in zip(videos.read_frames(tmp_path / "v.mp4", tmp_path / "f"), pictures, strict=True):
        with Image.open(file) as image:
            assert image.size == (66, 34)
            assert abs(np.asarray(image)[:33, :65].astype(int) - picture).mean() < 6


def test_blends_take_the_class_beside_them_and_black_is_ignored() -> None:
    label = np.full((20, 20), SPACE.index("sky"))
    label[10:] = SPACE.index("building")
    label[:3, :3] = len(SPACE)
    picture = colourise(label, SPACE)
    picture[9] = picture[9] // 2 + picture[11] // 2  # a row between the two
    found = videos.layout_of(picture, SPACE, "frame")
    assert set(np.unique(found)) == set(np.unique(label))
    assert (np.delete(found, 9, axis=0) == np.delete(label, 9, axis=0)).all()
