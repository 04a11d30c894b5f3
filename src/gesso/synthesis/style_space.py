"""What a model can wear, and how a style becomes one feature vector per object (pix2pixHD, section 3.4).

A `StyleSpace` holds how many numbers describe an object, and the modes (K-means clusters) of each class. `resolve` brings it
together with a `Style` and the objects of a layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gesso.checkpoints import Model
from gesso.errors import StyleError
from gesso.labels import LabelSpace, instance_keys
from gesso.model_info import StyleDescription
from gesso.synthesis.coherence import pick
from gesso.synthesis.features import ObjectKey, Regions
from gesso.synthesis.refusals import refuse_foreign
from gesso.synthesis.style import IGNORED, Style, Vector, class_index, object_name

Vectors = dict[ObjectKey, Vector]
COMPUTE = "gesso styles MODEL --data DIR computes them"
_LISTED = 8


@dataclass(frozen=True)
class ClassModes:
    """The modes of one class: clusters of its objects' features over the training set.

    Attributes:
        vectors: (K, F) float32, one vector per mode.
        sizes: (K,) int64, objects in each cluster; None where the file does not say.
        thumbnails: (K, T, T, 3) uint8, the most typical object of each cluster; None where the file has none.
        together: (K, K') int64, how often they meet each mode of the leading class in a photograph; None where nobody counted.
    """

    vectors: npt.NDArray[np.float32]
    sizes: npt.NDArray[np.int64] | None = None
    thumbnails: npt.NDArray[np.uint8] | None = None
    together: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True)
class StyleSpace:
    """What a model can wear.

    Attributes:
        labels: Its classes.
        channels: Numbers in a vector.
        regions: What shares a vector: an "instance", or everything of a "label".
        modes: By class index; classes without clusters are absent.
        leader: The class whose mode decides which modes others get by chance; None where each is drawn by itself.
    """

    labels: LabelSpace
    channels: int
    regions: Regions
    modes: Mapping[int, ClassModes]
    leader: int | None = None

    def class_name(self, index: int) -> str:
        """What a class is called in styles."""
        return IGNORED if index == len(self.labels) else self.labels.names[index]

    def name(self, key: ObjectKey) -> str:
        """What an object is called in styles: "car:26001"."""
        return f"{self.class_name(key[0])}:{key[1]}"

    def by_name(self, objects: Iterable[ObjectKey]) -> dict[str, list[ObjectKey]]:
        """The objects of a layout by what styles may call them: by class and id, and by the id alone."""
        found: dict[str, list[ObjectKey]] = {}
        for key in objects:
            found.setdefault(self.name(key), []).append(key)
            found.setdefault(str(key[1]), []).append(key)
        return found

    def find(self, name: str | int, objects: Iterable[ObjectKey]) -> ObjectKey:
        """The object of a layout that a name means: 26001, or "car:26001".

        Raises:
            StyleError: The layout has no such object, or several; or the model keeps one style per class.
        """
        try:
            exact = object_name(name)
        except ValueError as error:
            raise StyleError(f"{error}.") from None
        return self.pick(exact, self.by_name(objects))

    def pick(self, name: str, named: Mapping[str, list[ObjectKey]]) -> ObjectKey:
        """Like `find`, from what `by_name` gave."""
        if self.regions == "label":
            raise StyleError(
                f"A style was chosen for object {name}, but this model keeps one style per class: choose for the class."
            )
        found = named.get(name, [])
        if not found:
            raise self.unknown(name, named)
        if len(found) > 1:
            names = ", ".join(map(self.name, found))
            raise StyleError(f"The id {name} is used by objects of several classes: {names}. Name the class too.")
        return found[0]

    def unknown(self, name: str, named: Mapping[str, list[ObjectKey]], layouts: int = 1) -> StyleError:
        """The error about an object that is in none of so many layouts, whose objects `by_name` gave.

        Raises:
            StyleError: The label space does not even know the object's class.
        """
        owner = name.rpartition(":")[0]
        if owner:
            class_index(owner, self.labels)
        things = set(self.labels.things)
        objects = sorted({key for keys in named.values() for key in keys}, key=lambda key: (key[0] not in things, key))
        names = [self.name(key) for key in objects]
        near = [n for n in names if n.rpartition(":")[0] == owner] or names
        nowhere = "the layout does not hold. It holds" if layouts == 1 else "none of the layouts holds. They hold"
        return StyleError(f"A style was chosen for object {name}, which {nowhere} {some(near)}.")

    def style(self, vectors: Mapping[ObjectKey, Sequence[float]]) -> Style:
        """A style that gives each object, or with regions "label" each class, exactly this vector."""
        if self.regions == "label":
            return Style(classes={self.class_name(key[0]): tuple(v) for key, v in vectors.items()})
        return Style(instances={self.name(key): tuple(v) for key, v in vectors.items()})

    def vector(self, choice: int | Vector, index: int) -> Vector:
        """The vector that a choice means for an object of a class.

        Raises:
            StyleError: The class has no such mode, or the vector another length than the model's.
        """
        name = self.class_name(index)
        if isinstance(choice, tuple):
            if len(choice) != self.channels:
                raise StyleError(
                    f"The vector chosen for {name} has {len(choice)} numbers; this model keeps {self.channels} per object."
                )
            return choice
        if index not in self.modes:
            have = ", ".join(self.labels.names[i] for i in sorted(self.modes))
            raise StyleError(
                f"Mode {choice} was chosen for {name}, which has no clusters in this model file. "
                + (f"Classes with clusters: {have}. " if have else f"No class has: {COMPUTE}. ")
                + f"Choose a vector of {self.channels} numbers in -1..1, or leave it out."
            )
        if choice >= len(self.modes[index]):
            raise StyleError(
                f"Mode {choice} was chosen for {name}; its modes are 0..{len(self.modes[index]) - 1}. gesso info lists them."
            )
        return shortest(self.modes[index].vectors[choice])


def style_space(model: Model) -> StyleSpace | None:
    """What single objects can wear in a loaded model; None where they have no style of their own."""
    about, space = model.info.style, model.info.label_space
    if about is None or space is None or about.kind != "features":
        return None

    def array(index: int, what: str) -> Any:
        tensor = model.styles.get(f"{index}.{what}")
        return None if tensor is None else tensor.numpy()

    modes = {
        i: ClassModes(*(array(i, what) for what in ("centres", "sizes", "thumbnails", "together")))
        for i in range(len(space))
        if f"{i}.centres" in model.styles
    }
    leader = model.info.styles.leader if model.info.styles else ""
    return StyleSpace(space, about.channels, about.regions, modes, space.index(leader) if leader else None)


def some(names: Sequence[str]) -> str:
    """A list for people, cut where it is long."""
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def shortest(vector: Iterable[float]) -> Vector:
    """Numbers as float32, written as shortly as that is exact: 0.1 instead of 0.10000000149011612."""
    return tuple(float(str(number)) for number in np.asarray(list(vector), dtype=np.float32))


# ------------------------------------------------------------------------------------------------ for the objects of a layout


def objects_of(label: Tensor, instance: Tensor | None, regions: Regions) -> list[ObjectKey]:
    """What has a vector of its own in a layout: (class, id) in ascending order; (class, class) with regions "label".

    Args:
        label: (H, W) int64 class indices.
        instance: (H, W) int64 object ids within 32 bits; not needed with regions "label".
        regions: What shares one vector.
    """
    if regions == "label":
        return [(index, index) for index in torch.unique(label).tolist()]
    assert instance is not None, "objects need an instance map"
    keys = torch.unique(instance_keys(label, instance))
    classes = (keys + 2**39) >> 40  # the nearest multiple of 2^40, as ids may be negative
    return list(zip(classes.tolist(), (keys - (classes << 40)).tolist(), strict=True))


def resolve(style: Style, objects: Sequence[ObjectKey], space: StyleSpace, seed: int = 0) -> Vectors:
    """The vector of each object of a layout.

    A choice for the object wins over one for its class. Without either, one of the modes of its class is drawn from (seed, class,
    id) and the mode of the leading class, so that no object's style depends on what else is there. That mode is what was chosen
    for the leading class (of a vector, the mode nearest to it), or drawn as well; the others are drawn as often as photographs
    show them together with it (`gesso.synthesis.coherence`). Where nobody counted what goes together, each mode is as likely
    as the others, as published. Where the class has no clusters the vector is zero, the middle of its range.

    Args:
        style: What was chosen.
        objects: (class, id), as `objects_of` gives them.
        space: What the model can wear.
        seed: Of the draws, where the style has none.

    Raises:
        StyleError: A chosen class, mode or object does not exist, an id is ambiguous, or a vector has another length.
    """
    refuse_foreign(style, StyleDescription(channels=space.channels, regions=space.regions))
    by_class = {(i := class_index(name, space.labels)): space.vector(c, i) for name, c in style.classes.items()}
    by_object: Vectors = {}
    named = space.by_name(objects)
    for name in sorted(style.instances, key=_exactness):
        key = space.pick(name, named)
        by_object[key] = space.vector(style.instances[name], key[0])
    seed = seed if style.seed is None else style.seed
    led = _leading_mode(by_object, by_class, space, seed)
    return {key: by_object.get(key) or by_class.get(key[0]) or _drawn(key, space, seed, led) for key in objects}


def _leading_mode(
    by_object: Mapping[ObjectKey, Vector], by_class: Mapping[int, Vector], space: StyleSpace, seed: int
) -> int | None:
    """The mode nearest to what was chosen for the leading class, or for one of its objects; or drawn. None: no class leads."""
    if space.leader is None or space.leader not in space.modes:
        return None
    modes = space.modes[space.leader]
    chosen = next((vector for key, vector in by_object.items() if key[0] == space.leader), by_class.get(space.leader))
    if chosen is None:
        return int(_random(seed, space.leader).integers(len(modes)))
    return int(np.square(modes.vectors - np.array(chosen)).sum(axis=1).argmin())


def _random(*parts: int) -> np.random.Generator:
    return np.random.default_rng([part % 2**64 for part in parts])


def _drawn(key: ObjectKey, space: StyleSpace, seed: int, led: int | None) -> Vector:
    modes = space.modes.get(key[0])
    if modes is None:
        return (0.0,) * space.channels
    if led is not None and key[0] == space.leader:
        return shortest(modes.vectors[led])
    weights = None if led is None or modes.together is None else modes.together[:, led]
    return shortest(modes.vectors[pick(_random(seed, *key), weights, len(modes))])


def leaves_open(style: Style, objects: Sequence[ObjectKey], space: StyleSpace) -> bool:
    """Whether there are objects that nothing was chosen for, of a class that has no modes to draw from."""
    named = space.by_name(objects)
    chosen = {key for name in style.instances for key in named.get(name, [])}
    left = {key[0] for key in objects if key not in chosen} - space.modes.keys() - {len(space.labels)}
    return any(space.class_name(index) not in style.classes for index in left)


def fitted(style: Style, objects: Sequence[ObjectKey], space: StyleSpace) -> Style:
    """The style for one of several layouts: its objects named by class and id, choices for others left out.

    Raises:
        StyleError: An id is ambiguous.
    """
    named = space.by_name(objects)
    there = sorted((name for name in style.instances if name in named), key=_exactness)
    instances = {space.name(space.pick(name, named)): style.instances[name] for name in there}
    return style.model_copy(update={"instances": instances})


def _exactness(name: str) -> bool:
    """Sorts names with a class behind mere ids, so that they win."""
    return ":" in name


def refuse_unknown(style: Style, layouts: Iterable[Sequence[ObjectKey]], space: StyleSpace) -> None:
    """See that each object that a style names is in one of several layouts.

    Raises:
        StyleError: An object is in none of them, or the model keeps one style per class.
    """
    missing = list(style.instances)
    seen: set[ObjectKey] = set()
    count = 0
    for objects in layouts if missing else ():
        count += 1
        seen.update(objects)
        named = space.by_name(objects)
        missing = [name for name in missing if name not in named]
    if missing:
        named = space.by_name(seen)
        if count > 1 and missing[0] not in named and space.regions == "instance":
            raise space.unknown(missing[0], named, count)
        space.find(missing[0], seen)


def mix(first: Mapping[ObjectKey, Vector], second: Mapping[ObjectKey, Vector], t: float) -> Vectors:
    """Vectors on the way from one resolved style (t = 0) to another (t = 1), linearly.

    Raises:
        StyleError: The styles are of different layouts, or t is outside 0..1.
    """
    if first.keys() != second.keys() or not 0 <= t <= 1:
        raise StyleError(
            f"Only styles of the same objects can be mixed, by 0..1; {len(first)} and {len(second)} objects and {t} came. "
            "Resolve both for one layout."
        )
    return {key: shortest((1 - t) * a + t * b for a, b in zip(first[key], second[key], strict=True)) for key in first}


def copy_style(
    style: Style, vectors: Mapping[ObjectKey, Vector], source: str | int, target: str | int, space: StyleSpace
) -> Style:
    """The style in which one object looks as another does.

    Args:
        style: What was chosen so far.
        vectors: How the layout's objects look, from `resolve`.
        source: The object to copy from: 26001, or "car:26001".
        target: The object to copy to.
        space: What the model can wear.

    Raises:
        StyleError: An object does not exist or is ambiguous.
    """
    vector = vectors[space.find(str(source), vectors)]
    return style.updated(Style(instances={space.name(space.find(str(target), vectors)): vector}))
