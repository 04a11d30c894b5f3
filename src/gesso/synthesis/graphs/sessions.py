"""Graphs that compute: ONNX Runtime and OpenVINO behind one call, with what they are fed made of layouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gesso.synthesis.graphs.build import require
from gesso.synthesis.inputs import Batch

Array = npt.NDArray[Any]
Feeds = dict[str, Array]
Session = Callable[[Mapping[str, Array]], list[Array]]  # from inputs by name to the outputs in their order


def feeds(inputs: Batch, style: Tensor | None, names: tuple[str, ...]) -> Feeds:
    """What a graph is fed.

    Args:
        inputs: "label" and perhaps "instance" (B, H, W), or "source" (B, N, H, W), of a size that the network takes.
        style: What the generator is handed besides the semantics.
        names: The graph's inputs.
    """
    made: Feeds = {}
    for name in names:
        if name == "label":
            made[name] = inputs["label"].cpu().numpy().astype(np.int32)
        elif name == "instance":
            made[name] = _short(inputs["instance"].cpu().numpy())
        elif name == "source":
            made[name] = inputs["source"].cpu().numpy()
        else:
            assert style is not None, f"the graph takes {name}"
            made[name] = style.cpu().numpy()
    return made


def _short(ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Object ids in 32 bits; those that do not fit are numbered anew, which changes no boundary."""
    if ids.max() > np.iinfo(np.int32).max:
        ids = np.unique(ids, return_inverse=True)[1].reshape(ids.shape)
    return ids.astype(np.int32)


def onnx_session(graph: bytes | Path) -> Session:
    """A session of ONNX Runtime on the CPU, with as many threads as torch has.

    Args:
        graph: An ONNX model, or its file.

    Raises:
        ConfigError: ONNX Runtime is not installed.
    """
    (runtime,) = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    given = graph if isinstance(graph, bytes) else str(graph)
    session = runtime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    return lambda fed: session.run(None, dict(fed))


def openvino_session(model: Any) -> Session:
    """A session of OpenVINO on the CPU, with as many threads as torch has.

    Args:
        model: As `openvino.Core.read_model` gives it.
    """
    (openvino,) = require("openvino")
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(model, "CPU", settings)

    def run(fed: Mapping[str, Array]) -> list[Array]:
        found = compiled(dict(fed))
        return [found[number] for number in range(len(compiled.outputs))]

    return run
