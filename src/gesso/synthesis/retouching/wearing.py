"""What the objects of an edited layout look like: as in the photograph, unless something else is wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gesso.errors import StyleError
from gesso.synthesis.editing import ObjectKey
from gesso.synthesis.retouching.edits import Edited, Looks
from gesso.synthesis.retouching.original import Original
from gesso.synthesis.style import Style, Vector, class_index
from gesso.synthesis.style_space import StyleSpace, Vectors, fitted, shortest
from gesso.synthesis.synthesizer import read_record, read_style


def dressed(original: Original, edited: Edited, seed: int = 0) -> Style:
    """The style of a photograph after edits.

    What is still there keeps the features that it had, also where it was moved to. Copies take those of what they are copies of;
    what came new, those of its class in the photograph (their mean), and where that has none, a mode that the seed draws.

    Raises:
        StyleError: What was chosen does not exist, or objects have no style of their own.
    """
    synth, space = original.synth, original.synth.style_space
    if space is None:
        if edited.looks:
            synth.require_style()
        return original.style if synth.style_kind else Style()
    maps = (edited.layout.label, edited.layout.instance)
    objects = synth.objects(*maps)
    style = original.means.updated(fitted(original.style, objects, space))
    copied = {
        space.name(copy): original.style.instances[space.name(source)]
        for copy, source in edited.copies.items()
        if space.name(source) in original.style.instances and copy in objects
    }
    style = style.updated(Style(instances=copied))
    for what, looks in edited.looks:
        style = style.updated(_chosen(what, looks, edited, space, synth.hash))
    synth.resolve(*maps, style, seed)  # refuses what the model does not know
    return style


def vectors(original: Original, edited: Edited, style: Style, seed: int) -> tuple[Vectors, Vectors]:
    """What the objects of the photograph, and of its edited layout, wear; both empty where objects have no style."""
    synth = original.synth
    if synth.style_space is None:
        return {}, {}
    before = synth.resolve(original.layout.label, original.layout.instance, original.style, seed)
    return before, synth.resolve(edited.layout.label, edited.layout.instance, style, seed)


def _chosen(what: str | ObjectKey, looks: Looks, edited: Edited, space: StyleSpace, model: str) -> Style:
    """The style in which a class (by name) or an object has certain looks."""
    if isinstance(what, str):
        choice = (
            _from_file(Path(looks), class_index(what, space.labels), space, model) if isinstance(looks, str) else looks
        )
        return Style.parse({"classes": {what: choice}}, f"style of {what}")
    layer = edited.layout.find(what)
    key = (what.class_index, layer.written_id)
    choice = _from_file(Path(looks), key[0], space, model) if isinstance(looks, str) else looks
    return Style.parse({"instances": {space.name(key): choice}}, f"style of {space.name(key)}")


def _from_file(path: Path, index: int, space: StyleSpace, model: str) -> int | Vector:
    """What a style in JSON, or the style of a generated picture, says of a class: the choice for it, or the mean of its objects.

    Raises:
        StyleError: It says nothing of the class, or belongs to another model.
    """
    style = read_style(path)
    record = read_record(path) if path.suffix.lower() == ".png" else None
    if record and record.get("model") != model:
        raise StyleError(
            f"{path} was made by another model: its style means other things here. Take a picture of this one."
        )
    name = space.class_name(index)
    if name in style.classes:
        return style.classes[name]
    mine = [choice for key, choice in style.instances.items() if key.rpartition(":")[0] == name]
    if not mine:
        named = sorted({*style.classes, *(key.rpartition(":")[0] for key in style.instances)} - {""})
        raise StyleError(
            f"{path} says nothing of {name}; it has {', '.join(named) or 'no choices'}. Give a mode or a vector instead."
        )
    return shortest(np.mean([space.vector(choice, index) for choice in mine], axis=0))
