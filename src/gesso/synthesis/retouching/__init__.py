"""Editing photographs through their labels: the photo round trip.

    retouch           a photograph and edits -> the photograph with what changed, all else its own bytes
    read_original     the first half: a photograph -> its layout and the style of everything in it
    retouch_original  the second half, as often as wanted
    edits             what can be done, as text and as data

`composing` puts what changed into the photograph, with the colours that `membrane` computes.
"""

from __future__ import annotations

from gesso.synthesis.retouching.edits import (
    Edit,
    Move,
    Paste,
    Relabel,
    Remove,
    Restyle,
    load_edits,
    parse_edit,
    parse_edits,
)
from gesso.synthesis.retouching.naming import find_objects, object_name
from gesso.synthesis.retouching.original import Original, read_original
from gesso.synthesis.retouching.retouch import Retouched, retouch, retouch_original

__all__ = [
    "Edit",
    "Move",
    "Original",
    "Paste",
    "Relabel",
    "Remove",
    "Restyle",
    "Retouched",
    "find_objects",
    "load_edits",
    "object_name",
    "parse_edit",
    "parse_edits",
    "read_original",
    "retouch",
    "retouch_original",
]
