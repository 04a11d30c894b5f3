"""What stands where in a toy scene: street, light, camera, buildings and props, drawn from one random generator.

Nothing here knows about pixels, so the same (seed, index) is the same place at every picture size. Styles (paint, facade,
foliage, surface, time of day) are drawn apart from the shapes, so that a layout never gives them away.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from gesso.data.toy.world import (
    CAR_SHAPES,
    SIGN_SHAPES,
    STYLES,
    TIMES_OF_DAY,
    Building,
    Camera,
    Colour,
    Kind,
    Light,
    Prop,
    Street,
    World,
)

Rng = np.random.Generator

LANE = 3.2  # metres
PARKING = 2.3
NEAREST = 4.6  # props closer than this would fill the picture
FARTHEST = 88.0  # where the street ends


def compose(rng: Rng, time: str | None = None) -> World:
    """Draw a street scene; the same generator state gives the same world."""
    light, street = _light(rng, time), _street(rng)
    camera = _camera(rng, street)
    buildings = (*_row(rng, street, -1), *_row(rng, street, 1), *_skyline(rng))
    props = [*_trees(rng, street, buildings), *_posts(rng, street), *_cars(rng, street), *_people(rng, street)]
    return World(camera, light, street, buildings, _without_collisions(props, camera))


def _without_collisions(props: list[Prop], camera: Camera) -> tuple[Prop, ...]:
    kept: list[Prop] = []
    for prop in props:
        if not in_the_way(prop, camera) and not any(collide(prop, other) for other in kept):
            kept.append(prop)
    return tuple(kept)


def in_the_way(prop: Prop, camera: Camera) -> bool:
    """Whether a prop is so near that it would fill the picture."""
    aside = abs(prop.x - camera.x)
    if prop.kind is Kind.CAR:
        return prop.z < NEAREST + (3.2 if aside < 1.8 else 0.5)
    return prop.z < NEAREST or (prop.z < 7.5 and aside < 0.9)


def collide(one: Prop, other: Prop) -> bool:
    """Whether two props take the same ground."""
    (x1, z1), (x2, z2) = one.reach, other.reach
    return abs(one.x - other.x) < x1 + x2 and abs(one.z - other.z) < z1 + z2


def _pick(rng: Rng, kind: str) -> tuple[str, Colour]:
    """A style of a class, and its colour off by what one paint differs from another."""
    names = list(STYLES[kind])
    name = names[rng.integers(len(names))]
    tone = rng.uniform(0.92, 1.06) + rng.normal(0, 0.015, 3)
    red, green, blue = np.clip(np.array(STYLES[kind][name]) * tone, 0, 255).astype(int).tolist()
    return name, (red, green, blue)


def _light(rng: Rng, fixed: str | None) -> Light:
    drawn = TIMES_OF_DAY[rng.integers(len(TIMES_OF_DAY))]
    time = fixed or drawn
    low = time == "dusk"
    ray = np.array([rng.choice([-1, 1]) * rng.uniform(0.35, 0.9), 0.0, rng.uniform(-0.9, 0.4)])
    ray[1] = rng.uniform(0.3, 0.45) if low else rng.uniform(0.6, 1.1)
    ray /= np.linalg.norm(ray)
    ambient, sun, zenith, horizon, clarity = {
        "day": ((0.55, 0.60, 0.69), (0.62, 0.56, 0.46), (64, 124, 206), (196, 218, 236), 260),
        "dusk": ((0.47, 0.42, 0.49), (0.52, 0.30, 0.12), (72, 74, 132), (250, 168, 104), 190),
        "overcast": ((0.74, 0.78, 0.83), (0, 0, 0), (146, 156, 168), (204, 209, 214), 170),
    }[time]
    clouds = rng.uniform(0.15, 0.6)
    towards_sun = (float(ray[0]), float(ray[1]), float(ray[2]))
    shine, sky = (np.array(pair, dtype=np.float32) for pair in ((ambient, sun), (zenith, horizon)))
    return Light(time, towards_sun, shine[0], shine[1], sky[0], sky[1], float(clouds), float(clarity))


def _street(rng: Rng) -> Street:
    surface, _ = _pick(rng, "road")
    lanes = 1 + int(rng.random() < 0.35)
    half = lanes * LANE + PARKING * float(rng.random() < 0.7)
    near = rng.uniform(14, 34)
    junction = (near, near + rng.uniform(8, 11)) if rng.random() < 0.4 else None
    zebra = (junction[0] - 4.5 if junction else rng.uniform(7, 20)) if rng.random() < 0.6 else None
    return Street(surface, lanes, half, rng.uniform(2.4, 4.0), junction, zebra)


def _camera(rng: Rng, street: Street) -> Camera:
    x = rng.uniform(-0.6, LANE * street.lanes - 1.0)
    if rng.random() < 0.2:  # a pedestrian's view
        x = rng.choice([-1, 1]) * (street.half + rng.uniform(-0.5, 0.8))
    return Camera(
        x=float(x),
        height=rng.uniform(1.55, 2.5),
        focal=rng.uniform(0.88, 1.1),
        horizon=rng.uniform(0.42, 0.52),
        centre=float(np.clip(0.5 - 0.02 * x + rng.normal(0, 0.03), 0.38, 0.62)),
    )


def _building(rng: Rng, side: int, near: float, far: float, left: float, right: float, floors: int) -> Building:
    style, colour = _pick(rng, "building")
    storey, roof = rng.uniform(2.9, 3.5), 0.0
    if rng.random() < 0.4:
        roof = rng.uniform(1.4, 2.4)
    return Building(
        side,
        near,
        far,
        left,
        right,
        height=floors * storey + 1.0 + roof,
        roof=roof,
        storey=storey,
        bay=rng.uniform(2.1, 3.2),
        shop=bool(rng.random() < 0.45),
        style=style,
        colour=colour,
        variant=int(rng.integers(1 << 16)),
    )


def _row(rng: Rng, street: Street, side: int) -> Iterator[Building]:
    """Buildings along one side, from the camera to the end of the street, with gaps and room for the junction."""
    z, tall = rng.uniform(-4, 3), rng.integers(2, 5)
    while z < FARTHEST:
        far = z + rng.uniform(8, 19)
        if street.junction and z < street.junction[1] + 2.5 and far > street.junction[0] - 2.5:
            far = street.junction[0] - 2.5
            if far - z < 4:  # too little room before the junction: go on behind it
                z = street.junction[1] + 2.5
                continue
        inner, outer = street.wall + float(rng.choice([0.0, 0.0, 0.6, 1.5])), street.wall + rng.uniform(11, 16)
        left, right = (inner, outer) if side > 0 else (-outer, -inner)
        if rng.random() < 0.88:
            yield _building(rng, side, z, far, left, right, floors=int(np.clip(tall + rng.integers(-1, 3), 1, 6)))
        z = far + (rng.uniform(2.5, 8) if rng.random() < 0.22 else 0.0)


def _skyline(rng: Rng) -> Iterator[Building]:
    """Blocks across the far end, wide enough to close every gap."""
    x, z = -170.0, rng.uniform(105, 150)
    while x < 170:
        right = x + rng.uniform(10, 30)
        yield _building(rng, 0, z, z + 10, x, right, floors=int(rng.integers(2, 8)))
        x, z = right, z + rng.uniform(-0.5, 0.5)


def _spots(rng: Rng, street: Street, first: float, gap: tuple[float, float]) -> Iterator[float]:
    """Distances along a sidewalk, clear of the junction."""
    z = first
    while z < FARTHEST:
        if not street.junction or not street.junction[0] - 3 < z < street.junction[1] + 3:
            yield z
        z += rng.uniform(*gap)


def _trees(rng: Rng, street: Street, buildings: tuple[Building, ...]) -> Iterator[Prop]:
    for side in (-1, 1):
        if rng.random() < 0.65:
            step = rng.uniform(8, 13)
            for z in _spots(rng, street, rng.uniform(6, 16), (step, step + 6)):
                yield _tree(rng, side * (street.half + rng.uniform(0.7, 1.1)), z)
        row = [b for b in buildings if b.side == side]
        for nearer, farther in pairwise(row):
            room = farther.near - nearer.far
            over_road = street.junction and nearer.far < street.junction[1] and farther.near > street.junction[0]
            if room > 2 and not over_road:
                for _ in range(int(rng.integers(1, 4))):
                    z = rng.uniform(nearer.far + 0.5, farther.near)
                    yield _tree(rng, side * (street.wall + rng.uniform(1.5, 9)), z)


def _tree(rng: Rng, x: float, z: float) -> Prop:
    style, colour = _pick(rng, "tree")
    size = rng.uniform(0.75, 1.25)
    return Prop(Kind.TREE, x, z, size=size, style=style, colour=colour, variant=int(rng.integers(1 << 16)))


def _posts(rng: Rng, street: Street) -> Iterator[Prop]:
    for side in (-1, 1):
        if rng.random() < 0.7:
            for z in _spots(rng, street, rng.uniform(8, 22), (18, 24)):
                yield Prop(Kind.POLE, side * (street.half + 0.4), z, size=rng.uniform(0.9, 1.1))
        for _ in range(rng.integers(0, 3)):
            z = rng.uniform(6, 30)
            if street.junction and street.junction[0] - 1 < z < street.junction[1] + 1:
                z = street.junction[0] - 1.5
            style, colour = _pick(rng, "sign")
            shape = SIGN_SHAPES[rng.integers(len(SIGN_SHAPES))]
            x = side * (street.half + rng.uniform(0.4, 0.8))
            yield Prop(Kind.SIGN, x, z, 0.0, rng.uniform(0.9, 1.2), shape, style, colour, int(rng.integers(1 << 16)))


def _car(rng: Rng, x: float, z: float, heading: float) -> Prop:
    style, colour = _pick(rng, "car")
    shape = CAR_SHAPES[rng.choice(3, p=[0.45, 0.35, 0.2])]
    heading += rng.normal(0, 0.03)
    return Prop(
        Kind.CAR, x, z, heading, rng.uniform(0.94, 1.06), shape, style, colour, variant=int(rng.integers(1 << 16))
    )


def _cars(rng: Rng, street: Street) -> Iterator[Prop]:
    for side in (-1, 1):
        heading = 0.0 if side > 0 else math.pi
        for lane in range(street.lanes):
            z = rng.uniform(7, 40)
            while z < 70 and rng.random() < 0.75:
                yield _car(rng, side * LANE * (lane + 0.5) + rng.normal(0, 0.15), z, heading)
                z += rng.uniform(8, 28)
        if street.half > street.lanes * LANE + 1 and rng.random() < 0.8:
            for z in _spots(rng, street, rng.uniform(4, 9), (5.3, 15)):
                yield _car(rng, side * (street.half - 1.05), z, heading)
    if street.junction:
        near, far = street.junction
        for z, heading in ((near + 2.2, math.pi / 2), (far - 2.2, -math.pi / 2)):
            if rng.random() < 0.6:
                yield _car(rng, rng.uniform(-1, 1) * street.wall, z, heading)


def _people(rng: Rng, street: Street) -> Iterator[Prop]:
    for _ in range(rng.integers(1, 8)):
        side = rng.choice([-1, 1])
        z = 5.5 + 30 * rng.random() ** 1.6
        x = side * (street.half + rng.uniform(0.9, street.walk - 0.4))
        yield _person(rng, float(x), z, heading=float(rng.choice([0.0, math.pi])))
    if street.zebra:
        for _ in range(rng.integers(0, 4)):
            x, z = rng.uniform(-1, 1) * street.half, street.zebra + rng.uniform(0.4, 2.6)
            yield _person(rng, x, z, heading=float(rng.choice([-1, 1])) * math.pi / 2)


def _person(rng: Rng, x: float, z: float, heading: float) -> Prop:
    style, colour = _pick(rng, "person")
    size = rng.uniform(0.9, 1.08)
    return Prop(Kind.PERSON, x, z, heading, size, "", style, colour, variant=int(rng.integers(1 << 16)))
