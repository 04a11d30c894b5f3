"""Who computes: the reference and gesso, with the same weights, as functions of a layout.

A contender is named "reference" or "gesso", followed by how it computes where that is not plain float32: "reference bf16",
"gesso compile".
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from reference import hand_over, semantics_of
from reference import pix2pixhd as plain_pix2pixhd
from reference import spade as plain_spade
from torch import Tensor, nn

from contest.cases import CLASSES, Case
from contest.layouts import Layout
from gesso.labels import Semantics
from gesso.networks import pix2pixhd, spade

Compute = Callable[[Layout, int], Any]  # from a layout and the number of the call to a picture, or to losses
SEMANTICS = Semantics(classes=CLASSES, boundary=True)
CHANNELS = CLASSES + 1
ROOMS = {"spade": spade, "pix2pixhd": pix2pixhd}
PLAIN: dict[str, Callable[..., nn.Module]] = {
    "spade": plain_spade.Generator,
    "global": plain_pix2pixhd.GlobalGenerator,
    "local": plain_pix2pixhd.LocalGenerator,
}
OURS: dict[str, Callable[..., nn.Module]] = {
    "spade": spade.SpadeGenerator,
    "global": pix2pixhd.GlobalGenerator,
    "local": pix2pixhd.CoarseToFineGenerator,
}


class NotThereError(Exception):
    """What a case measures does not exist here; the message says what."""


def names(case: Case, device: str) -> list[str]:
    """Who computes a case; the reference comes first."""
    if case.kind == "int8":
        return ["reference", "gesso int8"]
    if case.kind == "edit":
        return ["reference", "gesso cached", "gesso renewed"]
    if device == "cpu":
        return ["reference", "gesso"]
    ways = ("", " bf16") if case.kind == "step" else ("", " bf16", " compile", " bf16 compile")
    return [side + way for side in ("reference", "gesso") for way in ways]


def refuse_missing(case: Case, device: str) -> None:
    """Where a case measures what is not part of this gesso, or needs what is not installed.

    Raises:
        NotThereError: It says what is missing.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise NotThereError("PyTorch finds no CUDA device")
    if case.kind == "edit" and device != "cpu":
        raise NotThereError("small edits apart from whole pictures are rendered on the CPU alone")
    for module in ("openvino", "nncf", "gesso.export") if case.kind == "int8" else ():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise NotThereError(f"{error}; int8 needs gesso[export]") from None


def contenders(
    case: Case, wanted: list[str], device: str, settled_on: Layout | None, order: dict[str, Any]
) -> dict[str, Compute]:
    """All with the same weights.

    Args:
        case: What is measured.
        wanted: Names; see `names`.
        device: Where to compute.
        settled_on: What SPADE's running statistics are taken of; None leaves them as they are, when only memory counts.
        order: With "layouts", the folder that they are from, or None, and "scratch", a folder for files.

    Raises:
        NotThereError: What is to be measured takes layouts to calibrate on, and there are only toy scenes.
    """
    if case.kind == "step":
        from contest.stepping import both

        return both(case, wanted, device, settled_on is not None)
    found = _pictures(case, [name for name in wanted if "int8" not in name], device, settled_on)
    return found | {name: _int8(case, order["layouts"], Path(order["scratch"])) for name in wanted if "int8" in name}


# --------------------------------------------------------------------------------------------------------- synthesis


def _pictures(case: Case, wanted: list[str], device: str, settled_on: Layout | None) -> dict[str, Compute]:
    sides = {name.split()[0] for name in wanted}
    plain = PLAIN[case.network](CHANNELS, **case.generator).to(device) if "reference" in sides else None
    ours = _initialised(case).to(device) if "gesso" in sides or settled_on else None
    if plain is not None and ours is not None:
        hand_over(ours, plain)
        if case.network == "spade" and settled_on is not None:
            given = semantics_of(*settled_on.to(device), CLASSES)
            plain_spade.settle(plain, given, _style(case, 0, device))
            hand_over(plain, ours)
    found = {}
    for name in wanted:
        side, *ways = name.split()
        network = plain if side == "reference" else ours
        assert network is not None
        if case.kind == "edit" and side == "gesso":
            from contest.editing import Editing

            found[name] = Editing(network.eval(), ways[0], _indexed)
            continue
        found[name] = (_reference if side == "reference" else _gesso)(case, network.eval(), device, ways)
    return found


def _arguments(case: Case) -> dict[str, Any]:
    """Of gesso's generator."""
    norm = {"norm": "sync_batch"} if case.network == "spade" else {}
    return {"in_channels": CHANNELS, **case.generator, **norm}


def _initialised(case: Case) -> nn.Module:
    """Always with the same weights."""
    torch.manual_seed(0)
    network: nn.Module = ROOMS[case.paper].initialise(OURS[case.network](**_arguments(case)))
    return network


def _style(case: Case, number: int, device: str) -> Tensor | None:
    """z of a call; None for generators that take none."""
    if "latent" not in case.generator:
        return None
    return torch.randn(1, case.generator["latent"], generator=torch.Generator().manual_seed(number)).to(device)


def _reference(case: Case, network: nn.Module, device: str, ways: list[str]) -> Compute:
    network, precision = in_these_ways(network, device, ways)

    def compute(layout: Layout, number: int) -> Tensor:
        style = _style(case, number, device)
        layout = layout.edited(number) if case.kind == "edit" else layout
        with torch.inference_mode(), precision():
            semantics = semantics_of(*layout, CLASSES)
            return network(semantics) if style is None else network(semantics, style)

    return compute


def _gesso(case: Case, network: nn.Module, device: str, ways: list[str]) -> Compute:
    """Its fast engine, fed with codes; the plain network where there is no engine."""
    engine = _engine(network)
    network, precision = in_these_ways(engine or network, device, ways)

    def compute(layout: Layout, number: int) -> Tensor:
        style = _style(case, number, device)
        batch = {"label": layout.label, "instance": layout.instance}
        with torch.inference_mode(), precision():
            return network(_indexed(batch) if engine else SEMANTICS.encode(batch), style)

    compute.plain = engine is None  # type: ignore[attr-defined]  # for the report
    return compute


def _engine(network: nn.Module) -> Any:
    try:
        from gesso.synthesis.fast import fast
    except ImportError:
        return None
    return fast(network)


def _indexed(batch: dict[str, Tensor]) -> Any:
    from gesso.networks.indexed import indexed

    return indexed(SEMANTICS, batch)


def in_these_ways(network: Any, device: str, ways: list[str]) -> tuple[Any, Callable[[], Any]]:
    """The network, compiled if so wanted, and the context for its number format."""
    if "compile" in ways:
        network = torch.compile(network)
    kind = device.partition(":")[0]
    return network, (lambda: torch.autocast(kind, torch.bfloat16)) if "bf16" in ways else contextlib.nullcontext


# -------------------------------------------------------------------------------------------------------------- int8


def _int8(case: Case, layouts: Path | None, scratch: Path) -> Compute:
    """A Synthesizer with OpenVINO, calibrated on the layouts: from maps to uint8, here brought back to [-1, 1]."""
    import gesso

    if layouts is None:
        raise NotThereError("int8 is calibrated on layouts, and toy scenes have other classes: give --layouts")
    path = scratch / f"{case.name}.safetensors"
    if not path.with_suffix(".int8.xml").exists():
        write_model(case, path)
        command = [sys.executable, "-m", "gesso", "export", str(path), "--to", "openvino", "--int8"]
        subprocess.run([*command, "--data", str(layouts)], stdout=sys.stderr, check=True)  # its memory is not ours
    synthesise = gesso.load(path, device="cpu", runtime="openvino-int8")

    def compute(layout: Layout, number: int) -> Tensor:
        picture = synthesise(layout.label.numpy(), layout.instance.numpy())  # (1, H, W, 3) uint8
        return torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 127.5 - 1

    return compute


def write_model(case: Case, path: Path) -> None:
    """gesso's generator with the weights that every contender has, as a model file."""
    from gesso.checkpoints import save_model
    from gesso.data.spaces import published
    from gesso.model_info import ModelInfo, NetworkDescription

    network = _initialised(case)
    name = f"{case.paper}.{type(network).__name__}"
    info = ModelInfo(
        recipe=case.paper,
        networks={"generator": NetworkDescription(name=name, arguments=_arguments(case))},
        label_space=published("cityscapes"),
        semantics=SEMANTICS,
        preprocessing={"resize": "fixed", "height": case.size[0], "width": case.size[1]},
    )
    save_model(path, {"generator": network}, info)
