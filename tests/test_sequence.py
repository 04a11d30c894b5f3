"""Sequences: ids that last, styles that are kept, pictures that are smoothed, and toy streets that move."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gesso.checkpoints import load_model
from gesso.data import layouts, toy_sequence
from gesso.data.spaces import published
from gesso.data.toy_sequence import sequence
from gesso.errors import ConfigError, DataError, LabelError
from gesso.labels import components
from gesso.synthesis.motion import estimate
from gesso.synthesis.sequences import Sequencer, photographs
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load
from gesso.synthesis.tracking import Tracker, renamed
from styled import mirrored, write_styled_model
from whole_styled import LATENT, write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
SPACE = published("toy")
CAR, ROAD, POLE, SKY = (SPACE.index(name) for name in ("car", "road", "pole", "sky"))
SIZE = (32, 64)


def street(*cars: tuple[int, int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """A road with cars of 8x12 at (top, left)."""
    label = np.full(size, ROAD)
    label[:6] = SKY
    for top, left in cars:
        label[top : top + 8, max(left, 0) : max(left + 12, 0)] = CAR
    return label


def followed(*frames: np.ndarray, memory: int = 12) -> list[dict[int, int]]:
    """Of each frame, the lasting id by the column where an object begins."""
    tracker, found = Tracker(SPACE, memory), []
    for label in frames:
        instance = components(label, SPACE)
        lasting = renamed(label, instance, tracker(label))
        ids = np.unique(lasting[label == CAR]).tolist()
        found.append({int(np.nonzero((lasting == number).any(0))[0][0]): number for number in ids})
    return found


# ------------------------------------------------------------------------------------------------------------- tracking


def test_ids_last_while_the_reading_order_changes() -> None:
    first, *_, last = followed(*(street((8 + n, 4), (16 - n, 40)) for n in range(9)))
    assert first == {4: 9001, 40: 9002}
    assert last == {4: 9001, 40: 9002}, "the right one is now the upper one, and components would number it first"


def test_new_objects_get_new_ids_and_none_is_used_twice() -> None:
    frames = followed(
        street((10, 4)), street((10, 5), (20, 40)), street((20, 41)), street((20, 41), (10, 20)), memory=0
    )
    assert [list(ids.values()) for ids in frames] == [[9001], [9001, 9002], [9002], [9002, 9003]]


def test_an_object_gets_its_id_back_where_it_was_heading() -> None:
    moving = [street((12, 4 + 3 * n)) for n in range(4)]
    gone, back = [street()] * 4, street((12, 4 + 3 * 8))
    assert followed(*moving, *gone, back)[-1] == {28: 9001}
    assert followed(*moving, *gone, back, memory=3)[-1] == {28: 9002}, "it was forgotten"
    assert followed(*moving, *gone, street((12, 50)))[-1] == {50: 9002}, "too far from where it was heading"


def test_objects_that_outrun_their_masks_are_still_followed() -> None:
    assert followed(*(street((12, 13 * n)) for n in range(4)))[-1] == {39: 9001}


def test_pieces_behind_a_pole_are_one_object() -> None:
    whole, cut = street((12, 20)), street((12, 20))
    cut[:, 25:27] = POLE
    assert [set(ids.values()) for ids in followed(whole, cut, whole)] == [{9001}] * 3


def test_the_matching_is_best_as_a_whole() -> None:
    # The first car's mask overlaps both new ones; the second's only the one that the first overlaps more.
    assert followed(street((8, 10), (17, 10)), street((11, 10), (20, 10)))[0].keys() == {10}
    tracker, one, two = Tracker(SPACE), street((8, 10), (17, 10)), street((12, 10), (21, 10))
    tracker(one)
    assert tracker(two) == {(CAR, 9001): 9001, (CAR, 9002): 9002}


def test_ids_past_a_thousand_stay_apart_from_those_of_other_classes() -> None:
    tracker = Tracker(SPACE, memory=0)
    tracker._counts[CAR] = 998
    assert list(tracker(street((8, 4), (8, 40))).values()) == [9999, 9001000]


def test_frames_of_unequal_sizes_are_refused() -> None:
    tracker = Tracker(SPACE)
    tracker(street())
    with pytest.raises(LabelError, match="40x64 follows frames of 32x64"):
        tracker(street(size=(40, 64)))


# --------------------------------------------------------------------------------------------------------------- styles


@pytest.fixture(scope="module")
def mirror(model_file: Path) -> Synthesizer:
    """A model whose pictures are the style map."""
    return Synthesizer(mirrored(load_model(model_file)))


def worn(synth: Synthesizer, count: int = 4, **settings: object) -> list[tuple[list[int], list[int]]]:
    """Colours of the left and right car and in each frame, of cars that change places in reading order."""
    frames = [(street((8 + 2 * n, 4), (14 - 2 * n, 40)), None) for n in range(count)]
    made = list(photographs(synth, frames, **settings))  # type: ignore[arg-type]
    sides = [
        (frame, [(frame.label == CAR) & side for side in (np.arange(64) < 30, np.arange(64) >= 30)]) for frame in made
    ]
    return [(f.picture[left][0].tolist(), f.picture[right][0].tolist()) for f, (left, right) in sides]


def test_each_object_looks_in_all_frames_as_in_its_first(mirror: Synthesizer) -> None:
    kept = worn(mirror, seed=1)
    assert kept == [kept[0]] * 4
    assert kept[0][0] != kept[0][1]
    free = worn(mirror, seed=1, keeping="free")
    assert free[0] == kept[0], "the first frame is drawn alike"
    assert len({str(frame) for frame in free}) > 1


def test_roads_look_alike_throughout(mirror: Synthesizer) -> None:
    frames = [(street((8, 4 * n)), None) for n in range(4)]
    for keeping, colours in (("kept", 1), ("free", 2)):
        made = photographs(mirror, frames, keeping=keeping, seed=1)  # type: ignore[arg-type]
        assert len({tuple(frame.picture[31, 0]) for frame in made}) == colours


def test_choices_hold_for_objects_wherever_they_are(mirror: Synthesizer) -> None:
    style = Style(instances={"car:9002": 1})
    frames = [(street((10, 4)), None), (street((10, 5), (20, 40)), None), (street((20, 41)), None)]
    made = list(photographs(mirror, frames, style=style))
    assert made[1].style is not None and made[1].style.instances["car:9002"] == pytest.approx((-0.7, 0.2, 0.3))
    assert (made[1].picture[21, 44] == made[2].picture[21, 44]).all()


def test_free_styles_are_followed_slowly_where_asked(mirror: Synthesizer) -> None:
    label = street((10, 4))
    vectors = {}
    for smooth in (0.0, 0.75, 1.0):
        made = photographs(mirror, [(label, None)] * 6, keeping="free", seed=3, smooth_styles=smooth)
        vectors[smooth] = np.array([frame.style.instances["car:9001"] for frame in made if frame.style])
    wanted, slow = vectors[0.0], [vectors[0.0][0]]
    for vector in wanted[1:]:
        slow.append(0.75 * slow[-1] + 0.25 * vector)
    np.testing.assert_allclose(vectors[0.75], slow, atol=1e-6)
    assert (vectors[1.0] == wanted[0]).all(), "never changing is the same as kept"
    assert len(np.unique(wanted, axis=0)) > 1


def test_pictures_follow_their_objects_where_smoothed(mirror: Synthesizer) -> None:
    frames = [(street((10, left)), None) for left in (10, 14)]
    plain, smooth = (list(photographs(mirror, frames, keeping="free", seed=5, smooth=s)) for s in (0.0, 0.5))
    before, now = (frame.picture.astype(float) for frame in plain)
    assert (smooth[0].picture == plain[0].picture).all()
    assert (before[13, 16] != now[13, 20]).any()
    np.testing.assert_allclose(smooth[1].picture[13, 20], (before[13, 16] + now[13, 20]) / 2, atol=0.5)
    outline = smooth[1].picture[10:18, 14]
    assert (outline == plain[1].picture[10:18, 14]).all(), "outlines are not mixed"


def test_an_interrupted_sequence_goes_on_to_the_same_frames(mirror: Synthesizer) -> None:
    frames = [(street((10, 4 * n)), street((10, 4 * n)) * 1000 + 1) for n in range(5)]
    settings = {"keeping": "free", "seed": 1, "smooth": 0.4, "smooth_styles": 0.5}
    whole = [frame.picture for frame in photographs(mirror, frames, **settings)]  # type: ignore[arg-type]
    again = Sequencer(mirror, **settings)  # type: ignore[arg-type]
    for picture, maps in zip(whole[:3], frames[:3], strict=True):
        again.take(picture, *maps)
    assert all((again(*maps).picture == picture).all() for picture, maps in zip(whole[3:], frames[3:], strict=True))


def test_models_with_a_style_per_class_and_without_style_do_too(tiny_model: Path, tmp_path: Path) -> None:
    per_class = load(write_styled_model(tmp_path / "m.safetensors", regions="label"), device="cpu")
    for synth in (per_class, load(tiny_model, device="cpu")):
        still = list(photographs(synth, [(street((10, 4)), None)] * 2))
        assert (still[0].picture == still[1].picture).all()


def test_spade_keeps_z_and_pix2pix_its_noise(tmp_path: Path) -> None:
    frames = [(street((10, 4)), None)] * 3
    spade, pix2pix = (
        load(write(tmp_path / f"{write.__name__}.safetensors"), device="cpu")
        for write in (write_spade_model, write_pix2pix_model)
    )
    for synth in (spade, pix2pix):
        for keeping, pictures in (("kept", 1), ("free", 3)):
            made = list(photographs(synth, frames, keeping=keeping, seed=4))  # type: ignore[arg-type]
            assert len({frame.picture.tobytes() for frame in made}) == pictures
        again = synth(frames[0][0], style=made[2].style, seed=made[2].seed)
        assert (again == made[2].picture).all(), "a frame says how it is made again"
    chosen = Style(z=(0.5,) * LATENT)
    assert next(photographs(spade, frames, style=chosen)).style == chosen
    slow = [f.style.z for f in photographs(spade, frames, keeping="free", smooth_styles=0.5) if f.style and f.style.z]
    z = [spade.z(seed=n) for n in range(3)]
    np.testing.assert_allclose(slow[2], np.array(z[0]) / 4 + np.array(z[1]) / 4 + np.array(z[2]) / 2, atol=1e-6)


def test_settings_that_make_no_sense_are_refused(mirror: Synthesizer) -> None:
    for settings, said in (
        ({"smooth": 1.0}, "below 1"),
        ({"smooth_styles": 0.5}, "do not change"),
        ({"keeping": "free", "smooth_styles": 1.5}, "0..1"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(ConfigError, match=said):
            Sequencer(mirror, **settings)  # type: ignore[arg-type]
    label = street((10, 4))
    with pytest.raises(LabelError, match="Frame 1 has no instance map"):
        list(photographs(mirror, [(label, label), (label, None)]))
    with pytest.raises(LabelError, match="64x64 follows frames of 32x64"):
        list(photographs(mirror, [(label, label), (np.vstack([label] * 2),) * 2]))


# ------------------------------------------------------------------------------------------------------ toy streets


@pytest.fixture(scope="module")
def moving() -> list[toy_sequence.Scene]:
    return list(sequence(11, 12, 64, 128))


def test_toy_sequences_keep_ids_and_show_what_moves(moving: list[toy_sequence.Scene]) -> None:
    again = list(sequence(11, 2, 64, 128))
    assert all(
        (a.image == b.image).all() and (a.instance == b.instance).all() for a, b in zip(again, moving, strict=False)
    )
    moved, stood = 0, 0
    for before, now in pairwise(moving):
        old = {thing["instance"]: thing for thing in before.attributes["objects"]}
        for thing in now.attributes["objects"]:
            if thing["class"] == "car" and thing["instance"] in old:
                assert thing["colour"] == old[thing["instance"]]["colour"], "an id is one car"
                moved += thing["anchor"] != old[thing["instance"]]["anchor"]
                stood += thing["anchor"] == old[thing["instance"]]["anchor"]
    assert moved > 10 and stood > 10
    fixed = [(s.label == SKY).sum() for s in moving]
    assert max(fixed) - min(fixed) < 20, "the camera stands still"


def test_estimated_motion_is_near_the_known_one(moving: list[toy_sequence.Scene]) -> None:
    gaps = []
    for before, now in pairwise(moving):
        motion = estimate((before.label, before.instance), (now.label, now.instance), SPACE)
        old = {thing["instance"]: thing for thing in before.attributes["objects"]}
        for thing in now.attributes["objects"]:
            if thing["class"] == "car" and thing["instance"] in old and thing["pixels"] > 40:
                rows, columns = np.nonzero(now.instance == thing["instance"])
                was, scale = old[thing["instance"]], old[thing["instance"]]["scale"] / thing["scale"]
                right, down = (
                    a + (x - b) * scale for a, b, x in zip(was["anchor"], thing["anchor"], (columns, rows), strict=True)
                )
                found = motion.objects[CAR, thing["instance"]].source(rows, columns)
                gaps.append(np.hypot(found[0] - down, found[1] - right).mean())
    assert len(gaps) > 20 and np.mean(gaps) < 0.5


def test_toy_sequences_are_folders_that_are_read_back(tmp_path: Path) -> None:
    said = []
    toy_sequence.write(tmp_path, 3, height=32, width=64, seed=2, progress=lambda *done: said.append(done))
    listing = layouts.find(tmp_path)
    assert listing.convention == "toy" and [s.name for s in listing.samples] == ["000000", "000001", "000002"]
    assert all(s.instance and s.image for s in listing.samples) and said[-1] == (3, 3)
    assert json.loads((tmp_path / "scenes" / "000002.json").read_text())["frame"] == 2
    before = (tmp_path / "images" / "000001.png").read_bytes()
    toy_sequence.write(tmp_path, 3, height=32, width=64, seed=2)
    assert (tmp_path / "images" / "000001.png").read_bytes() == before
    with Image.open(tmp_path / "instances" / "000000.png") as ids:
        assert ids.mode == "I;16"
    with pytest.raises(DataError, match="other numbers"):
        toy_sequence.write(tmp_path, 4, height=32, width=64, seed=2)
    (tmp_path / "sequence.json").unlink()
    with pytest.raises(DataError, match="not a toy sequence"):
        toy_sequence.write(tmp_path, 3, height=32, width=64, seed=2)
    with pytest.raises(DataError, match="at least 1"):
        next(sequence(0, 0))
    with pytest.raises(DataError, match="too small"):
        next(sequence(0, 2, 16, 16))
