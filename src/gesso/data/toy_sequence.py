"""Toy scenes that move: cars drive and people walk, with ids that last and the truth photograph of each frame.

The place, its light and its styles are those of `gesso.data.toy.scene` of the same numbers; the camera stands still, as do parked
cars. What would drive into something waits. The camera's noise is new in each frame, as in films.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from gesso.data import toy
from gesso.data.toy import Scene
from gesso.data.toy.composition import FARTHEST, LANE, collide, compose, in_the_way
from gesso.data.toy.world import FloatArray, Kind, Prop, World
from gesso.errors import DataError

FRAMES_PER_SECOND = 12
WALKING = (0.7, 1.5)  # metres per second
DRIVING = (3.0, 8.0)
GONE = 1000.0  # metres away, behind everything
ASIDE = 30.0  # metres from the middle of the road, where crossing cars are out of sight


def sequence(
    seed: int, frames: int, height: int = 128, width: int = 256, time: str | None = None, index: int = 0
) -> Iterator[Scene]:
    """Scenes that follow each other at 12 a second; the same arguments always give the same ones.

    An object keeps its id, whether it is seen or not. The attributes hold the number of the "frame" too, and for each visible
    prop how it stands in the picture: "anchor", where its foot is (column, row), and "scale", pixels per metre there. Between two
    frames its pixels move by the anchors and grow by the scales.

    Args:
        seed: Not negative.
        frames: How many, at least 1.
        height: Pixels, at least 32.
        width: Pixels, at least 32.
        time: "day", "dusk" or "overcast"; drawn when None.
        index: Not negative; another place of the same seed.

    Raises:
        DataError: Impossible numbers, or an unknown time.
    """
    if frames < 1:
        raise DataError(f"A toy sequence of {frames} frames was asked for; at least 1 is needed.")
    toy.refuse_impossible(seed, index, height, width, time)
    rng = np.random.default_rng([seed, index])
    world = compose(rng, time)
    drift = rng.uniform(0, 512, 2)
    lanes = rng.random(2 * world.street.lanes)
    speeds = [_speed(prop, world, lanes, rng) for prop in world.props]
    for frame in range(frames):
        numbers = {"seed": seed, "index": index, "frame": frame, "height": height, "width": width, "fixed_time": time}
        noise = np.random.default_rng([seed, index, frame])
        yield _with_anchors(toy.photograph(world, height, width, drift, noise, numbers, lasting=True), world)
        world = _went_on(world, speeds)


def _speed(prop: Prop, world: World, lanes: FloatArray, rng: np.random.Generator) -> float:
    """Metres per frame along its heading; all cars of a lane drive alike, parked ones not at all."""
    crossing = abs(math.sin(prop.heading)) > 0.7
    if prop.kind is Kind.PERSON:
        (low, high), share = WALKING, rng.random()
    elif prop.kind is Kind.CAR and crossing:
        (low, high), share = DRIVING, rng.random()
    elif prop.kind is Kind.CAR and abs(prop.x) < world.street.lanes * LANE:
        (low, high), share = DRIVING, lanes[math.floor(prop.x / LANE) % len(lanes)]
    else:
        return 0.0
    return float(low + (high - low) * share) / FRAMES_PER_SECOND


def _went_on(world: World, speeds: Sequence[float]) -> World:
    """The world a frame later."""
    props = list(world.props)
    for number, (prop, speed) in enumerate(zip(props, speeds, strict=True)):
        if speed and prop.z < GONE:
            x, z = prop.x + speed * math.sin(prop.heading), prop.z + speed * math.cos(prop.heading)
            moved = replace(prop, x=x, z=z)
            others = props[:number] + props[number + 1 :]
            if z > FARTHEST or abs(x) > ASIDE or in_the_way(moved, world.camera):
                props[number] = replace(moved, z=GONE)
            elif not any(collide(moved, other) for other in others):
                props[number] = moved
    return replace(world, props=tuple(props))


def _with_anchors(made: Scene, world: World) -> Scene:
    """A scene that also says how its props stand in the picture."""
    height, width = made.label.shape
    camera, counts = world.camera, dict.fromkeys(Kind, 0)
    known: dict[int, dict[str, Any]] = {}
    for prop in world.props:
        counts[prop.kind] += 1
        scale = camera.focal * height / prop.z
        anchor = [camera.centre * width + scale * (prop.x - camera.x), camera.horizon * height + scale * camera.height]
        known[prop.kind * 1000 + counts[prop.kind]] = {"anchor": anchor, "scale": scale}
    objects = [{**thing, **known.get(thing["instance"], {})} for thing in made.attributes["objects"]]
    return replace(made, attributes={**made.attributes, "objects": objects})


def write(
    root: str | Path,
    frames: int,
    *,
    height: int = 128,
    width: int = 256,
    seed: int = 0,
    time: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill a folder with a sequence: {images,labels,instances,scenes}/FRAME, and labels.json.

    Args:
        root: The folder; it must be empty or absent, or hold this very sequence, which is drawn again.
        frames: How many, at least 1.
        height: Pixels, at least 32.
        width: Pixels, at least 32.
        seed: Not negative; other seeds give other places.
        time: "day", "dusk" or "overcast"; drawn when None.
        progress: Told (done, frames).

    Raises:
        DataError: A file or another kind of folder, or impossible numbers.
    """
    root = Path(root)
    asked = {"frames": frames, "seed": seed, "height": height, "width": width, "fixed_time": time}
    scenes = sequence(seed, frames, height, width, time)
    first = next(scenes)
    _refuse_others(root, asked)
    for kind in ("images", "labels", "instances", "scenes"):
        (root / kind).mkdir(parents=True, exist_ok=True)
    (root / "sequence.json").write_text(json.dumps(asked) + "\n", encoding="utf-8")
    toy.space().save(root / "labels.json")
    for number, made in enumerate(chain([first], scenes)):
        toy.save(made, root, f"{number:06d}")
        if progress:
            progress(number + 1, frames)


def _refuse_others(root: Path, asked: dict[str, Any]) -> None:
    """See that nothing is mixed with what is there."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    try:
        there = json.loads((root / "sequence.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        there = None
    if there != asked:
        was = f"a sequence of other numbers ({there})" if there else "something that is not a toy sequence"
        raise DataError(f"{root} holds {was}; give an empty or new folder.")
