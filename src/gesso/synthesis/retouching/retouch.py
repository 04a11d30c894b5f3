"""The photo round trip: photograph -> layout -> edits -> picture of the edited layout -> what changed, back in the photograph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gesso.errors import ConfigError, LabelError
from gesso.labels import ByteArray
from gesso.synthesis.editing import Layout
from gesso.synthesis.inputs import refuse_seed
from gesso.synthesis.retouching.composing import MARGIN, Bools
from gesso.synthesis.retouching.drawing import find_changes, put_in, render, retouch_record
from gesso.synthesis.retouching.edits import Edit, Edited, apply_edits, parse_edits
from gesso.synthesis.retouching.original import Original, read_original
from gesso.synthesis.retouching.sizes import Size, resized, resized_map
from gesso.synthesis.retouching.wearing import dressed
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer

NOTHING = "The edits change nothing that is seen in the photograph, so there is nothing to put into it."
EVERYTHING = (
    "The edits change every pixel: nothing of the photograph would stay, and there is no border to match. Edit less, or render "
    "the whole picture: --whole, or whole=True."
)


@dataclass(frozen=True, eq=False)
class Retouched:
    """A photograph after edits.

    Attributes:
        picture: (H, W, 3) uint8, of the photograph's size.
        touched: (H, W) bool: where it may differ from the photograph; elsewhere it is the photograph's own, to the byte.
        edited: (H, W) bool: where the layout or a style was changed; a part of `touched`.
        layout: The edited layout, at the size that the model works at.
        style: What its objects look like.
        generated: (h, w, 3) uint8: the model's picture of it.
        record: What its PNG carries.
        notes: What people should know: one sentence each.
    """

    picture: ByteArray
    touched: Bools
    edited: Bools
    layout: Layout
    style: Style
    generated: ByteArray
    record: Mapping[str, Any]
    notes: tuple[str, ...] = ()


def retouch(
    photograph: npt.ArrayLike,
    model: Synthesizer,
    edits: Sequence[Edit | Mapping[str, Any]] | Layout,
    *,
    segmenter: PhotoSegmenter | None = None,
    labels: npt.ArrayLike | None = None,
    instances: npt.ArrayLike | None = None,
    style: Style | None = None,
    margin: int | None = None,
    whole: bool = False,
    seed: int = 0,
    size: Size | None = None,
) -> Retouched:
    """Edit a photograph through its labels; only what changed is generated, all else stays the photograph's own bytes.

    Args:
        photograph: (H, W, 3) uint8, of any size.
        model: What `gesso.load` returned; a model of layouts.
        edits: Such as [{"remove": "car:3"}, {"move": "car:1", "by": [40, 0]}, {"restyle": "road", "to": 2}]; or the edited
            layout, made with the functions of `gesso.synthesis.editing` of the layout that `read_original` found.
        segmenter: Reads what is in the photograph; give it, or `labels`.
        labels: (H, W) class indices of the photograph.
        instances: (H, W) object ids; without them connected components of the countable classes.
        style: Choices on top of the photograph's own style.
        margin: Pixels of the photograph by which the edited region is grown; 6 % of its height by default.
        whole: Return the model's picture of the whole edited layout instead.
        seed: Of what nothing else decides.
        size: (h, w) that the model works at; that of its training by default.

    Raises:
        ConfigError: Edits are not understood or change nothing, or everything; segmenter and labels contradict each other.
        LabelError: An object or class is unknown or cannot be edited so, or maps do not fit the photograph.
        StyleError: The model has not the style that was chosen.
        DataError: The photograph is no (H, W, 3) uint8.
    """
    original = read_original(photograph, model, segmenter, labels, instances, size)
    return retouch_original(original, edits, style=style, margin=margin, whole=whole, seed=seed)


def retouch_original(
    original: Original,
    edits: Sequence[Edit | Mapping[str, Any]] | Layout,
    *,
    style: Style | None = None,
    margin: int | None = None,
    whole: bool = False,
    seed: int = 0,
) -> Retouched:
    """As `retouch`, of a photograph that was read before."""
    refuse_seed(seed)
    if margin is not None and not 0 <= margin <= max(original.size):
        raise ConfigError(
            f"The margin is {margin} pixels; allowed are 0 to {max(original.size)}, the longer side of the photograph."
        )
    synth, margin = original.synth, round(MARGIN * original.size[0]) if margin is None else margin
    edited = _edited(original, edits)
    chosen = dressed(original, edited, seed)
    chosen = chosen if style is None else chosen.updated(style)
    changes = find_changes(original, edited, chosen, seed)
    if not changes.cells.any():
        raise ConfigError(f"{NOTHING} gesso retouch --list shows the objects.")
    if changes.cells.all() and not whole:
        raise ConfigError(EVERYTHING)
    generated = render(original, edited.layout, chosen, seed)
    if whole:
        picture, touched = resized(generated, original.size), np.ones(original.size, dtype=bool)
    else:
        plain = render(original, original.layout, original.style, seed)
        picture, touched = put_in(original, edited, changes, generated, plain, margin)
    record = {
        **synth.record(seed, chosen if synth.style_kind else None),
        "retouched": retouch_record(original, _written(edits), margin, whole),
    }
    seen = resized_map(changes.cells, original.size).astype(bool)
    return Retouched(picture, touched, seen, edited.layout, chosen, generated, record, original.notes)


def _edited(original: Original, edits: Sequence[Edit | Mapping[str, Any]] | Layout) -> Edited:
    if not isinstance(edits, Layout):
        return apply_edits(original.layout, parse_edits(edits), original.size)
    if edits.shape != original.layout.shape or edits.space.names != original.layout.space.names:
        raise LabelError(
            f"The edited layout is {edits.shape} in {edits.space.name}, that of the photograph {original.layout.shape} in "
            f"{original.layout.space.name}: edit the layout that read_original found."
        )
    return Edited(edits)


def _written(edits: Sequence[Edit | Mapping[str, Any]] | Layout) -> Any:
    """Edits as the record says them."""
    if isinstance(edits, Layout):
        return "a layout"
    return [edit.model_dump(mode="json", exclude_defaults=True) for edit in parse_edits(edits)]
