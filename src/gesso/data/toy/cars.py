"""Painter of the toy world's cars: a profile drawn out to a body, seen in true perspective from any side.

A car's own coordinates are metres ahead of its middle, to its right, and up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gesso.data.toy.paint import Box, Canvas, Glow, Sketch
from gesso.data.toy.props import light_at
from gesso.data.toy.world import FloatArray, Prop, World

Profile = tuple[tuple[float, float, float], ...]  # ahead, up, half width
TYRE, RIM, DARK = (26, 26, 28), (150, 152, 156), (22, 23, 26)
GLASS = (44, 54, 64)
WHEEL = 0.33
CIRCLE = np.stack([f(np.linspace(0, 2 * math.pi, 16, endpoint=False)) for f in (np.cos, np.sin)], axis=1)


@dataclass(frozen=True)
class Shape:
    """A car's body.

    Attributes:
        profile: Its outline seen from the left, from the rear bumper over the roof to the front bumper.
        panels: One letter per stretch of the profile: p paint, g glass, b bumper.
        windows: Outlines (ahead, up) of the side windows.
        wheels: Positions of the axles, metres ahead of the middle.
    """

    profile: Profile
    panels: str
    windows: tuple[tuple[tuple[float, float], ...], ...]
    wheels: tuple[float, float]


SHAPES = {
    "saloon": Shape(
        (
            (-2.15, 0.30, 0.86),
            (-2.22, 0.52, 0.90),
            (-2.15, 0.97, 0.86),
            (-1.62, 1.03, 0.84),
            (-0.92, 1.42, 0.66),
            (0.30, 1.45, 0.66),
            (1.05, 1.00, 0.84),
            (2.02, 0.84, 0.84),
            (2.20, 0.52, 0.88),
            (2.12, 0.28, 0.84),
        ),
        "bppgpgppb",
        (
            ((-1.35, 1.02), (-0.88, 1.36), (-0.32, 1.38), (-0.32, 1.00)),
            ((-0.24, 1.00), (-0.24, 1.38), (0.26, 1.38), (0.86, 1.00)),
        ),
        (-1.32, 1.36),
    ),
    "hatchback": Shape(
        (
            (-1.88, 0.32, 0.84),
            (-1.95, 0.55, 0.87),
            (-1.86, 1.00, 0.84),
            (-1.45, 1.48, 0.68),
            (0.20, 1.52, 0.68),
            (0.98, 1.02, 0.82),
            (1.72, 0.88, 0.82),
            (1.92, 0.55, 0.86),
            (1.85, 0.30, 0.82),
        ),
        "bpgpgppb",
        (
            ((-1.55, 1.06), (-1.30, 1.40), (-0.50, 1.43), (-0.50, 1.02)),
            ((-0.42, 1.02), (-0.42, 1.43), (0.16, 1.43), (0.78, 1.02)),
        ),
        (-1.22, 1.2),
    ),
    "van": Shape(
        (
            (-2.30, 0.34, 0.92),
            (-2.36, 0.60, 0.95),
            (-2.32, 1.20, 0.94),
            (-2.22, 1.78, 0.86),
            (-2.10, 1.98, 0.82),
            (1.05, 2.00, 0.82),
            (1.80, 1.22, 0.90),
            (2.28, 1.02, 0.90),
            (2.42, 0.60, 0.94),
            (2.34, 0.32, 0.90),
        ),
        "bpgppgppb",
        (
            ((-1.9, 1.24), (-1.85, 1.74), (-0.2, 1.78), (-0.2, 1.22)),
            ((-0.1, 1.22), (-0.1, 1.78), (0.98, 1.78), (1.55, 1.22)),
        ),
        (-1.45, 1.5),
    ),
}


@dataclass
class _Body:
    """A car placed in the world, with a list of polygons in picture points gathered for one projection."""

    canvas: Canvas
    prop: Prop

    def __post_init__(self) -> None:
        self.sin, self.cos = math.sin(self.prop.heading), math.cos(self.prop.heading)
        dx, dz = self.canvas.view.camera.x - self.prop.x, -self.prop.z
        size = self.prop.size
        self.eye = np.array(  # the camera in the car's coordinates
            [dx * self.sin + dz * self.cos, dx * self.cos - dz * self.sin, self.canvas.view.camera.height]
        ) / np.array([size, size, size])
        self.polygons: list[tuple[FloatArray, FloatArray]] = []

    def add(self, points: FloatArray, colour: FloatArray) -> None:
        """Queue an (N, 3) polygon in the car's coordinates."""
        self.polygons.append((points, colour))

    def project(self) -> FloatArray:
        """(N, 2) picture points of all queued polygons, one after the other."""
        points = np.concatenate([p for p, _ in self.polygons]) * self.prop.size
        ahead, right, up = points.T
        x = self.prop.x + ahead * self.sin + right * self.cos
        z = np.maximum(self.prop.z + ahead * self.cos - right * self.sin, 0.5)
        return self.canvas.view.project(np.stack([x, up, z], axis=1).astype(np.float32))


def paint_car(canvas: Canvas, world: World, car: Prop, ordinal: int) -> None:
    """Underbody, far to near: the panels that face the camera, then the near side with its wheels, then lights."""
    body, shape = _Body(canvas, car), SHAPES[car.shape]
    light = light_at(canvas, world, car)
    side = 1.0 if body.eye[1] > 0 else -1.0
    _add_underbody(body, shape, light)
    _add_panels(body, shape, light)
    if abs(body.eye[1]) > 0.9:
        _add_side(body, shape, light, side)
    lamps = _add_ends(body, light)
    every = body.project()
    box = canvas.view.box(*(every.min(0) - 1).tolist(), *(every.max(0) + 1).tolist())
    if box is None:
        return
    sketch = Sketch(canvas, box)
    sketch.polygons(every, [len(p) for p, _ in body.polygons], np.array([c for _, c in body.polygons]))
    sketch.finish(car.z, {1: ordinal}, _sheen(canvas, box, every))
    if canvas.light.lamps:
        corners = 4 * len(lamps)  # the lamps are the last polygons
        for (u, v), glow in zip(every[len(every) - corners :].reshape(-1, 4, 2).mean(axis=1), lamps, strict=True):
            canvas.glows.append(Glow(float(u), float(v), 0.5 * canvas.view.focal / car.z, glow, ordinal))


def _add_underbody(body: _Body, shape: Shape, light: FloatArray) -> None:
    """Tyres below the bumpers and the darkness between them."""
    dark, tyre = np.array(DARK) * light * 0.6, np.array(TYRE) * light
    for ahead in sorted(shape.wheels, key=lambda a: -abs(a - body.eye[0])):
        body.add(_across(ahead, 0.12, 0.4, -0.8, 0.8), dark)
        for left, right in ((-0.86, -0.64), (0.64, 0.86)):
            body.add(_across(ahead, 0.0, 0.4, left, right), tyre)


def _across(ahead: float, low: float, high: float, left: float, right: float) -> FloatArray:
    """An upright rectangle across the car."""
    corners = [[ahead, left, low], [ahead, right, low], [ahead, right, high], [ahead, left, high]]
    return np.array(corners, dtype=np.float32)


def _add_panels(body: _Body, shape: Shape, light: FloatArray) -> None:
    """The stretches of the profile that face the camera, farthest first."""
    paint = np.array(body.prop.colour, dtype=np.float32)
    stretches = list(zip(shape.profile, shape.profile[1:], shape.panels, strict=False))
    stretches.sort(key=lambda s: -abs((s[0][0] + s[1][0]) / 2 - body.eye[0]))
    for (a0, y0, w0), (a1, y1, w1), panel in stretches:
        normal = np.array([y0 - y1, a1 - a0]) / math.hypot(y0 - y1, a1 - a0)
        if normal[0] * (body.eye[0] - a0) + normal[1] * (body.eye[2] - y0) <= 0:
            continue
        corners = np.array([[a0, -w0, y0], [a0, w0, y0], [a1, w1, y1], [a1, -w1, y1]], dtype=np.float32)
        bright = 0.9 + 0.16 * normal[1]
        if panel == "g":
            body.add(corners, paint * light * bright * 0.8)
            pane = corners * 0.86 + corners.mean(axis=0) * 0.14
            body.add(pane, _glass(body, normal[1]))
        else:
            body.add(corners, paint * light * bright if panel == "p" else paint * light * 0.55)


def _glass(body: _Body, tilt: float) -> FloatArray:
    light = body.canvas.light
    return np.asarray(np.array(GLASS) * light.ambient + light.horizon * (0.10 + 0.16 * max(tilt, 0)), dtype=np.float32)


def _add_side(body: _Body, shape: Shape, light: FloatArray, side: float) -> None:
    """The flank: paint, a darker sill, a reflection of the sky, windows, a door line, and wheels."""
    paint = np.array(body.prop.colour, dtype=np.float32) * light
    outline = np.array([(a, side * w, y) for a, y, w in shape.profile], dtype=np.float32)
    body.add(outline, paint * 0.92)
    rear, front = shape.profile[0][0], shape.profile[-1][0]
    belt = shape.windows[0][0][1]
    body.add(_along(side * 0.9, rear, front, 0.3, 0.46), paint * 0.6)
    body.add(_along(side * 0.89, rear + 0.1, front - 0.2, belt - 0.26, belt - 0.16), paint * 0.9 + 22)
    for window in shape.windows:
        body.add(
            np.array([(a, side * (0.87 - 0.32 * (y - belt)), y) for a, y in window], dtype=np.float32),
            _glass(body, 0.4),
        )
    door = shape.windows[1][0][0] - 0.04
    body.add(_along(side * 0.9, door - 0.012, door + 0.012, 0.45, belt), paint * 0.5)
    for ahead in shape.wheels:
        for radius, colour in ((WHEEL + 0.07, DARK), (WHEEL, TYRE), (WHEEL * 0.6, RIM)):
            wheel = np.empty((len(CIRCLE), 3), dtype=np.float32)
            wheel[:, 0], wheel[:, 1], wheel[:, 2] = (
                ahead + CIRCLE[:, 0] * radius,
                side * 0.9,
                WHEEL + CIRCLE[:, 1] * radius,
            )
            if radius > WHEEL:
                wheel[:, 2] = np.maximum(wheel[:, 2], 0.3)
            body.add(wheel, np.array(colour) * light)


def _along(right: float, rear: float, front: float, low: float, high: float) -> FloatArray:
    """An upright rectangle along the car."""
    return np.array(
        [[rear, right, low], [front, right, low], [front, right, high], [rear, right, high]], dtype=np.float32
    )


def _add_ends(body: _Body, light: FloatArray) -> list[tuple[float, float, float]]:
    """Plate, grille and lights of the visible end; returns the glow of each light, which are the last polygons."""
    profile = SHAPES[body.prop.shape].profile
    if body.eye[0] < profile[1][0]:
        end, lit, unlit, glow = profile[1][0] - 0.02, (255, 60, 40), (150, 20, 22), (210.0, 30.0, 16.0)
    elif body.eye[0] > profile[-2][0]:
        end, lit, unlit, glow = profile[-2][0] + 0.02, (255, 248, 220), (226, 230, 232), (220.0, 200.0, 150.0)
        body.add(_across(end, 0.46, 0.62, -0.42, 0.42), np.array(DARK) * light)
    else:
        return []
    body.add(_across(end, 0.42, 0.54, -0.26, 0.26), np.array([222, 222, 206]) * light)
    on = body.canvas.light.lamps
    for left, right in ((-0.84, -0.54), (0.54, 0.84)):
        body.add(_across(end, 0.62, 0.8, left, right), np.array(lit if on else unlit) * (1.0 if on else light))
    return [glow, glow]


def _sheen(canvas: Canvas, box: Box, points: FloatArray) -> FloatArray:
    """(h, 1) brightness from roof to sill, as polished paint mirrors the sky above and the road below."""
    top, bottom = float(points[:, 1].min()), float(points[:, 1].max())
    down = (canvas.view.rows(box[1], box[3]) - top) / max(bottom - top, 1.0)
    return np.asarray(1.08 - 0.26 * np.maximum(down, 0) ** 1.5, dtype=np.float32)
