"""The style of SPADE: one z for the whole picture, from a seed, a photograph, a file, or on the way between two."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import stats

import gesso as gesso_package
from gesso.checkpoints import Model, load_model, save_model
from gesso.data.dataset import SemanticDataset
from gesso.data.pairing import Sample
from gesso.data.preprocessing import Preprocessing
from gesso.errors import ConfigError, DataError, LabelError, ModelFileError, StyleError
from gesso.labels import LabelSpace
from gesso.pictures import to_uint8
from gesso.synthesis.latents import between, drawn
from gesso.synthesis.style import Style
from gesso.synthesis.styles import find_styles
from gesso.synthesis.synthesizer import Synthesizer, load, read_record, read_style, save_png
from styled import SIZE, SPACE, photograph, scene, write_scenes, write_styled_model
from support import refused, write_chunk
from whole_styled import LATENT, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
Z = (0.1, -0.25, 1.0, 0.0, 3.5, -1.0, 0.5, 2.0)
Ints = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spade_model(tmp_path_factory.mktemp("spade") / "model.safetensors")


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spade_model(tmp_path_factory.mktemp("spade") / "blind.safetensors", encoder=False)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture
def synth(model: Path) -> Synthesizer:
    return load(model, "cpu")


def label() -> Ints:
    return scene()[0]


# ------------------------------------------------------------------------------------------------------------- as data


def test_files_hold_a_z_exactly_and_other_styles_do_not_know_of_it(tmp_path: Path) -> None:
    style = Style(seed=2, z=Z)
    style.save(tmp_path / "style.json")
    assert Style.load(tmp_path / "style.json") == style
    assert json.loads((tmp_path / "style.json").read_text())["z"] == list(Z)
    assert set(Style(classes={"car": 1}).model_dump()) == {"seed", "classes", "instances"}
    assert Style(z=np.array(Z)) == Style(z=Z)  # type: ignore[arg-type]
    assert Style(z=Z).updated(Style(seed=3)) == Style(z=Z, seed=3)
    assert Style(z=Z).updated(Style(z=Z[::-1])).z == Z[::-1]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([0.5, 10.5], r"z: number 1 is 10\.5; allowed are numbers in -10\.\.10"),
        ([0.5, float("nan")], r"number 1 is nan"),
        (["a"], r"number 0 is 'a'"),
        ([True], r"number 0 is True"),
        ([], r"\[\] is no vector of numbers"),
        (3, "3 is no vector of numbers"),
    ],
)
def test_what_is_no_z(value: Any, said: str) -> None:
    with pytest.raises(StyleError, match=rf"The style is not valid: .*{said}.*It may hold .* z \(a vector\)"):
        Style.parse({"z": value})


# ------------------------------------------------------------------------------------------------------ drawn and mixed


def test_drawn_numbers_are_standard_normal() -> None:
    many = np.concatenate([drawn(seed, 256) for seed in range(100)])
    assert many.dtype == np.float32
    assert stats.kstest(many, "norm").pvalue > 0.001
    firsts = np.array([drawn(seed, 2) for seed in range(2000)])
    assert abs(np.corrcoef(firsts.T)[0, 1]) < 0.1
    assert np.array_equal(drawn(7, 256), drawn(7, 256))
    assert not np.array_equal(drawn(7, 256), drawn(8, 256))


numbers = st.floats(-10, 10, width=32)
pairs = st.integers(2, 12).flatmap(lambda n: st.tuples(*(st.lists(numbers, min_size=n, max_size=n),) * 2))


@settings(deadline=None)
@given(pairs, st.floats(0, 1))
def test_the_length_changes_evenly_and_nothing_leaves_the_range(pair: Any, t: float) -> None:
    first, second = pair
    middle = between(first, second, t)
    a, b, m = (np.linalg.norm(z) for z in (first, second, middle))
    assert m <= (1 - t) * a + t * b + 1e-5
    assert np.abs(middle).max() <= 10
    Style(z=middle)
    if (
        np.abs(middle).max() < 10
        and min(a, b) > 1e-3
        and 0.01 < np.arccos(np.clip(np.dot(first, second) / (a * b), -1, 1)) < 3.1
    ):
        assert m == pytest.approx((1 - t) * a + t * b, rel=1e-4, abs=1e-6)


def test_the_direction_turns_evenly() -> None:
    right, up = (2.0, 0.0), (0.0, 4.0)
    assert (between(right, up, 0), between(right, up, 1)) == (right, up)
    assert between(right, up, 0.5) == pytest.approx((3 / 2**0.5, 3 / 2**0.5), rel=1e-6)
    third = between(right, up, 1 / 3)
    assert np.degrees(np.arctan2(third[1], third[0])) == pytest.approx(30, abs=1e-4)
    assert between(right, (-2.0, 0.0), 0.25) == (1.0, 0.0)  # opposite: straight
    assert between((0.0, 0.0), up, 0.25) == (0.0, 1.0)
    assert between(Z, Z, 0.3) == pytest.approx(Z, abs=1e-6)
    a, b = drawn(1, 256), drawn(2, 256)
    way = np.array([between(a.tolist(), b.tolist(), t) for t in np.linspace(0, 1, 9)])
    assert (np.diff(np.linalg.norm(way - a, axis=1)) > 0).all()


def test_what_would_leave_the_range_is_cut() -> None:
    right, left = (10.0, 10.0, 0.0, 3.0), (-10.0, 10.0, 0.0, 3.0)
    middle = between(right, left, 0.5)
    assert middle[:3] == pytest.approx((0.0, 10.0, 0.0), abs=1e-6)
    assert max(middle) == 10.0 and 3 < middle[3] < 10
    assert Style(z=middle).z == middle


@pytest.mark.parametrize(("second", "t"), [(Z[:-1], 0.5), (Z, -0.1), (Z, 1.5), (Z, float("nan"))])
def test_what_cannot_be_mixed(second: tuple[float, ...], t: float) -> None:
    with pytest.raises(StyleError, match=r"Only vectors z of one model can be mixed, by 0\.\.1"):
        between(Z, second, t)


# ------------------------------------------------------------------------------------------------------ in photographs


def by_hand(model: Path, z: tuple[float, ...], size: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    loaded = load_model(model)
    padded = np.pad(label(), [(0, size[0] - SIZE[0]), (0, size[1] - SIZE[1])], mode="reflect")
    semantics = loaded.info.semantics.encode({"label": torch.from_numpy(padded)[None]})
    with torch.no_grad():
        image = loaded.networks["generator"](semantics, torch.tensor([z]))[0]
    return ((image + 1) * 127.5).clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


def test_the_generator_gets_the_z(model: Path, synth: Synthesizer) -> None:
    assert np.array_equal(synth(label(), style=Style(z=Z)), by_hand(model, Z))
    seeded = tuple(drawn(7, LATENT).tolist())
    assert np.array_equal(np.float32(synth.z(seed=7)), np.float32(seeded))
    assert np.array_equal(synth(label(), seed=7), by_hand(model, seeded))
    assert np.array_equal(synth(label(), style=Style(seed=7), seed=3), synth(label(), seed=7))
    assert np.array_equal(synth(label(), style=Style(z=synth.z(seed=7))), synth(label(), seed=7))
    assert synth(label(), seed=7).std() > 5
    assert np.abs(synth(label(), seed=7).astype(int) - synth(label(), seed=8)).mean() > 2


@pytest.mark.parametrize("size", [(1, 1), (30, 61), (32, 32), (33, 64), (40, 100)])
def test_any_size(synth: Synthesizer, size: tuple[int, int]) -> None:
    layout = np.resize(label(), size)
    image = synth(layout, seed=1)
    assert image.shape == (*size, 3)
    assert not np.array_equal(image, synth(layout, seed=2))


def test_padded_sizes_wear_the_same_z(model: Path, synth: Synthesizer) -> None:
    image = synth(label()[:30, :61], style=Style(z=Z))
    padded = np.pad(label()[:30, :61], [(0, 2), (0, 3)], mode="reflect")
    assert np.array_equal(image, synth(padded, style=Style(z=Z))[:30, :61])


def test_batches(synth: Synthesizer) -> None:
    other = label()[:, ::-1]
    stack = np.stack([label(), other])
    same = synth(stack, seed=4)
    for image, one in zip(same, stack, strict=True):  # one seed is one z for all, wherever a layout stands
        assert np.array_equal(synth(one, seed=4), image)
    each = [Style(seed=9), Style(z=Z)]
    for image, one, style in zip(synth(stack, style=each, seed=4), stack, each, strict=True):
        assert np.array_equal(synth(one, style=style), image)
    with pytest.raises(StyleError, match="1 of type Style came as style for 2 layouts"):
        synth(stack, style=[Style()])


def test_a_model_that_does_not_know_its_grid_depends_on_each_layout_alone(tmp_path: Path) -> None:
    path = write_spade_model(tmp_path / "m.safetensors", grid=None)
    wide, high = label(), label().T[:64, :32]
    first = load(path, "cpu")
    wanted = {"wide": first(wide, seed=1), "high": first(high, seed=1)}
    second = load(path, "cpu")
    assert np.array_equal(second(high, seed=1), wanted["high"])
    assert np.array_equal(second(wide, seed=1), wanted["wide"])


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (Style(classes={"car": 3}), r"A style was chosen for class car, but this model's style is one vector z of 8 numbers"),
        (Style(instances={"26001": 3}), r"chosen for object 26001, but .* Choose a seed, a z, or a photograph \(--style-image\)"),
        (Style(noise=False), "No noise was chosen, but this model's style is one vector z"),
        (Style(z=(0.5, 1.0)), r"The z that was chosen has 2 numbers; this model's has 8, so .* Choose a seed"),
    ],
)  # fmt: skip
def test_choices_that_do_not_fit(synth: Synthesizer, style: Style, said: str) -> None:
    for ask in (lambda: synth(label(), style=style), lambda: synth.z(style)):
        with pytest.raises(StyleError, match=said):
            ask()


@pytest.mark.parametrize("call", ["objects", "resolve", "class_means", "modes"])
def test_there_is_nothing_to_tell_of_objects(synth: Synthesizer, call: str) -> None:
    arguments: Any = {"modes": ("car",), "class_means": (photograph(), label())}.get(call, (label(),))
    with pytest.raises(StyleError, match="This model's style is one vector z of 8 numbers for the whole picture"):
        getattr(synth, call)(*arguments)
    assert synth.style_space is None and synth.style_kind == "z" and not synth.needs_instances


def test_other_kinds_have_no_z(tiny_model: Path) -> None:
    plain = load(tiny_model, "cpu")
    with pytest.raises(StyleError, match="This model has no style"):
        plain.z()
    with pytest.raises(StyleError, match="This model has no style"):
        plain(label(), style=Style(z=Z))
    with pytest.raises(ConfigError, match="The seed is -1"):
        plain.z(seed=-1)


def test_features_of_objects_need_a_layout_and_no_seed(tmp_path: Path) -> None:
    synth = load(write_styled_model(tmp_path / "styled.safetensors"), "cpu")
    with pytest.raises(LabelError, match="Each object has a style of its own here: give the photograph's label map"):
        synth.encode(photograph())
    with pytest.raises(ConfigError, match="features of a photograph are not drawn at random: leave out the seed"):
        synth.encode(photograph(), *scene(), seed=1)
    with pytest.raises(StyleError, match="This model's style is 3 numbers for each object"):
        synth.z()


# --------------------------------------------------------------------------------------------------- of photographs


def encoded(model: Path, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255 * 2 - 1
    with torch.no_grad():
        mean, logvar = load_model(model).networks["encoder"](pixels)
    return mean[0].numpy(), logvar[0].numpy()


@pytest.mark.parametrize("shape", [(32, 64), (64, 64), (50, 17)])
def test_a_photograph_of_any_size_gives_its_mean(model: Path, synth: Synthesizer, shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    style = synth.encode(image)
    assert style.z == pytest.approx(encoded(model, image)[0], abs=1e-5)
    assert style == synth.encode(image) == synth.encode(image, label())  # the layout does not matter
    assert not np.array_equal(synth(label(), style=style), synth(label(), style=synth.encode(photograph())))


def test_a_seed_draws_from_what_the_encoder_gives(model: Path, synth: Synthesizer) -> None:
    mean, logvar = encoded(model, photograph())
    assert np.abs(logvar).max() > 0.05
    wanted = mean + np.exp(logvar / 2) * drawn(3, LATENT)
    assert synth.encode(photograph(), seed=3).z == pytest.approx(wanted, abs=1e-5)
    assert synth.encode(photograph(), seed=3) == synth.encode(photograph(), seed=3)
    many = np.array([synth.encode(photograph(), seed=seed).z for seed in range(300)])
    assert np.abs(many.mean(0) - mean).max() < 5 * np.exp(logvar / 2).max() / 300**0.5
    with pytest.raises(ConfigError, match="The seed is -1"):
        synth.encode(photograph(), seed=-1)


def test_an_encoder_that_goes_too_far_is_cut(model: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Far(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(20.0))

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.weight.expand(1, LATENT), torch.zeros(1, LATENT)

    loaded = load_model(model)
    synth = Synthesizer(Model({**loaded.networks, "encoder": Far()}, loaded.info, loaded.hash))
    with caplog.at_level(logging.WARNING):
        assert synth.encode(photograph()) == Style(z=(10.0,) * LATENT)
    assert "numbers beyond 10" in caplog.text


def test_what_cannot_be_encoded(synth: Synthesizer, blind: Path) -> None:
    with pytest.raises(DataError, match=r"A photograph is \(H, W, 3\) uint8"):
        synth.encode(photograph()[..., 0])
    for ask in (load(blind, "cpu").require_encoder, lambda: load(blind, "cpu").encode(photograph())):
        with pytest.raises(ModelFileError, match=r"this model has no image encoder.*--style-encoder.*choose a seed"):
            ask()


def test_a_generated_picture_can_be_made_again_from_its_record(model: Path, tmp_path: Path) -> None:
    synth = load(model, "cpu")
    halfway = Style(z=between(synth.z(seed=1), synth.z(seed=2), 1 / 3))
    for number, style in enumerate([None, Style(seed=7), synth.encode(photograph()), halfway]):
        path = tmp_path / f"{number}.png"
        save_png(path, image := synth(label(), style=style, seed=4), synth.record(4, style))
        fresh = load(model, "cpu")
        assert np.array_equal(fresh(label(), style=read_style(path)), image)
        record = read_record(path)
        assert record is not None and "statistics" not in record
        assert ("z" in (record["style"] or {})) == (number > 1)


def test_modes_cannot_be_found(model: Path) -> None:
    said = r"Modes are looks of single objects, but this model's style is one vector z of 8 numbers.*--random-styles 8"
    with pytest.raises(StyleError, match=said):
        find_styles(load_model(model), [{"name": "one"}])


# ------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def generate(gesso: Any, model: Path, scenes: Path, tmp_path: Path) -> Any:
    """`gesso generate`: what it ended with, and the pictures in a new folder."""

    def run(*words: object, out: str = "out", model: Path = model, data: Path = scenes) -> Any:
        ended = gesso("generate", model, data, "--out", tmp_path / out, "--device", "cpu", *words)
        pictures = {path.name: np.asarray(Image.open(path)) for path in sorted((tmp_path / out).glob("*.png"))}
        return ended, pictures

    return run


def made(generate: Any, *words: object, **more: Any) -> dict[str, npt.NDArray[np.uint8]]:
    ended, pictures = generate(*words, **more)
    assert ended.code == 0, ended.err
    return pictures


def test_seeds(generate: Any, synth: Synthesizer, tmp_path: Path) -> None:
    found = made(generate, "--seed", 7)
    assert np.array_equal(found["one.png"], synth(scene()[0], seed=7))
    record = read_record(tmp_path / "out" / "one.png")
    assert record is not None and (record["seed"], record["style"]) == (7, None)
    series = made(generate, "--random-styles", 3, "--seed", 7, "--contact-sheet", out="series")
    assert np.array_equal(series["one-000.png"], found["one.png"])
    assert np.array_equal(series["two-002.png"], synth(scene(right=99)[0], seed=9))
    batched = made(generate, "--seed", 7, "--batch", 2, out="batched")
    assert all(np.array_equal(batched[name], found[name]) for name in found)


def test_a_photograph_of_another_shape_without_labels(
    generate: Any, synth: Synthesizer, scenes: Path, tmp_path: Path
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (90, 41, 3), dtype=np.uint8)
    Image.fromarray(image).save(tmp_path / "photo.png")
    found = made(generate, "--style-image", tmp_path / "photo.png", "--contact-sheet")
    style = read_style(tmp_path / "out" / "one.png")
    assert style.z is not None
    sized = np.asarray(
        Image.fromarray(image).resize(SIZE[::-1], Image.Resampling.BICUBIC)
    )  # as training saw photographs
    assert style.z == synth.encode(sized).z
    assert np.array_equal(found["two.png"], synth(scene(right=99)[0], style=style))
    assert (
        found["contact-sheet.png"].shape[1] == 3 * SIZE[1] + 4 * 4
    )  # the real ones are their own, not the style image
    again = made(generate, "--style-file", tmp_path / "out" / "one.png", out="again")
    assert all(np.array_equal(again[name], found[name]) for name in ("one.png", "two.png"))
    drawn_around = made(generate, "--style-image", tmp_path / "photo.png", "--random-styles", 2, out="series")
    assert np.array_equal(drawn_around["one-001.png"], synth(scene()[0], style=synth.encode(sized, seed=1)))


def test_each_layouts_own_photograph(generate: Any, synth: Synthesizer, scenes: Path, tmp_path: Path) -> None:
    found = made(generate, "--style-from-photographs")
    own = scenes / "val" / "images" / "two.png"
    assert np.array_equal(found["two.png"], synth(scene(right=99)[0], style=synth.encode(np.asarray(Image.open(own)))))
    same = made(generate, "--style-image", own, out="image")
    assert np.array_equal(same["two.png"], found["two.png"])
    assert not np.array_equal(same["one.png"], found["one.png"])
    large = tmp_path / "large"
    for kind in ("labels", "images"):
        (large / "val" / kind).mkdir(parents=True)
        picture = Image.open(scenes / "val" / kind / "one.png").resize((128, 64), Image.Resampling.NEAREST)
        picture.save(large / "val" / kind / "one.png")
    SPACE.save(large / "labels.json")
    made(generate, "--style-from-photographs", "--original-size", data=large, out="large-out")
    made(generate, "--style-from-photographs", data=large, out="small-out")
    assert read_style(tmp_path / "large-out" / "one.png") == read_style(tmp_path / "small-out" / "one.png")


def test_interpolation(generate: Any, synth: Synthesizer, scenes: Path, tmp_path: Path) -> None:
    found = made(generate, "--interpolate", 3, 11, "--steps", 5, "--limit", 1)
    frames = [found[f"one-{n:03d}.png"] for n in range(5)]
    assert np.array_equal(frames[0], synth(scene()[0], seed=3))
    assert np.array_equal(frames[4], synth(scene()[0], seed=11))
    for n in range(5):
        wanted = between(synth.z(seed=3), synth.z(seed=11), n / 4)
        assert read_style(tmp_path / "out" / f"one-{n:03d}.png").z == wanted
    assert found["one-strip.png"].shape[1] == 5 * SIZE[1] + 6 * 4
    images = [scenes / "val" / "images" / f"{name}.png" for name in ("one", "two")]
    two = made(generate, "--interpolate", *images, "--steps", 2, "--limit", 1, out="photos")
    assert np.array_equal(two["one-000.png"], synth(scene()[0], style=synth.encode(np.asarray(Image.open(images[0])))))
    Style(z=Z).save(tmp_path / "z.json")
    ends = tmp_path / "out" / "one-002.png", tmp_path / "z.json"
    mixed = made(generate, "--interpolate", *ends, "--steps", 2, "--limit", 1, out="files")
    assert np.array_equal(mixed["one-000.png"], frames[2])
    assert np.array_equal(mixed["one-001.png"], synth(scene()[0], style=Style(z=Z)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--style", "car=3"], ["--style was given, but this model's style is one vector z of 8 numbers for the whole picture"]),
        (["--copy-style", "1", "2"], ["--copy-style was given"]),
        (["--no-noise"], ["--no-noise was given"]),
        (["--style-image", "a.png", "--style-labels", "b.png"], ["--style-labels was given"]),
        (["--style-image", "none.png"], ["none.png does not exist"]),
        (["--style-file", "z.json", "--random-styles", "2"], ["would be the same, as z.json holds its z"]),
        (["--style-file", "short.json"], ["--style-file short.json: The z that was chosen has 2 numbers; this model's has 8"]),
        (["--style-file", "car.json"], ["--style-file car.json: A style was chosen for class car, but this model's style is"]),
        (["--interpolate", "1", "car=3"], ["'car=3' is no style of this model: give a seed"]),
        (["--interpolate", "1", "-1"], ["seed is -1"]),
        (["--interpolate", "1", "gone.png"], ["Cannot read a style from gone.png"]),
        (["--interpolate", "1", "gone.jpg"], ["gone.jpg does not exist"]),
        (["--interpolate", "1", "short.json"], ["--interpolate short.json: The z that was chosen has 2 numbers"]),
        (["--style-file", "z.json", "--style-image", "a.png"], ["each give a whole style: choose one. --interpolate A B goes"]),
        (["--style-labels", "b.png"], ["--style-labels was given, but this model's style is one vector z"]),
        (["--steps", "4"], ["--steps counts the pictures of --interpolate"]),
        (["--interpolate", "1", "2", "--style-file", "z.json"], ["names both styles, and --style-file a third one"]),
        (["--statistics", "picture"], ["statistics 'picture'", "this model has no such batch norm"]),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_is_written(
    generate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Style(z=Z).save("z.json")
    Style(z=Z[:2]).save("short.json")
    Style(classes={"car": 1}).save("car.json")
    ended, pictures = generate(*words)
    refused(ended, *said)
    assert not pictures


ODD_CHUNKS = {
    "5": "is not what gesso writes: '5' came",
    "[1]": "is not what gesso writes",
    "[]": "is not what gesso writes",
    "null": "is not what gesso writes",
    "car=3": "is not what gesso writes: 'car=3' came",
    "[" * 100_000: "is not what gesso writes",
    '{"seed": "x"}': "The style in odd.png is not valid: seed: Input should be a valid integer",
    '{"seed": -3}': "The style in odd.png is not valid: seed: Input should be greater than or equal to 0",
    '{"seed": 1.5}': "The style in odd.png is not valid: seed: Input should be a valid integer",
    '{"seed": 1, "style": 5}': "The style in odd.png is not valid",
    '{"seed": 1, "style": []}': "The style in odd.png is not valid",
    '{"seed": 1, "style": {"seed": -3}}': "The style in odd.png is not valid: seed",
}


@pytest.mark.parametrize("chunk", ODD_CHUNKS, ids=lambda chunk: chunk[:20])
@pytest.mark.parametrize("words", [["--style-file"], ["--interpolate", "1"]])
def test_pictures_with_text_that_gesso_did_not_write(
    generate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], chunk: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write_chunk(tmp_path / "odd.png", chunk)
    ended, pictures = generate(*words, "odd.png")
    refused(ended, "odd.png", ODD_CHUNKS[chunk])
    assert not pictures


def test_a_deep_json_is_no_style(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(StyleError, match=r"deep.json is not JSON"):
        read_style(tmp_path / "deep.json")


def test_statistics_of_a_record_are_said_as_they_are(generate: Any, synth: Synthesizer, tmp_path: Path) -> None:
    path = write_chunk(tmp_path / "odd.png", json.dumps({"model": "other", "seed": 1, "statistics": "[/red]"}))
    ended, _ = generate("--style-file", path)
    assert ended.code == 0 and "odd.png was made by another model" in ended.out and "--statistics [/red]" in ended.out


def test_ends_at_the_edge_of_the_range(generate: Any, tmp_path: Path) -> None:
    for name, first in (("a", 10.0), ("b", -10.0)):
        Style(z=(first, 10.0) + (0.0,) * (LATENT - 2)).save(tmp_path / f"{name}.json")
    ends = tmp_path / "a.json", tmp_path / "b.json"
    made(generate, "--interpolate", *ends, "--steps", 3, "--limit", 1)
    assert read_style(tmp_path / "out" / "one-001.png").z == pytest.approx(
        (0.0, 10.0) + (0.0,) * (LATENT - 2), abs=1e-6
    )


@pytest.mark.parametrize(
    ("trained", "seen"),
    [
        ({"resize": "fixed", "height": 20, "width": 50}, (20, 50)),
        ({"resize": "fixed", "height": 60, "width": 99, "crop": (20, 50)}, (20, 50)),
        ({"resize": "scale_width", "width": 40, "crop": (8, 8), "flip": True}, None),
        ({"resize": "scale_width", "width": 80, "shrink": 2}, None),
        ({"resize": "nearest_multiple"}, None),
    ],
)
def test_the_encoder_sees_photographs_as_in_training(
    generate: Any, model: Path, scenes: Path, tmp_path: Path, trained: dict[str, Any], seen: tuple[int, int] | None
) -> None:
    """Padded by reflection to multiples, but never cropped or flipped."""
    loaded, preprocessing = load_model(model), Preprocessing(**trained, multiple=32)
    info = loaded.info.model_copy(update={"preprocessing": preprocessing.model_dump(mode="json")})
    save_model(padding := tmp_path / "padding.safetensors", loaded.networks, info)
    image = np.asarray(Image.open(own := scenes / "val" / "images" / "one.png"))
    size = seen or (SIZE if trained["resize"] == "nearest_multiple" else (20, 40))
    resized = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC))
    edges = [(0, -side % 32) for side in size]
    wanted = np.pad(resized, [*edges, (0, 0)], mode="reflect")
    if not trained.get("crop"):
        sample = Sample("one", image=own, label=scenes / "val" / "labels" / "one.png")
        item = SemanticDataset([sample], SPACE, preprocessing, training=True, instances=False)[0]
        assert np.array_equal(to_uint8(item["image"]), wanted)
    z = load(padding, "cpu").encode(wanted).z
    for number, words in enumerate(
        (["--style-image", own], ["--style-from-photographs"], ["--style-from-photographs", "--original-size"])
    ):
        out = f"out{number}"
        made(generate, *words, "--limit", 1, out=out, model=padding)
        assert read_style(tmp_path / out / "one.png").z == z


def test_a_model_without_encoder(generate: Any, blind: Path, scenes: Path) -> None:
    for words in (["--style-from-photographs"], ["--style-image", scenes / "val" / "images" / "one.png"]):
        ended, _ = generate(*words, model=blind)
        refused(ended, "this model has no image encoder", "--style-encoder")
    assert len(made(generate, "--seed", 3, model=blind)) == 2


def test_info_and_styles(gesso: Any, model: Path, blind: Path, scenes: Path) -> None:
    assert "z, 8 numbers for the whole picture, an image encoder" in gesso("info", model).out
    assert "z, 8 numbers for the whole picture, no encoder" in gesso("info", blind).out
    for words in ([], ["--data", scenes]):
        refused(gesso("styles", model, *words), "Modes are looks of single objects", "one vector z of 8 numbers")


# ------------------------------------------------------------------------------------------------------- documents


def test_the_page_about_styles_runs_with_a_model_of_this_kind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "styles.md").read_text(encoding="utf-8")
    snippets = [part.split("```")[0] for part in page.split("```python\n")[1:]]
    (tmp_path / "model.safetensors").write_bytes(model.read_bytes())
    space: LabelSpace = SPACE
    Image.fromarray(space.to_values(label()).astype(np.uint8)).save(tmp_path / "layout.png")
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(snippet, names)
    assert isinstance(names["synth"], gesso_package.Synthesizer)
    assert len(names["dusk"].z) == LATENT
    assert names["halfway"].shape == (*SIZE, 3)
