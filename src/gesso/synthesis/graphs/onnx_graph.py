"""A generator's recorded calls as an ONNX graph: layouts in, photographs out, of any size and number.

layout -> semantics         one-hot planes, or colours, and boundaries
semantics -> photograph     the generator, call by call
photograph -> uint8         clipped, rounded, channels last
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from gesso.labels import Semantics
from gesso.synthesis.graphs.recording import Call, Recording

OPSET, IR_VERSION = 20, 9  # of 2023, which runtimes of any age read
PHOTOGRAPH, VALUES = "photograph", "values"
Array = npt.NDArray[Any]


class Writer:
    """An ONNX graph that grows node by node.

    Attributes:
        rows: What gives the layout's height, (1,) int64; as wide as `columns` says.
        columns: Its width.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """A node with one output; gives the output's name."""
        from onnx import helper

        name = name or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: npt.ArrayLike, dtype: Any = np.float32, name: str = "") -> str:
        """A constant, once for equal ones without a name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(np.asarray(values, dtype=dtype))
        name = name or f"{array.dtype}{list(array.shape)}{array.tobytes().hex() if array.nbytes <= 64 else id(values)}"
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(array, name)
        return name

    def whole(self, *numbers: int) -> str:
        """A constant (N,) int64, as shapes and axes are given."""
        return self.constant(numbers, np.int64)


# ------------------------------------------------------------------------------------------------ layout -> semantics


def write_encoding(writer: Writer, semantics: Semantics) -> str:
    """Semantics (B, C, H, W) from "label" and, with boundaries, "instance" (B, H, W) int32."""
    label = writer.add("Unsqueeze", "label", writer.whole(1))  # (B, 1, H, W)
    if semantics.colours:
        table = (np.array(semantics.colours, dtype=np.float32) / 255 - 0.5) / 0.5
        colours = writer.add("Gather", writer.constant(table), "label", axis=0)  # (B, H, W, 3)
        planes = writer.add("Transpose", colours, perm=[0, 3, 1, 2])
    else:
        classes = np.arange(semantics.classes + semantics.dont_care)[:, None, None]
        equal = writer.add("Equal", label, writer.constant(classes, np.int32))
        planes = writer.add("Cast", equal, to=1)  # float32
    if not semantics.boundary:
        return planes
    instance = writer.add("Unsqueeze", "instance", writer.whole(1))
    changes = [change for ids in (label, instance) for change in _changes(writer, ids)]
    boundary = changes[0]
    for change in changes[1:]:
        boundary = writer.add("Or", boundary, change)
    return writer.add("Concat", planes, writer.add("Cast", boundary, to=1), axis=1)


def _changes(writer: Writer, ids: str) -> list[str]:
    """Where each of the 4 neighbours differs, (B, 1, H, W) bool; beyond the border each pixel has itself as neighbour."""
    wider = writer.add("Pad", ids, writer.whole(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
    found = []
    for top, left in ((0, 1), (2, 1), (1, 0), (1, 2)):
        # Counted from the end, because the size is not known: -2 leaves two rows, -1 one, and 2^31 none.
        ends = [(-2, -1, 2**31 - 1)[offset] for offset in (top, left)]
        neighbour = writer.add("Slice", wider, writer.whole(top, left), writer.whole(*ends), writer.whole(2, 3))
        found.append(writer.add("Not", writer.add("Equal", ids, neighbour)))
    return found


# ---------------------------------------------------------------------------------------------- photograph -> uint8


def write_rounding(writer: Writer, values: str) -> None:
    """The outputs: "values" (B, 3, H, W) in [-1, 1], and "photograph" (B, H, W, 3) uint8 by clipping and rounding."""
    values = writer.add("Identity", values, name=VALUES)
    scaled = writer.add("Mul", writer.add("Add", values, writer.constant(1.0)), writer.constant(127.5))
    clipped = writer.add("Clip", scaled, writer.constant(0.0), writer.constant(255.0))
    rounded = writer.add("Round", clipped)  # of two equally near ones the even one, as torch does
    writer.add("Transpose", writer.add("Cast", rounded, to=2), perm=[0, 2, 3, 1], name=PHOTOGRAPH)


# ------------------------------------------------------------------------------------------ semantics -> photograph


def write_generator(writer: Writer, recording: Recording, inputs: Sequence[str]) -> str:
    """The calls of a generator.

    Args:
        writer: The graph.
        recording: The calls.
        inputs: Names of semantics and, where there is one, style.
    """
    names = dict(zip(map(id, recording.inputs), inputs, strict=True))
    held = {id(tensor): name for name, tensor in recording.weights.items()}
    translation = _Translation(writer, recording, names, held, inputs[0])
    for call in recording.calls:
        names[id(call.result)] = translation.write(call)
    return names[id(recording.result)]


class _Translation:
    """From calls of torch to nodes; each method is told the arguments as torch's function has them."""

    def __init__(
        self, writer: Writer, recording: Recording, names: dict[int, str], weights: dict[int, str], semantics: str
    ) -> None:
        self._writer, self._recording, self._names, self._weights = writer, recording, names, weights
        self._semantics, self._size = semantics, recording.inputs[0].shape[2:]

    def write(self, call: Call) -> str:
        """The nodes of one call."""
        assert call.function in FUNCTIONS, f"{call.function} has no translation to ONNX"
        return FUNCTIONS[call.function](self, *call.arguments, **call.named)

    def of(self, value: Tensor | float) -> str:
        """The name of a tensor or number."""
        if not isinstance(value, Tensor):
            return self._writer.constant(float(value))
        if id(value) in self._names:
            return self._names[id(value)]
        name = self._weights[id(value)]
        return self._writer.constant(self._recording.values[name].numpy(), name=name)

    def conv(self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, *rest: Any) -> str:
        given = [self.of(t) for t in (x, weight, bias) if t is not None]
        (top, left), dilation_groups = padding, rest
        assert dilation_groups in ((), ((1, 1), 1)), dilation_groups
        return self._writer.add("Conv", *given, strides=list(stride), pads=[top, left, top, left])

    def transposed(
        self, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, beyond: Any, *rest: Any
    ) -> str:
        given = [self.of(t) for t in (x, weight, bias) if t is not None]
        assert rest in ((), (1, (1, 1))), rest
        pads = [*padding, *padding]
        return self._writer.add("ConvTranspose", *given, strides=list(stride), pads=pads, output_padding=list(beyond))

    def instance_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> str:
        assert use_input_stats
        channels = x.shape[1]
        scale = self._writer.constant(np.ones(channels), name=f"ones_{channels}") if weight is None else self.of(weight)
        shift = self._writer.constant(np.zeros(channels), name=f"zeros_{channels}") if bias is None else self.of(bias)
        return self._writer.add("InstanceNormalization", self.of(x), scale, shift, epsilon=eps)

    def batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> str:
        assert not training
        channels = x.shape[1]
        scale = self._writer.constant(np.ones(channels), name=f"ones_{channels}") if weight is None else self.of(weight)
        shift = self._writer.constant(np.zeros(channels), name=f"zeros_{channels}") if bias is None else self.of(bias)
        given = (self.of(x), scale, shift, self.of(running_mean), self.of(running_var))
        return self._writer.add("BatchNormalization", *given, epsilon=eps)

    def relu(self, x: Tensor, inplace: bool = False) -> str:
        return self._writer.add("Relu", self.of(x))

    def leaky(self, x: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> str:
        return self._writer.add("LeakyRelu", self.of(x), alpha=negative_slope)

    def tanh(self, x: Tensor) -> str:
        return self._writer.add("Tanh", self.of(x))

    def same(self, x: Tensor, *_: Any, training: bool = False, **__: Any) -> str:
        assert not training
        return self.of(x)

    def pad(self, x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> str:
        left, right, top, bottom = pad
        assert mode == "reflect"
        return self._writer.add("Pad", self.of(x), self._writer.whole(0, 0, top, left, 0, 0, bottom, right), mode=mode)

    def pool(self, x: Tensor, kernel: int, stride: int, padding: int, count_include_pad: bool = True) -> str:
        sides, steps, pads = [kernel] * 2, [stride] * 2, [padding] * 4
        return self._writer.add(
            "AveragePool",
            self.of(x),
            kernel_shape=sides,
            strides=steps,
            pads=pads,
            count_include_pad=int(count_include_pad),
        )

    def resize(
        self,
        x: Tensor,
        size: Sequence[int] | None = None,
        scale_factor: float | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        **_: Any,
    ) -> str:
        if mode == "nearest":
            factors = (
                [scale_factor] * 2
                if scale_factor
                else [new / old for new, old in zip(size or (), x.shape[2:], strict=True)]
            )
            scales = self._writer.constant([1.0, 1.0, *map(float, factors)])
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            return self._writer.add("Resize", self.of(x), "", scales, **how)
        assert mode == "bilinear" and not align_corners and size is not None
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self._writer.add("Resize", self.of(x), "", "", self._shape(x, size), **how)

    def _shape(self, x: Tensor, size: Sequence[int]) -> str:
        """The shape of x at a size that is as large a part of the layout's as it is in the example."""
        steps = [whole // part for whole, part in zip(self._size, size, strict=True)]
        layout = self._writer.add("Shape", self._semantics, start=2, end=4)
        sides = self._writer.add("Div", layout, self._writer.whole(*steps))
        return self._writer.add("Concat", self._writer.add("Shape", self.of(x), start=0, end=2), sides, axis=0)

    def cat(self, tensors: Sequence[Tensor], dim: int = 0) -> str:
        return self._writer.add("Concat", *map(self.of, tensors), axis=dim)

    def add(self, x: Tensor, y: Tensor | float) -> str:
        return self._writer.add("Add", self.of(x), self.of(y))

    def multiply(self, x: Tensor, y: Tensor | float) -> str:
        return self._writer.add("Mul", self.of(x), self.of(y))

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> str:
        given = [self.of(t) for t in (x, weight, bias) if t is not None]
        return self._writer.add("Gemm", *given, transB=1)

    def view(self, x: Tensor, *shape: int) -> str:
        _, *others = shape
        return self._writer.add("Reshape", self.of(x), self._writer.whole(0, *others))  # 0: as many as there are


FUNCTIONS: Mapping[Any, Callable[..., str]] = {
    torch.conv2d: _Translation.conv,
    torch.conv_transpose2d: _Translation.transposed,
    F.instance_norm: _Translation.instance_norm,
    F.batch_norm: _Translation.batch_norm,
    F.relu: _Translation.relu,
    F.leaky_relu: _Translation.leaky,
    F.tanh: _Translation.tanh,
    torch.tanh: _Translation.tanh,
    F.dropout: _Translation.same,
    F.pad: _Translation.pad,
    F.avg_pool2d: _Translation.pool,
    F.interpolate: _Translation.resize,
    torch.cat: _Translation.cat,
    Tensor.add: _Translation.add,
    Tensor.mul: _Translation.multiply,
    F.linear: _Translation.linear,
    Tensor.view: _Translation.view,
}


# --------------------------------------------------------------------------------------------------------- all of it


def write_graph(semantics: Semantics, recording: Recording, style: tuple[str, ...] = ()) -> Any:
    """An ONNX model with the outputs "photograph" and "values".

    Args:
        semantics: What the layout is encoded as.
        recording: The generator.
        style: Name of the style input, where there is one.
    """
    from onnx import helper

    writer, inputs = Writer(), []
    if semantics.source_channels:
        encoded = "source"
        inputs.append(_input("source", np.float32, ("batch", semantics.source_channels, "height", "width")))
    else:
        maps = ("label", "instance") if semantics.boundary else ("label",)
        inputs += [_input(name, np.int32, ("batch", "height", "width")) for name in maps]
        encoded = write_encoding(writer, semantics)
    for name, example in zip(style, recording.inputs[1:], strict=True):
        inputs.append(_input(name, np.float32, ("batch", example.shape[1], "height", "width")[: example.ndim]))
    write_rounding(writer, write_generator(writer, recording, (encoded, *style)))
    outputs = [
        _input(PHOTOGRAPH, np.uint8, ("batch", "height", "width", 3)),
        _input(VALUES, np.float32, ("batch", 3, "height", "width")),
    ]
    graph = helper.make_graph(writer.nodes, "gesso", inputs, outputs, [*writer.constants.values()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _input(name: str, dtype: Any, shape: Sequence[int | str]) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
