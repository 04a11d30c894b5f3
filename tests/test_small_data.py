"""What helps with few photographs: DiffAugment, bending of samples, and the monitors that say when it is needed."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from rich.console import Console
from torch import Tensor, nn

from gesso.cli.common import DataFlags, open_listing
from gesso.cli.train import open_data
from gesso.data import warp
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import Preprocessing
from gesso.estimates import estimate
from gesso.labels import Semantics
from gesso.recipes import RECIPES, augment, monitors, pix2pixhd
from gesso.recipes.augment import Augmentation
from gesso.recipes.protocol import Players
from gesso.train_log import RunLog
from support import PlainEngine

pytestmark = pytest.mark.usefixtures("one_thread")
EVERYTHING = "color,translation,cutout"


def drawn(policy: str, *size: int, seed: int = 0) -> Augmentation:
    torch.manual_seed(seed)
    batch, height, width = size
    return augment.draw(policy, batch, height, width)


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1


# --- DiffAugment ---


def test_no_policy_changes_nothing_and_draws_nothing() -> None:
    torch.manual_seed(3)
    before, x = torch.get_rng_state(), noise(2, 5, 8, 8)
    assert augment.draw("", 2, 8, 8)(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", RECIPES)
def test_settings_take_policies_in_any_order_and_refuse_others(name: str) -> None:
    config = RECIPES[name].Config
    assert config().diffaugment == ""
    assert config(diffaugment=" cutout, colour").diffaugment == "color,cutout"
    with pytest.raises(ValidationError, match="'zoom' is no policy of DiffAugment; give a comma list of color, trans"):
        config(diffaugment="color,zoom")
    with pytest.raises(ValidationError, match="warp"):
        config(warp=1.5)


def test_one_drawing_changes_every_picture_alike_and_seeds_tell_drawings_apart() -> None:
    x = noise(3, 7, 24, 40)
    first = drawn(EVERYTHING, 3, 24, 40)
    assert torch.equal(first(x), first(x))
    assert torch.equal(first(x), drawn(EVERYTHING, 3, 24, 40)(x))
    assert not torch.equal(first(x), drawn(EVERYTHING, 3, 24, 40, seed=1)(x))
    alone = [first(x.roll(1, dims=0))[i] for i in range(3)]
    assert not torch.equal(alone[1], first(x)[0])  # each picture of a batch is changed in its own way


def test_colour_in_figures_and_only_on_the_image() -> None:
    """One pixel black, one (0.6, 0, 0): computed by hand for brightness 0.1, saturation 0.5, contrast 2."""
    x = torch.zeros(1, 5, 1, 2, dtype=torch.float64)
    x[0, :2] = 7.0
    x[0, 2, 0, 1] = 0.6
    found = Augmentation(colours=torch.tensor([[0.1, 0.5, 2.0]]))(x)
    assert torch.equal(found[:, :2], x[:, :2])
    # Brighter: (0.1, 0.1, 0.1) and (0.7, 0.1, 0.1). Half as far from the greys 0.1 and 0.3: unchanged and (0.5, 0.2, 0.2).
    # Twice as far from the mean of all, 0.2.
    torch.testing.assert_close(found[0, 2:, 0, 0], torch.full((3,), 0.0, dtype=torch.float64), atol=1e-7, rtol=0)
    wanted = torch.tensor([0.8, 0.2, 0.2], dtype=torch.float64)
    torch.testing.assert_close(found[0, 2:, 0, 1], wanted, atol=1e-7, rtol=0)


def test_colour_moves_the_mean_by_the_brightness_alone() -> None:
    x = noise(4, 3, 9, 9)
    change = drawn("color", 4, 9, 9)
    assert change.colours is not None and change.shifts is None and change.holes is None
    moved = change(x).mean((1, 2, 3)) - x.mean((1, 2, 3))
    torch.testing.assert_close(moved, change.colours[:, 0].double())


def test_colour_factors_fill_their_ranges() -> None:
    colours = drawn("color", 4000, 8, 8).colours
    assert colours is not None
    for column, (low, high) in enumerate([(-0.5, 0.5), (0.0, 2.0), (0.5, 1.5)]):
        values = colours[:, column]
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high


def test_translation_moves_semantics_and_image_alike() -> None:
    x = noise(2, 6, 8, 16) + 3  # nowhere 0
    found = Augmentation(shifts=torch.tensor([[1, -2], [0, 0]]))(x)
    assert torch.equal(found[0, :, 1:, :-2], x[0, :, :-1, 2:])
    assert not found[0, :, 0].any() and not found[0, :, :, -2:].any()
    assert torch.equal(found[1], x[1])


def test_translations_reach_an_eighth_each_as_likely() -> None:
    shifts = drawn("translation", 5000, 16, 40).shifts
    assert shifts is not None
    for column, most in ((0, 2), (1, 5)):
        values, counts = shifts[:, column].unique(return_counts=True)
        assert values.tolist() == list(range(-most, most + 1))
        assert counts.min() > 0.8 * counts.max()


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_cutout_blanks_a_box_of_half_the_sides(height: int, width: int, seed: int) -> None:
    change = drawn("cutout", 1, height, width, seed=seed)
    assert change.holes is not None
    top, bottom, left, right = change.holes[0].tolist()
    found = change(torch.ones(1, 4, height, width))
    assert found.sum() == 4 * (height * width - (bottom - top) * (right - left))
    assert 0 <= bottom - top <= height / 2 + 0.5 and 0 <= right - left <= width / 2 + 0.5
    assert bottom - top >= height // 4 and right - left >= width // 4  # its middle lies in the picture
    assert not found[..., top:bottom, left:right].any()


def test_cutout_may_lie_anywhere() -> None:
    """Its middle is one of 17 places along a side of 16, each as likely: a row is hit by the 8 around it that are there."""
    change = drawn("cutout", 2000, 16, 16)
    assert change.holes is not None
    assert set((change.holes[:, 1] - change.holes[:, 0]).tolist()) == {4, 5, 6, 7, 8}
    places, pixels = torch.arange(17), torch.arange(16).reshape(-1, 1)
    hit = ((places - 4 <= pixels) & (pixels < places + 4)).float().mean(1)
    kept = change(torch.ones(2000, 1, 16, 16)).mean((0, 1))
    torch.testing.assert_close(kept, 1 - hit.outer(hit), atol=0.05, rtol=0)


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", EVERYTHING])
def test_gradients_agree_with_finite_differences(policy: str) -> None:
    change, x = drawn(policy, 2, 8, 9), noise(2, 5, 8, 9).requires_grad_()
    assert torch.autograd.gradcheck(change, (x,), eps=1e-5, atol=1e-8)


def test_in_other_number_formats_the_result_has_that_of_the_picture() -> None:
    x = noise(1, 4, 8, 8).bfloat16()
    assert drawn(EVERYTHING, 1, 8, 8)(x).dtype == torch.bfloat16


def test_numbers_are_the_same_whatever_the_device() -> None:
    with torch.device("meta"):
        change = drawn(EVERYTHING, 2, 8, 8)
    x = noise(2, 5, 8, 8)
    assert torch.equal(change(x), drawn(EVERYTHING, 2, 8, 8)(x))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_can_be_estimated(precision: str) -> None:
    """It is rehearsed on tensors without content, of which no value can be asked for."""
    plain, changed = (
        pix2pixhd.Config(generator_width=4, generator_downs=2, diffaugment=policy, precision=precision)
        for policy in ("", EVERYTHING)
    )
    semantics = Semantics(classes=3)
    before, after = (estimate(pix2pixhd, c, semantics, (64, 64), measure=False) for c in (plain, changed))
    assert after.flops == before.flops  # convolutions are all that is counted
    assert after.memory >= before.memory


# --- in a training step ---


class Seen(nn.Module):
    """A discriminator that remembers what it is shown."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, 1, 1)
        self.shown: list[Tensor] = []

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        self.shown.append(x.detach())
        return [[x, self.layer(x)]]


def small_step(policy: str) -> tuple[list[Tensor], dict[str, Tensor], dict[str, Tensor], Players]:
    config = pix2pixhd.Config(
        generator_width=2, generator_downs=1, generator_blocks=0, discriminator_layers=1, diffaugment=policy
    )
    torch.manual_seed(0)
    players = pix2pixhd.build(config, Semantics(classes=2))
    judge = players.trained["discriminator"] = Seen(5)
    semantics = nn.functional.one_hot(torch.arange(2 * 16 * 16).reshape(2, 16, 16) % 2, 2).permute(0, 3, 1, 2).float()
    batch = {"semantics": semantics, "image": noise(2, 3, 16, 16).float()}
    optimizers = pix2pixhd.optimizers(config, players)
    torch.manual_seed(5)
    return judge.shown, batch, pix2pixhd.train_step(config, players, optimizers, [batch], PlainEngine()), players


def test_the_discriminator_sees_all_pictures_of_a_step_changed_alike() -> None:
    shown, batch, _, _ = small_step(EVERYTHING)
    plain, _, _, _ = small_step("")
    torch.manual_seed(5)
    change = augment.draw(EVERYTHING, 2, 16, 16)
    assert len(shown) == len(plain) == 3  # photograph, generated in G's loss, generated in D's loss
    for found, untouched in zip(shown, plain, strict=True):
        torch.testing.assert_close(found, change(untouched))
        assert not torch.equal(found, untouched)
    assert torch.equal(plain[0], torch.cat([batch["semantics"], batch["image"]], dim=1))


def test_the_generator_learns_through_the_augmentation() -> None:
    _, _, found, players = small_step(EVERYTHING)
    gradients = [p.grad for p in players.trained["generator"].parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert any(g is not None and g.abs().sum() > 0 for g in gradients)
    assert found.keys() >= set(monitors.MONITORS)
    assert all(0 <= found[name] <= 1 and not found[name].requires_grad for name in monitors.MONITORS[:2])


# --- monitors ---


def test_accuracies_on_scores_by_hand() -> None:
    """Finest scale: 3 of 4 right for the photograph, 1 of 4 for the generated; coarse scale: 0 of 1, and 1 of 1."""
    real = [[torch.ones(9), torch.tensor([0.6, 0.7, 2.0, 0.4])], [torch.tensor([0.5])]]
    fake = [[torch.ones(9), torch.tensor([0.49, 0.7, 0.5, 1.0])], [torch.tensor([-3.0])]]
    black = torch.zeros(1, 3, 2, 2)
    found = monitors.monitors(real, fake, "lsgan", black, black)
    assert list(found) == list(monitors.MONITORS)
    assert found["accuracy_D_real"] == (0.75 + 0) / 2
    assert found["accuracy_D_fake"] == (0.25 + 1) / 2


@pytest.mark.parametrize("gan", ["vanilla", "hinge"])
def test_the_boundary_of_other_losses_is_zero(gan: str) -> None:
    scores, black = torch.tensor([-1.0, 0.0, 0.3, 0.7]), torch.zeros(1, 3, 2, 2)
    found = monitors.monitors(scores, scores, gan, black, black)
    assert (found["accuracy_D_real"], found["accuracy_D_fake"]) == (0.5, 0.25)


def test_saturation_counts_what_photographs_do_not_have_too() -> None:
    generated, photograph = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    generated[0, :, 0, 0] = torch.tensor([1.0, -0.99, 0.97])
    assert monitors.saturation(generated, photograph) == pytest.approx(2 / 12)
    photograph[0, :, 1, 1] = -1.0
    assert monitors.saturation(generated, photograph) == pytest.approx(-1 / 12)


def fine(**changes: float) -> dict[str, float]:
    return {"G_gan": 1.0, "accuracy_D_real": 0.7, "accuracy_D_fake": 0.8, "saturation": 0.0} | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accuracy_D_real": 0.99, "accuracy_D_fake": 0.97}, r"accuracy of D 0\.98 .*0\.45 to 0\.95.*--diffaugment"),
        ({"accuracy_D_real": 0.3, "accuracy_D_fake": 0.4}, r"accuracy of D 0\.35 .*teaches the generator nothing"),
        ({"saturation": 0.4}, r"saturation 0\.40 .*--lr"),
    ],
)
def test_a_figure_out_of_its_range_for_long_is_told(changes: dict[str, float], said: str) -> None:
    watch = monitors.Watch(patience=100)
    heard = [watch.see(fine(**changes), 20) for _ in range(15)]
    assert [i for i, lines in enumerate(heard) if lines] == [4, 14]  # after 100 steps, then after 200 more
    (line,) = heard[4]
    assert "over the last 100 steps" in line
    assert re.search(said, line)


def test_healthy_figures_are_not_told() -> None:
    watch = monitors.Watch(patience=10)
    one_sided = fine(accuracy_D_real=1.0, accuracy_D_fake=0.0)  # everything real: no better than chance, but not worse
    for means in (fine(), one_sided, fine(saturation=-0.5), {"G_l1": 1.0}):
        assert watch.see(means, 10) == []
    mixed = [watch.see(fine(saturation=value), 5) for value in (0.15, 0.0)]
    assert mixed == [[], []]  # it is the mean that counts


def test_the_log_holds_monitors_and_the_console_losses_and_warnings(tmp_path: Path) -> None:
    out = io.StringIO()
    log = RunLog(tmp_path, 0, 5000, Console(file=out, width=300))
    log._last_line = float("-inf")  # so that a plain line is due at once
    losses = {"G_gan": 1.0, "accuracy_D_real": 1.0, "accuracy_D_fake": 0.98, "saturation": 0.02}
    for _ in range(monitors.PATIENCE):
        log.add({name: torch.tensor(value) for name, value in losses.items()}, 1, 0.0)
    log.flush(monitors.PATIENCE, {})
    log.close()
    (line,) = (json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines())
    assert {name: line[name] for name in losses} == pytest.approx(losses, abs=1e-5)
    progress, warning = out.getvalue().splitlines()
    assert "G_gan 1.000" in progress and "accuracy" not in progress and "saturation" not in progress
    assert warning.startswith("step 1000: accuracy of D 0.99 ") and warning.endswith("see docs/small-data.md")


# --- bending ---


def bent(size: tuple[int, int], strength: float, seed: int = 0) -> np.ndarray:
    """The first displacement that is drawn."""
    rng = np.random.default_rng(seed)
    while (field := warp.draw(size, strength, rng)) is None:
        pass
    return field


def test_without_strength_nothing_moves() -> None:
    field = bent((24, 40), 0.0)
    assert not field.any()
    label, image = torch.arange(24 * 40).reshape(24, 40), noise(3, 24, 40)
    assert torch.equal(warp.bend_map(label, field), label)
    torch.testing.assert_close(warp.bend_picture(image, field), image, atol=1e-9, rtol=0)


def test_half_of_the_samples_stay_straight() -> None:
    rng = np.random.default_rng(0)
    straight = sum(warp.draw((8, 8), 1.0, rng) is None for _ in range(1000))
    assert 450 < straight < 550


@given(height=st.integers(8, 70), width=st.integers(8, 70), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_nothing_folds_and_nothing_comes_from_outside(height: int, width: int, seed: int) -> None:
    """The strongest bend: each pixel's row sum of slopes is below 1, so the map is one to one; the rim stays in place."""
    field = bent((height, width), 1.0, seed)
    down, right = np.abs(np.diff(field, axis=1)), np.abs(np.diff(field, axis=2))
    assert (down[:, :, :-1] + right[:, :-1]).max() < 1
    rows, columns = np.indices((height, width)) + field
    assert rows.min() > -0.5 and rows.max() < height - 0.5
    assert columns.min() > -0.5 and columns.max() < width - 0.5


def test_a_bend_is_worth_the_name() -> None:
    largest = np.mean([np.abs(bent((128, 256), 1.0, seed)).max() for seed in range(20)])
    assert 4 < largest < 128 / 3 / 4
    np.testing.assert_allclose(bent((128, 256), 0.25, 3) * 4, bent((128, 256), 1.0, 3))
    # The same bend at another size: shapes at 1/2 of the size move by 1/2 as many pixels.
    np.testing.assert_allclose(bent((64, 128), 1.0, 3) * 2, bent((128, 256), 1.0, 3)[:, ::2, ::2], atol=0.5)


def test_control_points_weigh_as_a_cubic_b_spline_does() -> None:
    weights = warp._spline(400, 4)
    inner = weights[100:300]  # where no reflected point reaches
    np.testing.assert_allclose(inner.sum(1), 1)
    np.testing.assert_allclose(inner @ np.arange(5), (np.arange(100, 300) + 0.5) / 100)  # a line stays a line
    np.testing.assert_allclose(weights[0, 1:], 0, atol=0.02)  # at the rim, the rim's own point alone


def item(size: tuple[int, int], seed: int = 0) -> dict[str, Any]:
    """Label, instance and photograph that say the same: class c is painted with the value c / 2 - 1."""
    label = torch.from_numpy(np.random.default_rng(seed).integers(5, size=(size[0] // 8, size[1] // 8)))
    label = label.repeat_interleave(8, 0).repeat_interleave(8, 1)
    return {
        "label": label,
        "instance": label * 1000 + 1,
        "image": (label / 2 - 1).expand(3, *size).clone(),
        "name": "x",
        "size": size,
    }


def test_label_instance_and_photograph_are_bent_alike() -> None:
    plain, found = item((64, 96)), item((64, 96))
    warp.bend(found, 1.0, np.random.default_rng(2))
    assert not torch.equal(found["label"], plain["label"])
    assert torch.equal(found["instance"], found["label"] * 1000 + 1)
    assert set(found["label"].unique().tolist()) <= set(plain["label"].unique().tolist())
    off = (found["image"] - (found["label"] / 2 - 1)).abs()
    assert off.median() < 1e-4  # inside of patches
    # Nearest and bicubic may differ at outlines, by at most a step of colours; not where patches differ by more.
    apart = (plain["image"] - (found["label"] / 2 - 1)).abs()
    assert off.mean() < 0.5 * apart.mean()
    assert (found["name"], found["size"]) == ("x", (64, 96))
    assert {k: v.dtype for k, v in found.items() if isinstance(v, Tensor)} == {
        k: v.dtype for k, v in plain.items() if isinstance(v, Tensor)
    }
    assert found["image"].abs().max() <= 1


def test_colours_of_a_painted_label_map_do_not_mix() -> None:
    mixed, kept = item((64, 96)), item((64, 96))
    warp.bend(mixed, 1.0, np.random.default_rng(2))
    warp.bend(kept, 1.0, np.random.default_rng(2), painted=True)
    assert torch.equal(kept["image"][0], (kept["label"] / 2 - 1))
    assert not torch.equal(mixed["image"], kept["image"])


@pytest.fixture
def samples(tiny_dataset: Path) -> Any:
    return open_listing(tiny_dataset, DataFlags(), "train")


def dataset(samples: Any, strength: float, *, training: bool = True, seed: int = 0) -> SemanticDataset:
    preprocessing = Preprocessing(flip=True, multiple=4)
    return SemanticDataset(samples.samples, samples.space, preprocessing, training=training, seed=seed, warp=strength)


def test_bends_follow_from_seed_epoch_and_index_and_leave_flips_as_they_were(samples: Any) -> None:
    straight, crooked, again = dataset(samples, 0.0), dataset(samples, 1.0), dataset(samples, 1.0)
    keys = [(index, epoch) for epoch in range(4) for index in range(7)]
    assert all(torch.equal(crooked[key]["image"], again[key]["image"]) for key in reversed(keys))
    same = [key for key in keys if torch.equal(straight[key]["label"], crooked[key]["label"])]
    assert 0.25 < len(same) / len(keys) < 0.75
    for key in keys:  # what was flipped is flipped now
        gap = (straight[key]["image"] - crooked[key]["image"]).abs().mean()
        assert gap < (straight[key]["image"] - crooked[key]["image"].flip(2)).abs().mean()
    others = dataset(samples, 1.0, seed=1)
    assert any(not torch.equal(crooked[key]["label"], others[key]["label"]) for key in keys)


def test_held_out_samples_stay_as_they_are(samples: Any) -> None:
    for index in range(7):
        plain, found = (dataset(samples, s, training=False)[index] for s in (0.0, 1.0))
        assert all(torch.equal(plain[k], found[k]) for k in ("label", "instance", "image"))


def test_source_pictures_are_bent_with_their_photographs(tmp_path: Path) -> None:
    """Photo to photo: the source is the photograph's green channel, and remains it."""
    pixels = np.asarray(
        Image.fromarray(np.random.default_rng(0).integers(255, size=(6, 9, 3), dtype=np.uint8)).resize((72, 48))
    )
    for folder, values in (("sources", pixels[..., 1]), ("images", pixels)):
        (tmp_path / folder).mkdir()
        Image.fromarray(values).save(tmp_path / folder / "a.png")
    listing = open_listing(None, DataFlags(sources=tmp_path / "sources", images=tmp_path / "images"), "")
    straight, crooked = (
        SemanticDataset(listing.samples, None, Preprocessing(), training=True, warp=strength) for strength in (0.0, 1.0)
    )
    key = next((0, e) for e in range(50) if not torch.equal(straight[0, e]["image"], crooked[0, e]["image"]))
    torch.testing.assert_close(crooked[key]["source"][0], crooked[key]["image"][1], atol=1e-5, rtol=0)


def test_the_setting_reaches_the_dataset_for_training_alone(tiny_dataset: Path) -> None:
    config = pix2pixhd.Config(generator_downs=2, warp=0.75)
    data: Any = open_data(pix2pixhd, config, tiny_dataset, DataFlags(), "train", "val")
    assert data.training.warp == 0.75
    assert data.training.shrunk(2, 4).warp == 0.75
    assert not data.validation.training


def test_the_presets_that_people_start_from_average_their_weights() -> None:
    small = [config for recipe in RECIPES.values() for name, config in recipe.PRESETS.items() if "small" in name]
    assert small and all(config.ema > 0.99 for config in small)
