"""Which style each picture of `gesso generate` gets, for models whose objects have styles of their own (pix2pixHD)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from gesso.cli.common import track
from gesso.cli.style_flags import Shot, StyleFlags, names_file
from gesso.cli.stylist import maps_of, read_chosen, refuse_bare, refuse_contradictions, refuse_flags
from gesso.errors import ConfigError, StyleError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.synthesis.features import ObjectKey
    from gesso.synthesis.style import Style
    from gesso.synthesis.style_space import StyleSpace
    from gesso.synthesis.synthesizer import Synthesizer


class ObjectStylist:
    """Which style each picture gets.

    A style is layered: first that of a file or photograph, then the choices of --style, then copies between objects; for
    --interpolate each of its two styles comes on top of that.
    """

    def __init__(self, synth: Synthesizer, flags: StyleFlags, layouts: SemanticDataset, console: Console) -> None:
        """Read what the flags name, and see that the model and the layouts have it.

        Raises:
            StyleError: The model has not what was chosen, or no layout has an object that was chosen.
            ModelFileError: A photograph was given to a model without encoder.
            ConfigError: The flags contradict each other, a photograph alone was given for several layouts, or nothing is left
                to chance for --random-styles.
            DataError: A layout has no photograph.
        """
        from gesso.synthesis.style import Style, parse_style

        self._synth, self._flags, self._console = synth, flags, console
        self._base = Style()
        refuse_flags(synth, flags, "noise")
        refuse_contradictions(flags, "choose one, and change it with --style.")
        _refuse_chance(flags)
        space = self._space = _require_style(synth, flags)
        self._base = self._first(layouts).updated(parse_style(flags.style or [], space.labels))
        self._ends = [self._end(text) for text in flags.interpolate or ()]
        self._copies = [_named(pair) for pair in flags.copy_style or ()]
        self._try(layouts)

    def styles(self, item: dict[str, Any], shots: Sequence[Shot]) -> list[Style | None]:
        """The style of each picture of a layout; None where nothing is chosen.

        Raises:
            StyleError: A choice does not fit the layout.
        """
        from gesso.synthesis.style import Style
        from gesso.synthesis.style_space import copy_style, fitted

        maps, space = maps_of(item), self._space
        objects = self._synth.objects(*maps)
        base = self._own(item).updated(fitted(self._base, objects, space))
        ends = [fitted(end, objects, space) for end in self._ends]
        found: list[Style] = []
        for shot in shots:
            style = base if self._flags.random_styles is None else base.updated(Style(seed=shot.seed))
            before = self._synth.resolve(*maps, style, shot.seed) if self._copies else {}
            for source, target in self._copies:
                if {source, target} <= space.by_name(objects).keys():
                    style = copy_style(style, before, source, target, space)
            found.append(style if shot.way is None else self._between(maps, style, ends, shot))
        return [None if style == Style() else style for style in found]

    def _between(self, maps: tuple[Any, Any], style: Style, ends: Sequence[Style], shot: Shot) -> Style:
        """The style on the way from one end to the other, each on top of what was chosen besides."""
        from gesso.synthesis.style_space import mix

        assert shot.way is not None
        first, second = (self._synth.resolve(*maps, style.updated(end), shot.seed) for end in ends)
        return self._space.style(mix(first, second, shot.way))

    def _own(self, item: dict[str, Any]) -> Style:
        """The style of a layout's own photograph, where that is asked for."""
        from gesso.pictures import to_uint8
        from gesso.synthesis.style import Style

        if not (self._flags.style_from_photographs or self._flags.own_photograph):
            return Style()
        return self._synth.encode(to_uint8(item["image"]), *maps_of(item))

    # -------------------------------------------------------------------------------------------------------- beforehand

    def _first(self, layouts: SemanticDataset) -> Style:
        """The style of a file, or the means of a photograph; what is each layout's own comes later."""
        from gesso.synthesis.style import Style

        flags, synth = self._flags, self._synth
        if flags.style_image or flags.style_from_photographs:
            synth.require_encoder()
        if flags.own_photograph and len(layouts) > 1:
            raise ConfigError(
                f"--style-image {flags.own_photograph} shows one layout, but there are {len(layouts)}. Give its label map with "
                "--style-labels to take its style class by class, or use --style-from-photographs."
            )
        if flags.own_photograph:
            layouts[0]  # raises here, before anything is written, if the photograph cannot be read or has another size
        refuse_bare(layouts, flags)
        if flags.style_file:
            return read_chosen(flags.style_file, synth, self._console)
        return _means(synth, flags, layouts) if flags.style_labels else Style()

    def _end(self, text: str) -> Style:
        from gesso.synthesis.style import parse_style

        if names_file(text):
            return read_chosen(Path(text), self._synth, self._console)
        return parse_style(text.split(";"), self._space.labels)

    def _try(self, layouts: SemanticDataset) -> None:
        """Every choice must fit the model, and every object that is named be somewhere, before anything is written."""
        from gesso.synthesis.style import Style
        from gesso.synthesis.style_space import fitted, refuse_unknown, resolve

        styles = [self._base, *self._ends]
        named = [
            *styles,
            *(Style(instances=dict.fromkeys(pair, (0.0,) * self._space.channels)) for pair in self._copies),
        ]
        everywhere: list[list[ObjectKey]] = [[]]
        if any(style.instances for style in named):
            numbers = track(range(len(layouts)), "looking for objects", len(layouts), self._console)
            everywhere = [self._synth.objects(*maps_of(layouts[number])) for number in numbers]
        for style in named:
            refuse_unknown(style, everywhere, self._space)
            for objects in everywhere:
                resolve(fitted(style, objects, self._space), objects, self._space)
        if self._flags.random_styles is not None and not any(self._open(objects) for objects in everywhere):
            raise StyleError(
                f"All {self._flags.random_styles} pictures of a layout would be the same: every object's style is chosen, or its "
                "class has less than two modes. Leave out --random-styles, or some of the choices."
            )
        for pair in self._copies:
            if not any(set(pair) <= self._space.by_name(objects).keys() for objects in everywhere):
                raise StyleError(
                    f"--copy-style {' '.join(pair)}: no layout holds both objects. Take two of one layout."
                )

    def _open(self, objects: Sequence[ObjectKey]) -> bool:
        """Whether the seed matters to a layout's objects; without any, to a layout that holds every class."""
        space, base = self._space, self._base
        named = space.by_name(objects)
        chosen = {key for name in base.instances for key in named.get(name, [])}
        classes = {key[0] for key in objects if key not in chosen} if objects else space.modes.keys()
        drawn = (index for index in classes if len(space.modes.get(index, ())) > 1)
        return any(space.class_name(index) not in base.classes for index in drawn)


def _refuse_chance(flags: StyleFlags) -> None:
    if flags.random_styles is not None and (flags.style_from_photographs or flags.own_photograph):
        whole = "--style-from-photographs" if flags.style_from_photographs else "--style-image without --style-labels"
        raise ConfigError(
            f"{whole} gives every object its style, so nothing is left to chance for --random-styles: leave one out."
        )


def _named(pair: tuple[str, str]) -> tuple[str, str]:
    from gesso.synthesis.style import object_name

    try:
        return object_name(pair[0]), object_name(pair[1])
    except ValueError as error:
        raise StyleError(f"--copy-style {' '.join(pair)}: {error}.") from None


def _require_style(synth: Synthesizer, flags: StyleFlags) -> StyleSpace:
    from gesso.synthesis.style_space import COMPUTE

    space = synth.require_style()
    if flags.random_styles is not None and not space.modes:
        raise StyleError(f"The model file has no clusters to draw random styles from: {COMPUTE}.")
    return space


def _means(synth: Synthesizer, flags: StyleFlags, layouts: SemanticDataset) -> Style:
    """Per-class means of a photograph with a label map of its own, resized like the layouts."""
    from gesso.data.dataset import SemanticDataset
    from gesso.data.pairing import Sample
    from gesso.pictures import to_uint8

    assert flags.style_image
    name, image = flags.style_image.stem, flags.style_image
    sample = Sample(name, image=image, label=flags.style_labels, instance=flags.style_instances)
    photograph = SemanticDataset(
        [sample], synth.label_space, layouts.preprocessing, training=False, instances=layouts.instances
    )
    item = photograph[0]
    return synth.class_means(to_uint8(item["image"]), *maps_of(item))
