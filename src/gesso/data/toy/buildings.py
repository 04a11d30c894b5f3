"""Painter of the toy world's buildings: walls that recede along the street and flanks that face the camera.

Every wall is painted by one function of two coordinates, metres along it and metres up, so windows, joints and dirt follow
the perspective by themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gesso.data.toy.paint import Canvas, View, cover, fractal, grain, sample
from gesso.data.toy.world import Building, FloatArray, World

SHOP = 3.6  # height of a shop's floor, metres
ACCENTS = ((150, 40, 44), (34, 84, 66), (40, 60, 110), (190, 150, 60), (60, 56, 60))
ROOFS = ((96, 62, 54), (76, 78, 86), (104, 86, 76))


@dataclass(frozen=True)
class Wall:
    """What a wall looks like at each pixel of its box.

    Attributes:
        along: Metres from the wall's start; (1, w).
        up: Metres above the ground; (h, w) or (h, 1).
        pixel_along: Width of a pixel on the wall, metres; (1, w) or a number.
        pixel_up: Height of a pixel on the wall; (1, w) or a number.
        length: Metres.
        facing: Cosine between the wall's normal and the sun.
        shade: Height up to which the opposite row keeps the sun off.
    """

    along: FloatArray
    up: FloatArray
    pixel_along: FloatArray | float
    pixel_up: FloatArray | float
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


def paint_building(canvas: Canvas, world: World, building: Building, ordinal: int) -> None:
    """Flank first, then the wall along the street (a block across the street's end has its front only)."""
    _paint_front(canvas, building, ordinal)
    if building.side:
        _paint_side(canvas, world, building, ordinal)


def _paint_front(canvas: Canvas, b: Building, ordinal: int) -> None:
    view, z = canvas.view, b.near
    if z < 1.5:
        return
    box = view.box(float(view.u(b.left, z)), float(view.v(b.height, z)), float(view.u(b.right, z)), float(view.v(0, z)))
    if box is None:
        return
    scale = z / view.focal  # metres per pixel
    along = (view.columns(box[0], box[2]) - view.centre) * scale + (view.camera.x - b.left)
    up = view.camera.height - (view.rows(box[1], box[3]) - view.horizon) * scale
    wall = Wall(*_single(along, up), scale, scale, b.right - b.left, facing=-canvas.light.towards_sun[2])
    rgb = canvas.through_air(_facade(canvas, b, wall), z)
    canvas.paint(box, rgb, ((up >= 0) & (up <= b.height)).repeat(along.shape[1], axis=1), ordinal)


def _paint_side(canvas: Canvas, world: World, b: Building, ordinal: int) -> None:
    view = canvas.view
    offset = (b.left if b.side > 0 else b.right) - view.camera.x  # of the wall from the camera
    near = max(b.near, 1.0)
    if offset * b.side <= 0.2 or b.far <= near:
        return
    ends = sorted((view.centre + view.focal * offset / near, view.centre + view.focal * offset / b.far))
    box = view.box(ends[0], float(view.v(b.height, near)), ends[1], float(view.v(0, near)))
    if box is None:
        return
    away = np.abs(view.columns(box[0], box[2]) - view.centre)
    z = view.focal * abs(offset) / np.maximum(away, 0.5)  # (1, w)
    scale = z / view.focal
    up = view.camera.height - (view.rows(box[1], box[3]) - view.horizon) * scale
    wall = Wall(
        *_single(z - b.near, up),
        pixel_along=scale * z / abs(offset),
        pixel_up=scale,
        length=b.far - b.near,
        facing=-b.side * canvas.light.towards_sun[0],
        shade=_shade_of_the_opposite_row(world, b),
    )
    haze = 1 - np.exp(-z / np.float32(canvas.light.clarity))
    rgb = _facade(canvas, b, wall)
    rgb += (canvas.light.horizon - rgb) * haze[..., None]
    canvas.paint(box, rgb, (up >= 0) & (up <= b.height), ordinal)


def _single(*arrays: FloatArray) -> tuple[FloatArray, ...]:
    return tuple(a.astype(np.float32) for a in arrays)


def _shade_of_the_opposite_row(world: World, b: Building) -> float:
    sun_x, sun_y, _ = world.light.towards_sun
    heights = [o.height for o in world.buildings if o.side == -b.side]
    if not heights or not world.light.sun.any():
        return 0.0
    return max(float(np.mean(heights)) - 2 * world.street.wall * sun_y / abs(sun_x), 0.0)


# ------------------------------------------------------------------------------------------------------------- facade


def _facade(canvas: Canvas, b: Building, wall: Wall) -> FloatArray:
    """(h, w, 3) colours of a wall without haze."""
    facade = FACADES[b.style]
    frame, pane, cell = _windows(b, facade, wall)
    albedo = np.array(b.colour, dtype=np.float32) * _tone(b, wall)[..., None]
    albedo += (np.array(facade.trim, dtype=np.float32) - albedo) * frame[..., None]
    if b.shop:
        fascia = cover(0.3 - np.abs(wall.up - 3.15), wall.pixel_up)
        albedo += (np.array(ACCENTS[b.variant % len(ACCENTS)], dtype=np.float32) - albedo) * fascia[..., None]
    if b.roof:
        _add_roof(albedo, b, wall)
    rgb = albedo * _light_on(canvas, wall)
    glass = _glass(canvas, b, wall, cell)
    rgb += (glass - rgb) * pane[..., None]
    rgb *= (1 - 0.35 * np.exp(-np.maximum(wall.up, 0) / np.float32(0.7)))[..., None]  # dark where it meets the ground
    return np.asarray(rgb, dtype=np.float32)


def _light_on(canvas: Canvas, wall: Wall) -> FloatArray:
    """(3,) or (h, w, 3) light on the wall, with the opposite row's shadow on its lower part."""
    light = canvas.light
    unlit = light.on(0.0) * np.float32(0.94)
    if wall.facing <= 0 or not light.sun.any():
        return unlit
    lit = cover(wall.up - np.float32(wall.shade), 0.5)
    return unlit + light.sun * np.float32(wall.facing) * lit[..., None]


def _tone(b: Building, wall: Wall) -> FloatArray:
    """(h, w) brightness of the bare wall: stains, courses or panel joints."""
    near = 1 / (1 + np.asarray(wall.pixel_up) * 25)
    offset = b.variant % 511
    stains = sample(fractal(), wall.along * 14 + offset, wall.up * 9 + offset)
    tone = 1 + 0.05 * stains
    if b.style == "brick":
        course = np.floor(wall.up / 0.22)
        brick = sample(grain(), wall.along / 0.45 + course * 0.5 + offset, course)
        joint = np.abs(wall.up / 0.22 - course - 0.5) > 0.39
        tone = tone + near * (0.08 * brick + 0.14 * joint)
    elif b.style == "concrete":
        tone = tone - 0.2 * cover(0.04 - np.abs(wall.up % b.storey - 0.1), wall.pixel_up)
    elif b.style == "plaster":
        tone = tone + 0.04 * near * sample(grain(), wall.along * 20, wall.up * 20 + offset)
        tone = tone + 0.08 * cover(0.12 - np.abs(wall.up % b.storey - 0.1), wall.pixel_up)
    return np.asarray(tone, dtype=np.float32)


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
    pane *= cover(beside - 0.04, wall.pixel_along) if b.style in ("brick", "plaster") else 1.0  # casement bar
    frame = outer * upper
    if b.shop:
        show = cover(bay * 0.44 - beside, wall.pixel_along) * cover(1.15 - np.abs(wall.up - 1.6), wall.pixel_up)
        pane = np.maximum(pane, show * (wall.up < base))
    return frame, pane, sample(grain(), column + b.variant % 509, floor * 7 + b.variant % 97)


def _glass(canvas: Canvas, b: Building, wall: Wall, cell: FloatArray) -> FloatArray:
    """(h, w, 3) panes: a dark room and the sky's reflection, or at dusk, in some, a lamp."""
    light = canvas.light
    share = np.clip(0.24 + 0.10 * cell + 0.14 * wall.up / b.height, 0.04, 0.7)
    tint = np.array(b.colour, dtype=np.float32) / 255 if b.style == "glass" else np.float32(0.75)
    strength = 1.25 if b.style == "glass" else 1.0
    dark = np.array([34, 42, 52], dtype=np.float32) * light.on(0)
    rgb = dark + light.horizon * tint * (share * np.float32(strength))[..., None]
    if light.lamps:
        lamp = np.array([255, 204, 122], dtype=np.float32) * (0.8 + 0.1 * np.clip(cell, -2, 2))[..., None]
        lit = (cell > 0.55) | ((wall.up < SHOP) & b.shop)
        rgb = np.where(lit[..., None], lamp, rgb)
    return np.asarray(rgb, dtype=np.float32)


def _add_roof(albedo: FloatArray, b: Building, wall: Wall) -> None:
    """Tiles above the eaves, and the gutter between."""
    eaves = b.height - b.roof
    course = wall.up / 0.35
    tiles = 1 - 0.18 * (np.abs(course - np.floor(course) - 0.5) > 0.36) / (1 + np.asarray(wall.pixel_up) * 20)
    roof = np.array(ROOFS[b.variant % len(ROOFS)], dtype=np.float32) * tiles[..., None].astype(np.float32)
    albedo += (roof - albedo) * cover(wall.up - np.float32(eaves), wall.pixel_up)[..., None]
    gutter = cover(0.14 - np.abs(wall.up - np.float32(eaves)), wall.pixel_up)
    albedo += (np.float32(205) - albedo) * (gutter * 0.8)[..., None]


def wall_height_in_view(canvas: Canvas, z: float) -> float:
    """Metres that fit above the horizon at distance z."""
    return canvas.view.horizon * z / canvas.view.focal if math.isfinite(z) else math.inf


class Silhouette:
    """The line above which nothing behind the buildings met so far is hidden.

    Args:
        view: The camera.
    """

    def __init__(self, view: View) -> None:
        self.view = view
        self.top = np.full(view.width, np.inf, dtype=np.float32)  # rows; everything below is covered

    def hides(self, b: Building) -> bool:
        """Whether buildings asked about earlier, which must be nearer, cover this one; it then covers others itself."""
        view, near = self.view, max(b.near, 1.0)
        covered = True
        if b.near >= 1.5:
            covered = self._covers(
                float(view.u(b.left, near)), float(view.u(b.right, near)), b.height, np.float32(near)
            )
        if not b.side:
            return covered
        offset = (b.left if b.side > 0 else b.right) - view.camera.x
        if offset * b.side <= 0.2 or b.far <= near:
            return covered
        ends = sorted((view.centre + view.focal * offset / near, view.centre + view.focal * offset / b.far))
        box = view.box(ends[0], 0, ends[1], view.height)
        if box is None:
            return covered
        away = np.abs(view.columns(box[0], box[2])[0] - view.centre)
        z = view.focal * abs(offset) / np.maximum(away, 0.5)
        covered = self._covers(ends[0], ends[1], b.height, z) and covered
        columns = slice(box[0], box[2])
        self.top[columns] = np.minimum(self.top[columns], view.v(b.height, z))
        return covered

    def _covers(self, left: float, right: float, height: float, z: FloatArray | np.float32) -> bool:
        box = self.view.box(left, 0, right, self.view.height)
        return box is None or bool((self.top[box[0] : box[2]] <= self.view.v(height, z)).all())
