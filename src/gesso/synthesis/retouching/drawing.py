"""The two halves of a retouch: what the model is asked for, and what is put into the photograph.

The first needs the model, the second only the processor: who serves several people keeps them apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from gesso.labels import ByteArray
from gesso.synthesis.editing import Layout
from gesso.synthesis.retouching.composing import Bools, compose
from gesso.synthesis.retouching.edits import Edited
from gesso.synthesis.retouching.matching import find_changed, make_patch
from gesso.synthesis.retouching.original import Original
from gesso.synthesis.retouching.wearing import vectors
from gesso.synthesis.style import Style
from gesso.synthesis.style_space import Vectors


@dataclass(frozen=True, eq=False)
class Changes:
    """Where an edited layout shows something else.

    Attributes:
        cells: (h, w): the pixels that were edited.
        restyled: (h, w): those of them at which the same thing is to look otherwise.
        worn: What objects wore, and what they wear.
    """

    cells: Bools
    restyled: Bools
    worn: tuple[Vectors, Vectors]


def find_changes(original: Original, edited: Edited, style: Style, seed: int = 0) -> Changes:
    """Where a photograph's edited layout, in this style, shows something else than the photograph."""
    worn = vectors(original, edited, style, seed)
    return Changes(*find_changed(original.layout, edited.layout, *worn), worn)


def render(original: Original, layout: Layout, style: Style, seed: int = 0) -> ByteArray:
    """The model's picture (h, w, 3) of a layout of the photograph; gray where the photograph is."""
    synth = original.synth
    picture = synth(layout.label, layout.instance, style if synth.style_kind else None, seed)
    if not original.gray:
        return picture
    luminance = np.rint(picture @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
    return np.repeat(luminance[..., None], 3, axis=2)


def put_in(
    original: Original, edited: Edited, changes: Changes, generated: ByteArray, plain: ByteArray, margin: int
) -> tuple[ByteArray, Bools]:
    """The photograph with what changed.

    Args:
        original: The photograph.
        edited: Its layout after edits.
        changes: What `find_changes` found.
        generated: (h, w, 3): the model's picture of the edited layout.
        plain: (h, w, 3): its picture of the layout before the edits, in the photograph's style.
        margin: Pixels of the photograph by which what changed is grown.

    Returns:
        The picture (H, W, 3), and where (H, W) it may differ from the photograph; elsewhere it is the same to the byte.
    """
    patch = make_patch(original, edited, generated, plain, (changes.cells, changes.restyled), changes.worn)
    return compose(original.photograph, patch, margin)


def retouch_record(original: Original, edits: Any, margin: int, whole: bool = False) -> dict[str, Any]:
    """What was done to which photograph, for the PNG; `edits` are JSON, or what they are called."""
    layout = hashlib.sha256(original.layout.label.tobytes() + original.layout.instance.tobytes()).hexdigest()
    shape = repr(original.photograph.shape).encode()
    return {
        "photograph": hashlib.sha256(shape + original.photograph.tobytes()).hexdigest(),
        "layout": layout,
        "segmenter": original.segmenter.hash if original.segmenter else None,
        "edits": edits,
        "size": list(original.layout.shape),
        "margin": margin,
        "whole": whole,
    }
