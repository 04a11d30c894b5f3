"""The warning that training and validation part: simulated curves on which it speaks, and on which it must not."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gesso.recipes.monitors import Parting
from gesso.train_log import RunLog

MEASUREMENTS = 100


def curves(kind: str, noise: float, lasting: float, rng: np.random.Generator) -> list[dict[str, float]]:
    """Distances of photographs learned from, which fall all the time, and of held-out ones, which fall, stay or rise."""
    x = np.arange(MEASUREMENTS)
    learned = (0.06 + 0.1 * np.exp(-x / 15)) * np.exp(-x / 200)
    held_out = 0.12 + 0.06 * np.exp(-x / 8)
    held_out = held_out * {"stays": 1.0, "falls": np.exp(-x / 400)}.get(kind, 1.0)
    if kind == "rises":
        held_out = held_out + 0.0005 * np.maximum(0, x - 20)
    if kind == "both rise":
        learned, held_out = learned[::-1], held_out + 0.0005 * x
    shocks, errors = rng.normal(size=MEASUREMENTS), np.zeros(MEASUREMENTS)
    for step in range(MEASUREMENTS):
        before = errors[step - 1] if step else 0.0
        errors[step] = lasting * before + (1 - lasting**2) ** 0.5 * shocks[step]
    held_out = held_out * (1 + noise * errors)
    learned = learned * (1 + noise * rng.normal(size=MEASUREMENTS))
    return [{"train_l1": float(a), "val_l1": float(b)} for a, b in zip(learned, held_out, strict=True)]


def spoken(lines: list[dict[str, float]]) -> list[tuple[int, str]]:
    parting = Parting()
    return [(step, said) for step, line in enumerate(lines) if (said := parting.see(500 * step, line))]


def share(kind: str, noise: float, lasting: float, trainings: int) -> float:
    rng = np.random.default_rng([trainings, round(100 * noise), round(10 * lasting)])
    return sum(bool(spoken(curves(kind, noise, lasting, rng))) for _ in range(trainings)) / trainings


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.03])
def test_it_speaks_once_where_they_part(noise: float) -> None:
    ((when, said),) = spoken(curves("rises", noise, 0.5, np.random.default_rng(1)))
    assert 30 < when < 80
    for words in ("training and validation part", "best.safetensors", "--diffaugment", "--warp 1", "more photographs"):
        assert words in said


@pytest.mark.parametrize("kind", ["stays", "falls", "both rise"])
def test_it_is_silent_without_noise_where_nothing_parts(kind: str) -> None:
    assert not spoken(curves(kind, 0.0, 0.0, np.random.default_rng(0)))


def test_it_is_mostly_silent_on_noise() -> None:
    assert share("stays", 0.03, 0.0, 40) <= 0.05


@pytest.mark.long
@pytest.mark.parametrize(
    ("noise", "lasting", "most"),
    [(0.01, 0.0, 0.01), (0.01, 0.5, 0.02), (0.03, 0.0, 0.02), (0.03, 0.5, 0.06), (0.01, 0.78, 0.03), (0.01, 0.9, 0.08)],
)
def test_false_alarms_are_as_rare_as_documented(noise: float, lasting: float, most: float) -> None:
    assert share("stays", noise, lasting, 200) <= most


@pytest.mark.long
@pytest.mark.parametrize("noise", [0.01, 0.03])
def test_a_rise_is_hardly_ever_missed(noise: float) -> None:
    assert share("rises", noise, 0.5, 100) >= 0.99


def test_other_measurements_and_few_of_them_say_nothing() -> None:
    parting = Parting()
    assert not any(parting.see(step, {"train_l1": 0.1 / (step + 1)}) for step in range(99))
    falling = [{"train_l1": 1.0 / (n + 1), "val_l1": 1.0 + n} for n in range(15)]
    assert not spoken(falling)


def test_a_resumed_run_has_not_forgotten(tmp_path: Path) -> None:
    lines = curves("rises", 0.01, 0.0, np.random.default_rng(2))
    ((when, _),) = spoken(lines)

    def said(first: int, last: int) -> str:
        console = Console(record=True, width=400, file=io.StringIO())
        log = RunLog(tmp_path, first, 1000, console)
        for step in range(first + 1, last + 1):
            log.scores(step, lines[step])
        log.close()
        return console.export_text()

    assert "part." not in said(-1, when - 1)
    assert f"step {when}: training and validation part." in said(when - 1, when + 3)
    assert "part." not in said(when + 3, MEASUREMENTS - 1)
    logged = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in logged if "val_l1" in line] == list(range(MEASUREMENTS))
    (noted,) = [line for line in logged if "said" in line]
    assert noted["step"] == when and noted["said"].startswith("training and validation part.")


def test_every_phase_begins_anew_also_when_resumed(tmp_path: Path) -> None:
    """At the border to larger pictures both distances jump; a run that goes on there must not compare across it."""
    lines = curves("rises", 0.01, 0.0, np.random.default_rng(2))
    ((when, _),) = spoken(lines)
    border = when - 1
    phased = [{**line, "phase": int(step >= border)} for step, line in enumerate(lines)]
    assert not spoken(phased[: when + 3])
    twice = [{**line, "phase": phase} for phase in (0, 1) for line in lines]
    assert [step for step, _ in spoken(twice)] == [when, MEASUREMENTS + when]
    console = Console(record=True, width=400, file=io.StringIO())
    for first, last in ((0, border + 1), (border + 1, when + 3)):
        log = RunLog(tmp_path, first - 1, 1000, console)
        for step in range(first, last):
            log.scores(step, phased[step])
        log.close()
    assert "part." not in console.export_text()


def test_without_a_best_model_none_is_recommended() -> None:
    parting = Parting()
    lines = curves("rises", 0.0, 0.0, np.random.default_rng(0))
    (said,) = filter(None, [parting.see(step, line, best=False) for step, line in enumerate(lines)])
    assert "best.safetensors" not in said and "Begin again with --diffaugment" in said
