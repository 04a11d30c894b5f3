"""`gesso generate` with styles, and what `gesso info` says of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from gesso.checkpoints import load_model, save_model
from gesso.cli import main
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load, read_record, read_style
from styled import (
    CAR,
    CAR_MODES,
    LEFT,
    RIGHT,
    SIZE,
    SPACE,
    clusters,
    mirrored,
    photograph,
    scene,
    write_scenes,
    write_styled_model,
)
from support import write_chunk

pytestmark = pytest.mark.usefixtures("one_thread")
Picture = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def styled_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_styled_model(tmp_path_factory.mktemp("styled") / "model.safetensors", styles=clusters())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


class Command:
    """`gesso generate MODEL DATA --out OUT`, in this process."""

    def __init__(self, model: Path, data: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.model, self.data, self.out, self.capsys = model, data, out, capsys

    def __call__(self, *words: object, data: Path | None = None, model: Path | None = None) -> dict[str, Picture]:
        """The pictures in OUT afterwards."""
        code, said = self.run(*words, data=data, model=model)
        assert code == 0, said
        return {path.name: np.asarray(Image.open(path)) for path in sorted(self.out.glob("*.png"))}

    def refused(self, *words: object, data: Path | None = None, model: Path | None = None, code: int = 1) -> str:
        """What is said on one line; nothing may be written."""
        ended, said = self.run(*words, data=data, model=model)
        assert ended == code, said
        assert said.startswith("gesso: ") and said.count("\n") == 1, said
        assert not self.out.exists()
        return said

    def run(self, *words: object, data: Path | None, model: Path | None) -> tuple[int, str]:
        line = ["generate", model or self.model, data or self.data, "--out", self.out, "--device", "cpu", *words]
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in line])
        return int(end.value.code or 0), self.capsys.readouterr().err


@pytest.fixture
def generate(
    styled_model: Path,
    scenes: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    monkeypatch.setenv("COLUMNS", "300")
    return Command(styled_model, scenes, tmp_path / "out", capsys)


@pytest.fixture
def synth(styled_model: Path) -> Synthesizer:
    return load(styled_model, "cpu")


def maps(name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    return scene() if name == "one" else scene(right=99)


def recorded(path: Path) -> Style | None:
    record = read_record(path)
    assert record is not None
    return None if record["style"] is None else Style.parse(record["style"])


def test_nothing_chosen_is_random_by_seed(generate: Command, synth: Synthesizer) -> None:
    found = generate("--seed", 3)
    assert list(found) == ["one.png", "two.png"]
    for name in ("one", "two"):
        assert np.array_equal(found[f"{name}.png"], synth(*maps(name), seed=3))
        assert recorded(generate.out / f"{name}.png") is None


def test_choices(generate: Command, synth: Synthesizer) -> None:
    words = ("--style", "car=3", "--style", f"instance:{RIGHT}=0", "--style", "road=0.1,-0.3,0.5", "--seed", 2)
    found = generate(*words)
    common = Style(classes={"car": 3, "road": (0.1, -0.3, 0.5)})
    own = {"one": common.updated(Style(instances={f"car:{RIGHT}": 0})), "two": common}
    for name, style in own.items():
        assert np.array_equal(found[f"{name}.png"], synth(*maps(name), style, seed=2))
        assert recorded(generate.out / f"{name}.png") == style
    batched = generate(*words, "--batch", 2)
    assert all(np.array_equal(batched[name], found[name]) for name in found)


def test_a_style_from_json_and_choices_on_top(generate: Command, synth: Synthesizer, tmp_path: Path) -> None:
    Style(seed=9, classes={"road": 1}, instances={f"car:{LEFT}": 2, "7": (0.0, 0.5, 1.0)}).save(tmp_path / "a.json")
    found = generate("--style-file", tmp_path / "a.json", "--style", "car=1")
    wanted = Style(seed=9, classes={"road": 1, "car": 1}, instances={"person:7": (0.0, 0.5, 1.0)})
    assert np.array_equal(found["one.png"], synth(*scene(), wanted))
    assert recorded(generate.out / "one.png") == wanted


@pytest.mark.parametrize(
    "words",
    [
        ("--seed", 5),
        ("--style", "car=1", "--seed", 6),
        ("--style-from-photographs",),
        ("--random-styles", 3),
        ("--interpolate", "car=0", "car=3", "--steps", 3),
        ("--copy-style", LEFT, "person:7"),
    ],
)
def test_every_picture_can_be_made_again_from_itself(generate: Command, words: tuple[object, ...]) -> None:
    made = {name: image for name, image in generate(*words).items() if "strip" not in name}
    name = [name for name in made if name.startswith("one")][-1]
    first, generate.out = generate.out, generate.out.with_name("again")
    again = generate("--style-file", first / name, "--limit", 1)
    assert np.array_equal(again["one.png"], made[name])


def test_the_style_of_each_layouts_own_photograph(generate: Command, synth: Synthesizer) -> None:
    found = generate("--style-from-photographs", "--contact-sheet")
    for name, seed in (("one", RIGHT), ("two", 99)):
        style = synth.encode(photograph(seed), *maps(name))
        assert np.array_equal(found[f"{name}.png"], synth(*maps(name), style))
        assert recorded(generate.out / f"{name}.png") == style
    assert found["contact-sheet.png"].shape[1] == 3 * SIZE[1] + 4 * 4  # layout, generated, real


def test_choices_change_a_reconstruction(generate: Command, synth: Synthesizer) -> None:
    found = generate("--style-from-photographs", "--style", "car=2", "--style", f"instance:{LEFT}=1", "--limit", 1)
    style = synth.encode(photograph(RIGHT), *scene())
    wanted = style.updated(Style(classes={"car": 2}, instances={f"car:{LEFT}": 1}))
    assert np.array_equal(found["one.png"], synth(*scene(), wanted))
    worn = synth.resolve(*scene(), recorded(generate.out / "one.png"))
    assert (worn[CAR, LEFT], worn[CAR, RIGHT]) == (CAR_MODES[1], CAR_MODES[2])


def test_a_photograph_of_the_layout_object_by_object(generate: Command, synth: Synthesizer, tmp_path: Path) -> None:
    Image.fromarray(photograph(1)).save(tmp_path / "photo.png")
    words = ("--style-image", tmp_path / "photo.png", "--limit", 1)
    assert np.array_equal(generate(*words)["one.png"], synth(*scene(), synth.encode(photograph(1), *scene())))
    larger = np.repeat(np.repeat(photograph(1), 2, 0), 2, 1)
    Image.fromarray(larger).save(tmp_path / "photo.png")
    generate.out = generate.out.with_name("no")
    said = generate.refused(*words)
    assert "photo.png is 128x64" in said and "must have the same size" in said
    said = generate.refused("--style-image", tmp_path / "photo.png")
    assert "shows one layout, but there are 2" in said and "--style-labels" in said


def test_a_photograph_with_its_own_labels_class_by_class(generate: Command, synth: Synthesizer, tmp_path: Path) -> None:
    label, instance = scene(left=1, right=2)
    label, instance = label[:, ::-1], instance[:, ::-1]
    values = SPACE.to_values(label).astype(np.uint8)
    for name, array in (("photo", photograph(1)), ("map", values), ("ids", instance.astype(np.uint16))):
        double = np.repeat(np.repeat(array, 2, 0), 2, 1)  # of another size than the layouts: resized like them
        Image.fromarray(double).save(tmp_path / f"{name}.png")
    found = generate("--style-image", tmp_path / "photo.png", "--style-labels", tmp_path / "map.png")
    style = recorded(generate.out / "one.png")
    assert style is not None and set(style.classes) == {"sky", "road", "car", "person", "(ignored)"}
    for name in ("one", "two"):
        assert np.array_equal(found[f"{name}.png"], synth(*maps(name), style))
    with_ids = generate(
        *("--style-image", tmp_path / "photo.png", "--style-labels", tmp_path / "map.png"),
        *("--style-instances", tmp_path / "ids.png"),
    )
    assert all(np.abs(with_ids[name].astype(int) - found[name]).max() <= 1 for name in found)  # means of means


def test_random_styles_and_their_sheet(generate: Command, synth: Synthesizer) -> None:
    found = generate("--random-styles", 8, "--contact-sheet", "--colour", "--seed", 4)
    names = [f"{name}-{end}.png" for name in ("one", "two") for end in [*(f"{n:03d}" for n in range(8)), "layout"]]
    assert sorted(found) == sorted([*names, "contact-sheet.png"])
    for n in range(8):
        assert np.array_equal(found[f"one-{n:03d}.png"], synth(*scene(), seed=4 + n))
    record = read_record(generate.out / "one-007.png")
    assert record is not None and (record["seed"], record["style"]["seed"]) == (11, 11)
    height, width, _ = found["contact-sheet.png"].shape
    assert width == 9 * SIZE[1] + 10 * 4  # layout, 8 results
    assert 2 * SIZE[0] < height < 3 * SIZE[0]
    first = found["contact-sheet.png"][-2 * (SIZE[0] + 4) :][: SIZE[0], 4:]
    assert np.array_equal(first[:, : SIZE[1]], found["one-layout.png"])
    assert np.array_equal(first[:, SIZE[1] + 4 :][:, : SIZE[1]], found["one-000.png"])


def test_random_styles_leave_what_is_chosen(generate: Command, synth: Synthesizer, tmp_path: Path) -> None:
    Style(seed=1, classes={"road": 0}).save(tmp_path / "style.json")
    generate("--random-styles", 3, "--style-file", tmp_path / "style.json", "--style", f"instance:{LEFT}=2")
    worn = [synth.resolve(*scene(), recorded(generate.out / f"one-00{n}.png")) for n in range(3)]
    assert all(one[CAR, LEFT] == CAR_MODES[2] for one in worn)
    assert len({tuple(one.values()) for one in worn}) > 1


def test_interpolation(generate: Command, synth: Synthesizer) -> None:
    found = generate("--interpolate", "car=1;road=0", "car=3;road=0", "--steps", 5, "--seed", 2, "--contact-sheet")
    frames = [found[f"one-{n:03d}.png"] for n in range(5)]
    assert sum(name.startswith("two-") for name in found) == 6
    for frame, mode in ((frames[0], 1), (frames[4], 3)):
        assert np.array_equal(frame, synth(*scene(), Style(classes={"car": mode, "road": 0}), seed=2))
    worn = [synth.resolve(*scene(), recorded(generate.out / f"one-00{n}.png")) for n in range(5)]
    ways = np.linspace(0, 1, 5)[:, None] * np.subtract(CAR_MODES[3], CAR_MODES[1]) + CAR_MODES[1]
    assert np.allclose([one[CAR, RIGHT] for one in worn], ways, atol=1e-6)
    assert all(one.keys() == worn[0].keys() for one in worn)
    strip = found["one-strip.png"]
    assert strip.shape[1] == 5 * SIZE[1] + 6 * 4
    assert np.array_equal(strip[-SIZE[0] - 4 : -4, 4:][:, : SIZE[1]], frames[0])
    assert found["contact-sheet.png"].shape[1] == 6 * SIZE[1] + 7 * 4


def test_interpolation_between_files(generate: Command, synth: Synthesizer, tmp_path: Path) -> None:
    made = generate("--random-styles", 2, "--limit", 1)
    Style(classes={"car": 0}, instances={RIGHT: 1}).save(tmp_path / "a=b.json")  # type: ignore[dict-item]
    first, generate.out = generate.out, generate.out.with_name("way")
    found = generate("--interpolate", first / "one-000.png", first / "one-001.png", "--limit", 1)
    assert sum(name.startswith("one-0") for name in found) == 8
    assert np.array_equal(found["one-000.png"], made["one-000.png"])
    assert np.array_equal(found["one-007.png"], made["one-001.png"])
    generate("--interpolate", tmp_path / "a=b.json", "car=2", "--steps", 2, "--limit", 1)
    worn = synth.resolve(*scene(), recorded(generate.out / "one-000.png"))
    assert (worn[CAR, LEFT], worn[CAR, RIGHT]) == (CAR_MODES[0], CAR_MODES[1])


def test_copies_between_objects(generate: Command, synth: Synthesizer) -> None:
    generate("--style", f"instance:{LEFT}=2", "--copy-style", LEFT, RIGHT, "--copy-style", f"car:{LEFT}", "7")
    one, two = (synth.resolve(*maps(name), recorded(generate.out / f"{name}.png")) for name in ("one", "two"))
    assert one[CAR, LEFT] == one[CAR, RIGHT] == CAR_MODES[2]
    assert two[CAR, 99] == synth.resolve(*maps("two"))[CAR, 99]  # has no object 26002
    chosen = ("--style", f"instance:{LEFT}=2", "--style", f"instance:{RIGHT}=1")
    generate(*chosen, "--copy-style", LEFT, RIGHT, "--copy-style", RIGHT, LEFT, "--limit", 1)
    one = synth.resolve(*scene(), recorded(generate.out / "one.png"))
    assert (one[CAR, LEFT], one[CAR, RIGHT]) == (CAR_MODES[1], CAR_MODES[2])  # all at once: they change places


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--style", "tank=3"], ["'tank', which is no class of toy", "person"]),
        (["--style", "car=9"], ["Mode 9 was chosen for car", "0..3"]),
        (["--style", "sky=1"], ["sky, which has no clusters", "road, car"]),
        (["--style", "car=0.5,0.5"], ["has 2 numbers", "3 per object"]),
        (["--style", "instance:26001=4"], ["Mode 4", "0..3"]),
        (["--style", "instance:5=0"], ["none of the layouts holds. They hold car:99, car:26001, car:26002, person:7"]),
        (["--style", "car"], ["'car' is not a choice of style"]),
        (["--style-file", "none.json"], ["none.json", "No such file"]),
        (["--interpolate", "car=1", "car=7"], ["Mode 7"]),
        (["--interpolate", "car=1", "gone.png"], ["gone.png"]),
        (["--interpolate", "car=1", "blue"], ["'blue' is not a choice"]),
        (["--interpolate", "car=1", "instance:5=0"], ["object 5"]),
        (["--copy-style", "26001", "5"], ["object 5"]),
        (["--copy-style", "26002", "99"], ["--copy-style 26002 99", "no layout holds both"]),
        (["--copy-style", "red", "5"], ["--copy-style red 5", "'red' is no object"]),
        (["--style-file", "a.json", "--style-from-photographs"], ["--style-file and --style-from-photographs", "with --style."]),
        (["--style-image", "a.png", "--style-from-photographs"], ["--style-image and --style-from-photographs"]),
        (["--style-labels", "a.png"], ["--style-image"]),
        (["--style-image", "a.png", "--style-instances", "a.png"], ["--style-labels"]),
        (["--interpolate", "car=1", "car=2", "--random-styles", "2"], ["--interpolate and --random-styles"]),
        (["--steps", "4"], ["--interpolate A B"]),
        (["--interpolate", "car=1", "car=2", "--steps", "1"], ["--steps 1", "at least 2"]),
        (["--random-styles", "0"], ["--random-styles 0", "at least 1"]),
        (["--random-styles", "3", "--style-from-photographs"], ["nothing is left to chance for --random-styles"]),
        (["--random-styles", "3", "--style-image", "a.png"], ["--style-image without --style-labels", "nothing is left"]),
        (["--random-styles", "3", "--style", "car=1", "--style", "road=0"], ["All 3 pictures of a layout would be the same"]),
        (["--seed", "-1"], ["seed is -1", "from 0 to 9223372036854775807"]),
        (["--random-styles", "2", "--seed", "-1"], ["seed is -1"]),
        (["--seed", "99999999999999999999999"], ["seed is 99999999999999999999999"]),
        (["--random-styles", "2", "--seed", str(2**63 - 1)], ["from 0 to 9223372036854775806"]),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_is_written(generate: Command, words: list[str], said: list[str]) -> None:
    ended = generate.refused(*words)
    assert all(part in ended for part in said), ended


@pytest.mark.parametrize("chunk", ["5", '{"seed": -3}', '{"style": {"classes": 3}}'])
@pytest.mark.parametrize("words", [("--style-file", "odd.png"), ("--interpolate", "car=1", "odd.png")])
def test_pictures_with_text_that_gesso_did_not_write(
    generate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_chunk(tmp_path / "odd.png", chunk)
    assert "odd.png" in generate.refused(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("--style", "car=1"),
        ("--random-styles", 2),
        ("--interpolate", "car=1", "car=2"),
        ("--copy-style", 1, 2),
        ("--style-file", "a.json", "--style-from-photographs"),
        ("--style-labels", "a.png"),
        ("--steps", 4),
    ],
)
def test_a_model_without_style(generate: Command, tiny_model: Path, words: tuple[object, ...]) -> None:
    assert "This model has no style" in generate.refused(*words, model=tiny_model)


def test_a_model_without_encoder_or_clusters(generate: Command, tmp_path: Path) -> None:
    blind = write_styled_model(tmp_path / "blind.safetensors", encoder=False, styles=clusters())
    bare = write_styled_model(tmp_path / "bare.safetensors")
    for words in (("--style-from-photographs",), ("--style-image", "photo.png", "--limit", 1)):
        said = generate.refused(*words, model=blind)
        assert "Features were requested from a model without encoder" in said
    assert "no clusters to draw random styles from" in generate.refused("--random-styles", 2, model=bare)
    assert len(generate("--style", "car=1", model=blind)) == 2


def test_random_styles_of_chosen_objects_would_be_the_same(
    generate: Command, tmp_path: Path, synth: Synthesizer
) -> None:
    synth.encode(photograph(), *scene()).save(tmp_path / "style.json")
    said = generate.refused("--random-styles", 3, "--style-file", tmp_path / "style.json", "--limit", 1)
    assert "All 3 pictures of a layout would be the same" in said
    assert len(generate("--random-styles", 2, "--style", "car=1", "--style", f"instance:{LEFT}=2", "--limit", 1)) == 2


def test_the_largest_seed(generate: Command) -> None:
    assert len(generate("--random-styles", 2, "--seed", 2**63 - 2, "--limit", 1)) == 2


def test_layouts_without_photographs(generate: Command) -> None:
    said = generate.refused("--style-from-photographs", data=generate.data / "val" / "labels")
    assert "2 have none, the first is one" in said


def test_one_style_per_class(generate: Command, tmp_path: Path) -> None:
    model = write_styled_model(tmp_path / "labels.safetensors", "label", styles=clusters(), boundary=False)
    assert "one style per class" in generate.refused("--style", "instance:26001=1", model=model)
    assert "one style per class" in generate.refused("--copy-style", 26001, 26002, model=model)
    found = generate("--style-from-photographs", "--style", "car=1", model=model)
    style = recorded(generate.out / "one.png")
    assert style is not None and style.classes["car"] == 1 and not style.instances
    assert np.array_equal(found["one.png"], load(model, "cpu")(scene()[0], style=style))


def test_an_ambiguous_id_names_the_layout(generate: Command, tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data")
    ids = np.asarray(Image.open(root / "val" / "instances" / "two.png")).copy()
    ids[ids == 99] = 7  # as the person
    Image.fromarray(ids).save(root / "val" / "instances" / "two.png")
    said = generate.refused("--style", "instance:7=0.1,0.1,0.1", data=root)
    assert "several classes: car:7, person:7" in said
    assert len(generate("--style", "instance:person:7=0.1,0.1,0.1", data=root)) == 2


def test_a_foreign_instance_map_names_the_layout(generate: Command, tmp_path: Path) -> None:
    root = write_scenes(tmp_path / "data")
    path = root / "val" / "instances" / "two.png"
    Image.fromarray(np.asarray(Image.open(path))[::-1, ::-1].copy()).save(path)
    code, said = generate.run(data=root, model=None)
    assert code == 1
    last = said.splitlines()[-1]
    assert f"{path} does not fit {root / 'val' / 'labels' / 'two.png'}: The instance map disagrees" in last


def test_a_picture_of_another_model_is_said(
    generate: Command, styled_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generate("--style", "car=1", "--limit", 1)
    model = load_model(styled_model)
    changed = {name: tensor + 0.01 if name.endswith("centres") else tensor for name, tensor in model.styles.items()}
    save_model(tmp_path / "other.safetensors", model.networks, model.info, changed)
    line = ["generate", tmp_path / "other.safetensors", generate.data, "--out", tmp_path / "other", "--device", "cpu"]
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(word) for word in [*line, "--style-file", generate.out / "one.png"]])
    assert "one.png was made by another model" in capsys.readouterr().out


def test_style_files_are_never_overwritten(generate: Command) -> None:
    generate("--style", "car=1")
    before = (generate.out / "one.png").read_bytes()
    code, said = generate.run("--style-file", generate.out / "one.png", data=None, model=None)
    assert code == 1 and "would overwrite" in said
    code, said = generate.run("--interpolate", generate.out / "one.png", "car=2", data=None, model=None)
    assert code == 0, said  # its frames have other names
    assert (generate.out / "one.png").read_bytes() == before
    assert read_style(generate.out / "one.png") == Style(seed=0, classes={"car": 1})


def test_info_lists_the_modes(
    styled_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")

    def said(*words: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit, match=r"^0$"):
            main(["info", *map(str, words)])
        return capsys.readouterr().out

    text = said(styled_model)
    assert "3 numbers per object, encoder, modes of 2 classes found in scenes, train" in text
    assert "40 30 20 10" in text and "7 5" in text
    document = json.loads(said(styled_model, "--json"))
    assert document["modes"] == {"road": [7, 5], "car": [40, 30, 20, 10]}
    assert document["style"] == {"kind": "features", "channels": 3, "regions": "instance"}
    bare = write_styled_model(tmp_path / "bare.safetensors", "label", encoder=False)
    assert "3 numbers per class, no encoder, no modes (gesso styles finds them)" in said(bare)
    unsized = {name: t for name, t in clusters().items() if not name.endswith("sizes")}
    assert "? ? ? ?" in said(write_styled_model(tmp_path / "imported.safetensors", styles=unsized))


def test_the_mirror_shows_what_is_recorded(styled_model: Path) -> None:
    """The pictures above come from a network of random weights; this is what each object really wears."""
    mirror = Synthesizer(mirrored(load_model(styled_model)))
    label, instance = scene()
    image = mirror(label, instance, Style(classes={"car": 1}))
    assert (image[label == CAR] == np.rint((np.array(CAR_MODES[1]) + 1) * 127.5)).all()
