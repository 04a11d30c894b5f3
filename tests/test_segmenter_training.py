"""Training a segmenter: what it learns from, that it learns, that interruptions leave no trace."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch.nn import functional as F

from gesso.data import layouts
from gesso.data.dataset import SemanticDataset
from gesso.data.pairing import Sample
from gesso.data.preprocessing import Preprocessing
from gesso.data.spaces import published
from gesso.errors import ConfigError, DataError, TrainingError
from gesso.segmenter_training import (
    SegmenterSettings,
    data_digest,
    photographs,
    train_segmenter,
    training,
)
from gesso.segmenter_training.held_out import held_out_scores
from gesso.segmenter_training.photographs import Photographs, tinted, varied
from gesso.segmenter_training.training import cross_entropy
from gesso.synthesis.segmenter import load_segmenter

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = published("toy")
FEW = SegmenterSettings(steps=8, batch=2, width=4)
PLAIN = {"scale": (1.0, 1.0), "flip": False, "colour": 0.0}


@pytest.fixture
def dataset(tiny_dataset: Path) -> Callable[..., SemanticDataset]:
    def make(split: str = "train", **settings: object) -> SemanticDataset:
        listing = layouts.find(tiny_dataset, split, "camvid")
        return SemanticDataset(listing.samples, SPACE, Preprocessing(**settings), training=split == "train")

    return make


Make = Callable[..., SemanticDataset]


# --- what it learns from ---


def test_photographs_come_as_the_preprocessing_makes_them(dataset: Make) -> None:
    """Nothing is drawn, whatever the dataset draws for its own training; reading twice gives the same."""
    kept = Photographs(dataset(resize="fixed", height=16, width=32, flip=True))
    plain = SemanticDataset(
        kept._dataset.samples, SPACE, Preprocessing(resize="fixed", height=16, width=32), training=False
    )
    assert len(kept) == 7
    for index in (3, 3):
        image, label = kept[index]
        torch.testing.assert_close(image, plain[index]["image"], rtol=0, atol=1e-6)
        assert torch.equal(label, plain[index]["label"])


def test_what_has_no_room_in_memory_is_read_again(dataset: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "MEMORY", 3 * 32 * 64 * 5)
    kept, roomy = Photographs(dataset()), []
    monkeypatch.undo()
    for index in range(7):
        image, label = kept[index]
        roomy.append(Photographs(dataset())[index])
        torch.testing.assert_close(image, roomy[-1][0], rtol=0, atol=1e-6)
        assert torch.equal(label, roomy[-1][1])
    assert len(kept._kept) == 3


def test_classes_weights(dataset: Make) -> None:
    kept = Photographs(dataset())
    share = torch.bincount(torch.cat([kept[n][1].flatten() for n in range(7)]), minlength=len(SPACE) + 1)[:-1].double()
    share /= share.sum()
    assert kept.weights(0.0).tolist() == pytest.approx([1.0] * len(SPACE))
    alike = kept.weights(1.0) * share  # every class counts as much as any other
    assert alike.tolist() == pytest.approx([1 / len(SPACE)] * len(SPACE))
    assert (kept.weights(0.4) * share).sum().item() == pytest.approx(1)


def test_every_photograph_once_in_every_round_and_each_round_in_another_order(dataset: Make) -> None:
    kept, settings = Photographs(dataset()), SegmenterSettings(batch=4)
    order = [index for step in range(7) for index in kept._order(step, settings)]  # 28 places: four rounds of seven
    rounds = [order[n : n + 7] for n in range(0, 28, 7)]
    assert all(sorted(part) == list(range(7)) for part in rounds)
    assert len({tuple(part) for part in rounds}) == 4


def test_a_batch_depends_on_seed_and_step_alone(dataset: Make) -> None:
    kept, again = Photographs(dataset()), Photographs(dataset())
    kept.batch(3, FEW)
    first, second = kept.batch(5, FEW), again.batch(5, FEW)
    assert first[0].shape == (2, 3, 32, 64)
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
    other = again.batch(5, FEW.model_copy(update={"seed": 1}))
    assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(("size", "crop"), [((32, 64), (32, 64)), ((40, 90), (32, 96)), ((10, 17), (32, 32))])
def test_crops_are_of_sizes_that_the_network_takes(dataset: Make, size: tuple[int, int], crop: tuple[int, int]) -> None:
    kept = Photographs(dataset(resize="fixed", height=size[0], width=size[1]))
    assert (kept.size, kept.crop) == (size, crop)
    assert kept.batch(0, FEW)[1].shape == (2, *crop)


def test_without_variation_a_part_is_the_photograph() -> None:
    image, label = torch.rand(3, 32, 64) * 2 - 1, torch.randint(0, 12, (32, 64))
    part, ids = varied(image, label, (32, 64), SegmenterSettings(**PLAIN), np.random.default_rng(0))
    torch.testing.assert_close(part, image, atol=1e-4, rtol=0)
    assert torch.equal(ids, label)


def test_a_mirrored_part_is_the_photograph_mirrored() -> None:
    image, label = torch.rand(3, 32, 64) * 2 - 1, torch.randint(0, 12, (32, 64))
    seen = set()
    for seed in range(8):
        settings = SegmenterSettings(**{**PLAIN, "flip": True})
        part, ids = varied(image, label, (32, 64), settings, np.random.default_rng(seed))
        flipped = not torch.equal(ids, label)
        seen.add(flipped)
        torch.testing.assert_close(part, image.flip(-1) if flipped else image, atol=1e-4, rtol=0)
        assert torch.equal(ids, label.flip(-1) if flipped else label)
    assert seen == {True, False}


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_photograph_and_label_map_are_scaled_alike(factor: float) -> None:
    """A picture whose red is its class: wherever a part comes from, both must say the same."""
    label = torch.arange(8).repeat_interleave(8)[None].repeat(64, 1)  # stripes of 8 pixels
    image = (label / 7.0 * 2 - 1).expand(3, -1, -1)
    settings = SegmenterSettings(**{**PLAIN, "scale": (factor, factor), "flip": True})
    outside = 0
    for seed in range(5):
        part, ids = varied(image, label, (64, 64), settings, np.random.default_rng(seed))
        said = ((part[0] + 1) / 2 * 7).round().long()
        inside = ids >= 0
        outside += int((~inside).sum())
        assert (said[inside] == ids[inside]).float().mean() > 0.9  # between stripes colours are mixed
        assert len(ids[inside].unique()) == (8 if factor < 1 else 4) or factor > 1
    assert outside == (5 * 64 * 64 * 3 // 4 if factor < 1 else 0)


def test_tints() -> None:
    image = torch.rand(3, 8, 8) * 2 - 1
    assert torch.allclose(tinted(image, 0.0, np.random.default_rng(0)), image, atol=1e-6)
    changed = tinted(image, 0.5, np.random.default_rng(0))
    assert not torch.allclose(changed, image, atol=0.05)
    assert changed.min() >= -1 and changed.max() <= 1


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    layout = SemanticDataset([Sample(name="a", label=tmp_path / "a.png")], SPACE, Preprocessing(), training=False)
    with pytest.raises(DataError, match=r"None of the 1 samples has a label map and a photograph.*--segmenter FILE"):
        train_segmenter(layout, None, tmp_path / "s.safetensors", settings=FEW)


@pytest.mark.long
def ignored(folder: Path) -> SemanticDataset:
    """One photograph whose every pixel is ignored."""
    label = SPACE.to_values(np.full((32, 32), len(SPACE)))
    Image.fromarray(label.astype(np.uint8)).save(folder / "label.png")
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "image.png")
    sample = Sample(name="a", label=folder / "label.png", image=folder / "image.png")
    return SemanticDataset([sample], SPACE, Preprocessing(), training=False)


def test_every_pixel_ignored(tmp_path: Path, dataset: Make) -> None:
    """Nothing to learn is an error; nothing held out to score is none (Cityscapes publishes such maps for its test split)."""
    with pytest.raises(DataError, match="Every pixel of the 1 label maps is ignored"):
        train_segmenter(ignored(tmp_path), None, tmp_path / "s.safetensors", settings=FEW)
    trained = train_segmenter(dataset(), ignored(tmp_path), tmp_path / "s.safetensors", settings=FEW, device="cpu")
    assert trained.info and trained.info.scores == {}


# --- loss and rate ---


def test_loss_by_hand() -> None:
    """Two labelled pixels of three, weights 1 and 3."""
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [5.0, 5.0]]).T.reshape(1, 2, 1, 3)
    label = torch.tensor([[[0, 1, 2]]])
    expected = (np.log(1 + np.exp(-2)) + 3 * np.log(1 + np.exp(-1))) / 2
    assert cross_entropy(scores, label, torch.tensor([1.0, 3.0])).item() == pytest.approx(expected)
    beside = label.where(label < 2, -1)  # what lies outside the photograph does not count either
    assert cross_entropy(scores, beside, torch.tensor([1.0, 3.0])).item() == pytest.approx(expected)


def test_nothing_labelled_is_no_loss() -> None:
    scores = torch.randn(1, 2, 4, 4, requires_grad=True)
    loss = cross_entropy(scores, torch.full((1, 4, 4), 2), torch.ones(2))
    loss.backward()
    assert loss.item() == 0
    assert scores.grad is not None and not scores.grad.any()


def test_rate_rises_then_falls() -> None:
    settings = SegmenterSettings(steps=99, warmup=0.1, lr=1.0)
    rates = [settings.rate(step) for step in range(99)]
    top = int(np.argmax(rates))
    assert top == 9 and rates[top] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.1)
    assert rates == sorted(rates[:10]) + sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001
    assert SegmenterSettings(steps=1, warmup=0.0, lr=1.0).rate(0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch": 1}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"crop": (33, 32)}, {"x": 1}]
)
def test_settings_that_make_no_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        SegmenterSettings(**wrong)


# --- training ---


@pytest.mark.long
def test_it_learns_and_says_what_it_learned_from(dataset: Make, tmp_path: Path) -> None:
    settings = SegmenterSettings(steps=60, batch=4, width=8, lr=1e-2, scale=(0.9, 1.1))
    path = tmp_path / "new" / "segmenter.safetensors"
    train, held_out = dataset(), dataset("val")
    trained = train_segmenter(train, held_out, path, settings=settings, device="cpu", origin="patchwork train")
    info = load_segmenter(path).info
    assert info is not None and info == trained.info
    assert trained.name == f"compact U-Net trained on patchwork train {trained.hash[:8]}"
    assert trained.origin == "patchwork train, 7 photographs"
    assert (info.size, info.steps, info.width, info.held_out) == ((32, 64), 60, 8, 2)
    assert info.data_digest == data_digest(train, settings)
    assert info.scores == held_out_scores(load_segmenter(path), Photographs(held_out))
    assert info.scores["pixel_accuracy"] > 0.6
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_without_held_out_photographs_and_name(dataset: Make, tmp_path: Path) -> None:
    trained = train_segmenter(dataset(), None, tmp_path / "s.safetensors", settings=FEW, device="cpu")
    assert trained.info and (trained.info.scores, trained.info.held_out, trained.info.origin) == ({}, 0, "toy")


def tensors(path: Path) -> dict[str, torch.Tensor]:
    return load_segmenter(path).network.state_dict()


class Killed(Exception):
    pass


def interrupted(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The next training saves at every step, and ends at this one."""
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    original = training.Report.__call__

    def report(self: training.Report, now: int, loss: torch.Tensor) -> None:
        original(self, now, loss)
        if now == step:
            raise Killed

    monkeypatch.setattr(training.Report, "__call__", report)


def test_an_interruption_leaves_no_trace(dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train_segmenter(dataset(), None, whole, settings=FEW, device="cpu")
    with monkeypatch.context() as patched:
        interrupted(patched, 5)
        with pytest.raises(Killed):
            train_segmenter(dataset(), None, parts, settings=FEW, device="cpu")
    assert not parts.exists()
    steps: list[int] = []
    batch = Photographs.batch
    monkeypatch.setattr(Photographs, "batch", lambda self, step, s: [steps.append(step), batch(self, step, s)][1])
    train_segmenter(dataset(), None, parts, settings=FEW, device="cpu")
    assert steps == [4, 5, 6, 7]  # the fifth step was taken, but not yet saved
    found, expected = tensors(parts), tensors(whole)
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts.safetensors", "whole.safetensors"]


@pytest.mark.long
def test_a_state_of_other_settings_is_not_taken_up(
    dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, path = FEW.model_copy(update={"seed": 1}), tmp_path / "s.safetensors"
    train_segmenter(dataset(), None, tmp_path / "whole.safetensors", settings=FEW, device="cpu")
    with monkeypatch.context() as patched:
        interrupted(patched, 3)
        with pytest.raises(Killed):
            train_segmenter(dataset(), None, path, settings=other, device="cpu")
    train_segmenter(dataset(), None, path, settings=FEW, device="cpu")
    assert torch.equal(tensors(path)["classify.weight"], tensors(tmp_path / "whole.safetensors")["classify.weight"])


def test_a_damaged_state_is_passed_over(dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.safetensors"
    with monkeypatch.context() as patched:
        interrupted(patched, 3)
        with pytest.raises(Killed):
            train_segmenter(dataset(), None, path, settings=FEW, device="cpu")
    (state,) = (tmp_path / ".s.safetensors.state").iterdir()
    (state / "network.safetensors").write_bytes(b"cut off")
    train_segmenter(dataset(), None, path, settings=FEW, device="cpu")
    assert load_segmenter(path).info


def test_other_seeds_other_weights(dataset: Make, tmp_path: Path) -> None:
    for seed in (0, 1):
        settings = FEW.model_copy(update={"seed": seed, "steps": 1})
        train_segmenter(dataset(), None, tmp_path / f"{seed}.safetensors", settings=settings, device="cpu")
    assert not torch.equal(*(tensors(tmp_path / f"{seed}.safetensors")["classify.weight"] for seed in (0, 1)))


def test_training_leaves_the_global_random_numbers_alone(dataset: Make, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    train_segmenter(dataset(), None, tmp_path / "s.safetensors", settings=FEW, device="cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_loss_that_is_not_finite_ends_it(dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "cross_entropy", lambda scores, *_, **__: scores.sum() * float("nan"))
    with pytest.raises(TrainingError, match=r"The loss .* not finite at step 1: lower its learning rate"):
        train_segmenter(dataset(), None, tmp_path / "s.safetensors", settings=FEW, device="cpu")


def test_weights_that_are_not_finite_are_not_kept(
    dataset: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen at once or not: where the loss is looked at only now and then, no state may hold what it broke."""
    monkeypatch.setattr(F, "cross_entropy", lambda scores, *_, **__: scores.sum() * float("nan"))
    monkeypatch.setattr(training.Report, "__call__", lambda *_: None)
    monkeypatch.setattr(training, "SAVE_SECONDS", -1.0)
    with pytest.raises(TrainingError, match=r"The weights .* not finite at step 1"):
        train_segmenter(dataset(), None, tmp_path / "s.safetensors", settings=FEW, device="cpu")
    assert list(tmp_path.iterdir()) == []


def test_progress_in_a_log(dataset: Make, tmp_path: Path) -> None:
    console = Console(file=(text := io.StringIO()), width=100)
    train_segmenter(dataset(), None, tmp_path / "s.safetensors", settings=FEW, device="cpu", console=console)
    lines = text.getvalue().splitlines()
    assert lines[-1].startswith("segmenter: step 8 of 8, loss ")
    assert len(lines) == 8


def test_a_device_that_is_not_there(dataset: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cuda:77"):
        train_segmenter(dataset(), None, tmp_path / "s.safetensors", settings=FEW, device="cuda:77")


# --- what it goes by ---


def test_the_digest_sees_whatever_changes_what_is_learned(dataset: Make, tmp_path: Path) -> None:
    samples = list(dataset().samples)
    copy = tmp_path / samples[0].image.name
    copy.write_bytes(samples[0].image.read_bytes())

    def of(first: Sample, space: object = SPACE, **preprocessing: object) -> str:
        made = SemanticDataset([first, *samples[1:]], space, Preprocessing(**preprocessing), training=True)
        return data_digest(made, FEW)

    moved = Sample(name=samples[0].name, label=samples[0].label, image=copy)
    same = of(samples[0])
    assert of(moved) == same  # where files lie does not count
    raw = copy.with_suffix(".bmp")
    Image.open(copy).save(raw)
    unchanged = of(of_raw := Sample(name=samples[0].name, label=samples[0].label, image=raw))
    content = bytearray(raw.read_bytes())
    content[200] ^= 1
    raw.write_bytes(content)
    assert of(of_raw) != unchanged, "a pixel of a raw picture, its size and its end being the same"
    Image.fromarray(np.zeros((32, 64, 3), np.uint8)).save(copy)
    other_space = SPACE.model_copy(update={"classes": SPACE.classes[::-1]})
    variants = [
        of(moved),
        of(samples[0], other_space),
        of(samples[0], flip=True),
        data_digest(dataset(), SegmenterSettings()),
    ]
    assert len({same, *variants}) == 5
