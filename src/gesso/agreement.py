"""Whether an instance map and a label map show the same scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from gesso.errors import LabelError
from gesso.labels import LabelSpace

Integers = npt.NDArray[np.integer[Any]]
Mask = npt.NDArray[np.bool_]

UNRELATED = 0.4  # maps of one scene reached 0.27, those of other scenes 0.50 and more


def refuse_foreign_instances(label: Integers, instance: Integers, space: LabelSpace) -> None:
    """See that an instance map belongs to a label map.

    Ids are opaque and may be shared (by all stuff, or by objects of different classes), so only edges can tell. In maps of
    one scene ids change where classes change or where two objects of a class touch, and they do change along the outline of
    most countable objects. Two shares are taken: of the edges between ids, those inside a class; of the outlines of countable
    objects, those without a change of id. Each is measured against what it would be by chance, so that 0 is agreement and 1 is
    unrelated; if their geometric mean exceeds `UNRELATED`, the maps are of different scenes. One that says nothing (a single
    id) is let pass, as is a misfit of one pixel.

    Args:
        label: (H, W) class indices.
        instance: (H, W) object ids.
        space: Says which classes are countable.

    Raises:
        LabelError: They disagree.
    """
    countable = np.isin(np.arange(len(space) + 1), space.things)
    classes, ids = _edges(label), _edges(instance)
    outlines = _edges(np.where(countable[label], label, -1))
    inside, open_ = _astray(ids, classes), _astray(outlines, ids)
    if inside * open_ > UNRELATED**2:
        within, without = (ids & ~classes).sum() / ids.sum(), (outlines & ~ids).sum() / outlines.sum()
        raise LabelError(
            f"The instance map disagrees with the label map: {within:.0%} of the places where ids change lie inside one class, "
            f"and {without:.0%} of the outlines of countable objects have no change of id. Give the instance map of the same "
            "scene, at the same size and not mirrored; or none, and connected components stand in for it."
        )


def _edges(values: Integers) -> Mask:
    """(H, W) where a pixel differs from a neighbour; both sides are marked."""
    edge = np.zeros(values.shape, dtype=np.bool_)
    across, down = values[:, 1:] != values[:, :-1], values[1:] != values[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge


def _astray(edges: Mask, others: Mask) -> float:
    """Share of edges that are none of the others, over what it would be by chance; 0 where there are no edges."""
    alone = int((edges & ~others).sum()) / max(int(edges.sum()), 1)
    return alone / (1 - others.mean()) if alone else 0.0
