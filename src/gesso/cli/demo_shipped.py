"""What `gesso demo` does with the model that ships with gesso: held-out layouts, photographs, styles, a page."""

from __future__ import annotations

import html
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import DataFlags, track
from gesso.cli.demo_page import document, grid, held_out_rows, image, legend

if TYPE_CHECKING:
    from gesso.pictures import Picture
    from gesso.synthesis.style_space import ClassModes
    from gesso.synthesis.synthesizer import Synthesizer

SIZE = (128, 256)  # pixels of the scenes; the model's own
FIRST = 1_000_000  # number of the first scene: training takes those from 0 on, so whatever the seed, it never saw these
DRESSED = ("car", "building", "sky", "tree")  # classes whose styles are shown, each in a layout of its own
MODES = 4  # styles of each
SMALLEST_VIEW = (64, 128)  # pixels around an object


@dataclass(frozen=True)
class Strip:
    """One layout in several styles of one object.

    Attributes:
        title: The object and its modes.
        pictures: The object and what is around it, once per mode.
    """

    title: str
    pictures: list[Picture]


def show_shipped(out: Path, scenes: int, seed: int, device: str, console: Console) -> tuple[Path, Synthesizer]:
    """Draw layouts, make photographs of them, write the page.

    Args:
        out: Folder of the demo; it gets held-out/, photographs/ and index.html.
        scenes: How many layouts.
        seed: Of scenes and styles.
        device: As `gesso generate` takes it.
        console: Where progress is shown.

    Returns:
        The page and the model.

    Raises:
        ModelFileError: The model is not in this installation.
    """
    from gesso.demo_model import shipped_model
    from gesso.synthesis.synthesizer import load

    model = shipped_model()
    synth = load(model, device)
    data = out / "held-out"
    (out / "photographs").mkdir(parents=True, exist_ok=True)
    _remove_others(out / "photographs", range(FIRST, FIRST + scenes))
    console.rule("1 of 3: scenes that training never saw")
    for _ in track(write_held_out(data, scenes, seed), "drawing scenes", scenes, console):
        pass
    console.rule("2 of 3: photographs of their layouts")
    rows = held_out_rows(synth, data, out / "photographs", scenes, seed, console)
    console.rule("3 of 3: styles")
    wanted = _dressed(synth)
    strips = list(track(_strips(synth, data, scenes, wanted, seed), "changing styles", len(wanted), console))
    page = out / "index.html"
    page.write_text(_page(rows, strips, synth, model, data), encoding="utf-8")
    return page, synth


def write_held_out(root: Path, count: int, seed: int) -> Iterator[int]:
    """Write toy scenes that no training saw into ROOT/val, as a dataset, in place of earlier ones; yields each's number then."""
    import numpy as np
    from PIL import Image

    from gesso.checkpoints import write_safely
    from gesso.data import toy

    numbers = range(FIRST, FIRST + count)
    for kind in ("images", "labels", "instances"):
        (root / "val" / kind).mkdir(parents=True, exist_ok=True)
        _remove_others(root / "val" / kind, numbers)
    toy.space().save(root / "labels.json")
    for number in numbers:
        made = toy.scene(seed, number, *SIZE)
        maps: dict[str, Any] = {
            "images": made.image,
            "labels": made.label,
            "instances": made.instance.astype(np.uint16),
        }
        for kind, pixels in maps.items():
            write_safely(root / "val" / kind / f"{number}.png", Image.fromarray(pixels).save)
        yield number


def _remove_others(folder: Path, numbers: Sequence[int]) -> None:
    """Remove the files of scenes that an earlier demo drew and this one does not; others are nobody's to remove."""
    for path in folder.glob("*.png"):
        if path.stem.isdigit() and int(path.stem) >= FIRST and int(path.stem) not in numbers:
            path.unlink()


def _dressed(synth: Synthesizer) -> list[str]:
    """Classes of which the model has several styles to show."""
    if synth.style_space is None or synth.label_space is None:
        return []
    names = synth.label_space.names
    return [name for name in DRESSED if name in names and len(synth.modes(name)) > 1]


def _strips(synth: Synthesizer, data: Path, count: int, classes: Sequence[str], seed: int) -> Iterator[Strip]:
    """For each class the layout, of those not yet taken if possible, in which one object of it is largest."""
    from gesso.cli.generate import open_layouts

    layouts = open_layouts(synth, data, DataFlags(), "val", count, original_size=False, photographs=False)
    maps = [(item["label"].numpy(), item["instance"].numpy()) for item in map(layouts.__getitem__, range(len(layouts)))]
    free = list(range(len(maps)))
    for name in classes:
        found = [(_largest(synth, *maps[number], name), number) for number in free or range(len(maps))]
        (pixels, key), number = max(found)
        if pixels:
            free = [other for other in free if other != number]
            yield _strip(synth, *maps[number], key, seed)


def _largest(synth: Synthesizer, label: Any, instance: Any, name: str) -> tuple[int, tuple[int, int]]:
    """Pixels and key of the largest object of a class in a layout; 0 pixels where there is none."""
    assert synth.label_space is not None
    index = synth.label_space.index(name)
    keys = [key for key in synth.objects(label, instance) if key[0] == index]
    return max(((int(_mask(synth, label, instance, key).sum()), key) for key in keys), default=(0, (index, 0)))


def _mask(synth: Synthesizer, label: Any, instance: Any, key: tuple[int, int]) -> Any:
    """Where an object is; where styles are of whole classes, the whole class."""
    whole = synth.require_style().regions == "label"
    return (label == key[0]) & (whole | (instance == key[1]))


def _strip(synth: Synthesizer, label: Any, instance: Any, key: tuple[int, int], seed: int) -> Strip:
    """An object in modes that are far from each other; everything else stays as the seed draws it."""
    from gesso.synthesis.style import Style

    space = synth.require_style()
    name, view = space.name(key), _view(_mask(synth, label, instance, key))
    modes = far_apart(synth.modes(space.class_name(key[0])), MODES)
    styles = [Style(seed=seed, instances={name: mode}) for mode in modes]
    pictures = [synth(label, instance, style)[view] for style in styles]
    return Strip(f"{name} in modes {', '.join(map(str, modes))}", pictures)


def far_apart(modes: ClassModes, count: int) -> list[int]:
    """Numbers of modes that differ much: the most frequent, then always the one farthest from those taken."""
    import numpy as np

    taken = [0]
    gaps = np.linalg.norm(modes.vectors - modes.vectors[0], axis=1)
    while len(taken) < min(count, len(modes.vectors)):
        taken.append(int(gaps.argmax()))
        gaps = np.minimum(gaps, np.linalg.norm(modes.vectors - modes.vectors[taken[-1]], axis=1))
    return taken


def _view(mask: Any) -> tuple[slice, slice]:
    """The part of the picture around an object, twice its size, at least `SMALLEST_VIEW`, twice as wide as high."""
    import numpy as np

    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height = max(SMALLEST_VIEW[0], 2 * len(rows), len(columns))
    height = min(height, mask.shape[0], mask.shape[1] // 2)
    sides = zip((rows, columns), (height, 2 * height), mask.shape, strict=True)
    starts = [min(max(0, (place[0] + place[-1] - side) // 2), full - side) for place, side, full in sides]
    return slice(starts[0], starts[0] + height), slice(starts[1], starts[1] + 2 * height)


def _page(rows: Sequence[Sequence[Any]], strips: Sequence[Strip], synth: Synthesizer, model: Path, data: Path) -> str:
    dressed = "".join(
        f'<h3>{html.escape(strip.title)}</h3><div class="row four">{"".join(image(p) for p in strip.pictures)}</div>'
        for strip in strips
    )
    styles = f"""
<h2>The same layout in other styles</h2>
<p>One object wears other styles (modes that were found in the training scenes); everything else stays as it is.</p>{dressed}"""
    body = f"""
<p>The model that ships with gesso: pix2pixHD with a style per object, trained on toy street scenes for {synth.info.step} steps.
Below: layouts that it never saw, the photographs it makes of them in random styles, and the scenes' own pictures.</p>
{grid(rows)}{legend(synth.label_space)}{styles if strips else ""}"""
    file, scenes = shlex.quote(str(model)), shlex.quote(str(data))
    commands = [
        f"gesso edit {file} --data {scenes}",
        f"gesso generate {file} {scenes} --random-styles 4 --out photographs --contact-sheet",
        f"gesso styles {file} --sheet styles.png",
        "gesso demo --train",
        "gesso doctor YOUR-DATA",
        "gesso train YOUR-DATA --out my-run",
    ]
    return document(body, commands)
