"""`gesso evaluate --as-training-data`: the arithmetic of its table, what it says, what is kept, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from gesso.cli import training_data as running
from gesso.cli.common import DataFlags
from gesso.cli.evaluation_settings import EvaluationSettings
from gesso.cli.training_data_flags import TrainingDataFlags
from gesso.data import toy
from gesso.data.generated import read_manifest
from gesso.errors import ConfigError, DataError, GessoError
from gesso.evaluate.documents import Document
from gesso.evaluate.numbers import ALONE, Sampling
from gesso.evaluate.segmentation import HEADLINE
from gesso.evaluate.training_data import SOURCES, TrainingData, Trial, summarise
from gesso.evaluate.training_data_report import to_html
from gesso.evaluate.training_data_words import findings, signed
from gesso.labels import LabelSpace
from support import refused

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = ("road", "car")
SAMPLING = Sampling(resamples=200)

# ------------------------------------------------------------------------------------------------------------ arithmetic


def trial(source: str, right: Sequence[float], seed: int = 0, pixels: int = 1000) -> Trial:
    """Half of the pixels of each picture are road; a share of each class is found right, the rest taken for the other."""
    pictures = []
    for share in right:
        hits = round(share * pixels / 2)
        pictures.append(((hits, hits), (pixels // 2,) * 2, (pixels // 2,) * 2))
    return Trial(
        source=source, seed=seed, steps=7, seconds=3.0, photographs=5, learned="a", tested="b", segmenter="s",
        pictures=tuple(pictures),
    )  # fmt: skip


def rows(right: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    trials = {name: [trial(name, one, seed) for seed, one in enumerate(some)] for name, some in right.items()}
    return {row.name: row for row in summarise(trials, CLASSES, SAMPLING)}


def iou(right: float) -> float:
    return right / (2 - right)


SPREAD = (0.5, 0.6, 0.7, 0.8)


def test_numbers_of_one_training() -> None:
    found = rows({"real": [SPREAD], "generated": [[0.4] * 4], "both": [SPREAD]})
    assert found["real"].numbers["pixel_accuracy"].value == pytest.approx(0.65)
    assert found["real"].numbers["mean_iou"].value == pytest.approx(iou(0.65))
    low, high = found["real"].numbers["mean_iou"].low, found["real"].numbers["mean_iou"].high
    assert iou(0.5) <= low < iou(0.65) < high <= iou(0.8)
    flat = found["generated"].numbers["mean_iou"]
    assert flat.low == pytest.approx(flat.value) == pytest.approx(flat.high) == pytest.approx(iou(0.4))
    assert found["real"].differences == {} and set(found["both"].differences) == set(HEADLINE)
    same = found["both"].differences["mean_iou"]
    assert (same.value, same.low, same.high, same.answer) == (0, 0, 0, "open")
    assert [c.iou for c in found["generated"].classes] == [pytest.approx(iou(0.4))] * 2


def test_differences_are_of_pairs() -> None:
    """Pictures differ much, and each is read a little better: that is told although the rows' intervals overlap."""
    better = [share + 0.05 for share in SPREAD]
    found = rows({"real": [SPREAD], "generated": [[0.2] * 4], "both": [better]})
    real, both = found["real"].numbers["pixel_accuracy"], found["both"].numbers["pixel_accuracy"]
    assert both.low < real.high, "the intervals overlap"
    change = found["both"].differences["pixel_accuracy"]
    assert change.answer == "better"
    assert (change.value, change.low, change.high) == (pytest.approx(0.05),) * 3
    assert found["generated"].differences["mean_iou"].answer == "worse"


def test_seeds_widen_the_intervals() -> None:
    """Students t over the spread of the trainings, pooled over the rows: 3 rows of 2 seeds give 3 degrees of freedom."""
    right = {"real": [[0.6] * 4, [0.7] * 4], "generated": [[0.5] * 4, [0.6] * 4], "both": [[0.65] * 4, [0.75] * 4]}
    found = rows(right)
    number, change = found["real"].numbers["pixel_accuracy"], found["both"].differences["pixel_accuracy"]
    deviation = np.sqrt(3 * 2 * 0.05**2 / 3)
    reach = 3.182446 * deviation / np.sqrt(2)
    assert number.value == pytest.approx(0.65)
    assert number.high - number.value == pytest.approx(reach, rel=1e-4)
    assert change.high - change.value == pytest.approx(reach * np.sqrt(2), rel=1e-4)
    assert change.answer == "open"
    assert found["real"].each["pixel_accuracy"] == pytest.approx((0.6, 0.7))


def test_one_picture_has_no_interval() -> None:
    found = rows({name: [[0.5]] for name in SOURCES})
    number, change = found["both"].numbers["mean_iou"], found["both"].differences["mean_iou"]
    assert (number.low, number.note) == (None, ALONE)
    assert (change.low, change.answer) == (None, "open")
    told = findings(list(found.values()), 1)
    assert (
        told[0].startswith("No difference was shown (1 picture, one training of each)") and "(no interval)" in told[0]
    )
    assert "test on more" in told[-1]


@pytest.mark.parametrize(
    ("both", "generated", "said"),
    [
        (0.75, 0.3, ("Yes, the generated photographs help", "do not replace real photographs")),
        (0.55, 0.8, ("No, the generated photographs do harm", "do better than the real ones")),
        (
            0.65,
            0.65,
            ("No difference was shown (40 pictures, 2 trainings of each)", "no difference to real ones was shown"),
        ),
    ],
)
def test_what_is_said(both: float, generated: float, said: tuple[str, str]) -> None:
    shares = {"real": 0.65, "generated": generated, "both": both}
    found = rows({name: [[share] * 40, [share + 0.001] * 40] for name, share in shares.items()})
    told = findings(list(found.values()), 40)
    assert told[0].startswith(said[0]) and said[1] in told[1] and len(told) == 2
    assert f"{100 * found['both'].numbers['mean_iou'].value:.1f} %" in told[0]


@pytest.mark.parametrize(
    ("pictures", "seeds", "tried", "more"),
    [
        (40, 1, "40 pictures, one training of each", "One training of each row"),
        (4, 2, "4 pictures, 2 trainings of each", "test on more"),
    ],
)
def test_one_training_or_few_pictures_show_nothing(pictures: int, seeds: int, tried: str, more: str) -> None:
    """However far apart the rows are."""
    shares = {"real": 0.65, "generated": 0.3, "both": 0.9}
    found = rows({name: [[share + 0.001 * n] * pictures for n in range(seeds)] for name, share in shares.items()})
    told = findings(list(found.values()), pictures)
    assert told[0].startswith(f"No difference was shown ({tried}):") and more in told[2]
    assert "no difference to real ones was shown" in told[1]


def test_signs() -> None:
    assert [signed(share) for share in (0.0311, -0.0311, 0.0001, -0.0001)] == ["+3.1", "−3.1", "0.0", "0.0"]


# ------------------------------------------------------------------------------------------------------------ experiments


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four toy scenes to learn from, one to test on."""
    root = tmp_path_factory.mktemp("real") / "scenes"
    toy.write(root, 7, height=32, width=64)
    for kind in ("images", "labels", "instances"):
        shutil.copy(root / "train" / kind / "000005.png", root / "val" / kind / "000005.png")
        (root / "train" / kind / "000005.png").unlink()
    return root


@pytest.fixture(scope="module")
def generated(scenes: Path, model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from gesso.cli import main

    out = tmp_path_factory.mktemp("generated") / "made"
    with pytest.raises(SystemExit) as ended:
        main([*f"generate {model_file} {scenes} --dataset {out} --variants 2 --flip --device cpu".split()])
    assert ended.value.code == 0
    return out


@pytest.fixture
def changed(generated: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(generated, tmp_path / "changed"))


def experiment(
    generated: Path, data: Path, out: Path, settings: EvaluationSettings | None = None, **flags: Any
) -> TrainingData:
    settings = settings or EvaluationSettings(resamples=20, device="cpu")
    flags.setdefault("steps", 2)
    told = TrainingDataFlags(as_training_data=generated, **flags)
    return running.run_experiment(told, data, DataFlags(), settings, out, Console(quiet=True))


@pytest.mark.long
def test_a_whole_experiment(gesso: Any, scenes: Path, generated: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = (
        "evaluate",
        "--as-training-data",
        generated,
        "--data",
        scenes,
        "--steps",
        2,
        "--seeds",
        2,
        "--resamples",
        20,
    )
    ended = gesso(*words, "--device", "cpu", "-o", out)
    assert ended.code == 0, ended.err
    found = TrainingData.read(out / "training-data.json")
    count = len(list((scenes / "train" / "images").iterdir()))
    assert [(row.name, row.photographs) for row in found.rows] == [
        ("real", count), ("generated", 2 * count), ("both", 3 * count)
    ]  # fmt: skip
    assert all(row.steps == 2 and row.seeds == (0, 1) and all(row.seconds) for row in found.rows)
    assert (
        found.findings[0].startswith("No difference was shown (2 pictures, 2 trainings of each)")
        and found.findings[0] in ended.out
    )
    used = found.conditions
    assert (used.split, used.train_split, used.held_out, used.size) == ("val", "train", 2, (32, 64))
    assert used.generated == "/".join([*generated.parts[-2:]]) + " train" and used.layouts == count
    assert "mirrored" in used.augmentations and used.models == (read_manifest(generated / "train")[0].model,)
    assert used.budget == "2 steps" and set(used.digests) == {"real", "generated", "held out"}
    page = (out / "training-data.html").read_text()
    assert found.findings[0].split(":")[0] in page and page.count("<img") == 12 and "<script" not in page
    kept = {path.name for path in (out / "rows").iterdir()}
    assert kept == {f"{s}-seed{n}.{end}" for s in SOURCES for n in (0, 1) for end in ("json", "safetensors")}


@pytest.mark.long
def test_what_was_done_is_not_done_again(
    scenes: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted between training and score, and between rows; the end is that of an uninterrupted one."""
    from gesso import segmenter_training

    whole = experiment(generated, scenes, tmp_path / "whole")
    out, trained, train = tmp_path / "out", [], segmenter_training.train_segmenter
    monkeypatch.setattr(
        segmenter_training, "train_segmenter", lambda *a, **k: trained.append(k["origin"]) or train(*a, **k)
    )
    score = running._Bench._scored

    def failing(self: Any, segmenter: Any, source: str) -> Any:
        if source == "generated":
            raise KeyboardInterrupt
        return score(self, segmenter, source)

    monkeypatch.setattr(running._Bench, "_scored", failing)
    with pytest.raises(KeyboardInterrupt):
        experiment(generated, scenes, out)
    assert trained == ["real photographs", "generated photographs"]
    monkeypatch.setattr(running._Bench, "_scored", score)
    (out / "rows" / "real-seed0.json").write_text("{")  # cut off: it is scored again, and not trained
    found = experiment(generated, scenes, out)
    assert trained == ["real photographs", "generated photographs", "both photographs"]
    assert [row.numbers for row in found.rows] == [row.numbers for row in whole.rows]
    assert found.findings == whole.findings
    assert experiment(generated, scenes, out).rows == found.rows and len(trained) == 3


def test_another_experiment_does_not_go_into_the_same_folder(
    scenes: Path, generated: Path, changed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    plain = EvaluationSettings(resamples=20, device="cpu")
    bench = running._Bench(
        running.open_sets(generated, scenes, DataFlags(), plain), TrainingDataFlags(generated, steps=2), plain, "cpu", out,
        Console(quiet=True),
    )  # fmt: skip
    bench.plan()
    assert json.loads((out / "plan.json").read_text())["steps of each"] == 2
    with pytest.raises(ConfigError, match="holds an experiment of other steps"):
        experiment(generated, scenes, out, steps=3)
    with pytest.raises(ConfigError, match="of other size"):
        experiment(generated, scenes, out, EvaluationSettings(size="16x32", device="cpu"))
    image = changed / "train" / "images"
    shutil.copy(image / "000000-000.png", image / "000000-001.png")
    with pytest.raises(ConfigError, match="of other generated photographs"):
        experiment(changed, scenes, out)
    (out / "plan.json").write_text("{")
    with pytest.raises(ConfigError, match=r"plan\.json is damaged"):
        experiment(generated, scenes, out)


def test_minutes_become_steps_once_and_the_same_for_all(
    scenes: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = EvaluationSettings(device="cpu")
    sets = running.open_sets(generated, scenes, DataFlags(), plain)
    for out, speed in (("a", 0.25), ("b", 9.0), ("a", 9.0)):
        monkeypatch.setattr(running._Bench, "_rehearsed", lambda self, steps, s=speed: 10.0 + s * steps)
        flags = TrainingDataFlags(generated, minutes=0.5)
        bench = running._Bench(sets, flags, plain, "cpu", tmp_path / out, Console(quiet=True))
        bench.plan()
        assert bench.steps == (120 if out == "a" else 3), "a folder keeps the steps that it began with"
    assert (
        running._Bench(sets, TrainingDataFlags(generated), plain, "cpu", tmp_path, Console(quiet=True))._count() == 3400
    )


def test_a_rehearsal_takes_time(scenes: Path, generated: Path, tmp_path: Path) -> None:
    plain = EvaluationSettings(device="cpu")
    sets = running.open_sets(generated, scenes, DataFlags(), plain)
    bench = running._Bench(sets, TrainingDataFlags(generated), plain, "cpu", tmp_path, Console(quiet=True))
    assert 0 < bench._rehearsed(1) < 60
    assert not any(tmp_path.iterdir())


def test_the_page_escapes_what_others_wrote() -> None:
    found = rows({name: [[0.5, 0.6]] for name in SOURCES})
    conditions = {
        "data": "<b>", "train_split": "train", "split": "val", "held_out": 2, "generated": "<i>", "models": ("m",), "layouts": 1,
        "augmentations": "", "label_space": "x", "classes": CLASSES, "size": (8, 8), "budget": "", "settings": "{}",
        "digests": dict.fromkeys(("real", "generated", "held out"), "d"), "device": "cpu", "threads": 1, "resamples": 20,
        "seed": 0,
    }  # fmt: skip
    whole = TrainingData.model_validate(
        {"conditions": conditions, "rows": [row.model_dump() for row in found.values()], "findings": ("No <u>.", "x")}
    )
    page = to_html(whole)
    assert "<b>" not in page and "<i>" not in page and "<u>" not in page and "&lt;u&gt;" in page
    assert isinstance(whole, Document)


# --------------------------------------------------------------------------------------------------------------- refusals


def test_leaks_are_refused(gesso: Any, scenes: Path, model_file: Path, changed: Path, tmp_path: Path) -> None:
    """By what the manifest says of the split, and by the content of layouts whatever it says."""
    held_out = tmp_path / "of-val"
    assert gesso("generate", model_file, scenes, "--split", "val", "--dataset", held_out, "--device", "cpu").code == 0
    words = ("evaluate", "--data", scenes, "--steps", 2, "-o", tmp_path / "out", "--as-training-data")
    refused(gesso(*words, held_out), "leaks", "images/000004-000.png was made of 000004, which is 000004 of scenes val")
    manifest = changed / "train" / "manifest.jsonl"
    text = manifest.read_text()
    manifest.write_text(text.replace('"split": "train"', '"split": "val"'))
    refused(gesso(*words, changed), "leaks", "its manifest says", "of the split 'val'")
    (held_out / "val").rename(held_out / "train")
    lying = held_out / "train" / "manifest.jsonl"
    lying.write_text(lying.read_text().replace('"split": "val"', '"split": "train"'))
    refused(gesso(*words, held_out), "leaks", "which is 000004 of scenes val")
    assert not (tmp_path / "out").exists()


def test_objects_of_held_out_layouts_are_leaks(scenes: Path, changed: Path, tmp_path: Path) -> None:
    """The layout is one to learn from; what was pasted into it is not."""
    manifest = changed / "train" / "manifest.jsonl"
    first, *others = manifest.read_text().splitlines()
    line, held_out = json.loads(first), scenes / "val" / "labels" / "000004.png"
    digest = hashlib.sha256(held_out.read_bytes()).hexdigest()[:32]
    pasted = {"object": "car:9009", "source": "strange", "layout": digest, "source_object": "car:9001", "at": [3, 4]}
    line["augmentations"]["pasted"] = [pasted]
    manifest.write_text("\n".join([json.dumps(line), *others]) + "\n")
    with pytest.raises(DataError, match="has an object of strange, which is 000004 of scenes val"):
        experiment(changed, scenes, tmp_path / "out")


def test_real_photographs_of_both_splits_are_refused(scenes: Path, generated: Path, tmp_path: Path) -> None:
    """By their content, whatever they are called."""
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    shutil.copy(root / "val" / "images" / "000004.png", root / "train" / "images" / "000000.png")
    with pytest.raises(DataError, match=r"train.*000000\.png of split train.* is .*val.*000004\.png of split val"):
        experiment(generated, root, tmp_path / "out")


def test_results_do_not_go_into_a_dataset(scenes: Path, changed: Path) -> None:
    for out in (scenes, changed, changed / "train", scenes / "worth"):
        with pytest.raises(ConfigError, match="lies in the dataset"):
            experiment(changed, scenes, out)
    assert not (changed / "plan.json").exists()


def test_which_generated_split_is_learned_from(scenes: Path, changed: Path) -> None:
    plain = EvaluationSettings(device="cpu")
    with pytest.raises(ConfigError, match=f"name {re.escape(str(changed))}, not {re.escape(str(changed))}/train"):
        running.open_sets(changed / "train", scenes, DataFlags(), plain)
    (changed / "train").rename(changed / "more")
    sets = running.open_sets(changed, scenes, DataFlags(), plain)
    console = Console(record=True, quiet=False, file=io.StringIO())
    running._Bench(sets, TrainingDataFlags(changed), plain, "cpu", changed, console).say_split()
    assert "has no split train: its only one, more, is learned from" in console.export_text()
    shutil.copytree(changed / "more", changed / "others")
    with pytest.raises(ConfigError, match="has no split train, which is learned from; it has more, others"):
        running.open_sets(changed, scenes, DataFlags(), plain)


def test_other_label_spaces_are_refused(scenes: Path, changed: Path, tmp_path: Path) -> None:
    space = LabelSpace.load(changed / "labels.json")
    renamed = space.classes[0].model_copy(update={"name": "heaven"})
    space.model_copy(update={"classes": (renamed, *space.classes[1:])}).save(changed / "labels.json")
    with pytest.raises(DataError, match=r"heaven, sky are in one alone"):
        experiment(changed, scenes, tmp_path / "out")
    space.model_copy(update={"classes": space.classes[::-1]}).save(changed / "labels.json")
    with pytest.raises(DataError, match="their order differs"):
        experiment(changed, scenes, tmp_path / "out")
    moved = space.classes[0].model_copy(update={"values": (77,)})
    space.model_copy(update={"classes": (moved, *space.classes[1:])}).save(changed / "labels.json")
    with pytest.raises(DataError, match="other values stand for them"):
        experiment(changed, scenes, tmp_path / "out")


def test_datasets_that_are_none_or_not_whole(scenes: Path, changed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="was not written by gesso generate --dataset"):
        experiment(scenes, scenes, tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        experiment(tmp_path / "nowhere", scenes, tmp_path / "out")
    next((changed / "train" / "images").iterdir()).unlink()
    with pytest.raises(DataError, match="are not there"):
        experiment(changed, scenes, tmp_path / "out")
    (changed / "train" / "manifest.jsonl").unlink()
    with pytest.raises(DataError, match="it makes what is missing"):
        experiment(changed, scenes, tmp_path / "out")


def test_sizes(scenes: Path, changed: Path, tmp_path: Path) -> None:
    manifest = changed / "train" / "manifest.jsonl"
    first, rest = manifest.read_text().split("\n", 1)
    manifest.write_text(first.replace("[32, 64]", "[16, 64]") + "\n" + rest)
    with pytest.raises(ConfigError, match="of 2 sizes, from 16x64 to 32x64: say with --size"):
        experiment(changed, scenes, tmp_path / "out")
    for size, said in (("8x64", "at least 16x16"), ("big", "is not a size")):
        with pytest.raises(ConfigError, match=said):
            experiment(changed, scenes, tmp_path / "out", EvaluationSettings(size=size))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("model.safetensors",), "tests what a dataset is worth, not models"),
        (("--steps", 2, "--minutes", 1), "choose one"),
        (("--minutes", 0), "--minutes 0: more than 0"),
        (("--minutes", "nan"), "more than 0"),
        (("--steps", 0), "--steps 0: at least 1"),
        (("--seeds", 0), "--seeds 0: at least 1"),
        (("--segmenter", "none"), "--segmenter is for measuring models"),
        (("--style", "own"), "--style is for measuring models"),
        (("--train-split", "val"), "--split val is what is learned from"),
        (("--split", "test"), "has no split 'test'"),
        (("--resamples", 3), "--resamples 3: at least 20"),
        (("--seed", -1), "--seed -1"),
    ],
)
def test_flags_that_make_no_sense(
    gesso: Any, scenes: Path, generated: Path, tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    models = words if not str(words[0]).startswith("--") else ()
    more = () if models else words
    given = ("evaluate", *models, "--as-training-data", generated, "--data", scenes, "-o", tmp_path / "out", *more)
    refused(gesso(*given), said)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [("--minutes", 1), ("--steps", 2), ("--seeds", 2)])
def test_flags_of_the_experiment_alone(gesso: Any, scenes: Path, more: tuple[object, ...]) -> None:
    refused(gesso("evaluate", "--data", scenes, *more), f"{more[0]}", "is for --as-training-data")


def test_data_without_splits(generated: Path, tmp_path: Path) -> None:
    plain = EvaluationSettings()
    for data in (None, tmp_path / "absent"):
        with pytest.raises(GessoError, match="give --data"):
            running.open_sets(generated, data, DataFlags(), plain)
