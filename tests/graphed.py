"""Tiny models of every paper, with every kind of input and style, for what leaves PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gesso.checkpoints import NETWORKS, save_model
from gesso.labels import Semantics
from gesso.model_info import ModelInfo, NetworkDescription
from styled import SPACE, clusters, write_styled_model
from support import picture_model
from whole_styled import write_pix2pix_model, write_spade_model

CLASSES = len(SPACE)
TRAINED_AT = {"resize": "fixed", "height": 32, "width": 64}


def require_extra() -> None:
    """Skip without the export extra, which development installs."""
    for name in ("onnx", "onnxruntime", "openvino", "nncf"):
        pytest.importorskip(name, reason="the export extra is not installed: pip install 'gesso[export]'")


def write(path: Path, network: str, semantics: Semantics, arguments: Mapping[str, Any], deviation: float = 0.1) -> Path:
    """A model file of random weights without style."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        generator = NETWORKS[network](in_channels=semantics.channels, **arguments)
        for module in generator.modules():
            if isinstance(module, nn.BatchNorm2d):  # statistics as after a training
                nn.init.uniform_(module.running_mean, -0.5, 0.5)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        for parameter in generator.parameters():
            nn.init.normal_(parameter, 0.0, deviation)
        for module in generator.modules():
            if hasattr(module, "settle"):
                module.settle()
    info = ModelInfo(
        recipe=network.partition(".")[0],
        networks={
            "generator": NetworkDescription(name=network, arguments={"in_channels": semantics.channels, **arguments})
        },
        label_space=SPACE,
        semantics=semantics,
        preprocessing=TRAINED_AT,
    )
    save_model(path, {"generator": generator}, info)
    return path


def _styled(path: Path) -> Path:
    return write_styled_model(path, styles=clusters())


def _coarse_to_fine(path: Path) -> Path:
    semantics = Semantics(classes=CLASSES, boundary=True)
    arguments = {"width": 4, "downs": 2, "blocks": 1, "enhancer_blocks": 1, "doubling": "resize"}
    return write(path, "pix2pixhd.CoarseToFineGenerator", semantics, arguments)


def _spade(path: Path) -> Path:
    """From the layout, with spectral norm that divides by numbers far from 1."""
    semantics = Semantics(classes=CLASSES, dont_care=True, boundary=True)
    return write(path, "spade.SpadeGenerator", semantics, {"width": 4, "hidden": 4}, deviation=0.3)


def _concatenation(path: Path) -> Path:
    semantics = Semantics(classes=CLASSES, dont_care=True)
    arguments = {"width": 4, "conditioning": "concat", "norm": "sync_batch", "upsampling": "more"}
    return write(path, "spade.SpadeGenerator", semantics, arguments)


def _colours(path: Path) -> Path:
    colours = tuple(tuple(row) for row in SPACE.colours.tolist())
    semantics = Semantics(classes=CLASSES, colours=colours)
    arguments = {"width": 4, "downs": 3, "dropout": 0.0, "doubling": "resize"}
    return write(path, "pix2pix.UNetGenerator", semantics, arguments)


def _pictures(path: Path) -> Path:
    return picture_model(3, path.parent, TRAINED_AT)


MODELS: dict[str, Callable[[Path], Path]] = {
    "pix2pixhd": _styled,
    "pix2pixhd-local": _coarse_to_fine,
    "spade": _spade,
    "spade-z": write_spade_model,
    "spade-concat": _concatenation,
    "pix2pix": write_pix2pix_model,
    "pix2pix-map": lambda path: write_pix2pix_model(path, noise_channels=2),
    "colours": _colours,
    "pictures": _pictures,
}
