"""The style of pix2pix: noise, switched on or off, by seed, one picture at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from gesso.checkpoints import load_model
from gesso.errors import ConfigError, StyleError
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load, read_record, read_style, save_png
from styled import SPACE, photograph, scene, write_scenes
from support import refused, write_chunk
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
Ints = npt.NDArray[np.int64]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pix2pix_model(tmp_path_factory.mktemp("pix2pix") / "model.safetensors")


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a noise map, and without dropout."""
    return write_pix2pix_model(tmp_path_factory.mktemp("pix2pix") / "mapped.safetensors", noise_channels=2, dropout=0.0)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes") / "data")


@pytest.fixture(params=["dropout", "map"])
def synth(request: pytest.FixtureRequest, model: Path, mapped: Path) -> Synthesizer:
    return load(model if request.param == "dropout" else mapped, "cpu")


def layouts() -> Ints:
    label = scene()[0]
    return np.stack([label, label[:, ::-1], label[::-1]])


def test_the_noise_flag_in_files(tmp_path: Path) -> None:
    for noise in (True, False):
        Style(noise=noise).save(tmp_path / "style.json")
        assert Style.load(tmp_path / "style.json") == Style(noise=noise)
        assert Style(noise=not noise, seed=1).updated(Style(noise=noise)) == Style(seed=1, noise=noise)
    assert "noise" not in Style(seed=1).model_dump()
    for value in (1, "yes", [True]):
        with pytest.raises(StyleError, match=r"The style is not valid: noise.*noise \(true or false\)"):
            Style.parse({"noise": value})


def test_noise_is_on_unless_it_is_turned_off(synth: Synthesizer) -> None:
    label = layouts()[0]
    plain = synth(label, seed=1)
    assert plain.std() > 5
    assert np.array_equal(synth(label, seed=1), plain)
    assert np.array_equal(synth(label, style=Style(noise=True), seed=1), plain)
    assert np.array_equal(synth(label, style=Style(seed=1), seed=9), plain)
    assert (synth(label, seed=2) != plain).mean() > 0.1
    quiet = synth(label, style=Style(noise=False), seed=1)
    assert not np.array_equal(quiet, plain)
    assert np.array_equal(synth(label, style=Style(noise=False), seed=2), quiet)
    assert np.array_equal(synth(label, seed=1), plain)  # it is on again


def test_without_noise_the_network_is_as_in_evaluation(model: Path) -> None:
    label = np.vstack([layouts()[0]] * 2)  # 64x64, which it takes as it is
    loaded = load_model(model)
    with torch.no_grad():
        image = loaded.networks["generator"](loaded.info.semantics.encode({"label": torch.from_numpy(label)[None]}))[0]
    wanted = ((image + 1) * 127.5).clamp(0, 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(load(model, "cpu")(label, style=Style(noise=False)), wanted)


def test_a_picture_depends_neither_on_its_batch_nor_on_its_place(synth: Synthesizer) -> None:
    stack = layouts()
    alone = [synth(label, seed=6) for label in stack]
    for order in ([0, 1, 2], [2, 0, 1], [1, 1]):
        for image, number in zip(synth(stack[order], seed=6), order, strict=True):
            assert np.array_equal(image, alone[number])
    each = [Style(seed=1), Style(noise=False), Style(seed=6)]
    for image, label, style in zip(synth(stack, style=each, seed=5), stack, each, strict=True):
        assert np.array_equal(image, synth(label, style=style))


def test_nothing_random_is_left_behind(synth: Synthesizer) -> None:
    torch.manual_seed(11)
    before = torch.get_rng_state()
    synth(layouts(), seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_map_is_standard_normal_and_of_the_padded_size(mapped: Path) -> None:
    loaded = load_model(mapped)
    seen: list[torch.Tensor] = []

    class Spy(torch.nn.Module):
        multiple = smallest = 64

        def forward(self, semantics: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
            assert style.shape == (1, 2, *semantics.shape[-2:])
            seen.append(style)
            return semantics[:, :3]

    loaded.networks["generator"] = Spy()
    synth = Synthesizer(loaded)
    synth(np.zeros((2, 130, 100), int), style=[Style(seed=1), Style(noise=False)])
    assert seen[0].shape == (1, 2, 192, 128)
    assert abs(seen[0].mean().item()) < 0.02 and abs(seen[0].std().item() - 1) < 0.02
    assert abs(np.corrcoef(seen[0].flatten(2)[0].numpy())[0, 1]) < 0.03
    assert not seen[1].any()


@pytest.mark.parametrize(
    ("style", "said"),
    [
        (Style(z=(0.5,) * 8), "A z of 8 numbers was chosen, but this model's style is noise: chance decides"),
        (
            Style(classes={"car": 1}),
            r"A style was chosen for class car, but .*Choose a seed, or no noise \(--no-noise\)",
        ),
        (Style(instances={"5": 1}), "A style was chosen for object 5, but this model's style is noise"),
    ],
)
def test_choices_that_do_not_fit(synth: Synthesizer, style: Style, said: str) -> None:
    with pytest.raises(StyleError, match=said):
        synth(layouts()[0], style=style)


@pytest.mark.parametrize("call", ["objects", "resolve", "encode", "class_means", "modes", "z", "require_encoder"])
def test_there_is_nothing_else_to_tell(synth: Synthesizer, call: str) -> None:
    label = layouts()[0]
    arguments: Any = {
        "modes": ("car",),
        "class_means": (photograph(), label),
        "encode": (photograph(),),
        "z": (),
        "require_encoder": (),
    }.get(call, (label,))
    with pytest.raises(StyleError, match="This model's style is noise: chance decides what the input leaves open"):
        getattr(synth, call)(*arguments)
    assert synth.style_space is None and synth.style_kind == "noise"


def test_seeds_out_of_range(synth: Synthesizer) -> None:
    with pytest.raises(ConfigError, match="The seed is 9223372036854775808"):
        synth(layouts()[0], style=Style(seed=2**63))


# ---------------------------------------------------------------------------------------------------------- statistics


def test_statistics_can_be_overridden_and_are_recorded(model: Path, tmp_path: Path) -> None:
    label = layouts()[0]
    published, running = load(model, "cpu"), load(model, "cpu", statistics="running")
    assert not np.array_equal(published(label), running(label))
    assert (published.statistics, running.statistics) == (None, "running")
    same = load(model, "cpu", statistics="picture")  # what the file says anyway
    assert np.array_equal(same(label), published(label)) and same.statistics is None
    assert "statistics" not in published.record(1) and "statistics" not in same.record(1)
    save_png(tmp_path / "one.png", running(label), running.record(0))
    record = read_record(tmp_path / "one.png")
    assert record is not None and record["statistics"] == "running"
    stack = layouts()
    for image, one in zip(running(stack), stack, strict=True):
        assert np.array_equal(image, running(one))


def test_statistics_that_are_not_there(model: Path, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"The statistics 'batch' were asked for.*picture.*running \(of training\)\.$"
    ):
        load(model, "cpu", statistics="batch")
    others = [
        tiny_model,
        write_spade_model(tmp_path / "spade.safetensors", norm="batch"),
        write_pix2pix_model(tmp_path / "instance.safetensors", norm="instance"),
    ]
    for path in others:
        with pytest.raises(ConfigError, match="this model has no such batch norm, so leave them out"):
            load(path, "cpu", statistics="running")


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def generate(gesso: Any, model: Path, scenes: Path, tmp_path: Path) -> Any:
    def run(*words: object, out: str = "out", model: Path = model, data: Path = scenes) -> Any:
        ended = gesso("generate", model, data, "--out", tmp_path / out, "--device", "cpu", *words)
        return ended, {path.name: np.asarray(Image.open(path)) for path in sorted((tmp_path / out).glob("*.png"))}

    return run


def made(generate: Any, *words: object, **more: Any) -> dict[str, npt.NDArray[np.uint8]]:
    ended, pictures = generate(*words, **more)
    assert ended.code == 0, ended.err
    return pictures


def test_noise_on_the_command_line(generate: Any, model: Path, tmp_path: Path) -> None:
    synth, label = load(model, "cpu"), scene()[0]
    found = made(generate, "--seed", 3)
    assert np.array_equal(found["one.png"], synth(label, seed=3))
    for words in (("--noise",), ("--batch", 2)):
        again = made(generate, "--seed", 3, *words, out=words[0])
        assert all(np.array_equal(again[name], found[name]) for name in found)
    quiet = made(generate, "--seed", 3, "--no-noise", out="quiet")
    assert np.array_equal(quiet["one.png"], synth(label, style=Style(noise=False)))
    assert read_style(tmp_path / "quiet" / "one.png") == Style(seed=3, noise=False)
    series = made(generate, "--random-styles", 2, "--seed", 2, out="series")
    assert np.array_equal(series["one-001.png"], found["one.png"])
    for folder, name in (("quiet", "one"), ("series", "one-001"), ("out", "one")):
        again = made(generate, "--style-file", tmp_path / folder / f"{name}.png", "--limit", 1, out=f"{folder}-again")
        first = np.asarray(Image.open(tmp_path / folder / f"{name}.png"))
        assert np.array_equal(again["one.png"], first)


def test_statistics_on_the_command_line(generate: Any, model: Path, tmp_path: Path) -> None:
    found = made(generate, "--statistics", "running")
    assert np.array_equal(found["one.png"], load(model, "cpu", "running")(scene()[0]))
    record = read_record(tmp_path / "out" / "one.png")
    assert record is not None and record["statistics"] == "running"
    for words, said in (((), True), (("--statistics", "running"), False)):
        ended, again = generate("--style-file", tmp_path / "out" / "one.png", *words, out=f"again{said}")
        assert ("one.png was made with --statistics running: only so does it come out the same" in ended.out) == said
        assert np.array_equal(again["one.png"], found["one.png"]) != said


def test_picture_to_picture(generate: Any, tmp_path: Path) -> None:
    path = write_pix2pix_model(tmp_path / "pictures.safetensors", pictures=True)
    (tmp_path / "sources").mkdir()
    for number in range(2):
        Image.fromarray(photograph(number)).save(tmp_path / "sources" / f"{number}.png")
    synth = load(path, "cpu")
    found = made(generate, "--seed", 3, "--batch", 2, model=path, data=tmp_path / "sources")
    assert np.array_equal(found["1.png"], synth(photograph(1), seed=3))
    quiet = made(generate, "--no-noise", model=path, data=tmp_path / "sources", out="quiet")
    assert np.array_equal(quiet["1.png"], synth(photograph(1), style=Style(noise=False)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--style", "car=3"],
            "--style was given, but this model's style is noise: chance decides what the input leaves open",
        ),
        (["--copy-style", "1", "2"], "--copy-style was given"),
        (["--style-image", "a.png"], "--style-image was given"),
        (["--style-image", "a.png", "--style-labels", "a.png"], "was given, but this model's style is noise"),
        (["--style-from-photographs"], "--style-from-photographs was given"),
        (["--interpolate", "1", "2"], "--interpolate was given"),
        (["--steps", "4"], "--steps was given, but this model's style is noise"),
        (
            ["--style-file", "quiet.json", "--style-image", "a.png"],
            "--style-image was given, but this model's style is",
        ),
        (["--style-labels", "a.png"], "--style-labels was given, but this model's style is noise"),
        (
            ["--style-file", "odd.png"],
            "The style in odd.png is not valid: seed: Input should be greater than or equal to 0",
        ),
        (["--random-styles", "2", "--no-noise"], "All 2 pictures of a layout would be the same, as there is no noise"),
        (["--random-styles", "2", "--style-file", "quiet.json"], "All 2 pictures of a layout would be the same"),
        (
            ["--style-file", "z.json"],
            "--style-file z.json: A z of 1 numbers was chosen, but this model's style is noise",
        ),
    ],
)
def test_what_is_refused_before_anything_is_written(
    generate: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Style(z=(1.0,)).save("z.json")
    Style(noise=False).save("quiet.json")
    write_chunk(tmp_path / "odd.png", '{"seed": -3}')
    ended, pictures = generate(*words)
    refused(ended, said)
    assert not pictures


def test_noise_is_nothing_to_other_models(generate: Any, tiny_model: Path, tmp_path: Path) -> None:
    from styled import clusters, write_styled_model

    styled = write_styled_model(tmp_path / "styled.safetensors", styles=clusters())
    for flag in ("--noise", "--no-noise"):
        refused(generate(flag, model=tiny_model)[0], "This model has no style")
        refused(
            generate(flag, model=styled)[0], f"{flag} was given, but this model's style is 3 numbers for each object"
        )
    Style(z=(1.0, 2.0)).save(tmp_path / "z.json")
    said = "A z of 2 numbers was chosen, but this model's style is 3 numbers for each object"
    refused(generate("--style-file", tmp_path / "z.json", model=styled)[0], said)
    with pytest.raises(StyleError, match=said):
        load(styled, "cpu")(*scene(), Style(z=(1.0, 2.0)))


def test_info_and_styles(gesso: Any, model: Path, mapped: Path, scenes: Path, tmp_path: Path) -> None:
    both = write_pix2pix_model(tmp_path / "both.safetensors", noise_channels=1)
    for path, said in (
        (model, "noise: dropout"),
        (mapped, "noise: a noise map of 2 channels"),
        (both, "noise: dropout and a noise map of 1 channel"),
    ):
        assert said in gesso("info", path).out
    for words in ([], ["--data", scenes]):
        refused(gesso("styles", model, *words), "Modes are looks of single objects, but this model's style is noise")


def test_the_page_about_styles_runs_with_a_model_of_this_kind(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "styles.md").read_text(encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(model.read_bytes())
    Image.fromarray(SPACE.to_values(layouts()[0]).astype(np.uint8)).save(tmp_path / "layout.png")
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for part in page.split("```python\n")[1:]:
        exec(part.split("```")[0], names)
    assert not np.array_equal(names["quiet"], names["image"])
