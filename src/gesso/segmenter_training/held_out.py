"""How well a segmenter reads photographs that it did not learn from, and which those were."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import track

from gesso.data.dataset import SemanticDataset
from gesso.errors import DataError
from gesso.evaluate.segmentation import HEADLINE, ConfusionMatrix, scores
from gesso.pictures import to_uint8
from gesso.segmenter_training.photographs import Photographs, held_out_digest, held_out_name
from gesso.synthesis.segmenter import PhotoSegmenter, SegmenterInfo, TrainedSegmenter, save_segmenter


def scored(
    segmenter: TrainedSegmenter,
    validation: SemanticDataset | None,
    path: Path,
    console: Console | None = None,
    origin: str = "",
) -> TrainedSegmenter:
    """A segmenter whose scores are those on the held-out photographs at hand; its file is written anew where they were not.

    Args:
        segmenter: Trained, as its file has it.
        validation: The held-out photographs; where there are none, scores are left as they are.
        path: Its file; nobody else writes it meanwhile.
        console: Where progress is shown; None for silence.
        origin: What the photographs are called; the name of their folder when empty.

    Raises:
        DataError: A file cannot be read.
        TrainingError: The disk is full.
    """
    held_out, info = _photographs(validation), segmenter.info
    if validation is None or held_out is None or info is None:
        return segmenter
    wanted = _called(validation, origin, console)
    if _has(info, wanted):
        return segmenter
    name, digest = wanted
    found = info.scores if info.held_out_digest == digest else held_out_scores(segmenter, held_out, console)
    changed = {"scores": found, "held_out": len(held_out), "held_out_origin": name, "held_out_digest": digest}
    info = info.model_copy(update=changed)
    save_segmenter(path, segmenter.network, info)
    return TrainedSegmenter(segmenter.network, info, segmenter.device)


def up_to_date(
    segmenter: TrainedSegmenter, validation: SemanticDataset | None, console: Console | None = None, origin: str = ""
) -> bool:
    """Whether `scored` would leave a segmenter as it is."""
    if validation is None or segmenter.info is None or _photographs(validation) is None:
        return True
    return _has(segmenter.info, _called(validation, origin, console))


def _called(validation: SemanticDataset, origin: str, console: Console | None) -> tuple[str, str]:
    """Name and digest of held-out photographs."""
    return origin or held_out_name(validation), held_out_digest(validation, console)


def _has(info: SegmenterInfo, wanted: tuple[str, str]) -> bool:
    return (info.held_out_origin, info.held_out_digest) == wanted


def _photographs(validation: SemanticDataset | None) -> Photographs | None:
    try:
        return Photographs(validation) if validation is not None else None
    except DataError:
        return None  # layouts without photographs say nothing about a segmenter


def held_out_scores(
    segmenter: PhotoSegmenter, photographs: Photographs, console: Console | None = None
) -> dict[str, float]:
    """Headline scores of a segmenter on real photographs, 0..1, by name; none where every pixel is ignored."""
    matrix = ConfusionMatrix(len(photographs.space))
    quiet = console is None or not console.is_terminal
    numbers = range(len(photographs))
    for index in track(numbers, "scoring the segmenter", console=console, transient=True, disable=quiet):
        image, label = photographs[index]
        matrix.update(label.numpy(), segmenter(to_uint8(image)), f"photograph {index + 1}")
    if not matrix.counts.any():
        return {}
    found = scores(matrix, photographs.space.names)
    return {name: getattr(found, name) for name in HEADLINE}
