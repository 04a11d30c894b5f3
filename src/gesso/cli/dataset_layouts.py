"""What each photograph of a generated dataset is made of: a layout of the data, changed at random."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from gesso.cli.common import style_seed
from gesso.cli.dataset_flags import DatasetFlags

if TYPE_CHECKING:
    import numpy as np

    from gesso.data.dataset import SemanticDataset
    from gesso.data.generated import Augmentations, PastedObject
    from gesso.labels import LabelSpace
    from gesso.synthesis.editing import Layout, ObjectKey

TRIES = 4  # layouts that are looked at for an object to paste
KEPT = 64  # layouts taken apart that are remembered for pasting from


@dataclass(frozen=True)
class Task:
    """One photograph that is wanted.

    Attributes:
        number: Its place among all.
        index: Of its layout.
        variant: Which of the photographs of that layout.
        name: Of its files, without folder and extension.
        seed: Of its style.
        donors: Indices of the layouts that objects are pasted from: for each paste some to look at.
    """

    number: int
    index: int
    variant: int
    name: str
    seed: int
    donors: tuple[tuple[int, ...], ...] = ()


class Variations:
    """The layouts of a generated dataset.

    Everything random comes from the seed, the layout's name and the variant's number, so that a photograph is the same whichever
    others are made, in whatever order. Each augmentation draws from numbers of its own: one more changes nothing in the others.

    Attributes:
        layouts: All layouts of the data.
        flags: What is done to them.
        count: So many of them, the first ones, photographs are made of; objects are pasted from any of these, and from no other.
    """

    def __init__(self, layouts: SemanticDataset, flags: DatasetFlags, seed: int, count: int) -> None:
        assert layouts.space is not None
        self.layouts, self.flags, self.count = layouts, flags, count
        self._seed, self._space = seed, layouts.space
        self._classes = flags.classes(layouts.space)
        self._taken_apart = lru_cache(maxsize=KEPT)(self._take_apart)

    def task(self, number: int) -> Task:
        """What is wanted at a place, layout by layout."""
        index, variant = divmod(number, self.flags.variants)
        name = self.layouts.samples[index].name
        whole = f"{name}-{variant:03d}"
        if self.flags.shard_size:
            whole = f"{number // self.flags.shard_size:05d}/{whole}"
        seed = style_seed(self._seed, name, variant) if self.flags.vary_styles else self._seed
        count = int(self._random(index, variant, "paste").integers(self.flags.paste + 1))
        drawn = self._random(index, variant, "donors").integers(self.count, size=(self.flags.paste, TRIES))
        return Task(number, index, variant, whole, seed, tuple(map(tuple, drawn[:count].tolist())))

    def draw(self, task: Task) -> tuple[dict[str, Any], Augmentations]:
        """The layout of a photograph as an item of a dataset, and what was done to it.

        Raises:
            DataError: A file cannot be read.
            LabelError: A label map is not of the label space, or disagrees with its instance map.
        """
        from gesso.data.generated import Augmentations

        item = dict(self.layouts[task.index])
        removed, pasted = self._edit(item, task) if self.flags.edits else ((), ())
        warp = self.flags.warp if self.flags.warp and self._bend(item, task) else 0.0
        flip = self.flags.flip and bool(self._random(task.index, task.variant, "flip").random() < 0.5)
        if flip:
            _each(item, lambda values: values.flip(-1))
        return item, Augmentations(removed=removed, pasted=pasted, warp=warp, flip=flip)

    # ------------------------------------------------------------------------------------------------------ one by one

    def _edit(self, item: dict[str, Any], task: Task) -> tuple[tuple[str, ...], tuple[PastedObject, ...]]:
        """Take objects out, and put others in."""
        import torch

        from gesso.synthesis.editing import Layout
        from gesso.synthesis.variations import take_out

        random = self._random(task.index, task.variant, "remove")
        count = int(random.integers(self.flags.remove + 1))
        if not count and not task.donors:
            return (), ()
        layout = Layout.of(item["label"].numpy(), item["instance"].numpy(), self._space)
        layout, gone = take_out(layout, count, self._classes, random)
        layout, pasted = self._paste(layout, task)
        if gone or pasted:
            item["label"] = torch.from_numpy(layout.label.copy()).long()
            item["instance"] = torch.from_numpy(layout.instance.copy()).long()
        return tuple(_called(key, self._space) for key in gone), pasted

    def _paste(self, layout: Layout, task: Task) -> tuple[Layout, tuple[PastedObject, ...]]:
        from gesso.data.generated import PastedObject, file_digest
        from gesso.synthesis.variations import put_in

        random, done = self._random(task.index, task.variant, "place"), []
        for donors in task.donors:
            layout, found = put_in(layout, (self._taken_apart(donor) for donor in donors), self._classes, random)
            if found:
                source = self.layouts.samples[donors[found.donor]]
                done.append(
                    PastedObject(
                        object=_called(found.key, self._space),
                        source=source.name,
                        layout=file_digest(source.label) if source.label else "",
                        source_object=_called(found.origin, self._space),
                        at=found.at,
                    )
                )
        return layout, tuple(done)

    def _take_apart(self, index: int) -> Layout:
        from gesso.synthesis.editing import Layout

        item = self.layouts[index]
        return Layout.of(item["label"].numpy(), item["instance"].numpy(), self._space)

    def _bend(self, item: dict[str, Any], task: Task) -> bool:
        """Bend maps and photograph alike; whether it came to that."""
        from gesso.data.warp import bend_map, bend_picture, draw

        random = self._random(task.index, task.variant, "warp")
        field = draw(tuple(item["label"].shape), self.flags.warp, random)
        if field is None:
            return False
        _each(item, lambda v: bend_picture(v, field) if v.is_floating_point() else bend_map(v, field))
        return True

    def _random(self, index: int, variant: int, what: str) -> np.random.Generator:
        import numpy as np

        said = f"{self._seed} {variant} {what} {self.layouts.samples[index].name}"
        digest = hashlib.sha256(said.encode(errors="surrogateescape")).digest()
        return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def _each(item: dict[str, Any], change: Callable[[Any], Any]) -> None:
    """Change every map and picture of an item."""
    from torch import Tensor

    for name, value in item.items():
        if isinstance(value, Tensor):
            item[name] = change(value).contiguous()


def _called(key: ObjectKey, space: LabelSpace) -> str:
    return f"{space.names[key.class_index]}:{key.id}"
