"""The end of `gesso demo`: the editor, with a held-out scene open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
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
    """The first layout of a dataset as a project of the editor."""
    from gesso.editor.examples import collect
    from gesso.editor.opening import document_of
    from gesso.editor.projects import save
    from gesso.editor.rendering import Renderer
    from gesso.editor.wire import StylesWire

    example, renderer = collect(synth, listing)[0], Renderer(synth)
    maps = example.load()
    styles = StylesWire(seed=seed)
    return save(renderer, document_of(maps.label, maps.instance, renderer.space, example.name, styles=styles))
