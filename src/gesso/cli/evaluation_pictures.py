"""Where the pictures of a row come from: the photographs themselves, a folder, or a model that makes them (once)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rich.console import Console

from gesso.cli.common import style_seed
from gesso.cli.evaluation_data import Reference, Subject, open_synthesizer, plain
from gesso.cli.evaluation_settings import Entry, EvaluationSettings
from gesso.cli.read_as import NEARLY
from gesso.cli.style_flags import Shot, StyleFlags
from gesso.cli.stylist import maps_of
from gesso.cli.stylists import open_stylist
from gesso.errors import DataError, GessoError, LabelError, StyleError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.pictures import Picture
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer

Item = dict[str, Any]
NO_CLUSTERS = (
    "none is random: the model file has no clusters of styles, so that the middle of the range stands in for all of them; find "
    "some with gesso styles MODEL --data DATA"
)
STYLES, OWN = "_styles", "_own"  # beside the folders of the rows, for what their styles are measured by


class Pictures(Protocol):
    """The pictures of one row."""

    kind: Literal["oracle", "model", "pictures"]
    facts: dict[str, Any]

    def picture(self, number: int, item: Item) -> Picture:
        """The picture of a layout, of whatever size it has.

        Raises:
            GessoError: There is none, or it cannot be read or made.
        """


class RealPictures:
    """The photographs, or true label maps: the oracle."""

    kind: Literal["oracle", "model", "pictures"] = "oracle"

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self.facts: dict[str, Any] = {}

    def picture(self, number: int, item: Item) -> Picture:
        """What belongs to the layout."""
        real = self._reference.real(item)
        assert real is not None, "without photographs there is no oracle"
        return real


class FolderPictures:
    """Finished pictures, named like the samples.

    Raises:
        DataError: One is missing, or two files have one name.
    """

    kind: Literal["oracle", "model", "pictures"] = "pictures"

    def __init__(self, entry: Entry, reference: Reference, console: Console | None = None) -> None:
        from gesso.data.pairing import collect
        from gesso.evaluate.features import features_key

        self._reference, self._folder = reference, entry.path
        found, orphans = collect("image", entry.path)
        names = [sample.name for sample in reference.layouts.samples]
        ends = Counter(Path(stem).name for stem in found)
        by_end = {end: file for stem, file in found.items() if ends[end := Path(stem).name] == 1}
        files = [found.get(name) or by_end.get(Path(name).name) for name in names]
        if missing := [name for name, file in zip(names, files, strict=True) if file is None]:
            raise DataError(
                f"{entry.path} has no picture of {len(missing)} of {len(names)} layouts; the first is {missing[0]} (with .png, "
                f".jpg or another ending). {_holds(entry.path, found, len(orphans))}"
            )
        if twice := next((o.path for o in orphans if o.lacks == "unique stem" and o.path.stem in set(names)), None):
            raise DataError(f"{twice} and another file of {entry.path} have one name: which is meant? Remove one.")
        self._files = [file for file in files if file is not None]
        self.facts = {"pictures": len(self._files), "digest": features_key(self._files, {}, "pictures", console)[:16]}

    def picture(self, number: int, item: Item) -> Picture:
        """As it is in the file.

        Raises:
            DataError: It cannot be read, or its shape is not that of the layout.
        """
        from gesso.data.readers import read_photograph

        picture = read_photograph(self._files[number])
        wanted = item["size"]
        if not _alike(picture.shape[:2], wanted) and not _alike(picture.shape[:2], self._own_size(number)):
            height, width = picture.shape[:2]
            raise DataError(
                f"{self._files[number]} is {height}x{width}, its layout {wanted[0]}x{wanted[1]} (height x width): of another "
                "shape. Give pictures of the layouts' shape, or --size of theirs."
            )
        return picture

    def _own_size(self, number: int) -> tuple[int, int]:
        """(height, width) of the layout's file: pictures made at the layouts' own size come to the compared one as they do."""
        from gesso.data.readers import read_label, read_photograph

        sample, space = self._reference.layouts.samples[number], self._reference.layouts.space
        if sample.label and space:
            height, width = read_label(sample.label, space).shape
            return height, width
        source = sample.image or sample.source
        assert source is not None
        height, width, _ = read_photograph(source, sample.half).shape
        return height, width


def _holds(folder: Path, found: Mapping[str, Path], orphans: int) -> str:
    """What a folder of pictures holds, where some are missing, and what to do."""
    from gesso.data.pairing import image_files

    if not found:
        return "It holds no picture: is it the right folder, and the right --split?"
    first = next(iter(found.values()))
    if passed := len(image_files(folder)) - len(found) - orphans:
        ending = f"_{first.stem.rpartition('_')[2]}"
        return (
            f"As {first.name} ends in {ending}, only pictures that do are looked at, and {passed} other"
            f"{'s are' if passed > 1 else ' is'} not: give all of them that ending, or none."
        )
    return f"Its first picture is {next(iter(found))}: is it the right folder, and the right --split?"


def _alike(size: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two sizes are of one shape."""
    return abs(size[0] * other[1] / (size[1] * other[0]) - 1) <= NEARLY


class ModelPictures:
    """What a model makes of the layouts; what an earlier evaluation made and kept is taken from there.

    Args:
        subject: A model with its layouts.
        reference: The same at the compared size.
        settings: Seed and style.
        device: Where it computes.
        folder: Where pictures are kept; None keeps none.
        console: Where it is said what is assumed.

    Attributes:
        encodes: Whether the model takes the styles of these layouts' photographs.
        remark: What must be known of numbers of random styles.

    Raises:
        ModelFileError: The file is damaged.
        DataError: Styles of photographs are wanted, but a layout has none.
    """

    kind: Literal["oracle", "model", "pictures"] = "model"

    def __init__(
        self,
        subject: Subject,
        reference: Reference,
        settings: EvaluationSettings,
        device: str,
        folder: Path | None,
        console: Console,
    ) -> None:
        assert subject.entry.file is not None and subject.layouts is not None
        self._synth = open_synthesizer(subject.entry.file, device)
        self._layouts, self._seed, self._folder = subject.layouts, settings.seed, folder
        self._same = reference.kind == subject.kind != "painted" and (
            plain(subject.layouts.preprocessing) == plain(reference.layouts.preprocessing)
        )
        self._slug = subject.entry.folder
        self.encodes = _encodes(self._synth) and reference.photographs
        self._in_own_style = settings.style == "own" and self.encodes
        self._stylist = (
            open_stylist(self._synth, StyleFlags(style_from_photographs=True), self._layouts, console)
            if self.encodes
            else None
        )
        if not self.encodes:
            self._layouts = _without_photographs(self._layouts)
        self.facts = dict(subject.facts or {})
        self.remark = NO_CLUSTERS if _bare(self._synth) == "all" else ""
        if self.varies:
            self.facts["styles"] = "of each photograph" if self._in_own_style else _random(self._synth)

    @property
    def varies(self) -> bool:
        """Whether results for one layout differ from each other."""
        return self._synth.style_kind is not None

    def picture(self, number: int, item: Item) -> Picture:
        """The picture that is measured."""
        if self._in_own_style:
            return self.own(number, item)
        seen = self._seen(number, item)
        return self._made(seen, None, style_seed(self._seed, seen["name"]), self._slug)

    def own(self, number: int, item: Item) -> Picture:
        """The picture in the style of the layout's own photograph."""
        assert self._stylist is not None
        seen = self._seen(number, item)
        seed = style_seed(self._seed, seen["name"])
        style = self._stylist.styles(seen, [Shot("", "", seed)])[0]
        return self._made(seen, style, seed, self._slug if self._in_own_style else f"{OWN}/{self._slug}")

    def results(self, number: int, item: Item, count: int) -> list[Picture]:
        """Results for one layout in random styles, each of a seed of its own; the first is the picture that is measured."""
        seen, made = self._seen(number, item), []
        for n in range(count):
            measured = n == 0 and not self._in_own_style
            place, ending = (self._slug, "") if measured else (f"{STYLES}/{self._slug}", f"-{n:03d}")
            made.append(self._made(seen, None, style_seed(self._seed, seen["name"], n), place, ending))
        return made

    def _seen(self, number: int, item: Item) -> Item:
        """The layout as the model sees it; the one that is measured, where that is the same."""
        return item if self._same else self._layouts[number]

    def _made(self, seen: Item, style: Style | None, seed: int, place: str, ending: str = "") -> Picture:
        """A picture of an earlier evaluation if it is the same one, else a new one, which is kept."""
        from gesso.synthesis.synthesizer import save_png

        if self._folder is None:
            return self._photograph(seen, style, seed)
        path = self._folder / place / f"{seen['name']}{ending}.png"
        record = {**self._synth.record(seed, style), "layout": _digest(seen, self._synth.needs_instances)}
        if (kept := read_kept(path, record)) is not None:
            return kept
        picture = self._photograph(seen, style, seed)
        save_png(path, picture, record)
        return picture

    def _photograph(self, seen: Item, style: Style | None, seed: int) -> Picture:
        try:
            if "source" in seen:
                pixels = (seen["source"].movedim(0, -1) + 1) / 2
                return self._synth(pixels.numpy(), style=style, seed=seed)
            return self._synth(*maps_of(seen), style, seed)
        except (LabelError, StyleError, DataError) as error:  # they know the array, not the sample
            raise type(error)(f"{seen['name']}: {error}") from None


def _without_photographs(layouts: SemanticDataset) -> SemanticDataset:
    """The layouts alone, which is less to read."""
    from gesso.data.dataset import SemanticDataset

    samples = [replace(s, image=None, label=None if s.source else s.label) for s in layouts.samples]
    return SemanticDataset(samples, layouts.space, layouts.preprocessing, training=False, instances=layouts.instances)


def _bare(synth: Synthesizer) -> str:
    """Classes whose objects wear no random style, as the model file has no clusters of them, in words: "all" if it has none."""
    from gesso.synthesis.style_space import some

    if (space := synth.style_space) is None:
        return ""
    bare = [name for index, name in enumerate(space.labels.names) if index not in space.modes]
    return ("" if not bare else some(bare)) if space.modes else "all"


def _random(synth: Synthesizer) -> str:
    """What random styles of a model are."""
    bare = _bare(synth)
    if bare == "all":
        return NO_CLUSTERS
    return (
        f"random; without clusters of {bare}, whose styles do not vary (gesso styles finds some)" if bare else "random"
    )


def _encodes(synth: Synthesizer) -> bool:
    """Whether the model takes styles of photographs."""
    try:
        synth.require_encoder()
    except GessoError:
        return False
    return True


def _digest(seen: Item, instances: bool) -> str:
    """Of what the model sees of a layout."""
    digest = hashlib.sha256()
    for key in ("label", "instance", "source"):
        if key in seen and (instances or key != "instance"):
            values = seen[key].numpy()
            digest.update(f"{key} {values.dtype} {values.shape}".encode() + values.tobytes())
    return digest.hexdigest()[:16]


def read_kept(path: Path, record: Mapping[str, Any]) -> Picture | None:
    """A kept picture whose record is this one, whichever gesso wrote it; None if it is not there, or damaged."""
    import numpy as np
    from PIL import Image

    from gesso.synthesis.synthesizer import read_record

    try:
        found = read_record(path)
        if found is None or _lasting(found) != _lasting(record):
            return None
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None


def _lasting(record: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps({key: value for key, value in record.items() if key != "gesso_version"}))


def fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """A picture at the size at which everything is compared, (height, width)."""
    from gesso.data.preprocessing import Geometry, apply_photograph

    return apply_photograph(picture, Geometry(size, None, False, size))
