"""Graphs that compute: ONNX Runtime and OpenVINO behind one call, with what they are fed made of layouts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
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


def openvino_core() -> Any:
    """The one `openvino.Core` of this process.

    Raises:
        ConfigError: OpenVINO is not installed.
    """
    (openvino,) = require("openvino")
    return _core(openvino)


@cache
def _core(openvino: ModuleType) -> Any:
    """A core whose plugin for CPUs is loaded, and stays.

    The plugin gives the thread that loads it a stack for signals, and when it goes it puts back the one that was there before.
    Of two plugins the one that goes last puts back the stack of the other, which is no longer there, and the next signal that
    Python handles (Ctrl-C, the end of a loader's worker) ends the process.
    """
    core = openvino.Core()
    core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core


def openvino_session(model: Any) -> Session:
    """A session of OpenVINO on the CPU, with as many threads as torch has.

    Args:
        model: As `openvino.Core.read_model` gives it.
    """
    settings = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino_core().compile_model(model, "CPU", settings)

    alone = threading.Lock()  # a compiled model has one request, which threads would overwrite for each other

    def run(fed: Mapping[str, Array]) -> list[Array]:
        with alone:
            found = compiled(dict(fed))
            return [found[number].copy() for number in range(len(compiled.outputs))]

    return run
