"""One scene edited step by step: original, car removed, tree added, car turned into another class, and perhaps another style.

Example: python benchmarks/editing_series.py model.safetensors SCENES series.png
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from cyclopts import App
from rich.console import Console

from gesso.cli.common import DataFlags, track
from gesso.cli.generate import open_layouts
from gesso.errors import ConfigError, DataError, GessoError
from gesso.labels import LabelSpace, colourise
from gesso.pictures import sheet
from gesso.synthesis import editing
from gesso.synthesis.editing import Layout, ObjectSummary
from gesso.synthesis.synthesizer import load, save_png

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset

SEARCHED = 40  # scenes among which the one with the best cars is chosen
SMALLEST, LARGEST = 0.004, 0.1  # of the picture: how large a car or tree may be
NEW_CLASSES = ("bus", "van", "truck", "caravan", "tree", "person", "pedestrian")  # the first that the space has
TREES = ("tree", "vegetation")
SOIL = ("grass", "terrain", "sidewalk")  # where trees grow


@dataclass(frozen=True)
class Step:
    """One picture of the series."""

    title: str
    layout: Layout
    style: Any = None


def editing_series(
    model: Path,
    data: Path,
    out: Path,
    *,
    split: str = "",
    scene: str | None = None,
    style: str | None = None,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Edit a scene object by object and photograph every step.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso, for street scenes.
    data: Path
        Folder of a dataset of street scenes; photographs are not needed.
    out: Path
        PNG to write: the layouts above their photographs.
    split: str
        Part of DATA; by default val, test or train, whichever is there first.
    scene: str
        Name of the scene; by default the one with the best cars.
    style: str
        Style of a last step, such as road=2; several choices with spaces between them.
    seed: int
        Of what a layout leaves open.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    """
    console = Console()
    synth = load(model, device)
    if (space := synth.label_space) is None:
        raise ConfigError(f"{model} takes pictures, not layouts, so there is nothing to edit.")
    scenes = open_layouts(synth, data, DataFlags(), split, None, original_size=False, photographs=False)
    layouts = dict(read(scenes, space, scene, console))
    name = scene or max(layouts, key=lambda name: suitability(layouts[name]))
    steps = list(edited(layouts[name], list(layouts.values())))
    if style is not None:
        from gesso.synthesis.style import parse_style

        steps.append(Step(f"style {style}", steps[-1].layout, parse_style(style.split(), space)))
    photographs = [
        synth(step.layout.label, step.layout.instance, style=step.style, seed=seed)
        for step in track(steps, "generating", len(steps), console)
    ]
    colours = [colourise(step.layout.label, space) for step in steps]
    page = sheet([colours, photographs], [step.title for step in steps])
    out.parent.mkdir(parents=True, exist_ok=True)
    save_png(out, np.asarray(page), {})
    console.print(f"scene {name}: {len(steps)} steps in {out}", soft_wrap=True)


def read(
    scenes: SemanticDataset, space: LabelSpace, wanted: str | None, console: Console
) -> Iterator[tuple[str, Layout]]:
    """Scenes by name: the first ones, and the one that is wanted."""
    names = [sample.name for sample in scenes.samples]
    if wanted is not None and wanted not in names:
        raise DataError(f"There is no scene {wanted!r}; there are {', '.join(names[:8])} ({len(names)} in all).")
    chosen = [n for n, name in enumerate(names) if n < SEARCHED or name == wanted]
    for n in track(chosen, "reading scenes", len(chosen), console):
        item = scenes[n]
        instance = item["instance"].numpy() if "instance" in item else None
        yield names[n], Layout.of(item["label"].numpy(), instance, space)


def edited(layout: Layout, others: Sequence[Layout]) -> Iterator[Step]:
    """The layout step by step."""
    yield Step("original", layout)
    cars = objects(layout, ("car",))
    if len(cars) < 2:
        raise DataError(
            f"The series needs a scene with two cars, each {SMALLEST:.1%} to {LARGEST:.0%} of the picture; give another folder "
            "or --scene."
        )
    layout = editing.remove_object(layout, cars[0].key)
    yield Step("car removed", layout)
    layout = with_tree(layout, others, at_left(cars[0], layout))
    yield Step("tree added", layout)
    name = next((name for name in NEW_CLASSES if name in layout.space.names), None)
    if name is None:
        raise DataError(f"{layout.space.name} has none of the classes {', '.join(NEW_CLASSES)} to turn a car into.")
    layout, _ = editing.relabel_object(layout, cars[1].key, name)
    yield Step(f"car turned to {name}", layout)


def objects(layout: Layout, names: Sequence[str]) -> list[ObjectSummary]:
    """Objects of these classes that are well seen, the largest first."""
    height, width = layout.shape
    found = [
        thing
        for thing in layout.objects()
        if thing.class_name in names and SMALLEST <= thing.visible / (height * width) <= LARGEST
    ]
    return sorted(found, key=lambda thing: -thing.visible)


def suitability(layout: Layout) -> tuple[bool, int]:
    """For choosing a scene: whether the tree has soil to stand on, away from the second largest car; pixels of that car."""
    first, second = (*objects(layout, ("car",)), None, None)[:2]
    if first is None or second is None:
        return False, 0
    apart = at_left(first, layout) != at_left(second, layout)
    return apart and planting_place(layout, at_left(first, layout))[2] < layout.shape[1] / 8, second.visible


def at_left(thing: ObjectSummary, layout: Layout) -> bool:
    """Whether an object is in the left half of the picture."""
    return thing.box[0] + thing.box[2] < layout.shape[1]


def with_tree(layout: Layout, others: Sequence[Layout], left: bool) -> Layout:
    """The layout with the largest whole tree of all layouts at one side, or a drawn one where trees are no objects."""
    height, _ = layout.shape
    x, y, _ = planting_place(layout, left)
    trees = [(tree, other) for other in others for tree in objects(other, TREES) if whole(tree, other)]
    if trees:
        tree, other = max(trees, key=lambda pair: pair[0].visible)
        layout, _ = editing.paste_object(layout, other, tree.key, (x, y))
        return layout
    angles = np.linspace(np.pi / 2 + 0.1, 5 * np.pi / 2 - 0.1, 40)  # from the trunk round the crown and back to it
    crown = np.stack([x + 0.17 * height * np.cos(angles), y - 0.4 * height + 0.25 * height * np.sin(angles)], axis=1)
    trunk = [(x + 0.02 * height, y), (x - 0.02 * height, y)]
    name = next((name for name in TREES if name in layout.space.names), None)
    if name is None:
        raise DataError(f"{layout.space.name} has no trees: none of the classes {', '.join(TREES)}.")
    layout, _ = editing.add_object(layout, np.concatenate([crown, trunk]), name)
    return layout


def whole(thing: ObjectSummary, layout: Layout) -> bool:
    """Whether nothing of it is hidden or cut by the picture's border."""
    left, top, right, bottom = thing.box
    inside = 0 < left and 0 < top and right < layout.shape[1] and bottom < layout.shape[0]
    return inside and thing.visible == thing.pixels


def planting_place(layout: Layout, left: bool) -> tuple[int, int, float]:
    """Column and row for the foot of a tree, and how far it is from where it would be seen best: rather near, at one side.

    It is soil where there is some, else that very place.
    """
    height, width = layout.shape
    soil = np.isin(layout.label, [layout.space.index(name) for name in SOIL if name in layout.space.names])
    y, x = np.nonzero(soil if soil.any() else np.ones_like(soil))
    distance = abs(x - (0.2 if left else 0.8) * width) + abs(y - 0.7 * height)
    best = int(np.argmin(distance))
    return int(x[best]), int(y[best]), float(distance[best])


if __name__ == "__main__":
    app = App(help_format="markdown")
    app.default(editing_series)
    try:
        app()
    except GessoError as error:
        sys.exit(f"editing_series: {error}")
