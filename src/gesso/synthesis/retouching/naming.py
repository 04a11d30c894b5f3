"""What people call the objects of a layout: car:3, or car for all of a class."""

from __future__ import annotations

from gesso.errors import LabelError
from gesso.synthesis.editing import Layout, ObjectKey

LISTED = 12


def object_name(layout: Layout, key: ObjectKey) -> str:
    """What an object is called: its class, and the shortest number that means it there."""
    short = key.id - 1000 * key.class_index
    taken = any(layer.key == (key.class_index, short) for layer in layout.layers)
    number = short if 0 < short < 1000 and not taken else key.id
    return f"{layout.class_name(key)}:{number}"


def find_objects(layout: Layout, name: str) -> tuple[int, list[ObjectKey] | None]:
    """What a name means: the index of its class, and its object; None for everything of the class.

    Args:
        layout: Where it is looked for.
        name: "car:3", by the id in the instance map, or by the number of an object that gesso numbered itself (class * 1000 +
            3); or "car".

    Raises:
        LabelError: There is no such object or class in the layout.
    """
    names = layout.space.names
    if name.strip() in names:
        return names.index(name.strip()), None
    owner, _, number = (part.strip() for part in name.rpartition(":"))
    if owner not in names or not number.lstrip("-").isdigit():
        raise LabelError(
            f"{name!r} names nothing that can be edited: write CLASS:NUMBER, such as {_example(layout)}, or CLASS for everything "
            f"of it. The classes are {', '.join(names)}; --list shows the objects."
        )
    index = names.index(owner)
    there = {layer.key for layer in layout.layers}
    for id in (int(number), 1000 * index + int(number)):
        if ObjectKey(index, id) in there:
            return index, [ObjectKey(index, id)]
    same = [object_name(layout, key) for key in sorted(there) if key.class_index == index]
    if index not in layout.space.things:
        raise LabelError(f"{owner} is not countable, so that {name} is no object; {owner} alone is everything of it.")
    more = f" and {len(same) - LISTED} more" if len(same) > LISTED else ""
    found = f"of {owner} there is {', '.join(same[:LISTED])}{more}" if same else f"there is no {owner}"
    raise LabelError(f"There is no {name} in the photograph: {found}. --list shows all objects.")


def _example(layout: Layout) -> str:
    return object_name(layout, layout.layers[-1].key) if layout.layers else "car:1"
