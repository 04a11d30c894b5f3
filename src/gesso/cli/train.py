"""`gesso train`."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, get_args, get_origin

import yaml
from cyclopts import Parameter
from pydantic import BaseModel, Field, ValidationError, create_model
from pydantic.fields import FieldInfo
from rich.console import Console

from gesso.cli.common import DEFAULT_PRESET, Data, DataFlags, open_listing, require_space, say_components
from gesso.cli.train_class_map import read_class_map
from gesso.cli.train_plan import check_padding, first_geometry, refuse_what_cannot_fit, say_stretching, show_plan
from gesso.errors import ConfigError, DataError
from gesso.launch import read_srun
from gesso.recipes import RECIPES
from gesso.recipes.pix2pix import PUBLISHED_WEIGHTS, TERMS

if TYPE_CHECKING:
    from gesso.data.layouts import Listing
    from gesso.labels import Semantics
    from gesso.recipes.protocol import Recipe, TrainingConfig
    from gesso.train import TrainingData

FOLDERS = ("labels", "images", "instances", "sources")  # of DataFlags
READ_AS = ("convention", "direction", "space", "input")  # of DataFlags too


def _settings() -> type[BaseModel]:
    """All settings of all recipes as optional flags; what is not given stays with the preset."""
    found: dict[str, dict[str, FieldInfo]] = {}  # by setting and recipe
    for recipe in RECIPES.values():
        for name, field in recipe.Config.model_fields.items():
            found.setdefault(name, {})[recipe.NAME] = field
    fields: dict[str, Any] = {name: _flag(owners) for name, owners in found.items() if name != "preset"}
    return create_model("Settings", **fields)


def _flag(owners: dict[str, FieldInfo]) -> tuple[Any, Any]:
    """The type and description of a flag that one or more recipes have: all values that any of them takes."""
    first = next(iter(owners.values()))
    kind: Any = first.annotation
    if get_origin(kind) is Literal:
        choices = [value for field in owners.values() for value in get_args(field.annotation)]
        kind = Literal[tuple(dict.fromkeys(choices))]
    elif get_origin(kind) is dict:
        kind = str  # as read_class_map reads it
    texts = dict.fromkeys(str(field.description) for field in owners.values())
    defaults = {name: field.default for name, field in owners.items()}
    told = f"default {first.default}"
    if len(set(map(str, defaults.values()))) > 1:
        told = "default " + ", ".join(f"{value} in {name}" for name, value in defaults.items())
    whose = "" if len(owners) == len(RECIPES) else f"{', '.join(owners)}: "
    return Optional[kind], Field(None, description=f"{whose}{'; or '.join(texts)} ({told})")  # noqa: UP045 (built at run time)


Settings = _settings()


def train(
    data: Path | None = None,
    *,
    out: Path = Path("run"),
    preset: str = "",
    config: Path | None = None,
    split: str = "",
    val_split: str = "val",
    val_labels: Path | None = None,
    val_images: Path | None = None,
    val_sources: Path | None = None,
    device: str = "auto",
    stop_at: int | None = None,
    minutes: float | None = None,
    dry_run: bool = False,
    flags: Data = None,
    settings: Annotated[Settings | None, Parameter(name="*")] = None,  # type: ignore[valid-type]
) -> None:
    """Train a model, or go on training: the same command resumes.

    Parameters
    ----------
    data: Path
        Folder of a dataset; see gesso doctor.
    out: Path
        The run folder; it gets model.safetensors, samples, a log and the state to resume from.
    preset: str
        Configuration to start from.
    config: Path
        YAML or JSON file with settings, such as the config.json of a run; flags win over it.
    split: str
        Part of DATA to learn from; train if nothing else is said.
    val_split: str
        Part of DATA for held-out samples; skipped if it is not there.
    val_labels: Path
        Folder of label maps of held-out samples, where --labels names those to learn from.
    val_images: Path
        Folder of their photographs.
    val_sources: Path
        Folder of held-out input pictures, where --sources names those to learn from.
    device: str
        auto, cpu, cuda, cuda:N or mps.
    stop_at: int
        Stop, resumable, after this many steps in all.
    minutes: float
        Stop, resumable, after this many minutes of training in all, over every attempt with --minutes; samples and saving are
        not counted.
    dry_run: bool
        Print settings, network sizes and an estimate of memory and time; train nothing.
    """
    read_srun()
    document = read_config(config)
    recipe, resolved = resolve(preset, document, settings)
    data, flags, split = find_data(data, flags, split, document)
    console = Console(quiet=os.environ.get("RANK", "0") != "0")
    apart = DataFlags(val_labels, val_images, sources=val_sources, direction=flags.direction, input=flags.input)
    held_out = apart if val_labels or val_sources or val_images else None
    learning = open_data(recipe, resolved, data, flags, split, val_split, held_out)
    say_components(learning.training, console)
    geometry, raw = first_geometry(learning, console)
    check_padding(recipe, resolved, geometry, raw, console)
    if not (out / "config.json").exists():  # a run that goes on keeps its size
        say_stretching(recipe, resolved, raw, console)
    if dry_run:
        show_plan(recipe, resolved, learning, out, device, console)
        return
    from gesso.train import fit

    refuse_what_cannot_fit(recipe, resolved, learning, device, console)
    budget = None if minutes is None else minutes * 60
    result = fit(recipe, resolved, learning, out, device=device, console=console, stop_at=stop_at, budget=budget)
    state = "stopped; run the same command again to go on"
    if result.finished:
        state = "finished"
    elif budget is not None and result.seconds >= budget:
        state = f"the {minutes:g} minutes are spent, which count all attempts; give more to go on"
    told = f"{state} after {result.step} steps; the model is {out / 'model.safetensors'}{_best(result.best)}"
    console.print(told, soft_wrap=True, markup=False, emoji=False)


def _best(model: Path | None) -> str:
    """What to say of the best model of a run."""
    from gesso.checkpoints import read_info

    score = read_info(model).best if model else None
    return f", the best one {model} ({score.by} {score.value:.4f} at step {score.step})" if score else ""


def read_config(path: Path | None) -> dict[str, Any]:
    """The content of a YAML or JSON file of settings.

    Raises:
        ConfigError: It cannot be read, or is not a table of settings.
    """
    if path is None:
        return {}
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"Cannot read settings from {path}: {' '.join(str(error).split())}.") from None
    if not isinstance(document, dict):
        raise ConfigError(f"{path} holds no settings; write lines such as 'epochs: 20'.")
    return {**document, "__file__": str(path)}


def find_data(
    data: Path | None, flags: DataFlags | None, split: str, document: dict[str, Any]
) -> tuple[Path | None, DataFlags, str]:
    """Where the data are: as the command line says, or else as the config.json of a run says.

    Raises:
        ConfigError: The file of settings has `data` of another form.
    """
    flags, origin = flags or DataFlags(), document.get("data")
    if data is not None or origin is None or any(getattr(flags, name) for name in FOLDERS):
        return data, flags, split or "train"
    if not isinstance(origin, dict):
        raise ConfigError(
            f"{document['__file__']}: data {origin!r} is not the data of a run; give the dataset folder after gesso train."
        )
    told = {k: str(origin[k]) for k in ("root", "split", *FOLDERS, *READ_AS) if origin.get(k)}
    for name in _meaningless(flags.input, told):
        del told[name]
    folders: dict[str, Any] = {k: Path(told[k]) for k in FOLDERS if k in told}
    read_as: dict[str, Any] = {k: getattr(flags, k) or told.get(k) for k in READ_AS}
    root = Path(told["root"]) if "root" in told and not folders else None
    return root, replace(flags, **folders, **read_as), split or told.get("split", "train")


def _meaningless(asked: str | None, told: dict[str, Any]) -> list[str]:
    """What a run's data had for label maps, and another `--input` than that run's has no use for."""
    names = ["space", "instances"] if asked in ("image", "gray") else []
    names += ["labels", "sources"] if asked == "gray" and "images" in told else []
    return [name for name in names if name in told]


def describe_data(listing: Listing, flags: DataFlags, split: str) -> dict[str, Any]:
    """What `find_data` needs to open the same data again; kept in config.json."""
    folders = {k: str(folder.resolve()) for k in FOLDERS if (folder := getattr(flags, k))}
    space = flags.space and (str(Path(flags.space).resolve()) if Path(flags.space).is_file() else flags.space)
    convention = None if folders else listing.convention
    told = {"convention": convention, "direction": flags.direction, "space": space, "input": flags.input}
    return {
        "root": str(listing.root.resolve()),
        "split": split,
        **folders,
        **{k: v for k, v in told.items() if v and v not in ("AtoB", "auto")},
    }


def resolve(preset: str, document: dict[str, Any], settings: BaseModel | None) -> tuple[Recipe, TrainingConfig]:
    """The recipe and its settings: preset, then file, then flags.

    Raises:
        ConfigError: A preset, key or value is not known or not possible; the message names it and where it came from.
    """
    origin = document.get("__file__", "the command line")
    given = {k: v for k, v in document.items() if k not in ("__file__", "data", "recipe", "transferred")}
    name = preset or str(given.pop("preset", "")) or DEFAULT_PRESET
    recipe = next((r for r in RECIPES.values() if name in r.PRESETS), None)
    if recipe is None:
        known = [p for r in RECIPES.values() for p in r.PRESETS]
        raise ConfigError(f"There is no preset {name!r}{_suggest(name, known)}. Presets: {', '.join(known)}.")
    given.pop("preset", None)
    if (asked := document.get("recipe", recipe.NAME)) != recipe.NAME:
        raise ConfigError(f"{origin}: recipe {asked!r} does not go with preset {name}, which is {recipe.NAME}'s.")
    flags = {k: getattr(settings, k) for k in settings.model_fields_set} if settings else {}
    known = list(recipe.Config.model_fields)
    if unknown := [str(k) for k in given if k not in known]:
        raise ConfigError(
            f"{origin}: unknown setting {unknown[0]!r}{_suggest(unknown[0], known)}; see gesso train --help."
        )
    if foreign := [k for k in flags if k not in known]:
        owners = ", ".join(r.NAME for r in RECIPES.values() if foreign[0] in r.Config.model_fields)
        raise ConfigError(
            f"--{foreign[0].replace('_', '-')} is a setting of {owners}; preset {name} is {recipe.NAME}'s, which has none such."
        )
    if flags.get("transfer") == "none" and "class_map" not in flags:
        given.pop("class_map", None)  # of the file, whose transfer is not wanted
    values = {**recipe.PRESETS[name].model_dump(), **given, **flags}
    if isinstance(classes := values["class_map"], str):
        values["class_map"] = read_class_map(classes)
    try:
        config = recipe.Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e, given, flags, origin) for e in error.errors())) from None
    if values.get("objective"):
        _refuse_overruled(values["objective"], given, flags, origin)
    return recipe, config


def _refuse_overruled(objective: str, given: dict[str, Any], flags: dict[str, Any], origin: str) -> None:
    """An objective says which terms there are; refuse weights that say otherwise, unless flags say it over a file."""
    by_flag = "objective" in flags
    asked = flags if by_flag else {**given, **flags}
    terms = TERMS[objective]
    wrong = [k for k in PUBLISHED_WEIGHTS if k in asked and bool(float(asked[k])) != (k in terms)]
    if "lambda_gan" in terms and asked.get("conditional", "cGAN" in objective) != ("cGAN" in objective):
        wrong.append("conditional")
    if wrong:
        named = " and ".join(_flag_of(k, asked[k]) if k in flags else f"{k} {asked[k]} in {origin}" for k in wrong)
        whose = f"--objective {objective}" if by_flag else f"objective {objective} in {origin}"
        made_of = " and ".join(_flag_of(name, "above 0") for name in PUBLISHED_WEIGHTS if name in terms)
        condition = f" and --{'' if 'cGAN' in objective else 'no-'}conditional" if "lambda_gan" in terms else ""
        raise ConfigError(
            f"{named} contradicts {whose}, which means {made_of}{condition}, and no other term. Leave one of them out; "
            "--objective '' leaves everything to the weights."
        )


def _flag_of(name: str, value: Any) -> str:
    """A setting as it is written on the command line."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{flag}"
    return f"--{flag} {value:g}" if isinstance(value, float) else f"--{flag} {value}"


def _explain(error: Any, given: dict[str, Any], flags: dict[str, Any], origin: str) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        about = next((found.replace("-", "_") for found in re.findall(r"--([a-z0-9-]+)", message)), "")
        return f"{origin}: {message}" if about in given and about not in flags else str(message)
    key = str(error["loc"][0])
    where = f"--{key.replace('_', '-')}" if key in flags or key not in given else f"{origin}: {key}"
    return f"{where} {error['input']!r}: {message}"


def _suggest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def open_data(
    recipe: Recipe,
    config: TrainingConfig,
    data: Path | None,
    flags: DataFlags,
    split: str,
    val_split: str,
    apart: DataFlags | None = None,
) -> TrainingData:
    """Datasets for training and validation; held-out samples come from `val_split` of the data, or from folders `apart`.

    Raises:
        DataError: There is nothing to learn from.
    """
    from gesso.data.dataset import SemanticDataset
    from gesso.data.preprocessing import Preprocessing
    from gesso.train import TrainingData

    listing = open_listing(data, flags, split)
    require_space(listing)
    pairs = [sample for sample in listing.samples if sample.target]
    if not pairs:
        raise DataError(f"{listing.root} has no layout with a photograph in split {split!r}: nothing to learn from.")
    sides = {
        "fixed": (config.height, config.width),
        "scale_width": (None, config.width),
        "scale_shortside": (config.height, None),
    }
    height, width = sides.get(config.resize, (None, None))
    try:
        preprocessing = Preprocessing(
            resize=config.resize,
            height=height,
            width=width,
            crop=config.crop,
            flip=config.flip,
            multiple=recipe.multiple(config),
        )
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(e, {}, {}, "") for e in error.errors())) from None
    semantics = find_semantics(listing, config)
    if semantics.source_channels and getattr(config, "features", 0):
        raise ConfigError(
            "--instance-features and --label-features need label maps, which say where objects are; these data are pictures."
        )
    if semantics.source_channels and config.warp_layout:
        raise ConfigError(
            "--warp-layout bends label maps for the generator, so that it learns to mend outlines; these data have pictures as "
            "input, which have none. Leave it off; --warp bends input and target alike."
        )
    instances = semantics.boundary or recipe.needs_instances(config)
    held_out = list(open_listing(None, apart, "").samples) if apart else _held_out(data, flags, val_split, split)

    def dataset(samples: Any, training: bool) -> SemanticDataset:
        return SemanticDataset(
            samples,
            listing.space,
            preprocessing,
            training=training,
            seed=config.seed,
            instances=instances,
            warp=config.warp,
            warp_layout=config.warp_layout,
            cache=int(config.cache * 2**30) // max(1, config.workers) if training else 0,
        )

    painted = bool(pairs[0].source and pairs[0].label)
    return TrainingData(
        training=dataset(pairs, True),
        validation=dataset(held_out, False) if held_out else None,
        space=None if painted else listing.space,
        semantics=semantics,
        preprocessing=preprocessing.model_dump(mode="json"),
        origin=describe_data(listing, flags, split),
        target_space=listing.space if painted else None,
        direction=flags.direction or "AtoB",
        input=flags.input or "auto",
    )


def find_semantics(listing: Listing, config: TrainingConfig) -> Semantics:
    """What the network's input is made of, where the settings leave it to the data.

    Raises:
        ConfigError: A channel for ignored pixels is asked for, but label maps are to be seen in colours.
    """
    from gesso.data.readers import read_input
    from gesso.labels import Semantics

    space, first = listing.space, listing.samples[0]
    if first.source:
        return Semantics(source_channels=read_input(first).shape[-1])
    assert space is not None
    if listing.colours:
        if config.dont_care:
            raise ConfigError("--dont-care: with --input colours ignored pixels are black; give --no-dont-care.")
        colours = [(int(red), int(green), int(blue)) for red, green, blue in space.colours]
        return Semantics(classes=len(space), boundary=bool(config.boundary), colours=tuple(colours))
    has_instances = bool(space.things) or any(sample.instance for sample in listing.samples)
    return Semantics(
        classes=len(space),
        dont_care=bool(space.ignore) if config.dont_care is None else config.dont_care,
        boundary=has_instances if config.boundary is None else config.boundary,
    )


def _held_out(data: Path | None, flags: DataFlags, val_split: str, split: str) -> list[Any]:
    from gesso.data import layouts

    if data is None or val_split == split:
        return []
    named = flags.convention not in (None, "auto")
    if not named and val_split not in layouts.splits(data):
        return []
    try:
        return list(open_listing(data, flags, val_split).samples)
    except DataError:
        if not named:
            raise
        return []  # the named convention has no such split
