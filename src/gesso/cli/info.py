"""`gesso info`."""

from __future__ import annotations

import json as codec
from pathlib import Path


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

    loaded = load_model(model)
    about = loaded.info
    if json:
        print(codec.dumps({**about.model_dump(mode="json", by_alias=True), "hash": loaded.hash}, indent=1))
        return
    table = Table.grid(padding=(0, 2))
    space = about.label_space
    rows = {
        "file": f"{model} ({model.stat().st_size / 2**20:.1f} MiB)",
        "recipe": f"{about.recipe}{f', preset {about.preset}' if about.preset else ''}, {about.step} steps",
        "written": f"{about.created} by gesso {about.gesso_version}",
        "hash": loaded.hash,
        "input": f"{about.semantics.channels} channels ({_input(about.semantics.model_dump())})",
        "preprocessing": ", ".join(f"{k} {v}" for k, v in about.preprocessing.items() if v is not None),
    }
    for name, description in about.networks.items():
        count = sum(p.numel() for p in loaded.networks[name].parameters())
        arguments = ", ".join(f"{k} {v}" for k, v in description.arguments.items())
        rows[name] = f"{description.name}, {count:,} parameters ({arguments})"
    rows["label space"] = f"{space.name}, {len(space)} classes" if space else "none: the input is a picture"
    for key, value in rows.items():
        table.add_row(Text(key, style="bold"), Text(value))
    console = Console()
    console.print(table)
    if space:
        swatches = Text()
        for index, label_class in enumerate(space.classes):
            swatches.append("  ", style="on rgb({},{},{})".format(*label_class.colour))
            swatches.append(f" {index} {label_class.name}   ")
        console.print(swatches)


def _input(semantics: dict[str, int | bool]) -> str:
    if semantics["source_channels"]:
        return "picture"
    parts = [f"{semantics['classes']} classes"]
    parts += ["ignored pixels"] if semantics["dont_care"] else []
    parts += ["instance boundaries"] if semantics["boundary"] else []
    return " + ".join(parts)
