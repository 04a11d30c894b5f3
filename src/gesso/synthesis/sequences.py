"""Photographs of layouts that follow each other: one style per object, kept over time.

A network knows nothing of the frame before: what it is given has to stay. `Sequencer` sees to that, frame by frame; `photographs`
goes through a whole sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from gesso.errors import ConfigError, LabelError
from gesso.labels import LabelSpace, components
from gesso.pictures import Picture
from gesso.synthesis.inputs import LARGEST_SEED, refuse_seed
from gesso.synthesis.motion import along, estimate, object_keys, sources
from gesso.synthesis.style import Style, Vector
from gesso.synthesis.style_space import fitted, shortest
from gesso.synthesis.tracking import Tracker, renamed

if TYPE_CHECKING:
    from gesso.synthesis.features import ObjectKey
    from gesso.synthesis.synthesizer import Synthesizer

Integers = npt.NDArray[np.integer[Any]]
Keeping = Literal["kept", "free"]
Own = Callable[[], Style | None]


@dataclass(frozen=True)
class Frame:
    """One frame of a sequence, rendered.

    Attributes:
        picture: (H, W, 3) uint8.
        label: (H, W) class indices.
        instance: (H, W) ids that last.
        style: What it wears, complete where styles are kept.
        seed: Of what the style leaves open.
    """

    picture: Picture
    label: Integers
    instance: Integers
    style: Style | None
    seed: int


class Wardrobe:
    """What each object wears, over time.

    With "kept" an object wears what it wore in its first frame, and so do classes whose regions share a style (road, sky); z and
    the seed of noise stay as well. With "free" each frame is drawn anew, from seed + its number. Between the two lies `smooth`:
    styles that each frame brings (from its own photograph, or drawn) are followed slowly: so much of a vector is that of the
    frame before.
    """

    def __init__(self, synth: Synthesizer, keeping: Keeping = "kept", seed: int = 0, smooth: float = 0.0) -> None:
        """Start with nothing worn.

        Raises:
            ConfigError: `smooth` is outside 0..1, or is of no use with "kept"; or the seed is out of range.
        """
        refuse_seed(seed)
        if not 0 <= smooth <= 1 or (smooth and keeping == "kept"):
            raise ConfigError(
                f"Styles smoothed by {smooth:g} and {keeping} came; a share of 0..1 is taken, and only of styles that are free: "
                "those that are kept do not change."
            )
        self._synth, self._keeping, self._seed = synth, keeping, seed
        self._share = 1.0 if keeping == "kept" else smooth
        self._vectors: dict[ObjectKey, Vector] = {}
        self._z: Vector | None = None
        self._number = -1

    def next(self, label: Integers, instance: Integers, own: Own) -> tuple[Style | None, int]:
        """The style and the seed of the next frame.

        Args:
            label: (H, W).
            instance: (H, W) ids that last.
            own: Asked for the style that was chosen for this frame, where that matters.

        Raises:
            StyleError: It does not fit the model or the frame.
        """
        self._number += 1
        seed = self._seed if self._keeping == "kept" else (self._seed + self._number) % (LARGEST_SEED + 1)
        if self._synth.style_kind == "features":
            return self._dressed(label, instance, own, seed), seed
        if self._synth.style_kind == "z":
            return Style(z=self._latent(own, seed)), seed
        return own(), seed

    def _dressed(self, label: Integers, instance: Integers, own: Own, seed: int) -> Style:
        synth, space, worn = self._synth, self._synth.require_style(), self._vectors
        objects = synth.objects(label, instance)
        if self._share < 1 or any(key not in worn for key in objects):
            wanted = synth.resolve(label, instance, fitted(own() or Style(), objects, space), seed)
            for key, vector in wanted.items():
                worn[key] = _between(worn[key], vector, self._share) if key in worn else vector
        return space.style({key: worn[key] for key in objects})

    def _latent(self, own: Own, seed: int) -> Vector:
        if self._z is None or self._share < 1:
            wanted = self._synth.z(own() or Style(), seed)
            self._z = wanted if self._z is None else _between(self._z, wanted, self._share)
        return self._z


def _between(before: Vector, wanted: Vector, share: float) -> Vector:
    if share in (0, 1):
        return before if share else wanted
    return shortest(share * a + (1 - share) * b for a, b in zip(before, wanted, strict=True))


class Sequencer:
    """Renders frames in their order."""

    def __init__(
        self,
        synth: Synthesizer,
        keeping: Keeping = "kept",
        seed: int = 0,
        smooth: float = 0.0,
        smooth_styles: float = 0.0,
    ) -> None:
        """Start before the first frame.

        Args:
            synth: A model of label maps.
            keeping: "kept" or "free", as `Wardrobe` says.
            seed: Of what styles leave open.
            smooth: 0..1, how much of a picture is the picture before, carried along by the motion of each object. 0 leaves
                pictures as they are; much of it hides flicker, and fine texture with it, as outlines tell motion only roughly.
            smooth_styles: 0..1, as `Wardrobe` says.

        Raises:
            ConfigError: A share is not what it may be, or the model takes no label maps.
        """
        if not 0 <= smooth < 1:
            raise ConfigError(f"Pictures smoothed by {smooth:g} came; a share of 0 (not at all) to below 1 is taken.")
        self.space = require_space(synth)
        self._synth, self._smooth = synth, smooth
        self._wardrobe = Wardrobe(synth, keeping, seed, smooth_styles)
        self._last: Frame | None = None

    def __call__(self, label: Integers, instance: Integers, own: Own = lambda: None) -> Frame:
        """Render the next frame.

        Args:
            label: (H, W) class indices; all frames are of one size.
            instance: (H, W) ids that last.
            own: Asked for a style chosen for this frame, where that matters.

        Raises:
            LabelError: It has another size than the frames before, or is no layout of the model.
            StyleError: A style does not fit.
        """
        self._refuse_other_size(label)
        style, seed = self._wardrobe.next(label, instance, own)
        given = instance if self._synth.needs_instances else None
        frame = Frame(self._synth(label, given, style, seed), label, instance, style, seed)
        if self._smooth and self._last is not None:
            frame = Frame(smoothed(self._last, frame, self.space, self._smooth), label, instance, style, seed)
        self._last = frame
        return frame

    def take(self, picture: Picture, label: Integers, instance: Integers, own: Own = lambda: None) -> Frame:
        """Go on after a frame that is there already."""
        self._refuse_other_size(label)
        self._last = Frame(picture, label, instance, *self._wardrobe.next(label, instance, own))
        return self._last

    def _refuse_other_size(self, label: Integers) -> None:
        if self._last is not None and self._last.label.shape != label.shape:
            sizes = ["x".join(map(str, shape)) for shape in (label.shape, self._last.label.shape)]
            raise LabelError(
                f"A frame of {sizes[0]} follows frames of {sizes[1]}; all frames of a sequence have one size."
            )


def require_space(synth: Synthesizer) -> LabelSpace:
    """The classes of a model that takes label maps.

    Raises:
        ConfigError: It takes pictures.
    """
    if synth.label_space is None:
        raise ConfigError(
            "This model takes pictures, which have no objects to follow: gesso generate makes its frames one by one."
        )
    return synth.label_space


def smoothed(before: Frame, now: Frame, space: LabelSpace, share: float) -> Picture:
    """A picture mixed with the one before where that shows the same: `share` of it, carried along by the layout's motion."""
    motion = estimate((before.label, before.instance), (now.label, now.instance), space)
    keys = [object_keys(one.label, one.instance, space) for one in (before, now)]
    where = sources(keys[0], keys[1], motion)
    mixed = share * along(before.picture, where) + (1 - share) * now.picture
    return np.where(where.seen[..., None], np.rint(mixed), now.picture).astype(np.uint8)


def photographs(
    synth: Synthesizer,
    layouts: Iterable[tuple[Integers, Integers | None]],
    *,
    keeping: Keeping = "kept",
    style: Style | None = None,
    seed: int = 0,
    smooth: float = 0.0,
    smooth_styles: float = 0.0,
    track: bool = False,
) -> Iterator[Frame]:
    """Render a sequence.

    Args:
        synth: A model of label maps.
        layouts: Label map and instance map (H, W) of each frame, all of one size. The ids of the first instance map's objects
            hold in all frames; where there is None, objects are tracked.
        keeping: "kept": one style per object for the whole sequence. "free": each frame is drawn anew.
        style: What is chosen, for the objects and classes that it names.
        seed: Of the rest.
        smooth: As `Sequencer` says.
        smooth_styles: As `Sequencer` says.
        track: Whether objects are tracked though there are instance maps, whose ids hold for one frame alone.

    Raises:
        ConfigError: A setting is not what it may be, or the model takes no label maps.
        LabelError: The frames differ in size, only some have instance maps, or one is no layout of the model.
        StyleError: The style does not fit the model.
    """
    sequencer = Sequencer(synth, keeping, seed, smooth, smooth_styles)
    tracker, bare = Tracker(sequencer.space), None
    for number, (label, given) in enumerate(layouts):
        if bare is not None and bare != (given is None):
            raise LabelError(
                f"Frame {number} has {'no' if given is None else 'an'} instance map, unlike those before it."
            )
        bare = given is None
        instance = components(label, sequencer.space) if given is None else given
        lasting = renamed(label, instance, tracker(label, instance)) if track or bare else instance
        yield sequencer(label, lasting, lambda: style)
