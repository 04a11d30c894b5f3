"""`gesso styles`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Progress

from gesso.cli.common import Data, DataFlags, say_components
from gesso.errors import ConfigError, ModelFileError

if TYPE_CHECKING:
    from torch import Tensor

    from gesso.checkpoints import Model
    from gesso.data.dataset import SemanticDataset
    from gesso.model_info import ModelInfo


def styles(
    model: Path,
    data: Path | None = None,
    *,
    split: str = "train",
    modes: int = 10,
    minimum_area: int | None = None,
    classes: str = "",
    seed: int = 0,
    sheet: Path | None = None,
    out: Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    flags: Data = None,
) -> None:
    """Find the styles that a training set holds and store them in the model file; without DATA, say which it holds.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso, trained with features.
    data: Path
        Folder of a dataset with photographs, best the one that the model was trained on.
    split: str
        Part of DATA.
    modes: int
        Styles per class at most.
    minimum_area: int
        Pixels that an object must have to count; by default more than 1/64 of the picture, as published.
    classes: str
        Only these classes, as car,road; by default all.
    seed: int
        Of K-means.
    sheet: Path
        Also draw the styles: a PNG, rows are classes, columns styles.
    out: Path
        Write another model file instead of changing MODEL.
    limit: int
        Only the first so many photographs.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    """
    from gesso.checkpoints import load_model, save_model
    from gesso.devices import choose_device
    from gesso.synthesis.styles import find_styles, refuse_less_than_one, refuse_whole, require_encoder

    console = Console()
    flags = flags or DataFlags()
    search = data is not None or flags != DataFlags()
    target = out or model
    _refuse_flags(search, sheet, out, limit)
    _refuse_places(model, sheet, out)
    refuse_less_than_one(modes, minimum_area)
    loaded = load_model(model, choose_device(device) if search else "cpu")
    info, found = loaded.info, loaded.styles
    refuse_whole(info)
    if search:
        require_encoder(loaded)
        photographs = open_photographs(loaded, data, flags, split, limit)
        _refuse_overwriting([path for path in (sheet, out) if path], data, flags, split)
        say_components(photographs, console)
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("encoding objects", total=len(photographs))
            info, found = find_styles(
                loaded,
                photographs,
                modes=modes,
                minimum_area=minimum_area,
                seed=seed,
                only=[name.strip() for name in classes.split(",")] if classes else [],
                origin=f"{data or flags.images}, {split}",
                progress=lambda done, _: bar.update(task, completed=done),
            )
        save_model(target, loaded.networks, info, found)
    elif not found:
        raise ModelFileError(f"{model} holds no styles yet: find them with gesso styles {model} --data DATASET.")
    _tell(info, found, console)
    if search:
        console.print(f"They are in {target}.", soft_wrap=True)
    if sheet:
        _draw(info, found, sheet)
        console.print(f"Their picture is {sheet}.", soft_wrap=True)


def _refuse_flags(search: bool, sheet: Path | None, out: Path | None, limit: int | None) -> None:
    if out and not search:
        raise ConfigError(f"--out {out} is for styles that are found now: say in which photographs, with --data.")
    if sheet and sheet.suffix.lower() != ".png":
        raise ConfigError(f"--sheet {sheet} is drawn as PNG: name a file that ends in .png.")
    if out and out.suffix.lower() != ".safetensors":
        raise ConfigError(f"--out {out} is a model file: name a file that ends in .safetensors.")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} leaves no photograph: give at least 1.")


def _refuse_places(model: Path, sheet: Path | None, out: Path | None) -> None:
    """What cannot be written, or not beside each other, is said before the photographs are encoded."""
    for flag, path in (("--sheet", sheet), ("--out", out)):
        if path and path.is_dir():
            raise ConfigError(f"{flag} {path} is a folder: name a file in it.")
        if path and not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
            raise ConfigError(f"{flag} {path}: there is no folder {path.parent} that can be written to. Make it first.")
    for other in (model, out):
        if sheet and other and sheet.resolve() == other.resolve():
            raise ConfigError(f"--sheet {sheet} is the model file {other}: name another file.")


def open_photographs(
    model: Model, data: Path | None, flags: DataFlags, split: str, limit: int | None = None
) -> SemanticDataset:
    """Photographs with layouts, sized as in training, without augmentation; with instance maps where the style needs them."""
    from gesso.cli.generate import open_layouts
    from gesso.data.dataset import SemanticDataset
    from gesso.synthesis.synthesizer import Synthesizer

    layouts = open_layouts(Synthesizer(model), data, flags, split, limit, original_size=False)
    instances = model.info.style is not None and model.info.style.regions == "instance"
    return SemanticDataset(layouts.samples, layouts.space, layouts.preprocessing, training=False, instances=instances)


def _refuse_overwriting(targets: Sequence[Path], data: Path | None, flags: DataFlags, split: str) -> None:
    """Of the data nothing is overwritten, whether this split, these files or others are read."""
    from gesso.cli.generate import find_listing

    listing = find_listing(data, flags, split, pictures=False)
    files = [file for s in listing.samples for file in (s.label, s.source, s.instance, s.image) if file]
    files += [file for file in (listing.root / "labels.json", Path(flags.space or "")) if file.is_file()]
    inputs = {file.resolve() for file in files}
    for target in targets:
        place = target.resolve()
        within = data is not None and target.exists() and data.resolve() in place.parent.parents
        if within or place in inputs:
            raise ConfigError(f"{target} would overwrite a file of the data: name another file.")


def _tell(info: ModelInfo, found: Mapping[str, Tensor], console: Console) -> None:
    """A table of the styles, and how they were found."""
    from rich.table import Table

    from gesso.synthesis.style_pictures import clustered_classes

    assert info.label_space is not None
    table = Table("class", "objects", "modes", "objects per mode")
    for index in clustered_classes(found):
        sizes = [int(size) for size in found.get(f"{index}.sizes", ())]
        numbers = str(sum(sizes)) if sizes else "?"
        modes = len(found[f"{index}.centres"])
        table.add_row(info.label_space.names[index], numbers, str(modes), " ".join(map(str, sizes)))
    console.print(table)
    if info.styles is not None:
        if not any(key.endswith(".sizes") for key in found):  # imported: how they were found is not known
            console.print(f"Taken from {info.styles.origin or 'an unnamed file'}.", soft_wrap=True, markup=False)
            return
        area = info.styles.minimum_area
        limit = "more than 1/64 of the picture" if area is None else f"at least {area} pixels"
        console.print(
            f"Found in {info.styles.origin or 'unnamed photographs'}, among objects of {limit}; at most {info.styles.modes} "
            f"modes per class, seed {info.styles.seed}.",
            soft_wrap=True,
            markup=False,
        )


def _draw(info: ModelInfo, found: Mapping[str, Tensor], sheet: Path) -> None:
    from gesso.checkpoints import write_safely
    from gesso.synthesis.style_pictures import style_sheet

    assert info.label_space is not None
    page = style_sheet(found, info.label_space)
    write_safely(sheet, lambda temporary: page.save(temporary, "PNG"))
