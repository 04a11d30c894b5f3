"""`gesso generate --dataset`: photographs with maps that fit them, the same bytes however they were made, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gesso.cli import dataset_output
from gesso.data import layouts
from gesso.data.dataset import SemanticDataset
from gesso.data.generated import (
    Made,
    files_of,
    instance_file,
    label_file,
    read_manifest,
    writable,
)
from gesso.data.preprocessing import Preprocessing
from gesso.data.readers import read_instance, read_label
from gesso.data.spaces import PUBLISHED, published
from gesso.errors import DataError
from gesso.labels import LabelSpace
from gesso.synthesis.synthesizer import Synthesizer, load
from ranks_script import Ranks
from styled import CAR, LEFT, PERSON, SPACE, scene, write_scenes
from support import picture_model, refused

pytestmark = pytest.mark.usefixtures("one_thread")
EVERYTHING = ("--variants", 3, "--flip", "--remove", 2, "--paste", 2, "--warp", 0.6)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Two scenes to train on, one and two, with instance maps; the same ones held out."""
    root = write_scenes(tmp_path / "scenes")
    shutil.copytree(root / "val", root / "train")
    return root


@pytest.fixture
def make(gesso: Any, model_file: Path, scenes: Path, tmp_path: Path) -> Any:
    """Make a dataset in this process; its folder of the split."""

    def run(*more: object, out: str = "made", split: str = "train") -> Path:
        words = ("generate", model_file, scenes, "--dataset", tmp_path / out, "--device", "cpu", *more)
        ended = gesso(*words)
        assert ended.code == 0, ended.err
        return tmp_path / out / split

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def maps(folder: Path, made: Made) -> tuple[np.ndarray, np.ndarray]:
    label, instance = (folder / file for file in made.maps)
    return read_label(label, LabelSpace.load(folder.parent / "labels.json")), read_instance(instance)


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image)


def picture(folder: Path, made: Made) -> np.ndarray:
    return pixels(folder / made.file)


def sources(scenes: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Label and instance map of each scene."""
    found = layouts.find(scenes, "train").samples
    return {s.name: (read_label(s.label, SPACE), read_instance(s.instance)) for s in found if s.label and s.instance}


# ------------------------------------------------------------------------------------------------ photographs and maps


def test_unchanged_layouts_give_what_generate_gives(
    gesso: Any, make: Any, model_file: Path, scenes: Path, tmp_path: Path
) -> None:
    folder = make("--seed", 5, "--no-vary-styles")
    again = gesso(
        "generate", model_file, scenes, "--split", "train", "--out", tmp_path / "plain", "--seed", 5, "--device", "cpu"
    )
    assert again.code == 0
    made = read_manifest(folder)
    assert [one.file for one in made] == ["images/one-000.png", "images/two-000.png"]
    for one in made:
        plain = pixels(tmp_path / "plain" / f"{one.source}.png")
        assert np.array_equal(picture(folder, one), plain)
        for ours, theirs in zip(maps(folder, one), sources(scenes)[one.source], strict=True):
            assert np.array_equal(ours, theirs)


def test_every_photograph_can_be_made_again_from_its_maps_and_seed(make: Any, model_file: Path) -> None:
    folder = make(*EVERYTHING)
    synth: Synthesizer = load(model_file, device="cpu")
    made = read_manifest(folder)
    assert len(made) == 6 and len({one.seed for one in made}) == 6
    for one in made:
        assert np.array_equal(picture(folder, one), synth(*maps(folder, one), seed=one.seed))
    assert all(one.model == synth.hash and one.size == (32, 64) and one.split == "train" for one in made)
    assert any(one.augmentations.flip for one in made) and any(one.augmentations.warp for one in made)
    assert any(one.augmentations.removed for one in made) and any(one.augmentations.pasted for one in made)


def test_styles_differ_from_photograph_to_photograph_unless_told_otherwise(make: Any) -> None:
    varied, same = make("--variants", 3), make("--variants", 3, "--no-vary-styles", out="same")
    pictures = {one.file: picture(varied, one).tobytes() for one in read_manifest(varied)}
    assert len(set(pictures.values())) > 2
    assert {one.seed for one in read_manifest(same)} == {0}
    assert len({picture(same, one).tobytes() for one in read_manifest(same) if one.source == "one"}) == 1


def test_a_flip_mirrors_the_maps(make: Any, scenes: Path) -> None:
    folder, there = make("--variants", 4, "--flip"), sources(scenes)
    made = read_manifest(folder)
    assert {one.augmentations.flip for one in made} == {True, False}
    for one in made:
        for ours, theirs in zip(maps(folder, one), there[one.source], strict=True):
            assert np.array_equal(ours, theirs[:, ::-1] if one.augmentations.flip else theirs)


def test_removed_objects_are_gone_and_the_others_keep_their_ids(make: Any, scenes: Path) -> None:
    folder, there = make("--variants", 6, "--remove", 2), sources(scenes)
    counts = set()
    for one in read_manifest(folder):
        label, instance = maps(folder, one)
        before_label, before = there[one.source]
        gone = {int(name.split(":")[1]) for name in one.augmentations.removed}
        counts.add(len(gone))
        hole = np.isin(before, list(gone)) & np.isin(before_label, SPACE.things)
        assert set(np.unique(before[hole])) == gone
        assert not np.isin(instance[np.isin(label, SPACE.things)], list(gone)).any()
        assert np.array_equal(label[~hole], before_label[~hole])
        assert np.array_equal(instance[~hole], before[~hole])
    assert counts == {0, 1, 2}


def test_pasted_objects_have_ids_of_their_own(make: Any, scenes: Path) -> None:
    folder, there = make("--variants", 8, "--paste", 1, "--objects", "car"), sources(scenes)
    pasted = [one for one in read_manifest(folder) if one.augmentations.pasted]
    assert pasted
    for one in pasted:
        (new,) = one.augmentations.pasted
        label, instance = maps(folder, one)
        before_label, before = there[one.source]
        class_, id = new.object.split(":")
        here = (instance == int(id)) & (label == SPACE.index(class_))
        assert here.sum() >= 24 and int(id) not in before
        assert np.array_equal(label[~here], before_label[~here]), "nothing else changes"
        assert np.array_equal(instance[~here], before[~here])
        donor_label, donor = there[new.source]
        whole = (donor == int(new.source_object.split(":")[1])) & (donor_label == CAR)
        assert here.sum() <= whole.sum() and class_ == "car"
        rows = np.flatnonzero(here.any(1))
        assert rows[-1] + 1 <= np.flatnonzero(whole.any(1))[-1] + 1 == new.at[1]


def test_a_warp_moves_pixels_but_keeps_which_id_is_which_class(make: Any, scenes: Path) -> None:
    folder, there = make("--variants", 4, "--warp", 1.0), sources(scenes)
    made = read_manifest(folder)
    assert {one.augmentations.warp for one in made} == {0.0, 1.0}
    for one in made:
        label, instance = maps(folder, one)
        before_label, before = there[one.source]
        pairs = set(zip(label.ravel().tolist(), instance.ravel().tolist(), strict=True))
        assert pairs <= set(zip(before_label.ravel().tolist(), before.ravel().tolist(), strict=True))
        assert np.array_equal(label, before_label) == (one.augmentations.warp == 0)


def test_augmentations_draw_from_numbers_of_their_own(make: Any) -> None:
    alone = read_manifest(make("--variants", 4, "--remove", 2))
    others = read_manifest(make("--variants", 4, "--remove", 2, "--flip", "--warp", 0.5, out="others"))
    assert [one.augmentations.removed for one in alone] == [one.augmentations.removed for one in others]
    assert [one.seed for one in alone] == [one.seed for one in others]


# ------------------------------------------------------------------------------------------------------------ read back


def test_it_is_read_as_a_dataset(gesso: Any, make: Any, scenes: Path) -> None:
    folder = make(*EVERYTHING)
    listing = layouts.find(folder.parent)
    assert (listing.convention, listing.space, listing.orphans) == ("camvid", SPACE, ())
    assert layouts.splits(folder.parent) == ["train"]
    dataset = SemanticDataset(listing.samples, listing.space, Preprocessing(), training=False)
    assert len([dataset[n] for n in range(len(dataset))]) == 6
    for kind, mode in (("labels", "L"), ("instances", "I;16")):
        with Image.open(folder / kind / "one-000.png") as image:
            assert image.mode == mode
    ended = gesso("doctor", folder.parent)
    assert ended.code == 0, ended.out
    assert "instances    from files" in ended.out


@pytest.mark.long
def test_it_is_trained_on_without_flags(gesso: Any, make: Any, tmp_path: Path) -> None:
    folder = make("--variants", 2)
    quick = (
        "--preset",
        "pix2pixhd-small",
        "--epochs",
        1,
        "--epochs-decay",
        0,
        "--out",
        tmp_path / "run",
        "--device",
        "cpu",
    )
    ended = gesso("train", folder.parent, *quick)
    assert ended.code == 0, ended.err
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_the_manifest_is_one_with_the_files(make: Any) -> None:
    folder = make(*EVERYTHING, "--shard-size", 4)
    made = read_manifest(folder)
    assert {one.file.split("/")[1] for one in made} == {"00000", "00001"}
    assert sorted(one.file for one in made)[0] == "images/00000/one-000.png"
    assert len([file for file in files_of(folder) if file.startswith("images/00000")]) == 4
    assert files_of(folder) == {file for one in made for file in (one.file, *one.maps)}
    assert len(layouts.find(folder.parent).samples) == 6
    (folder / made[0].maps[0]).rename(folder / "labels" / "other.png")
    with pytest.raises(DataError, match="are not there"):
        read_manifest(folder)
    (folder / "labels" / "other.png").rename(folder / made[0].maps[0])
    shutil.copy(folder / made[0].file, folder / "images" / "more.png")
    with pytest.raises(DataError, match="does not list"):
        read_manifest(folder)
    (folder / "images" / "more.png").unlink()
    (folder / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"manifest.jsonl, line 1"):
        read_manifest(folder)


def test_a_contact_sheet_lies_outside_of_what_is_read(
    gesso: Any, make: Any, model_file: Path, scenes: Path, tmp_path: Path
) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "contact-sheet.png").write_bytes(b"theirs")
    folder = make("--flip", "--contact-sheet")
    with Image.open(folder / "contact-sheet.png") as sheet:
        assert sheet.width > 3 * 64
    assert len(layouts.find(folder.parent).samples) == 2
    make("--flip", "--contact-sheet")  # its own is replaced
    assert (tmp_path / "made" / "contact-sheet.png").read_bytes() == b"theirs"
    (folder / "contact-sheet.png").write_bytes(b"theirs")
    words = ("generate", model_file, scenes, "--dataset", folder.parent, "--flip", "--contact-sheet", "--overwrite")
    refused(gesso(*words), "contact-sheet.png was not written by gesso generate --dataset")
    assert (folder / "contact-sheet.png").read_bytes() == b"theirs" and len(read_manifest(folder)) == 2


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_all_classes_of_published_spaces_come_back_from_files(name: str, tmp_path: Path) -> None:
    space = published(name)
    written = writable(space)
    assert written.names == space.names
    label = np.arange(len(space) + bool(space.ignore))[None].repeat(3, axis=0)
    path = tmp_path / "label.png"
    Image.fromarray(label_file(label, written)).save(path)
    assert np.array_equal(read_label(path, written), label)


def test_ids_beyond_16_bits_are_numbered_anew() -> None:
    near, far = np.array([[0, 65535], [7, 26001]]), np.array([[3, 70000], [-2, 70000]])
    kept, renumbered = instance_file(near)
    assert np.array_equal(kept, near) and kept.dtype == np.uint16 and not renumbered
    changed, renumbered = instance_file(far)
    assert changed.tolist() == [[2, 3], [1, 3]] and renumbered


# --------------------------------------------------------------------------------------------- the same bytes every time


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(make: Any) -> None:
    first, second, other = (
        make(*EVERYTHING),
        make(*EVERYTHING, out="again"),
        make(*EVERYTHING, "--seed", 1, out="other"),
    )
    assert contents(first.parent) == contents(second.parent)
    assert contents(first)["images/one-000.png"] != contents(other)["images/one-000.png"]


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    gesso: Any, make: Any, model_file: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, calls = make(*EVERYTHING), []
    save = dataset_output._save_map

    def failing(path: Path, values: Any) -> None:
        calls.append(path.name)
        if len(calls) == 6:  # the instance map of the third photograph
            raise KeyboardInterrupt
        save(path, values)

    monkeypatch.setattr(dataset_output, "_save_map", failing)
    words = ("generate", model_file, scenes, "--dataset", tmp_path / "part", "--device", "cpu", *EVERYTHING)
    assert gesso(*words).code == 130
    part = tmp_path / "part" / "train"
    assert len(list((part / "images").glob("*.png"))) == 2
    with pytest.raises(DataError, match="it makes what is missing"):
        read_manifest(part)
    monkeypatch.setattr(dataset_output, "_save_map", save)
    before = {path: path.stat().st_mtime_ns for path in (part / "images").glob("*.png")}
    ended = gesso(*words)
    assert ended.code == 0 and "2 of them were there" in ended.out
    assert contents(part.parent) == contents(whole.parent)
    assert {path: path.stat().st_mtime_ns for path in before} == before, "nothing is written twice"


def test_what_is_damaged_or_changed_is_made_again_alone(make: Any, scenes: Path) -> None:
    folder = make("--variants", 2)
    whole = contents(folder.parent)
    (folder / "images" / "one-000.png").write_bytes(whole["train/images/one-000.png"][:-9])
    (folder / "instances" / "two-001.png").unlink()
    make("--variants", 2)
    assert contents(folder.parent) == whole
    label, instance = scene()
    Image.fromarray(SPACE.to_values(np.where(label == PERSON, CAR, label)).astype(np.uint8)).save(
        scenes / "train" / "labels" / "one.png"
    )
    before = {path.name: path.stat().st_mtime_ns for path in (folder / "images").glob("*.png")}
    make("--variants", 2)
    after = {path.name: path.stat().st_mtime_ns for path in (folder / "images").glob("*.png")}
    assert {name for name in after if after[name] != before[name]} == {"one-000.png", "one-001.png"}
    assert (maps(folder, read_manifest(folder)[0])[0][instance == 7] == CAR).all()


def test_more_layouts_may_follow(make: Any) -> None:
    still = ("--variants", 3, "--flip", "--remove", 2, "--warp", 0.6)
    folder = make(*still, "--limit", 1)
    first = {path: path.stat().st_mtime_ns for path in (folder / "images").iterdir()}
    assert len(first) == 3 and len(read_manifest(folder)) == 3
    make(*still)
    assert len(read_manifest(folder)) == 6
    assert {path: path.stat().st_mtime_ns for path in first} == first
    assert contents(folder.parent) == contents(make(*still, out="at once").parent)


def test_objects_come_from_layouts_that_photographs_are_made_of(make: Any, scenes: Path) -> None:
    """And from no other, so that the manifest names every layout that anything is of; more layouts bring more objects."""
    folder = make("--variants", 8, "--paste", 2, "--limit", 1)
    digest = hashlib.sha256((scenes / "train" / "labels" / "one.png").read_bytes()).hexdigest()[:32]
    made = read_manifest(folder)
    pasted = [new for one in made for new in one.augmentations.pasted]
    assert {(new.source, new.layout) for new in pasted} == {("one", digest)}
    assert all(one.layouts == {digest: "one"} for one in made)
    make("--variants", 8, "--paste", 2)
    assert {new.source for one in read_manifest(folder) for new in one.augmentations.pasted} == {"one", "two"}
    assert contents(folder.parent) == contents(make("--variants", 8, "--paste", 2, out="at once").parent)


def test_maps_of_another_layout_do_not_stay_beside_a_photograph(
    gesso: Any, make: Any, model_file: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layout is changed, the run is killed when its maps are written, the layout is put back."""
    folder = make()
    whole, file = contents(folder.parent), scenes / "train" / "labels" / "one.png"
    before = file.read_bytes()
    label, _ = scene()
    Image.fromarray(SPACE.to_values(np.where(label == PERSON, CAR, label)).astype(np.uint8)).save(file)

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("gesso.synthesis.synthesizer.save_png", killed)
        assert gesso("generate", model_file, scenes, "--dataset", folder.parent, "--device", "cpu").code == 130
    assert not (folder / "images" / "one-000.png").exists()
    assert (folder / "labels" / "one-000.png").read_bytes() != whole["train/labels/one-000.png"]
    file.write_bytes(before)
    make()
    assert contents(folder.parent) == whole
    Image.fromarray(pixels(folder / "labels" / "two-000.png")[::-1]).save(folder / "labels" / "one-000.png")
    with pytest.raises(DataError, match=r"is not the map that images/one-000\.png was made of"):
        read_manifest(folder)
    make()
    assert contents(folder.parent) == whole


def test_a_kill_in_the_first_file_locks_nothing(make: Any, tmp_path: Path) -> None:
    left = tmp_path / "made" / "train" / ".generation.json.partial" / "host-1"
    left.mkdir(parents=True)
    (left / "generation.json").write_text("{")
    assert len(read_manifest(make())) == 2


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    made = Ranks(tmp_path_factory.mktemp("ranks"))
    yield made
    made.close()


@pytest.mark.long
def test_several_processes_write_the_same_bytes(
    make: Any, ranks: Ranks, model_file: Path, scenes: Path, tmp_path: Path
) -> None:
    one = make(*EVERYTHING).parent
    for world, slurm in ((2, False), (3, True)):
        out = tmp_path / f"made by {world}"
        words = ("generate", model_file, scenes, "--dataset", out, "--device", "cpu", *EVERYTHING)
        assert ranks.run(world, *words, slurm=slurm) == [0] * world
        assert contents(out) == contents(one)
        assert ranks.run(world, *words, "--overwrite", slurm=slurm) == [0] * world
        assert contents(out) == contents(one)


# -------------------------------------------------------------------------------------------------------------- refusals


def test_overwriting(gesso: Any, make: Any, model_file: Path, scenes: Path, tmp_path: Path) -> None:
    """Another dataset is not mixed in; --overwrite makes all of it again, and leaves nothing of the old one."""
    folder = make("--variants", 3)
    before = contents(folder.parent)
    words = ("generate", model_file, scenes, "--dataset", tmp_path / "made", "--device", "cpu")
    refused(gesso(*words, "--variants", 2), "made in another way (variants: 3 there, 2 now)", "--overwrite")
    refused(gesso(*words, "--variants", 3, "--limit", 1), "9 files that are not of these layouts", "no smaller --limit")
    refused(gesso(*words, "--variants", 3, "--original-size"), "preprocessing.")
    assert contents(folder.parent) == before
    make("--overwrite", "--flip")
    make("--flip", "--remove", 1, "--objects", "person", "--objects", "car", out="named")
    make("--flip", "--remove", 1, "--objects", "car", "--objects", "person", out="named")  # the same in another order
    assert len(read_manifest(folder)) == 2
    assert contents(folder.parent) == contents(make("--flip", out="fresh").parent)


def test_going_on_is_without_overwrite(
    gesso: Any, make: Any, model_file: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make()
    monkeypatch.setattr(dataset_output.DatasetOutput, "write", lambda *_: None)
    words = ("generate", model_file, scenes, "--dataset", folder.parent, "--device", "cpu", "--overwrite")
    refused(gesso(*words), "run the same command again without --overwrite")
    assert (folder / "generation.json").is_file()


def test_what_gesso_did_not_write_is_left_alone(gesso: Any, model_file: Path, scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "theirs"
    (out / "train" / "images").mkdir(parents=True)
    (out / "train" / "images" / "precious.png").write_bytes(b"x")
    words = ("generate", model_file, scenes, "--dataset")
    for more in ((), ("--overwrite",)):
        refused(gesso(*words, out, *more), "did not write, and leaves alone")
    other = tmp_path / "other"
    other.mkdir()
    published("camvid").save(other / "labels.json")
    refused(gesso(*words, other), "another label space than the model's")
    (tmp_path / "file").write_text("x")
    refused(gesso(*words, tmp_path / "file"), "is a file: name a folder")
    refused(gesso(*words, scenes), "holds")
    inside = scenes / "train" / "labels" / "made"
    refused(gesso(*words, inside), f"--dataset {inside} lies in")
    assert (out / "train" / "images" / "precious.png").read_bytes() == b"x"
    assert {path.name for path in scenes.iterdir()} == {"train", "val", "labels.json"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--variants", 0), "--variants 0: at least 1"),
        (("--remove", -1), "--remove -1: at least 0"),
        (("--shard-size", 0), "--shard-size 0: at least 1"),
        (("--warp", 1.5), "--warp 1.5: give 0 to 1"),
        (("--warp", "nan"), "--warp nan: give 0 to 1"),
        (("--seed", -1), "-1"),
        (("--limit", 0), "--limit 0"),
        (("--out", "elsewhere"), "--out is for photographs alone"),
        (("--colour",), "--colour is for photographs alone"),
        (("--batch", 2), "--batch is for photographs alone"),
        (("--objects", "car"), "give one of them too"),
        (("--paste", 1, "--objects", "dragon"), "dragon"),
        (("--paste", 1, "--objects", "road"), "road: toy says that it is not countable"),
        (("--random-styles", 2), "a dataset has --variants"),
        (("--interpolate", "car=1", "car=2"), "a dataset has --variants"),
        (("--remove", 1, "--style-from-photographs"), "leave one out"),
        (("--split", "test"), "has no split 'test'"),
    ],
)
def test_flags_that_make_no_sense(
    gesso: Any, model_file: Path, scenes: Path, tmp_path: Path, more: tuple[object, ...], said: str
) -> None:
    refused(gesso("generate", model_file, scenes, "--dataset", tmp_path / "out", *more), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [("--variants", 2), ("--flip",), ("--no-vary-styles",), ("--shard-size", 5)])
def test_flags_of_datasets_alone(gesso: Any, model_file: Path, scenes: Path, more: tuple[object, ...]) -> None:
    refused(gesso("generate", model_file, scenes, *more), f"{more[0]}".replace("--no-", "--"), "is for --dataset OUT")


def test_a_model_of_pictures_has_no_labels(gesso: Any, scenes: Path, tmp_path: Path) -> None:
    model = picture_model(3, tmp_path)
    refused(gesso("generate", model, scenes, "--dataset", tmp_path / "out"), "there are no label maps to go with")


def test_a_damaged_layout_is_named(gesso: Any, model_file: Path, scenes: Path, tmp_path: Path) -> None:
    (scenes / "train" / "labels" / "two.png").write_text("no picture")
    refused(
        gesso("generate", model_file, scenes, "--dataset", tmp_path / "out"), scenes / "train" / "labels" / "two.png"
    )
    assert not (tmp_path / "out" / "train" / "manifest.jsonl").exists()


# -------------------------------------------------------------------------------------------------- splits and folders


def test_the_split_of_the_layouts_is_the_split_of_the_dataset(make: Any) -> None:
    make()
    held_out = make("--split", "val", split="val")
    assert layouts.splits(held_out.parent) == ["train", "val"]
    assert {one.split for one in read_manifest(held_out)} == {"val"}


def test_no_other_split_is_taken_silently(gesso: Any, model_file: Path, scenes: Path, tmp_path: Path) -> None:
    shutil.rmtree(scenes / "train")
    words = ("generate", model_file, scenes, "--dataset", tmp_path / "out", "--device", "cpu")
    refused(gesso(*words), "has no split train", "it has val", "--split")
    assert not (tmp_path / "out").exists()
    assert gesso(*words, "--split", "val").code == 0


def test_a_bare_folder_of_layouts_becomes_the_training_split(
    gesso: Any, model_file: Path, scenes: Path, tmp_path: Path
) -> None:
    """Without instance maps, connected components; names keep their folders."""
    shutil.move(scenes / "train" / "labels" / "one.png", tmp_path / "one.png")
    bare = tmp_path / "bare" / "city"
    bare.mkdir(parents=True)
    shutil.move(tmp_path / "one.png", bare / "one.png")
    ended = gesso("generate", model_file, tmp_path / "bare", "--dataset", tmp_path / "out", "--device", "cpu")
    assert ended.code == 0, ended.err
    (made,) = read_manifest(tmp_path / "out" / "train")
    assert (made.file, made.source, made.split) == ("images/city/one-000.png", "city/one", "")
    label, instance = maps(tmp_path / "out" / "train", made)
    assert set(np.unique(instance[label == CAR])) == {1000 * CAR + 1} and LEFT not in instance


def test_photographs_with_their_own_style(make: Any, synthesizer: Synthesizer, scenes: Path) -> None:
    folder = make("--style-from-photographs", "--flip")
    for one in read_manifest(folder):
        assert one.style is not None
        photograph = pixels(scenes / "train" / "images" / f"{one.source}.png")
        if one.augmentations.flip:
            photograph = photograph[:, ::-1]
        label, instance = maps(folder, one)
        style = synthesizer.encode(np.ascontiguousarray(photograph), label, instance)
        assert np.array_equal(picture(folder, one), synthesizer(label, instance, style, one.seed))


def test_the_record_of_a_photograph_says_its_line(make: Any) -> None:
    from gesso.synthesis.synthesizer import read_record

    folder = make(*EVERYTHING)
    for line, one in zip((folder / "manifest.jsonl").read_text().splitlines(), read_manifest(folder), strict=True):
        record = read_record(folder / one.file)
        assert record is not None and record["sample"] == json.loads(line)
