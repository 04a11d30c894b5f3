"""Painters of what stands still in the toy world: sky, ground with its shadows, buildings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from gesso.data.toy.paint import (
    ORDINALS,
    OVERSAMPLE,
    BoolArray,
    Canvas,
    View,
    blend,
    cover,
    fractal,
    grain,
    planes,
    sample,
)
from gesso.data.toy.world import STYLES, FloatArray, Kind, Prop, Street, World

MARKING_WIDTH = 0.14  # metres
DASH, DASH_PERIOD = 3.0, 6.5
KERB = 0.28
STONE_WIDTH, STONE_DEPTH, JOINT = 0.6, 0.8, 0.08  # of the cobbles: large setts, to be seen in small pictures
SLABS, LAWN = (178, 172, 164), (104, 128, 62)


# ---------------------------------------------------------------------------------------------------------------- sky


def paint_sky(canvas: Canvas, drift: float) -> None:
    """Gradient from horizon to zenith, sunset glow, and clouds on a plane overhead; `drift` moves the clouds."""
    view, light = canvas.view, canvas.light
    bottom = min(math.ceil(view.horizon), view.height)
    rise = (view.horizon - view.rows(0, bottom)) / view.height  # (h, 1), 0 at the horizon
    up = np.clip(rise / 0.5, 0, 1) ** 0.7
    clear = planes(light.horizon) + planes(light.zenith - light.horizon) * up  # (3, h, 1)
    rgb = clear.repeat(view.width, axis=2)
    if light.lamps:
        aside = (view.columns(0, view.width) - view.centre) / view.height - math.copysign(0.5, light.towards_sun[0])
        rgb += planes((40, 14, -10)) * np.exp(-3 * aside**2) * np.exp(-8 * rise)
    depth = 1 / (np.maximum(rise, 0) + np.float32(0.06))
    across = (view.columns(0, view.width) - view.centre) / view.height * depth
    puffs = sample(fractal(), across * 22 + drift, depth * 40 + drift) + 0.4 * sample(
        fractal(), across * 70 - drift, depth * 110
    )
    share = np.clip((puffs + 4 * light.clouds - 2.2) * 0.55, 0, 0.85) * np.clip(rise * 9, 0, 1)
    blend(rgb, planes(light.horizon * 0.35 + (light.ambient + light.sun) * 150), share)
    canvas.rgb[:, :bottom] = rgb
    canvas.rgb[:, bottom:] = planes(light.horizon)


# ------------------------------------------------------------------------------------------------------------- ground


@dataclass(frozen=True)
class Ground:
    """The visible ground: rows from `top` down; x (h, w) and z (h, 1) in metres; one pixel's size in x and in z."""

    top: int
    x: FloatArray
    z: FloatArray
    pixel_x: FloatArray
    pixel_z: FloatArray


def ground_of(view: View) -> Ground:
    """Where on the ground each pixel below the horizon looks."""
    top = max(math.floor(view.horizon + 0.5 + 0.002 * view.height), 0)
    z = view.focal * view.camera.height / (view.rows(top, view.height) - np.float32(view.horizon))
    x = np.float32(view.camera.x) + (view.columns(0, view.width) - np.float32(view.centre)) * (z / view.focal)
    return Ground(top, x, z, z / view.focal, z * z / (view.focal * view.camera.height))


def paint_ground(canvas: Canvas, world: World, offset: float) -> None:
    """Road, markings, sidewalks and grass with their textures and everything's shadow; `offset` moves the textures."""
    ground, street, light = ground_of(canvas.view), world.street, world.light
    aside = np.abs(ground.x)
    on_road = (aside < street.half) | _band(ground.z, street.junction)
    on_grass = (aside > street.wall) & ~_band(ground.z, street.junction, 2.5)
    worn = sample(fractal(), ground.x * 30 + offset, ground.z * 30) > 0.9
    marking = _markings(ground, street) * on_road * (1 - np.float32(0.35) * worn)
    ids = np.full(ground.x.shape, ORDINALS[Kind.SIDEWALK], dtype=np.uint8)
    for kind, where in ((Kind.GRASS, on_grass), (Kind.ROAD, on_road), (Kind.MARKING, marking > 0.5)):
        ids[where] = ORDINALS[kind]

    noise = sample(fractal(), ground.x * 24 + offset, ground.z * 24)
    fine = sample(grain(), ground.x * 60, ground.z * 60 + offset) / (1 + ground.z / 14)
    tone = np.where(on_road, _pave(ground, street, noise, fine), _slabs(ground, noise, fine))
    np.copyto(tone, 1 + 0.12 * noise + 0.12 * fine, where=on_grass)
    rgb = _albedos(street).take(ids, axis=1) * tone
    kerb = cover(KERB - (aside - street.half), ground.pixel_x) * (ids == ORDINALS[Kind.SIDEWALK])
    rgb += kerb * 26
    blend(rgb, planes((226, 224, 214)), marking * 0.92)

    haze = 1 - np.exp(-ground.z / light.clarity)  # (h, 1)
    rgb *= (1 - shadows(canvas.view, world, ground.top)) * (1 - haze)
    rgb *= planes(light.on(light.towards_sun[1]))
    rgb += planes(light.horizon) * haze
    canvas.rgb[:, ground.top :], canvas.ids[ground.top :] = rgb, ids


def _albedos(street: Street) -> FloatArray:
    """(3, ordinals) colour of the ground by ordinal; paint lies on the road's."""
    albedos = np.zeros((3, len(ORDINALS)), dtype=np.float32)
    road = STYLES["road"][street.surface]
    for kind, colour in ((Kind.ROAD, road), (Kind.MARKING, road), (Kind.SIDEWALK, SLABS), (Kind.GRASS, LAWN)):
        albedos[:, ORDINALS[kind]] = colour
    return albedos


def _band(z: FloatArray, band: tuple[float, float] | None, margin: float = 0.0) -> BoolArray:
    if band is None:
        return np.zeros(z.shape, dtype=bool)
    return (z > band[0] - margin) & (z < band[1] + margin)


def _pave(ground: Ground, street: Street, noise: FloatArray, fine: FloatArray) -> FloatArray:
    """(h, w) tone of the road: its surface, wheel tracks, and dirt along the kerb."""
    tone = 1 + 0.07 * noise + 0.10 * fine
    tone = tone + (_stones(ground) if street.surface == "cobbles" else 0.06 * fine)
    tracks = np.cos(ground.x * np.float32(2 * math.pi / 1.6)) * 0.03
    gutter = np.clip(np.abs(ground.x) - street.half + 0.5, 0, 0.5) * 0.5
    return tone + tracks - gutter


def _stones(ground: Ground) -> FloatArray:
    """(h, w) what cobbles add to the tone, zero on average: light stones in rows with narrow, dark joints.

    The many stones are lighter by what the few joints are darker, so that no mean tells cobbles from asphalt, but the usual
    pixel does: knowing the surface makes the mean absolute error smaller. Where a row of stones is hardly a pixel, all fades
    to that mean.
    """
    row = np.floor(ground.z / STONE_DEPTH)
    along = ground.x / STONE_WIDTH + (row % 2) * np.float32(0.5)
    across = _joint((along - np.floor(along) - 0.5) * STONE_WIDTH, STONE_WIDTH, ground.pixel_x)
    down = _joint((ground.z / STONE_DEPTH - row - 0.5) * STONE_DEPTH, STONE_DEPTH, ground.pixel_z)
    stone = (1 - across) * (1 - down)
    usual = (1 - JOINT / STONE_WIDTH) * (1 - JOINT / STONE_DEPTH)  # share of the ground that is stone
    rows_per_pixel = OVERSAMPLE * ground.pixel_z / STONE_DEPTH
    return np.clip((1 - rows_per_pixel) / 0.6, 0, 1) * 0.45 * (stone - usual)


def _joint(aside: FloatArray, period: float, footprint: FloatArray) -> FloatArray:
    """Share of a pixel that lies on a joint, `aside` metres from the middle of a stone `period` metres long."""
    inside = np.abs(aside) - (period - JOINT) / 2
    return cover(inside, footprint) - cover(inside - JOINT, footprint)


def _slabs(ground: Ground, noise: FloatArray, fine: FloatArray) -> FloatArray:
    """(h, w) tone of the sidewalk's slabs."""
    joint = np.maximum(
        cover(0.03 - np.abs(ground.x % 0.9 - 0.45), ground.pixel_x),
        cover(0.03 - np.abs(ground.z % 0.9 - 0.45), ground.pixel_z),
    )
    slab = sample(grain(), ground.x / 0.9 + 0.5, ground.z / 0.9 + 0.5)
    fade = 1 / (1 + ground.z / 15)
    return 1 + 0.05 * noise + 0.06 * fine + fade * (0.05 * slab - 0.22 * joint)


def _markings(ground: Ground, street: Street) -> FloatArray:
    """(h, w) share of paint: dashed middle and lane lines, edge lines, zebra and stop line."""
    dash = (ground.z % DASH_PERIOD < DASH) if street.lanes == 1 else np.ones_like(ground.z, dtype=bool)
    paint = cover(MARKING_WIDTH / 2 - np.abs(ground.x), ground.pixel_x) * dash
    if street.lanes > 1:
        dashes = ground.z % DASH_PERIOD < DASH
        line = cover(MARKING_WIDTH / 2 - np.abs(np.abs(ground.x) - 3.2), ground.pixel_x)
        paint = np.maximum(paint, line * dashes)
    edge = street.half - (2.2 if street.half % 3.2 > 0.1 else 0.25)
    paint = np.maximum(paint, cover(MARKING_WIDTH / 2 - np.abs(np.abs(ground.x) - edge), ground.pixel_x))
    if street.junction:
        near, far = street.junction
        paint = paint * ~_band(ground.z, (near - 1.0, far + 1.0))
        stop = cover(0.2 - np.abs(ground.z - near + 0.8), ground.pixel_z) * (ground.x > 0.1)
        paint = np.maximum(paint, stop)
    if street.zebra:
        stripes = cover(0.25 - np.abs(ground.x % 1.0 - 0.5), ground.pixel_x) * (np.abs(ground.x) < street.half - 0.3)
        within = _band(ground.z, (street.zebra, street.zebra + 3.0))
        paint = np.where(within, stripes, paint * ~_band(ground.z, (street.zebra - 0.7, street.zebra + 3.7)))
    return paint


# ------------------------------------------------------------------------------------------------------------ shadows


def shadows(view: View, world: World, top: int) -> FloatArray:
    """(H - top, W) share of light that the ground lacks: cast shadows where the sun shines, contact shadows always."""
    image = Image.new("L", (view.width, view.height - top))
    draw = ImageDraw.Draw(image)
    light = world.light
    if light.sun.any():
        full = light.on(light.towards_sun[1])
        strength = int(255 * (1 - float((light.ambient / full).mean())))
        for outline in _cast_shadows(world):
            _fill(draw, view, top, outline, strength)
        image = image.filter(ImageFilter.BoxBlur(view.height / 200))
        draw = ImageDraw.Draw(image)
    for prop in world.props:
        if prop.kind is Kind.CAR:
            _fill(draw, view, top, _footprint(prop, 0.95, 2.15), 190)
        else:
            _fill(draw, view, top, _round(prop.x, prop.z, 0.28 * prop.size), 110)
    image = image.filter(ImageFilter.BoxBlur(view.height / 256))
    return np.asarray(image, dtype=np.float32) / 255


def _fill(draw: ImageDraw.ImageDraw, view: View, top: int, outline: FloatArray, strength: int) -> None:
    """Fill an (N, 2) outline of ground points (x, z); what lies behind the camera is drawn up to it."""
    x, z = outline[:, 0], np.maximum(outline[:, 1], 1.2)
    points = np.stack([view.u(x, z), view.v(0.0, z) - top], axis=1)
    draw.polygon(points.ravel().tolist(), fill=strength)


def _cast_shadows(world: World) -> list[FloatArray]:
    shift = np.array(world.light.shadow(), dtype=np.float32)
    outlines = []
    for b in world.buildings:
        if b.side * shift[0] < 0:
            foot = np.array([[b.side * world.street.wall, b.near], [b.side * world.street.wall, b.far]])
            outlines.append(np.concatenate([foot, foot[::-1] + shift * b.height]))
    for prop in world.props:
        if not world.shaded(prop.x, prop.z):
            outlines.extend(_prop_shadow(prop, shift))
    return outlines


def _prop_shadow(prop: Prop, shift: FloatArray) -> list[FloatArray]:
    if prop.kind is Kind.CAR:
        low = _footprint(prop, 0.9, 2.15)
        high = _footprint(prop, 0.68, 1.1) + shift * 1.4 * prop.size
        return [_hull(np.concatenate([low, high]))]
    tall, thick = {Kind.PERSON: (1.7, 0.2), Kind.TREE: (3.6, 0.14), Kind.POLE: (6.5, 0.07), Kind.SIGN: (2.4, 0.05)}[
        prop.kind
    ]
    foot = np.array([[prop.x, prop.z]], dtype=np.float32)
    top = foot + shift * tall * prop.size
    along = shift / np.linalg.norm(shift)
    aside = np.array([-along[1], along[0]]) * thick
    bar = np.concatenate([foot + aside, foot - aside, top - aside, top + aside])
    if prop.kind is not Kind.TREE:
        return [bar]
    crowns = [_round(float(top[0, 0]) + dx, float(top[0, 1]) + dz, 1.3 * prop.size) for dx, dz in _CROWN]
    return [bar, *crowns]


_CROWN = ((0.0, 0.0), (0.9, 0.5), (-0.9, 0.4), (0.2, -0.9), (-0.3, 1.0))


def _footprint(prop: Prop, wide: float, long: float) -> FloatArray:
    """(4, 2) corners of a rectangle `wide` and `long` metres from the middle, turned to the prop's heading."""
    ahead = np.array([math.sin(prop.heading), math.cos(prop.heading)]) * long * prop.size
    right = np.array([math.cos(prop.heading), -math.sin(prop.heading)]) * wide * prop.size
    middle = np.array([prop.x, prop.z])
    corners = [middle + ahead + right, middle + ahead - right, middle - ahead - right, middle - ahead + right]
    return np.array(corners, dtype=np.float32)


def _round(x: float, z: float, radius: float) -> FloatArray:
    turn = np.linspace(0, 2 * math.pi, 12, endpoint=False, dtype=np.float32)
    return np.stack([x + radius * np.cos(turn), z + radius * np.sin(turn)], axis=1)


def _hull(points: FloatArray) -> FloatArray:
    """Convex hull by turning a supporting line (gift wrapping, 16 directions): close enough for a shadow."""
    turn = np.linspace(0, 2 * math.pi, 16, endpoint=False)
    directions = np.stack([np.cos(turn), np.sin(turn)])
    return points[np.argmax(points @ directions, axis=0)]
