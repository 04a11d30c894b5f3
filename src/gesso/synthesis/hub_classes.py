"""Classes of a network from elsewhere, among those of a label space: by their names, and by a file for names that differ."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from gesso.errors import ConfigError
from gesso.labels import LabelSpace


def normalised(name: str) -> str:
    """A class's name without case, blanks and punctuation."""
    return re.sub(r"[\W_]+", "", name.lower())


def synonyms(name: str) -> list[str]:
    """Everything that a class goes by, normalised: "car, auto" is as a whole, "car" and "auto"."""
    return [normalised(part) for part in (name, *re.split("[,;]", name))]


def match_classes(
    names: Mapping[int, str], space: LabelSpace, mapping: Mapping[str, str | None], origin: str = "the mapping"
) -> dict[int, int]:
    """Which class of a label space each class of a network is.

    A class of the network may have several names, "car, auto, automobile"; the first that the label space knows is taken.

    Args:
        names: Of the network's classes, by their number.
        space: The label space.
        mapping: The network's class -> that of the label space, or None for none; decides over the names.
        origin: Of the mapping, named in errors.

    Returns:
        Index in the label space by number of the network's class; what it does not know is left out.

    Raises:
        ConfigError: The mapping names a class that is not there, or no class at all is known.
    """
    ours = {normalised(name): index for index, name in enumerate(space.names)}
    known = ((number, [ours[part] for part in synonyms(name) if part in ours]) for number, name in names.items())
    found = {number: indices[0] for number, indices in known if indices}
    for theirs, wanted in mapping.items():
        numbers = [number for number, name in names.items() if normalised(theirs) in synonyms(name)]
        if not numbers:
            raise ConfigError(
                f"{origin}: the segmenter has no class {theirs!r}; it has {', '.join(sorted(names.values()))}."
            )
        if wanted is not None and normalised(wanted) not in ours:
            raise ConfigError(f"{origin}: {space.name} has no class {wanted!r}; it has {', '.join(space.names)}.")
        for number in numbers:
            found.pop(number, None)
            if wanted is not None:
                found[number] = ours[normalised(wanted)]
    if not found:
        raise ConfigError(
            f"No class of the segmenter is one of {space.name}: it knows {', '.join(sorted(names.values())[:40])}; the label "
            f"space {', '.join(space.names)}. Give a JSON file of the segmenter's classes and ours with --segmenter-classes: "
            '{"their class": "our class"}.'
        )
    return found


def read_mapping(path: Path) -> dict[str, str | None]:
    """A JSON file {"their class": "our class" or null}.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it is no JSON ({error})"
        raise ConfigError(f"The classes of the segmenter {path} cannot be read: {reason}.") from None
    if not isinstance(document, dict) or not all(v is None or isinstance(v, str) for v in document.values()):
        raise ConfigError(
            f"{path} must hold one JSON object, the segmenter's classes to ours: "
            '{"person": "pedestrian", "rider": null}.'
        )
    return document
