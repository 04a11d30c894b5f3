"""The label spaces that ship with gesso, and how a name or a file becomes one.

Each is a JSON file in `label_spaces/`, in the form that `LabelSpace.save` writes; its `source` says where names, file values
and colours were taken from, which of them are ours, and what could not be checked. A file added to the folder is published.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path
from typing import Final

from gesso.errors import LabelError
from gesso.labels import LabelSpace

_FOLDER: Final = resources.files("gesso.data") / "label_spaces"

PUBLISHED: Final[tuple[str, ...]] = tuple(
    sorted(entry.name.removesuffix(".json") for entry in _FOLDER.iterdir() if entry.name.endswith(".json"))
)
"""Names of the shipped label spaces, sorted."""


@cache
def published(name: str) -> LabelSpace:
    """A label space that ships with gesso, read once.

    Raises:
        LabelError: No shipped space has that name.
    """
    if name not in PUBLISHED:
        raise LabelError(
            f"There is no published label space {name!r}. Published: {', '.join(PUBLISHED)}. Take one of these, "
            "or give the path of a label space in JSON."
        )
    with resources.as_file(_FOLDER / f"{name}.json") as path:
        return LabelSpace.load(path)


def resolve(name_or_path: str | Path) -> LabelSpace:
    """The label space meant by `--space`: a published name, or else the path of a JSON file such as `labels.json`.

    A published name wins over a file called just like it.

    Raises:
        LabelError: Neither a published name nor a file, or the file is not a label space.
    """
    if str(name_or_path) in PUBLISHED:
        return published(str(name_or_path))
    path = Path(name_or_path)
    if path.is_dir():
        raise LabelError(
            f"{path} is a folder, not a label space; give the JSON file in it, such as {path / 'labels.json'}."
        )
    if not path.exists():
        raise LabelError(
            f"{str(name_or_path)!r} is neither a published label space nor a file. Published: {', '.join(PUBLISHED)}. "
            "Take one of these, or give the path of a label space in JSON such as labels.json."
        )
    return LabelSpace.load(path)
