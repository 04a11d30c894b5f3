"""`gesso ablate` from the data to the report: trainings, one evaluation, styles found afterwards, a study."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gesso.checkpoints import read_info
from gesso.evaluate.ablation_results import Ablation
from gesso.evaluate.results import Evaluation
from support import Ended, refused
from training_script import TINY, as_flags

pytestmark = pytest.mark.usefixtures("one_thread")
BARE = [
    "--segmenter",
    "none",
    "--features",
    "none",
    "--distance",
    "none",
    "--diversity-layouts",
    "0",
    "--resamples",
    "20",
]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GESSO_CACHE", str(tmp_path / "cache"))


@pytest.mark.long
def ablate(gesso: Any, data: Path, out: Path, *words: object) -> Ended:
    settings = {name: value for name, value in TINY.items() if not name.startswith("epochs")}
    common = ["--preset", "pix2pixhd-small", "--device", "cpu", "--out", out, *as_flags(settings)]
    ended: Ended = gesso("ablate", "pix2pixhd", data, *common, *words)
    return ended


def test_from_data_to_report(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--only", "boundary", "--steps", 4, "--slices", 2]
    trained = ablate(gesso, tiny_dataset, out, *words, "--train-only")
    assert trained.code == 0, trained.err
    assert "4 runs of 4 steps each" in trained.out
    assert not (out / "evaluation").exists()
    whole = ablate(gesso, tiny_dataset, out, *words, *BARE, "--study", "boundary-with,boundary-without")
    assert whole.code == 0, whole.err
    assert "round" not in whole.out, "what was trained is not trained again"
    assert "without beside with: " in whole.out

    found = Ablation.read(out / "ablation.json")
    measured = Evaluation.read(out / found.evaluation)
    (comparison,) = found.comparisons
    assert [variant.rows for variant in comparison.variants] == [
        ("baseline-seed0", "baseline-seed1"),
        ("boundary-without-seed0", "boundary-without-seed1"),
    ]
    rows = {row.name: row for row in measured.rows}
    assert list(rows) == ["real photographs", *(name for variant in comparison.variants for name in variant.rows)]
    first, second = comparison.variants
    assert {run.steps for variant in comparison.variants for run in variant.runs} == {4}
    for variant in comparison.variants:
        assert variant.numbers["l1"].seeds == tuple(rows[name].numbers["l1"].value for name in variant.rows)
        assert {"psnr", "ssim", "repetition"} <= variant.numbers.keys()
    slices = [[(s.step, s.rounds, s.split, s.samples) for s in run.stretches] for run in found.runs.values()]
    assert slices == [[(0, 2, "train", 7), (2, 2, "train", 7)]] * 4
    assert len({s.digest for run in found.runs.values() for s in run.stretches}) == 1
    assert (
        "All trainings had 4 steps: one after another, in 2 rounds in which all took turns."
        in (out / "ablation.html").read_text()
    )
    gap = second.numbers["l1"].mean - first.numbers["l1"].mean
    assert second.numbers["l1"].difference == pytest.approx(gap)
    assert read_info(out / "runs/boundary-without-seed1/model.safetensors").semantics.boundary is False
    assert read_info(out / "runs/baseline-seed1/model.safetensors").semantics.boundary is True
    assert "</html>" in (out / "ablation.html").read_text()

    other = ablate(gesso, tiny_dataset, out, "--only", "boundary,discriminators", "--steps", 4, "--lr", 0.01)
    refused(other, "baseline-seed0 was begun with other settings: lr (0.0002 there, 0.01 now)")
    assert len(list((out / "runs").iterdir())) == 4, "nothing was trained for the other group"

    study = json.loads((out / "study" / "study.json").read_text())
    assert set(study["methods"]) == {"boundary-with", "boundary-without"}
    again = ablate(gesso, tiny_dataset, out, *words, *BARE, "--study", "boundary-with,boundary-without")
    assert again.code == 0, again.err
    assert "is there already, and is left as it is" in again.out
    assert Ablation.read(out / "ablation.json") == found


@pytest.mark.long
def test_styles_are_found_after_one_training(gesso: Any, tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--only", "modes", "--steps", 2, "--slices", 1, "--seeds", 1, "--encoder-width", 2, "--encoder-downs", 1]
    ended = ablate(gesso, tiny_dataset, out, *words, *BARE)
    assert ended.code == 0, ended.err
    assert [path.name for path in (out / "runs").iterdir()] == ["features-objects-seed0"]
    styled = sorted((out / "runs" / "features-objects-seed0" / "styled").iterdir())
    assert [path.name for path in styled] == [f"step-00000002-{k}.safetensors" for k in (1, 10, 20, 5)]
    assert [info.modes for info in (read_info(path).styles for path in styled) if info] == [1, 10, 20, 5]
    (comparison,) = Ablation.read(out / "ablation.json").comparisons
    assert [v.rows for v in comparison.variants] == [(f"features-objects-modes{k}-seed0",) for k in (10, 1, 5, 20)]
    assert len({run.name for v in comparison.variants for run in v.runs}) == 1


@pytest.mark.long
def test_a_run_that_failed_is_left_out(
    gesso: Any, tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gesso.cli import ablation_training
    from gesso.errors import TrainingError

    original = ablation_training.train_slice

    def sometimes(order: Any, console: Any = None) -> Any:
        if order.run.name == "boundary-without-seed1":
            raise TrainingError("The loss G became infinite.")
        return original(order, console)

    monkeypatch.setattr(ablation_training, "train_slice", sometimes)
    out = tmp_path / "out"
    ended = ablate(gesso, tiny_dataset, out, "--only", "boundary", "--steps", 2, "--slices", 1, *BARE)
    assert ended.code == 0, ended.err
    assert "boundary-without-seed1 could not be trained to its end: The loss G became infinite." in ended.out
    found = Ablation.read(out / "ablation.json").comparisons[0].variants[1]
    assert found.rows == ("boundary-without-seed0",)
    assert found.runs[1].failed == "The loss G became infinite."
    verdicts = {summary.verdict for summary in found.numbers.values()}
    assert verdicts <= {"inconclusive", None}, "one seed is left, which says nothing about chance"
    assert "The loss G became infinite." in (out / "ablation.html").read_text()
