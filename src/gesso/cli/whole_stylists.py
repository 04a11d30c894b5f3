"""Which style each picture of `gesso generate` gets, for models whose style is one of the whole picture (SPADE, pix2pix)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.style_flags import Shot, StyleFlags, names_photograph
from gesso.cli.stylist import (
    named,
    read_chosen,
    refuse_bare,
    refuse_contradictions,
    refuse_flags,
    trained_preprocessing,
)
from gesso.errors import ConfigError, StyleError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing
    from gesso.pictures import Picture
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer


class LatentStylist:
    """One z for the whole picture: of a seed, a file, a photograph, or on the way between two of these."""

    def __init__(self, synth: Synthesizer, flags: StyleFlags, layouts: SemanticDataset, console: Console) -> None:
        """As `open_stylist`."""
        from gesso.synthesis.style import Style

        refuse_flags(synth, flags, "style", "copy_style", "style_labels", "style_instances", "noise")
        refuse_contradictions(flags, "choose one. --interpolate A B goes from one file or photograph to another.")
        if flags.style_image or flags.style_from_photographs:
            synth.require_encoder()
        refuse_bare(layouts, flags)
        _refuse_third(flags)
        self._synth, self._flags, self._console = synth, flags, console
        self._trained = trained_preprocessing(synth)
        self._photographs = _as_trained(layouts, self._trained) if flags.style_from_photographs else None
        self._numbers = {sample.name: number for number, sample in enumerate(layouts.samples)}
        self._photograph = self._open(flags.style_image) if flags.style_image else None
        self._encoded: dict[int | None, Style] = {}
        self._base = read_chosen(flags.style_file, synth, console) if flags.style_file else Style()
        self._ends = [self._end(text) for text in flags.interpolate or ()]
        with named(f"--style-file {flags.style_file}"):
            synth.z(self._base)  # refuses what does not fit, before anything is written
        for text, end in zip(flags.interpolate or (), self._ends, strict=True):
            with named(f"--interpolate {text}"):
                synth.z(end)
        if flags.random_styles is not None and self._base.z is not None:
            raise StyleError(_all_the_same(flags, f"{flags.style_file} holds its z"))

    def styles(self, item: dict[str, Any], shots: Sequence[Shot]) -> list[Style | None]:
        """The style of each picture of a layout; None where nothing is chosen."""
        from gesso.synthesis.style import Style

        own = self._own(item["name"])
        found = [self._style(own, shot) for shot in shots]
        return [None if style == Style() else style for style in found]

    def _style(self, own: Picture | None, shot: Shot) -> Style:
        from gesso.synthesis.latents import between
        from gesso.synthesis.style import Style

        if shot.way is not None:
            first, second = (self._synth.z(end, shot.seed) for end in self._ends)
            return Style(z=between(first, second, shot.way))
        seed = None if self._flags.random_styles is None else shot.seed
        if own is not None:
            return self._synth.encode(own, seed=seed)
        if self._photograph is not None:
            if seed not in self._encoded:
                self._encoded[seed] = self._synth.encode(self._photograph, seed=seed)
            return self._encoded[seed]
        return self._base if seed is None else self._base.updated(Style(seed=seed))

    def _own(self, name: str) -> Picture | None:
        """A layout's own photograph as training saw it, where that is asked for."""
        from gesso.pictures import to_uint8

        if self._photographs is None:
            return None
        return to_uint8(self._photographs[self._numbers[name]]["image"])

    def _open(self, path: Path) -> Picture:
        """A photograph, sized and padded as in training; where that cropped, the whole of it."""
        from gesso.data.preprocessing import apply_photograph
        from gesso.data.readers import read_photograph

        picture = read_photograph(path)
        return apply_photograph(picture, self._trained.plan(picture.shape[:2]))

    def _end(self, text: str) -> Style:
        """One end of --interpolate."""
        from gesso.synthesis.inputs import refuse_seed
        from gesso.synthesis.style import Style

        path = Path(text)
        if re.fullmatch(r"[+-]?\d+", text):
            refuse_seed(int(text))
            return Style(seed=int(text))
        if path.suffix.lower() == ".json" or (path.suffix.lower() == ".png" and _generated(path)):
            return read_chosen(path, self._synth, self._console)
        if names_photograph(text):
            return self._synth.encode(self._open(path))
        raise StyleError(
            f"--interpolate {text!r} is no style of this model: give a seed (a whole number), a photograph, a generated PNG, or "
            "a style in JSON."
        )


class NoiseStylist:
    """Whether there is noise, and its seed."""

    def __init__(self, synth: Synthesizer, flags: StyleFlags, layouts: SemanticDataset, console: Console) -> None:
        """As `open_stylist`."""
        from gesso.synthesis.refusals import refuse_foreign
        from gesso.synthesis.style import Style

        refuse_flags(synth, flags, "style", "copy_style", "style_image", "style_labels", "style_instances")
        refuse_flags(synth, flags, "style_from_photographs", "interpolate", "steps")
        base = read_chosen(flags.style_file, synth, console) if flags.style_file else Style()
        assert synth.info.style is not None, "without style there is nothing to choose"
        with named(f"--style-file {flags.style_file}"):
            refuse_foreign(base, synth.info.style)
        self._flags, self._base = flags, base.updated(Style(noise=flags.noise))
        if flags.random_styles is not None and self._base.noise is False:
            raise StyleError(_all_the_same(flags, "there is no noise"))

    def styles(self, item: dict[str, Any], shots: Sequence[Shot]) -> list[Style | None]:
        """The style of each picture of a layout; None where nothing is chosen."""
        from gesso.synthesis.style import Style

        if self._flags.random_styles is None:
            return [None if self._base == Style() else self._base] * len(shots)
        return [self._base.updated(Style(seed=shot.seed)) for shot in shots]


def _as_trained(layouts: SemanticDataset, trained: Preprocessing) -> SemanticDataset:
    """The same samples as training saw them, at whatever size the layouts are rendered."""
    from gesso.data.dataset import SemanticDataset

    return SemanticDataset(layouts.samples, layouts.space, trained, training=False, instances=False)


def _refuse_third(flags: StyleFlags) -> None:
    """Two styles and the way between them leave no room for a third."""
    if flags.interpolate and flags.sources:
        raise ConfigError(
            f"--interpolate names both styles, and {flags.sources[0]} a third one: leave it out. The ends may be seeds, "
            "photographs, generated pictures and JSON files."
        )


def _all_the_same(flags: StyleFlags, why: str) -> str:
    return f"All {flags.random_styles} pictures of a layout would be the same, as {why}. Leave out --random-styles, or that."


def _generated(path: Path) -> bool:
    """Whether a PNG is to be read as gesso's own; also one that cannot be read, which is then said."""
    from PIL import Image

    from gesso.synthesis.synthesizer import read_record

    try:
        return read_record(path) is not None
    except (OSError, ValueError, Image.DecompressionBombError):
        return True
