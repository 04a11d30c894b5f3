"""What a training looks like on the way: sheets of fixed samples, scores of held-out photographs, and the best model so far.

The best model is a function of the seed like everything else: it is chosen at steps that do not depend on when a run was stopped,
what it was chosen by is in the saved state, and the file itself has a second name beside the states until none of them needs it.
So a run that was killed after a better model was written, but before the state, goes back to the earlier one with the state.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso import checkpoints
from gesso.batches import with_semantics
from gesso.compiling import as_they_are
from gesso.errors import ModelFileError
from gesso.model_info import Score
from gesso.pictures import Picture, layout_picture, to_uint8
from gesso.session import Session, Stage, model_info, same_file
from gesso.train_log import RunLog

FIXED_SAMPLES = 6  # that are shown
MEASURED = 24  # of those held out, that are measured
PYRAMID = 4  # sizes: the picture, its half, quarter and eighth
BEST = "best.safetensors"


def show_samples(session: Session, log: RunLog, step: int, counts: bool) -> None:
    """Draw fixed samples in evaluation mode, measure how far they are from photographs, and keep the model if it is the best.

    Args:
        session: What is trained.
        log: Gets sheets of layout | generated | real, and the scores.
        step: Steps taken.
        counts: Whether the model may become the best one.

    Raises:
        TrainingError: The disk is full or refuses.
    """
    several, by = bool(session.stage.model), session.config.best_by
    networks = session.for_synthesis(step)
    modes = {name: network.training for name, network in networks.items()}
    for network in networks.values():
        network.eval()
    scores: dict[str, float] = {}
    for split, dataset in (("train", session.data.training), ("val", session.data.validation)):
        if dataset is None:
            continue
        measured, shown = _chosen(dataset, MEASURED if split == "val" else FIXED_SAMPLES)
        rows: dict[int, list[Picture]] = {}
        found: list[dict[str, float]] = []
        for index in measured:
            row, gaps = _show_one(session, networks, dataset[index])
            if index in shown:
                rows[index] = row
            found.append(gaps)
        log.pictures(step, split, list(rows.values()), ["layout", "generated", "real"][: len(rows[shown[0]])])
        scores |= {f"{split}_{name}": float(np.mean([gaps[name] for gaps in found])) for name in found[0]}
    for name, network in networks.items():
        network.train(modes[name])
    # Scores of different phases are of other networks, mostly at other sizes: what compares them has to know.
    log.scores(step, {**scores, "phase": session.stage.number} if scores and several else scores, best=by != "none")
    if counts:
        _keep_if_best(session, log, step, scores)


def _chosen(dataset: Any, most: int) -> tuple[list[int], list[int]]:
    """Samples to measure, and those of them to show: evenly spread over all that have a photograph, if any has."""
    there = photographs(dataset)
    among = there or list(range(len(dataset)))
    measured = [among[i] for i in _spread(len(among), most)]
    return measured, [measured[i] for i in _spread(len(measured), FIXED_SAMPLES)]


def photographs(dataset: Any) -> list[int]:
    """Indices of the samples that have a photograph; all of a dataset that does not say."""
    samples = getattr(dataset, "samples", None)
    return [i for i in range(len(dataset)) if samples is None or samples[i].target]


def _spread(count: int, most: int) -> list[int]:
    """Indices of at most so many samples, evenly spread, the first and the last among them."""
    return [int(i) for i in np.linspace(0, count - 1, min(most, count))]


def _show_one(
    session: Session, networks: Mapping[str, nn.Module], item: dict[str, Any]
) -> tuple[list[Picture], dict[str, float]]:
    tensors = {k: v.unsqueeze(0) for k, v in item.items() if isinstance(v, Tensor)}
    batch = with_semantics(session.fabric.to_device({**tensors, "name": [item["name"]]}), session.data.semantics)
    with torch.no_grad(), as_they_are(session.config.compile):
        fake = session.recipe.synthesise(session.config, networks, batch)[0]
    row = [layout_picture(item, session.data.space), to_uint8(fake)]
    if "image" not in item:
        return row, {}
    fake = fake.cpu().float()
    gaps = {"l1": (fake - item["image"]).abs().mean().item() / 2}
    if session.config.best_by == "val_pyramid":
        gaps["pyramid"] = pyramid_gap(fake, item["image"])
    return [*row, to_uint8(item["image"])], gaps


def pyramid_gap(fake: Tensor, real: Tensor) -> float:
    """Mean absolute difference, 0..1, averaged over a picture and its halves, quarters and eighths; (3, H, W) in [-1, 1] each.

    Texture that lies a pixel beside that of the photograph counts at full size alone, wrong colours at every size.
    """
    gap, found = (fake - real).unsqueeze(0), []
    for _ in range(PYRAMID):
        found.append(gap.abs().mean().item() / 2)
        if min(gap.shape[-2:]) < 2:
            break
        gap = F.avg_pool2d(gap, 2)
    return sum(found) / len(found)


# -------------------------------------------------------------------------------------------------------- the best model


def _keep_if_best(session: Session, log: RunLog, step: int, scores: Mapping[str, float]) -> None:
    by = session.config.best_by
    if (value := scores.get(by)) is None or not math.isfinite(value):
        return
    before, found = session.best, Score(by=by, value=value, step=step, phase=session.stage.number)
    if before and (before.by, before.phase) == (found.by, found.phase) and before.value <= value:
        return
    session.best = found
    info = model_info(session, step).model_copy(update={"best": found})
    networks = {name: network.state_dict() for name, network in session.for_synthesis(step).items()}
    best = session.run / BEST
    if told := styles_lost(best):
        log.say(told)
    checkpoints.save_model(best, networks, info)
    checkpoints.write_safely(_second_name(session.run, step), lambda temporary: same_file(best, temporary))
    log.note(step, f"{by} {value:.4f}, the best so far; its model is {best}")


def styles_lost(model: Path) -> str:
    """What to say before a model file is replaced into which gesso styles wrote; empty where there is nothing to say."""
    try:
        has_styles = checkpoints.read_info(model).styles
    except ModelFileError:
        return ""
    lost = f"The styles in {model.name} belong to its weights; training replaces both. Run gesso styles again."
    return lost if has_styles else ""


def best_in_next_phase(best: Score | None, stage: Stage, following: Stage) -> Score | None:
    """The score that the next phase goes on from: one of the phase before compares if its pictures are of the same size."""
    if best and best.phase == stage.number and stage.phase.shrink == following.phase.shrink:
        return best.model_copy(update={"phase": following.number})
    return best


def forget_best(run: Path) -> None:
    """Remove what another training left in a folder in which one begins: its best model, under all its names."""
    (run / BEST).unlink(missing_ok=True)
    forget_worse(run, ())


def restore_best(run: Path, best: Score | None, by: str) -> Score | None:
    """Let the file of the best model be the one that a state knows of, which may be an earlier one; its score.

    Args:
        run: The run folder.
        best: What the state that is gone on from says; None if there was none by then.
        by: The score that is asked for now; with "none" nothing is touched.
    """
    path = run / BEST
    if by == "none":
        return best
    if best is None:  # what is there was written by steps that are taken again
        path.unlink(missing_ok=True)
    elif _step_of(path) != best.step:
        if _step_of(kept := _second_name(run, best.step)) != best.step:  # removed or damaged by somebody
            path.unlink(missing_ok=True)
            return None  # the next one measured is the best again
        checkpoints.write_safely(path, lambda temporary: same_file(kept, temporary))
    return best


def forget_worse(run: Path, needed: Iterable[Score | None] | None) -> None:
    """Remove second names of models that no state goes back to; none of them where it is not known what states need."""
    if needed is None:
        return
    kept = {_second_name(run, score.step) for score in needed if score}
    for path in (run / "state").glob("best-*.safetensors"):
        if path not in kept:
            path.unlink()


def best_of_states(run: Path) -> list[Score | None] | None:
    """What each saved state of a run says of the best model by then; None where one of them cannot be read."""
    try:
        documents = [checkpoints.read_document(path) for path in checkpoints.states(run / "state")]
        return [Score.model_validate(found["best"]) if found.get("best") else None for found in documents]
    except (OSError, ValueError, TypeError):  # an older state that somebody damaged is no reason to end a training
        return None


def _second_name(run: Path, step: int) -> Path:
    return run / "state" / f"best-{step:08d}.safetensors"


def _step_of(path: Path) -> int | None:
    try:
        found = checkpoints.read_info(path).best
    except ModelFileError:
        return None
    return found.step if found else None
