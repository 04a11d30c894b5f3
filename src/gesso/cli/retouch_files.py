"""The files of `gesso retouch`: the photograph that it reads, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gesso.errors import ConfigError, DataError

if TYPE_CHECKING:
    from rich.table import Table

    from gesso.labels import ByteArray
    from gesso.pictures import Picture
    from gesso.synthesis.editing import Layout, ObjectSummary
    from gesso.synthesis.retouching import Original

LARGEST_ID = 65535  # in a gray PNG


def read_photograph(path: Path) -> ByteArray:
    """A photograph (H, W, 3), upright by its EXIF orientation.

    Raises:
        DataError: It cannot be read, is an animation, or is transparent somewhere.
    """
    import numpy as np
    from PIL import Image

    from gesso.data import readers

    picture = readers.read_photograph(path)
    if path.suffix.lower() == ".npy":
        return picture
    with Image.open(path) as image:
        if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":  # MPO: a JPEG of a camera, with previews
            raise DataError(f"{path} holds {image.n_frames} pictures: save the one that you mean as a PNG of its own.")  # type: ignore[attr-defined]
        if image.has_transparency_data and np.asarray(image.convert("RGBA"))[..., 3].min() < 255:
            raise DataError(
                f"{path} is transparent in places, so that nobody can say what is seen there: put it on a background first, and "
                "save it without alpha."
            )
    return picture


def colour_profile(path: Path) -> bytes | None:
    """The ICC profile of a photograph, without which its numbers mean other colours; None where it has none."""
    from PIL import Image

    if path.suffix.lower() == ".npy":
        return None
    with Image.open(path) as image:
        profile: bytes | None = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA") else None
    return profile


def save_result(path: Path, picture: Picture, record: Mapping[str, Any], profile: bytes | None) -> None:
    """Write a PNG with its record and the photograph's colour profile.

    Raises:
        TrainingError: The disk is full or refuses; no half picture is left.
    """
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from gesso.checkpoints import write_safely
    from gesso.synthesis.synthesizer import PNG_KEY

    chunks, image = PngInfo(), Image.fromarray(picture)
    chunks.add_itxt(PNG_KEY, json.dumps(record))
    write_safely(path, lambda temporary: image.save(temporary, "PNG", pnginfo=chunks, icc_profile=profile))


def refuse_overwriting(paths: Iterable[Path], overwrite: bool) -> None:
    """See that what is written are PNGs, each apart, that replace nothing.

    Raises:
        ConfigError: Naming the file.
    """
    seen = set()
    for path in paths:
        if path.suffix.lower() != ".png":
            raise ConfigError(
                f"{path} would not be a PNG, in which every byte and the record are kept: name it NAME.png."
            )
        if path.resolve() in seen:
            raise ConfigError(f"{path} is named for two results: give each a file of its own.")
        if path.exists() and not overwrite:
            raise ConfigError(f"{path} is there already: give another name, or --overwrite.")
        seen.add(path.resolve())


def write_maps(layout: Layout, labels: Path | None, instances: Path | None) -> None:
    """Write the label map and the instance map of a layout, where that is wanted, as they are read back."""
    import numpy as np
    from PIL import Image

    from gesso.checkpoints import write_safely

    def write(path: Path | None, values: Any) -> None:
        if path:
            write_safely(path, lambda temporary: Image.fromarray(values).save(temporary, "PNG"))

    values = layout.space.to_values(layout.label)
    write(labels, values.astype(np.uint8 if 0 <= values.min() and values.max() < 256 else np.uint16))
    ids = layout.instance
    if 0 <= ids.min() and ids.max() <= LARGEST_ID:
        write(instances, ids.astype(np.uint16))
    else:  # as COCO's panoptic files
        write(instances, np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8))


def objects_table(original: Original) -> Table:
    """What can be edited: objects by name, and the classes without objects."""
    import numpy as np
    from rich.table import Table

    from gesso.synthesis.retouching import object_name

    layout = original.layout
    table = Table("name", "pixels", "left, top, right, bottom", title="objects", title_justify="left")
    share = original.size[0] * original.size[1] / layout.label.size
    for one in _shown(original):
        box = ", ".join(map(str, _box(one, original)))
        table.add_row(object_name(layout, one.key), f"{one.visible * share:.0f}", box)
    for index, count in zip(*np.unique(layout.label, return_counts=True), strict=True):
        if index < len(layout.space) and index not in layout.space.things:
            table.add_row(layout.space.names[index], f"{count * share:.0f}", "")
    return table


def objects_picture(original: Original) -> Picture:
    """The photograph with the objects' boxes and names."""
    import numpy as np
    from PIL import Image, ImageDraw

    from gesso.synthesis.retouching import object_name

    scale = max(1, -(-512 // original.size[0]))  # names must be legible on small photographs
    page = Image.fromarray(original.photograph)
    page = page.resize((page.width * scale, page.height * scale), Image.Resampling.NEAREST)
    draw = ImageDraw.Draw(page)
    for one in _shown(original)[::-1]:
        colour = tuple(int(c) for c in original.layout.space.colours[one.key.class_index])
        left, top, right, bottom = (side * scale for side in _box(one, original))
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=2)
        place, name = (left + 2, max(0, top - 11)), object_name(original.layout, one.key)
        draw.rectangle(draw.textbbox(place, name), fill=(0, 0, 0))
        draw.text(place, name, fill=(255, 255, 255))
    return np.array(page)


def _shown(original: Original) -> list[ObjectSummary]:
    """The objects that are seen, by class, the largest first."""
    seen = (one for one in original.layout.objects() if one.visible)
    return sorted(seen, key=lambda one: (one.key.class_index, -one.visible))


def _box(one: ObjectSummary, original: Original) -> tuple[int, int, int, int]:
    """The box of an object in pixels of the photograph, cut at its borders."""
    (high, wide), (rows, columns) = original.size, original.layout.shape
    left, top, right, bottom = one.box
    x, y = wide / columns, high / rows
    return round(max(0, left) * x), round(max(0, top) * y), round(min(columns, right) * x), round(min(rows, bottom) * y)
