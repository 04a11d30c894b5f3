"""A photograph as it is before it is edited: its layout, and the style of everything in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from gesso.agreement import refuse_foreign_instances
from gesso.errors import ConfigError, DataError, ModelFileError
from gesso.labels import ByteArray, components
from gesso.synthesis.editing import Layout
from gesso.synthesis.reading import refuse_other_classes, without_specks
from gesso.synthesis.refusals import described
from gesso.synthesis.retouching.sizes import Size, fitting_map, resized, resized_map, working_size
from gesso.synthesis.segmenter import PhotoSegmenter
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer


@dataclass(frozen=True, eq=False)
class Original:
    """A photograph with its layout and style; made by `read_original`, and never changed.

    Attributes:
        synth: The model.
        photograph: (H, W, 3) uint8, at its own size.
        layout: Its objects, at the size that the model works at.
        style: What each object of it, or the whole picture, looks like, as far as the model can read that.
        means: Per class the mean of the photograph, for what comes new; empty where classes have no style of their own.
        notes: What people should know: one sentence each.
        gray: Whether the photograph has no colours.
        segmenter: What read the layout; None where it was given.
    """

    synth: Synthesizer
    photograph: ByteArray
    layout: Layout
    style: Style
    means: Style
    notes: tuple[str, ...] = ()
    gray: bool = False
    segmenter: PhotoSegmenter | None = field(default=None, repr=False)

    @property
    def small(self) -> ByteArray:
        """(h, w, 3): the photograph at the size that the model works at."""
        return resized(self.photograph, self.layout.shape)

    @property
    def size(self) -> Size:
        """Height and width of the photograph."""
        return self.photograph.shape[0], self.photograph.shape[1]


def read_original(
    photograph: npt.ArrayLike,
    synth: Synthesizer,
    segmenter: PhotoSegmenter | None = None,
    labels: npt.ArrayLike | None = None,
    instances: npt.ArrayLike | None = None,
    size: Size | None = None,
) -> Original:
    """Find out what is in a photograph and what it looks like.

    Args:
        photograph: (H, W, 3) uint8, of any size.
        synth: A model of layouts.
        segmenter: Reads the photograph, unless `labels` says what is in it; of the model's classes.
        labels: (H, W) or (h, w) class indices.
        instances: Object ids of the same shape; without them connected components of the countable classes.
        size: (h, w) that the model works at; that of its training by default.

    Raises:
        ConfigError: Neither or both of segmenter and labels came, the segmenter finds other classes, or the model takes pictures.
        DataError: The photograph is no (H, W, 3) uint8.
        LabelError: A map is of another size, or not of the model's label space; or maps do not belong together.
    """
    picture = _checked(photograph)
    space = synth.label_space
    if space is None:
        raise ConfigError(
            "This model turns pictures into photographs: it knows no classes, so that nothing can be edited."
        )
    if (segmenter is None) == (labels is None):
        raise ConfigError("Say what is in the photograph: by a segmenter or by a label map; not both, not neither.")
    own: Size = (picture.shape[0], picture.shape[1])
    working = size or working_size(synth.info, own)
    if segmenter is not None:
        refuse_other_classes(segmenter, space)
        label = read_label(resized(picture, working), segmenter)
    else:
        label = fitting_map(np.asarray(labels), own, working, "label map")
    if instances is None:
        ids = components(label, space)
    else:
        ids = fitting_map(np.asarray(instances), own, working, "instance map")
        refuse_foreign_instances(label, ids, space)
    layout = Layout.of(label, ids, space)
    style, means, notes = _looks(resized(picture, working), layout, synth)
    gray = bool((picture == picture[..., :1]).all())
    if gray:
        notes = (*notes, "The photograph is gray: what is put in becomes gray, too.")
    return Original(synth, picture, layout, style, means, notes, gray, segmenter)


def read_label(picture: ByteArray, segmenter: PhotoSegmenter) -> npt.NDArray[np.int32]:
    """(h, w) class indices of a picture (h, w, 3), read at the size of the segmenter's training, without specks."""
    size: Size = (picture.shape[0], picture.shape[1])
    best = segmenter.info.size if segmenter.info else size
    # a copy, which is writable, as torch wants it
    found = resized_map(segmenter(np.array(resized(picture, best))), size)
    return without_specks(found, len(segmenter.label_space))


def _checked(photograph: npt.ArrayLike) -> ByteArray:
    picture = np.asarray(photograph)
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        alpha = (
            " Its fourth channel says what is transparent: put it on a background first."
            if picture.shape[2:] == (4,)
            else ""
        )
        raise DataError(f"A photograph is (H, W, 3) uint8; {picture.dtype} of shape {picture.shape} came.{alpha}")
    return np.ascontiguousarray(picture)


def _looks(picture: ByteArray, layout: Layout, synth: Synthesizer) -> tuple[Style, Style, tuple[str, ...]]:
    """The style of everything in a photograph, the means of its classes, and what there is to say."""
    about = synth.info.style
    if about is None:
        return (
            Style(),
            Style(),
            ("The model has no style: what is put in looks as the model has learned it, not as here.",),
        )
    maps: tuple[Any, Any] = (layout.label, layout.instance)
    try:
        if synth.style_space is None:
            return (
                synth.encode(picture),
                Style(),
                (
                    f"The model's style is {described(about)}: it is the photograph's own, but no object has one by itself.",
                ),
            )
        return synth.encode(picture, *maps), synth.class_means(picture, *maps), ()
    except ModelFileError:
        drawn = "the seed draws the modes of the classes" if about.kind == "features" else "the seed draws it"
        said = f"The model has no encoder to read the photograph's style: {drawn}, and --restyle chooses it."
        return Style(), Style(), (said if about.kind == "features" else said.replace(", and --restyle chooses it", ""),)
