"""`gesso generate`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from rich.console import Console

from gesso.cli.common import Data, DataFlags, open_listing, say_components, track
from gesso.errors import ConfigError, DataError, ModelFileError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.layouts import Listing
    from gesso.synthesis.synthesizer import Synthesizer

SHEET_ROWS = 16


def generate(
    model: Path,
    data: Path | None = None,
    *,
    out: Path = Path("generated"),
    split: str = "",
    seed: int = 0,
    batch: int = 1,
    original_size: bool = False,
    colour: bool = False,
    contact_sheet: bool = False,
    limit: int | None = None,
    device: str = "auto",
    flags: Data = None,
) -> None:
    """Turn a folder of layouts into photographs.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso.
    data: Path
        Folder of a dataset, folder of label maps, or one label map.
    out: Path
        Folder for the photographs, one PNG per layout.
    split: str
        Part of DATA; by default val, test or train, whichever is there first.
    seed: int
        Of what a layout leaves open.
    batch: int
        Layouts at a time; they must be of one size.
    original_size: bool
        Keep the layouts' own size instead of the size that the model was trained at.
    colour: bool
        Also write each layout in its classes' colours.
    contact_sheet: bool
        Also write contact-sheet.png: 16 layouts from all over the data, their photographs and, where there are, the real ones.
    limit: int
        Only the first so many layouts.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    """
    import numpy as np

    from gesso.pictures import layout_picture, sheet
    from gesso.synthesis.synthesizer import load, save_png

    if batch < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"--batch {batch} --limit {limit}: both are at least 1.")
    console = Console()
    synth = load(model, device)
    layouts = open_layouts(synth, data, flags or DataFlags(), split, limit, original_size, contact_sheet)
    inputs = {file.resolve() for s in layouts.samples for file in (s.label, s.source, s.instance, s.image) if file}
    if lost := [path for s in layouts.samples if (path := out / f"{s.name}.png").resolve() in inputs]:
        raise ConfigError(f"--out {out} would overwrite {lost[0]}, which is read: give another folder.")
    say_components(layouts, console)
    out.mkdir(parents=True, exist_ok=True)
    rows: list[list[Any]] = []
    shown = set(np.linspace(0, len(layouts) - 1, SHEET_ROWS).round().astype(int).tolist()) if contact_sheet else set()
    results = synthesise(synth, layouts, seed, batch)
    for index, (item, image) in enumerate(track(results, "generating", len(layouts), console)):
        path = out / f"{item['name']}.png"
        save_png(path, image, synth.record(seed))
        if colour:
            save_png(path.with_name(f"{path.stem}-layout.png"), layout_picture(item, synth.label_space), {})
        if index in shown:
            rows.append([layout_picture(item, synth.label_space), image, *real_of(item)])
    if contact_sheet:
        page = np.asarray(sheet(rows, ["layout", "generated", "real"][: len(rows[0])]))
        save_png(out / "contact-sheet.png", page, {})
    console.print(f"{len(layouts)} photographs in {out}", soft_wrap=True)


def open_layouts(
    synth: Synthesizer,
    data: Path | None,
    flags: DataFlags,
    split: str,
    limit: int | None,
    original_size: bool,
    photographs: bool = True,
) -> SemanticDataset:
    """The layouts to be rendered, resized as in training unless their own size is to be kept; perhaps with photographs."""
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing

    listing = _listing(data, flags, split, pictures=synth.label_space is None)
    if synth.label_space is None and any(sample.label for sample in listing.samples):
        raise DataError(f"The model takes pictures, but {listing.root} holds label maps. Give pictures with --sources.")
    if synth.label_space is not None and any(sample.source for sample in listing.samples):
        raise DataError(
            f"The model takes label maps, but {listing.root} holds pictures. Give label maps with --labels."
        )
    _refuse_other_space(synth, listing)
    try:
        saved = Preprocessing.model_validate(synth.info.preprocessing)
    except ValidationError as error:
        raise ModelFileError(f"The model file's preprocessing is not understood: {error.errors()[0]['msg']}.") from None
    preprocessing = Preprocessing() if original_size else saved.model_copy(update={"multiple": 1, "crop": None})
    if saved.resize == "fixed" and saved.crop and not original_size:
        preprocessing = preprocessing.model_copy(update={"height": saved.crop[0], "width": saved.crop[1]})
    samples = listing.samples[:limit]
    return SemanticDataset(
        samples if photographs else [replace(sample, image=None) for sample in samples],
        synth.label_space,
        preprocessing,
        training=False,
        instances=synth.info.semantics.boundary,
    )


def _refuse_other_space(synth: Synthesizer, listing: Listing) -> None:
    """File values mean what the model's label space says; data that say otherwise would be misread."""
    own, theirs = synth.label_space, listing.space
    if own is None or theirs is None or (own.classes, own.ignore) == (theirs.classes, theirs.ignore):
        return
    raise DataError(
        f"The layouts in {listing.root} are in the label space {theirs.name} ({len(theirs)} classes), the model knows {own.name} "
        f"({len(own)} classes). If their values are the model's, copy them apart from their labels.json, or name it with --space."
    )


def _listing(data: Path | None, flags: DataFlags, split: str, pictures: bool) -> Listing:
    """A dataset, or a bare folder or one file of what the model takes: label maps or pictures."""
    from gesso.data import layouts
    from gesso.data.pairing import Sample

    if data is not None and data.is_file():
        sample = Sample(data.stem, source=data) if pictures else Sample(data.stem, label=data)
        return layouts.Listing("file", data.parent, "", (sample,), (), None)
    if data is None:
        return open_listing(data, flags, split)
    try:
        there = layouts.splits(data)
    except DataError:
        if not data.is_dir() or split:
            raise
        return layouts.folders(sources=data) if pictures else layouts.folders(labels=data)
    first = next((name for name in ("val", "test", "train") if name in there), there[0] if there else "train")
    return open_listing(data, flags, split or first)


def synthesise(
    synth: Synthesizer, layouts: SemanticDataset, seed: int, batch: int
) -> Iterator[tuple[dict[str, Any], Any]]:
    """Items with their photographs, `batch` at a time."""
    import torch

    from gesso.data.dataset import collate

    for start in range(0, len(layouts), batch):
        items = [layouts[i] for i in range(start, min(start + batch, len(layouts)))]
        stack = collate(items)
        if "source" in stack:
            pictures = (stack["source"].movedim(1, -1) + 1) / 2
            images = synth(pictures.numpy(), seed=seed)
        else:
            instances = stack["instance"].numpy() if "instance" in stack else None
            images = synth(stack["label"].to(torch.int64).numpy(), instances, seed=seed)
        yield from zip(items, images, strict=True)


def real_of(item: dict[str, Any]) -> list[Any]:
    """The real photograph, if there is one."""
    from gesso.pictures import to_uint8

    return [to_uint8(item["image"])] if "image" in item else []
