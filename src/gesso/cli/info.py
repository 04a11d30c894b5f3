"""`gesso info`."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gesso.model_info import ModelInfo
    from gesso.synthesis.style_space import StyleSpace


def info(model: Path, *, json: bool = False) -> None:
    """Say what a model file says of itself.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso.
    json: bool
        Print JSON, for machines.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gesso.checkpoints import load_model
    from gesso.synthesis.style_space import style_space

    loaded = load_model(model)
    about, styles = loaded.info, style_space(loaded)
    if json:
        document = {**about.model_dump(mode="json", by_alias=True), "hash": loaded.hash, "modes": _modes(styles)}
        print(codec.dumps(document, indent=1))
        return
    table = Table.grid(padding=(0, 2))
    space = about.label_space
    rows = {
        "file": f"{model} ({model.stat().st_size / 2**20:.1f} MiB, stored as {about.stored_as})",
        "recipe": f"{about.recipe}{f', preset {about.preset}' if about.preset else ''}, {about.step} steps",
        **_score(about),
        "written": f"{about.created} by gesso {about.gesso_version}",
        "hash": loaded.hash,
        "input": f"{about.semantics.channels} channels ({_input(about.semantics.model_dump())})",
        "preprocessing": ", ".join(f"{k} {v}" for k, v in about.preprocessing.items() if v is not None),
    }
    for name, description in about.networks.items():
        count = sum(p.numel() for p in loaded.networks[name].parameters())
        arguments = ", ".join(f"{k} {v}" for k, v in description.arguments.items())
        rows[name] = f"{description.name}, {count:,} parameters ({arguments})"
    rows["style"] = _style(about, styles)
    rows["label space"] = f"{space.name}, {len(space)} classes" if space else "none: the input is a picture"
    if target := about.target_space:
        rows["output"] = f"the colours of {target.name}, {len(target)} classes"
    if about.direction:
        rows["trained on"] = _trained_on(about)
    for key, value in rows.items():
        table.add_row(Text(key, style="bold"), Text(value))
    console = Console()
    console.print(table)
    if shown := space or about.target_space:
        swatches = Text()
        for index, label_class in enumerate(shown.classes):
            swatches.append("  ", style="on rgb({},{},{})".format(*label_class.colour))
            swatches.append(f" {index} {label_class.name}   ")
        console.print(swatches)
    if modes := _modes(styles):
        found = Table("class", "modes", "objects in mode 0, 1, ...", title="styles", title_justify="left")
        for name, sizes in modes.items():
            found.add_row(name, str(len(sizes)), " ".join("?" if size is None else str(size) for size in sizes))
        console.print(found)


def _score(about: ModelInfo) -> dict[str, str]:
    """What a best model was chosen by."""
    best = about.best
    return {"score": f"{best.by} {best.value:.4f} at step {best.step}, the best of its training"} if best else {}


def _trained_on(about: ModelInfo) -> str:
    """Which files were its input, and how they were taken."""
    sides = "left half A" if about.direction == "AtoB" else "right half B"
    halves = f": the {sides} of side-by-side files is the input" if about.side_by_side else ""
    return f"--direction {about.direction}, --input {about.input or 'auto'}{halves}"


def _style(about: ModelInfo, styles: StyleSpace | None) -> str:
    """What the style is made of, and where its modes are from."""
    if about.style and about.style.kind == "z":
        encoder = "an image encoder" if "encoder" in about.networks else "no encoder"
        return f"z, {about.style.channels} numbers for the whole picture, {encoder}"
    if about.style and about.style.kind == "noise":
        return "noise: " + " and ".join(_sources_of_noise(about))
    if styles is None:
        return "none"
    per = "object" if styles.regions == "instance" else "class"
    said = f"{styles.channels} numbers per {per}, {'' if 'encoder' in about.networks else 'no '}encoder"
    if not styles.modes:
        return f"{said}, no modes (gesso styles finds them)"
    table = about.styles
    origin = f" found in {table.origin}" if table and table.origin else ""
    led = "" if styles.leader is None else f"; by chance they follow {styles.class_name(styles.leader)}"
    return f"{said}, modes of {len(styles.modes)} classes{origin}{led}"


def _sources_of_noise(about: ModelInfo) -> list[str]:
    """What makes two photographs of one input differ."""
    from gesso.networks.pix2pix import LEVELS_WITHOUT_DROPOUT

    channels, arguments = about.style.channels if about.style else 0, about.networks["generator"].arguments
    drops = (
        arguments.get("dropout", True) and arguments.get("downs", LEVELS_WITHOUT_DROPOUT + 1) > LEVELS_WITHOUT_DROPOUT
    )
    noise_map = [f"a noise map of {channels} channel{'s' * (channels > 1)}"] if channels else []
    return [*(["dropout"] if drops else []), *noise_map]


def _modes(styles: StyleSpace | None) -> dict[str, list[int | None]]:
    """How many objects each mode stands for, by class name; None where the file does not say."""
    if styles is None:
        return {}
    return {
        styles.class_name(index): [None] * len(modes) if modes.sizes is None else modes.sizes.tolist()
        for index, modes in styles.modes.items()
    }


def _input(semantics: dict[str, int | bool]) -> str:
    if semantics["source_channels"]:
        return "picture"
    parts = [f"{semantics['classes']} classes" + (" as a picture in their colours" if semantics.get("colours") else "")]
    parts += ["ignored pixels"] if semantics["dont_care"] else []
    parts += ["instance boundaries"] if semantics["boundary"] else []
    return " + ".join(parts)
