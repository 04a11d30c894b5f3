"""What a study is: its protocol, its pictures and who made them. This is `study.json`, which never leaves the server."""

from __future__ import annotations

from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gesso.errors import DataError

Protocol = Literal["ab", "timed", "real-or-fake"]
Side = Literal["left", "right"]
Pair = tuple[str, str]

REAL = "real"  # the name of real photographs among the methods
EXPOSURES = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)  # seconds; Chen & Koltun 2017, pix2pixHD section 4
TURN = 1.0  # seconds that each picture of real-or-fake is shown; pix2pix section 3.2
QUESTIONS: dict[Protocol, str] = {
    "ab": "Which photograph looks more natural?",
    "timed": "Which photograph looked more natural?",
    "real-or-fake": "Which photograph was fake?",
}


class Picture(BaseModel):
    """One picture of the study folder: `pictures/ID.png`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    method: str
    scene: str
    spoilt: bool = False


class Study(BaseModel):
    """A prepared study.

    Attributes:
        methods: Names of what is compared; real photographs are called "real".
        scenes: Names that the folders share.
        size: Height and width of every picture in pixels.
        trials: Counted trials per participant.
        practice: Trials before them, with feedback (real-or-fake only).
        checks: Attention checks among the counted trials: one of the two pictures is spoilt.
        exposures: Seconds for which both pictures of a trial are shown (timed only).
        unpaired: Real and fake come from different scenes (real-or-fake only).
        seed: What each participant is asked follows from it and from the participant's number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    gesso_version: str
    id: str = Field(pattern=r"^[0-9a-f]{32}$")
    created: str
    title: str
    question: str
    protocol: Protocol
    methods: tuple[str, ...] = Field(min_length=2)
    scenes: tuple[str, ...] = Field(min_length=2)
    size: tuple[int, int]
    trials: int = Field(ge=1)
    practice: int = Field(ge=0)
    checks: int = Field(ge=0)
    exposures: tuple[float, ...]
    unpaired: bool
    seed: int
    pictures: tuple[Picture, ...]

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """What is compared with what: each method with each, or each fake with the real photographs."""
        if self.protocol == "real-or-fake":
            return tuple((fake, REAL) for fake in self.fakes)
        return tuple(combinations(self.methods, 2))

    @property
    def fakes(self) -> tuple[str, ...]:
        """The methods that are not real photographs."""
        return tuple(method for method in self.methods if method != REAL)

    @cached_property
    def by_id(self) -> dict[str, Picture]:
        """Picture id -> picture."""
        return {picture.id: picture for picture in self.pictures}

    @cached_property
    def ids(self) -> dict[tuple[str, str, bool], str]:
        """(method, scene, spoilt) -> picture id."""
        return {(picture.method, picture.scene, picture.spoilt): picture.id for picture in self.pictures}

    def spoilt_scenes(self, method: str) -> tuple[str, ...]:
        """Scenes of which a spoilt picture of this method was prepared."""
        return tuple(scene for scene in self.scenes if (method, scene, True) in self.ids)


def picture_file(folder: Path, picture: str) -> Path:
    """Where a study folder keeps a picture."""
    return folder / "pictures" / f"{picture}.png"


def load(folder: Path) -> Study:
    """Read a study folder and see that its pictures are there.

    Raises:
        DataError: It is none, it was edited, or pictures are missing.
    """
    file = folder / "study.json"
    if not file.is_file():
        raise DataError(
            f"{folder} is not a study: it holds no study.json. Prepare one with gesso study new, or check the path."
        )
    try:
        study = Study.model_validate_json(file.read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        reason = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        place = ".".join(map(str, reason["loc"])) or "the file"
        raise DataError(
            f"{file} cannot be read: {place}: {reason['msg']}. It was edited, or written by another version of gesso: "
            "use the file as gesso study new wrote it."
        ) from None
    missing = [picture.id for picture in study.pictures if not picture_file(folder, picture.id).is_file()]
    if missing:
        raise DataError(
            f"{folder} lacks {len(missing)} of its {len(study.pictures)} pictures, such as pictures/{missing[0]}.png. "
            "Copy the whole study folder, or prepare it again with gesso study new."
        )
    return study
