"""One sample through the very readers that training uses, and what is wrong with its files.

Every file gets at most one finding, the first thing to mend: an unreadable label map does not also differ in size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gesso.agreement import refuse_foreign_instances
from gesso.data.doctor.files import Counts, Finding, ScannedFile, Shape, UnknownValue, read_header, without_path
from gesso.data.doctor.maps import scan_label
from gesso.data.pairing import Half, Sample
from gesso.data.readers import read_input, read_instance, read_label, read_photograph
from gesso.errors import GessoError, LabelError
from gesso.labels import LabelSpace

_QUARTER_TURN = 5  # EXIF orientations from here on exchange width and height


@dataclass(frozen=True)
class Scan:
    """What one sample tells.

    Attributes:
        findings: At most one per file.
        size: (height, width) of the label map, source picture or photograph, upright; None when
            none could be read or they differ.
        pixels: (C + 1,) pixels per class index, the last for ignored ones; None without a readable label map.
        unknown: Values of the label map that its space does not know.
        photo_mode: Pillow mode of the photograph, "" without one.
        source_channels: Channels of the source picture, 0 without one.
        decoding: How a palette label map was read: by "colours" or by "positions"; "" for other files.
    """

    findings: tuple[Finding, ...]
    size: tuple[int, int] | None
    pixels: Counts | None
    unknown: tuple[UnknownValue, ...]
    photo_mode: str
    source_channels: int
    decoding: str


def scan_sample(sample: Sample, space: LabelSpace | None) -> Scan:
    """Read every file of a sample, and compare them; never raises because of a bad file."""
    label = _look(sample.label, lambda path: scan_label(path, space))
    source = _look(sample.source, lambda path: _source(path, sample))
    photo = _look(sample.image, lambda path: _photograph(path, sample.half))
    instance = _look(sample.instance, _instance)
    files = [file for file in (label, source, photo, instance) if file]
    shapes = {file.shape for file in files if file.shape}
    foreign = _foreign_instances(label, instance, space)
    return Scan(
        findings=_one_per_file([f.finding for f in files if f.finding] + _differences(files, photo) + foreign),
        size=_pair(shapes.pop()) if len(shapes) == 1 else None,
        pixels=label.pixels if label else None,
        unknown=label.unknown if label else (),
        photo_mode=photo.header.mode if photo else "",
        source_channels=source.channels if source else 0,
        decoding=label.decoding if label else "",
    )


def _pair(shape: Shape) -> tuple[int, int]:
    height, width = shape
    return height, width


def _one_per_file(findings: list[Finding]) -> tuple[Finding, ...]:
    by_file: dict[Path | None, Finding] = {}
    for finding in sorted(findings, key=lambda finding: finding.severity != "error"):
        by_file.setdefault(finding.path, finding)
    return tuple(by_file.values())


def _look(path: Path | None, read: Callable[[Path], ScannedFile]) -> ScannedFile | None:
    """Read a file; whatever that raises becomes a finding."""
    if path is None:
        return None
    try:
        return read(path)
    except GessoError as error:
        return ScannedFile(path, finding=Finding("error", "unreadable", path, without_path(error, path)))
    except Exception as error:  # one strange file must not end the scan of a hundred thousand
        message = f"cannot be read ({type(error).__name__}: {error}); fetch it again or leave it out."
        return ScannedFile(path, finding=Finding("error", "unreadable", path, message))


# --------------------------------------------------------------------------------------------------- pictures and ids


def _photograph(path: Path, half: Half) -> ScannedFile:
    shape = read_photograph(path, half).shape[:2]
    return ScannedFile(path, shape, read_header(path))


def _source(path: Path, sample: Sample) -> ScannedFile:
    *shape, channels = read_input(sample).shape
    return ScannedFile(path, tuple(shape), read_header(path), channels=channels)


def _instance(path: Path) -> ScannedFile:
    try:
        shape = read_instance(path).shape
    except LabelError as error:
        return ScannedFile(path, finding=Finding("error", "not-a-map", path, without_path(error, path)))
    return ScannedFile(path, shape, read_header(path))


# ------------------------------------------------------------------------------------------ files of one sample compared


def _differences(files: list[ScannedFile], photo: ScannedFile | None) -> list[Finding]:
    """Sizes that differ, and EXIF orientations that may explain it."""
    sized = [file for file in files if file.shape is not None]
    if len({file.shape for file in sized}) <= 1:
        return _turned(sized)
    votes = Counter(file.shape for file in sized)
    usual = max(sized, key=lambda file: (votes[file.shape], file is photo))
    return [_odd(file, usual) for file in sized if file.shape != usual.shape]


def _foreign_instances(
    label: ScannedFile | None, instance: ScannedFile | None, space: LabelSpace | None
) -> list[Finding]:
    """An instance map of another scene, as training refuses it; both files are read again for that."""
    if not (label and instance and space) or label.unknown or label.shape is None or label.shape != instance.shape:
        return []
    try:
        refuse_foreign_instances(read_label(label.path, space), read_instance(instance.path), space)
    except LabelError as error:
        message = f"does not fit {_shown(label, instance)}: {error}"
        return [Finding("error", "foreign-instances", instance.path, message)]
    return []


def _odd(file: ScannedFile, usual: ScannedFile) -> Finding:
    """The finding about a file whose size is not that of most files of its sample."""
    assert file.shape is not None and usual.shape is not None
    on_its_side = file.shape == usual.shape[::-1]
    turned = [f for f in (file, usual) if f.header.orientation >= _QUARTER_TURN]
    if on_its_side and turned:
        return _wrongly_turned(turned[0], usual if turned[0] is file else file)
    hint = " One of them lies on its side." if on_its_side else ""
    return Finding(
        "error",
        "size-mismatch",
        file.path,
        f"is {_size(file)}, but {_shown(usual, file)} is {_size(usual)} (width x height); files of one sample must "
        f"agree.{hint} Resize maps with nearest neighbour.",
    )


def _wrongly_turned(turned: ScannedFile, other: ScannedFile) -> Finding:
    return Finding(
        "error",
        "exif-rotation",
        turned.path,
        f"has EXIF orientation {turned.header.orientation}, so it is turned upright to {_size(turned)}, but "
        f"{_shown(other, turned)} is {_size(other)} (width x height). Remove the EXIF tag if the two fit without turning; "
        "else turn the other file too.",
    )


def _size(file: ScannedFile) -> str:
    assert file.shape is not None
    return f"{file.shape[1]}x{file.shape[0]}"


def _shown(file: ScannedFile, beside: ScannedFile) -> str:
    """A file as named in a message about another one."""
    same = file.path.name == beside.path.name
    return f"{file.path.parent.name}/{file.path.name}" if same else file.path.name


def _turned(sized: list[ScannedFile]) -> list[Finding]:
    """EXIF orientations where all sizes agree."""
    alike = len({file.header.orientation for file in sized}) == 1
    found = []
    for file in (f for f in sized if f.header.orientation != 1):
        assert file.shape is not None
        # A quarter turn that makes unequal sides agree was meant; half turns and squares agree either way.
        meant = alike or (file.header.orientation >= _QUARTER_TURN and file.shape[0] != file.shape[1])
        message = f"has EXIF orientation {file.header.orientation} and is turned upright when read; " + (
            "the other files of the sample fit that."
            if meant
            else "whether the other files of the sample are upright too cannot be told from their size: look at them."
        )
        found.append(Finding("note" if meant else "warning", "exif-rotation", file.path, message))
    return found
