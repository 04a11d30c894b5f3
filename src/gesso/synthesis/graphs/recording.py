"""What a generator computes, as a list of calls: it runs once on tensors without content, and every call is written down.

Sizes in the list are those of the example; whoever translates it states them relative to the layout's. That is sound for
networks whose course does not depend on the size, which those of the papers are once the size is accepted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode

from gesso.networks.spectral import SpectralConv2d


@dataclass(frozen=True)
class Call:
    """One call of a function of torch that gave a tensor.

    Attributes:
        function: The outermost function that was called, such as `F.instance_norm`.
        arguments: Positional arguments; tensors are on the meta device.
        named: Keyword arguments.
        result: The tensor that came out.
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    result: Tensor


@dataclass(frozen=True)
class Recording:
    """A generator's forward pass.

    Attributes:
        calls: In their order.
        inputs: Semantics and, where there is one, style: the example that went in.
        weights: The meta tensor that stood for each weight, by its name.
        values: The weights themselves, by the same names, on the CPU.
        result: The photograph.
    """

    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    weights: dict[str, Tensor]
    values: dict[str, Tensor]
    result: Tensor


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)  # without this mode: what it calls itself is its own affair
        if isinstance(result, Tensor):
            self.calls.append(Call(func, args, kwargs, result))
        return result


def record(generator: nn.Module, shapes: tuple[tuple[int, ...], ...]) -> Recording:
    """Write down what a generator computes from inputs of these shapes.

    Args:
        generator: In evaluation mode; it is not touched.
        shapes: Of semantics and, where there is one, style.
    """
    plain = without_spectral_norm(generator).eval()
    plain.noise = False  # type: ignore[assignment]  # pix2pix's dropout, which is no part of a graph
    values = {name: tensor.detach().cpu() for name, tensor in plain.state_dict().items()}
    weights = {name: tensor.to("meta") for name, tensor in values.items()}
    inputs = tuple(torch.empty(shape, device="meta") for shape in shapes)
    # With gradients, because networks without them work in strips and in place.
    with torch.enable_grad(), _Recorder() as recorder:
        result = functional_call(plain, weights, inputs)
    return Recording(tuple(recorder.calls), inputs, weights, values, result)


def without_spectral_norm(generator: nn.Module) -> nn.Module:
    """A copy that shares the generator's tensors, with plain convolutions whose weights are already divided."""
    tensors = [*generator.parameters(), *generator.buffers()]
    shared = copy.deepcopy(generator, {id(tensor): tensor for tensor in tensors})
    for name, module in list(shared.named_modules()):
        if isinstance(module, SpectralConv2d):
            parent, _, own = name.rpartition(".")
            setattr(shared.get_submodule(parent), own, _folded(module))
    return shared


@torch.no_grad()
def _folded(spectral: SpectralConv2d) -> nn.Conv2d:
    with torch.device("meta"):
        plain = nn.Conv2d(
            spectral.in_channels,
            spectral.out_channels,
            spectral.kernel_size,  # type: ignore[arg-type]
            spectral.stride,  # type: ignore[arg-type]
            spectral.padding,  # type: ignore[arg-type]
            bias=spectral.bias is not None,
        )
    plain.weight, plain.bias = nn.Parameter(spectral.normalised()), spectral.bias
    return plain
