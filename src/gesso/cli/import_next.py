"""What comes after `gesso import`: the commands that use what it has made."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gesso.importers.assembly import Imported

Arguments = dict[str, dict[str, Any]]  # of networks, by role


def next_steps(imported: Imported, model: Path, run: Path | None) -> list[str]:
    """Lines for people: how to make photographs, styles, and further trainings."""
    found = [f"Photographs: gesso generate {model} LAYOUTS"]
    if "encoder" in imported.parts and imported.info.recipe == "pix2pixhd":
        found.append(f"Styles from photographs: gesso styles {model} --data DATA")
    elif "encoder" in imported.parts:
        found.append(f"In the style of a photograph: gesso generate {model} LAYOUTS --style-image PHOTO")
    if run:
        found.append(_next_training(imported, run))
    return found


def _next_training(imported: Imported, run: Path) -> str:
    """The command that trains on: with the networks as they are, or the run would build others than those in the files."""
    arguments = {role: part.arguments for role, part in imported.parts.items()}
    if hindrance := _hindrance(imported, arguments):
        return f"Training cannot go on from here: {hindrance}"
    flags = " ".join([*_training_flags(imported, arguments), "--init-from", shlex.quote(str(run)), "--out NEW_RUN"])
    weights = "" if imported.info.recipe == "pix2pix" else "\n(with --no-vgg it needs no weights of VGG-19)"
    return f"Training goes on: gesso train DATA {flags}{weights}"


def _hindrance(imported: Imported, arguments: Arguments) -> str:
    """What keeps the recipe from building these networks; empty if nothing does."""
    generator, judge = arguments["generator"], arguments["discriminator"]
    if generator.get("enhancers", 0) >= judge.get("scales", 1):
        return (
            f"{generator['enhancers']} enhancers need {generator['enhancers'] + 1} discriminators or more, and there are "
            f"{judge['scales']}."
        )
    style = imported.info.style
    if style and style.kind == "features" and "encoder" not in arguments:
        return "styles are learned with the encoder; import again with latest_net_E.pth."
    if imported.info.recipe == "pix2pix" and generator["norm"] != judge["norm"]:
        return f"the generator has {generator['norm']} norm, the discriminator {judge['norm']}; the recipe has one for both."
    if not all(found.get("spectral", True) for found in arguments.values()):
        return "the recipe trains with spectral norm, which these networks lack."
    return ""


def _training_flags(imported: Imported, arguments: Arguments) -> list[str]:
    """Preset and networks as flags of `gesso train`."""
    papers = {"pix2pix": _of_pix2pix, "pix2pixhd": _of_pix2pixhd, "spade": _of_spade}
    info = imported.info
    preset, values = papers[info.recipe](arguments)
    found = [f"--preset {preset}", *(f"--{key} {value}" for key, value in values.items())]
    if info.style and info.style.kind == "features":
        found.append(f"--{info.style.regions}-features")
    if "encoder" in arguments and info.recipe == "spade":
        found.append("--style-encoder")
    found += ["--input colours"] if info.semantics.colours else []
    found += ["--direction BtoA"] if info.direction == "BtoA" else []
    if info.label_space:
        told = {"boundary": info.semantics.boundary, "dont-care": info.semantics.dont_care}
        found += [f"--{'' if on else 'no-'}{name}" for name, on in told.items()]
    return [*found, *_sizes(info.recipe, info.preprocessing)]


def _sizes(paper: str, preprocessing: Mapping[str, Any]) -> list[str]:
    sides = {side: int(preprocessing[side]) for side in ("height", "width") if preprocessing[side]}
    jitter = paper == "pix2pix" and len(sides) == 2  # appendix 6.2: resized to 286, cropped to 256
    crop = [f"--crop {sides['height']} {sides['width']}"] if jitter else []
    larger = {side: pixels * 286 // 256 if jitter else pixels for side, pixels in sides.items()}
    flags = [f"--resize {preprocessing['resize']}", *(f"--{side} {pixels}" for side, pixels in larger.items())]
    return [*flags, *crop] if sides else []


def _networks(arguments: Arguments, roles: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    return {f"{role}-{key}": arguments[role][key] for role, keys in roles.items() if role in arguments for key in keys}


def _of_pix2pixhd(arguments: Arguments) -> tuple[str, dict[str, Any]]:
    generator, encoder = arguments["generator"], arguments.get("encoder")
    local = bool(generator.get("enhancers"))
    roles = {"generator": ("width", "downs", "blocks"), "discriminator": ("width", "layers", "scales")}
    values = _networks(arguments, roles)
    if local:
        values |= {"enhancers": generator["enhancers"], "enhancer-blocks": generator["enhancer_blocks"]}
    if encoder:
        values |= {"feature-channels": encoder["features"]} | {f"encoder-{k}": encoder[k] for k in ("width", "downs")}
    return f"pix2pixhd-cityscapes-{'1024p' if local else '512p'}", values | {"norm": generator["norm"]}


def _of_pix2pix(arguments: Arguments) -> tuple[str, dict[str, Any]]:
    values = _networks(arguments, {"generator": ("width", "downs"), "discriminator": ("width", "layers")})
    generator = arguments["generator"]
    return "pix2pix-facades", values | {key: generator[key] for key in ("norm", "dropout", "statistics")}


def _of_spade(arguments: Arguments) -> tuple[str, dict[str, Any]]:
    roles = {
        "generator": ("width",),
        "discriminator": ("width", "layers", "scales", "norm"),
        "encoder": ("width", "downs"),
    }
    generator = arguments["generator"]
    values = _networks(arguments, roles) | {key: generator[key] for key in ("upsampling", "norm", "kernel", "hidden")}
    return "spade-cityscapes", values | ({"latent": generator["latent"]} if generator.get("latent") else {})
