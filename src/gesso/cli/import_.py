"""`gesso import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from gesso.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from gesso.importers.assembly import Imported
    from gesso.importers.options import Untold
    from gesso.importers.parts import Part
    from gesso.labels import LabelSpace

NO_CLASSES = "none"  # for --labels


def import_(
    generator: Path,
    *more: Path,
    labels: str,
    out: Annotated[Path | None, Parameter(name=["--out", "-o"])] = None,
    discriminator: Path | None = None,
    run: Path | None = None,
    label_features: bool = False,
    boundary: bool | None = None,
    dont_care: bool | None = None,
    width: int | None = None,
    size: str | None = None,
    upsampling: Literal["normal", "more", "most"] | None = None,
    dropout: bool | None = None,
    statistics: Literal["picture", "running"] | None = None,
    options: Path | None = None,
) -> None:
    """Make a model file of checkpoints that the official code of pix2pix, pix2pixHD or SPADE trained.

    Parameters
    ----------
    generator: Path
        latest_net_G.pth; .pth files of torch, old and new, or .safetensors. What each file holds is read off its tensors.
    more: Path
        latest_net_E.pth and features_clustered_*.npy of the same training, where there were any; in any order.
    labels: str
        Label space whose values in label files are the generator's channels: a published name, a labels.json, or "none" for
        pictures as input. For pix2pix trained on label maps in colours (3 channels): the space that has these colours.
    out: Path
        The model file.
    discriminator: Path
        latest_net_D.pth of the same training; goes into RUN.
    run: Path
        New folder with everything that a new run (`gesso train --init-from RUN`, as printed) goes on from.
    label_features: bool
        Features were pooled per class (--label_feat) instead of per object.
    boundary: bool
        Whether the generator sees instance boundaries; by default the number of its channels tells, and pix2pix's does not.
    dont_care: bool
        Whether the generator has a channel for ignored pixels, after those of the classes; by default SPADE's have one where the
        label space ignores values and the number of channels allows it.
    width: int
        Pixels that layouts are scaled to (--loadSize); by default they keep their size.
    size: str
        HEIGHTxWIDTH of the training in pixels, which layouts are resized to; SPADE with --use_vae needs it.
    upsampling: str
        How often SPADE's generator doubles the size (--num_upsampling_layers), which its weights do not tell.
    dropout: bool
        Whether pix2pix was trained with dropout, which then makes its pictures differ (--no_dropout); by default it was.
    statistics: str
        What pix2pix's batch norm measures by: each picture alone, as published, or the running statistics (--eval).
    options: Path
        opt.txt of the training, which says most of this; by default one beside the files. opt.pkl is never read.
    """
    from rich.console import Console

    from gesso.cli.common import parse_size
    from gesso.data.preprocessing import Preprocessing
    from gesso.importers.assembly import import_files, write_model, write_run
    from gesso.importers.options import Untold, read_options

    files = [generator, *more]
    _check_places([*files, *([discriminator] if discriminator else [])], labels, out, discriminator, run, options)
    if width is not None and width < 1:
        raise ConfigError(f"--width {width}: at least 1 pixel.")
    if width is not None and size:
        raise ConfigError(f"--width {width} and --size {size} both say what layouts are resized to: leave one out.")
    untold = Untold(upsampling, parse_size(size) if size else None, dropout, statistics, boundary, dont_care)
    preprocessing = Preprocessing(resize="scale_width", width=width) if width else Preprocessing()
    space = _space(labels)
    console = Console()
    with console.status("reading") as status:
        imported = import_files(
            files,
            space,
            discriminator=discriminator,
            regions="label" if label_features else "instance",
            untold=untold,
            options=read_options(options) if options else None,
            preprocessing=preprocessing.model_dump(mode="json"),
            notice=status.update,
        )
        _refuse_foreign(imported, untold, label_features)
        if run:
            status.update(f"writing {run}")
            write_run(run, imported)
        if out:
            status.update(f"writing {out}")
            write_model(out, imported)
    _say(imported, out, run, console)


def _refuse_foreign(imported: Imported, untold: Untold, label_features: bool) -> None:
    """What is said of a generator that it cannot be."""
    style, paper = imported.info.style, imported.info.recipe
    if label_features and not (style and style.kind == "features"):
        raise ConfigError("--label-features: these files have no features. Give the encoder, or leave it out.")
    owners = {"upsampling": "spade", "dropout": "pix2pix", "statistics": "pix2pix"}
    for name, owner in owners.items():
        if paper != owner and getattr(untold, name) is not None:
            raise ConfigError(f"--{name} is a matter of {owner}, but these files are {paper}'s: leave it out.")


def _space(labels: str) -> LabelSpace | None:
    from gesso.data.spaces import resolve

    return None if labels == NO_CLASSES else resolve(labels)


def _check_places(
    inputs: list[Path],
    labels: str,
    out: Path | None,
    discriminator: Path | None,
    run: Path | None,
    options: Path | None,
) -> None:
    """Refuse to start where nothing, half of a training or an input would be written."""
    from gesso.importers.options import NAMES

    if (discriminator is None) != (run is None):
        raise ConfigError("--discriminator and --run go together: the discriminator is kept in a run folder alone.")
    if out is None and run is None:
        raise ConfigError("Nothing says where the model goes: give -o model.safetensors.")
    beside = [path.parent / name for path in inputs for name in NAMES]
    read = {path.resolve() for path in (*inputs, Path(labels), *([options] if options else []), *beside)}
    if out and (out.is_dir() or out.resolve() in read):
        what = (
            "is a folder: give the path of a file"
            if out.is_dir()
            else "is one of the files that are read: give another"
        )
        raise ConfigError(f"--out {out} {what}, such as model.safetensors.")
    if run and run.exists() and not (run.is_dir() and not any(run.iterdir())):
        raise ConfigError(f"--run {run} is there already and not an empty folder: give a new one.")
    if run and out and run.resolve() in out.resolve().parents:
        raise ConfigError(f"--out {out} is inside --run {run}, which gets a model file by itself: leave out --out.")


# ------------------------------------------------------------------------------------------------- what it has made


def _say(imported: Imported, out: Path | None, run: Path | None, console: Console) -> None:
    from rich.table import Table
    from rich.text import Text

    from gesso.cli.import_next import next_steps

    info = imported.info
    table = Table.grid(padding=(0, 2))
    rows = [(part.path.name, _described(part)) for part in imported.parts.values()]
    if imported.options.path:
        rows.append((imported.options.path.name, "settings of the training"))
    rows.append(("input", _channels(imported)))
    if info.styles:
        rows.append(("styles", _styles(imported)))
    rows.append(("layouts", f"{_sizes(info.preprocessing)}, in multiples of {info.preprocessing['multiple']} pixels"))
    rows += [("written", str(path)) for path in (out, run) if path]
    for name, said in rows:
        table.add_row(Text(name, style="bold"), Text(said))
    console.print(table)
    for line in [*_warnings(imported), *next_steps(imported, out or (run or Path()) / "model.safetensors", run)]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _sizes(preprocessing: dict[str, Any]) -> str:
    if preprocessing["resize"] == "fixed":
        return f"resized to {preprocessing['height']}x{preprocessing['width']}"
    return f"scaled to a width of {preprocessing['width']}" if preprocessing["width"] else "as they come"


def _described(part: Part) -> str:
    if part.kind == "clusters":
        most = max(len(centres) for centres in part.centres.values())
        return f"clusters of {len(part.centres)} classes, at most {most} each"
    shown = {k: v for k, v in part.arguments.items() if k not in ("in_channels", "out_channels")}
    count = sum(parameter.numel() for parameter in part.network.parameters())
    kinds = {
        "global": "global generator",
        "local": "generator with local enhancers",
        "unet": "U-Net generator",
        "patchgan": "PatchGAN discriminator",
        "pixelgan": "PixelGAN discriminator",
    }
    name = kinds.get(part.kind, f"SPADE {part.kind}" if part.paper == "spade" else part.kind)
    return f"{name}, {count:,} parameters ({', '.join(f'{k} {v}' for k, v in shown.items())})"


def _channels(imported: Imported) -> str:
    semantics, style, space = imported.info.semantics, imported.info.style, imported.info.label_space
    features = style.channels if style and style.kind == "features" else 0
    whole = semantics.channels + features
    if space is None:
        halves = {"AtoB": ", the left half A of files A|B", "BtoA": ", the right half B of files A|B"}
        parts = [f"a picture{halves.get(imported.info.direction or '', '')}"]
    elif semantics.colours:
        parts = [f"{semantics.classes} classes of {space.name} in their colours"]
    else:
        parts = [f"{semantics.classes} classes of {space.name}"]
    parts += ["ignored pixels"] if semantics.dont_care else []
    parts += ["instance boundaries"] if semantics.boundary else []
    parts += (
        [f"{features} of style per {'object' if style.regions == 'instance' else 'class'}"]
        if features and style
        else []
    )
    beside = {"z": f"; a latent vector of {style.channels if style else 0} numbers", "noise": "; dropout as noise"}
    return f"{whole} channels = {' + '.join(parts)}{beside.get(style.kind, '') if style else ''}"


def _styles(imported: Imported) -> str:
    space = imported.info.label_space
    assert space is not None, "only models of label maps have styles"
    found = sorted(int(key.partition(".")[0]) for key in imported.styles)
    counts = [f"{space.names[index]} {len(imported.styles[f'{index}.centres'])}" for index in found]
    return f"modes of {len(found)} classes: {', '.join(counts)}"


def _warnings(imported: Imported) -> list[str]:
    space, semantics, found = imported.info.label_space, imported.info.semantics, []
    if imported.left_out:
        ids = ", ".join(map(str, imported.left_out))
        found.append(f"Left out: clusters of classes that {space and space.name} ignores ({ids}).")
    if space is None:
        if semantics.source_channels == 4 and imported.info.recipe == "pix2pixhd":
            found.append(
                "Note: a model trained without --no_instance takes boundaries as its fourth channel, not a picture's."
            )
        return found
    if semantics.colours:
        found.append(
            f"Note: label maps are painted in the colours of {space.name}; they must be those of the training."
        )
        return found
    other = [(i, c) for i, c in enumerate(space.classes) if i not in c.values and max(c.values) >= 0]
    if other and not imported.by_values:
        index, label_class = other[0]
        found.append(
            f"Note: the official code takes values in label files as channels. In {space.name} channel {index} is "
            f"{label_class.name}, whose value is {label_class.values[0]}; if training saw other files, give --labels a "
            "labels.json in the order of the channels."
        )
    elif other:
        index, label_class = other[0]
        found.append(
            f"Channels were exchanged: {label_class.name}, class {index} of {space.name}, is channel "
            f"{label_class.values[0]} of the file, its value in label files. If training saw files that count from 0, give "
            "--labels a labels.json with such values."
        )
    return found
