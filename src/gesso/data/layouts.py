"""Folder conventions: one function per convention, from a folder as it is on disk to paired samples.

Nothing is copied or opened here; files are paired by stem (path below their folder, without extension and without the
suffixes of Cityscapes), and what has no partner is listed as an orphan instead of being dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gesso.data.pairing import Orphan, Role, Sample, collect, extensions, image_files, pair
from gesso.data.spaces import published
from gesso.errors import DataError
from gesso.labels import LabelSpace

__all__ = [
    "CONVENTIONS",
    "Listing",
    "Orphan",
    "Sample",
    "ade20k",
    "as_colours",
    "as_gray",
    "as_pictures",
    "camvid",
    "cityscapes",
    "coco_stuff",
    "find",
    "flat",
    "folders",
    "pairs",
    "splits",
    "turned",
]

_CITYSCAPES_NAME = re.compile(r"[a-z-]+_\d{6}_\d{6}")
_CAMVID_NAME = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_")  # its four drives
_COCO_NAME = re.compile(r"\d{12}")
_USUAL_SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Listing:
    """What a folder holds.

    Attributes:
        convention: Key of `CONVENTIONS`, "toy" or "folders".
        root: Folder of the dataset.
        split: Split that was read; "" for plain folders.
        samples: Complete samples, sorted by name.
        orphans: Files without a partner, sorted by path.
        space: labels.json beside the data, else the published space of the convention, else None.
        colours: Whether networks are to see label maps in the colours of their classes.
    """

    convention: str
    root: Path
    split: str
    samples: tuple[Sample, ...]
    orphans: tuple[Orphan, ...]
    space: LabelSpace | None
    colours: bool = False


# ----------------------------------------------------------------------------------------------- splits of a folder


def _subfolders(*parents: Path) -> set[str]:
    return {e.name for p in parents if p.is_dir() for e in p.iterdir() if e.is_dir() and not e.name.startswith(".")}


def _in_order(names: Iterable[str]) -> list[str]:
    usual = {name: position for position, name in enumerate(_USUAL_SPLITS)}
    return sorted(set(names), key=lambda name: (usual.get(name, len(usual)), name))


def _cityscapes_splits(root: Path) -> list[str]:
    return _in_order(_subfolders(root / "gtFine", root / "gtCoarse"))


def _flat_splits(root: Path) -> list[str]:
    return _in_order(n.removesuffix(e) for n in _subfolders(root) for e in ("_label", "_A") if n.endswith(e) and n != e)


_ADE20K = {"train": "training", "val": "validation"}


def _ade20k_splits(root: Path) -> list[str]:
    return [split for split, folder in _ADE20K.items() if (root / "annotations" / folder).is_dir()]


def _coco_label_folders(root: Path) -> list[Path]:
    return [root / name for name in ("annotations", "stuffthingmaps", "stuffthingmaps_trainval2017")]


def _coco_stuff_splits(root: Path) -> list[str]:
    return _in_order(n.removesuffix("2017") for n in _subfolders(*_coco_label_folders(root)) if n.endswith("2017"))


def _camvid_splits(root: Path) -> list[str]:
    inside = [name for name in _subfolders(root) if (root / name / "labels").is_dir()]
    return _in_order(inside) or (["train"] if (root / "labels").is_dir() else [])


def _pairs_splits(root: Path) -> list[str]:
    names = _subfolders(root).intersection(_USUAL_SPLITS)
    return _in_order(n for n in names if any(f.parent == root / n for f in image_files(root / n)))


def _require(convention: str, root: Path, split: str) -> None:
    """Raise unless the folder exists and has that split."""
    if not root.is_dir():
        raise DataError(f"The dataset folder {root} does not exist or is not a folder; check the path.")
    present = _SPLITS[convention](root)
    if not present:
        raise DataError(f"{root} does not follow the convention {convention}: {_LOOKED_FOR[convention]} is not there.")
    if split not in present:
        raise DataError(f"{root} ({convention}) has no split {split!r}; it has {', '.join(present)}.")


def _needed(split: str, *always: Role) -> tuple[Role, ...]:
    """Roles that may not be missing altogether: photographs are needed for training, not for test layouts."""
    return (*always, "image") if split == "train" else always


def _space(root: Path, otherwise: str | None) -> LabelSpace | None:
    if (root / "labels.json").is_file():
        return LabelSpace.load(root / "labels.json")
    return published(otherwise) if otherwise else None


# ------------------------------------------------------------------------------------------------------ conventions


def cityscapes(root: str | Path, split: str = "train") -> Listing:
    """The official tree: leftImg8bit/SPLIT/CITY/*_leftImg8bit.png, gtFine/SPLIT/CITY/*_gtFine_{labelIds,instanceIds}.

    Splits that exist with coarse annotations only are read from gtCoarse.

    Raises:
        DataError: As for every convention here: the folder or split is missing, or no files pair.
    """
    root = Path(root)
    _require("cityscapes", root, split)
    kind = "gtFine" if (root / "gtFine" / split).is_dir() else "gtCoarse"
    labels = root / kind / split
    has_instances = any(f.stem.endswith("_instanceIds") for f in image_files(labels))
    folders: dict[Role, Path | None] = {
        "label": labels,
        "image": root / "leftImg8bit" / split,
        "instance": labels if has_instances else None,
    }
    paired, orphans = pair(folders, _needed(split, "label"))
    samples = [replace(s, name=s.name.rsplit("/", 1)[-1]) for s in paired]  # the stem names the city already
    return Listing("cityscapes", root, split, tuple(samples), tuple(orphans), _space(root, "cityscapes"))


def flat(root: str | Path, split: str = "train") -> Listing:
    """The flat names of pix2pixHD and SPADE: SPLIT_label, SPLIT_img, SPLIT_inst; or SPLIT_A, SPLIT_B (photo to photo).

    The published space is chosen by the file names: Cityscapes' (aachen_000000_000019) or COCO's (12 digits).
    """
    root = Path(root)
    _require("flat", root, split)
    folders: dict[Role, Path | None] = {"source": root / f"{split}_A", "image": root / f"{split}_B"}
    if (root / f"{split}_label").is_dir():
        folders = {"label": root / f"{split}_label", "image": root / f"{split}_img", "instance": root / f"{split}_inst"}
    samples, orphans = pair(folders, _needed(split, next(iter(folders))))
    space = _space(root, _space_of_names(samples)) if "label" in folders else None
    return Listing("flat", root, split, tuple(samples), tuple(orphans), space)


def _space_of_names(samples: list[Sample]) -> str | None:
    stems = [sample.name.rsplit("/", 1)[-1] for sample in samples]
    for pattern, name in ((_CITYSCAPES_NAME, "cityscapes"), (_COCO_NAME, "coco-stuff")):
        if all(pattern.fullmatch(stem) for stem in stems):
            return name
    return None


def ade20k(root: str | Path, split: str = "train") -> Listing:
    """The scene parsing benchmark: images/{training,validation} and annotations/{training,validation}."""
    root = Path(root)
    _require("ade20k", root, split)
    name = _ADE20K[split]
    folders: dict[Role, Path | None] = {"label": root / "annotations" / name, "image": root / "images" / name}
    samples, orphans = pair(folders, _needed(split, "label"))
    return Listing("ade20k", root, split, tuple(samples), tuple(orphans), _space(root, "ade20k"))


def coco_stuff(root: str | Path, split: str = "train") -> Listing:
    """The official tree: images/SPLIT2017 with annotations/SPLIT2017 or stuffthingmaps/SPLIT2017 (PNG pixel maps).

    Instance maps are taken from instances/SPLIT2017 where somebody made them.
    """
    root = Path(root)
    _require("coco-stuff", root, split)
    year = f"{split}2017"
    labels = next(folder / year for folder in _coco_label_folders(root) if (folder / year).is_dir())
    images = root / "images" / year if (root / "images" / year).is_dir() else root / year
    folders: dict[Role, Path | None] = {"label": labels, "image": images, "instance": root / "instances" / year}
    samples, orphans = pair(folders, _needed(split, "label"))
    return Listing("coco-stuff", root, split, tuple(samples), tuple(orphans), _space(root, "coco-stuff"))


def camvid(root: str | Path, split: str = "train") -> Listing:
    """SPLIT/labels, SPLIT/images and perhaps SPLIT/instances; without split folders the same at the root, as "train".

    The toy world has this form too, with a folder of scene descriptions; its listing says "toy". Other data of this form have no
    label space unless a labels.json lies beside them.
    """
    root = Path(root)
    _require("camvid", root, split)
    base = root / split if (root / split / "labels").is_dir() else root
    convention = "toy" if (root / "scenes").is_dir() or (base / "scenes").is_dir() else "camvid"
    folders: dict[Role, Path | None] = {
        "label": base / "labels",
        "image": base / "images",
        "instance": base / "instances",
    }
    samples, orphans = pair(folders, _needed(split, "label"))
    known = convention if convention == "toy" or any(_CAMVID_NAME.match(sample.name) for sample in samples) else None
    return Listing(convention, root, split, tuple(samples), tuple(orphans), _space(root, known))


def pairs(root: str | Path, split: str = "train", direction: Literal["AtoB", "BtoA"] = "AtoB") -> Listing:
    """The side-by-side files of pix2pix, SPLIT/*.jpg: A in the left half, B in the right half.

    Args:
        root: Folder of the dataset.
        split: Folder in it.
        direction: "AtoB" makes B from A.
    """
    root = Path(root)
    if not (root / split).is_dir():  # a folder of any name may be asked for
        _require("pairs", root, split)
    files, orphans = collect("source", root / split)
    if not files:
        raise DataError(f"{root / split} holds no image. Allowed files: {extensions()}.")
    samples = tuple(Sample(n, image=f, source=f, half=direction) for n, f in sorted(files.items()))
    return Listing("pairs", root, split, samples, tuple(orphans), None)


def folders(
    labels: str | Path | None = None,
    images: str | Path | None = None,
    instances: str | Path | None = None,
    sources: str | Path | None = None,
) -> Listing:
    """Plain folders of any names, read with their subfolders.

    Args:
        labels: Label maps; or give `sources`.
        images: Photographs; without them the samples are layouts to generate from.
        instances: Instance maps, beside labels.
        sources: Input pictures of a photo-to-photo task, instead of labels.

    Raises:
        DataError: Not exactly one of labels and sources is given, a folder is missing or empty, or nothing pairs.
    """
    if (labels is None) == (sources is None) or (sources is not None and instances is not None):
        raise DataError(
            "Give either --labels DIR [--images DIR] [--instances DIR], or --sources DIR [--images DIR] "
            "for photo-to-photo; not both, and instance maps only with label maps."
        )
    given: dict[Role, str | Path | None] = {
        "label": labels,
        "source": sources,
        "image": images,
        "instance": instances,
    }
    chosen: dict[Role, Path | None] = {role: Path(f) for role, f in given.items() if f is not None}
    samples, orphans = pair(chosen, chosen)
    root = Path(next(f for f in chosen.values() if f is not None))
    space = None if labels is None else _space(root, None) or _space(root.parent, None)
    return Listing("folders", root, "", tuple(samples), tuple(orphans), space)


# ---------------------------------------------------------------------------------------------------- finding out

CONVENTIONS: dict[str, Callable[[Path, str], Listing]] = {
    "cityscapes": cityscapes,
    "flat": flat,
    "ade20k": ade20k,
    "coco-stuff": coco_stuff,
    "camvid": camvid,
    "toy": camvid,
    "pairs": pairs,
}
_SPLITS: dict[str, Callable[[Path], list[str]]] = {
    "cityscapes": _cityscapes_splits,
    "flat": _flat_splits,
    "ade20k": _ade20k_splits,
    "coco-stuff": _coco_stuff_splits,
    "camvid": _camvid_splits,
    "pairs": _pairs_splits,
}
_LOOKED_FOR = {
    "cityscapes": "gtFine/SPLIT with leftImg8bit/SPLIT",
    "flat": "SPLIT_label with SPLIT_img, or SPLIT_A with SPLIT_B",
    "ade20k": "annotations/training with images/training",
    "coco-stuff": "annotations/SPLIT2017 or stuffthingmaps/SPLIT2017 with images/SPLIT2017",
    "camvid": "SPLIT/labels with SPLIT/images, or labels with images",
    "pairs": "train, val or test holding side-by-side pictures",
}


def _detect(root: Path) -> str:
    """The first convention whose folders are there."""
    if not root.is_dir():
        raise DataError(f"The dataset folder {root} does not exist or is not a folder; check the path.")
    for convention, splits_of in _SPLITS.items():
        if splits_of(root):
            return convention
    looked = "; ".join(f"{name}: {folders}" for name, folders in _LOOKED_FOR.items())
    raise DataError(
        f"No known folder convention in {root}. Looked for {looked}. For folders of other names, use --labels DIR "
        "--images DIR [--instances DIR], or --sources DIR --images DIR for photo-to-photo."
    )


def splits(root: str | Path) -> list[str]:
    """Splits that a dataset folder holds: train, val, test first, then others by name.

    Raises:
        DataError: The folder is missing or follows no known convention.
    """
    root = Path(root)
    return _SPLITS[_detect(root)](root)


def find(root: str | Path, split: str = "train", convention: str = "auto") -> Listing:
    """List a dataset folder; with "auto" the convention is found out from the folders in it.

    Raises:
        DataError: The folder or split is missing, no convention is recognised, or no files pair.
    """
    root = Path(root)
    if convention == "auto":
        convention = _detect(root)
    if convention not in CONVENTIONS:
        raise DataError(f"Unknown folder convention {convention!r}; allowed: auto, {', '.join(CONVENTIONS)}.")
    return CONVENTIONS[convention](root, split)


def as_pictures(listing: Listing) -> Listing:
    """Take the files in the place of label maps for what they show: input pictures (edges, drawings) instead of classes.

    Instance maps are left out, and so is the label space. A listing of input pictures stays as it is.
    """
    samples = (replace(s, source=s.label, label=None, instance=None) if s.label else s for s in listing.samples)
    return replace(listing, samples=tuple(samples), space=None)


def as_colours(listing: Listing) -> Listing:
    """Let networks see the label maps in the colours of their classes, as in the A|B files of pix2pix.

    Raises:
        DataError: There are no label maps.
    """
    if not all(sample.label for sample in listing.samples):
        raise DataError(f"{listing.root} holds pictures, which have their colours; only label maps can be painted.")
    return replace(listing, colours=True)


def as_gray(listing: Listing) -> Listing:
    """Take the photographs alone: their luminance is the input, they themselves are what is to be made of it.

    Input pictures of a listing without photographs are taken for photographs.

    Raises:
        DataError: There are neither.
    """
    photographs = [(sample, sample.image or sample.source) for sample in listing.samples]
    samples = tuple(Sample(s.name, image=p, source=p, half=s.half, photo="gray") for s, p in photographs if p)
    if not samples:
        raise DataError(f"{listing.root} holds no photographs that could be made gray.")
    return replace(listing, samples=samples, space=None)


def turned(listing: Listing) -> Listing:
    """Input and target exchanged; where the input is a label map, the photograph becomes the input and the map the target.

    Raises:
        DataError: A sample has no photograph.
    """
    if missing := next((sample for sample in listing.samples if not sample.image), None):
        raise DataError(f"{missing.label or missing.source} has no photograph that could be the input.")
    return replace(listing, samples=tuple(_turned(sample) for sample in listing.samples))


def _turned(sample: Sample) -> Sample:
    if sample.half:
        return replace(sample, half="BtoA")
    if sample.label:
        return Sample(sample.name, label=sample.label, source=sample.image, photo="colour")
    return replace(sample, source=sample.image, image=sample.source)
