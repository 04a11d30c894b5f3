"""Painter of the toy world's buildings: walls that recede along the street and flanks that face the camera.

Every wall is painted by one function of two coordinates, metres along it and metres up, so windows, joints and dirt follow
the perspective by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gesso.data.toy.paint import Box, Canvas, View, blend, cover, fractal, grain, planes, sample
from gesso.data.toy.world import Building, FloatArray, World

NEAREST_FRONT = 1.5  # metres; a front closer than this fills the picture's edge
SHOP = 3.6  # height of a shop's floor, metres
ACCENTS = ((150, 40, 44), (34, 84, 66), (40, 60, 110), (190, 150, 60), (60, 56, 60))
ROOFS = ((96, 62, 54), (76, 78, 86), (104, 86, 76))


@dataclass(frozen=True)
class Wall:
    """What a wall looks like at each pixel of its box.

    Attributes:
        along: Metres from the wall's start; (1, w).
        up: Metres above the ground; (h, w) or (h, 1).
        pixel_along: Width of a pixel on the wall, metres; (1, w) or (1, 1).
        pixel_up: Height of a pixel on the wall; (1, w) or (1, 1).
        length: Metres.
        facing: Cosine between the wall's normal and the sun.
        shade: Height up to which the opposite row keeps the sun off.
    """

    along: FloatArray
    up: FloatArray
    pixel_along: FloatArray
    pixel_up: FloatArray
    length: float
    facing: float
    shade: float = 0.0


@dataclass(frozen=True)
class Facade:
    """How a style is built: window width and height as shares of bay and storey, frame width, frame colour."""

    wide: float
    high: float
    frame: float
    trim: tuple[int, int, int]


FACADES = {
    "brick": Facade(0.42, 0.56, 0.10, (226, 220, 208)),
    "plaster": Facade(0.36, 0.60, 0.14, (122, 84, 62)),
    "concrete": Facade(0.86, 0.46, 0.07, (92, 94, 98)),
    "glass": Facade(0.92, 0.84, 0.05, (60, 74, 82)),
}


@dataclass(frozen=True)
class Visible:
    """The boxes in which a building's front and its wall along the street can be seen; None where they cannot."""

    front: Box | None
    side: Box | None


def front_box(view: View, b: Building) -> Box | None:
    """Where the flank that faces the camera would be without anything before it."""
    if b.near < NEAREST_FRONT:
        return None
    left, right = float(view.u(b.left, b.near)), float(view.u(b.right, b.near))
    return view.box(left, float(view.v(b.height, b.near)), right, float(view.v(0, b.near)))


def side_box(view: View, b: Building) -> Box | None:
    """Where the wall along the street would be; None for a block across its end, or a wall seen from behind."""
    near, offset = max(b.near, 1.0), _offset(view, b)
    if not b.side or offset * b.side <= 0.2 or b.far <= near:
        return None
    ends = sorted((view.centre + view.focal * offset / near, view.centre + view.focal * offset / b.far))
    return view.box(ends[0], float(view.v(b.height, near)), ends[1], float(view.v(0, near)))


def wall_distance(view: View, b: Building, box: Box) -> FloatArray:
    """(w,) metres to the wall along the street in each column of a box."""
    away = np.abs(view.columns(box[0], box[2])[0] - view.centre)
    return view.focal * abs(_offset(view, b)) / np.maximum(away, 0.5)


def _offset(view: View, b: Building) -> float:
    """Metres from the camera to the right until the wall along the street."""
    return (b.left if b.side > 0 else b.right) - view.camera.x


def paint_building(canvas: Canvas, world: World, building: Building, ordinal: int, visible: Visible) -> None:
    """Front first, then the wall along the street."""
    if visible.front:
        _paint_front(canvas, building, ordinal, visible.front)
    if visible.side:
        _paint_side(canvas, world, building, ordinal, visible.side)


def _paint_front(canvas: Canvas, b: Building, ordinal: int, box: Box) -> None:
    view = canvas.view
    scale = b.near / view.focal  # metres per pixel
    pixel = np.full((1, 1), scale, dtype=np.float32)
    along = (view.columns(box[0], box[2]) - view.centre) * scale + (view.camera.x - b.left)
    up = view.camera.height - (view.rows(box[1], box[3]) - view.horizon) * scale
    wall = Wall(along, up, pixel, pixel, b.right - b.left, facing=-canvas.light.towards_sun[2])
    rgb = canvas.through_air(_facade(canvas, b, wall), b.near)
    canvas.paint(box, rgb, (up >= 0) & (up <= b.height), ordinal)


def _paint_side(canvas: Canvas, world: World, b: Building, ordinal: int, box: Box) -> None:
    view = canvas.view
    z = wall_distance(view, b, box)[None, :]
    scale = z / view.focal
    up = view.camera.height - (view.rows(box[1], box[3]) - view.horizon) * scale
    wall = Wall(
        along=z - b.near,
        up=up,
        pixel_along=scale * z / abs(_offset(view, b)),
        pixel_up=scale,
        length=b.far - b.near,
        facing=-b.side * canvas.light.towards_sun[0],
        shade=_shade_of_the_opposite_row(world, b),
    )
    rgb = _facade(canvas, b, wall)
    blend(rgb, planes(canvas.light.horizon), 1 - np.exp(-z / canvas.light.clarity))
    canvas.paint(box, rgb, (up >= 0) & (up <= b.height), ordinal)


def _shade_of_the_opposite_row(world: World, b: Building) -> float:
    sun_x, sun_y, _ = world.light.towards_sun
    heights = [o.height for o in world.buildings if o.side == -b.side]
    if not heights or not world.light.sun.any():
        return 0.0
    return max(float(np.mean(heights)) - 2 * world.street.wall * sun_y / abs(sun_x), 0.0)


# ------------------------------------------------------------------------------------------------------------- facade


def _facade(canvas: Canvas, b: Building, wall: Wall) -> FloatArray:
    """(3, h, w) colours of a wall without haze."""
    facade = FACADES[b.style]
    frame, pane, cell = _windows(b, facade, wall)
    rgb = planes(b.colour) * _tone(b, wall)
    blend(rgb, planes(facade.trim), frame)
    if b.shop:
        fascia = cover(0.3 - np.abs(wall.up - 3.15), wall.pixel_up)
        blend(rgb, planes(ACCENTS[b.variant % len(ACCENTS)]), fascia)
    if b.roof:
        _add_roof(rgb, b, wall)
    rgb *= _light_on(canvas, wall)
    blend(rgb, _glass(canvas, b, wall, cell), pane)
    rgb *= 1 - 0.35 * np.exp(np.maximum(wall.up, 0) * np.float32(-1 / 0.7))  # dark where it meets the ground
    return rgb


def _light_on(canvas: Canvas, wall: Wall) -> FloatArray:
    """(3, 1, 1) or (3, h, w) light on the wall, with the opposite row's shadow on its lower part."""
    light = canvas.light
    unlit = planes(light.on(0.0) * 0.94)
    if wall.facing <= 0 or not light.sun.any():
        return unlit
    sun = planes(light.sun * wall.facing)
    if wall.shade + 0.5 < wall.up.min():
        return unlit + sun
    return unlit + sun * cover(wall.up - wall.shade, 0.5)


def _tone(b: Building, wall: Wall) -> FloatArray:
    """(h, w) brightness of the bare wall: stains, courses or panel joints."""
    near = 1 / (1 + wall.pixel_up * 25)
    offset = b.variant % 511
    stains = sample(fractal(), wall.along * 14 + offset, wall.up * 9 + offset)
    tone = 1 + 0.05 * stains
    if b.style == "brick":
        course = np.floor(wall.up / 0.22)
        brick = sample(grain(), wall.along / 0.45 + course * 0.5 + offset, course)
        joint = np.abs(wall.up / 0.22 - course - 0.5) > 0.39
        tone = tone + near * (0.08 * brick + np.float32(0.14) * joint)
    elif b.style == "concrete":
        tone = tone - 0.2 * cover(0.04 - np.abs(wall.up % b.storey - 0.1), wall.pixel_up)
    elif b.style == "plaster":
        tone = tone + 0.04 * near * sample(grain(), wall.along * 20, wall.up * 20 + offset)
        tone = tone + 0.08 * cover(0.12 - np.abs(wall.up % b.storey - 0.1), wall.pixel_up)
    return tone


def _windows(b: Building, facade: Facade, wall: Wall) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(h, w) share of frame, share of pane, and a random number per window, about standard normal."""
    bays = max(round(wall.length / b.bay), 1)
    bay = wall.length / bays
    base = SHOP if b.shop else 0.5
    column, floor = np.floor(wall.along / bay), np.floor((wall.up - base) / b.storey)
    beside = np.abs(wall.along / bay - column - 0.5) * bay
    above = np.abs((wall.up - base) / b.storey - floor - 0.5) * b.storey
    upper = (wall.up > base) & (wall.up < b.height - b.roof - 0.9)
    half_w, half_h = facade.wide * bay / 2, facade.high * b.storey / 2
    outer = cover(half_w + facade.frame - beside, wall.pixel_along) * cover(
        half_h + facade.frame - above, wall.pixel_up
    )
    pane = cover(half_w - beside, wall.pixel_along) * cover(half_h - above, wall.pixel_up) * upper
    if b.style in ("brick", "plaster"):
        pane *= cover(beside - 0.04, wall.pixel_along)  # casement bar
    frame = outer * upper
    if b.shop:
        show = cover(bay * 0.44 - beside, wall.pixel_along) * cover(1.15 - np.abs(wall.up - 1.6), wall.pixel_up)
        pane = np.maximum(pane, show * (wall.up < base))
    return frame, pane, sample(grain(), column + b.variant % 509, floor * 7 + b.variant % 97)


def _glass(canvas: Canvas, b: Building, wall: Wall, cell: FloatArray) -> FloatArray:
    """(3, h, w) panes: a dark room and the sky's reflection, or at dusk, in some, a lamp."""
    light = canvas.light
    share = np.clip(0.24 + 0.10 * cell + 0.14 * wall.up / b.height, 0.04, 0.7)
    tint = planes(b.colour) * (1.25 / 255) if b.style == "glass" else 0.75
    rgb = planes(light.horizon) * tint * share
    rgb += planes((34, 42, 52)) * planes(light.on(0))
    if light.lamps:
        lamp = planes((255, 204, 122)) * (0.8 + 0.1 * np.clip(cell, -2, 2))
        np.copyto(rgb, lamp, where=(cell > 0.55) | ((wall.up < SHOP) & b.shop))
    return rgb


def _add_roof(rgb: FloatArray, b: Building, wall: Wall) -> None:
    """Tiles above the eaves, and the gutter between."""
    eaves = b.height - b.roof
    if wall.up.max() < eaves - 1:
        return
    course = wall.up / 0.35
    joint = np.abs(course - np.floor(course) - 0.5) > 0.36
    tiles = 1 - joint * (np.float32(0.18) / (1 + wall.pixel_up * 20))
    blend(rgb, planes(ROOFS[b.variant % len(ROOFS)]) * tiles, cover(wall.up - eaves, wall.pixel_up))
    blend(rgb, 205.0, cover(0.14 - np.abs(wall.up - eaves), wall.pixel_up) * 0.8)


class Silhouette:
    """The line below which buildings met so far hide everything behind them.

    Args:
        view: The camera.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.top = np.full(view.width, np.inf, dtype=np.float32)  # the line's row per column

    def meet(self, b: Building) -> Visible:
        """What buildings met earlier, which must be nearer, leave of this one; it hides others from now on."""
        front, side = front_box(self.view, b), side_box(self.view, b)
        return Visible(
            front=front and self._uncover(front, b, np.full(front[2] - front[0], b.near, dtype=np.float32)),
            side=side and self._uncover(side, b, wall_distance(self.view, b, side)),
        )

    def _uncover(self, box: Box, b: Building, z: FloatArray) -> Box | None:
        """The part of a wall's box above the line, which is raised to the wall; z (w,) is the wall's distance."""
        columns = slice(box[0], box[2])
        top, line = self.view.v(b.height, z), self.top[columns]
        shown = np.flatnonzero(top < line)
        if not shown.size:
            return None
        lowest = np.minimum(line, self.view.v(0.0, z))[shown].max()
        self.top[columns] = np.minimum(line, top)
        first, last = int(shown[0]), int(shown[-1])
        return self.view.box(box[0] + first, float(top[shown].min()), box[0] + last + 1, float(lowest))
