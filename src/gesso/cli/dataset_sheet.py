"""The contact sheet of a generated dataset."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gesso.data.generated import Made
    from gesso.pictures import Picture

ROWS = 12
SHEET_OF = "contact_sheet_of"  # in its record, by which it is known again
PRIMES = (2654435761, 2246822519, 3266489917)  # that mix ids into colours


def write_sheet(path: Path, shown: Iterable[tuple[Made, Path]]) -> None:
    """Write a page of photographs with their maps, read from the files: label map, instance map in colours, photograph.

    Args:
        path: Where to.
        shown: Lines of the manifest, each with the file of its photograph, OUT/SPLIT/images/NAME.

    Raises:
        TrainingError: The disk is full or refuses.
    """
    import numpy as np
    from PIL import Image

    from gesso.data.generated import LABELS
    from gesso.data.readers import read_instance, read_label
    from gesso.labels import LabelSpace, colourise
    from gesso.pictures import sheet
    from gesso.synthesis.synthesizer import save_png

    rows, said = [], []
    for made, image in shown:
        folder = image.parents[made.file.count("/")]
        label, instance = (folder / file for file in made.maps)
        space = LabelSpace.load(folder.parent / LABELS)
        with Image.open(image) as opened:
            photograph = np.asarray(opened)
        rows.append([colourise(read_label(label, space), space), object_colours(read_instance(instance)), photograph])
        said.append(caption(made))
    page = sheet(rows, ["label map", "instance map", "photograph"], said)
    save_png(path, np.asarray(page), {SHEET_OF: "gesso generate --dataset"})


def object_colours(instance: Any) -> Picture:
    """(H, W) ids as (H, W, 3) uint8: a colour per id, which means nothing."""
    import numpy as np

    ids, places = np.unique(instance, return_inverse=True)
    mixed = (ids.astype(np.uint64)[:, None] * np.array(PRIMES, dtype=np.uint64)) >> np.uint64(9)
    return (mixed % np.uint64(216) + np.uint64(40)).astype(np.uint8)[places.reshape(instance.shape)]


def caption(made: Made) -> str:
    """What was done to a layout, in words."""
    done = made.augmentations
    parts = [f"without {name}" for name in done.removed] + [f"with {one.object} of {one.source}" for one in done.pasted]
    parts += ["bent"] * bool(done.warp) + ["mirrored"] * done.flip
    return f"{made.source}: {', '.join(parts) or 'as it is'}"
