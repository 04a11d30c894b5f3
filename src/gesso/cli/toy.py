"""`gesso toy`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def toy(
    folder: Path,
    *,
    count: int = 100,
    size: str = "128x256",
    seed: int = 0,
    time: Literal["day", "dusk", "overcast"] | None = None,
    frames: int | None = None,
) -> None:
    """Write procedural street scenes with exact label and instance maps.

    Parameters
    ----------
    folder: Path
        Where to; gets train/ and val/ with images, labels, instances and scenes, and labels.json.
    count: int
        How many scenes.
    size: str
        HEIGHTxWIDTH in pixels.
    seed: int
        Another seed gives other scenes.
    time: str
        One time of day for all scenes; by default each has its own.
    frames: int
        Write so many frames of one street instead, in which cars drive and people walk, at 12 a second: images, labels, instances
        (with ids that last) and scenes.
    """
    from rich.console import Console
    from rich.progress import Progress

    from gesso.cli.common import parse_size
    from gesso.data import toy_sequence
    from gesso.data.toy import write

    height, width = parse_size(size)
    console = Console()
    if frames is not None:
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("drawing frames", total=frames)
            toy_sequence.write(
                folder,
                frames,
                height=height,
                width=width,
                seed=seed,
                time=time,
                progress=lambda done, _: bar.update(task, completed=done),
            )
        console.print(f"{frames} frames of {height}x{width} in {folder}", soft_wrap=True)
        return
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("drawing scenes", total=count)
        write(
            folder,
            count,
            height=height,
            width=width,
            seed=seed,
            time=time,
            progress=lambda done, _: bar.update(task, completed=done),
        )
    console.print(f"{count} scenes of {height}x{width} in {folder}", soft_wrap=True)
