"""Fine-tuning to another label space: which class takes over from which, and that pictures are those of the old model."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor, nn

import gesso as package
from gesso.checkpoints import load_model, save_model, states
from gesso.cli.train import Settings, resolve
from gesso.cli.train_class_map import read_class_map
from gesso.errors import ConfigError
from gesso.labels import LabelClass, LabelSpace, Semantics
from gesso.model_info import StyleTable
from gesso.recipes import RECIPES
from gesso.recipes.transfer import Origin, Transfer, layout_inputs, match, plan
from gesso.session import fill, named
from gesso.train_log import RunLog
from support import picture_model, refused
from training_script import TINY, as_flags, tiny_flags

pytestmark = pytest.mark.usefixtures("one_thread")

OLD = ("sky", "road", "car", "wall", "traffic light")
NEW = ("van", "sky", "Traffic_Light", "bus", "road", "car", "roads")
MAP = {"van": "car", "bus": "car"}
FROM = (2, 0, 4, 2, 1, 2, 1)  # of OLD, for NEW


def spaced(names: tuple[str, ...]) -> LabelSpace:
    classes = [LabelClass(name=n, values=(i,), colour=(i, i, 1), thing=n == "car") for i, n in enumerate(names)]
    return LabelSpace(name=f"{len(names)} classes", classes=tuple(classes), ignore=(255,))


# ---------------------------------------------------------------------------------------------- which class from which


def test_a_class_comes_from_the_map_the_same_name_a_similar_one_or_all() -> None:
    found = match(("van", "SKY", "trafficSign", "roads", "street", "other thing"), OLD, {"van": "car"})
    assert [(o.new, o.old, o.why) for o in found] == [
        ("van", "car", "class map"),
        ("SKY", "sky", "same name"),
        ("trafficSign", "traffic light", "similar name"),
        ("roads", "road", "similar name"),
        ("street", "", "mean of all classes"),
        ("other thing", "", "mean of all classes"),
    ]


def test_the_map_wins_over_the_same_name_and_more_common_words_over_fewer() -> None:
    assert match(("car",), OLD, {"car": "road"})[0].old == "road"
    old = ("wall", "brick wall", "brick road")
    assert match(("red brick wall",), old, {})[0].old == "brick wall"
    assert match(("other wall",), ("other road", "wall panel"), {})[0].old == "wall panel"
    assert match(("tree",), ("street",), {})[0].old == ""


def test_names_that_say_nothing_match_nothing_but_themselves() -> None:
    assert match(("class 7", "7", "***"), ("class 0", "0", "---"), {}) == tuple(
        Origin(name, "", "mean of all classes") for name in ("class 7", "7", "***")
    )
    assert match(("---", "class 0"), ("class 0", "---"), {})[0].why == "same name"
    assert match(("lane 2",), ("wall 2", "lane 1"), {})[0].old == "lane 1"


@pytest.mark.parametrize("given", [{"lorry": "car"}, {"van": "lorry"}])
def test_a_map_of_unknown_classes_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--class-map names 'lorry', which is no class of"):
        match(NEW, OLD, given)
    with pytest.raises(ConfigError, match="did you mean road"):
        match(NEW, OLD, {"van": "raod"})


def test_class_maps_as_words_and_files(tmp_path: Path) -> None:
    wanted = {"van": "car", "bus": "car"}
    assert read_class_map(" van = car,bus=car") == wanted
    for name, text in (("map.yaml", "van: car\nbus: car\n"), ("map.json", json.dumps(wanted))):
        (tmp_path / name).write_text(text)
        assert read_class_map(str(tmp_path / name)) == wanted
    (tmp_path / "list.yaml").write_text("- van\n")
    (tmp_path / "no.yaml").write_text("no: car\n")
    (tmp_path / "twice.yaml").write_text("van: car\nvan: road\n")
    (tmp_path / "twice.json").write_text('{"van": "car", "van": "road"}')
    for text, said in (
        ("van", "is no new=old"),
        ("van=car,", "is no new=old"),
        ("van=car,van=road", "says twice"),
        (str(tmp_path / "absent.yaml"), "Cannot read"),
        (str(tmp_path / "list.yaml"), "is no table"),
        (str(tmp_path / "no.yaml"), "is no table"),
        (str(tmp_path / "twice.yaml"), "twice.yaml says twice"),
        (str(tmp_path / "twice.json"), "twice.json says twice"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_class_map(text)


def test_the_table_says_what_moved() -> None:
    ours, theirs = Semantics(classes=7, boundary=True), Semantics(classes=5, dont_care=True)
    found = plan((spaced(NEW), ours), (spaced(OLD), theirs), MAP, "model")
    assert "\n".join(found.told) == (
        "weights of the 7 classes of 7 classes, from the 5 of 5 classes:\n"
        "  van           <- car            class map\n"
        "  sky           <- sky            same name\n"
        "  Traffic_Light <- traffic light  same name\n"
        "  bus           <- car            class map\n"
        "  road          <- road           same name\n"
        "  car           <- car            same name\n"
        "  roads         <- road           similar name\n"
        "  left behind: wall\n"
        "  channel boundary: new, begins with zeros\n"
        "  channel don't care: left behind"
    )


# ------------------------------------------------------------------------------------------------- the very same picture

SMALL: dict[str, Any] = {"resize": "fixed", "height": 64, "width": 64, "generator_width": 2, "discriminator_width": 2}
TRAININGS: dict[str, tuple[str, dict[str, Any]]] = {
    "pix2pix": ("pix2pix", {"generator_downs": 3, "discriminator_layers": 1, "noise_channels": 2}),
    "pix2pix-unconditional": ("pix2pix", {"generator_downs": 3, "discriminator_layers": 1, "conditional": False}),
    "pix2pixhd": ("pix2pixhd", {"generator_downs": 2, "generator_blocks": 1}),
    "pix2pixhd-enhanced": (
        "pix2pixhd",
        {"generator_downs": 2, "generator_blocks": 1, "enhancers": 1, "instance_features": True, "encoder_downs": 2},
    ),
    "spade": ("spade", {"hidden": 4, "norm": "batch"}),
    "spade-z": ("spade", {"hidden": 4, "norm": "instance", "style_encoder": True, "encoder_downs": 3}),
    "spade-concat": ("spade", {"conditioning": "concat", "norm": "batch", "discriminator_kind": "resnet"}),
    "spade-input": ("spade", {"conditioning": "input", "norm": "batch", "discriminator_kind": "spade"}),
}
CHANNELS = {"both": (True, True), "neither": (False, False), "boundary": (False, True), "don't care": (True, False)}


def networks_of(training: str, semantics: Semantics, seed: int) -> dict[str, nn.Module]:
    """Networks in float64 and evaluation mode, with weights and running statistics that matter."""
    name, settings = TRAININGS[training]
    torch.manual_seed(seed)
    recipe = RECIPES[name]
    trained = recipe.build(recipe.Config(**SMALL, **settings), semantics).trained
    for network in trained.values():
        network.double().eval()
        for key, value in network.state_dict().items():
            if value.is_floating_point() and not key.endswith((".u", ".v", "running_var")):
                value.add_(torch.randn_like(value) * 0.2)
    return trained


def semantics_of(classes: int, channels: str) -> Semantics:
    dont_care, boundary = CHANNELS[channels]
    return Semantics(classes=classes, dont_care=dont_care, boundary=boundary)


def layouts() -> tuple[Tensor, Tensor, Tensor]:
    """A label map of all new classes and ignored pixels, the same in old classes, and its objects; (2, 64, 64) each."""
    generator = torch.Generator().manual_seed(5)
    blocks = torch.randint(len(NEW) + 1, (2, 8, 8), generator=generator)
    assert set(blocks.unique().tolist()) == set(range(len(NEW) + 1))
    ids = torch.arange(64).reshape(1, 8, 8).expand(2, 8, 8)
    label, instance = (x.repeat_interleave(8, 1).repeat_interleave(8, 2) for x in (blocks, ids))
    return label, torch.tensor([*FROM, len(OLD)])[label], instance


def pictures(networks: Mapping[str, nn.Module], semantics: Tensor) -> list[Tensor]:
    """The photograph, and everything that discriminators say of it beside the layout."""
    torch.manual_seed(9)
    generator, style = networks["generator"], None
    if channels := getattr(generator, "noise_channels", 0):
        style = torch.randn(2, channels, 64, 64).double()
    elif latent := getattr(getattr(generator, "start", None), "linear", None):
        style = torch.randn(2, latent.in_features).double()
    elif "encoder" in networks:
        style = torch.randn(2, 3, 64, 64).double()
    fake = generator(semantics, style)
    judge = networks["discriminator"]
    first = next(p for p in judge.parameters() if p.dim() == 4)
    scores = judge(fake if first.shape[1] == 3 else torch.cat([semantics, fake], dim=1))
    return [fake, *([scores] if isinstance(scores, Tensor) else [layer for scale in scores for layer in scale])]


@pytest.mark.parametrize("channels", ["both", "neither"])
@pytest.mark.parametrize("training", TRAININGS)
def test_mapped_classes_look_exactly_as_they_did(training: str, channels: str) -> None:
    ours, theirs = semantics_of(len(NEW), channels), semantics_of(len(OLD), channels)
    before, after = networks_of(training, theirs, seed=1), networks_of(training, ours, seed=2)
    moved = plan((spaced(NEW), ours), (spaced(OLD), theirs), MAP, "model")
    fill(after, moved.carry(named(before), after))
    label, old_label, instance = layouts()
    with torch.no_grad():
        wanted = pictures(before, theirs.encode({"label": old_label, "instance": instance}).double())
        found = pictures(after, ours.encode({"label": label, "instance": instance}).double())
        assert len(wanted) == len(found) > 1
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
        van, car = (torch.where(label == NEW.index("van"), NEW.index(name), label) for name in ("bus", "car"))
        assert not torch.equal(van, car)
        painted = [pictures(after, ours.encode({"label": x, "instance": instance}).double()) for x in (van, car)]
    torch.testing.assert_close(painted[0], painted[1], rtol=1e-9, atol=1e-9)
    if training != "pix2pix-unconditional":
        assert wanted[0].std() > 1e-3


@pytest.mark.parametrize("training", ["pix2pix", "pix2pixhd", "spade"])
def test_a_channel_that_the_old_model_lacked_changes_nothing_at_first(training: str) -> None:
    ours, theirs = semantics_of(len(NEW), "both"), semantics_of(len(OLD), "neither")
    before, after = networks_of(training, theirs, seed=1), networks_of(training, ours, seed=2)
    fill(after, plan((spaced(NEW), ours), (spaced(OLD), theirs), MAP, "model").carry(named(before), after))
    label, old_label, instance = layouts()
    with torch.no_grad():
        wanted = pictures(before, theirs.encode({"label": old_label}).double())
        found = pictures(after, ours.encode({"label": label, "instance": instance}).double())
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("after", CHANNELS)
@pytest.mark.parametrize("before", CHANNELS)
def test_other_channels_keep_their_weights_where_both_have_them(before: str, after: str) -> None:
    """Boundary and ignored pixels stay themselves, wherever their channel is; one that is new begins with zeros."""
    theirs, ours = semantics_of(len(OLD), before), semantics_of(len(NEW), after)
    weight = torch.arange(float(theirs.channels)).reshape(1, -1, 1, 1) + 1
    found = plan((spaced(NEW), ours), (spaced(OLD), theirs), MAP, "model")._carry(weight, 0).flatten().tolist()
    had = dict(
        zip([n for n, on in zip(("ignored", "boundary"), CHANNELS[before], strict=True) if on], (6, 7), strict=False)
    )
    wanted = [had.get(n, 0) for n, on in zip(("ignored", "boundary"), CHANNELS[after], strict=True) if on]
    assert found == [index + 1 for index in FROM] + wanted


def test_a_class_without_a_namesake_has_the_mean_of_all_weights() -> None:
    names = (*OLD, "zebra")
    ours, theirs = semantics_of(6, "both"), semantics_of(5, "both")
    before, after = networks_of("pix2pixhd", theirs, seed=1), networks_of("pix2pixhd", ours, seed=2)
    carried = plan((spaced(names), ours), (spaced(OLD), theirs), {}, "model").carry(named(before), after)
    old, new = (t["generator.trunk.stem.1.weight"] for t in (named(before), carried))
    torch.testing.assert_close(new[:, 5], old[:, :5].mean(1))
    assert torch.equal(new[:, :5], old[:, :5]) and torch.equal(new[:, 6:], old[:, 5:])


@pytest.mark.parametrize("training", TRAININGS)
def test_every_layer_that_sees_the_layout_is_known(training: str) -> None:
    """Those whose shapes change with the number of classes, and no others."""
    few, more = (networks_of(training, Semantics(classes=count), 0) for count in (5, 6))
    shapes = [{name: t.shape for name, t in named(networks).items()} for networks in (few, more)]
    changed = {name for name in shapes[0] if shapes[0][name] != shapes[1][name]}
    assert changed and {n for n in changed if n.endswith(".weight")} == {
        f"{name}.weight" for name in layout_inputs(few, 5)
    }
    assert all(n.endswith((".weight", ".v")) for n in changed)


def test_another_network_is_left_to_be_refused() -> None:
    semantics = semantics_of(5, "neither")
    after = networks_of("pix2pixhd", semantics, 0)
    same = Transfer((), (), torch.eye(5))
    tensors = {"generator.trunk.stem.1.weight": torch.zeros(2, 3, 7, 7)}
    assert same.carry(tensors, after)["generator.trunk.stem.1.weight"] is tensors["generator.trunk.stem.1.weight"]


# ----------------------------------------------------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def old_run(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on the toy classes, with averages."""
    from training_script import fit_tiny

    run = tmp_path_factory.mktemp("old") / "run"
    fit_tiny(tiny_dataset, run, stop_at=3, ema=0.9)
    return run


@pytest.fixture(scope="module")
def more_classes(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same photographs, where half of the cars are vans, and the order of the classes is another."""
    root = Path(shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("more") / "data"))
    space = LabelSpace.load(root / "labels.json")
    van = LabelClass(name="van", values=(77,), colour=(1, 2, 3), thing=True)
    LabelSpace(name="more", classes=(van, *space.classes), ignore=space.ignore).save(root / "labels.json")
    car = space.classes[space.index("car")].values[0]
    for path in root.glob("*/labels/*.png"):
        with Image.open(path) as picture:
            label = np.array(picture)
        label[:, ::16][label[:, ::16] == car] = 77
        Image.fromarray(label).save(path)
    return root


def tuned(data: Path, old: Path, run: Path, *more: str, **changes: Any) -> list[str]:
    flags = tiny_flags(ema=0.9, **changes)
    return ["train", str(data), "--out", str(run), "--device", "cpu", *flags, "--init-from", str(old), *more]


LABELS = ("--transfer", "labels", "--class-map", "van=car")


def test_the_command_carries_over_and_says_so(gesso: Any, old_run: Path, more_classes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = gesso(*tuned(more_classes, old_run, run, *LABELS, "--stop-at", "0"))
    assert ended.code == 0, ended.err
    assert "van      <- car       class map" in ended.out and "road     <- road      same name" in ended.out
    assert "channel boundary: kept" in ended.out and "styles" not in ended.out
    written = json.loads((run / "config.json").read_text())
    assert written["class_map"] == {"van": "car"} and written["transfer"] == "labels"
    assert written["transferred"][0] == {"new": "van", "old": "car", "why": "class map"}
    assert len(written["transferred"]) == len(LabelSpace.load(more_classes / "labels.json"))
    before, after = (package.load(r / "model.safetensors", device="cpu") for r in (old_run, run))
    rng = np.random.default_rng(0)
    label = rng.integers(0, len(after.label_space) + 1, (8, 8)).repeat(4, 0).repeat(8, 1).astype(np.int32)
    old = np.where(label == 0, before.label_space.index("car"), label - 1).astype(np.int32)
    objects = np.arange(64, dtype=np.int32).reshape(8, 8).repeat(4, 0).repeat(8, 1)
    assert np.array_equal(after(label, instances=objects), before(old, instances=objects))
    again = gesso("train", "--config", run / "config.json", "--out", run, "--device", "cpu", "--stop-at", "1")
    assert again.code == 0, again.err
    assert json.loads((run / "config.json").read_text())["transferred"] == written["transferred"]


def test_the_plan_shows_it_and_a_dry_run_writes_nothing(
    gesso: Any, old_run: Path, more_classes: Path, tmp_path: Path
) -> None:
    ended = gesso(*tuned(more_classes, old_run, tmp_path / "run", "--transfer", "labels", "--dry-run"))
    assert ended.code == 0, ended.err
    assert "van      <- (all)     mean of all classes" in ended.out
    assert not (tmp_path / "run").exists()


def test_a_flag_puts_aside_the_class_map_of_a_file_which_is_named_otherwise(tmp_path: Path) -> None:
    document: dict[str, Any] = {"init_from": "old", "transfer": "labels", "class_map": {"van": "car"}}
    settings = Settings.model_validate({"transfer": "none"})
    _, config = resolve("pix2pixhd-few", document, settings)
    assert (config.transfer, config.class_map) == ("none", {})
    named = {**document, "transfer": "none", "__file__": "settings.yaml"}
    with pytest.raises(ConfigError, match=r"settings\.yaml: --class-map"):
        resolve("pix2pixhd-few", named, None)


def test_names_with_brackets_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ("sky", "road [/wet]", "[bold]car")
    ours, theirs = (spaced(names).model_copy(update={"name": name}) for name in ("new [/x]", "old [red]"))
    semantics, shown = Semantics(classes=3), io.StringIO()
    log = RunLog(tmp_path, 0, 1, Console(file=shown, width=300))
    for line in plan((ours, semantics), (theirs, semantics), {}, "model").told:
        log.say(line)
    log.close()
    for words in ("of new [/x], from the 3 of old [red]:", "road [/wet] <- road [/wet]", "[bold]car   <- [bold]car"):
        assert words in shown.getvalue()


@pytest.mark.long
def test_a_stopped_tuning_goes_on_as_if_nothing_had_happened(
    gesso: Any, old_run: Path, more_classes: Path, tmp_path: Path
) -> None:
    old = Path(shutil.copytree(old_run, tmp_path / "old"))
    changes = {"epochs": 1, "epochs_decay": 1, "sample_every": 2}
    assert gesso(*tuned(more_classes, old, tmp_path / "whole", *LABELS, **changes)).code == 0
    assert gesso(*tuned(more_classes, old, tmp_path / "run", *LABELS, "--stop-at", "3", **changes)).code == 0
    shutil.rmtree(old)
    assert gesso(*tuned(more_classes, old, tmp_path / "run", *LABELS, **changes)).code == 0
    ours, theirs = (states(tmp_path / name / "state")[-1] for name in ("run", "whole"))
    assert ours.name == theirs.name == "step-00000007"
    for file in theirs.iterdir():
        assert (ours / file.name).read_bytes() == file.read_bytes(), file.name
    best = [load_model(tmp_path / name / "best.safetensors") for name in ("run", "whole")]
    assert best[0].hash == best[1].hash and best[0].info.best == best[1].info.best
    refused(gesso(*tuned(more_classes, old, tmp_path / "run", "--transfer", "labels", **changes)), "class_map")


def test_weights_and_averages_are_carried_over_and_discriminators_too(
    gesso: Any, old_run: Path, more_classes: Path, tmp_path: Path
) -> None:
    assert gesso(*tuned(more_classes, old_run, tmp_path / "run", *LABELS, "--stop-at", "0")).code == 0
    for part, name in (
        ("networks", "discriminator.scales.0.layers.0.0.weight"),
        ("averaged", "generator.trunk.stem.1.weight"),
    ):
        old, new = (load_file(states(r / "state")[-1] / f"{part}.safetensors") for r in (old_run, tmp_path / "run"))
        space = package.load(old_run / "model.safetensors", device="cpu").label_space
        assert torch.equal(new[name][:, 0], old[name][:, space.index("car")])
        assert torch.equal(new[name][:, 1:], old[name])
        assert all(torch.equal(new[k], old[k]) for k in old if old[k].shape == new[k].shape)


def test_styles_are_left_behind(gesso: Any, old_run: Path, more_classes: Path, tmp_path: Path) -> None:
    flags = {"instance_features": "", "encoder_downs": 2, "encoder_width": 2}
    words = [
        w
        for w in tuned(more_classes, old_run, tmp_path / "first", **flags)
        if w and w not in ("--init-from", str(old_run))
    ]
    assert gesso(*words, "--stop-at", "1").code == 0
    model = load_model(tmp_path / "first" / "model.safetensors")
    styled = {"0.centres": torch.zeros(1, 3), "0.sizes": torch.ones(1, dtype=torch.int64)}
    info = model.info.model_copy(update={"styles": StyleTable(modes=1)})
    save_model(tmp_path / "styled.safetensors", model.networks, info, styled)
    words = [w for w in tuned(more_classes, tmp_path / "styled.safetensors", tmp_path / "run", **flags) if w]
    ended = gesso(*words, "--transfer", "labels", "--stop-at", "0")
    assert ended.code == 0, ended.err
    assert "belong to its classes and are not carried over: run gesso styles" in ended.out
    assert not load_model(tmp_path / "run" / "model.safetensors").styles


def test_what_cannot_be_carried_over_is_refused(gesso: Any, old_run: Path, more_classes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tune = tuned(more_classes, old_run, run)
    refused(gesso(*tune), "or carry the weights over class by class with --transfer labels")
    refused(gesso(*tune, "--transfer", "labels", "--class-map", "van=lorry"), "'lorry'", "no class of toy", "new=old")
    refused(gesso(*tune, "--transfer", "labels", "--class-map", "lorry=car"), "'lorry'", "no class of more")
    refused(gesso(*tune, "--class-map", "van=car"), "--class-map", "--transfer labels")
    without = tune[: tune.index("--init-from")]
    refused(gesso(*without, "--transfer", "labels"), "--transfer needs --init-from")
    wider = tuned(more_classes, old_run, run, "--transfer", "labels", generator_width=6)
    refused(gesso(*wider), "fits none of the phases", "gesso info")
    pictures_only = tuned(more_classes, picture_model(3, tmp_path), run)
    refused(gesso(*pictures_only, "--transfer", "labels"), "no channel per class", "picture")
    sizes = {k: TINY[k] for k in ("resize", "height", "width")}
    other = ["--preset", "pix2pix-small", *as_flags(sizes), "--init-from", str(old_run), "--transfer", "labels"]
    refused(
        gesso("train", more_classes, "--out", run, "--device", "cpu", *other), "is a model of pix2pixhd", "--preset"
    )
    colours = [*tune, "--transfer", "labels", "--input", "colours"]
    refused(gesso(*colours), "this training sees label maps in colours")
    assert not run.exists()
