"""The style of models with features: a vector per object, or per class (pix2pixHD, section 3.4)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from gesso.checkpoints import Model
from gesso.errors import ConfigError, LabelError
from gesso.synthesis.features import ObjectFeatures, ObjectKey, encode_objects, feature_map
from gesso.synthesis.inputs import Batch
from gesso.synthesis.kinds import Layout, StyleKind, Styles, Worn, one_each
from gesso.synthesis.style import Style, Vector
from gesso.synthesis.style_space import (
    COMPUTE,
    StyleSpace,
    Vectors,
    fitted,
    leaves_open,
    objects_of,
    refuse_unknown,
    resolve,
    shortest,
    some,
    style_space,
)
from gesso.synthesis.styles import require_encoder


class ObjectStyles(StyleKind):
    """Every object wears a vector that was chosen for it or its class, or that is drawn from the modes of its class."""

    space: StyleSpace

    def __init__(self, model: Model, say: Callable[[str], None]) -> None:
        super().__init__(model, say)
        space = style_space(model)
        assert space is not None, "features belong to objects of a label space"
        self.space = space

    def dress(self, layouts: Batch, style: Styles, seed: int) -> list[Worn]:
        """Every pixel of a layout holds the vector of its object: (1, F, H, W)."""
        space = self.space
        labels = list(layouts["label"])
        instances = list(layouts["instance"]) if "instance" in layouts else [None] * len(labels)
        objects = [objects_of(*maps, space.regions) for maps in zip(labels, instances, strict=True)]
        styles = self._one_each(style, objects)
        vectors = [self._vectors(one, there, seed) for one, there in zip(styles, objects, strict=True)]
        maps = zip(vectors, labels, instances, strict=True)
        return [Worn(feature_map(*one, space.regions, space.channels)[None], seed) for one in maps]

    def resolve(self, layout: Layout, style: Style, seed: int) -> Vectors:
        """The vector that each object of a layout wears."""
        return self._vectors(style, objects_of(*layout, self.space.regions), seed)

    def encode(self, photograph: Tensor, layout: Layout | None, seed: int | None) -> Style:
        """The features of each object of a photograph; nothing of it is random.

        Raises:
            ModelFileError: The model has no encoder.
            LabelError: There is no layout, or it is of another size.
            ConfigError: A seed was given.
        """
        if seed is not None:
            raise ConfigError("The features of a photograph are not drawn at random: leave out the seed.")
        features = self.features(photograph, layout)
        vectors = {key: shortest(v) for key, v in zip(features.keys, features.vectors, strict=True)}
        return self.space.style(vectors)

    def class_means(self, photograph: Tensor, layout: Layout) -> Style:
        """Per class the mean of a photograph's features, over all of its pixels."""
        features = self.features(photograph, layout)
        means: dict[str, Vector] = {}
        for index in np.unique(features.classes).tolist():
            mine = features.where(features.classes == index)
            mean = np.average(mine.vectors.astype(np.float64), axis=0, weights=mine.areas)
            means[self.space.class_name(index)] = shortest(mean)
        return Style(classes=means)

    def features(self, photograph: Tensor, layout: Layout | None) -> ObjectFeatures:
        """The objects of a photograph with their vectors."""
        encoder, regions = require_encoder(self._model)
        if layout is None:
            raise LabelError("Each object has a style of its own here: give the photograph's label map too.")
        return encode_objects(encoder, photograph, *layout, regions)

    def _one_each(self, style: Styles, objects: Sequence[Sequence[ObjectKey]]) -> list[Style]:
        """One style per layout, without choices for objects of other layouts where a single style serves all."""
        styles = one_each(style, len(objects))
        if not isinstance(style, Style):
            return styles
        refuse_unknown(style, objects, self.space)
        return [fitted(style, there, self.space) for there in objects]

    def _vectors(self, style: Style, objects: Sequence[ObjectKey], seed: int) -> Vectors:
        space = self.space
        vectors = resolve(style, objects, space, seed)
        if max((abs(n) for vector in vectors.values() for n in vector), default=0) > 1:
            self._say("A style vector has numbers outside -1..1, where no encoder's features lie: expect exaggeration.")
        if leaves_open(style, objects, space):
            bare = [name for index, name in enumerate(space.labels.names) if index not in space.modes]
            which = some(bare) if space.modes else "any class"
            self._say(
                f"The model file has no clusters of {which}: the middle of the range stands in for a random style. {COMPUTE}."
            )
        return vectors
