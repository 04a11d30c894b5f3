"""`gesso evaluate`: rows side by side, what is kept and found again, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from gesso.checkpoints import load_model, save_model
from gesso.cli import evaluation_pictures
from gesso.cli.common import DataFlags, style_seed
from gesso.cli.evaluation import run_evaluation
from gesso.cli.evaluation_settings import Entry, EvaluationSettings, read_entries
from gesso.data.preprocessing import Preprocessing
from gesso.data.spaces import published
from gesso.errors import ConfigError, DataError, GessoError, LabelError, ModelFileError
from gesso.evaluate.features import kept_features
from gesso.evaluate.results import COLUMNS, Evaluation, Row
from gesso.evaluate.segmentation import HEADLINE
from gesso.labels import LabelSpace
from gesso.networks.segmenter import Segmenter, initialise
from gesso.synthesis.segmenter import PhotoSegmenter, SegmenterInfo, save_segmenter
from gesso.synthesis.synthesizer import read_record
from styled import CAR_MODES, clusters, write_scenes, write_styled_model
from support import picture_model, refused
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread", "own_cache")
SPACE = published("toy")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "cache"))


def write_segmenter(path: Path, space: LabelSpace = SPACE, steps: int = 0, origin: str = "nothing") -> Path:
    """One that was never trained, whatever it says."""
    network = initialise(Segmenter(classes=len(space), width=4), torch.Generator().manual_seed(2))
    save_segmenter(path, network, SegmenterInfo(label_space=space, width=4, steps=steps, origin=origin, size=(32, 64)))  # type: ignore[arg-type]
    return path


@pytest.fixture
def segmenter(tmp_path: Path) -> Path:
    return write_segmenter(tmp_path / "segmenter.safetensors")


def quick(segmenter: Path | str = "none", **changes: Any) -> EvaluationSettings:
    plain = EvaluationSettings(segmenter=str(segmenter), resamples=20, diversity_layouts=2, diversity_results=2)
    return replace(plain, device="cpu", **changes)


def run(
    things: Mapping[str, Path], data: Path, out: Path, settings: EvaluationSettings, flags: DataFlags | None = None
) -> Evaluation:
    entries = [Entry(name, path) for name, path in things.items()]
    return run_evaluation(entries, data, flags or DataFlags(), settings, out, Console(quiet=True))


def copies(data: Path, folder: Path, size: tuple[int, int] | None = None) -> Path:
    """The held-out photographs of a dataset as a folder of pictures."""
    folder.mkdir()
    for file in sorted((data / "val" / "images").iterdir()):
        image = Image.open(file)
        (image.resize(size[::-1]) if size else image).save(folder / f"{file.stem}.png")
    return folder


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def values(row: Row) -> dict[str, float]:
    return {name: number.value for name, number in row.numbers.items()}


def changed_model(model: Path, path: Path, preprocessing: Preprocessing | None = None, space: Any = None) -> Path:
    """The same weights, trained otherwise, as the file says."""
    loaded = load_model(model)
    changes: dict[str, Any] = {}
    if preprocessing:
        changes["preprocessing"] = preprocessing.model_dump(mode="json")
    if space:
        changes["label_space"] = space
    save_model(path, loaded.networks, loaded.info.model_copy(update=changes), loaded.styles)
    return path


# -------------------------------------------------------------------------------------------------------- side by side


def test_models_folders_and_the_oracle(
    gesso: Any, tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path
) -> None:
    ended = gesso(
        "evaluate", f"ours={tiny_model}", f"photos={copies(tiny_dataset, tmp_path / 'p')}", "--data", tiny_dataset,
        "--segmenter", segmenter, "--out", tmp_path / "out", "--resamples", 20, "--device", "cpu",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    found = Evaluation.read(tmp_path / "out" / "evaluation.json")
    oracle, ours, photos = found.rows
    assert [(row.name, row.kind) for row in found.rows] == [
        ("real photographs", "oracle"),
        ("ours", "model"),
        ("photos", "pictures"),
    ]
    assert values(oracle)["frechet"] == pytest.approx(0, abs=1e-9)
    assert [values(oracle)[name] for name in ("l1", "ssim", "repetition")] == [0, pytest.approx(1), 0]
    assert values(photos) == pytest.approx(values(oracle)), "photographs as pictures are photographs"
    assert values(ours)["l1"] > 0.05
    assert values(ours)["diversity"] == 0
    assert "leaves nothing open" in ours.numbers["diversity"].note
    for row in found.rows:
        assert {*row.numbers, *row.missing} == set(COLUMNS)
        assert len(row.layouts) == 2 and len(row.classes) == len(SPACE)
        assert {"segmentation", "reading", "intervals"} <= row.seconds.keys()
    assert ours.facts["recipe"] == "pix2pixhd" and ours.facts["steps"] == 3
    assert "synthesis" in ours.seconds and "features" in ours.seconds
    assert "ours" in ended.out and "evaluation.html" in ended.out
    assert "<html" in (tmp_path / "out" / "evaluation.html").read_text().lower()


def test_the_protocol(tiny_dataset: Path, segmenter: Path, tmp_path: Path) -> None:
    found = run({}, tiny_dataset, tmp_path / "out", quick(segmenter, seed=3, band=2.0))
    protocol = found.protocol
    assert protocol.data == "/".join(tiny_dataset.parts[-2:])
    assert (protocol.split, protocol.samples, protocol.size) == ("val", 2, None)
    assert protocol.classes == SPACE.names
    assert protocol.segmenter is not None
    assert protocol.segmenter.name.startswith("compact U-Net trained on nothing")
    assert protocol.segmenter.scores["mean_iou"] == round(found.rows[0].numbers["mean_iou"].value, 4)
    assert "compact U-Net" in protocol.extractor and "Inception" not in protocol.extractor
    assert "compact U-Net" in protocol.distance
    assert (protocol.set_size, protocol.seed, protocol.band, protocol.resamples) == (2, 3, 2.0, 20)
    assert {"gesso", "torch"} <= protocol.versions.keys()
    again = run({}, tiny_dataset, tmp_path / "again", quick(segmenter, seed=3, band=2.0))
    assert protocol.differences(again.protocol) == []
    assert [values(row) for row in found.rows] == [values(row) for row in again.rows]
    train = run({}, tiny_dataset, tmp_path / "train", quick(segmenter, seed=3, band=2.0, split="train", limit=2))
    assert {"split", "samples_digest"} <= set(protocol.differences(train.protocol))


def test_a_segmenter_is_trained_once_and_kept(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["evaluate", "--data", tiny_dataset, "--segmenter-steps", 2, "--resamples", 20, "--out", tmp_path / "out"]
    ended = gesso(*words, "--save-segmenter", tmp_path / "kept.safetensors")
    assert ended.code == 0, ended.err
    trained = Evaluation.read(tmp_path / "out" / "evaluation.json")
    assert trained.protocol.segmenter is not None
    assert f"{tiny_dataset.name} train" in trained.protocol.segmenter.origin

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr("gesso.segmenter_training.cache.trained", fail)
    assert gesso(*words).code == 0
    kept = run({}, tiny_dataset, tmp_path / "again", quick(tmp_path / "kept.safetensors"))
    assert values(kept.rows[0]) == values(trained.rows[0])


def test_features_of_photographs_are_kept(
    tiny_dataset: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []

    def watched(*args: Any) -> Any:
        found = kept_features(*args)
        kept.append(found[1])
        return found

    monkeypatch.setattr("gesso.evaluate.features.kept_features", watched)
    for settings in (quick(segmenter), quick(segmenter), quick(segmenter, size="16x32")):
        run({}, tiny_dataset, tmp_path / "out", settings)
    assert kept == [False, True, False]


# ------------------------------------------------------------------------------------------------------------ pictures


def test_pictures_are_kept_for_the_report(
    tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path
) -> None:
    found = run({"a/b": tiny_model}, tiny_dataset, tmp_path / "out", quick(segmenter))
    pictures = tmp_path / "out" / "pictures"
    assert found.rows[1].pictures == "pictures/a-b"
    for folder in ("a-b", "_layouts", "_real", "_wrong/a-b"):
        assert sorted(file.name for file in (pictures / folder).iterdir()) == ["scene0.png", "scene1.png"], folder
    real = np.asarray(Image.open(pictures / "_real" / "scene0.png"))
    assert np.array_equal(real, np.asarray(Image.open(tiny_dataset / "val" / "images" / "scene0.png")))
    record = read_record(pictures / "a-b" / "scene0.png")
    assert record is not None and record["model"] == load_model(tiny_model).hash
    assert record["seed"] == style_seed(0, "scene0")


def test_no_picture_is_kept_where_none_is_wanted(
    tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path
) -> None:
    kept = run({"m": tiny_model}, tiny_dataset, tmp_path / "kept", quick(segmenter))
    found = run({"m": tiny_model}, tiny_dataset, tmp_path / "out", quick(segmenter, keep_pictures=False))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["evaluation.html", "evaluation.json"]
    assert found.rows[1].pictures == ""
    assert values(found.rows[1]) == values(kept.rows[1])


def counted(monkeypatch: pytest.MonkeyPatch, stop: int = 10**6) -> list[str]:
    """The names of layouts whose pictures are made, as they are; interrupted at one of them."""
    made: list[str] = []
    plain = evaluation_pictures.ModelPictures._photograph

    def photograph(self: Any, seen: Any, *args: Any) -> Any:
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(seen["name"])
        return plain(self, seen, *args)

    monkeypatch.setattr(evaluation_pictures.ModelPictures, "_photograph", photograph)
    return made


def test_an_interrupted_evaluation_goes_on(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, settings = write_pix2pix_model(tmp_path / "m.safetensors"), quick(split="train", distance="none")
    whole = run({"m": model}, tiny_dataset, tmp_path / "whole", settings)
    with monkeypatch.context() as patch:
        made = counted(patch, stop=4)
        with pytest.raises(KeyboardInterrupt):
            run({"m": model}, tiny_dataset, tmp_path / "out", settings)
        assert made == [f"scene{n}" for n in range(4)]
        assert not (tmp_path / "out" / "evaluation.json").exists()
    made = counted(monkeypatch)
    again = run({"m": model}, tiny_dataset, tmp_path / "out", settings)
    assert made[:3] == ["scene4", "scene5", "scene6"], "what was there is not made again"
    assert values(again.rows[1]) == values(whole.rows[1])
    del made[:]
    run({"m": model}, tiny_dataset, tmp_path / "out", settings)
    assert made == []


def test_old_numbers_never_lie_beside_new_pictures(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = write_pix2pix_model(tmp_path / "m.safetensors"), tmp_path / "out"
    run({"m": model}, tiny_dataset, out, quick(distance="none"))
    names = ("evaluation.html", "evaluation.json")
    old = [(out / name).read_bytes() for name in names]
    with monkeypatch.context() as patch:
        counted(patch, stop=1)
        with pytest.raises(KeyboardInterrupt):
            run({"m": model}, tiny_dataset, out, quick(distance="none", seed=1))
    assert [(out / f"previous-{name}").read_bytes() for name in names] == old
    assert not any((out / name).exists() for name in names)
    run({"m": model}, tiny_dataset, out, quick(distance="none", seed=1))
    assert sorted(path.name for path in out.iterdir()) == [*names, "pictures"]
    with pytest.raises(ConfigError):
        run({"m": model}, tiny_dataset, out, quick(size="8x64"))
    assert (out / "evaluation.json").exists(), "nothing was measured anew"


def test_other_pictures_are_not_taken_for_kept_ones(
    tiny_model: Path, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(model: Path = tiny_model, data: Path = tiny_dataset, **changes: Any) -> None:
        run({"m": model}, data, tmp_path / "out", quick(**changes))

    evaluate()
    made, kept = counted(monkeypatch), tmp_path / "out" / "pictures" / "m"
    evaluate(seed=1)
    assert made == ["scene0", "scene1"], "another seed"
    del made[:]
    (kept / "scene0.png").write_bytes((kept / "scene0.png").read_bytes()[:-40])
    Image.new("RGB", (64, 32)).save(kept / "scene1.png")
    evaluate(seed=1)
    assert made == ["scene0", "scene1"], "one is damaged, one is somebody else's"
    del made[:]
    evaluate(seed=1, split="train", limit=1)
    assert made == ["scene0"], "another layout of that name"
    del made[:]
    other = changed_model(
        tiny_model, tmp_path / "other.safetensors", Preprocessing(resize="fixed", height=64, width=64)
    )
    evaluate(other, seed=1, split="train", limit=1)
    assert made == ["scene0"], "another size"


# --------------------------------------------------------------------------------------------------------------- sizes


def test_models_of_different_sizes(tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path) -> None:
    large = changed_model(tiny_model, tmp_path / "l.safetensors", Preprocessing(resize="fixed", height=64, width=96))
    models = {"small": tiny_model, "large": large}
    with pytest.raises(ConfigError, match=r"small: 32x64; large: 64x96.*--size"):
        run(models, tiny_dataset, tmp_path / "out", quick(segmenter))
    found = run(models, tiny_dataset, tmp_path / "out", quick(segmenter, size="48x64"))
    assert found.protocol.size == (48, 64)
    sizes = [size_of(tmp_path / "out/pictures" / place / "scene0.png") for place in ("small", "large", "_real")]
    assert sizes == [(64, 32), (96, 64), (64, 48)], "each model makes pictures at its own size"
    assert all(set(values(row)) >= {"mean_iou", "l1", "frechet"} for row in found.rows)


def test_models_of_different_multiples(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """Where sizes are rounded to a multiple, that is the rule; where they are padded to it, nothing is left of it."""
    models = {
        name: changed_model(
            tiny_model, tmp_path / f"{name}.safetensors", Preprocessing(resize="nearest_multiple", multiple=multiple)
        )
        for name, multiple in (("a", 12), ("b", 24), ("c", 12))
    }
    found = run({name: models[name] for name in "ac"}, tiny_dataset, tmp_path / "out", quick())
    assert '"multiple": 12' in found.protocol.size_rule
    assert size_of(tmp_path / "out/pictures/_real/scene0.png") == (60, 36)
    assert size_of(tmp_path / "out/pictures/a/scene0.png") == (60, 36)
    with pytest.raises(
        ConfigError, match=r"a: each side the nearest multiple of 12; b: .* multiple of 24; c: .*--size"
    ):
        run(models, tiny_dataset, tmp_path / "out", quick())
    padded = {
        name: changed_model(
            tiny_model,
            tmp_path / f"p{name}.safetensors",
            Preprocessing(resize="fixed", height=32, width=64, multiple=multiple),
        )
        for name, multiple in (("a", 4), ("b", 32))
    }
    assert run(padded, tiny_dataset, tmp_path / "padded", quick()).protocol.size == (32, 64)


def test_layouts_of_any_size(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """A model that keeps sizes, and data without a common one."""
    data = tmp_path / "data"
    for kind, mode in (("images", Image.Resampling.BICUBIC), ("labels", Image.Resampling.NEAREST)):
        (data / "val" / kind).mkdir(parents=True)
        for name, size in (("scene0", (64, 32)), ("scene1", (40, 48))):
            image = Image.open(tiny_dataset / "val" / kind / f"{name}.png")
            image.resize(size, mode).save(data / "val" / kind / f"{name}.png")
    SPACE.save(data / "labels.json")
    model = changed_model(tiny_model, tmp_path / "m.safetensors", Preprocessing())
    found = run({"m": model}, data, tmp_path / "out", quick(write_segmenter(tmp_path / "s.safetensors")))
    assert found.protocol.size is None
    assert size_of(tmp_path / "out/pictures/m/scene1.png") == (40, 48)
    assert {"mean_iou", "l1", "frechet", "band_agreement"} <= values(found.rows[1]).keys()


def test_pictures_at_the_layouts_own_size(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """What `gesso generate --original-size` writes comes to the compared size as the photographs do."""
    square = changed_model(tiny_model, tmp_path / "m.safetensors", Preprocessing(resize="fixed", height=32, width=32))
    things = {
        "m": square,
        "own": copies(tiny_dataset, tmp_path / "own"),
        "at it": copies(tiny_dataset, tmp_path / "at", (16, 16)),
    }
    found = run(things, tiny_dataset, tmp_path / "out", quick())
    assert found.protocol.size == (32, 32)
    assert values(found.rows[2])["l1"] == 0
    assert values(found.rows[3])["l1"] > 0
    with pytest.raises(DataError, match=r"scene0.png is 16x48, its layout 32x32 .*another shape"):
        odd = {"m": square, "odd": copies(tiny_dataset, tmp_path / "odd", (16, 48))}
        run(odd, tiny_dataset, tmp_path / "out", quick())


# -------------------------------------------------------------------------------------------------------------- styles


@pytest.mark.parametrize("kind", ["features", "z"])
def test_models_with_an_encoder(kind: str, segmenter: Path, tmp_path: Path) -> None:
    data, path = write_scenes(tmp_path / "scenes"), tmp_path / "m.safetensors"
    model = write_styled_model(path, styles=clusters()) if kind == "features" else write_spade_model(path)
    found = run({"m": model}, data, tmp_path / "out", quick(segmenter))
    numbers = values(found.rows[1])
    assert {"style_l1", "style_distance", "random_style_distance", "diversity"} <= numbers.keys()
    assert numbers["diversity"] > 0
    assert any(one.diversity for one in found.rows[1].classes)
    assert found.protocol.diversity == (2, 2)
    assert (tmp_path / "out/pictures/_styles/m/one-001.png").is_file()
    if kind == "z":
        assert found.rows[1].facts["styles"] == "random"
    own = run({"m": model}, data, tmp_path / "own", quick(segmenter, style="own"))
    assert values(own.rows[1])["l1"] == pytest.approx(numbers["style_l1"]), "two layouts, both of them in own styles"
    assert values(own.rows[1])["diversity"] == pytest.approx(numbers["diversity"])
    assert own.rows[1].facts["styles"] == "of each photograph"
    assert "style" in own.protocol.differences(found.protocol)
    record = read_record(tmp_path / "own/pictures/m/one.png")
    assert record is not None and record["style"], "the style that was encoded stands in the picture"
    assert len(CAR_MODES) > 1


def kept(out: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(out / "pictures" / f"{name}.png"))


@pytest.mark.parametrize("style", ["random", "own"])
def test_each_layout_wears_a_style_of_its_own(style: Literal["random", "own"], tmp_path: Path) -> None:
    """By the seed and its name alone, so that no score is the luck of one style."""
    data, model = (
        write_scenes(tmp_path / "scenes"),
        write_spade_model(tmp_path / "m.safetensors", encoder=style == "own"),
    )
    for kind in ("labels", "instances", "images"):
        (data / "val" / kind / "two.png").write_bytes((data / "val" / kind / "one.png").read_bytes())
    settings = quick(distance="none", style=style)
    found = run({"m": model}, data, tmp_path / "out", settings)
    assert "one per layout" in found.protocol.style
    seeds = [
        read_record(path)["seed"] for path in sorted((tmp_path / "out/pictures").glob("**/*.png")) if is_made(path)
    ]  # type: ignore[index]
    assert len(seeds) == (4 if style == "random" else 6) and len(set(seeds)) == 4, (
        "a layout's own style takes its first"
    )
    assert set(seeds) == {style_seed(0, name, result) for name in ("one", "two") for result in (0, 1)}
    place = "m/{}" if style == "random" else "_styles/m/{}-000"
    pictures = [kept(tmp_path / "out", place.format(name)) for name in ("one", "two")]
    assert (pictures[0] != pictures[1]).any(), "the layouts are the same, their styles are not"
    for kind in ("labels", "instances", "images"):
        (data / "val" / kind / "one.png").unlink()
    run({"m": model}, data, tmp_path / "alone", settings)
    assert np.array_equal(kept(tmp_path / "alone", place.format("two")), pictures[1]), "whatever else is measured"


def is_made(path: Path) -> bool:
    return "seed" in (read_record(path) or {})


def test_seeds_of_layouts() -> None:
    assert style_seed(0, "frankfurt/frankfurt_000000_000294") == 51658535071098, "the same on every machine"
    several = {style_seed(seed, name, n) for seed in range(3) for name in ("a", "b", "1 a") for n in range(4)}
    assert len(several) == 36
    assert all(0 <= seed < 2**48 for seed in several)
    style_seed(0, "odd \udcff name")  # as the system gives names that are no UTF-8


def test_objects_without_clusters_have_no_random_styles(segmenter: Path, tmp_path: Path) -> None:
    data, model = write_scenes(tmp_path / "scenes"), write_styled_model(tmp_path / "m.safetensors")
    row = run({"m": model}, data, tmp_path / "out", quick(segmenter)).rows[1]
    assert row.numbers["diversity"].value == 0
    for said in (row.facts["styles"], *(row.numbers[name].note for name in ("diversity", "random_style_distance"))):
        assert "no clusters of styles" in said and "gesso styles" in said
    assert not row.numbers["style_l1"].note
    assert "no clusters of styles" in (tmp_path / "out" / "evaluation.html").read_text()
    some = write_styled_model(tmp_path / "some.safetensors", styles=clusters())
    row = run({"m": some}, data, tmp_path / "some", quick(segmenter)).rows[1]
    assert row.facts["styles"].startswith("random; without clusters of ") and "road" not in row.facts["styles"]
    assert not row.numbers["diversity"].note


def test_models_with_noise(tiny_dataset: Path, segmenter: Path, tmp_path: Path) -> None:
    model = write_pix2pix_model(tmp_path / "m.safetensors")
    row = run({"m": model}, tiny_dataset, tmp_path / "out", quick(segmenter)).rows[1]
    assert values(row)["diversity"] > 0
    assert row.missing["style_l1"] == "the model takes no style from photographs"
    none = run({"m": model}, tiny_dataset, tmp_path / "none", quick(segmenter, diversity_layouts=0)).rows[1]
    assert none.missing["diversity"] == "--diversity-layouts 0"


# ---------------------------------------------------------------------------------------------------- other tasks


def test_photo_to_photo(tiny_dataset: Path, segmenter: Path, tmp_path: Path) -> None:
    said = Preprocessing(resize="fixed", height=32, width=64).model_dump(mode="json")
    model = picture_model(1, tmp_path, said, input="gray")
    settings = quick(segmenter, features="segmenter")
    found = run({"m": model, "p": copies(tiny_dataset, tmp_path / "p")}, tiny_dataset, tmp_path / "out", settings)
    for row in found.rows:
        assert {"frechet", "kernel", "l1", "psnr", "ssim"} <= row.numbers.keys()
        assert "no label maps" in row.missing["mean_iou"] and "no label maps" in row.missing["object_agreement"]
        assert row.confusion == () and row.classes == ()
    assert found.protocol.segmenter is None and found.protocol.label_space == ""
    assert "compact U-Net" in found.protocol.extractor
    shown = np.asarray(Image.open(tmp_path / "out/pictures/_layouts/scene0.png"))
    assert (shown[..., 0] == shown[..., 1]).all(), "the input is gray"
    without = run({"m": model}, tiny_dataset, tmp_path / "without", quick("train"))
    assert "--inception-weights" in without.rows[1].missing["frechet"]


def test_photo_to_photo_beside_labels_to_photo(
    tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path
) -> None:
    """Both make photographs of the same scenes: all is measured of both."""
    said = Preprocessing(resize="fixed", height=32, width=64).model_dump(mode="json")
    models = {"gray": picture_model(1, tmp_path, said, input="gray"), "labels": tiny_model}
    found = run(models, tiny_dataset, tmp_path / "out", quick(segmenter))
    assert all("mean_iou" in row.numbers for row in found.rows)


def test_models_that_paint_label_maps(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    said = Preprocessing(resize="fixed", height=32, width=64).model_dump(mode="json")
    model = picture_model(3, tmp_path, said, target_space=SPACE, direction="BtoA")
    found = run({"m": model}, tiny_dataset, tmp_path / "out", quick("train"))
    oracle, row = found.rows
    assert oracle.name == "true label maps"
    assert values(oracle) == dict.fromkeys(HEADLINE, 1)
    assert values(row).keys() == values(oracle).keys()
    assert 0 <= values(row)["mean_iou"] < 0.5
    assert "paint label maps" in row.missing["frechet"] and "paint label maps" in row.missing["style_l1"]
    assert found.protocol.segmenter is not None and found.protocol.segmenter.name == "nearest colour"
    photograph = np.asarray(Image.open(tmp_path / "out/pictures/_layouts/scene0.png"))
    assert np.array_equal(photograph, np.asarray(Image.open(tiny_dataset / "val/images/scene0.png")))
    assert (tmp_path / "out/pictures/_wrong/m/scene0.png").is_file()
    with pytest.raises(ConfigError, match="m paints label maps, other makes photographs"):
        run({"m": model, "other": tiny_model}, tiny_dataset, tmp_path / "out", quick("none"))


def test_layouts_without_photographs(tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path) -> None:
    data = tmp_path / "bare"
    (data / "val").mkdir(parents=True)
    (data / "val" / "labels").symlink_to(tiny_dataset / "val" / "labels")
    SPACE.save(data / "labels.json")
    oracle, row = run({"m": tiny_model}, data, tmp_path / "out", quick(segmenter)).rows
    assert oracle.numbers == {} and set(oracle.missing) == set(COLUMNS)
    assert {"mean_iou", "object_agreement"} <= values(row).keys()
    assert all("no photographs" in row.missing[name] for name in ("frechet", "l1", "repetition"))
    assert (tmp_path / "out/pictures/_layouts/scene0.png").is_file()
    with pytest.raises(ConfigError, match="--style own"):
        run({"m": tiny_model}, data, tmp_path / "out", quick(segmenter, style="own"))


# ------------------------------------------------------------------------------------------------------------ refusals


def test_missing_pictures(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    pictures = copies(tiny_dataset, tmp_path / "p")
    (pictures / "scene1.png").unlink()
    out = tmp_path / "out"
    ended = gesso("evaluate", pictures, "--data", tiny_dataset, "--out", out)
    refused(
        ended, pictures, "no picture of 1 of 2 layouts; the first is scene1", "Its first picture is scene0", "--split"
    )
    assert not out.exists(), "said before anything is trained or written"
    (pictures / "scene0.png").unlink()
    refused(gesso("evaluate", pictures, "--data", tiny_dataset, "--out", out), "2 of 2", "holds no picture")


def test_pictures_that_are_passed_by(tiny_dataset: Path, tmp_path: Path) -> None:
    """Where one ends as Cityscapes' photographs do, the others are taken for something else."""
    pictures = copies(tiny_dataset, tmp_path / "p")
    (pictures / "scene0.png").rename(pictures / "scene0_leftImg8bit.png")
    said = (
        r"the first is scene1 .*As scene0_leftImg8bit.png ends in _leftImg8bit, .* and 1 other is not: give all of them"
    )
    with pytest.raises(DataError, match=said):
        run({"p": pictures}, tiny_dataset, tmp_path / "out", quick())


def test_two_pictures_of_one_name(tiny_dataset: Path, tmp_path: Path) -> None:
    pictures = copies(tiny_dataset, tmp_path / "p")
    Image.open(pictures / "scene0.png").save(pictures / "scene0.jpg")
    with pytest.raises(DataError, match=r"scene0\.\w+ and another file of .* have one name"):
        run({"p": pictures}, tiny_dataset, tmp_path / "out", quick())


def test_pictures_in_subfolders(tiny_dataset: Path, tmp_path: Path) -> None:
    """Cityscapes' pictures lie in folders of cities, and its samples go without; but an end that is there twice says nothing."""
    pictures = copies(tiny_dataset, tmp_path / "p")
    (pictures / "city").mkdir()
    (pictures / "scene0.png").rename(pictures / "city" / "scene0.png")
    assert values(run({"p": pictures}, tiny_dataset, tmp_path / "out", quick()).rows[1])["l1"] == 0
    (pictures / "town").mkdir()
    (pictures / "town" / "scene0.png").write_bytes((pictures / "city" / "scene0.png").read_bytes())
    with pytest.raises(DataError, match="no picture of 1 of 2 layouts; the first is scene0"):
        run({"p": pictures}, tiny_dataset, tmp_path / "out", quick())


def test_pictures_that_are_not_finite(tiny_dataset: Path, tmp_path: Path) -> None:
    pictures = copies(tiny_dataset, tmp_path / "p")
    (pictures / "scene1.png").unlink()
    np.save(pictures / "scene1.npy", np.full((32, 64, 3), np.nan, np.float32))
    with pytest.raises(DataError, match=r"scene1.npy holds float32 values nan\.\.nan"):
        run({"p": pictures}, tiny_dataset, tmp_path / "out", quick())


def test_a_model_that_computes_no_numbers(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    loaded = load_model(tiny_model)
    weights = {k: torch.full_like(v, torch.nan) for k, v in loaded.networks["generator"].state_dict().items()}
    save_model(tmp_path / "nan.safetensors", {"generator": weights}, loaded.info)
    with pytest.raises(DataError, match=r"scene0: .*nan.safetensors makes pictures that are not finite"):
        run({"m": tmp_path / "nan.safetensors"}, tiny_dataset, tmp_path / "out", quick())


def test_a_segmenter_of_other_classes(tiny_dataset: Path, tmp_path: Path) -> None:
    other = write_segmenter(tmp_path / "camvid.safetensors", published("camvid"))
    with pytest.raises(
        LabelError, match=r"camvid.safetensors finds the 11 classes of camvid, the layouts have the .* of toy: .*lacks"
    ):
        run({}, tiny_dataset, tmp_path / "out", quick(other))
    turned = SPACE.model_copy(update={"classes": SPACE.classes[::-1]})
    with pytest.raises(LabelError, match="their order differs"):
        run({}, tiny_dataset, tmp_path / "out", quick(write_segmenter(tmp_path / "t.safetensors", turned)))


LEAK = "The segmenter learned from the photographs that are measured"


def told(out: Path) -> list[str]:
    """The remarks of an evaluation, which its page says before the numbers."""
    remarks: list[str] = Evaluation.read(out / "evaluation.json").rows[0].facts.get("remarks", [])
    page = (out / "evaluation.html").read_text().partition("<nav>")[0]
    assert all(f"<p>{escape(remark)}</p>" in page for remark in remarks)
    return remarks


def test_a_segmenter_that_learned_from_what_is_measured(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--data", tiny_dataset, "--split", "train", "--segmenter-steps", 1, "--resamples", 20]
    words += ["--diversity-layouts", 2, "--diversity-results", 2]
    kept = tmp_path / "kept.safetensors"
    ended = gesso(*words, "--save-segmenter", kept, "--device", "cpu", "--out", tmp_path / "trained")
    assert ended.code == 0, ended.err
    (remark,) = told(tmp_path / "trained")
    assert remark.startswith(LEAK) and "Measure another --split" in remark
    assert LEAK in " ".join(ended.out.split())
    for name, changes in {
        "file": {"split": "train"},
        "few": {"split": "train", "limit": 2},
        "size": {"split": "train", "size": "16x32"},
    }.items():
        run({}, tiny_dataset, tmp_path / name, quick(kept, **changes))
        assert told(tmp_path / name) == [remark], name
    run({}, tiny_dataset, tmp_path / "val", quick(kept))
    assert told(tmp_path / "val") == []
    bare = DataFlags(labels=tiny_dataset / "train/labels", images=tiny_dataset / "train/images", space="toy")
    run_evaluation([], None, bare, quick(kept), tmp_path / "bare", Console(quiet=True))
    assert told(tmp_path / "bare") == [remark]
    found = Evaluation.read(tmp_path / "file" / "evaluation.json").protocol
    assert found.differences(Evaluation.read(tmp_path / "trained" / "evaluation.json").protocol) == []


def test_a_segmenter_that_may_have_learned_from_what_is_measured(tiny_dataset: Path, tmp_path: Path) -> None:
    """Its file says names alone: it was trained otherwise, or the data have changed."""
    trained = write_segmenter(tmp_path / "s.safetensors", steps=5, origin=f"{tiny_dataset.name} train")
    run({}, tiny_dataset, tmp_path / "train", quick(trained, split="train"))
    (remark,) = told(tmp_path / "train")
    assert "it may have learned from them" in remark and f"'{tiny_dataset.name} train'" in remark
    run({}, tiny_dataset, tmp_path / "val", quick(trained))
    assert told(tmp_path / "val") == []


def test_what_is_no_segmenter(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="is a gesso model file"):
        run({}, tiny_dataset, tmp_path / "out", quick(tiny_model))
    with pytest.raises(ModelFileError, match=r"no segmenter .*none\.safetensors"):
        run({}, tiny_dataset, tmp_path / "out", quick(tmp_path / "none.safetensors"))
    with pytest.raises(ModelFileError, match="not a gesso model"):
        run({"m": write_segmenter(tmp_path / "s.safetensors")}, tiny_dataset, tmp_path / "out", quick())


def test_nothing_to_train_a_segmenter_on(tiny_dataset: Path, tmp_path: Path) -> None:
    flags = DataFlags(labels=tiny_dataset / "val/labels", images=tiny_dataset / "val/images", space="toy")
    entries: list[Entry] = []
    with pytest.raises(ConfigError, match=r"--segmenter train learns from the split 'train' of DATA.*--segmenter none"):
        run_evaluation(entries, None, flags, quick("train"), tmp_path / "out", Console(quiet=True))
    found = run_evaluation(entries, None, flags, quick(), tmp_path / "out", Console(quiet=True))
    assert found.protocol.samples == 2 and found.protocol.split == ""
    with pytest.raises(DataError, match="no split 'training'"):
        run({}, tiny_dataset, tmp_path / "out", quick("train", train_split="training"))


def test_one_picture_only(gesso: Any, tiny_model: Path, tiny_dataset: Path, segmenter: Path, tmp_path: Path) -> None:
    ended = gesso(
        "evaluate",
        tiny_model,
        "--data",
        tiny_dataset,
        "--segmenter",
        segmenter,
        "--limit",
        1,
        "--out",
        tmp_path / "out",
    )
    assert ended.code == 0, ended.err
    found = Evaluation.read(tmp_path / "out" / "evaluation.json")
    for row in found.rows:
        assert "mean_iou" in row.numbers
        assert all(number.low is None and number.note for number in row.numbers.values())
        assert "one picture has no distribution" in row.missing["frechet"]


def test_a_model_of_other_classes(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """Bare folders say nothing of classes, so that two models may mean different ones."""
    renamed = SPACE.model_copy(
        update={"name": "other", "classes": tuple(c.model_copy(update={"name": f"{c.name}2"}) for c in SPACE.classes)}
    )
    other = changed_model(tiny_model, tmp_path / "other.safetensors", space=renamed)
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("scene0", "scene1"):
        (bare / f"{name}.png").write_bytes((tiny_dataset / "val" / "labels" / f"{name}.png").read_bytes())
    with pytest.raises(ConfigError, match=r"b knows the classes of other \(\d+\), the first model those of toy"):
        run({"a": tiny_model, "b": other}, bare, tmp_path / "out", quick())


def test_pictures_that_are_read_are_not_overwritten(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    run({"m": tiny_model}, tiny_dataset, tmp_path / "out", quick())
    made = tmp_path / "out" / "pictures" / "m"
    with pytest.raises(ConfigError, match="would overwrite the pictures in"):
        run({"made": made}, tiny_dataset, tmp_path / "out", quick())
    again = run({"made": made}, tiny_dataset, tmp_path / "other", quick())
    first = Evaluation.read(tmp_path / "out" / "evaluation.json")
    alike = ("l1", "psnr", "ssim")
    assert [values(again.rows[1])[name] for name in alike] == [values(first.rows[1])[name] for name in alike]
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"):
        run({}, tiny_dataset, tmp_path / "file", quick())


# ---------------------------------------------------------------------------------------------------- names and flags


def test_rows_go_by_their_paths(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("first/run", "second/run"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.safetensors").write_bytes(tiny_model.read_bytes())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "loose.safetensors").write_bytes(tiny_model.read_bytes())
    paths = ["first/run", "second/run/model.safetensors", "pictures", "loose.safetensors"]
    entries = read_entries([str(tmp_path / path) for path in paths] + [f"mine={tmp_path / 'pictures'}"])
    assert [entry.name for entry in entries][:2] == ["first/run", "second/run"]
    assert [entry.name for entry in entries][3:] == ["loose", "mine"]
    assert [entry.file is None for entry in entries] == [False, False, True, False, True]
    assert entries[0].folder == "first-run"


def test_a_run_that_has_saved_nothing_yet(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"is a run that has no model.safetensors yet"):
        read_entries([str(tmp_path)])


@pytest.mark.parametrize("names", [("a b", "a-b"), ("A", "a"), ("x", "x"), ("real photographs", "y")])
def test_rows_have_names_of_their_own(names: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name it with NAME=PATH"):
        read_entries([f"{name}={tmp_path}" for name in names])


def test_a_path_that_is_not_there(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    refused(gesso("evaluate", tmp_path / "none", "--data", tiny_dataset), tmp_path / "none", "does not exist")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diversity_results": 1}, "--diversity-results 1: at least 2"),
        ({"batch": 0}, "--batch 0: at least 1"),
        ({"band": float("nan")}, "--band nan: give a finite number"),
        ({"band": float("inf")}, "--band inf: give a finite number"),
        ({"band": -1.0}, "--band -1.0: at least 0"),
        ({"resamples": 3}, "--resamples 3: at least 20"),
        ({"seed": -1}, "--seed -1"),
        ({"set_size": 9}, "--set-size 9: there are only 2 layouts"),
        ({"size": "32 by 64"}, "HEIGHTxWIDTH"),
        ({"size": "8x64"}, "--size 8x64: at least 16x16"),
        ({"segmenter_steps": 5}, "--segmenter-steps 5 is for --segmenter train"),
        ({"save_segmenter": Path("x.safetensors")}, "is for --segmenter train"),
        ({"segmenter": "train", "save_segmenter": Path("x.pth")}, "ends in .safetensors"),
        ({"segmenter_classes": Path("x.json")}, "--segmenter-classes x.json says what classes of the hub"),
        ({"features": "segmenter", "inception_weights": Path("x")}, "--inception-weights is for --features inception"),
        ({"distance": "none", "lpips_weights": Path("x")}, "--lpips-weights is for --distance lpips"),
        ({"features": "segmenter"}, "there is none here"),
        ({"distance": "segmenter"}, "there is none here"),
    ],
)
def test_settings_that_make_no_sense(changes: dict[str, Any], said: str, tiny_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(GessoError) as caught:
        run(
            {},
            tiny_dataset,
            tmp_path / "out",
            quick(**changes) if "segmenter" not in changes else replace(quick(), **changes),
        )
    assert said in str(caught.value)


def test_without_a_segmenter_and_features(tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    found = run({"m": tiny_model}, tiny_dataset, tmp_path / "out", quick())
    assert values(found.rows[1]).keys() == {"l1", "psnr", "ssim", "repetition"}
    assert found.rows[1].missing["mean_iou"] == "--segmenter none"
    assert found.protocol.segmenter is None and found.protocol.extractor == "" and found.protocol.set_size == 0
    assert (
        json.loads((tmp_path / "out" / "evaluation.json").read_text())["rows"][0]["numbers"]["psnr"]["value"]
        == "Infinity"
    )


def test_the_published_features_by_file(tiny_dataset: Path, tmp_path: Path) -> None:
    """Weights of Inception's names and shapes, though random: FID's place, at its own name."""
    from gesso.networks.inception import InceptionV3

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        torch.save(InceptionV3().state_dict(), tmp_path / "inception.pth")
    found = run({}, tiny_dataset, tmp_path / "out", quick(inception_weights=tmp_path / "inception.pth"))
    assert found.protocol.extractor.startswith("Inception-v3 (FID)")
    assert values(found.rows[0])["frechet"] == pytest.approx(0, abs=1e-6)
    damaged = load_file(write_segmenter(tmp_path / "s.safetensors"))
    save_file({k: v * torch.nan for k, v in damaged.items()}, tmp_path / "plain.safetensors")
    with pytest.raises(ModelFileError, match="no segmenter of gesso"):
        run({}, tiny_dataset, tmp_path / "out", quick(tmp_path / "plain.safetensors"))


def test_a_segmenter_of_the_hub(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no features of ours; what it can never find is said."""
    asked: list[Any] = []

    class Found(PhotoSegmenter):
        def _read(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.zeros(pixels.shape[1:], dtype=torch.int64)

    def load(name: str, space: LabelSpace, *, mapping: Path | None = None, device: str = "cpu") -> PhotoSegmenter:
        asked.append((name, space, mapping, device))
        return Found("SegFormer", name, space, "1a2b3c4d5e", ("person",))

    monkeypatch.setattr("gesso.synthesis.hub_segmenter.load_hub_segmenter", load)
    words = ["evaluate", "--data", tiny_dataset, "--segmenter", "nvidia/b0", "--segmenter-classes", "map.json"]
    ended = gesso(*words, "--device", "cpu", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert asked == [("nvidia/b0", SPACE, Path("map.json"), "cpu")]
    assert "SegFormer 1a2b3c4d cannot find person" in ended.out
    found = Evaluation.read(tmp_path / "out" / "evaluation.json")
    assert found.protocol.segmenter is not None and found.protocol.segmenter.name == "SegFormer 1a2b3c4d"
    assert "--inception-weights" in found.rows[0].missing["frechet"]
    assert found.protocol.distance == ""


def test_an_interrupted_command_says_how_to_go_on(
    gesso: Any, tiny_dataset: Path, segmenter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: Any, **kwargs: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gesso.cli.evaluation.run_evaluation", interrupted)
    ended = gesso("evaluate", "--data", tiny_dataset, "--segmenter", segmenter, "--out", tmp_path / "out")
    assert ended.code == 130 and "Run the same command again to go on" in ended.err
