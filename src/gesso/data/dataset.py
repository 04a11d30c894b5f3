"""Samples to tensors: one dataset for label-to-photo, photo-to-photo and layouts without photographs."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from gesso.agreement import refuse_foreign_instances
from gesso.data.kept import Kept
from gesso.data.pairing import Sample
from gesso.data.preprocessing import Geometry, Preprocessing, Size, apply_map, apply_photograph, apply_source
from gesso.data.readers import Floats, Values, read_input, read_instance, read_label, read_photograph
from gesso.data.warp import bend, bend_layout
from gesso.errors import DataError, LabelError
from gesso.labels import ByteArray, LabelSpace, colourise, components

Item = dict[str, Any]


class SemanticDataset(Dataset[Item]):
    """Reads, checks, preprocesses and converts samples.

    An item is a dict of

    - "label": (H, W) int64 class indices, `len(space)` where ignored;
    - "instance": (H, W) int64 object ids from the file, or, where the sample has none, connected components of the label
      map at its full resolution, before resizing (so that an object keeps one id however small it becomes);
    - "image": (3, H, W) float32 in [-1, 1], where there is a photograph; where photographs are the input, the label map painted
      in the colours of its classes, ignored pixels black;
    - "seen_label", "seen_instance", "seen_from": (H, W) int64, what `gesso.data.warp.bend_layout` makes of the first two, in
      training with `warp_layout`, in every item;
    - "source": (N, H, W) float32 in [-1, 1], for photo-to-photo samples, which have no label and instance;
    - "name": the sample's name;
    - "size": (H, W) before the final padding.

    `dataset[index, epoch]` draws the random geometry from (seed, epoch, index) alone, so it is the same whatever the number
    of workers and the order of access; `dataset[index]` is epoch 0. Without training nothing is random.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        space: LabelSpace | None,
        preprocessing: Preprocessing,
        *,
        training: bool,
        seed: int = 0,
        instances: bool = True,
        warp: float = 0.0,
        warp_layout: float = 0.0,
        cache: int = 0,
    ) -> None:
        """Set up a dataset; files are opened only when items are asked for.

        Args:
            samples: From a listing of `gesso.data.layouts`.
            space: Meaning of the label maps, be they input or target; None for photo-to-photo.
            preprocessing: Resize, crop, flip, padding.
            training: Whether crops, flips and bends are drawn.
            seed: Not negative; another seed gives other crops and flips.
            instances: Whether items hold an instance map.
            warp: 0..1, how strongly half of the training samples are bent; see `gesso.data.warp`.
            warp_layout: 0..1, how strongly a copy of the layout of half of the training samples is bent; needs label maps as
                input.
            cache: Bytes of decoded files that each process keeps in memory.

        Raises:
            DataError: There is no sample, a sample has neither label map nor source, or label maps have no label space.
        """
        _check_samples(samples, space)
        self.samples = tuple(samples)
        self.space = space
        self.preprocessing = preprocessing
        self.training = training
        self.seed = seed
        self.instances = instances
        self.warp = warp
        self.warp_layout = warp_layout
        self._kept = Kept(cache)

    def __len__(self) -> int:
        return len(self.samples)

    def shrunk(self, shrink: int, multiple: int) -> SemanticDataset:
        """The same samples at 1/shrink of the size, padded to other multiples."""
        other = copy.copy(self)
        other.preprocessing = self.preprocessing.model_copy(update={"shrink": shrink, "multiple": multiple})
        return other

    def __getitem__(self, key: int | tuple[int, int]) -> Item:
        """The item of an index, or of (index, epoch).

        Raises:
            DataError: A file cannot be read, or the files of the sample differ in size.
            LabelError: The label map holds what its space does not know, or the instance map is of another scene.
        """
        index, epoch = key if isinstance(key, tuple) else (key, 0)
        sample = self.samples[index]
        index %= len(self.samples)
        rng = np.random.default_rng((self.seed, epoch, index)) if self.training else None
        item = self._pictures(sample, rng) if sample.source else self._layout(sample, rng)
        if self.warp and rng:
            bend(item, self.warp, rng, painted=bool(sample.source and sample.label))
        if self.warp_layout and rng:  # last, so that what is drawn before stays as it is without
            bend_layout(item, self.warp_layout, rng)
        return item

    def _layout(self, sample: Sample, rng: np.random.Generator | None) -> Item:
        assert sample.label and self.space
        label = self._label(sample)
        geometry = self.preprocessing.plan(label.shape, rng)
        item: Item = {"label": _ids(label, geometry), "name": sample.name, "size": geometry.size}
        if self.instances:
            item["instance"] = _ids(self._instance(sample, label), geometry)
        if sample.image:
            photograph = self._photograph(sample)
            _same_size({sample.label: label.shape, sample.image: photograph.shape[:2]})
            item["image"] = _image(photograph, geometry)
        return item

    def _label(self, sample: Sample) -> Values:
        path, space = sample.label, self.space
        assert path and space
        return self._kept(("label", path), lambda: read_label(path, space))

    def _photograph(self, sample: Sample) -> ByteArray:
        path = sample.image
        assert path
        return self._kept(("image", path, sample.half), lambda: read_photograph(path, sample.half))

    def _instance(self, sample: Sample, label: Values) -> Values:
        assert sample.label and self.space
        if not sample.instance:
            space = self.space
            return self._kept(("components", sample.label), lambda: components(label, space))
        path = sample.instance
        instance = self._kept(("instance", path), lambda: read_instance(path))
        _same_size({sample.label: label.shape, sample.instance: instance.shape})
        try:
            refuse_foreign_instances(label, instance, self.space)
        except LabelError as error:  # it knows the arrays, not the files
            raise LabelError(f"{sample.instance} does not fit {sample.label}: {error}") from None
        return instance

    def _pictures(self, sample: Sample, rng: np.random.Generator | None) -> Item:
        assert sample.source
        source = self._kept(("source", sample.source, sample.half, sample.photo), lambda: read_input(sample))
        geometry = self.preprocessing.plan(source.shape[:2], rng)
        item: Item = {"source": _source(source, geometry), "name": sample.name, "size": geometry.size}
        if sample.label:
            assert self.space
            label = self._label(sample)
            _same_size({sample.source: source.shape[:2], sample.label: label.shape})
            item["image"] = _normalised(colourise(apply_map(label, geometry), self.space))
        elif sample.image:
            photograph = self._photograph(sample)
            _same_size({sample.source: source.shape[:2], sample.image: photograph.shape[:2]})
            item["image"] = _image(photograph, geometry)
        return item


def _check_samples(samples: Sequence[Sample], space: LabelSpace | None) -> None:
    if not samples:
        raise DataError("A dataset needs at least one sample; the listing holds none.")
    for sample in samples:
        if not sample.label and not sample.source:
            raise DataError(f"Sample {sample.name} has neither a label map nor a source picture; it has no input.")
        if sample.label and space is None:
            raise DataError(
                f"The label map {sample.label} needs a label space: put a labels.json beside the data, or name a "
                "published space with --space."
            )


def _same_size(sizes: dict[Path, tuple[int, ...]]) -> None:
    *_, (second, b) = sizes.items()
    first, a = next(iter(sizes.items()))
    if a != b:
        turned = " One of them may be turned by an EXIF orientation that the other lacks." if a == b[::-1] else ""
        raise DataError(
            f"{first} is {a[1]}x{a[0]} but {second} is {b[1]}x{b[0]} (width x height); files of one sample must have the "
            f"same size.{turned} Resize label and instance maps with nearest neighbour."
        )


def _ids(values: Values, geometry: Geometry) -> Tensor:
    return torch.from_numpy(apply_map(values, geometry)).long()  # (H, W)


def _image(photograph: ByteArray, geometry: Geometry) -> Tensor:
    return _normalised(apply_photograph(photograph, geometry))


def _normalised(photograph: ByteArray) -> Tensor:
    pixels = torch.from_numpy(photograph)  # (H, W, 3)
    # The official order of operations, so that the floats agree to the last bit.
    return pixels.permute(2, 0, 1).contiguous().float().div_(255).sub_(0.5).div_(0.5)  # (3, H, W)


def _source(source: Floats, geometry: Geometry) -> Tensor:
    channels = torch.from_numpy(apply_source(source, geometry))  # (H, W, N)
    return channels.permute(2, 0, 1).contiguous().sub_(0.5).div_(0.5)  # (N, H, W)


def collate(items: Sequence[Item]) -> Item:
    """Stack items to a batch: tensors (B, ...), names and sizes as lists.

    Raises:
        DataError: The items differ in size or in what they hold.
    """
    batch: Item = {}
    for key, first in items[0].items():
        values = [item.get(key) for item in items]
        if not isinstance(first, Tensor):
            batch[key] = values
            continue
        shapes: dict[Size | None, str] = {
            getattr(v, "shape", None): i["name"] for v, i in zip(values, items, strict=True)
        }
        if len(shapes) > 1:
            listed = "; ".join(f"{name}: {tuple(shape) if shape else 'none'}" for shape, name in shapes.items())
            raise DataError(
                f"The samples of a batch differ in {key!r}: {listed}. Bring all to one size with resize 'fixed' or a crop, "
                "or use a batch size of 1."
            )
        batch[key] = default_collate(values)
    if any(item.keys() != items[0].keys() for item in items):
        raise DataError(f"Some samples of a batch hold other things than {', '.join(items[0])}; list them apart.")
    return batch
