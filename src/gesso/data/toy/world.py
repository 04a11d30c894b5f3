"""What a toy scene is made of, before any pixel: camera, light, street, buildings and props, in metres.

x runs to the right of the middle of the road, y up from the ground, z away from the camera.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Colour = tuple[int, int, int]
FloatArray = npt.NDArray[np.floating[Any]]


class Kind(IntEnum):
    """Class indices of the toy label space, in the order of `label_spaces/toy.json`."""

    SKY = 0
    BUILDING = 1
    ROAD = 2
    MARKING = 3
    SIDEWALK = 4
    GRASS = 5
    TREE = 6
    POLE = 7
    SIGN = 8
    CAR = 9
    PERSON = 10


ROAD: Colour = (116, 111, 104)  # one for all surfaces: only their texture tells them apart, no mean colour does
STYLES: dict[str, dict[str, Colour]] = {
    "building": {
        "brick": (164, 78, 58),
        "plaster": (232, 206, 152),
        "concrete": (150, 152, 156),
        "glass": (86, 142, 158),
    },
    "road": {"asphalt": ROAD, "cobbles": ROAD},
    "tree": {"green": (82, 130, 48), "autumn": (214, 116, 30), "blossom": (236, 168, 192)},
    "sign": {"red": (206, 32, 38), "blue": (26, 84, 190), "yellow": (248, 202, 36)},
    "car": {
        "red": (200, 26, 32),
        "blue": (28, 76, 186),
        "white": (238, 238, 234),
        "yellow": (246, 192, 18),
        "black": (30, 31, 36),
    },
    "person": {"red": (204, 44, 46), "teal": (22, 148, 140), "mustard": (226, 172, 40), "violet": (118, 66, 170)},
}
TIMES_OF_DAY = ("day", "dusk", "overcast")
CAR_SHAPES = ("saloon", "hatchback", "van")
SIGN_SHAPES = ("disc", "triangle", "diamond", "board")


@dataclass(frozen=True)
class Camera:
    """Where the picture is taken from.

    Attributes:
        x: Metres right of the middle of the road.
        height: Metres above the ground.
        focal: Focal length as a share of the picture's height.
        horizon: Row of the horizon as a share of the picture's height.
        centre: Column of the vanishing point as a share of the picture's width.
    """

    x: float
    height: float
    focal: float
    horizon: float
    centre: float


@dataclass(frozen=True)
class Light:
    """Time of day: every albedo is multiplied by `ambient + sun * facing`.

    Attributes:
        time: One of TIMES_OF_DAY.
        towards_sun: Unit vector (x, y, z); x tells which side of the street is lit.
        ambient: Light from the sky per channel.
        sun: Light from the sun per channel; zeros when overcast.
        zenith: Colour of the sky overhead, 0..255.
        horizon: Colour of the sky at the horizon, which distance fades into.
        clouds: Share of the sky that clouds cover, 0..1.
        clarity: Metres over which haze takes 63 % of a colour.
    """

    time: str
    towards_sun: tuple[float, float, float]
    ambient: FloatArray
    sun: FloatArray
    zenith: FloatArray
    horizon: FloatArray
    clouds: float
    clarity: float

    @property
    def lamps(self) -> bool:
        """Whether lamps, headlights and windows are lit."""
        return self.time == "dusk"

    def on(self, facing: float) -> FloatArray:
        """Light per channel on a surface whose normal has this cosine to the sun."""
        return self.ambient + self.sun * max(facing, 0.0)

    def haze(self, z: float) -> float:
        """Share of the horizon's colour at distance z."""
        return 1.0 - math.exp(-max(z, 0.0) / self.clarity)

    def shadow(self) -> tuple[float, float]:
        """Where a shadow falls, in metres (x, z) per metre of height."""
        x, y, z = self.towards_sun
        return -x / y, -z / y


@dataclass(frozen=True)
class Street:
    """The ground plan.

    Attributes:
        surface: A style of "road".
        lanes: Lanes per direction.
        half: Half the width of the road, metres.
        walk: Width of each sidewalk, metres.
        junction: (near, far) of a crossing street, or None.
        zebra: Near edge of a pedestrian crossing 3 m deep, or None.
    """

    surface: str
    lanes: int
    half: float
    walk: float
    junction: tuple[float, float] | None
    zebra: float | None

    @property
    def wall(self) -> float:
        """Distance from the middle of the road to the foot of the buildings."""
        return self.half + self.walk


@dataclass(frozen=True)
class Building:
    """A box along the street (side -1 left, 1 right) or across its end (side 0).

    Attributes:
        side: Which row it stands in.
        near: z of the face towards the camera.
        far: z of its back.
        left: Smallest x.
        right: Largest x.
        height: Metres.
        roof: Height of the roof band within `height`; 0 for a flat roof.
        storey: Height of a floor.
        bay: Distance between windows.
        shop: Whether the ground floor is a shop.
        style: A style of "building".
        colour: Albedo of the wall, near the style's.
        variant: Seeds the small things.
    """

    side: int
    near: float
    far: float
    left: float
    right: float
    height: float
    roof: float
    storey: float
    bay: float
    shop: bool
    style: str
    colour: Colour
    variant: int

    kind = Kind.BUILDING

    @property
    def depth(self) -> float:
        """Painting order: its far end, so that whatever stands along it comes later."""
        return self.far


@dataclass(frozen=True)
class Prop:
    """A tree, lamp, sign, car or person.

    Attributes:
        kind: TREE, POLE (a lamp), SIGN, CAR or PERSON.
        x: Metres right of the middle of the road.
        z: Metres away.
        heading: Radians; 0 looks away from the camera, pi towards it.
        size: Multiplies every length.
        shape: Of a car or sign: one of CAR_SHAPES or SIGN_SHAPES.
        style: A style of its class; empty for lamps.
        colour: Albedo near the style's.
        variant: Seeds the small things.
    """

    kind: Kind
    x: float
    z: float
    heading: float = 0.0
    size: float = 1.0
    shape: str = ""
    style: str = ""
    colour: Colour = (90, 94, 98)
    variant: int = 0

    @property
    def depth(self) -> float:
        """Painting order."""
        return self.z

    @property
    def reach(self) -> tuple[float, float]:
        """Half the ground it takes, metres in x and z."""
        if self.kind is not Kind.CAR:
            return 0.3, 0.3
        return (2.4, 1.1) if abs(math.sin(self.heading)) > 0.7 else (1.1, 2.4)


@dataclass(frozen=True)
class World:
    """Everything a scene shows, before any pixel."""

    camera: Camera
    light: Light
    street: Street
    buildings: tuple[Building, ...]
    props: tuple[Prop, ...]

    def shaded(self, x: float, z: float) -> bool:
        """Whether buildings keep the sun off the ground at (x, z)."""
        shift_x, shift_z = self.light.shadow()
        if not self.light.sun.any():
            return False
        for b in self.buildings:
            if b.side * shift_x >= 0:
                continue
            share = (x - b.side * self.street.wall) / (b.height * shift_x)  # of the way to the shadow's edge
            if 0 <= share < 0.95 and b.near <= z - share * b.height * shift_z <= b.far:
                return True
        return False
