"""The protocol of an evaluation: everything that must be the same for two numbers to be comparable."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from gesso.cli.common import DataFlags, installed_versions, samples_digest
from gesso.cli.evaluation_data import RESAMPLING, Reference
from gesso.cli.evaluation_settings import STYLING, EvaluationSettings
from gesso.cli.evaluation_tools import Instruments

if TYPE_CHECKING:
    from rich.console import Console

    from gesso.evaluate.results import Protocol, Row
    from gesso.labels import LabelSpace

PACKAGES = ("gesso", "torch", "numpy", "scipy", "scikit-image", "pillow", "transformers")  # that numbers depend on


def protocol_of(
    reference: Reference,
    instruments: Instruments,
    settings: EvaluationSettings,
    data: Path | None,
    flags: DataFlags,
    oracle: Row,
    console: Console | None = None,
) -> Protocol:
    """Everything that must be the same for two numbers to be comparable."""
    from gesso.evaluate.results import Protocol, SegmenterFacts
    from gesso.evaluate.segmentation import HEADLINE

    samples, space, tools = reference.layouts.samples, reference.space, instruments.tools
    scores = {name: round(oracle.numbers[name].value, 4) for name in HEADLINE if name in oracle.numbers}
    segmenter = SegmenterFacts(name=instruments.name, origin=instruments.origin, scores=scores)
    root = next(path for path in (data, flags.labels, flags.sources, flags.images) if path is not None)
    measured = tools.extractor is not None
    diverse = instruments.distance is not None and settings.diversity_layouts > 0
    return Protocol(
        data="/".join(root.resolve().parts[-2:]),
        split=reference.split,
        samples=len(samples),
        samples_digest=samples_digest(samples, "samples", console),
        label_space=space.name if space else "",
        classes=space.names if space else (),
        classes_digest=meaning(space) if space else "",
        size=reference.size,
        size_rule=json.dumps(reference.layouts.preprocessing.model_dump(mode="json"), sort_keys=True),
        resampling=RESAMPLING,
        segmenter=segmenter if instruments.name else None,
        extractor=tools.extractor.name if tools.extractor else "",
        distance=instruments.distance.name if instruments.distance else "",
        band=settings.band,
        neighbours=settings.neighbours,
        set_size=(settings.set_size or len(samples)) if measured else 0,
        diversity=(min(settings.diversity_layouts, len(samples)), settings.diversity_results) if diverse else (0, 0),
        style=STYLING[settings.style],
        seed=settings.seed,
        resamples=settings.resamples,
        versions=installed_versions(PACKAGES),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def meaning(space: LabelSpace) -> str:
    """Of the classes: which values of files they are, which are ignored, which are countable."""
    said = space.model_dump(mode="json")
    meaning = [[(c["name"], c["values"], c["thing"]) for c in said["classes"]], said["ignore"]]
    return sha256(json.dumps(meaning).encode()).hexdigest()[:16]
