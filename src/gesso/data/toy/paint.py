"""What every painter of the toy world needs: the projection, the canvas, textures, and small sketches of polygons.

Pictures are painted at OVERSAMPLE times their size, from back to front, and reduced in the end. Colours are float32, 0..255, and
every channel is a plane of its own, (3, h, w): arithmetic on rows of pixels is several times as fast as on triples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from gesso.data.toy.world import Camera, FloatArray, Kind, Light

BoolArray = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom exclusive
Point = tuple[float, float]  # column, row
OVERSAMPLE = 2
TILE = 512  # texels along a texture's side; textures wrap around

STUFF = (Kind.SKY, Kind.ROAD, Kind.MARKING, Kind.SIDEWALK, Kind.GRASS, Kind.POLE)
ORDINALS = {kind: ordinal for ordinal, kind in enumerate(STUFF)}  # objects are numbered from len(STUFF) on


@dataclass(frozen=True)
class View:
    """A camera with a picture size; u and v are columns and rows of the oversampled picture."""

    camera: Camera
    height: int
    width: int

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return self.camera.focal * self.height

    @property
    def horizon(self) -> float:
        """Row of the horizon."""
        return self.camera.horizon * self.height

    @property
    def centre(self) -> float:
        """Column of the vanishing point."""
        return self.camera.centre * self.width

    def u(self, x: float | FloatArray, z: float | FloatArray) -> FloatArray:
        """Columns of points x metres right of the road's middle, z metres away."""
        return np.asarray(self.centre + self.focal * (x - self.camera.x) / z, dtype=np.float32)

    def v(self, y: float | FloatArray, z: float | FloatArray) -> FloatArray:
        """Rows of points y metres up, z metres away."""
        return np.asarray(self.horizon + self.focal * (self.camera.height - y) / z, dtype=np.float32)

    def project(self, points: FloatArray) -> FloatArray:
        """(N, 3) points x, y, z -> (N, 2) columns and rows."""
        x, y, z = points.T
        return np.stack([self.u(x, z), self.v(y, z)], axis=1)

    def box(self, u0: float, v0: float, u1: float, v1: float) -> Box | None:
        """The whole pixels that a rectangle touches, or None outside the picture."""
        left, top = max(math.floor(u0), 0), max(math.floor(v0), 0)
        right, bottom = min(math.ceil(u1), self.width), min(math.ceil(v1), self.height)
        return (left, top, right, bottom) if left < right and top < bottom else None

    def columns(self, left: int, right: int) -> FloatArray:
        """(1, right - left) pixel centres."""
        return np.arange(left + 0.5, right, dtype=np.float32)[None, :]

    def rows(self, top: int, bottom: int) -> FloatArray:
        """(bottom - top, 1) pixel centres."""
        return np.arange(top + 0.5, bottom, dtype=np.float32)[:, None]


@dataclass(frozen=True)
class Glow:
    """A lamp: shines only where the pixel at its middle still belongs to the object that carries it."""

    u: float
    v: float
    radius: float
    colour: tuple[float, float, float]
    ordinal: int


@dataclass
class Canvas:
    """The picture being painted.

    Attributes:
        view: Camera and size.
        light: Time of day.
        rgb: (3, H, W) float32, 0..255.
        ids: (H, W) uint8: a position in STUFF, or len(STUFF) + position in the list of objects.
        glows: Lamps to add at the end.
    """

    view: View
    light: Light
    rgb: FloatArray = field(init=False)
    ids: npt.NDArray[np.uint8] = field(init=False)
    glows: list[Glow] = field(default_factory=list)

    def __post_init__(self) -> None:
        shape = (self.view.height, self.view.width)
        self.rgb = np.zeros((3, *shape), dtype=np.float32)
        self.ids = np.zeros(shape, dtype=np.uint8)

    def paint(self, box: Box, rgb: FloatArray, mask: BoolArray, ordinal: int) -> None:
        """Lay (3, h, w) colours over a box where the (h, w) mask is set."""
        left, top, right, bottom = box
        np.copyto(self.rgb[:, top:bottom, left:right], rgb, where=mask)
        np.copyto(self.ids[top:bottom, left:right], ordinal, where=mask)

    def through_air(self, rgb: FloatArray, z: float) -> FloatArray:
        """(3, h, w) colours, changed in place to what is seen of them through z metres of haze."""
        share = self.light.haze(z)
        rgb *= 1 - share
        rgb += planes(self.light.horizon) * share
        return rgb


def planes(colour: Iterable[float]) -> FloatArray:
    """A colour as (3, 1, 1) float32, to meet (3, h, w) pictures."""
    return np.array(colour, dtype=np.float32).reshape(3, 1, 1)


def blend(rgb: FloatArray, over: FloatArray | float, share: FloatArray) -> None:
    """Lay `share` (h, w) of the colours `over` on (3, h, w) colours, in place."""
    change = over - rgb
    change *= share
    rgb += change


# ----------------------------------------------------------------------------------------------------------- textures


@cache
def fractal() -> FloatArray:
    """(TILE, TILE) float32 noise of many octaves, about unit variance, wrapping around."""
    rng, total = np.random.default_rng(7), np.zeros((TILE, TILE), dtype=np.float32)
    for cells in (8, 16, 32, 64, 128, 256):
        grid = rng.standard_normal((cells, cells)).astype(np.float32)
        total += ndimage.zoom(grid, TILE / cells, order=1, mode="grid-wrap", grid_mode=True) * (8 / cells) ** 0.6
    return np.asarray(total / total.std(), dtype=np.float32)


@cache
def grain() -> FloatArray:
    """(TILE, TILE) float32 white noise with unit variance."""
    return np.random.default_rng(11).standard_normal((TILE, TILE)).astype(np.float32)


def sample(tile: FloatArray, x: FloatArray, y: FloatArray) -> FloatArray:
    """Texels at whole coordinates; x and y broadcast against each other."""
    row = (y.astype(np.int32) & (TILE - 1)) * TILE
    return tile.take(row + (x.astype(np.int32) & (TILE - 1)), mode="wrap")  # never wraps, but is faster than "raise"


def cover(inside: FloatArray, footprint: FloatArray | float) -> FloatArray:
    """How much of a pixel lies inside an edge: `inside` metres past it, pixels `footprint` metres wide."""
    share = inside / footprint
    share += 0.5
    return np.clip(share, 0, 1, out=share)


# ----------------------------------------------------------------------------------------------------------- sketches


class Sketch:
    """A few flat polygons over a part of the picture; painted onto the canvas as one object."""

    def __init__(self, canvas: Canvas, box: Box) -> None:
        self.canvas, self.box = canvas, box
        self.image = Image.new("RGBA", (box[2] - box[0], box[3] - box[1]))
        self.draw = ImageDraw.Draw(self.image)
        self.u, self.v = box[0] + 0.5, box[1] + 0.5

    def polygon(self, points: Sequence[Point], colour: Iterable[float], part: int = 1) -> None:
        """Fill a polygon of picture points; `part` (1..255) tells parts of one sketch apart."""
        self.draw.polygon([(u - self.u, v - self.v) for u, v in points], fill=_rgba(colour, part))

    def polygons(self, points: FloatArray, sizes: Iterable[int], colours: FloatArray) -> None:
        """Fill many polygons: all their (N, 2) picture points, how many belong to each, and (M, 3) colours."""
        flat = (points - np.array([self.u, self.v], dtype=np.float32)).ravel().tolist()
        start = 0
        for size, rgb in zip(sizes, np.clip(np.rint(colours), 0, 255).astype(int).tolist(), strict=True):
            self.draw.polygon(flat[start : start + 2 * size], fill=(*rgb, 1))
            start += 2 * size

    def ellipse(self, middle: Point, ru: float, rv: float, colour: Iterable[float], part: int = 1) -> None:
        """Fill an ellipse with half axes `ru` and `rv`."""
        x, y = middle[0] - self.u, middle[1] - self.v
        self.draw.ellipse((x - ru, y - rv, x + ru, y + rv), fill=_rgba(colour, part))

    def finish(self, z: float, ordinals: dict[int, int], shade: FloatArray | None = None) -> None:
        """Paint the sketch: `ordinals` per part, `shade` (h, w) or broadcastable multiplies the colours."""
        pixels = np.asarray(self.image)
        rgb = pixels[..., :3].transpose(2, 0, 1).astype(np.float32, order="C")
        if shade is not None:
            rgb *= shade
        rgb = self.canvas.through_air(rgb, z)
        for part, ordinal in ordinals.items():
            self.canvas.paint(self.box, rgb, pixels[..., 3] == part, ordinal)


def _rgba(colour: Iterable[float], part: int) -> tuple[int, int, int, int]:
    red, green, blue = (min(max(round(float(c)), 0), 255) for c in colour)
    return red, green, blue, part


def paint_glows(canvas: Canvas) -> None:
    """Add the light of every lamp that nothing hides."""
    for glow in canvas.glows:
        box = canvas.view.box(glow.u - glow.radius, glow.v - glow.radius, glow.u + glow.radius, glow.v + glow.radius)
        column, row = int(glow.u), int(glow.v)
        inside = 0 <= column < canvas.view.width and 0 <= row < canvas.view.height
        if box is None or not inside or canvas.ids[row, column] != glow.ordinal:
            continue
        across, down = canvas.view.columns(box[0], box[2]) - glow.u, canvas.view.rows(box[1], box[3]) - glow.v
        strength = np.clip(1 - np.sqrt(across**2 + down**2) / glow.radius, 0, 1) ** 2
        canvas.rgb[:, box[1] : box[3], box[0] : box[2]] += planes(glow.colour) * strength
