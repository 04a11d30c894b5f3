"""`--class-map`: which old class a new one takes over from, on the command line or in a file."""

from __future__ import annotations

from pathlib import Path

import yaml

from gesso.errors import ConfigError

FILES = (".yaml", ".yml", ".json")


def read_class_map(text: str) -> dict[str, str]:
    """New class -> old class, of "new=old,new2=old2" or of a YAML or JSON file.

    Raises:
        ConfigError: It is neither, or a new class comes twice.
    """
    path = Path(text)
    if path.suffix.lower() in FILES:
        return _read_file(path)
    found: dict[str, str] = {}
    for pair in text.split(","):
        new, equals, old = (part.strip() for part in pair.partition("="))
        if not (new and equals and old):
            raise ConfigError(
                f"--class-map {text!r}: {pair.strip()!r} is no new=old. Write van=car,bus=car, or name a file that ends in "
                f"{', '.join(FILES)}, as class names with a comma or an equals sign need."
            )
        if new in found:
            raise ConfigError(f"--class-map {text!r} says twice what {new!r} takes over from; a class has one origin.")
        found[new] = old
    return found


def _read_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
        table, document = yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read --class-map {path}: {' '.join(str(error).split())}.") from None
    if not isinstance(document, dict) or not all(isinstance(name, str) for pair in document.items() for name in pair):
        raise ConfigError(
            f"--class-map {path} is no table from new to old classes: write lines such as 'van: car', with quotes around names "
            "that YAML takes for something else, such as 'no' or numbers."
        )
    assert isinstance(table, yaml.MappingNode)  # as the document is a table
    new = [name.value for name, _ in table.value]  # of a table that names one twice, the document has the last alone
    if len(document) < len(new):
        twice = next(name for name in new if new.count(name) > 1)
        raise ConfigError(f"--class-map {path} says twice what {twice!r} takes over from; a class has one origin.")
    return document
