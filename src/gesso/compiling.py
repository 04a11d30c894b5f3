"""Training with torch.compile: whether it works here, and networks that it compiles."""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn


@functools.cache
def refusal(device: str) -> str:
    """Why nothing can be compiled for a device, in a line; empty where something small could be.

    Args:
        device: "cpu", "cuda", "mps".
    """
    try:
        torch.compile(torch.sin)(torch.ones(8, device=device))
    except RuntimeError as error:  # what Dynamo and Inductor raise; also for versions of Python that they do not know
        cause = getattr(error, "inner_exception", error)
        return str(cause).strip().partition("\n")[0] or type(cause).__name__
    return ""


def compile_in_place(network: nn.Module) -> None:
    """Compile a network when it is first called, at each size until there were two, then for any size.

    Its tensors keep their names. Where compilation is given up, such as after too many kinds of calls, it runs as it is.
    """
    network.compile()


def as_they_are(compiled: bool) -> AbstractContextManager[Any]:
    """A context in which compiled networks run as they are written: for few pictures compiling anew does not pay.

    Args:
        compiled: Whether there are any; only then Dynamo is imported, which takes 200 MiB.
    """
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
