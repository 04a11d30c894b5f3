"""The end of `gesso demo`: the editor, with a held-out scene open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gesso.errors import ModelFileError, StyleError

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
    from gesso.editor.wire import DocumentWire
    from gesso.labels import LabelSpace
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer


def open_editor(synth: Synthesizer, scenes: Path, ready: Path, seed: int, browser: bool, console: Console) -> None:
    """Serve the editor until interrupted; held-out scenes are its examples, the first of them is open.

    Args:
        synth: The model.
        scenes: Folder of the dataset.
        ready: Where the open scene is written as a project, which `gesso edit --project` opens again.
        seed: Of the styles it begins with.
        browser: Whether the page is opened.
        console: Where the address is printed.
    """
    from gesso.cli import edit
    from gesso.data.layouts import find
    from gesso.editor.server import Project

    listing = find(scenes, "val")
    content = first_scene(synth, listing, seed)
    ready.write_bytes(content)
    opened = Project(ready.name, content)
    edit.serve(synth, listing=listing, browser=browser, console=console, name="demo", project=opened)


def first_scene(synth: Synthesizer, listing: Listing, seed: int) -> bytes:
    """The first layout of a dataset as a project of the editor, in the styles of its photograph where the model reads them."""
    from gesso.editor.examples import collect
    from gesso.editor.opening import document_of
    from gesso.editor.projects import save
    from gesso.editor.rendering import Renderer
    from gesso.editor.wire import StylesWire, png_bytes

    example, renderer = collect(synth, listing)[0], Renderer(synth)
    maps = example.load()
    styles = StylesWire(seed=seed)
    document = document_of(maps.label, maps.instance, renderer.space, example.name, styles=styles)
    if maps.photograph is None:
        return save(renderer, document)
    try:
        document = dressed(document, synth.encode(maps.photograph, maps.label, maps.instance), renderer.space)
    except (ModelFileError, StyleError):
        pass  # it has no encoder, or no style: chance decides
    return save(renderer, document, source=png_bytes(maps.photograph))


def dressed(document: DocumentWire, style: Style, space: LabelSpace) -> DocumentWire:
    """A document whose objects and ground wear what the style of its own layout says."""
    worn = style.instances
    names = [f"{space.names[one.class_]}:{one.written_id}" for one in document.objects]
    pairs = zip(document.objects, names, strict=True)
    objects = tuple(one.model_copy(update={"style": worn.get(name)}) for one, name in pairs)
    stuff = {space.names[index] for index in range(len(space)) if index not in space.things}
    owners = {name.rpartition(":")[0]: choice for name, choice in worn.items()}
    classes = {name: choice for name, choice in owners.items() if name in stuff}
    styles = document.styles.model_copy(update={"classes": classes})
    return document.model_copy(update={"objects": objects, "styles": styles})
