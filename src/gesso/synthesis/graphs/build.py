"""A loaded model as an ONNX graph, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from gesso.checkpoints import Model
from gesso.errors import ConfigError
from gesso.model_info import ModelInfo
from gesso.synthesis.graphs.described import KEY, ExportedInfo
from gesso.synthesis.graphs.onnx_graph import VALUES, write_graph
from gesso.synthesis.graphs.recording import record

EXAMPLE = (17, 19)  # rows and columns of the coarsest grid; no trained grid of z has this size, so none goes unresized


def build(model: Model, info: ExportedInfo) -> Any:
    """The graph of a model's generator, with the outputs "photograph" and "values".

    Args:
        model: Its generator may be on any device.
        info: What the graph says of itself.

    Raises:
        ConfigError: onnx is not installed, or the graph would depend on the size of its first layout.
    """
    require("onnx")
    generator, semantics = model.networks["generator"], model.info.semantics
    _refuse_unknown_grid(model)
    height, width = (side * info.multiple for side in EXAMPLE)
    recording = record(generator, input_shapes(model.info, (height, width)))
    style = tuple(name for name in info.inputs if name not in ("label", "instance", "source"))
    return with_description(write_graph(semantics, recording, style), info)


def with_description(graph: Any, info: ExportedInfo) -> Any:
    """The ONNX model, changed in place: it says what it is."""
    from onnx import helper

    helper.set_model_props(graph, {KEY: info.model_dump_json(by_alias=True)})
    graph.producer_name, graph.producer_version = "gesso", info.made_with["gesso"]
    return graph


def without_values(graph: Any) -> Any:
    """The ONNX model, changed in place, with the photograph as its only output."""
    kept = [output for output in graph.graph.output if output.name != VALUES]
    del graph.graph.output[:]
    graph.graph.output.extend(kept)
    return graph


def _refuse_unknown_grid(model: Model) -> None:
    """Of a z whose grid the file does not say, the first layout decides; a graph has one grid for all."""
    arguments = model.info.networks["generator"].arguments
    if arguments.get("latent") and not arguments.get("latent_grid"):
        raise ConfigError(
            "This model file does not say which rows and columns its z was spread over in training, so a graph of it would "
            "be right for one aspect ratio alone: import it again with gesso import --size HEIGHTxWIDTH."
        )


def refuse_size(generator: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
    """Let a network look at the shapes of its inputs, on tensors without content, and refuse what it refuses.

    Raises:
        LabelError: Height or width are not what it takes.
        StyleError: The style is not.
    """
    weights = {name: tensor.to("meta") for name, tensor in generator.state_dict().items()}
    with torch.no_grad():
        functional_call(generator, weights, tuple(torch.empty(shape, device="meta") for shape in shapes))


def input_shapes(info: ModelInfo, size: tuple[int, int]) -> tuple[tuple[int, ...], ...]:
    """Shapes of semantics and, where there is one, style of one layout of that height and width."""
    semantics, style = (1, info.semantics.channels, *size), info.style
    if not (style and style.channels):
        return (semantics,)
    return semantics, (1, style.channels) if style.kind == "z" else (1, style.channels, *size)


def require(*names: str) -> tuple[ModuleType, ...]:
    """Modules of the export extra.

    Raises:
        ConfigError: One is not installed.
    """
    from importlib import import_module

    try:
        return tuple(import_module(name) for name in names)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"This needs {error.name}, which is not installed: pip install 'gesso[export]'. The runtimes torch, plain and "
            "compile do without it."
        ) from None
