"""Folders of photographs -> a study folder: `study.json`, `pictures/ID.png` and an empty `study.sqlite`."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from gesso.errors import ConfigError, DataError
from gesso.study import folders as reading
from gesso.study.blinding import encode, read_pixels, spoil
from gesso.study.design import Study, picture_file
from gesso.study.settings import Settings, resolve
from gesso.study.store import Store


def prepare(
    out: Path,
    methods: Mapping[str, Path],
    real: Path | None = None,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Study, list[str]]:
    """Write a study folder, whole or not at all.

    Args:
        out: The study folder; must not exist, or be empty.
        methods: Name -> folder of generated photographs. The same file names (up to the extension) must be in all folders.
        real: Folder of real photographs.
        settings: The protocol and its numbers.
        progress: Called with the number of pictures written and of all.

    Returns:
        The study, and remarks on what could tell the methods apart.

    Raises:
        ConfigError: Settings contradict each other or ask for more trials than there are pictures.
        DataError: Folders are missing, hold other names, other sizes, the same pictures, or something that is no picture.
    """
    settings = settings or Settings()
    _refuse_out(out)
    folders = reading.sides(methods, real, settings.protocol)
    files = {name: reading.collect(folder) for name, folder in folders.items()}
    scenes = reading.common_names(folders, files)
    size, remarks = reading.common_size(files, scenes, settings.protocol, settings.size)
    study = resolve(tuple(folders), scenes, size, settings)
    remarks += reading.compression(files)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        remarks += _write(temporary, study, files, progress)
        if out.is_dir():
            out.rmdir()
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return study, remarks


def _refuse_out(out: Path) -> None:
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise ConfigError(
            f"{out} exists already: a study is never overwritten, as it holds answers. Give another --out."
        )


def _write(folder: Path, study: Study, files: reading.Files, progress: Callable[[int, int], None]) -> list[str]:
    """Fill the study folder; what is the same in two methods is remarked, or refused where everything is."""
    (folder / "pictures").mkdir(parents=True)
    seen: dict[tuple[str, str], bytes] = {}
    for number, picture in enumerate(study.pictures):
        pixels = read_pixels(files[picture.method][picture.scene], study.size)
        if picture.spoilt:
            pixels = spoil(pixels, picture.id)
        else:
            seen[picture.method, picture.scene] = hashlib.sha256(pixels.tobytes()).digest()
        picture_file(folder, picture.id).write_bytes(encode(pixels))
        progress(number + 1, len(study.pictures))
    remarks = [remark for pair in combinations(study.methods, 2) if (remark := _same(pair, study.scenes, seen))]
    (folder / "study.json").write_text(study.model_dump_json(indent=1) + "\n", encoding="utf-8")
    Store.create(folder / "study.sqlite")
    return remarks


def _same(pair: tuple[str, str], scenes: Sequence[str], seen: Mapping[tuple[str, str], bytes]) -> str:
    same = [scene for scene in scenes if seen[pair[0], scene] == seen[pair[1], scene]]
    if len(same) == len(scenes):
        raise DataError(f"{pair[0]} and {pair[1]} hold the same pictures, pixel by pixel: there is nothing to compare.")
    if same:
        return f"{len(same)} pictures of {pair[0]} and {pair[1]} are the same, such as {same[0]}: answers there are chance."
    return ""
