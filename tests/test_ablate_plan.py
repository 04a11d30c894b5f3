"""Which variants an ablation trains: the papers' tables, what settings and data leave of them, and names that last."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from gesso.cli.ablate import _absent, _meaning
from gesso.cli.ablation_plan import ENDLESS, Plan, changes_of, make_plan
from gesso.data import layouts
from gesso.errors import ConfigError
from gesso.labels import Semantics
from gesso.recipes import RECIPES
from gesso.recipes.ablations import ABLATIONS, Group, Variant, in_use
from support import Ended, refused

SMALL = [(recipe, RECIPES[recipe].PRESETS[f"{recipe}-small"]) for recipe in RECIPES]


def plan(recipe: str, only: str = "", given: str = "", seeds: int = 2, **settings: Any) -> Plan:
    base = RECIPES[recipe].PRESETS[f"{recipe}-small"]
    config = type(base).model_validate({**base.model_dump(), **settings})
    return make_plan(
        recipe,
        ABLATIONS[recipe],
        config,
        set(given.split()) | settings.keys(),
        only.split(),
        seeds,
        lambda config: {**in_use(config), "boundary": config.boundary is not False},  # as on data with objects
        lambda config: "no weights" if getattr(config, "vgg", False) else "",
    )


def trained(found: Plan, group: str) -> dict[str, str]:
    return {arm.variant.name: arm.training for arm in found.compared(group)}


def test_every_recipe_has_its_groups() -> None:
    """Those of the papers, as the issue of measuring lists them."""
    assert ABLATIONS.keys() == RECIPES.keys()
    assert {recipe: list(groups) for recipe, groups in ABLATIONS.items()} == {
        "pix2pix": ["objective", "skips", "patch"],
        "pix2pixhd": ["boundary", "losses", "discriminators", "features", "modes"],
        "spade": ["kernel", "norm", "conditioning", "latent", "losses", "compact"],
    }


@pytest.mark.parametrize(("recipe", "base"), SMALL, ids=[recipe for recipe, _ in SMALL])
def test_every_variant_can_be_built_from_the_small_preset(recipe: str, base: Any) -> None:
    for group in ABLATIONS[recipe].values():
        names = [variant.name for variant in group.variants]
        assert len(set(names)) == len(names) > 1
        assert group.question.endswith(("?", "."))
        for variant in group.variants:
            assert variant.changes(base).keys() <= type(base).model_fields.keys()
            type(base).model_validate({**base.model_dump(), **variant.changes(base)})


@pytest.mark.parametrize(
    ("recipe", "trainings"),
    [
        ("pix2pix", "objective-L1 objective-cGAN objective-GAN objective-L1+GAN skips-encoder-decoder "
         "skips-encoder-decoder-L1 patch-1 patch-16 patch-286"),
        ("pix2pixhd", "boundary-without losses-neither discriminators-1 discriminators-3 features-objects features-classes"),
        ("spade", "kernel-1 kernel-5 norm-sync_batch conditioning-concat conditioning-input latent-z losses-no-features "
         "losses-no-l1 compact-half"),
    ],
)  # fmt: skip
def test_what_is_the_same_is_trained_once(recipe: str, trainings: str) -> None:
    found = {training.name for training in plan(recipe, seeds=1).trainings()}
    assert found == {f"{name}-seed0" for name in ["baseline", *trainings.split()]}


def test_a_group_alone_has_the_names_that_it_has_among_others() -> None:
    for recipe in RECIPES:
        whole = plan(recipe)
        for group in whole.groups:
            assert trained(plan(recipe, group), group) == trained(whole, group)


def test_seeds_take_turns() -> None:
    found = plan("pix2pixhd", "discriminators", seeds=2, seed=5).trainings()
    assert [training.name for training in found] == [
        *("baseline-seed5", "discriminators-1-seed5", "discriminators-3-seed5"),
        *("baseline-seed6", "discriminators-1-seed6", "discriminators-3-seed6"),
    ]
    assert [training.config.seed for training in found] == [5, 5, 5, 6, 6, 6]
    assert {(training.config.epochs, training.config.epochs_decay) for training in found} == {(ENDLESS, 0)}


def test_weights_that_are_absent_leave_variants_out() -> None:
    found = plan("pix2pixhd", "losses")
    assert trained(found, "losses") == {"features": "baseline", "neither": "losses-neither"}
    assert found.left_out() == {("losses", "no weights"): ["features+vgg", "vgg"]}


def test_what_the_user_said_is_not_overruled() -> None:
    found = plan("spade", "kernel losses", kernel=1)
    assert list(found.groups) == ["losses"], "kernels other than 1 were not wanted, and one alone compares with nothing"
    assert found.left_out()["kernel", "kernel 1 was given"] == ["3", "5"]
    kept = plan("spade", "losses", lambda_features=5.0)
    assert trained(kept, "losses")["all"] == "baseline", "where terms are removed, any weight may be given"
    assert kept.compared("losses")[0].config.lambda_features == 5.0  # type: ignore[union-attr]


def test_terms_that_are_not_there_cannot_be_removed() -> None:
    found = plan("spade", "losses")
    assert found.left_out() == {("losses", "the settings make it the same as all"): ["no-vgg", "no-kl"]}
    assert "no-kl" in trained(plan("spade", "losses", style_encoder=True), "losses")


@pytest.mark.parametrize("conditioning", ["concat", "input"])
def test_without_modulation_there_are_no_kernels_to_compare(conditioning: str) -> None:
    with pytest.raises(ConfigError, match="kernel 1, 5: the settings make it the same as 3"):
        plan("spade", "kernel", conditioning=conditioning)
    base = RECIPES["spade"].PRESETS["spade-small"].model_copy(update={"conditioning": conditioning})
    semantics = Semantics(classes=3)

    def shapes(**changes: int) -> dict[str, Any]:
        built = RECIPES["spade"].build(base.model_copy(update=changes), semantics).trained["generator"]
        return {name: tensor.shape for name, tensor in built.state_dict().items()}

    assert shapes() == shapes(kernel=5, hidden=7), "in_use says that they do not count"


def test_sizes_that_a_variant_cannot_take_leave_it_out() -> None:
    found = plan("pix2pix", "patch", height=64, width=64)
    assert list(trained(found, "patch")) == ["70", "1", "16"]
    ((group, why),) = found.left_out()
    assert group == "patch"
    assert "takes pictures of 96 pixels or more" in why


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"only": "bounds"}, "--only 'bounds' is no group of pix2pixhd; groups: boundary, losses"),
        ({"seeds": 0}, "--seeds 0: give at least 1"),
        ({"epochs_decay": 3}, "--epochs-decay: the length of an ablation's trainings is their budget"),
        ({"init_from": "run"}, "--init-from: "),
        ({"enhancers": 1}, "give --enhancers 0"),
        ({"only": "discriminators", "discriminator_scales": 2},
         "No group has two variants left.*discriminators 1, 3: discriminator scales 2 was given"),
    ],
)  # fmt: skip
def test_what_cannot_be_planned_says_why(words: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        plan("pix2pixhd", **words)


def test_changes_in_words() -> None:
    found = plan("pix2pixhd", "modes")
    assert [changes_of(arm, found) for arm in found.compared("modes")][1].endswith(", 1 styles per class")
    bare = Group("?", "", (Variant("a"), Variant("b", shares={"hidden": ("hidden", 0.3)})))
    base = RECIPES["spade"].PRESETS["spade-small"]
    made = make_plan("spade", {"g": bare}, base, set(), [], 1, in_use, lambda config: "")
    assert [changes_of(arm, made) for arm in made.compared("g")] == ["as the preset has it", "hidden 7"]


def test_boundaries_are_on_where_there_are_objects(tiny_dataset: Path) -> None:
    """The preset leaves them to the data, and the variant that names them is the same training."""
    listing = layouts.find(tiny_dataset, "train")
    base = RECIPES["pix2pixhd"].PRESETS["pix2pixhd-small"]
    assert base.boundary is None
    assert _meaning(base, listing) == _meaning(base.model_copy(update={"boundary": True, "seed": 7}), listing)
    assert _meaning(base, listing) != _meaning(base.model_copy(update={"boundary": False}), listing)


def test_weights_are_looked_for_and_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path))
    base = RECIPES["pix2pixhd"].PRESETS["pix2pixhd-small"]
    assert _absent(base) == ""
    wanting = base.model_copy(update={"vgg": True})
    assert "VGG-19 are not at hand: give --vgg-weights FILE" in _absent(wanting)
    assert _absent(wanting.model_copy(update={"vgg_weights": "here.pth"})) == ""
    (tmp_path / "vgg19-dcbb9e9d.pth").touch()
    assert _absent(wanting) == ""


def run(gesso: Any, data: Path, *words: object) -> Ended:
    ended: Ended = gesso("ablate", "pix2pixhd", data, *words)
    return ended


def test_the_command_lists_without_training(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    ended = run(gesso, tiny_dataset, "--list-only", "--only", "boundary,discriminators", "--out", tmp_path / "out")
    assert ended.code == 0, ended.err
    assert "boundary, discriminators: 8 runs with 2 seeds" in ended.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "either --budget MINUTES or --steps N, not both, not neither"),
        ("--budget 1 --steps 5", "not both"),
        ("--budget 0", "above 0"),
        ("--budget inf", "above 0 and not for ever"),
        ("--budget nan", "above 0 and not for ever"),
        ("--steps -3 --list-only", "above 0"),
        ("--steps 4 --split train", "--train-split and --split are both 'train'"),
        ("--steps 4 --train-split val", "--train-split and --split are both 'val'"),
        ("--steps 4 --slices 0", "--slices 0 --parallel 1: both are at least 1"),
        ("--steps 4 --labels maps", "--labels: an ablation learns from one part of a dataset and measures on another"),
        ("--steps 4 --preset spade-small", "--preset spade-small is spade's; give one of pix2pixhd"),
        ("--steps 4 --diversity-results 1", "--diversity-results 1: at least 2"),
        ("--steps 4 --only boundary --study baseline", "--study 'baseline': give two names"),
        ("--steps 4 --only boundary --study baseline,boundary-with", "both are baseline"),
        ("--steps 4 --only boundary --study baseline,patch-1", "of boundary-with, boundary-without, baseline"),
    ],
)
def test_contradictions_are_refused(gesso: Any, tiny_dataset: Path, tmp_path: Path, words: str, said: str) -> None:
    refused(run(gesso, tiny_dataset, *words.split(), "--out", tmp_path / "out"), said)
    assert not (tmp_path / "out").exists()


def test_a_study_of_others_is_not_overwritten(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.json").write_text('{"methods": ["a", "b"]}')
    words = ["--steps", 4, "--only", "boundary", "--study", "baseline,boundary-without", "--out", tmp_path]
    refused(run(gesso, tiny_dataset, *words), study, "holds a study of a and b")


@pytest.mark.parametrize("recipe", list(ABLATIONS))
def test_names_are_shown_whole(gesso: Any, recipe: str, tiny_dataset: Path) -> None:
    """80 columns are what a pipe has, and --study wants the names."""
    ended = gesso("ablate", recipe, tiny_dataset, "--list-only", "--height", 128, "--width", 256)
    assert ended.code == 0, ended.err
    found = plan(recipe, height=128, width=256)
    words = set(ended.out.replace("\u2502", " ").split())
    assert {arm.training for group in found.groups for arm in found.compared(group)} <= words
    assert {arm.variant.name for arm in found.arms} <= words
    assert "\u2026" not in ended.out


MEASURING = ["--steps", 4, "--only", "boundary", "--height", 32, "--width", 64]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--split test", "test"),
        ("--size 64by64 --segmenter none", "'64by64' is not a size"),
        ("--size 8x8 --segmenter none", "at least 16x16"),
        ("--set-size 1000 --segmenter none", "--set-size 1000: there are only 2 layouts"),
        ("--set-size 1000", "--set-size 1000: there are only 2 layouts"),
        ("--segmenter nothing.safetensors", "nothing.safetensors"),
        ("--inception-weights nofile", "nofile"),
        ("--segmenter none --alexnet-weights nofile", "nofile"),
    ],
)
def test_what_cannot_be_measured_is_said_before_training(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, words: str, said: str
) -> None:
    refused(run(gesso, tiny_dataset, *MEASURING, *words.split(), "--out", tmp_path / "out"), said)
    assert not (tmp_path / "out").exists()


def test_splits_that_share_files_are_refused(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_dataset, data)
    shared = data / "val" / "images" / "scene0.png"
    shared.unlink()
    shared.symlink_to(data / "train" / "images" / "scene0.png")
    ended = run(gesso, data, *MEASURING, "--out", tmp_path / "out")
    refused(ended, "The splits 'train' and 'val' share 1 files")
