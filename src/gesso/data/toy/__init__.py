"""A toy world: procedural street scenes with exact labels, instances and known styles, from (seed, index).

`scene` paints one, `write` fills a folder with them. `composition` says what stands where, the other modules paint it. Styles are
drawn from small palettes and apart from the shapes, so that what a model learns about style can be held against the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from gesso.data.spaces import published
from gesso.data.toy.backdrop import paint_ground, paint_sky
from gesso.data.toy.buildings import Silhouette, paint_building
from gesso.data.toy.cars import paint_car
from gesso.data.toy.composition import compose
from gesso.data.toy.paint import OVERSAMPLE, STUFF, TILE, Canvas, View, grain, paint_glows, sample
from gesso.data.toy.props import paint_lamp, paint_person, paint_sign, paint_tree
from gesso.data.toy.world import TIMES_OF_DAY, Building, Kind, Prop, World
from gesso.errors import DataError
from gesso.labels import LabelSpace

__all__ = ["Scene", "scene", "space", "write"]

PAINTERS = {
    Kind.TREE: paint_tree,
    Kind.POLE: paint_lamp,
    Kind.SIGN: paint_sign,
    Kind.CAR: paint_car,
    Kind.PERSON: paint_person,
}
SMALLEST = 32  # pixels; below, nothing can be recognised
NOISE = 2.2  # standard deviation of the sensor's noise, of 255
HELD_OUT = 5  # one scene in so many
IN_ONE_PROCESS = 64  # fewer scenes are not worth starting others


@dataclass(frozen=True)
class Scene:
    """One street scene.

    Attributes:
        image: (H, W, 3) uint8 photograph.
        label: (H, W) uint8 class indices of `space()`.
        instance: (H, W) int32: class * 1000 + k with k from 1 for countable classes, the class index elsewhere.
        attributes: JSON-able truth: seed, index, time_of_day, road_surface, and for each visible object its instance id, class,
            style, colour (albedo, before light), pixels and box (left, top, right, bottom; exclusive).
    """

    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.int32]
    attributes: dict[str, Any]


def space() -> LabelSpace:
    """The classes of the toy world."""
    return published("toy")


def scene(seed: int, index: int, height: int = 128, width: int = 256, time: str | None = None) -> Scene:
    """Paint one scene; the same arguments always give the same one, and other sizes the same place.

    Args:
        seed: Not negative; of a whole dataset.
        index: Not negative; of the scene in it.
        height: Pixels, at least 32.
        width: Pixels, at least 32.
        time: "day", "dusk" or "overcast"; drawn when None. The place stays the same.

    Raises:
        DataError: A size below 32 pixels, a negative number, or an unknown time.
    """
    refuse_impossible(seed, index, height, width, time)
    rng = np.random.default_rng([seed, index])
    world = compose(rng, time)
    numbers = {"seed": seed, "index": index, "height": height, "width": width, "fixed_time": time}
    return photograph(world, height, width, rng.uniform(0, 512, 2), rng, numbers)


def refuse_impossible(seed: int, index: int, height: int, width: int, time: str | None) -> None:
    """See that a scene can be painted.

    Raises:
        DataError: A size below 32 pixels, a negative number, or an unknown time.
    """
    if time not in (None, *TIMES_OF_DAY):
        raise DataError(f"There is no time of day {time!r} in the toy world; choose one of {', '.join(TIMES_OF_DAY)}.")
    if min(seed, index) < 0:
        raise DataError(f"There is no toy scene {index} of seed {seed}; neither number may be negative.")
    if min(height, width) < SMALLEST:
        raise DataError(
            f"A toy scene of {height}x{width} is too small to show a street; use at least {SMALLEST}x{SMALLEST}."
        )


def photograph(
    world: World,
    height: int,
    width: int,
    drift: npt.NDArray[np.float64],
    rng: np.random.Generator,
    numbers: dict[str, Any],
    lasting: bool = False,
) -> Scene:
    """Paint a world.

    Args:
        world: What is there.
        height: Pixels.
        width: Pixels.
        drift: Where the clouds and the ground are cut from their textures, 0..512 each.
        rng: Of the camera's noise.
        numbers: What the world was made of; goes first into the scene's attributes.
        lasting: Whether hidden objects are counted too, so that objects keep their ids while others come and go.
    """
    canvas = Canvas(View(world.camera, height * OVERSAMPLE, width * OVERSAMPLE), world.light)
    things: list[Building | Prop] = [*world.buildings, *world.props]
    _paint(canvas, world, things, drift)
    paint_glows(canvas)
    ids = _most_frequent(canvas.ids).astype(np.int64)
    label, instance, objects = _name(ids, things, lasting)
    street = {"time_of_day": world.light.time, "road_surface": world.street.surface}
    return Scene(_expose(canvas, rng), label, instance, {**numbers, **street, "objects": objects})


def _paint(canvas: Canvas, world: World, things: Sequence[Building | Prop], drift: npt.NDArray[np.float64]) -> None:
    """Everything from back to front, without what nearer buildings hide of others."""
    silhouette = Silhouette(canvas.view)
    nearest_first = sorted(range(len(things)), key=lambda i: things[i].depth)
    visible = {i: silhouette.meet(b) for i in nearest_first if isinstance(b := things[i], Building)}
    paint_sky(canvas, float(drift[0]))
    paint_ground(canvas, world, float(drift[1]))
    for position in reversed(nearest_first):
        thing, ordinal = things[position], len(STUFF) + position
        if isinstance(thing, Prop):
            PAINTERS[thing.kind](canvas, world, thing, ordinal)
        else:
            paint_building(canvas, world, thing, ordinal, visible[position])


def _most_frequent(ids: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """(H, W) the commonest of each 2x2 ids, so that maps agree with a photograph that averages them."""
    a, b, c, d = ids[::2, ::2], ids[::2, 1::2], ids[1::2, ::2], ids[1::2, 1::2]
    return np.where((b == c) | (b == d), b, np.where(c == d, c, a))


def _name(
    ids: npt.NDArray[np.int64], things: Sequence[Building | Prop], lasting: bool = False
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32], list[dict[str, Any]]]:
    """Label map, instance map and list of visible objects from the ordinals on the canvas."""
    pixels = np.bincount(ids.ravel(), minlength=len(STUFF) + len(things))
    classes = np.array([*STUFF, *(thing.kind for thing in things)])
    numbers, seen = classes.copy(), dict.fromkeys(Kind, 0)
    boxes = ndimage.find_objects(ids)
    objects = []
    for ordinal, thing in enumerate(things, start=len(STUFF)):
        if thing.kind is Kind.POLE or not (pixels[ordinal] or lasting):
            continue
        seen[thing.kind] += 1
        numbers[ordinal] = thing.kind * 1000 + seen[thing.kind]
        if not pixels[ordinal]:
            continue
        rows, columns = boxes[ordinal - 1]
        objects.append(
            {
                "instance": int(numbers[ordinal]),
                "class": thing.kind.name.lower(),
                "style": thing.style,
                "colour": list(thing.colour),
                "pixels": int(pixels[ordinal]),
                "box": [columns.start, rows.start, columns.stop, rows.stop],
            }
        )
    return classes[ids].astype(np.uint8), numbers[ids].astype(np.int32), objects


def _expose(canvas: Canvas, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """What the camera makes of the canvas: smaller, softer, noisy."""
    rows = canvas.rgb[:, ::2] + canvas.rgb[:, 1::2]
    rgb = rows[..., ::2] + rows[..., 1::2]
    rgb *= 1 / OVERSAMPLE**2
    across, down = (np.arange(n, dtype=np.float32) for n in (rgb.shape[2], rgb.shape[1]))
    for plane, (x, y) in zip(rgb, rng.integers(0, TILE, (3, 2)).tolist(), strict=True):
        plane += sample(grain(), across[None, :] + x, down[:, None] + y) * NOISE
    np.clip(rgb, 0, 255, out=rgb)
    return np.ascontiguousarray(np.rint(rgb, out=rgb).astype(np.uint8).transpose(1, 2, 0))


# ------------------------------------------------------------------------------------------------------------ folders


def write(
    root: str | Path,
    count: int,
    *,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
    time: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill a folder: SPLIT/{images,labels,instances,scenes}/NAME, SPLIT train or val, and labels.json.

    Every fifth scene is held out in `val`, at least one. Scenes that are there already are drawn again, to the same bytes.

    Args:
        root: The folder; it must be empty, absent, or a toy dataset.
        count: Scenes, at least 1.
        height: Pixels, at least 32.
        width: Pixels, at least 32.
        seed: Not negative; other seeds give other scenes.
        time: One time of day for all scenes: "day", "dusk" or "overcast"; drawn for each when None.
        progress: Told (done, count) as scenes are written.

    Raises:
        DataError: A file or another kind of folder, scenes of other arguments in it, or impossible numbers.
    """
    root = Path(root)
    if count < 1 or seed < 0 or min(height, width) < SMALLEST:
        raise DataError(
            f"Cannot draw {count} scenes of {height}x{width} with seed {seed}: at least 1 scene of {SMALLEST}x{SMALLEST} "
            "pixels, and a seed that is not negative, are needed."
        )
    folders = [_folder(root, index, count) for index in range(count)]
    _refuse_foreign(root)
    _refuse_mixture(root, folders, {"seed": seed, "height": height, "width": width, "fixed_time": time})
    for split in ("train", "val"):
        for kind in ("images", "labels", "instances", "scenes"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
    space().save(root / "labels.json")
    _write_all(partial(_write_one, seed, height, width, time), folders, progress)


def _folder(root: Path, index: int, count: int) -> Path:
    """Where a scene goes: every fifth into val, or the last of fewer than five."""
    held_out = index % HELD_OUT == HELD_OUT - 1 or (index == count - 1 and 1 < count < HELD_OUT)
    return root / ("val" if held_out else "train")


def _refuse_foreign(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise DataError(f"{root} is not a folder; give an empty or new one for the toy scenes.")
    labels = root / "labels.json"
    if root.exists() and any(root.iterdir()) and not (labels.exists() and LabelSpace.load(labels) == space()):
        raise DataError(f"{root} holds something that is not a toy dataset; give an empty or new folder.")


def _refuse_mixture(root: Path, folders: Sequence[Path], asked: dict[str, Any]) -> None:
    """Scenes already there must be among those asked for, or the folder would hold two datasets in one."""
    for path in sorted(root.glob("*/scenes/*.json")):
        planned = path.stem.isdigit() and int(path.stem) < len(folders) and path.parents[1] == folders[int(path.stem)]
        there = _numbers_of(path, asked)
        if not planned or there not in ({}, asked):
            came = ", ".join(f"{name} {number}" for name, number in {"count": len(folders), **asked}.items())
            was = ", ".join(f"{name} {number}" for name, number in there.items())
            raise DataError(
                f"{root} holds other scenes than those asked for ({came}): {path} is one too many or of other numbers "
                f"({was}). Give the numbers it was written with, or an empty or new folder."
            )


def _numbers_of(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """What a scene was drawn with; empty where an interrupted run left half a file, which is drawn again."""
    try:
        attributes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return {name: attributes.get(name) for name in names}


def _write_all(
    job: Callable[[int, Path], None], folders: Sequence[Path], progress: Callable[[int, int], None] | None
) -> None:
    """Run the job for every (index, folder), in several processes where that pays."""
    count = len(folders)
    workers = min(cpu_count() or 1, count) if count >= IN_ONE_PROCESS else 1
    with ExitStack() as stack:
        run: Callable[..., Iterable[None]] = map
        if workers > 1:
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn")))
            run = partial(pool.map, chunksize=4)
        for done, _ in enumerate(run(job, range(count), folders), start=1):
            if progress:
                progress(done, count)


def _write_one(seed: int, height: int, width: int, time: str | None, index: int, folder: Path) -> None:
    save(scene(seed, index, height, width, time), folder, f"{index:06d}")


def save(made: Scene, folder: Path, name: str) -> None:
    """Write a scene to {images,labels,instances,scenes}/NAME of a folder."""
    Image.fromarray(made.image).save(folder / "images" / f"{name}.png", compress_level=1)
    Image.fromarray(made.label).save(folder / "labels" / f"{name}.png", compress_level=1)
    Image.fromarray(made.instance.astype(np.uint16)).save(folder / "instances" / f"{name}.png", compress_level=1)
    (folder / "scenes" / f"{name}.json").write_text(json.dumps(made.attributes), encoding="utf-8")
