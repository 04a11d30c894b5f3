"""Files of an official code -> one model file, and a run folder from which training goes on.

Which file is which is read off the tensors. Everything is read and checked before anything is written.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gesso.checkpoints import disk_errors, save_model, save_state
from gesso.errors import ModelFileError
from gesso.importers.clusters import Floats
from gesso.importers.options import Options, Untold, find_options
from gesso.importers.order import file_order, reorder
from gesso.importers.parts import Part, by_role, read_part, refuse_other_paper
from gesso.importers.pix2pixhd import PHOTOGRAPH_CHANNELS
from gesso.importers.semantics import find_semantics
from gesso.labels import LabelSpace, Semantics
from gesso.model_info import ModelInfo, StyleDescription, StyleTable

Notice = Callable[[str], object]


@dataclass(frozen=True)
class Imported:
    """Everything that goes into a model file and a run folder.

    Attributes:
        parts: By role: "generator" and, where given, "encoder", "clusters" and "discriminator".
        info: What the model file will say of itself.
        styles: Clusters as `gesso.checkpoints.Model.styles` holds them; sizes and thumbnails are not in the official files.
        left_out: Official class ids whose clusters have no place, as the label space ignores them.
        options: The options file that was found beside the files, or given; without a path if none was.
        by_values: Whether the official channels are the values in label files; otherwise they are taken for the classes of the
            label space in its order.
    """

    parts: dict[str, Part]
    info: ModelInfo
    styles: dict[str, Tensor]
    left_out: tuple[int, ...]
    options: Options = field(default_factory=Options)
    by_values: bool = True


def import_files(
    files: Sequence[Path],
    space: LabelSpace | None,
    *,
    discriminator: Path | None = None,
    regions: Literal["instance", "label"] = "instance",
    untold: Untold = Untold(),  # noqa: B008 (frozen)
    options: Options | None = None,
    preprocessing: Mapping[str, Any],
    notice: Notice = lambda said: None,
) -> Imported:
    """Read official files and put together what they are.

    Args:
        files: Generator, and perhaps encoder and clusters, in any order.
        space: Its classes by the values in label files; None for a model whose input is a picture.
        discriminator: The discriminators of the same training.
        regions: What shares a style: an "instance", or everything of a "label" (--label_feat).
        untold: What weights do not tell and the caller knows.
        options: Settings of the training, where it is known; by default those in an opt.txt beside the files.
        preprocessing: As `gesso.data.preprocessing.Preprocessing`; its multiple is set to what the networks need, and, where it
            does not resize, the size of the training if that is known.
        notice: Told which file is being read.

    Raises:
        ModelFileError: A file is damaged or would run code, a tensor is missing or left over, or the files do not fit each other
            or the label space.
    """
    options = options or find_options(files)

    def read(path: Path) -> Part:
        notice(f"reading {path.name}")
        return read_part(path, untold, options)

    parts = by_role([read(path) for path in files])
    generator = parts["generator"]
    if discriminator:
        judge = parts["discriminator"] = read(discriminator)
        if judge.role != "discriminator":
            raise ModelFileError(
                f"--discriminator {discriminator} is of another kind ({judge.role}): give latest_net_D.pth."
            )
        refuse_other_paper(generator, judge)
    _refuse_pictures(generator)
    known = untold.completed(generator.paper, options)
    style = _style(parts, regions)
    beside = style.channels if style and style.kind == "features" else 0
    semantics = find_semantics(generator, beside, space, known.boundary, known.dont_care)
    if discriminator:
        _refuse_other_training(parts["discriminator"], semantics.channels)
    by_values = _put_in_order(parts, space, semantics)
    networks = {role: parts[role] for role in ("generator", "encoder") if role in parts}
    styles, left_out = _styles(parts["clusters"], space) if "clusters" in parts and space else ({}, ())
    multiple = max(int(getattr(part.network, "multiple", 1)) for part in networks.values())
    info = ModelInfo(
        recipe=generator.paper,
        networks={role: part.description for role, part in networks.items()},
        label_space=space,
        semantics=semantics,
        preprocessing={**_resized(preprocessing, known.size), "multiple": multiple},
        style=style,
        styles=_table(parts["clusters"], styles) if styles else None,
        # Where label maps are the input, no half of a file is.
        direction=None if space else known.direction,
        side_by_side=None if space else known.side_by_side,
    )
    return Imported(parts, info, styles, left_out, options if generator.paper != "pix2pixhd" else Options(), by_values)


def write_model(path: Path, imported: Imported) -> None:
    """Write the model file.

    Raises:
        TrainingError: The disk is full or refuses; nothing is changed then.
    """
    networks = {role: imported.parts[role].network for role in imported.info.networks}
    save_model(path, networks, imported.info, imported.styles)


def write_run(folder: Path, imported: Imported) -> None:
    """Write a run folder of step 0 with model file and state, for `gesso train --init-from`; whole or not at all.

    Args:
        folder: Absent or empty.
        imported: With a discriminator.

    Raises:
        TrainingError: The disk is full or refuses; nothing is changed then.
    """
    trained = {role: part for role, part in imported.parts.items() if role != "clusters"}
    networks = {f"{r}.{k}": t for r, part in trained.items() for k, t in part.network.state_dict().items()}
    document = {"imported": True, "networks": {role: part.arguments for role, part in trained.items()}}
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    with disk_errors(folder):
        for leftover in folder.parent.glob(f".{glob.escape(folder.name)}.[0-9]*"):
            shutil.rmtree(leftover)  # of a process that was killed while writing
        try:
            save_state(
                temporary / "state", 0, {"networks": networks, "optimizers": {}, "averaged": {}}, document, keep=1
            )
            write_model(temporary / "model.safetensors", imported)
            if folder.exists():
                folder.rmdir()
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


# ------------------------------------------------------------------------------------------- what belongs together


def _resized(preprocessing: Mapping[str, Any], size: tuple[int, int] | None) -> dict[str, Any]:
    if size is None or preprocessing["resize"] != "none":
        return dict(preprocessing)
    return {**preprocessing, "resize": "fixed", "height": size[0], "width": size[1]}


def _put_in_order(parts: Mapping[str, Part], space: LabelSpace | None, semantics: Semantics) -> bool:
    """Exchange channels so that they are the label space's classes in its order; whether file values say which they were."""
    if space is None or semantics.colours:
        return True
    order = file_order(space, semantics.dont_care)
    if order and order != sorted(order):
        for role in {"generator", "discriminator"} & parts.keys():
            reorder(parts[role].network, order)
    return order is not None


def _refuse_pictures(generator: Part) -> None:
    if (channels := generator.arguments["out_channels"]) != PHOTOGRAPH_CHANNELS:
        raise ModelFileError(f"{generator.path} makes pictures of {channels} channels; gesso's photographs have 3.")


def _style(parts: Mapping[str, Part], regions: Literal["instance", "label"]) -> StyleDescription | None:
    generator = parts["generator"]
    if generator.paper == "spade":
        return _latent_style(generator, parts.get("encoder"))
    if generator.paper == "pix2pix":
        return StyleDescription(kind="noise", channels=0) if generator.network.noisy else None
    channels = _style_channels(parts)
    return StyleDescription(channels=channels, regions=regions) if channels else None


def _latent_style(generator: Part, encoder: Part | None) -> StyleDescription | None:
    latent = int(generator.arguments.get("latent", 0))
    if encoder and encoder.arguments["latent"] != latent:
        begins = f"a latent vector of {latent} numbers" if latent else "the layout (trained without --use_vae)"
        raise ModelFileError(
            f"{encoder.path} is an encoder to {encoder.arguments['latent']} numbers, but {generator.path} begins from {begins}: "
            "leave the encoder out, or give the generator of the same training."
        )
    return StyleDescription(kind="z", channels=latent) if latent else None


def _style_channels(parts: Mapping[str, Part]) -> int:
    """Numbers per style, which encoder and clusters must agree on; 0 without either."""
    encoder, clusters = parts.get("encoder"), parts.get("clusters")
    channels = int(encoder.arguments["features"]) if encoder else 0
    widths = {key: centres.shape[1] for key, centres in clusters.centres.items()} if clusters else {}
    for key, width in widths.items():
        channels = channels or width
        if width != channels:
            table = " This looks like the table before clustering (features.npy)." if width == channels + 1 else ""
            raise ModelFileError(
                f"{clusters and clusters.path}: class {key} has {width} numbers per cluster, a style has {channels}.{table} Give "
                "the features_clustered_*.npy that was made with this encoder."
            )
    return channels


def _refuse_other_training(judge: Part, channels: int) -> None:
    wanted = channels + PHOTOGRAPH_CHANNELS
    if judge.takes != wanted:
        raise ModelFileError(
            f"{judge.path} takes {judge.takes} channels; beside this generator it would take {wanted}: {channels} of the layout "
            f"(never the style) and {PHOTOGRAPH_CHANNELS} of the photograph. Give the discriminator of the same training."
        )


def _styles(part: Part, space: LabelSpace) -> tuple[dict[str, Tensor], tuple[int, ...]]:
    """Clusters by class index, and the official class ids that the label space ignores."""
    found: dict[str, list[Floats]] = {}
    left_out = []
    for key, centres in part.centres.items():
        index = next(
            (i for i, c in enumerate(space.classes) if key in c.values), len(space) if key in space.ignore else -1
        )
        if index < 0:
            raise ModelFileError(
                f"{part.path} has clusters of class {key}, which {space.name} ({len(space)} classes) does not know. Name the "
                "label space of that training with --labels."
            )
        if index == len(space):
            left_out.append(key)
        else:
            found.setdefault(f"{index}.centres", []).append(centres)
    if not found:
        raise ModelFileError(f"{part.path} has clusters only of classes that {space.name} ignores: leave it out.")
    return {k: torch.cat([torch.from_numpy(c) for c in v]) for k, v in found.items()}, tuple(left_out)


def _table(part: Part, styles: Mapping[str, Tensor]) -> StyleTable:
    return StyleTable(origin=part.path.name, modes=max(len(centres) for centres in styles.values()))
