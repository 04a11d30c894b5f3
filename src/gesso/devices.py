"""Which device to compute on, how much memory is left there, and how much a computation will take.

A computation is rehearsed on torch's meta device, where tensors have shapes but no content: `Meter` counts the bytes that are
alive and the arithmetic that is done, while the real code runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from gesso.errors import ConfigError

GIB = 2**30
OBJECTS = 100  # what operations that count distinct values are taken to find: on meta there is nothing to count

# How much more the heap occupies than what lives in it: it keeps the holes that freed tensors leave. Larger pieces it takes from
# the system one by one, and gives them back (glibc: from 32 MiB on at the latest). Measured in 21 trainings; see benchmarks.
HOLES = 1.4
MAPPED = 32 * 2**20

# No published network needs so many bytes for a pixel to go forward: SPADE's needs 3060, most others a fifth of that.
AMPLE = 4096


def choose_device(device: str) -> str:
    """Resolve "auto" to cuda, mps or cpu, whichever is there first; "cuda:1" and the like stay as they are.

    Raises:
        ConfigError: The device is not on this machine.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, present in there.items() if present)
    kind, _, number = device.partition(":")
    numbers = [str(n) for n in range(torch.cuda.device_count())] if kind == "cuda" else []
    if not there.get(kind, False) or (":" in device and number not in numbers):
        present = ", ".join(name for name, here in there.items() if here)
        raise ConfigError(f"Device {device!r} is not available on this machine; choose auto, or one of: {present}.")
    return device


# --------------------------------------------------------------------------------------------------- memory that is left


def available_memory(device: str = "cpu", root: Path = Path("/")) -> int | None:
    """Bytes that a process can still take; None where that cannot be told.

    Args:
        device: "cpu", "cuda", "cuda:N" or "mps".
        root: Where the system's own files lie.

    Returns:
        On GPUs what is free there. On Linux what the system calls available, or less where a control group, such as that of a
        container, sets a limit. None elsewhere.
    """
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    if device != "cpu":
        return None
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    return min([free, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterable[int]:
    """What the control groups of this process leave it, from its own up to the outermost; versions 1 and 2."""
    names = (
        ("memory.max", "memory.current", "inactive_file"),
        (
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    )
    try:
        lines = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, kinds, path in lines:
        if kinds in ("", "memory"):
            top = root / "sys/fs/cgroup" / kinds
            own = top / path.strip("/")
            for folder in (own, *own.parents):
                yield from _left_in_group(folder, *names[bool(kinds)])
                if folder == top:
                    break


def _left_in_group(folder: Path, limit: str, used: str, reclaimable: str) -> Iterable[int]:
    try:
        most, now = (folder / limit).read_text().strip(), int((folder / used).read_text())
        statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return
    if most.isdigit():  # or "max"
        yield max(0, int(most) - now + int(statistics.get(reclaimable, 0)))


# ------------------------------------------------------------------------------------------- memory that will be needed


def forward_memory(network: nn.Module, shapes: Sequence[tuple[int, ...]]) -> int:
    """Bytes that a forward without gradients needs at its peak: inputs, output, and all between, but not the weights.

    Args:
        network: Any network, wherever its weights lie; it is not touched.
        shapes: Of its inputs.
    """
    weights = {k: t.to("meta") for k, t in (*network.named_parameters(), *network.named_buffers())}
    with torch.no_grad(), Meter(weights.values()) as meter:  # in inference mode operations show less of themselves
        functional_call(network, weights, tuple(torch.empty(shape, device="meta") for shape in shapes))
    return meter.peak


def refuse_large_forward(network: nn.Module, shapes: Sequence[tuple[int, ...]], device: str) -> None:
    """Refuse to compute what will not fit, instead of being killed by the system half-way.

    Args:
        network: Any network on that device.
        shapes: Of its inputs (B, C, H, W).
        device: "cpu", "cuda", "cuda:N" or "mps".

    Raises:
        ConfigError: It needs more memory than is left; the message names both.
    """
    free = available_memory(device)
    batch, _, height, width = shapes[0]
    if free is None or free > AMPLE * batch * height * width or (need := forward_memory(network, shapes)) <= free:
        return
    several = (
        f"{batch} layouts of {height}x{width} at once need" if batch > 1 else f"A layout of {height}x{width} needs"
    )
    other = "run on the CPU (--device cpu)" if device != "cpu" else "use a GPU with more memory (--device cuda)"
    fewer = "fewer at once, " if batch > 1 else ""
    raise ConfigError(
        f"{several} about {need / GIB:.1f} GiB beyond the model, but only {free / GIB:.1f} GiB are free on {device}: use "
        f"{fewer}a smaller layout, close other programs, or {other}."
    )


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are alive while it is entered, and the arithmetic of convolutions and products.

    Args:
        known: Tensors that do not count, such as weights.
        stands_for: Tells how many times the arithmetic of an operation counts, because it stands for others like it.

    Attributes:
        live: Bytes that are alive now, with the holes between them.
        peak: The most that were ever alive, together with the copies that a convolution makes of what goes in and out of it
            (oneDNN computes in an order of its own).
        flops: Floating-point operations so far.
    """

    def __init__(self, known: Iterable[Tensor] = (), stands_for: Callable[[], float] = lambda: 1.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stands_for = stands_for
        self.live = self.peak = self.flops = 0
        self._sizes = {t.untyped_storage()._cdata: 0 for t in known}  # by storage, because views share one

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = UNKNOWABLE.get(func, func)(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        for tensor in made:
            self._see(tensor.untyped_storage())
        copied = [t for t in (*args, *made) if isinstance(t, Tensor)] if func in CONVOLUTIONS else []
        self.peak = max(self.peak, self.live + sum(_with_holes(t.nbytes) for t in copied))
        if formula := flop_registry.get(func._overloadpacket):
            self.flops += round(formula(*args, **kwargs, out_val=result) * self._stands_for())
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata not in self._sizes:
            self._sizes[storage._cdata] = _with_holes(storage.nbytes())
            self.live += self._sizes[storage._cdata]
            finalize(storage, self._forget, storage._cdata)

    def _forget(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def _with_holes(size: int) -> int:
    return size if size >= MAPPED else round(HOLES * size)


CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)


def _unique(values: Tensor, *_: bool, **__: bool) -> tuple[Tensor, Tensor, Tensor]:
    return values.new_empty(OBJECTS), values.new_empty(values.shape, dtype=torch.int64), values.new_empty(OBJECTS)


def _bincount(values: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    return values.new_empty(max(minlength, OBJECTS))


def _item(value: Tensor) -> int:
    return OBJECTS


# Operations whose result depends on content, as pooling over instances has them; torch refuses them on meta.
UNKNOWABLE: Mapping[Any, Callable[..., Any]] = {
    torch.ops.aten.unique_consecutive.default: _unique,
    torch.ops.aten._unique2.default: _unique,
    torch.ops.aten.bincount.default: _bincount,
    torch.ops.aten._local_scalar_dense.default: _item,
}
