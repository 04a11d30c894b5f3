"""`gesso import`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from gesso.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from gesso.importers.assembly import Imported
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
    dont_care: bool = False,
    width: int | None = None,
) -> None:
    """Make a model file of checkpoints that pix2pixHD's official code trained.

    Parameters
    ----------
    generator: Path
        latest_net_G.pth; .pth files of torch, old and new, or .safetensors. What each file holds is read off its tensors.
    more: Path
        latest_net_E.pth and features_clustered_*.npy of the same training, where it had features; in any order.
    labels: str
        Label space whose classes are the generator's channels: a published name, a labels.json, or "none" for pictures as input.
    out: Path
        The model file.
    discriminator: Path
        latest_net_D.pth of the same training; goes into RUN.
    run: Path
        New folder with everything that a new run (`gesso train --init-from RUN`, as printed) goes on from.
    label_features: bool
        Features were pooled per class (--label_feat) instead of per object.
    boundary: bool
        Whether the generator sees instance boundaries; by default the number of its channels tells.
    dont_care: bool
        The generator has a channel for ignored pixels, after those of the classes.
    width: int
        Pixels that layouts are scaled to (--loadSize); by default they keep their size.
    """
    from rich.console import Console

    from gesso.data.preprocessing import Preprocessing
    from gesso.importers.assembly import import_files, write_model, write_run

    files = [generator, *more]
    _check_places([*files, *([discriminator] if discriminator else [])], labels, out, discriminator, run)
    if width is not None and width < 1:
        raise ConfigError(f"--width {width}: at least 1 pixel.")
    preprocessing = Preprocessing(resize="scale_width", width=width) if width else Preprocessing()
    space = _space(labels)
    console = Console()
    with console.status("reading") as status:
        imported = import_files(
            files,
            space,
            discriminator=discriminator,
            regions="label" if label_features else "instance",
            boundary=boundary,
            dont_care=dont_care,
            preprocessing=preprocessing.model_dump(mode="json"),
            notice=status.update,
        )
        if label_features and not imported.info.style:
            raise ConfigError("--label-features: these files have no features. Give the encoder, or leave it out.")
        if run:
            status.update(f"writing {run}")
            write_run(run, imported)
        if out:
            status.update(f"writing {out}")
            write_model(out, imported)
    _say(imported, out, run, console)


def _space(labels: str) -> LabelSpace | None:
    from gesso.data.spaces import resolve

    return None if labels == NO_CLASSES else resolve(labels)


def _check_places(
    inputs: list[Path], labels: str, out: Path | None, discriminator: Path | None, run: Path | None
) -> None:
    """Refuse to start where nothing, half of a training or an input would be written."""
    if (discriminator is None) != (run is None):
        raise ConfigError("--discriminator and --run go together: the discriminator is kept in a run folder alone.")
    if out is None and run is None:
        raise ConfigError("Nothing says where the model goes: give -o model.safetensors.")
    read = {path.resolve() for path in (*inputs, Path(labels))}
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

    info = imported.info
    table = Table.grid(padding=(0, 2))
    rows = [(part.path.name, _described(part)) for part in imported.parts.values()]
    rows.append(("input", _channels(imported)))
    if info.styles:
        rows.append(("styles", _styles(imported)))
    sizes = f"scaled to a width of {info.preprocessing['width']}" if info.preprocessing["width"] else "as they come"
    rows.append(("layouts", f"{sizes}, in multiples of {info.preprocessing['multiple']} pixels"))
    rows += [("written", str(path)) for path in (out, run) if path]
    for name, said in rows:
        table.add_row(Text(name, style="bold"), Text(said))
    console.print(table)
    for line in [*_warnings(imported), *_next(imported, out or (run or Path()) / "model.safetensors", run)]:
        console.print(line, soft_wrap=True, markup=False, highlight=False)


def _described(part: Part) -> str:
    if part.kind == "clusters":
        most = max(len(centres) for centres in part.centres.values())
        return f"clusters of {len(part.centres)} classes, at most {most} each"
    shown = {k: v for k, v in part.arguments.items() if k not in ("in_channels", "out_channels")}
    count = sum(parameter.numel() for parameter in part.network.parameters())
    kinds = {"global": "global generator", "local": "generator with local enhancers"}
    name = kinds.get(part.kind, part.kind)
    return f"{name}, {count:,} parameters ({', '.join(f'{k} {v}' for k, v in shown.items())})"


def _channels(imported: Imported) -> str:
    semantics, style, space = imported.info.semantics, imported.info.style, imported.info.label_space
    whole = semantics.channels + (style.channels if style else 0)
    if space is None:
        return f"{whole} channels = a picture"
    parts = [f"{semantics.classes} classes of {space.name}"]
    parts += ["ignored pixels"] if semantics.dont_care else []
    parts += ["instance boundaries"] if semantics.boundary else []
    parts += [f"{style.channels} of style per {'object' if style.regions == 'instance' else 'class'}"] if style else []
    return f"{whole} channels = {' + '.join(parts)}"


def _styles(imported: Imported) -> str:
    space = imported.info.label_space
    assert space is not None, "only models of label maps have styles"
    found = sorted(int(key.partition(".")[0]) for key in imported.styles)
    counts = [f"{space.names[index]} {len(imported.styles[f'{index}.centres'])}" for index in found]
    return f"modes of {len(found)} classes: {', '.join(counts)}"


def _warnings(imported: Imported) -> list[str]:
    space, found = imported.info.label_space, []
    if imported.left_out:
        ids = ", ".join(map(str, imported.left_out))
        found.append(f"Left out: clusters of classes that {space and space.name} ignores ({ids}).")
    if space is None:
        if imported.info.semantics.source_channels == 4:
            found.append(
                "Note: a model trained without --no_instance takes boundaries as its fourth channel, not a picture's."
            )
        return found
    other = [(i, c) for i, c in enumerate(space.classes) if i not in c.values and max(c.values) >= 0]
    if other:
        index, label_class = other[0]
        found.append(
            f"Note: the official code takes values in label files as channels. In {space.name} channel {index} is "
            f"{label_class.name}, whose value is {label_class.values[0]}; if training saw other files, give --labels a "
            "labels.json in the order of the channels."
        )
    return found


def _next(imported: Imported, model: Path, run: Path | None) -> list[str]:
    found = [f"Photographs: gesso generate {model} LAYOUTS"]
    if "encoder" in imported.parts:
        found.append(f"Styles from photographs: gesso styles {model} --data DATA")
    if run:
        found.append(_next_training(imported, run))
    return found


def _next_training(imported: Imported, run: Path) -> str:
    """The command that trains on: with the networks as they are, or the run would build others than those in the files."""
    arguments = {role: part.arguments for role, part in imported.parts.items()}
    generator, judge = arguments["generator"], arguments["discriminator"]
    if generator.get("enhancers", 0) >= judge["scales"]:
        return (
            f"Training cannot go on from here: {generator['enhancers']} enhancers need {generator['enhancers'] + 1} "
            f"discriminators or more, and there are {judge['scales']}."
        )
    if imported.info.style and "encoder" not in arguments:
        return (
            "Training cannot go on from here: styles are learned with the encoder; import again with latest_net_E.pth."
        )
    flags = " ".join([*_training_flags(imported), "--init-from", shlex.quote(str(run)), "--out NEW_RUN"])
    return f"Training goes on: gesso train DATA {flags}\n(with --no-vgg it needs no weights of VGG-19)"


def _training_flags(imported: Imported) -> list[str]:
    """Preset and networks as flags of `gesso train`."""
    roles = {"generator": ("width", "downs", "blocks"), "discriminator": ("width", "layers", "scales")}
    generator, info = imported.parts["generator"].arguments, imported.info
    local = bool(generator.get("enhancers"))
    values = {f"{role}-{key}": imported.parts[role].arguments[key] for role, keys in roles.items() for key in keys}
    if local:
        values |= {"enhancers": generator["enhancers"], "enhancer-blocks": generator["enhancer_blocks"]}
    if info.style:
        encoder = imported.parts["encoder"].arguments
        values |= {"feature-channels": encoder["features"]} | {f"encoder-{k}": encoder[k] for k in ("width", "downs")}
    values["norm"] = generator["norm"]
    switches = [f"--{info.style.regions}-features"] if info.style else []
    if info.label_space:
        told = {"boundary": info.semantics.boundary, "dont-care": info.semantics.dont_care}
        switches += [f"--{'' if on else 'no-'}{name}" for name, on in told.items()]
    if width := info.preprocessing["width"]:
        switches.append(f"--resize scale_width --width {width}")
    preset = f"--preset pix2pixhd-cityscapes-{'1024p' if local else '512p'}"
    return [preset, *(f"--{key} {value}" for key, value in values.items()), *switches]
