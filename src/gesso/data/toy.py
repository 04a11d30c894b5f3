"""A toy world: procedural street scenes with exact labels, instances and known styles, from (seed, index).

`scene` paints one, `write` fills a folder with them. Composition is in `toy_world`, painting in the other `toy_*` files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from gesso.data.toy_backdrop import paint_ground, paint_sky
from gesso.data.toy_buildings import paint_building
from gesso.data.toy_cars import paint_car
from gesso.data.toy_paint import OVERSAMPLE, STUFF, Canvas, View
from gesso.data.toy_props import paint_lamp, paint_person, paint_sign, paint_tree
from gesso.data.toy_world import Building, Kind, compose

PAINTERS = {
    Kind.TREE: paint_tree, Kind.POLE: paint_lamp, Kind.SIGN: paint_sign, Kind.CAR: paint_car, Kind.PERSON: paint_person
}

@dataclass(frozen=True)
class Scene:
    image: npt.NDArray[np.uint8]
    label: npt.NDArray[np.uint8]
    instance: npt.NDArray[np.int32]
    attributes: dict[str, Any]

def scene(seed, index, height=128, width=256):
    rng = np.random.default_rng([seed, index])
    world = compose(rng)
    view = View(world.camera, height * OVERSAMPLE, width * OVERSAMPLE)
    canvas = Canvas(view, world.light)
    paint_sky(canvas, rng.uniform(0, 512))
    paint_ground(canvas, world, rng.uniform(0, 512))
    things = [*world.buildings, *world.props]
    for position in sorted(range(len(things)), key=lambda i: -things[i].depth):
        thing = things[position]
        ordinal = len(STUFF) + position
        if isinstance(thing, Building):
            paint_building(canvas, world, thing, ordinal)
        else:
            PAINTERS[thing.kind](canvas, world, thing, ordinal)
    rgb = canvas.rgb.reshape(height, 2, width, 2, 3).mean((1, 3))
    return rgb.clip(0, 255).astype(np.uint8)
