"""Feature vectors of objects (pix2pixHD, section 3.4): out of a photograph, and back into the map that the generator sees.

An object is (class, id), as everywhere; where a model keeps one vector per class (regions "label"), the id is the class too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import LabelError
from gesso.labels import instance_keys

Regions = Literal["instance", "label"]
ObjectKey = tuple[int, int]  # (class index, id)
OUTSIDE = -(2**62)  # object key of padding, which belongs to nothing


@dataclass(frozen=True)
class ObjectFeatures:
    """The objects of one photograph in ascending order of (class, id), each with its feature vector.

    Attributes:
        classes: (N,) int64 class indices; the number of classes for ignored pixels.
        ids: (N,) int64 object ids.
        areas: (N,) int64 pixels.
        vectors: (N, F) float32 in [-1, 1].
    """

    classes: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    areas: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.areas)

    @property
    def keys(self) -> list[ObjectKey]:
        """(class, id) of each object."""
        return list(zip(self.classes.tolist(), self.ids.tolist(), strict=True))

    def where(self, wanted: npt.NDArray[np.bool_]) -> ObjectFeatures:
        """The objects at which `wanted`, (N,), holds."""
        return ObjectFeatures(self.classes[wanted], self.ids[wanted], self.areas[wanted], self.vectors[wanted])

    def table(self) -> dict[ObjectKey, list[float]]:
        """The vectors by (class, id), as `feature_map` takes them."""
        return dict(zip(self.keys, self.vectors.tolist(), strict=True))


def encode_objects(
    encoder: nn.Module, image: Tensor, label: Tensor, instance: Tensor | None, regions: Regions
) -> ObjectFeatures:
    """Feature vector of every object in a photograph: the mean of the encoder's features over its pixels.

    Sizes that the encoder cannot take are extended by reflection at the right and the bottom; that margin belongs to no object,
    so that a vector is the mean over the object's own pixels alone. At exact multiples it equals the encoder's own output.

    Ignored pixels come out as objects of their own class index (the number of classes), as in training: the generator was
    trained with their features too. Who wants objects alone drops them.

    Args:
        encoder: As `gesso.networks.pix2pixhd.InstanceEncoder`; it computes where its weights are.
        image: (3, H, W) in [-1, 1].
        label: (H, W) int64 class indices.
        instance: (H, W) int64 object ids; not needed with regions "label".
        regions: What shares one vector: an "instance", or everything of a "label".

    Returns:
        The objects, on the CPU.

    Raises:
        LabelError: Photograph, label map and instance map differ in size, or an instance map is missing.
    """
    keys = _keys(label, instance, regions)
    if image.shape[-2:] != keys.shape:
        raise LabelError(
            f"The photograph is {_size(image)}, its label map {_size(label)}: they must be equal. "
            "Resize both in the same way first."
        )
    device = next(encoder.parameters()).device
    margin = _margin(encoder, *keys.shape)
    padded = F.pad(keys[None], (0, margin[1], 0, margin[0]), value=OUTSIDE)  # (1, H', W')
    with torch.inference_mode():
        pooled = encoder(_reflect(image, *margin)[None].to(device), padded.to(device))  # (1, F, H', W')
    vectors = pooled[0, :, : keys.shape[0], : keys.shape[1]].float().cpu().flatten(1).T.numpy()  # (H*W, F)
    _, first, areas = np.unique(keys.cpu().numpy(), return_index=True, return_counts=True)
    classes = label.cpu().numpy().reshape(-1)[first].astype(np.int64)
    ids = classes if instance is None or regions == "label" else instance.cpu().numpy().reshape(-1)[first]
    return ObjectFeatures(classes, ids.astype(np.int64), areas.astype(np.int64), vectors[first].astype(np.float32))


def feature_map(
    vectors: Mapping[ObjectKey, Sequence[float]],
    label: Tensor,
    instance: Tensor | None,
    regions: Regions,
    channels: int,
) -> Tensor:
    """Style map of a layout: every pixel holds the vector of its object.

    Args:
        vectors: By (class, id), or (class, class) with regions "label"; objects that the layout does not hold are left out.
        label: (H, W) int64 class indices.
        instance: (H, W) int64 object ids; not needed with regions "label".
        regions: What shares one vector: an "instance", or everything of a "label".
        channels: Numbers in a vector.

    Returns:
        (channels, H, W) float32 on the device of `label`; zeros where an object has no vector.

    Raises:
        LabelError: A vector has another length, the maps differ in size, or an instance map is missing.
    """
    keys = _keys(label, instance, regions)
    found, rows = torch.unique(keys, return_inverse=True)  # (K,), (H, W)
    places = {key: row for row, key in enumerate(found.tolist())}
    table = torch.zeros(len(places), channels)
    for (index, number), vector in vectors.items():
        if len(vector) != channels:
            raise LabelError(
                f"The feature vector of object {number} of class {index} has {len(vector)} numbers, this model takes {channels}."
            )
        row = places.get(_key(index, number, regions))
        if row is not None:
            table[row] = torch.as_tensor(vector, dtype=torch.float32)
    return table.to(label.device)[rows].permute(2, 0, 1)  # (channels, H, W)


def _keys(label: Tensor, instance: Tensor | None, regions: Regions) -> Tensor:
    """(H, W) int64, equal within what shares one vector."""
    if regions == "label":
        return label.long()
    if instance is None:
        raise LabelError(
            "Instance features need an instance map, and none came. Where there is none, gesso.labels.components makes "
            "one of the connected components of the countable classes."
        )
    if instance.shape != label.shape:
        raise LabelError(
            f"The instance map is {_size(instance)}, the label map {_size(label)}: they must be equal. Resize both with "
            "nearest neighbour."
        )
    return instance_keys(label, instance)


def _key(index: int, number: int, regions: Regions) -> int:
    """What `_keys` holds at the pixels of one object."""
    return index if regions == "label" else int(instance_keys(torch.tensor(index), torch.tensor(number)))


def _margin(encoder: nn.Module, height: int, width: int) -> tuple[int, int]:
    """Rows below and columns to the right that bring a photograph to a size that the encoder takes."""
    multiple, smallest = int(getattr(encoder, "multiple", 1)), int(getattr(encoder, "smallest", 1))
    high, wide = (max(-(-n // multiple) * multiple, smallest) for n in (height, width))
    if high == wide == multiple > 1:
        wide += multiple  # instance normalisation knows no spread of a single coarse pixel
    return high - height, wide - width


def _reflect(image: Tensor, below: int, right: int) -> Tensor:
    """Extend (3, H, W) by reflection at the bottom and the right, also by more than the picture's own size."""
    if not below and not right:
        return image
    edges = [(0, 0), (0, below), (0, right)]
    return torch.from_numpy(
        np.pad(image.cpu().numpy(), edges, mode="symmetric" if 1 in image.shape[-2:] else "reflect")
    )


def _size(values: Tensor) -> str:
    return "x".join(map(str, values.shape[-2:]))
