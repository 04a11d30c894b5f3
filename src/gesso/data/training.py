"""What a training learns from: datasets for learning and validation with the meaning of their tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from torch.utils.data import Dataset

from gesso.labels import LabelSpace, Semantics

Direction = Literal["AtoB", "BtoA"]
Input = Literal["auto", "image", "colours", "gray"]


@dataclass(frozen=True)
class TrainingData:
    """What a run learns from.

    Attributes:
        training: Items as `gesso.data.dataset.SemanticDataset` gives them for keys (index, epoch).
        validation: The same for held-out samples; None if there are none.
        space: The classes of the input; None where it is a picture.
        semantics: What the networks' input is made of.
        preprocessing: Kept in the model file.
        origin: Where the data came from, kept in config.json.
        target_space: The classes whose colours the targets are painted in; None where they are photographs.
        direction: "BtoA" where input and target were exchanged.
        input: What of the data the networks see, as `--input` names it.
    """

    training: Dataset[dict[str, Any]]
    validation: Dataset[dict[str, Any]] | None
    space: LabelSpace | None
    semantics: Semantics
    preprocessing: Mapping[str, Any]
    origin: Mapping[str, Any]
    target_space: LabelSpace | None = None
    direction: Direction = "AtoB"
    input: Input = "auto"

    def facts(self) -> dict[str, Any]:
        """What must stay the same for a run to go on: digests of the samples' names and of the label space, and what is input.

        Where pictures are the input also a digest of the first one: names alone would not tell it from its target.

        Raises:
            OSError: The first picture cannot be read any more.
        """
        samples = getattr(self.training, "samples", ())
        names = [sample.name for sample in samples]
        source = samples[0].source if samples else None
        meaning = self.space or self.target_space
        space = meaning.model_dump_json() if meaning else ""
        return {
            "samples": len(self.training),  # type: ignore[arg-type]
            "names": hashlib.sha256("\n".join(names).encode()).hexdigest()[:16],
            "label_space": hashlib.sha256(space.encode()).hexdigest()[:16],
            "semantics": self.semantics.model_dump(mode="json"),
            "direction": self.direction,
            "input": self.input,
            **({"first_input": hashlib.sha256(source.read_bytes()).hexdigest()[:16]} if source else {}),
        }

    def read_as(self) -> dict[str, Any]:
        """What was taken for the input, as `gesso.model_info.ModelInfo` keeps it: direction, input, side_by_side."""
        samples = getattr(self.training, "samples", ())
        halves = any(sample.half for sample in samples)
        return {"direction": self.direction, "input": self.input, "side_by_side": halves}

    def shrunk(self, shrink: int, multiple: int) -> TrainingData:
        """The same data at 1/shrink of the size, for networks that take sizes in multiples of `multiple`."""
        if shrink == 1:
            return self
        changes = {"shrink": shrink, "multiple": multiple}
        training, validation = (
            cast(Any, d) and cast(Any, d).shrunk(**changes) for d in (self.training, self.validation)
        )
        return replace(self, training=training, validation=validation, preprocessing={**self.preprocessing, **changes})
