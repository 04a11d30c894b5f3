"""`gesso retouch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter
from rich.console import Console

from gesso.cli.common import RuntimeName, parse_size
from gesso.errors import ConfigError

if TYPE_CHECKING:
    from gesso.synthesis.retouching import Edit, Original, Retouched
    from gesso.synthesis.segmenter import PhotoSegmenter
    from gesso.synthesis.synthesizer import Synthesizer

_SEVERAL = Parameter(negative=())  # as often as wanted, without --empty-...


@Parameter(name="*", group="Edits, each as often as wanted")
@dataclass(frozen=True)
class EditFlags:
    """What is to be done; copies are made first, then objects are moved, relabelled, removed and restyled.

    Attributes:
        remove: An object, such as car:3, or everything of a class: car, tree.
        move: An object and how far, in pixels of the photograph to the right and down, and perhaps its new size over its old one:
            car:3=40,0 or car:3=-40,5,1.2.
        paste: A copy of an object, placed as --move would: car:3=60,0.
        relabel: An object or class, and its new class: car:3=bus, tree=building.
        restyle: An object or class, and its new looks: road=2 (a mode; gesso info lists them), road=0.1,-0.3,0.5 (a vector), or
            road=FILE (a style in JSON, or a picture that gesso generated).
        edits: A JSON file of edits, carried out in its order before those of the flags.
    """

    remove: Annotated[list[str] | None, _SEVERAL] = None
    move: Annotated[list[str] | None, _SEVERAL] = None
    paste: Annotated[list[str] | None, _SEVERAL] = None
    relabel: Annotated[list[str] | None, _SEVERAL] = None
    restyle: Annotated[list[str] | None, _SEVERAL] = None
    edits: Path | None = None

    def read(self) -> tuple[Edit, ...]:
        """All edits, in their order.

        Raises:
            ConfigError: One is not understood.
        """
        from gesso.synthesis.retouching import load_edits, parse_edit

        found = [*load_edits(self.edits)] if self.edits else []
        for kind in ("paste", "move", "relabel", "remove", "restyle"):
            found += [parse_edit(kind, text) for text in getattr(self, kind) or ()]
        return tuple(found)


def retouch(
    photo: Path,
    *,
    model: Path,
    segmenter: str | None = None,
    segmenter_classes: Path | None = None,
    labels: Path | None = None,
    instances: Path | None = None,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    listed: Annotated[bool, Parameter(name="--list", negative=())] = False,
    edits: Annotated[EditFlags | None, Parameter(name="*")] = None,
    margin: int | None = None,
    whole: Annotated[bool, Parameter(negative=())] = False,
    size: str | None = None,
    seed: int = 0,
    labels_out: Path | None = None,
    instances_out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
    device: str = "auto",
    runtime: RuntimeName = "torch",
) -> None:
    """Edit a photograph through its labels: only what changed is generated, all else stays as it is.

    Parameters
    ----------
    photo: Path
        The photograph, of any size.
    model: Path
        A .safetensors written by gesso that takes label maps; best one with an encoder, which reads the photograph's own style.
    segmenter: str
        What finds the layout of the photograph: a file of gesso evaluate --save-segmenter, or a folder or name of the Hugging
        Face hub.
    segmenter_classes: Path
        JSON of {class of the hub's segmenter: class of the model}, where names differ.
    labels: Path
        The photograph's label map, instead of a segmenter.
    instances: Path
        Its instance map; without it connected regions of the countable classes are the objects.
    out: Path
        The picture that is written, a PNG: PHOTO-retouched.png in the current folder unless given; of --list PHOTO-objects.png.
    listed: bool
        Edit nothing; show the objects and their names, as a table and as a picture.
    margin: int
        Pixels of the photograph by which the edited region is grown, so that shadows and rims go with it; 6 % of its height
        unless given.
    whole: bool
        Write the model's picture of the whole edited layout.
    size: str
        HEIGHTxWIDTH that the model works at; that of its training unless given.
    seed: int
        Of what neither the photograph nor the edits say.
    labels_out: Path
        Also write the label map after the edits, a PNG of the label space's values at the size that the model works at.
    instances_out: Path
        Also write the instance map.
    overwrite: bool
        Replace files that are there.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    runtime: str
        What computes: torch, plain, compile, onnx, openvino or openvino-int8.
    """
    from gesso.cli.retouch_files import colour_profile, read_photograph, refuse_overwriting, save_result, write_maps
    from gesso.synthesis.retouching import read_original, retouch_original
    from gesso.synthesis.synthesizer import load

    console = Console()
    wanted = (edits or EditFlags()).read()
    _check(wanted, listed, whole, segmenter, labels, instances, segmenter_classes)
    out = out or Path(f"{photo.stem}-{'objects' if listed else 'retouched'}.png")
    refuse_overwriting([out, *(path for path in (labels_out, instances_out) if path)], overwrite)
    picture = read_photograph(photo)
    with console.status(f"loading {model.name}"):
        synth = load(model, device, runtime=runtime)
        reader = _open_segmenter(segmenter, segmenter_classes, synth, device)
    with console.status(f"reading {photo.name}"):
        maps = _read_maps(synth, labels, instances)
        original = read_original(picture, synth, reader, *maps, parse_size(size) if size else None)
    layout = original.layout
    if listed:
        _show(original, out, console)
    else:
        with console.status("retouching"):
            done = retouch_original(original, wanted, margin=margin, whole=whole, seed=seed)
        layout = done.layout
        save_result(out, done.picture, done.record, colour_profile(photo))
        _tell(done, out, whole, console)
    write_maps(layout, labels_out, instances_out)


def _check(
    wanted: Sequence[Edit],
    listed: bool,
    whole: bool,
    segmenter: str | None,
    labels: Path | None,
    instances: Path | None,
    classes: Path | None,
) -> None:
    if listed and (wanted or whole):
        raise ConfigError("--list shows the objects and edits nothing: leave out the edits, or --list.")
    if not wanted and not listed:
        raise ConfigError(
            "Nothing is to be done: say --remove, --move, --paste, --relabel, --restyle or --edits; --list shows the objects."
        )
    if (segmenter is None) == (labels is None):
        raise ConfigError(
            "Say what is in the photograph: --segmenter FILE (gesso evaluate --segmenter train --save-segmenter FILE writes "
            "one), or --labels FILE; not both, not neither."
        )
    if instances and not labels:
        raise ConfigError(f"--instances {instances} belongs to a label map: give --labels too.")
    if classes and not segmenter:
        raise ConfigError(f"--segmenter-classes {classes} translates what a --segmenter finds: give that too.")


def _open_segmenter(name: str | None, classes: Path | None, synth: Synthesizer, device: str) -> PhotoSegmenter | None:
    if name is None:
        return None
    if name.endswith(".safetensors") or Path(name).is_file():
        from gesso.synthesis.segmenter import load_segmenter

        return load_segmenter(name, device)
    from gesso.synthesis.hub_segmenter import load_hub_segmenter

    if synth.label_space is None:
        raise ConfigError("The model takes pictures, not label maps: there are no classes to be found in a photograph.")
    return load_hub_segmenter(name, synth.label_space, mapping=classes, device=device)


def _read_maps(synth: Synthesizer, labels: Path | None, instances: Path | None) -> tuple[Any, Any]:
    from gesso.data.readers import read_instance, read_label

    if labels is None or synth.label_space is None:
        return None, None
    return read_label(labels, synth.label_space), read_instance(instances) if instances else None


def _show(original: Original, out: Path, console: Console) -> None:
    """The objects, as a table and as a picture."""
    from gesso.cli.retouch_files import objects_picture, objects_table
    from gesso.synthesis.synthesizer import save_png

    console.print(objects_table(original))
    save_png(out, objects_picture(original), {})
    console.print(f"The objects with their names are shown in {out}.", soft_wrap=True, markup=False, highlight=False)
    _say(original.notes, console)


def _tell(done: Retouched, out: Path, whole: bool, console: Console) -> None:
    _say(done.notes, console)
    share = f"{done.touched.mean():.1%} of the photograph were made anew, all else is its own"
    said = "the model's picture of the whole edited layout" if whole else share
    console.print(f"{out}: {said}.", soft_wrap=True, markup=False, highlight=False)


def _say(notes: Sequence[str], console: Console) -> None:
    for note in notes:
        console.print(note, soft_wrap=True, markup=False, highlight=False)
