"""Rows from pictures: numbers by hand, intervals and their absence, flat memory, and whether the measuring stick measures."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from gesso.data import toy
from gesso.errors import DataError, LabelError
from gesso.evaluate import fid
from gesso.evaluate.features import NetworkFeatures
from gesso.evaluate.measuring import Example, Measuring, Real, Styled, Tools
from gesso.evaluate.numbers import HALVES, Sampling, distribution_numbers, mean_number, ratio_number
from gesso.evaluate.repetition import repetition
from gesso.evaluate.results import COLUMNS, Number, Row
from gesso.evaluate.styling import Remembering, StyleMeasuring
from gesso.labels import LabelClass, LabelSpace, colourise
from gesso.networks.lpips import FeatureDistance
from gesso.networks.segmenter import Encoder, SegmenterFeatures, initialise
from gesso.pictures import nearest_classes

TWO = LabelSpace(
    name="two",
    classes=(
        LabelClass(name="ground", values=(0,), colour=(0, 0, 0)),
        LabelClass(name="thing", values=(1,), colour=(255, 255, 255), thing=True),
    ),
)
QUICK = Sampling(resamples=50)


def by_colour(space: LabelSpace) -> Callable[[np.ndarray], np.ndarray]:
    return lambda pictures: np.stack([nearest_classes(picture, space) for picture in pictures])


def square(name: str, left: int) -> Example:
    """A 4x4 object on 16x16 ground, and a photograph that shows it."""
    label = np.zeros((16, 16), np.int64)
    label[4:8, left : left + 4] = 1
    return Example(name, label, None, colourise(label, TWO))


def measured(tools: Tools, examples: list[Example], pictures: list[np.ndarray], real: Real | None = None) -> Row:
    measuring = Measuring(tools)
    measuring.update(examples, pictures)
    return measuring.row("row", "pictures", real or measuring.real)


# ---------------------------------------------------------------------------------------------------------- by hand


def test_a_row_by_hand() -> None:
    """Of two objects one is there and one is missed: 16 of 256 pixels of the second picture are wrong."""
    examples = [square("a", 2), square("b", 8)]
    pictures = [examples[0].photograph, np.zeros((16, 16, 3), np.uint8)]
    assert pictures[0] is not None
    row = measured(Tools(TWO, by_colour(TWO), sampling=QUICK), examples, pictures)  # type: ignore[arg-type]
    values = {name: number.value for name, number in row.numbers.items()}
    assert values["pixel_accuracy"] == pytest.approx(1 - 16 / 512)
    assert values["mean_class_accuracy"] == pytest.approx((1 + 0.5) / 2)
    assert values["mean_iou"] == pytest.approx((480 / 496 + 16 / 32) / 2)
    assert values["object_agreement"] == pytest.approx(0.5)
    assert values["l1"] == pytest.approx(16 / 512)
    assert row.confusion == ((480, 0, 0), (16, 16, 0))
    assert [one.agreement for one in row.layouts] == [1, pytest.approx(240 / 256)]
    assert [one.l1 for one in row.layouts] == [0, pytest.approx(16 / 256)]
    assert row.classes[1].objects == 2
    assert row.classes[1].object_agreement == pytest.approx(0.5)
    assert row.numbers["psnr"].value == np.inf
    assert row.numbers["psnr"].low is None
    assert "1 of 2 pictures equal" in row.numbers["psnr"].note


def test_every_column_has_a_number_or_a_reason() -> None:
    examples = [square("a", 2), square("b", 8)]
    shown = [example.photograph for example in examples]
    row = measured(Tools(TWO, sampling=QUICK, reasons={"segmentation": "none wanted"}), examples, shown)  # type: ignore[arg-type]
    assert set(row.numbers) == {"l1", "psnr", "ssim"}
    assert set(row.numbers) | set(row.missing) == set(COLUMNS)
    assert row.missing["mean_iou"] == "none wanted"
    assert all(row.missing.values())
    assert list(row.numbers) == [name for name in COLUMNS if name in row.numbers]


def test_ignored_pixels_and_unknown_findings() -> None:
    label = np.array([[0, 0, 1, 2]] * 12)  # 2: ignored
    found = np.array([[0, 2, 1, 0]] * 12)  # 2: nothing that the space knows
    row = measured(
        Tools(TWO, lambda pictures: found[None], paired=False, sampling=QUICK),
        [Example("one", label)],
        [np.zeros((12, 4, 3), np.uint8)],
    )
    assert row.confusion == ((12, 0, 12), (0, 12, 0))
    assert row.layouts[0].agreement == pytest.approx(2 / 3)


def test_repetition_is_what_photographs_do_not_have() -> None:
    levels = iter([np.array([0.5, 0.6]), np.array([0.2, 0.3]), np.array([0.5, 0.6])])
    tools = Tools(TWO, repetition=lambda pictures: next(levels), sampling=QUICK)
    examples = [square("a", 2), square("b", 8)]
    shown = [example.photograph for example in examples]
    real = Real(repetition=np.array([0.4, 0.5]))
    assert measured(tools, examples, shown, real).numbers["repetition"].value == pytest.approx(0.1)  # type: ignore[arg-type]
    less = measured(tools, examples, shown, real).numbers["repetition"]  # type: ignore[arg-type]
    assert (less.value, less.low, less.high) == (0, 0, 0)
    assert measured(tools, examples, shown).numbers["repetition"].value == 0  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- refusals


def test_nothing_to_measure() -> None:
    with pytest.raises(DataError, match="there is no picture to measure"):
        Measuring(Tools(TWO)).row("model", "model", Real())


def test_what_is_no_picture() -> None:
    example = square("scene7", 2)
    with pytest.raises(DataError, match=r"scene7 came as float64 .* not finite \(NaN\)"):
        Measuring(Tools(TWO)).update([example], [np.full((16, 16, 3), np.nan)])  # type: ignore[list-item]
    with pytest.raises(DataError, match="scale the photographs"):
        Measuring(Tools(TWO)).update([example], [np.zeros((16, 20, 3), np.uint8)])
    with pytest.raises(LabelError, match="scene7: the layout has shape"):
        Measuring(Tools(TWO, by_colour(TWO))).update([example], [np.zeros((16, 20, 3), np.uint8)])


def test_a_segmenter_of_other_classes() -> None:
    tools = Tools(TWO, lambda pictures: np.full(pictures.shape[:3], 7))
    with pytest.raises(LabelError, match="scene7: The segmenter holds class 7 to 7"):
        Measuring(tools).update([square("scene7", 2)], [np.zeros((16, 16, 3), np.uint8)])


def test_features_that_are_no_numbers() -> None:
    class Broken:
        name, dimension = "broken", 2

        def __call__(self, pictures: np.ndarray) -> np.ndarray:
            return np.full((len(pictures), 2), np.nan, np.float32)

    with pytest.raises(DataError, match="the features of scene7"):
        Measuring(Tools(TWO, extractor=Broken())).update([square("scene7", 2)], [np.zeros((16, 16, 3), np.uint8)])


def test_one_picture_has_numbers_without_intervals() -> None:
    example = square("only", 2)
    assert example.photograph is not None
    tools = Tools(TWO, by_colour(TWO), random_features(), lambda pictures: np.zeros(len(pictures)), sampling=QUICK)
    row = measured(tools, [example], [example.photograph])
    assert row.numbers["mean_iou"].value == 1
    assert all(number.low is None and number.high is None and number.note for number in row.numbers.values())
    assert "one picture" in row.missing["frechet"]


# ---------------------------------------------------------------------------------------------------------- streaming


def random_features() -> NetworkFeatures:
    network = SegmenterFeatures(initialise(Encoder(width=4), torch.Generator().manual_seed(1)))  # type: ignore[arg-type]
    return NetworkFeatures(network, "untrained", network.dimension)


def toy_examples(count: int, size: tuple[int, int] = (32, 64)) -> list[Example]:
    scenes = (toy.scene(3, number, *size) for number in range(count))
    return [Example(f"scene{n}", s.label.astype(np.int64), s.instance, s.image) for n, s in enumerate(scenes)]


def toy_tools(**others: object) -> Tools:
    return Tools(toy.space(), by_colour(toy.space()), random_features(), sampling=QUICK, **others)  # type: ignore[arg-type]


@pytest.mark.usefixtures("one_thread")
def test_batches_do_not_matter() -> None:
    examples = toy_examples(7)
    shown = [ndimage.gaussian_filter(e.photograph, (1, 1, 0)) for e in examples]
    real = measured(toy_tools(), examples, [e.photograph for e in examples])  # type: ignore[misc]
    assert real.numbers["l1"].value == 0
    together, apart = Measuring(toy_tools()), Measuring(toy_tools())
    together.update(examples, shown)
    for example, picture in zip(examples, shown, strict=True):
        apart.update([example], [picture])
    rows = [measuring.row("row", "pictures", together.real) for measuring in (together, apart)]
    for field in ("numbers", "missing", "classes", "confusion", "layouts"):
        assert getattr(rows[0], field) == getattr(rows[1], field)


def test_layouts_of_different_sizes() -> None:
    examples = [*toy_examples(2), *toy_examples(1, (48, 32))]
    row = measured(toy_tools(), examples, [e.photograph for e in examples])  # type: ignore[misc]
    assert [one.name for one in row.layouts] == ["scene0", "scene1", "scene0"]
    assert row.numbers["ssim"].value == pytest.approx(1)


def test_known_features_are_not_computed_again() -> None:
    vectors = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)

    def fail(pictures: np.ndarray) -> np.ndarray:
        raise AssertionError

    fail.name, fail.dimension = "none", 3  # type: ignore[attr-defined]
    measuring = Measuring(Tools(TWO, extractor=fail, sampling=QUICK), vectors)  # type: ignore[arg-type]
    examples = [square(str(n), n) for n in range(6)]
    measuring.update(examples, [e.photograph for e in examples])  # type: ignore[misc]
    assert measuring.real.features is vectors
    assert measuring.row("real", "oracle", measuring.real).numbers["frechet"].value == pytest.approx(0, abs=1e-9)


def peak_of(count: int) -> int:
    """Bytes at the worst while so many pictures of 256x256 go through; numpy's count, torch's do not."""

    def scenes() -> Iterator[tuple[Example, np.ndarray]]:
        random = np.random.default_rng(0)
        for number in range(count):
            picture = random.integers(0, 256, (256, 256, 3)).astype(np.uint8)
            yield Example(str(number), (picture[..., 0] > 127).astype(np.int64), None, picture), picture

    measuring = Measuring(Tools(TWO, by_colour(TWO), faithful=False, paired=False, sampling=QUICK))
    tracemalloc.start()
    for example, picture in scenes():
        measuring.update([example], [picture])
    measuring.row("row", "pictures", Real())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_memory_does_not_grow_with_pictures() -> None:
    few, many = peak_of(4), peak_of(40)
    assert many - few < 256 * 256 * 3, "36 more pictures take less than one of them"


# ------------------------------------------------------------------------------------------------------------ numbers


def test_ratios_and_means() -> None:
    number = ratio_number(np.array([1.0, 0.0, 3.0]), np.array([2.0, 0.0, 3.0]), QUICK)
    assert number is not None and number.value == pytest.approx(0.8)
    assert number.low is not None and number.high is not None and number.low <= 0.8 <= number.high
    assert ratio_number(np.zeros(2), np.zeros(2), QUICK) is None
    assert mean_number(np.array([]), QUICK) is None
    alone = mean_number(np.array([3.0]), QUICK)
    assert alone is not None and (alone.value, alone.low, alone.high) == (3.0, None, None)


def test_an_interval_holds_the_mean_about_as_often_as_it_says() -> None:
    random, held = np.random.default_rng(0), 0
    for seed in range(200):
        number = mean_number(random.normal(5, 2, 40), Sampling(200, seed))
        assert number is not None and number.low is not None and number.high is not None
        held += number.low <= 5 <= number.high
    assert 0.88 <= held / 200 <= 0.99


def test_sets_of_pictures() -> None:
    random = np.random.default_rng(0)
    real, made = random.normal(size=(40, 3)), random.normal(1.0, 1.0, size=(40, 3))
    found, missing = distribution_numbers(real, made, 3, 40, QUICK)
    assert missing == {}
    assert found["frechet"].value > 1
    for name, number in found.items():
        assert number.low is not None and number.high is not None and number.low <= number.value <= number.high, name
        assert not COLUMNS[name].share or 0 <= number.low <= number.high <= 1, name
    close, _ = distribution_numbers(real, real[::-1] + random.normal(0, 0.2, real.shape), 3, 40, QUICK)
    for name in ("precision", "recall", "coverage"):
        assert close[name].low <= close[name].high <= 1, "most halves are better than their mean"  # type: ignore[operator]
    same, _ = distribution_numbers(real, real, 3, 40, QUICK)
    assert same["frechet"].value == pytest.approx(0, abs=1e-9)
    assert same["kernel"].value <= 0
    assert [same[name].value for name in ("precision", "recall", "coverage")] == [1, 1, 1]
    assert same["density"].value >= found["density"].value


def test_kernel_distances_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    real, made = random.normal(size=(23, 4)), random.normal(1.0, 1.0, size=(17, 4))
    whole = fid.kernel_distance(real, made)
    monkeypatch.setattr(fid, "CHUNK", 50)
    assert fid.kernel_distance(real, made) == pytest.approx(whole, rel=1e-12)


def test_four_scores_of_one_computation() -> None:
    """What is shared between them is what each would be alone."""
    from gesso.evaluate.intervals import equal_size_estimate
    from gesso.evaluate.neighbours import neighbour_scores

    random = np.random.default_rng(0)
    real, made = random.normal(size=(30, 2)), random.normal(0.5, 1.0, size=(30, 2))
    found, _ = distribution_numbers(real, made, 3, 20, QUICK)
    alone = equal_size_estimate(
        lambda a, b: neighbour_scores(a, b, 3).recall, real, made, size=20, paired=True, resamples=50, lowest=0.0
    )
    assert found["recall"].value == alone.value
    assert found["recall"].low == alone.interval.low


def test_small_sets() -> None:
    random = np.random.default_rng(0)
    real, made = random.normal(size=(8, 3)), random.normal(size=(8, 3))
    few, missing = distribution_numbers(real, made, 5, 3, QUICK)
    assert few["frechet"].low is None and few["frechet"].note
    assert "5-th nearest" in missing["precision"]
    some, missing = distribution_numbers(real, made, 5, 8, QUICK)
    assert some["frechet"].low is not None
    assert some["precision"].low is None and some["precision"].note and not missing
    assert distribution_numbers(real, made, 5, 1, QUICK)[0] == {}
    assert HALVES <= 100


# ------------------------------------------------------------------------------------------------------------- styles


class Gap(nn.Module):
    """Mean absolute difference, over the mask."""

    name = "gap"

    def forward(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> Tensor:
        apart = (first - second).abs().mean(1) / 2
        share = torch.ones_like(apart) if mask is None else mask.to(apart.dtype)
        return (apart * share).sum((1, 2)) / share.sum((1, 2))


def flat(*levels: int) -> np.ndarray:
    return np.array(levels, np.uint8)[:, None, None, None] + np.zeros((1, 12, 12, 3), np.uint8)


def test_styles_by_hand() -> None:
    styles = StyleMeasuring(Gap(), TWO.names)
    label = np.zeros((12, 12), np.int64)
    label[:, 6:] = 1
    for own in (100, 110):
        results = flat(51, 102)
        results[:, :, 6:] = 0
        styles.add_results(results, label)
        styles.add_reconstruction(flat(100)[0], flat(own)[0], flat(151, 151))
    found = styles.styled(QUICK)
    assert found.numbers["diversity"].value == pytest.approx(0.1)
    assert found.classes == {"ground": pytest.approx(0.2, rel=1e-5), "thing": 0}
    assert found.numbers["style_l1"].value == pytest.approx(5 / 255)
    assert found.numbers["style_distance"].value == pytest.approx(5 / 255, rel=1e-5)
    assert found.numbers["random_style_distance"].value == pytest.approx(51 / 255, rel=1e-5)
    assert found.numbers["style_l1"].low is not None


def test_styles_of_one_layout_and_without_a_distance() -> None:
    styles = StyleMeasuring(Gap(), TWO.names)
    styles.add_results(flat(51, 102), np.zeros((12, 12), np.int64))
    found = styles.styled(QUICK)
    assert found.numbers["diversity"].value == pytest.approx(0.2)
    assert found.numbers["diversity"].low is None and found.numbers["diversity"].note
    assert found.classes == {"ground": pytest.approx(0.2, rel=1e-5)}
    blind = StyleMeasuring(None, TWO.names)
    blind.add_results(flat(51, 102), None)
    blind.add_reconstruction(flat(100)[0], flat(110)[0], flat(151, 151))
    assert set(blind.styled(QUICK).numbers) == {"style_l1"}


def test_diversity_of_classes_is_in_the_table() -> None:
    measuring, example = Measuring(Tools(TWO, by_colour(TWO), sampling=QUICK)), square("a", 2)
    assert example.photograph is not None
    measuring.update([example], [example.photograph])
    styled = Styled({"diversity": Number(value=0.2)}, {"style_l1": "no encoder"}, {"thing": 0.4})
    row = measuring.row("row", "model", measuring.real, styled=styled)
    assert [one.diversity for one in row.classes] == [None, 0.4]
    assert row.numbers["diversity"].value == 0.2
    assert row.missing["style_l1"] == "no encoder"


def test_each_picture_is_computed_once() -> None:
    class Counting(nn.Module):
        calls = 0

        def forward(self, images: Tensor) -> list[Tensor]:
            Counting.calls += len(images)
            return [images, images[:, :, ::2, ::2] ** 2]

    plain, quick = FeatureDistance(Counting(), "x"), FeatureDistance(Remembering(Counting()), "x")
    first, second = torch.rand(3, 3, 8, 8), torch.rand(3, 3, 8, 8)
    mask = torch.ones(3, 8, 8, dtype=torch.bool)
    for where in (None, mask):
        expected = plain(first, second, where)
        before = Counting.calls
        assert torch.equal(quick(first, second, where), expected)
    assert Counting.calls == before, "the second time nothing was computed"


# ----------------------------------------------------------------------------------------------- the measuring stick

BLURS = (0.7, 1.5, 3.0)
STICK = Path(__file__).parents[1] / "benchmarks" / "measuring_stick.py"


def spoilt(examples: list[Example], space: LabelSpace) -> dict[str, list[np.ndarray]]:
    photographs = [example.photograph for example in examples]
    blurred = {f"blur {sigma}": [ndimage.gaussian_filter(p, (sigma, sigma, 0)) for p in photographs] for sigma in BLURS}
    half = len(photographs) // 2
    return {
        "real": photographs,  # type: ignore[dict-item]
        **blurred,
        "shuffled": photographs[half:] + photographs[:half],  # type: ignore[dict-item]
        "colours": [colourise(e.label, space) for e in examples],  # type: ignore[arg-type]
    }


SETS, ALIKE = ("frechet", "kernel"), ("l1", "psnr", "ssim")


def goodness(row: Row, name: str) -> float:
    return row.numbers[name].value * (1 if COLUMNS[name].better == "higher" else -1)


@pytest.mark.usefixtures("one_thread")
def test_the_stick_ranks_as_a_person_would() -> None:
    """Real photographs first in every column of quality; then blur by blur; label colours and other scenes' photographs far off.

    Other scenes' photographs are photographs: to distances between sets they are as good as real, to all else they are wrong.
    What takes a segmenter is in `benchmarks/measuring_stick.py`, and in the slow test below.
    """
    examples, space = toy_examples(16, (48, 96)), toy.space()
    tools = Tools(extractor=random_features(), repetition=repetition, sampling=QUICK)
    measuring = {name: Measuring(tools) for name in ("real", *spoilt(examples, space))}
    for name, pictures in spoilt(examples, space).items():
        measuring[name].update(examples, pictures)
    rows = {name: one.row(name, "pictures", measuring["real"].real) for name, one in measuring.items()}
    quality = [name for name in rows["real"].numbers if COLUMNS[name].better]
    assert set(quality) == {*SETS, *ALIKE, "precision", "recall", "density", "coverage", "repetition"}
    for name in quality:
        assert all(goodness(rows["real"], name) >= goodness(row, name) for row in rows.values()), name
    worst = f"blur {BLURS[-1]}"
    for name in (*SETS, *ALIKE):
        order = [goodness(rows[row], name) for row in ("real", *(f"blur {sigma}" for sigma in BLURS))]
        assert order == sorted(order, reverse=True), (name, order)
        assert goodness(rows["colours"], name) < goodness(rows[worst], name), name
    for name in ALIKE:
        assert goodness(rows["shuffled"], name) < goodness(rows[worst], name), name
    assert rows["shuffled"].numbers["frechet"].value == pytest.approx(0, abs=1e-6)


def of_numbers(**levels: tuple[float, float, float] | float) -> list[Row]:
    """Rows with one number each: a value with its interval, or alone."""
    spans = {name: (one if isinstance(one, tuple) else (one, None, None)) for name, one in levels.items()}
    return [
        Row(name=name, kind="pictures", numbers={"l1": Number(value=value, low=low, high=high)})
        for name, (value, low, high) in spans.items()
    ]


@pytest.mark.parametrize(
    ("rows", "wrong", "alike"),
    [
        ({"a": 0.0, "b": (0.1, 0.08, 0.12), "c": (0.2, 0.18, 0.22)}, 0, 0),
        ({"a": 0.0, "b": (0.1, 0.08, 0.15), "c": (0.2, 0.14, 0.22)}, 0, 1),
        ({"a": 0.0, "b": (0.2, 0.14, 0.22), "c": (0.1, 0.08, 0.15)}, 0, 1),
        ({"a": 0.0, "b": (0.2, 0.18, 0.22), "c": (0.1, 0.08, 0.12)}, 1, 0),
        ({"a": (0.1, 0.0, 0.2), "b": (0.1, 0.0, 0.2), "c": (0.2, 0.1, 0.3)}, 1, 2),
        ({"a": 0.1, "b": 0.0}, 1, 0),
        ({"a": 0.1, "b": 0.1}, 1, 1),
    ],
)
def test_the_stick_knows_its_intervals(rows: dict[str, Any], wrong: int, alike: int) -> None:
    """An order may be chance where intervals overlap; only ends must be told apart."""
    stick = runpy.run_path(str(STICK))
    found = stick["steps"](of_numbers(**rows), "l1", strict=True)
    assert tuple(map(len, found)) == (wrong, alike), found
    assert len(stick["steps"](of_numbers(**rows), "l1", strict=False)[0]) == (wrong and int(wrong > alike))


def test_the_stick_counts_what_was_measured() -> None:
    row = Row(name="o", kind="oracle", numbers={name: Number(value=0) for name in ("l1", "ssim", "diversity")})
    assert runpy.run_path(str(STICK))["ranked"](row) == ["l1", "ssim"]


@pytest.mark.slow
def test_the_whole_stick_ranks_as_a_person_would(tmp_path: Path) -> None:
    """The benchmark on toy scenes, with a segmenter that is trained for it."""
    toy.write(tmp_path / "scenes", 120, height=64, width=128, seed=11)
    words = [STICK, tmp_path / "scenes", tmp_path / "stick", "--size", "64x128", "--segmenter-steps", "400"]
    cache = {**os.environ, "GESSO_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, env=cache, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "columns that were measured rank as a person would" in " ".join(done.stdout.split())
