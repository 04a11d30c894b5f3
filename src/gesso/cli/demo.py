"""`gesso demo`."""

from __future__ import annotations

import importlib.util
import os
import sys
import webbrowser
from pathlib import Path

from rich.console import Console

from gesso.cli.common import parse_size
from gesso.cli.edit import has_display
from gesso.errors import ConfigError

WEB = ("fastapi", "uvicorn", "python_multipart")  # the extra gesso[web]
SHOWN, TRAINED_ON = 8, 240
MINUTES, SIZE = 4.0, "96x192"


def demo(
    *,
    out: Path = Path("demo-run"),
    train: bool = False,
    edit: bool | None = None,
    scenes: int | None = None,
    minutes: float | None = None,
    size: str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Photographs of toy layouts by the model that ships with gesso, a page that shows them, and the editor with a scene ready.

    Parameters
    ----------
    out: Path
        Folder for scenes, photographs and index.html; with --train for the run too: one that was interrupted goes on there.
    train: bool
        Train a model from scratch instead, on scenes that are drawn for it; fails where the held-out error does not fall.
    edit: bool
        Open the editor at the end, until interrupted. Unless said: on a terminal with a display, and not after --train.
    scenes: int
        How many street scenes are drawn: 8 that training never saw; with --train 240, of which a fifth is held out.
    minutes: float
        About how long --train trains on this machine; 4 unless said.
    size: str
        HEIGHTxWIDTH in pixels of the scenes and photographs of --train; 96x192 unless said.
    seed: int
        Of scenes and styles; with --train of initial weights and the order of training too.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    """
    console = Console()
    _refuse_flags(train, scenes, minutes, size)
    if edit and (missing := _missing_extra()):
        raise ConfigError(f"--edit: {missing}")
    why_not = "" if edit else _why_not_edit(edit, train)
    if train:
        from gesso.cli.demo_training import train_demo

        height, width = parse_size(size or SIZE)
        minutes = MINUTES if minutes is None else minutes
        page, synth = train_demo(out, scenes or TRAINED_ON, minutes, (height, width), seed, device, SHOWN, console)
    else:
        from gesso.cli.demo_shipped import show_shipped

        page, synth = show_shipped(out, scenes or SHOWN, seed, device, console)
    console.print(f"Page: {page.resolve()}", soft_wrap=True)
    if why_not:
        console.print(why_not, soft_wrap=True, markup=False)
    if edit or (edit is None and not why_not and not train):
        from gesso.cli.demo_editor import open_editor

        scenes_shown = out / ("scenes" if train else "held-out")
        open_editor(synth, scenes_shown, out / "scene.zip", seed, _has_screen(), console)
    elif _has_screen():
        webbrowser.open(page.resolve().as_uri())


def _refuse_flags(train: bool, scenes: int | None, minutes: float | None, size: str | None) -> None:
    """Settings of the training without it, and numbers that leave nothing to do."""
    given = {"--minutes": minutes, "--size": size}
    if not train and (without := [f"{flag} {value}" for flag, value in given.items() if value is not None]):
        raise ConfigError(
            f"{' '.join(without)}: the model that gesso demo shows is trained already. Add --train to train one from scratch."
        )
    least = 2 if train else 1
    if scenes is not None and scenes < least:
        raise ConfigError(f"--scenes {scenes}: at least {least} {'are' if train else 'is'} needed.")
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"--minutes {minutes}: more than 0 minutes are needed.")


def _missing_extra() -> str:
    """What to say where the editor's packages are not installed; empty where they are."""
    missing = [name for name in WEB if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"the editor needs packages that are not installed ({', '.join(missing)}): install gesso with the extra gesso[web]."


def _why_not_edit(edit: bool | None, train: bool) -> str:
    """Why the editor stays closed though nobody said so; empty where it opens, or somebody did."""
    if edit is False or train:
        return ""
    if missing := _missing_extra():
        return f"The editor stays closed: {missing}"
    if not _has_screen():
        return "The editor stays closed: this is no terminal with a display. gesso demo --edit opens it all the same."
    return ""


def _has_screen() -> bool:
    """Whether a person is at a screen."""
    return has_display() and sys.stdout.isatty() and os.environ.get("CI", "").lower() not in ("1", "true", "yes")
