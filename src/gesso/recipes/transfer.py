"""Weights for another label space: what sees the layout is carried over class by class, everything else stays as it is.

A new class takes the weights of one old class: that of the explicit map, or of the same name, or of the most similar name; where
there is none, the mean of all old classes. All of it is one matrix from the old channels of the semantics to the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from gesso.errors import ConfigError
from gesso.labels import LabelSpace, Semantics
from gesso.networks import pix2pix, pix2pixhd, spade
from gesso.networks.spectral import SpectralConv2d

ALIKE = 0.85  # of SequenceMatcher: "roads" is road, "street" is no tree
FILLERS = {
    "a",
    "and",
    "category",
    "class",
    "general",
    "label",
    "misc",
    "object",
    "of",
    "or",
    "other",
    "stuff",
    "the",
    "thing",
}  # say nothing of a class


@dataclass(frozen=True)
class Origin:
    """Where the weights of a new class come from.

    Attributes:
        new: Name of the new class.
        old: Name of the class that it takes over from; empty for the mean of all.
        why: "class map", "same name", "similar name" or "mean of all classes".
    """

    new: str
    old: str
    why: str


@dataclass(frozen=True)
class Transfer:
    """How the channels of one network input become those of another.

    Attributes:
        origins: One per new class, in the order of the new classes.
        told: Lines for people: a table of the classes, and what became of the other channels.
        matrix: (new channels, old channels) float32; new weights are this times the old ones.
    """

    origins: tuple[Origin, ...]
    told: tuple[str, ...]
    matrix: Tensor

    def carry(self, tensors: Mapping[str, Tensor], networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
        """The tensors of an old training, as NETWORK.NAME, with the new channels of the layout.

        Args:
            tensors: Of the old training; those whose inputs are too few are left alone, so that whoever fills networks with
                them meets the difference.
            networks: The new ones, by name; they may be on the meta device.
        """
        found = dict(tensors)
        for name, (first, layer) in layout_inputs(networks, len(self.matrix)).items():
            weight = tensors.get(f"{name}.weight")
            if weight is None or weight.shape[1] < first + self.matrix.shape[1]:
                continue
            found[f"{name}.weight"] = carried = self._carry(weight, first)
            if isinstance(layer, SpectralConv2d) and f"{name}.u" in tensors:
                vectors = tensors[f"{name}.u"], tensors[f"{name}.v"]
                found[f"{name}.u"], found[f"{name}.v"] = _same_size(weight, carried, *vectors)
        return found

    def _carry(self, weight: Tensor, first: int) -> Tensor:
        """(out, in, k, k) with other layout channels, which begin at input `first`."""
        last = first + self.matrix.shape[1]
        layout = torch.einsum("no,aohw->anhw", self.matrix.to(weight), weight[:, first:last])
        return torch.cat([weight[:, :first], layout, weight[:, last:]], dim=1).contiguous()


def plan(
    ours: tuple[LabelSpace | None, Semantics],
    theirs: tuple[LabelSpace | None, Semantics],
    given: Mapping[str, str],
    origin: str,
) -> Transfer:
    """What becomes of each channel of the layout.

    Args:
        ours: Label space and semantics of the new training.
        theirs: Those of the old one.
        given: New class -> old class; wins over names.
        origin: What the old training is called in messages.

    Raises:
        ConfigError: One of both has no class per channel, or the map names a class that is not there.
    """
    (space, semantics), (old_space, old) = ours, theirs
    for whose, classes, what in ((origin, old_space, old), ("this training", space, semantics)):
        if classes is None or what.colours or not what.classes:
            seen = "label maps in colours" if what.colours else "pictures"
            raise ConfigError(
                f"--transfer labels carries weights over class by class, but {whose} sees {seen}: there is no channel per class. "
                "Use label maps with a channel per class on both sides, or leave --transfer out."
            )
    assert space is not None and old_space is not None
    origins = match(space.names, old_space.names, given, f"{space.name} (the data)", f"{old_space.name} ({origin})")
    matrix = torch.zeros(semantics.channels, old.channels)
    for row, found in enumerate(origins):
        if found.old:
            matrix[row, old_space.index(found.old)] = 1.0
        else:
            matrix[row, : old.classes] = 1.0 / old.classes
    places, before = _other_channels(semantics), _other_channels(old)
    for name in places.keys() & before.keys():
        matrix[places[name], before[name]] = 1.0
    return Transfer(origins, tuple(_tell(origins, space, old_space, places, before)), matrix)


def _other_channels(semantics: Semantics) -> dict[str, int]:
    """Where channels are that are no classes."""
    names = ["don't care"] * semantics.dont_care + ["boundary"] * semantics.boundary
    return {name: semantics.classes + place for place, name in enumerate(names)}


def _tell(
    origins: Sequence[Origin],
    space: LabelSpace,
    old_space: LabelSpace,
    places: Mapping[str, int],
    before: Mapping[str, int],
) -> Iterator[str]:
    yield f"weights of the {len(space)} classes of {space.name}, from the {len(old_space)} of {old_space.name}:"
    longest, from_longest = (max(len(text) for text in column) for column in zip(*_rows(origins), strict=True))
    for (new, old), found in zip(_rows(origins), origins, strict=True):
        yield f"  {new:<{longest}} <- {old:<{from_longest}}  {found.why}"
    if left := [name for name in old_space.names if name not in {found.old for found in origins}]:
        yield f"  left behind: {', '.join(left)}"
    for name in (*places, *(n for n in before if n not in places)):
        kept = "kept" if name in before else "new, begins with zeros"
        yield f"  channel {name}: {kept if name in places else 'left behind'}"


def _rows(origins: Sequence[Origin]) -> list[tuple[str, str]]:
    return [(found.new, found.old or "(all)") for found in origins]


# ---------------------------------------------------------------------------------------------- which class from which


def match(
    new: Sequence[str], old: Sequence[str], given: Mapping[str, str], where_new: str = "new", where_old: str = "old"
) -> tuple[Origin, ...]:
    """Where each new class comes from: the map, the same name, the most similar name, else the mean of all.

    Names are the same if they differ in case and separators alone. Of similar ones that with the largest share of common words
    comes first, then one that is spelled alike in 85 of 100. Numbers and words such as "other" and "class" do not count there:
    "class 7" is like no other class.

    Args:
        new: Names of the new classes.
        old: Names of the old ones.
        given: New class -> old class.
        where_new: What the new label space is called in messages.
        where_old: What the old one is called.

    Raises:
        ConfigError: The map names a class that is not there.
    """
    for names, known, where in ((given.keys(), new, where_new), (given.values(), old, where_old)):
        if unknown := [name for name in names if name not in known]:
            near = get_close_matches(unknown[0], known, n=1)
            raise ConfigError(
                f"--class-map names {unknown[0]!r}, which is no class of {where}{f' (did you mean {near[0]}?)' if near else ''}. "
                f"Its classes are {', '.join(known)}; write new=old."
            )
    return tuple(Origin(name, given[name], "class map") if name in given else _by_name(name, old) for name in new)


def _by_name(name: str, old: Sequence[str]) -> Origin:
    words, telling = _words(name), _telling(name)
    if same := [other for other in old if other == name or (words and _words(other) == words)]:
        return Origin(name, name if name in same else same[0], "same name")
    scored = [(_common(telling, _telling(other)), _spelled(telling, _telling(other)), other) for other in old]
    common, alike, best = max(scored, key=lambda score: score[:2])
    if common:
        return Origin(name, best, "similar name")
    _, alike, best = max(scored, key=lambda score: score[1])
    return Origin(name, best, "similar name") if alike >= ALIKE else Origin(name, "", "mean of all classes")


def _words(name: str) -> tuple[str, ...]:
    """Words of a name in small letters; "trafficLight" and "traffic_light" have the same."""
    return tuple(re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()))


def _telling(name: str) -> tuple[str, ...]:
    """Words of a name that say what the class is, without digits: not "class" or "other"."""
    letters = (re.sub(r"\d", "", word) for word in _words(name))
    return tuple(word for word in letters if word and word not in FILLERS)


def _common(first: Sequence[str], second: Sequence[str]) -> float:
    """Common words as a share of all words of both, 0..1."""
    ours, theirs = set(first), set(second)
    return len(ours & theirs) / len(ours | theirs) if ours & theirs else 0.0


def _spelled(first: Sequence[str], second: Sequence[str]) -> float:
    """How alike words are spelled, 0..1; none are like nothing."""
    if not (first and second):
        return 0.0
    return SequenceMatcher(None, " ".join(first), " ".join(second), autojunk=False).ratio()


# --------------------------------------------------------------------------------------------- which layers see layouts


def layout_inputs(networks: Mapping[str, nn.Module], channels: int) -> dict[str, tuple[int, nn.Module]]:
    """Layers that see the layout, as NETWORK.NAME: the first of their input channels that is of it, and the layer.

    Args:
        networks: By name; an encoder sees photographs, and none is found in it.
        channels: Of the semantics.
    """
    return {
        f"{owner}.{name}": (first, network.get_submodule(name))
        for owner, network in networks.items()
        if owner != "encoder"
        for key, module in network.named_modules()
        for name, first in ((f"{key}.{layer}".lstrip("."), first) for layer, first in _inputs_of(module, channels))
    }


def _inputs_of(module: Any, channels: int) -> list[tuple[str, int]]:
    """Layers directly under a module that see the layout, and at which input it begins."""
    if isinstance(module, pix2pix.UNetGenerator):
        return [("down.0.conv", 0)]
    if isinstance(module, pix2pix.PatchDiscriminator):
        first = module.get_submodule("layers.0")
        return [("layers.0", 0)] if first.in_channels != 3 else []  # which are pictures alone
    if isinstance(module, pix2pixhd.Trunk):
        return [("stem.1", 0)]
    if isinstance(module, pix2pixhd.LocalEnhancer):
        return [("down.1", 0)]
    if isinstance(module, pix2pixhd.PatchDiscriminator | spade.PatchDiscriminator):
        return [("layers.0.0", 0)]
    if isinstance(module, spade.SPADE):
        return [("shared", 0)]
    if isinstance(module, spade.SpadeGenerator):
        return [("start", 0)] if isinstance(module.start, nn.Conv2d) else []
    if isinstance(module, spade.SpadeBlock):
        norms = {part: getattr(module, f"{part}_norm", None) for part in ("first", "second", "shortcut")}
        return [
            (part, norm.out_channels - channels)  # the layout comes last
            for part, norm in norms.items()
            if isinstance(norm, spade.Concatenation) and norm.shown
        ]
    return []


def _same_size(weight: Tensor, carried: Tensor, u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Singular vectors for a carried weight by which it is divided by the very number that the old one was divided by.

    So pictures do not change before training, whose first step measures the new weight's own singular value.
    """
    sigma = u.double() @ weight.flatten(1).double() @ v.double()
    matrix, left = carried.flatten(1).double(), u.double()
    for _ in range(10):
        right = nn.functional.normalize(left @ matrix, dim=0)
        left = nn.functional.normalize(matrix @ right, dim=0)
    right = right * (sigma / (left @ matrix @ right))
    return left.to(u), right.to(v)
