"""`gesso generate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from gesso.cli.common import Data, DataFlags, RuntimeName, open_listing, say_components, take_as, track
from gesso.cli.dataset_flags import Dataset, DatasetFlags
from gesso.cli.generate_dataset import DatasetSettings, generate_dataset
from gesso.cli.generated import Generated, Output, refuse_out_among, refuse_overwriting
from gesso.cli.kept import Requests
from gesso.cli.ranks import Ranks, join
from gesso.cli.read_as import Say, as_trained, contradictions, take_halves
from gesso.cli.style_flags import Shot, StyleFlags, Styles, plan_shots
from gesso.cli.stylist import Stylist, maps_of, show, sized_as_trained
from gesso.cli.stylists import open_stylist
from gesso.errors import ConfigError, DataError, LabelError, StyleError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.data.layouts import Listing
    from gesso.data.pairing import Sample
    from gesso.pictures import Picture
    from gesso.synthesis.style import Style
    from gesso.synthesis.synthesizer import Synthesizer

OUT = Path("generated")
AGAIN = (
    "Photographs that are finished are whole and stay; run the same command again, in as many processes as you like: it makes "
    "what is missing."
)


def generate(
    model: Path,
    data: Path | None = None,
    *,
    out: Path = OUT,
    split: str = "",
    seed: int = 0,
    batch: int = 1,
    original_size: bool = False,
    colour: bool = False,
    contact_sheet: bool = False,
    limit: int | None = None,
    overwrite: bool = False,
    device: str = "auto",
    statistics: Literal["picture", "running"] | None = None,
    runtime: RuntimeName = "torch",
    tiles: int | None = None,
    styles: Styles = None,
    flags: Data = None,
    dataset: Dataset = None,
) -> None:
    """Turn a folder of layouts into photographs, or into a dataset of photographs with their maps.

    Parameters
    ----------
    model: Path
        A .safetensors written by gesso.
    data: Path
        Folder of a dataset, folder of label maps, or one label map.
    out: Path
        Folder for the photographs, one PNG per layout, or several where styles are varied.
    split: str
        Part of DATA; by default val, test or train, whichever is there first.
    seed: int
        Of what a layout leaves open.
    batch: int
        Layouts that are read together, of one size; each photograph is computed by itself.
    original_size: bool
        Keep the layouts' own size instead of the size that the model was trained at.
    colour: bool
        Also write each layout in its classes' colours.
    contact_sheet: bool
        Also write contact-sheet.png: 16 layouts from all over the data, a row each: the layout, its photographs and, where there
        are, the real ones.
    limit: int
        Only the first so many layouts.
    overwrite: bool
        Also make photographs again that are there and were made of the same layouts by the same model in the same way.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    statistics: str
        What batch norm of pix2pix takes: the statistics of each picture, as published, or the running ones of training; what the
        model file says unless given.
    runtime: str
        What computes: torch, plain, compile; or, with the export extra and on the CPU, onnx, openvino, or openvino-int8 from the
        file that gesso export --int8 wrote beside the model.
    tiles: int
        For layouts that are too large for memory: compute so many rows of a photograph at once, such as 256, with what lies
        between the layers in temporary files. The photograph stays the same. On the CPU, by the runtime torch, for pix2pixHD and
        SPADE.
    """
    from gesso.synthesis.inputs import LARGEST_SEED, refuse_seed
    from gesso.synthesis.synthesizer import load

    if batch < 1 or (limit is not None and limit < 1):
        raise ConfigError(f"--batch {batch} --limit {limit}: both are at least 1.")
    styles = styles or StyleFlags()
    styles.check()
    made = dataset or DatasetFlags()
    made.check(styles, {"--out": out != OUT, "--colour": colour, "--batch": batch != 1})
    if made.dataset:
        refuse_seed(seed)
        settings = DatasetSettings(
            split, seed, original_size, contact_sheet, limit, overwrite, device, statistics, runtime, tiles
        )
        generate_dataset(model, data, made, settings, styles, flags or DataFlags())
        return
    refuse_seed(seed, LARGEST_SEED - (styles.random_styles or 1) + 1)  # each style has a seed of its own
    ranks = join("cpu" if tiles is not None and device == "auto" else device)
    console = Console(quiet=ranks.rank > 0)
    with ranks.working(AGAIN):
        with console.status(f"loading {model.name}"):
            synth = load(model, ranks.device, statistics, runtime, tiles)
        photographs = contact_sheet or styles.style_from_photographs
        layouts = open_layouts(
            synth,
            data,
            flags or DataFlags(),
            split,
            limit,
            original_size,
            photographs,
            say=lambda line: console.print(line, soft_wrap=True, markup=False, highlight=False),
        )
        layouts = show(layouts, styles.own_photograph if synth.style_space else None)
        shots = plan_shots(styles, seed)
        if data is None or not data.is_file():
            refuse_out_among(layouts, out)
        refuse_overwriting(out, layouts, shots, styles, colour, contact_sheet)
        say_components(layouts, console)
        stylist = open_stylist(synth, styles, layouts, console)
        requests = Requests(synth, layouts, styles, {"tiles": tiles})
        ranks.agree("layouts or settings", "\n".join([requests.common, *(s.name for s in layouts.samples)]))
        output = Output(out, synth, layouts, shots, requests, colour, overwrite)
        out.mkdir(parents=True, exist_ok=True)
        total = len(layouts) * len(shots)
        for _ in track(_work(output, stylist, batch, ranks), "generating", total, console):
            pass
        if contact_sheet and ranks.rank == 0:
            output.write_sheet()
    kept = ranks.add("kept")
    said = f"; {kept} of them were there, made in the same way (--overwrite makes them again)" if kept else ""
    console.print(f"{total} photographs in {out}{said}", soft_wrap=True)


def _work(output: Output, stylist: Stylist, batch: int, ranks: Ranks) -> Iterator[None]:
    """Make this rank's share of what is missing, then wait for the others; a step for each photograph of any rank."""
    shown = 0
    for _ in chain(_share(output, stylist, batch, ranks), ranks.finish(AGAIN), [None]):
        done = ranks.add("done")
        yield from repeat(None, done - shown)
        shown = done


def _share(output: Output, stylist: Stylist, batch: int, ranks: Ranks) -> Iterator[None]:
    """Make this rank's share of what is missing."""
    for one in render(output.synth, output.layouts, stylist, output.shots, batch, _missing(output, ranks)):
        there = output.write(one)
        ranks.add("done", 1)
        ranks.add("kept", int(there))
        yield


def _missing(output: Output, ranks: Ranks) -> Iterator[int]:
    """The layouts of this rank that are not finished; the others are counted."""
    for number in ranks.share(len(output.layouts)):
        if not output.is_finished(number):
            yield number
        else:
            ranks.add("done", len(output.shots))
            ranks.add("kept", len(output.shots))


def open_layouts(
    synth: Synthesizer,
    data: Path | None,
    flags: DataFlags,
    split: str,
    limit: int | None,
    original_size: bool,
    photographs: bool = True,
    say: Say = lambda line: None,
) -> SemanticDataset:
    """The layouts to be rendered, read as in training, and resized so unless their own size is to be kept.

    Args:
        synth: The model.
        data: DATA of the command line.
        flags: Where the data are; what they leave open of direction and input is as in the model's training.
        split: Part of DATA; empty for val, test or train, whichever is there first.
        limit: Only the first so many.
        original_size: Whether they keep their own size.
        photographs: Whether photographs are read too, where there are any.
        say: Told what is assumed, and what contradicts the model's training.

    Raises:
        ConfigError: The flags contradict each other.
        DataError: There is nothing to read, or it is of another kind than the model takes.
    """
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing

    for line in contradictions(synth.info, flags):
        say(line)
    given, flags = flags, as_trained(synth.info, data, flags)
    pictures = synth.label_space is None or flags.input in ("image", "gray")
    listing = find_listing(data, flags, split, pictures=pictures)
    if synth.label_space is None and any(sample.label and not sample.source for sample in listing.samples):
        raise DataError(
            f"The model takes pictures, but {listing.root} holds label maps. Give pictures with --sources; or --input image "
            "where they are pictures, --direction BtoA where their photographs are the input, --input gray where gray ones are."
        )
    if synth.label_space is not None and any(sample.source for sample in listing.samples):
        raise DataError(
            f"The model takes label maps, but {listing.root} holds pictures. Give label maps with --labels."
        )
    _refuse_other_space(synth, listing)
    trained = sized_as_trained(synth)
    if synth.label_space is None:
        listing = take_halves(synth.info, trained, listing, data, given, say)
    samples = listing.samples[:limit]
    space = synth.info.target_space or synth.label_space or listing.space
    return SemanticDataset(
        samples if photographs else [_input_alone(sample) for sample in samples],
        space,
        Preprocessing() if original_size else trained,
        training=False,
        instances=synth.needs_instances,
    )


def _input_alone(sample: Sample) -> Sample:
    """A layout or picture without what is to be made of it."""
    return replace(sample, image=None, label=None if sample.source else sample.label)


def _refuse_other_space(synth: Synthesizer, listing: Listing) -> None:
    """File values mean what the model's label space says; data that say otherwise would be misread."""
    own, theirs = synth.label_space or synth.info.target_space, listing.space
    if own is None or theirs is None or (own.classes, own.ignore) == (theirs.classes, theirs.ignore):
        return
    raise DataError(
        f"The layouts in {listing.root} are in the label space {theirs.name} ({len(theirs)} classes), the model knows {own.name} "
        f"({len(own)} classes). If their values are the model's, copy them apart from their labels.json, or name it with --space."
    )


def find_listing(data: Path | None, flags: DataFlags, split: str, pictures: bool) -> Listing:
    """A dataset, or a bare folder or one file of what the model takes: label maps or pictures."""
    from gesso.data import layouts
    from gesso.data.pairing import Sample

    seen = DataFlags(
        input="gray" if flags.input == "gray" else "auto"
    )  # what else flags say is nothing to bare folders
    if data is not None and data.is_file():
        sample = Sample(data.stem, source=data) if pictures else Sample(data.stem, label=data)
        return take_as(layouts.Listing("file", data.parent, "", (sample,), (), None), seen)
    if data is None:
        return open_listing(data, flags, split)
    try:
        there = layouts.splits(data)
    except DataError:
        if not data.is_dir() or split:
            raise
        return take_as(layouts.folders(sources=data) if pictures else layouts.folders(labels=data), seen)
    first = next((name for name in ("val", "test", "train") if name in there), there[0] if there else "train")
    return open_listing(data, flags, split or first)


def render(
    synth: Synthesizer,
    layouts: SemanticDataset,
    stylist: Stylist,
    shots: Sequence[Shot],
    batch: int,
    wanted: Iterable[int] | None = None,
) -> Iterator[Generated]:
    """The photographs of the wanted layouts, or of all, `batch` layouts at a time."""
    from gesso.data.dataset import collate

    waiting = iter(range(len(layouts)) if wanted is None else wanted)
    while numbers := list(islice(waiting, batch)):
        items = [layouts[i] for i in numbers]
        stack = collate(items)
        try:
            chosen = [stylist.styles(item, shots) for item in items]
            for shot, styles in zip(shots, zip(*chosen, strict=True), strict=True):
                images = _photographs(synth, stack, styles, shot.seed)
                for number, item, style, image in zip(numbers, items, styles, images, strict=True):
                    yield Generated(number, item, shot, style, image)
        except (LabelError, StyleError) as error:  # they know the array, not the file
            raise type(error)(f"{', '.join(item['name'] for item in items)}: {error}") from None
        except DataError as error:
            files = ", ".join(str(layouts.samples[i].source or layouts.samples[i].label) for i in numbers)
            raise DataError(f"{files}: {error}{_if_gray(synth, items[0])}") from None


def _if_gray(synth: Synthesizer, item: dict[str, Any]) -> str:
    """What helps where colours came and one channel is taken."""
    colours = "source" in item and item["source"].shape[0] in (3, 4)
    return " --input gray gives it their luminance." if colours and synth.info.semantics.source_channels == 1 else ""


def _photographs(
    synth: Synthesizer, stack: dict[str, Any], styles: Sequence[Style | None], seed: int
) -> Sequence[Picture]:
    from gesso.synthesis.style import Style

    given = None if not any(styles) else [style or Style() for style in styles]
    if "source" in stack:
        pictures = (stack["source"].movedim(1, -1) + 1) / 2
        return list(synth(pictures.numpy(), style=given, seed=seed))
    labels, instances = maps_of(stack)
    return list(synth(labels, instances, given, seed))


def synthesise(
    synth: Synthesizer, layouts: SemanticDataset, seed: int, batch: int
) -> Iterator[tuple[dict[str, Any], Picture]]:
    """Items with their photographs, `batch` at a time; where the model has styles, in random ones."""
    flags = StyleFlags()
    stylist = open_stylist(synth, flags, layouts, Console())
    for one in render(synth, layouts, stylist, plan_shots(flags, seed), batch):
        yield one.item, one.image
