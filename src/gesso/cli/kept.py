"""Photographs that an earlier run of `gesso generate` finished: how they are recognised, so that only the rest is made."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.cli.style_flags import Shot, StyleFlags

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.synthesis.synthesizer import Synthesizer

PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
KEY = "request"  # in the record of a PNG


class Requests:
    """What is asked of each photograph, as 16 hexadecimal digits that its PNG carries.

    Over everything that the photograph depends on: weights, layout files, seed, style, sizes, runtime, version of gesso. Devices
    and threads are left out: they round differently, and a run may go on elsewhere.

    Attributes:
        common: What holds for all photographs, as JSON.
    """

    def __init__(
        self, synth: Synthesizer, layouts: SemanticDataset, styles: StyleFlags, others: dict[str, Any] | None = None
    ) -> None:
        """Describe what is asked.

        Args:
            synth: The model.
            layouts: How they are read.
            styles: The flags about style.
            others: More settings that change photographs.
        """
        chosen = {**asdict(styles), "random_styles": styles.random_styles is not None, "steps": None}
        self._layouts, self._photographs = layouts, styles.style_from_photographs
        self._files = functools.lru_cache(maxsize=1024)(self._describe)  # every photograph of a layout asks
        space = layouts.space
        document = {
            "record": synth.record(),
            "styles": {key: value for key, value in chosen.items() if not isinstance(value, Path)},
            "files": [_digest(file) for file in styles.files],
            "preprocessing": layouts.preprocessing.model_dump(mode="json"),
            "instances": layouts.instances,
            "space": space.model_dump(mode="json") if space else None,
            **(others or {}),
        }
        self.common = json.dumps(document, sort_keys=True)

    def __call__(self, index: int, shot: Shot) -> str:
        """What is asked of one of the photographs of a layout.

        Raises:
            OSError: A file of the layout cannot be read.
        """
        text = json.dumps([self.common, self._files(index), shot.seed, shot.way])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _describe(self, index: int) -> str:
        sample = self._layouts.samples[index]
        files = {
            "label": sample.label,
            "source": sample.source,
            "instance": sample.instance if self._layouts.instances else None,
            "image": sample.image if self._photographs else None,
        }
        read = {key: _digest(file) for key, file in files.items() if file}
        return json.dumps([read, sample.half, sample.photo])


def _digest(file: Path) -> str:
    """Over a file's content; of a file that is not there over nothing, for whoever reads it says so better."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:32] if file.is_file() else ""


def is_finished(path: Path, request: str) -> bool:
    """Whether a PNG is there, whole, and was made as is asked now."""
    from PIL import Image

    from gesso.errors import StyleError
    from gesso.synthesis.synthesizer import read_record

    try:
        with path.open("rb") as file:
            file.seek(-len(PNG_END), os.SEEK_END)
            whole = file.read() == PNG_END
        record = read_record(path) if whole else None
    except (OSError, ValueError, SyntaxError, StyleError, Image.DecompressionBombError):
        return False
    return record is not None and record.get(KEY) == request
