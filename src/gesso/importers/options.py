"""What no weights tell: from the caller, or from the settings that the official codes wrote beside them.

`opt.txt` (`train_opt.txt` of newer pix2pix) is plain text, a line "key: value" for each setting. `opt.pkl`, its pickled twin, is
never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from gesso.errors import ModelFileError

NAMES = ("opt.txt", "train_opt.txt")
LARGEST_FILE = 2**20  # bytes; the official ones have some thousand
LINE = re.compile(r"^\s*(\w+):\s*(.*?)\s*(?:\[default: .*\])?\s*$")
DOUBLINGS = {"normal": 5, "more": 6, "most": 7}


@dataclass(frozen=True)
class Options:
    """Settings of an official training, as its options file holds them; none without a file."""

    path: Path | None = None
    values: Mapping[str, str] = field(default_factory=dict)

    def text(self, key: str) -> str | None:
        """A setting as it was written."""
        return self.values.get(key)

    def switch(self, key: str) -> bool | None:
        """A setting that is True or False; None where it is neither or absent."""
        return {"True": True, "False": False}.get(self.values.get(key, ""))

    def number(self, key: str) -> float | None:
        """A positive number; None where it is none or absent."""
        found = re.fullmatch(r"\d{1,6}(\.\d{1,6})?", self.values.get(key, ""))
        return (float(found[0]) or None) if found else None


def read_options(path: Path) -> Options:
    """The settings in an options file.

    Raises:
        ModelFileError: There is no such file, or it is something else, such as opt.pkl.
    """
    if not path.is_file():
        raise ModelFileError(f"There is no file {path}.")
    content = path.read_bytes() if path.stat().st_size <= LARGEST_FILE else b"\0"
    found = [] if b"\0" in content else map(LINE.match, content.decode("utf-8", "replace").splitlines())
    values = {line[1]: line[2] for line in found if line}
    if not values:
        raise ModelFileError(
            f"{path} holds no settings as opt.txt does, a line 'key: value' for each. (opt.pkl is a pickle, which may run code, "
            "and is never read.) Leave it out, and say --upsampling and --size yourself."
        )
    return Options(path, values)


def find_options(files: Iterable[Path]) -> Options:
    """The settings that lie beside files; none where there is no options file.

    Raises:
        ModelFileError: A file of that name is something else.
    """
    beside = (path.parent / name for path in files for name in NAMES)
    return next((read_options(path) for path in beside if path.is_file()), Options())


@dataclass(frozen=True)
class Untold:
    """What weights leave open; None is not known.

    Attributes:
        upsampling: SPADE's --num_upsampling_layers.
        size: (height, width) in pixels of the pictures of the training.
        dropout: Whether pix2pix had dropout.
        statistics: What pix2pix's batch norm takes at synthesis.
        boundary: Whether the generator sees instance boundaries.
        dont_care: Whether the generator has a channel for ignored pixels.
        direction: Which half of pix2pix's side-by-side files A|B was the input of a model of pictures.
        side_by_side: Whether there were such files.
    """

    upsampling: str | None = None
    size: tuple[int, int] | None = None
    dropout: bool | None = None
    statistics: Literal["picture", "running"] | None = None
    boundary: bool | None = None
    dont_care: bool | None = None
    direction: Literal["AtoB", "BtoA"] | None = None
    side_by_side: bool | None = None

    def completed(self, paper: str, options: Options) -> Untold:
        """With what the options file of a training says where the caller says nothing.

        Raises:
            ModelFileError: The file contradicts the caller, or is of a network that is not imported.
        """
        if paper == "pix2pixhd":  # its weights tell everything
            return self
        said = _of_spade(self, options) if paper == "spade" else _of_pix2pix(options)
        for name in ("upsampling", "dropout", "boundary", "dont_care"):
            mine, theirs = getattr(self, name), getattr(said, name)
            if mine is not None and theirs is not None and mine != theirs:
                raise ModelFileError(
                    f"{options.path} says {name.replace('_', ' ')} {theirs}, the command {mine}. Leave that out, or give the "
                    "options file of this training with --options."
                )
        mine = {name: value for name, value in vars(self).items() if value is not None}
        return replace(said, **mine)


def _of_spade(asked: Untold, options: Options) -> Untold:
    upsampling = options.text("num_upsampling_layers")
    if upsampling is not None and upsampling not in DOUBLINGS:
        raise ModelFileError(
            f"{options.path}: num_upsampling_layers {upsampling!r} is unknown; {', '.join(DOUBLINGS)}."
        )
    without = options.switch("no_instance")
    return Untold(
        upsampling=upsampling,
        size=_spade_size(asked.upsampling or upsampling, options),
        boundary=None if without is None else not without,
        dont_care=options.switch("contain_dontcare_label"),
    )


def _spade_size(upsampling: str | None, options: Options) -> tuple[int, int] | None:
    """Height and width of the official code's pictures: --crop_size and --aspect_ratio, rounded to its coarsest grid."""
    crop, ratio = options.number("crop_size"), options.number("aspect_ratio")
    if upsampling is None or crop is None or ratio is None:
        return None
    step = 2 ** DOUBLINGS[upsampling]
    columns = int(crop) // step
    rows = round(columns / ratio)
    return (rows * step, columns * step) if rows and columns else None


def _of_pix2pix(options: Options) -> Untold:
    if (network := options.text("netG") or "").startswith("resnet"):
        raise ModelFileError(f"{options.path}: netG is {network}. {NO_RESNET}")
    without, crop = options.switch("no_dropout"), options.number("crop_size")
    # Its other ways to preprocess resize nothing to the crop, or not to a square.
    square = (int(crop), int(crop)) if crop and options.text("preprocess") == "resize_and_crop" else None
    told = options.text("direction") or options.text("which_direction")  # of newer and older code
    directions: dict[str | None, Literal["AtoB", "BtoA"]] = {"AtoB": "AtoB", "BtoA": "BtoA"}
    return Untold(
        size=square,
        dropout=None if without is None else not without,
        direction=directions.get(told),
        side_by_side=True if options.text("dataset_mode") == "aligned" else None,
    )


NO_RESNET = "The ResNet generators of that code are CycleGAN's; pix2pix's are U-Nets (--netG unet_128, unet_256)."
