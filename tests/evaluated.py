"""A made-up evaluation with pictures, as `gesso evaluate` writes one: toy scenes, and "models" that spoil them more and more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from gesso.data import toy
from gesso.evaluate.faithfulness import Faithfulness, FaithfulnessTally, faithfulness, faithfulness_picture
from gesso.evaluate.results import ClassRow, Evaluation, LayoutScore, Number, Protocol, Row, SegmenterFacts
from gesso.evaluate.segmentation import HEADLINE, ConfusionMatrix, intervals, scores
from gesso.labels import colourise

SPACE = toy.space()
MISTAKEN = {"car": "road", "person": "building", "sign": "pole", "tree": "building"}
MODELS = {"pix2pix": 3.0, "pix2pixHD": 1.5, "SPADE": 0.9}  # name: how much it spoils


@dataclass(frozen=True)
class Spoilt:
    """One picture of a model, and what a segmenter finds in it."""

    picture: np.ndarray
    measured: Faithfulness
    found: np.ndarray


def evaluation(
    folder: Path, models: Mapping[str, float] = MODELS, count: int = 6, size: tuple[int, int] = (32, 64)
) -> Evaluation:
    """Write OUT/evaluation.json and pictures beside it; 3 layouts or more."""
    scenes = [toy.scene(5, number, *size) for number in range(count)]
    names = [f"scene{number:03}" for number in range(count)]
    for scene, name in zip(scenes, names, strict=True):
        _save(folder / "pictures/_layouts" / f"{name}.png", colourise(scene.label, SPACE))
        _save(folder / "pictures/_real" / f"{name}.png", scene.image)
    rows = [
        _row(folder, "real photographs", 0.3, scenes, names),
        *(_row(folder, *m, scenes, names) for m in models.items()),
    ]
    found = Evaluation(protocol=protocol(rows[0], count, size), rows=tuple(rows))
    found.save(folder / "evaluation.json")
    return found


def protocol(oracle: Row, count: int, size: tuple[int, int]) -> Protocol:
    own = {name: oracle.numbers[name].value for name in HEADLINE}
    return Protocol(
        data="data/toy",
        split="val",
        samples=count,
        samples_digest="3f9a01c2",
        label_space=SPACE.name,
        classes=SPACE.names,
        classes_digest="77aa01",
        size=size,
        size_rule='{"resize": "scale_width", "width": 128}',
        resampling="photographs bicubic, label maps nearest neighbour",
        segmenter=SegmenterFacts(
            name="compact U-Net trained on toy train 1a2b3c4d", origin="toy train, 80 photographs", scores=own
        ),
        extractor="compact U-Net trained on toy train 1a2b3c4d, 256 features",
        distance="feature distance of compact U-Net trained on toy train 1a2b3c4d",
        set_size=count,
        diversity=(8, 4),
        versions={"gesso": "0.1.0", "torch": "2.11.0"},
        created="2026-01-02T03:04:05+00:00",
    )


def _row(folder: Path, name: str, spoil: float, scenes: Sequence[toy.Scene], names: Sequence[str]) -> Row:
    random = np.random.default_rng(round(100 * spoil))
    matrix, tally, layouts = ConfusionMatrix(len(SPACE)), FaithfulnessTally(SPACE.names), []
    oracle = name == "real photographs"
    for number, (scene, layout) in enumerate(zip(scenes, names, strict=True)):
        made = _spoil(scene, spoil * (0.6 + 0.2 * (number % 5)), random)
        matrix.update(scene.label, made.found)
        tally.update(made.measured)
        difference = np.abs(made.picture.astype(float) - scene.image).mean() / 255
        layouts.append(
            LayoutScore(name=layout, agreement=1 - made.measured.wrong.mean(), l1=0.0 if oracle else difference)
        )
        if not oracle:
            _save(folder / "pictures" / name / f"{layout}.png", made.picture)
            _save(
                folder / "pictures/_wrong" / name / f"{layout}.png",
                faithfulness_picture(made.picture, made.measured.wrong),
            )
    return Row(
        name=name,
        kind="oracle" if oracle else "model",
        facts={}
        if oracle
        else {
            "hash": f"{round(spoil * 1e6):08x}",
            "recipe": name.lower(),
            "preset": f"{name.lower()}-small",
            "steps": 12000,
        },
        numbers=_numbers(matrix, tally, spoil, oracle),
        missing={"diversity": "real photographs have one result per layout"}
        if oracle
        else {"style_l1": "the model has no encoder"},
        classes=_classes(matrix, tally, None if oracle else spoil),
        confusion=tuple(tuple(int(c) for c in line) for line in matrix.counts),
        layouts=tuple(layouts),
        pictures="" if oracle else f"pictures/{name}",
        seconds={"segmentation": 2.1, "features": 1.4}
        if oracle
        else {"synthesis": 21.5, "segmentation": 2.2, "features": 1.5},
    )


def _spoil(scene: toy.Scene, spoil: float, random: np.random.Generator) -> Spoilt:
    blurred = Image.fromarray(scene.image).filter(ImageFilter.GaussianBlur(spoil))
    noise = random.normal(0, 6 * spoil, scene.image.shape)
    picture = np.clip(np.asarray(blurred) + noise, 0, 255).astype(np.uint8)
    found = np.asarray(
        Image.fromarray(scene.label).filter(ImageFilter.ModeFilter(1 + 2 * round(1 + spoil))), dtype=np.int32
    ).copy()
    for one, other in MISTAKEN.items():
        wrong = (found == SPACE.index(one)) & (random.random(found.shape[1]) < 0.13 * spoil)
        found[wrong] = SPACE.index(other)
    return Spoilt(picture, faithfulness(scene.label.astype(np.int32), found, SPACE, scene.instance), found)


def _numbers(matrix: ConfusionMatrix, tally: FaithfulnessTally, spoil: float, oracle: bool) -> dict[str, Number]:
    values, ends, total = scores(matrix, SPACE.names), intervals(matrix, 100), tally.total()
    found = {name: Number(value=getattr(values, name), low=ends[name].low, high=ends[name].high) for name in HEADLINE}
    made_up = {
        "object_agreement": (total.object_agreement or 0, 0.02),
        "band_agreement": (total.band_agreement or 0, 0.01),
        "frechet": (0.0 if oracle else 41.3 * spoil, 0.1 * 41 * spoil),
        "kernel": (-0.0123 if oracle else 9.87 * spoil, 0.9 * spoil),
        "precision": (1.0 if oracle else 0.8 / (1 + 0.3 * spoil), 0.04),
        "recall": (1.0 if oracle else 0.6 / (1 + spoil), 0.05),
        "density": (1.01 if oracle else 0.9 / spoil, 0.1),
        "coverage": (1.0 if oracle else 0.9 / (1 + 0.4 * spoil), 0.03),
        "l1": (0.0 if oracle else 0.07 * (1 + spoil), 0.004),
        "psnr": (float("inf") if oracle else 24 - 2 * spoil, 0.4),
        "ssim": (1.0 if oracle else 0.7 - 0.1 * spoil, 0.011),
        "repetition": (0.0 if oracle else 0.04 * spoil, 0.01),
    }
    if not oracle:
        made_up["diversity"] = (0.05 * spoil, 0.01)
    for name, (value, half) in made_up.items():
        flat = oracle or not np.isfinite(value)
        found[name] = Number(value=value, low=None if flat else value - half, high=None if flat else value + half)
    return found


def _classes(matrix: ConfusionMatrix, tally: FaithfulnessTally, diverse: float | None) -> tuple[ClassRow, ...]:
    both = zip(scores(matrix, SPACE.names).classes, tally.classes(), strict=True)
    return tuple(
        ClassRow(
            name=score.name,
            pixels=score.labelled,
            accuracy=score.accuracy,
            iou=score.iou,
            band_agreement=faithful.band_agreement,
            objects=faithful.objects,
            object_agreement=faithful.object_agreement,
            diversity=None if diverse is None or not score.labelled else 0.02 * diverse * (1 + len(score.name) / 10),
        )
        for score, faithful in both
    )


def _save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
