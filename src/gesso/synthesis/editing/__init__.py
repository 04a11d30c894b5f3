"""Editing layouts object by object.

    Layout            a ground of regions under a stack of objects; `.label` and `.instance` are what a Synthesizer takes
    edits             pure functions: a layout in, a new layout out (and the key of what they made)
    History           undo and redo

A layout is taken apart once (`Layout.of`): what each object hides is filled by what surrounds it. Every edit after that only
changes the list of objects, so nothing is lost by it: what leaves uncovers what was behind, and what comes back restores it.

`layout` is the structure, `peeling` takes a flat layout apart, `masks` holds the geometry.
"""

from __future__ import annotations

from gesso.synthesis.editing.edits import (
    add_object,
    duplicate_object,
    lift_region,
    merge_objects,
    move_object,
    paste_object,
    relabel_object,
    remove_object,
    reorder_object,
    split_object,
)
from gesso.synthesis.editing.history import History
from gesso.synthesis.editing.layout import Layout, ObjectKey, ObjectLayer, ObjectSummary
from gesso.synthesis.editing.masks import Mask

__all__ = [
    "History",
    "Layout",
    "Mask",
    "ObjectKey",
    "ObjectLayer",
    "ObjectSummary",
    "add_object",
    "duplicate_object",
    "lift_region",
    "merge_objects",
    "move_object",
    "paste_object",
    "relabel_object",
    "remove_object",
    "reorder_object",
    "split_object",
]
