"""Painters of the toy world's trees, street lamps, signs and people."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from gesso.data.toy.paint import ORDINALS, Box, Canvas, Glow, Point, Sketch, fractal, grain, planes, sample
from gesso.data.toy.world import FloatArray, Kind, Prop, World

POLE_GREY = np.array([104, 108, 112], dtype=np.float32)
SKIN = ((236, 190, 158), (196, 142, 104), (128, 86, 62))
HAIR = ((52, 38, 28), (128, 88, 44), (30, 28, 30), (150, 146, 140))
TROUSERS = ((46, 50, 62), (70, 66, 62), (36, 36, 40))
LAMP_HEIGHT = 6.2
LOWEST_LEAF = 1.5
WHITE = np.array([240, 240, 238], dtype=np.float32)


def light_at(canvas: Canvas, world: World, prop: Prop) -> FloatArray:
    """(3,) light on an upright thing: full in the sun, sky only in the shadow of a building."""
    light = canvas.light
    return light.on(0.0 if world.shaded(prop.x, prop.z) else 0.7)


class _Upright:
    """A prop standing at (x, z): metres from its foot to picture points, and a sketch of its box."""

    def __init__(self, canvas: Canvas, prop: Prop, reach: float, tall: float) -> None:
        view = canvas.view
        self.scale = view.focal / prop.z * prop.size
        self.u, self.v = float(view.u(prop.x, prop.z)), float(view.v(0.0, prop.z))
        self.box = view.box(
            self.u - reach * self.scale,
            self.v - tall * self.scale,
            self.u + reach * self.scale,
            self.v + 0.1 * self.scale,
        )
        self.sketch = Sketch(canvas, self.box) if self.box else None

    def at(self, *points: tuple[float, float]) -> list[Point]:
        """Picture points of (metres right of the foot, metres up)."""
        return [(self.u + x * self.scale, self.v - y * self.scale) for x, y in points]

    def bar(self, x: float, low: float, high: float, half: float) -> list[Point]:
        """An upright bar at least one picture point wide."""
        half = max(half, 0.75 / self.scale)
        return self.at((x - half, low), (x + half, low), (x + half, high), (x - half, high))


# -------------------------------------------------------------------------------------------------------------- trees


def paint_tree(canvas: Canvas, world: World, tree: Prop, ordinal: int) -> None:
    """A trunk, and a crown of overlapping balls with leaves at their rims."""
    here = _Upright(canvas, tree, reach=2.9, tall=7.0)
    if here.sketch is None or here.box is None:
        return
    light = light_at(canvas, world, tree)
    bark = np.array([92, 72, 56], dtype=np.float32) * light
    here.sketch.polygon(here.at((-0.16, 0), (0.16, 0), (0.09, 3.4), (-0.09, 3.4)), bark)
    here.sketch.polygon(here.at((-0.06, 2.2), (0.06, 2.2), (0.9, 3.9), (0.75, 3.9)), bark)
    here.sketch.finish(tree.z, {1: ordinal})

    left, top, right, bottom = here.box
    bottom = min(bottom, math.ceil(here.v - LOWEST_LEAF * here.scale))
    if bottom <= top:
        return
    x = (canvas.view.columns(left, right) - here.u) / here.scale
    y = (here.v - canvas.view.rows(top, bottom)) / here.scale
    leaves = 0.5 * sample(fractal(), x * 40 + tree.variant % 499, y * 40) + 0.5 * sample(
        grain(), x * 9 + tree.variant % 251, y * 9
    )
    ball, high = _crown(x, y, tree.variant)
    sunny = x * (0.14 * _sunny_side(canvas))
    tone = 0.62 + 0.34 * high + sunny + 0.13 * leaves + 0.1 * (y - 4.2) / 2
    rgb = planes(tree.colour) * planes(light) * np.clip(tone, 0.25, 1.5)
    mask = ball + 0.11 * leaves > 0.12
    canvas.paint((left, top, right, bottom), canvas.through_air(rgb, tree.z), mask, ordinal)


@cache
def _balls(variant: int) -> tuple[tuple[float, float, float], ...]:
    """Balls (x, y, radius) of a crown, metres."""
    rng = np.random.default_rng(variant)
    outer = [
        (math.cos(a) * rng.uniform(0.8, 1.3), 4.3 + math.sin(a) * rng.uniform(0.8, 1.3), rng.uniform(0.7, 1.15))
        for a in np.linspace(0, 2 * math.pi, 7, endpoint=False) + rng.uniform(0, 1)
    ]
    return ((0.0, 4.3, 1.5), *outer)


def _crown(x: FloatArray, y: FloatArray, variant: int) -> tuple[FloatArray, FloatArray]:
    """How deep inside the nearest ball (negative outside), and how high on it (-1..1); both (h, w)."""
    inside = np.full((y.shape[0], x.shape[1]), -9.0, dtype=np.float32)
    high = np.zeros_like(inside)
    for cx, cy, radius in _balls(variant):
        depth = 1 - ((x - cx) ** 2 + (y - cy) ** 2) / radius**2
        nearer = depth > inside
        np.copyto(inside, depth, where=nearer)
        np.copyto(high, (y - cy) / radius, where=nearer)
    return inside, high


# -------------------------------------------------------------------------------------------------------------- posts


def paint_lamp(canvas: Canvas, world: World, lamp: Prop, _: int) -> None:
    """A mast with an arm over the road; its class is stuff, so it has no ordinal of its own."""
    here = _Upright(canvas, lamp, reach=1.6, tall=LAMP_HEIGHT + 0.4)
    if here.sketch is None:
        return
    colour, towards = POLE_GREY * light_at(canvas, world, lamp) * 0.8, -math.copysign(1.0, lamp.x)
    here.sketch.polygon(here.bar(0, 0, LAMP_HEIGHT, 0.06), colour)
    here.sketch.polygon(here.bar(0, 0, 0.9, 0.11), colour)
    thick = max(0.05, 0.75 / here.scale)
    arm = [(0, LAMP_HEIGHT - thick), (towards * 1.2, LAMP_HEIGHT + 0.2 - thick)]
    here.sketch.polygon(here.at(*arm, (towards * 1.2, LAMP_HEIGHT + 0.2 + thick), (0, LAMP_HEIGHT + thick)), colour)
    head = here.at(*((towards * a, LAMP_HEIGHT + b) for a, b in ((1.0, 0.28), (1.55, 0.28), (1.5, 0.1), (1.05, 0.1))))
    here.sketch.polygon(head, (255, 236, 190) if canvas.light.lamps else colour * 1.3)
    here.sketch.finish(lamp.z, {1: ORDINALS[Kind.POLE]})
    if canvas.light.lamps:
        u, v = sum(u for u, _ in head) / len(head), sum(v for _, v in head) / len(head)
        canvas.glows.append(Glow(u, v, 0.9 * here.scale, (255, 196, 110), ORDINALS[Kind.POLE]))


def paint_sign(canvas: Canvas, world: World, sign: Prop, ordinal: int) -> None:
    """A plate on a pole; plate and pole have different classes."""
    here = _Upright(canvas, sign, reach=0.7, tall=3.2)
    if here.sketch is None:
        return
    light = light_at(canvas, world, sign)
    here.sketch.polygon(here.bar(0, 0, 2.2, 0.035), POLE_GREY * light, part=2)
    colour = np.array(sign.colour, dtype=np.float32) * light
    bright = WHITE * light
    outline = _plate(sign.shape)
    here.sketch.polygon(here.at(*outline), bright)
    here.sketch.polygon(here.at(*_shrunk(outline, 0.88)), colour)
    symbol = bright if sign.style != "yellow" else np.array([30, 30, 30], dtype=np.float32) * light
    if sign.variant % 2:
        here.sketch.polygon(here.at((-0.22, 2.47), (0.22, 2.47), (0.22, 2.57), (-0.22, 2.57)), symbol)
    else:
        here.sketch.polygon(here.at((-0.05, 2.33), (0.05, 2.33), (0.05, 2.7), (-0.05, 2.7)), symbol)
    here.sketch.finish(sign.z, {1: ordinal, 2: ORDINALS[Kind.POLE]})


def _plate(shape: str) -> list[tuple[float, float]]:
    if shape == "board":
        return [(-0.62, 2.25), (0.62, 2.25), (0.62, 2.8), (-0.62, 2.8)]
    corners, first, radius = {"disc": (14, 0.0, 0.42), "triangle": (3, 90.0, 0.54), "diamond": (4, 90.0, 0.48)}[shape]
    turns = [math.radians(first + 360 * i / corners) for i in range(corners)]
    return [(radius * math.cos(t), 2.52 + radius * math.sin(t)) for t in turns]


def _shrunk(outline: list[tuple[float, float]], share: float) -> list[tuple[float, float]]:
    middle = sum(y for _, y in outline) / len(outline)
    return [(x * share, middle + (y - middle) * share) for x, y in outline]


# ------------------------------------------------------------------------------------------------------------- people


def paint_person(canvas: Canvas, world: World, person: Prop, ordinal: int) -> None:
    """Someone standing or walking: shoes, legs, a long coat, arms, head and hair."""
    here = _Upright(canvas, person, reach=0.6, tall=1.85)
    if here.sketch is None or here.box is None:
        return
    light = light_at(canvas, world, person)
    coat, trousers, skin, hair = (
        np.array(c, dtype=np.float32) * light
        for c in (person.colour, _choice(TROUSERS, person, 1), _choice(SKIN, person, 3), _choice(HAIR, person, 9))
    )
    turned = abs(math.sin(person.heading)) > 0.7
    stride = (0.05 + 0.25 * (person.variant % 7) / 7) * (1.3 if turned else 0.5)
    shoulder = 0.15 if turned else 0.22
    for foot in (-stride, stride):
        here.sketch.polygon(here.at((-0.12, 0.85), (0.12, 0.85), (foot + 0.07, 0.05), (foot - 0.07, 0.05)), trousers)
        here.sketch.polygon(here.at((foot - 0.07, 0.09), (foot + 0.1, 0.09), (foot + 0.12, 0), (foot - 0.07, 0)), hair)
    hem = shoulder + 0.05
    here.sketch.polygon(here.at((-hem, 0.72), (hem, 0.72), (shoulder, 1.42), (0, 1.5), (-shoulder, 1.42)), coat)
    for side in (-1, 1):
        swing = side * stride * 0.8 if turned else side * 0.08
        top, low = side * shoulder, side * (shoulder + 0.04) + swing
        arm = here.at((top - 0.06, 1.4), (top + 0.06, 1.4), (low + 0.05, 0.82), (low - 0.05, 0.82))
        here.sketch.polygon(arm, coat * 0.84)
        here.sketch.ellipse(here.at((low, 0.79))[0], 0.055 * here.scale, 0.055 * here.scale, skin)
    head = here.at((0, 1.62))[0]
    here.sketch.ellipse(head, 0.105 * here.scale, 0.135 * here.scale, hair)
    if math.cos(person.heading) < 0.5:  # not seen from behind
        aside = 0.03 * math.sin(person.heading) * here.scale
        face = (head[0] + aside, head[1] + 0.03 * here.scale)
        here.sketch.ellipse(face, 0.085 * here.scale, 0.1 * here.scale, skin)
    here.sketch.finish(person.z, {1: ordinal}, _roundness(canvas, here.box, here.u, here.scale))


def _choice(options: tuple[tuple[int, int, int], ...], prop: Prop, divide: int) -> tuple[int, int, int]:
    return options[prop.variant // divide % len(options)]


def _roundness(canvas: Canvas, box: Box, u: float, scale: float) -> FloatArray:
    """(1, w) shading of an upright body: darker away from the sun."""
    x = (canvas.view.columns(box[0], box[2]) - u) / scale
    return np.clip(1.02 + 0.5 * _sunny_side(canvas) * x - 1.2 * x * x, 0.5, 1.25)


def _sunny_side(canvas: Canvas) -> float:
    """1 where the right is lit, -1 where the left is, 0 without sun."""
    return math.copysign(1.0, canvas.light.towards_sun[0]) if canvas.light.sun.any() else 0.0
