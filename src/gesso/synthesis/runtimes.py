"""What computes a photograph: PyTorch in several ways, ONNX Runtime, or OpenVINO.

| runtime       | what computes                                                                              |
| ------------- | ------------------------------------------------------------------------------------------ |
| torch         | the engine of `gesso.synthesis.fast` where there is one for the network, else as plain      |
| plain         | the network as `gesso.networks` has it                                                     |
| compile       | the same through torch.compile, which compiles for some seconds to minutes at each new size |
| onnx          | ONNX Runtime, on the CPU, from a graph that is made of the model when it is loaded         |
| openvino      | OpenVINO, on the CPU, from the same graph                                                  |
| openvino-int8 | OpenVINO with convolutions in int8, from the file that gesso export --int8 wrote           |

All are handed the same layouts, styles and seeds, and refuse the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from gesso.checkpoints import Model
from gesso.devices import choose_device
from gesso.errors import ConfigError, ModelFileError, StyleError
from gesso.networks.indexed import Indexed, indexed
from gesso.pictures import Picture, to_uint8
from gesso.synthesis.fast import fast
from gesso.synthesis.fast.tiles import Tiles
from gesso.synthesis.graphs.build import build, refuse_size, without_values
from gesso.synthesis.graphs.described import ExportedInfo, describe, draws_dropout
from gesso.synthesis.graphs.openvino_files import digest, of_onnx, read
from gesso.synthesis.graphs.sessions import Session, feeds, onnx_session, openvino_session
from gesso.synthesis.inputs import Batch
from gesso.synthesis.kinds import Worn

DEFAULT = "torch"


class Runtime(Protocol):
    """Computes photographs of layouts whose size the network takes.

    Attributes:
        name: One of `RUNTIMES`.
        record: What records of photographs say of it, so that they can be made again; empty for the default.
    """

    name: str
    record: dict[str, str]

    def __call__(self, inputs: Batch, worn: Worn) -> Picture:
        """Photographs (B, H, W, 3) uint8.

        Args:
            inputs: "label" and perhaps "instance" (B, H, W), or "source" (B, N, H, W), on the model's device.
            worn: What they wear.

        Raises:
            LabelError: The network refuses the size.
            StyleError: The runtime cannot compute what they wear.
        """
        ...


@dataclass
class Torch:
    """PyTorch: the generator, or what computes the same."""

    name: str
    record: dict[str, str]
    model: Model
    compute: Callable[..., Tensor]

    def __call__(self, inputs: Batch, worn: Worn) -> Picture:
        """Photographs (B, H, W, 3) uint8."""
        semantics = self.model.info.semantics.encode(inputs)  # (B, C, H, W)
        besides = [] if worn.tensor is None else [worn.tensor.to(semantics.device)]
        return to_uint8(self.compute(semantics, *besides))


@dataclass
class Fast:
    """PyTorch on the CPU: an engine of `gesso.synthesis.fast`, which sees layouts as codes instead of planes."""

    model: Model
    engine: Callable[..., Tensor]
    name: str = "torch"
    record: dict[str, str] = field(default_factory=dict)

    def __call__(self, inputs: Batch, worn: Worn) -> Picture:
        """Photographs (B, H, W, 3) uint8."""
        photographs = self.engine(codes_or_picture(self.model, inputs), worn.tensor)
        generator = self.model.networks["generator"]
        for watch in generator._forward_hooks.values():  # such as an evaluation's for values that are no numbers
            watch(generator, (), photographs)
        return to_uint8(photographs)


def codes_or_picture(model: Model, inputs: Batch) -> Indexed | Tensor:
    """What an engine sees of layouts."""
    semantics = model.info.semantics
    codes = indexed(semantics, inputs)  # None of pictures
    return semantics.encode(inputs) if codes is None else codes


class Tiled:
    """PyTorch on the CPU, some rows of the photograph at a time; see `gesso.synthesis.fast.tiles`.

    Args:
        model: On the CPU.
        rows: Of a photograph that are computed at once.
    """

    name = DEFAULT

    def __init__(self, model: Model, rows: int) -> None:
        self.record: dict[str, str] = {}
        self._model, self._tiles = model, Tiles(model.networks["generator"], rows)

    def __call__(self, inputs: Batch, worn: Worn) -> Picture:
        """Photographs (1, H, W, 3) uint8."""
        return self._tiles.photograph(codes_or_picture(self._model, inputs), worn.tensor)[None]


class Exported:
    """A graph outside PyTorch."""

    def __init__(self, name: str, model: Model, info: ExportedInfo, session: Session, record: dict[str, str]) -> None:
        self.name, self.record = name, record
        self._model, self._session, self._names = model, session, tuple(info.inputs)
        self._dropout = draws_dropout(model)
        self._accepted: set[tuple[tuple[int, ...], ...]] = set()

    def __call__(self, inputs: Batch, worn: Worn) -> Picture:
        """Photographs (B, H, W, 3) uint8."""
        if self._dropout and worn.noise:
            raise StyleError(
                f"The runtime {self.name} has no dropout, which is this model's noise: turn it off (--no-noise, "
                "Style(noise=False)), or use the runtime torch, plain or compile."
            )
        self._refuse_as_the_network_does(inputs, worn.tensor)
        return self._session(feeds(inputs, worn.tensor, self._names))[0]

    def _refuse_as_the_network_does(self, inputs: Batch, style: Tensor | None) -> None:
        """Let the network itself look at each new size, on tensors without content: a graph would round it somehow."""
        first = next(iter(inputs.values()))
        batch, (height, width) = len(first), first.shape[-2:]
        shapes = (
            (batch, self._model.info.semantics.channels, height, width),
            *([] if style is None else [tuple(style.shape)]),
        )
        if shapes not in self._accepted:
            refuse_size(self._model.networks["generator"], shapes)
            self._accepted.add(shapes)


# -------------------------------------------------------------------------------------------------------------- opening


def _plain(model: Model, statistics: str | None, path: Path | None) -> Runtime:
    return Torch("plain", {"runtime": "plain"}, model, model.networks["generator"])


def _torch(model: Model, statistics: str | None, path: Path | None) -> Runtime:
    generator = model.networks["generator"]
    engine = fast(generator)
    return Fast(model, engine) if engine else Torch("torch", {}, model, generator)


def _compile(model: Model, statistics: str | None, path: Path | None) -> Runtime:
    generator = model.networks["generator"]
    # Dropout draws the numbers that it draws without compiling.
    compiled: Callable[..., Tensor] = torch.compile(generator, options={"fallback_random": True})

    def compute(*inputs: Tensor) -> Tensor:
        try:
            return compiled(*inputs)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            reason = str(error.inner_exception).strip().partition("\n")[0]
            raise ConfigError(
                f"The runtime compile could not compile this model ({reason}). It needs a C++ compiler (gcc, clang or Visual "
                "C++), and on GPUs Triton; the runtimes torch and plain do without."
            ) from None

    return Torch("compile", {"runtime": "compile"}, model, compute)


def _onnx(model: Model, statistics: str | None, path: Path | None) -> Runtime:
    info = describe(model, statistics)
    graph = without_values(build(model, info)).SerializeToString()
    return Exported("onnx", model, info, onnx_session(graph), {"runtime": "onnx"})


def _openvino(model: Model, statistics: str | None, path: Path | None) -> Runtime:
    info = describe(model, statistics)
    session = openvino_session(of_onnx(without_values(build(model, info))))
    return Exported("openvino", model, info, session, {"runtime": "openvino"})


def _int8(model: Model, statistics: str | None, path: Path | None) -> Runtime:
    file = int8_file(path) if path else None
    again = f"gesso export {path or 'MODEL'} --to openvino --int8 --data DATASET"
    if file is None or not file.is_file():
        where = f"there is no {file}" if file else "this model was not read from a file"
        raise ConfigError(
            f"The runtime openvino-int8 reads a file that lies beside the model, and {where}. Its ranges are measured on "
            f"layouts of your own: write it with {again}."
        )
    graph, info = read(file)
    if (info.model_hash, info.statistics, info.precision) != (model.hash, statistics, "int8"):
        raise ModelFileError(
            f"{file} was exported from another model, from other batch statistics or not as int8 (of model "
            f"{info.model_hash[:12]}; this is {model.hash[:12]}). Write it again with {again}."
        )
    # Which photograph it gives depends on the layouts of the calibration, so records name the file.
    record = {"runtime": "openvino-int8", "runtime_file": digest(file)}
    return Exported("openvino-int8", model, info, openvino_session(graph), record)


def int8_file(model: Path) -> Path:
    """Where the int8 export of a model file lies: beside it."""
    return model.with_name(f"{model.stem}.int8.xml")


RUNTIMES: dict[str, Callable[[Model, str | None, Path | None], Runtime]] = {
    "torch": _torch,
    "plain": _plain,
    "compile": _compile,
    "onnx": _onnx,
    "openvino": _openvino,
    "openvino-int8": _int8,
}
ON_CPU = ("onnx", "openvino", "openvino-int8")


def runtime_device(name: str, device: str) -> str:
    """Where a runtime computes: as `choose_device` says, for those outside PyTorch on the CPU.

    Raises:
        ConfigError: There is no such runtime or device, or the runtime does not compute there.
    """
    if name not in RUNTIMES:
        raise ConfigError(f"There is no runtime {name!r}; choose one of {', '.join(RUNTIMES)}.")
    if name not in ON_CPU:
        return choose_device(device)
    if device not in ("auto", "cpu"):
        raise ConfigError(
            f"The runtime {name} computes on the CPU: leave out --device {device}, or use --runtime torch."
        )
    return "cpu"


def tiled_device(name: str, device: str, rows: int) -> str:
    """Where photographs are computed in tiles: on the CPU.

    Raises:
        ConfigError: The runtime or the device has no tiles, or the number of rows is below 1.
    """
    if name != DEFAULT:
        raise ConfigError(
            f"The runtime {name} computes whole photographs: tiles are for the runtime {DEFAULT}. Leave out one of both."
        )
    if device not in ("auto", "cpu"):
        raise ConfigError(f"Tiles are computed on the CPU: leave out --device {device}, or --tiles.")
    if rows < 1:
        raise ConfigError(f"--tiles {rows}: give the rows of a photograph that are computed at once, such as 256.")
    return "cpu"


def open_runtime(
    name: str, model: Model, statistics: str | None = None, path: Path | None = None, tiles: int | None = None
) -> Runtime:
    """What computes the photographs of a model.

    Args:
        name: One of `RUNTIMES`.
        model: On the device that `runtime_device` gives.
        statistics: What batch norm takes, where that is not what the model file says.
        path: The model file; the int8 export lies beside it.
        tiles: Rows of a photograph that are computed at once, where it does not fit into memory; None for all.

    Raises:
        ConfigError: There is no such runtime, something that it needs is not installed, there is no int8 export, or no way to
            compute this network in tiles.
        ModelFileError: The int8 export is damaged, or of another model.
    """
    if tiles is not None:
        tiled_device(name, "cpu", tiles)
        return Tiled(model, tiles)
    return RUNTIMES[name](model, statistics, path)
