"""The flags about styles, and the pictures that they ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gesso.errors import ConfigError

STEPS = 8
PHOTOGRAPHS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff", ".npy")

_PLAIN = Parameter(negative=())  # without --empty-...


@Parameter(name="*", group="Styles, for models that have some")
@dataclass(frozen=True)
class StyleFlags:
    """What the layouts leave open, for models with style.

    Attributes:
        style: A choice, as often as wanted: car=3 (mode 3 of the class), instance:26001=2 (one object), car=0.1,-0.3,0.5 (a
            vector). gesso info lists the modes; what is not chosen is drawn by --seed.
        style_file: A style in JSON, or a generated PNG whose style is taken over.
        style_image: A photograph whose style is taken. For pix2pixHD: of the one layout it shows, object by object; with
            --style-labels of any layouts, class by class. For SPADE: its z, of any photograph.
        style_labels: Label map of --style-image.
        style_instances: Instance map of --style-image.
        style_from_photographs: Give each layout the style of its own photograph in DATA.
        random_styles: So many pictures of each layout, NAME-000.png and on, in random styles: seed, seed + 1 and so on.
        interpolate: Two styles and the way between them: each "car=1", "car=1;road=2", a style in JSON or a generated PNG; for
            SPADE a seed, a photograph, a style in JSON or a generated PNG.
        steps: Pictures of --interpolate, NAME-000.png and on, beside NAME-strip.png; 8 unless given.
        copy_style: Two objects of a layout, FROM and TO: the second gets the look of the first. As often as wanted.
        noise: For pix2pix: dropout while generating, and the noise map of models that take one; on unless --no-noise, as
            published.
    """

    style: Annotated[list[str] | None, _PLAIN] = None
    style_file: Path | None = None
    style_image: Path | None = None
    style_labels: Path | None = None
    style_instances: Path | None = None
    style_from_photographs: Annotated[bool, _PLAIN] = False
    random_styles: int | None = None
    interpolate: Annotated[tuple[str, str] | None, _PLAIN] = None
    steps: int | None = None
    copy_style: Annotated[list[tuple[str, str]] | None, _PLAIN] = None
    noise: bool | None = None

    @property
    def own_photograph(self) -> Path | None:
        """A photograph of the layout itself."""
        return None if self.style_labels else self.style_image

    @property
    def files(self) -> list[Path]:
        """Files that are read."""
        named = (self.style_file, self.style_image, self.style_labels, self.style_instances)
        ways = [Path(text) for text in self.interpolate or () if names_file(text) or names_photograph(text)]
        return [file for file in named if file] + ways

    @property
    def sources(self) -> list[str]:
        """The flags given that each give a whole style."""
        values = {
            "--style-file": self.style_file,
            "--style-image": self.style_image,
            "--style-from-photographs": self.style_from_photographs,
        }
        return [flag for flag, value in values.items() if value]

    def check(self) -> None:
        """See that the flags make sense, whatever the model's kind of style; `gesso.cli.stylist` knows the rest.

        Raises:
            ConfigError: They contradict each other, or a number is too small.
        """
        if self.interpolate and self.random_styles is not None:
            raise ConfigError("--interpolate and --random-styles both ask for a series of pictures: choose one.")
        if self.steps is not None and self.steps < 2:
            raise ConfigError(f"--steps {self.steps}: at least 2, the two styles themselves.")
        if self.random_styles is not None and self.random_styles < 1:
            raise ConfigError(f"--random-styles {self.random_styles}: at least 1.")


Styles = Annotated[StyleFlags | None, Parameter(name="*")]


@dataclass(frozen=True)
class Shot:
    """One of the pictures that each layout gets.

    Attributes:
        ending: Of the file's name, before ".png".
        title: For sheets.
        seed: Of what the style leaves open.
        way: 0..1 from the first style of --interpolate to the second.
    """

    ending: str
    title: str
    seed: int
    way: float | None = None


def plan_shots(flags: StyleFlags, seed: int) -> list[Shot]:
    """The pictures of each layout."""
    if flags.interpolate:
        count = flags.steps or STEPS
        ways = [n / (count - 1) for n in range(count)]
        return [Shot(f"-{n:03d}", f"{way:.2f}", seed, way) for n, way in enumerate(ways)]
    if flags.random_styles is not None:
        return [Shot(f"-{n:03d}", f"seed {seed + n}", seed + n) for n in range(flags.random_styles)]
    return [Shot("", "generated", seed)]


def names_file(text: str) -> bool:
    """Whether a style of --interpolate is a file."""
    return Path(text).suffix.lower() in (".json", ".png") and ("=" not in text or Path(text).is_file())


def names_photograph(text: str) -> bool:
    """Whether an end of --interpolate is a picture, made by gesso or not."""
    return Path(text).suffix.lower() in PHOTOGRAPHS
