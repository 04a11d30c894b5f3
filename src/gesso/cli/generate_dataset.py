"""`gesso generate --dataset`: photographs with their label and instance maps, as a dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from gesso.cli.common import DataFlags, RuntimeName, say_components, track
from gesso.cli.dataset_flags import DatasetFlags
from gesso.cli.dataset_layouts import Task, Variations
from gesso.cli.dataset_output import DatasetOutput, DatasetRequests, Sample, refuse_among
from gesso.cli.dataset_sheet import ROWS, write_sheet
from gesso.cli.generated import SHEET, refuse_out_among
from gesso.cli.ranks import Ranks, join
from gesso.cli.style_flags import Shot, StyleFlags
from gesso.cli.stylist import Stylist, maps_of, show
from gesso.cli.stylists import open_stylist
from gesso.errors import ConfigError, DataError, LabelError, StyleError

if TYPE_CHECKING:
    from gesso.data.dataset import SemanticDataset
    from gesso.synthesis.synthesizer import Synthesizer

AGAIN = (
    "What is finished is whole and stays; run the same command again{}, in as many processes as you like: it makes what is "
    "missing."
)


@dataclass(frozen=True)
class DatasetSettings:
    """What `gesso generate` is told, as `--dataset` needs it; `gesso.cli.generate` says what each means."""

    split: str
    seed: int
    original_size: bool
    contact_sheet: bool
    limit: int | None
    overwrite: bool
    device: str
    statistics: str | None
    runtime: RuntimeName
    tiles: int | None


def generate_dataset(
    model: Path,
    data: Path | None,
    flags: DatasetFlags,
    settings: DatasetSettings,
    styles: StyleFlags,
    where: DataFlags,
) -> None:
    """Make a dataset of generated photographs, or what is missing of it.

    Args:
        model: A model file.
        data: Folder of a dataset, or of label maps.
        flags: What is done to the layouts.
        settings: Everything else.
        styles: The flags about style.
        where: Where the data are.

    Raises:
        GessoError: Something is refused, cannot be read, or cannot be written; the message says what, and what to do.
    """
    from gesso.synthesis.synthesizer import load

    out = flags.dataset
    assert out is not None
    ranks = join("cpu" if settings.tiles is not None and settings.device == "auto" else settings.device)
    console = Console(quiet=ranks.rank > 0)
    again = AGAIN.format(", but without --overwrite" * settings.overwrite)
    with ranks.working(again):
        with console.status(f"loading {model.name}"):
            synth = load(model, ranks.device, settings.statistics, settings.runtime, settings.tiles)
        _refuse_pictures(synth, model)
        split = _split(data, settings.split)
        layouts = _open(synth, data, where, split, settings.original_size, styles, console)
        if data is None or not data.is_file():
            _refuse_out_among(layouts, out)
        refuse_among(out, [file for s in layouts.samples for file in (s.label, s.instance, s.image) if file])
        say_components(layouts, console)
        stylist = open_stylist(synth, styles, layouts, console)
        count = min(len(layouts), settings.limit or len(layouts))
        variations = Variations(layouts, flags, settings.seed, count)
        asked = {"seed": settings.seed, **flags.said(), "augmentation": VERSION}
        requests = DatasetRequests(synth, layouts, styles, {"tiles": settings.tiles, "dataset": asked})
        output = DatasetOutput(out, split, synth, variations, requests, count * flags.variants, settings.overwrite)
        if ranks.rank == 0:
            output.prepare()
        ranks.agree("layouts or settings", "\n".join([requests.common, *(s.name for s in layouts.samples), str(count)]))
        maker = _Maker(synth, variations, stylist, output)
        for _ in track(_work(maker, ranks, again), "generating", output.total, console):
            pass
        if ranks.rank == 0:
            with console.status("writing the manifest"):
                output.write_manifest()
                if settings.contact_sheet:
                    write_sheet(output.folder / SHEET, output.shown(ROWS))
    kept = ranks.add("kept")
    said = f"; {kept} of them were there, made in the same way" if kept else ""
    console.print(
        f"{output.total} photographs of {count} layouts with their maps in {output.folder}{said}", soft_wrap=True
    )


VERSION = 2  # of the augmentations: counted up when the same seed would give other layouts


def _refuse_pictures(synth: Synthesizer, model: Path) -> None:
    """Of a model without label maps there is nothing that a photograph could be labelled with."""
    if synth.label_space is None:
        raise DataError(
            f"{model} makes photographs of pictures, or label maps of photographs: there are no label maps to go with "
            "what it makes. --dataset takes a model that makes photographs of label maps."
        )


def _refuse_out_among(layouts: SemanticDataset, out: Path) -> None:
    """See that nothing comes to lie where layouts are looked for.

    Raises:
        ConfigError: Naming both.
    """
    try:
        refuse_out_among(layouts, out)
    except ConfigError as error:
        raise ConfigError(f"--dataset {str(error).removeprefix('--out ')}") from None  # the flag that was given here


def _split(data: Path | None, split: str) -> str:
    """The part of the data that layouts are taken from: as given, else train; what is measured on others is not to be learned.

    Raises:
        ConfigError: There are parts, but train is not among them.
    """
    from gesso.data import layouts

    if split or data is None or not data.is_dir():
        return split
    try:
        there = layouts.splits(data)
    except DataError:
        return ""
    if there and "train" not in there:
        raise ConfigError(
            f"{data} has no split train, which layouts are taken from by default; it has {', '.join(there)}. Say which one with "
            "--split, and test on another one what learns from the photographs."
        )
    return "train"


def _open(
    synth: Synthesizer,
    data: Path | None,
    where: DataFlags,
    split: str,
    original_size: bool,
    styles: StyleFlags,
    console: Console,
) -> SemanticDataset:
    """All layouts, with their instance maps, whether or not the model needs these."""
    from gesso.cli.generate import open_layouts
    from gesso.data.dataset import SemanticDataset

    found = open_layouts(
        synth,
        data,
        where,
        split,
        None,
        original_size,
        styles.style_from_photographs,
        say=lambda line: console.print(line, soft_wrap=True, markup=False, highlight=False),
    )
    layouts = SemanticDataset(found.samples, found.space, found.preprocessing, training=False, instances=True)
    return show(layouts, styles.own_photograph if synth.style_space else None)


@dataclass(frozen=True)
class _Maker:
    """Makes photographs, one by one."""

    synth: Synthesizer
    variations: Variations
    stylist: Stylist
    output: DatasetOutput

    def make(self, task: Task) -> None:
        """One photograph with its maps.

        Raises:
            GessoError: Its layout cannot be read or rendered; the message names the file.
        """
        file = self.variations.layouts.samples[task.index].label
        try:
            item, done = self.variations.draw(task)
            if not self.synth.needs_instances:
                shown = {key: value for key, value in item.items() if key != "instance"}
            else:
                shown = item
            (style,) = self.stylist.styles(shown, [Shot("", "", task.seed)])
            label, instance = maps_of(shown)
            self.output.write(task, Sample(item, done, style, self.synth(label, instance, style, task.seed)))
        except (LabelError, StyleError, DataError) as error:
            said = "" if str(file) in str(error) else f"{file}: "
            raise type(error)(f"{said}{error}") from None


def _work(maker: _Maker, ranks: Ranks, again: str) -> Iterator[None]:
    """Make this rank's share of what is missing, then wait for the others; a step for each photograph of any rank."""
    shown = 0
    for _ in chain(_share(maker, ranks), ranks.finish(again), [None]):
        done = ranks.add("done")
        yield from repeat(None, done - shown)
        shown = done


def _share(maker: _Maker, ranks: Ranks) -> Iterator[None]:
    for number in ranks.share(maker.output.total):
        task = maker.variations.task(number)
        there = maker.output.is_finished(task)
        if not there:
            maker.make(task)
        ranks.add("done", 1)
        ranks.add("kept", int(there))
        yield
