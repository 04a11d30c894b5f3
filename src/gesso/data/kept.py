"""Decoded files in memory, so that training does not decode them in every pass.

Each process keeps its own: with one loading process, or none beside the training, a file is decoded once; of several each decodes
what it meets, and a file is met by all of them in the course of some passes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

import numpy.typing as npt

Array = npt.NDArray[Any]
Read = TypeVar("Read", bound=Array)


class Kept:
    """Arrays by key, of which those that came first stay until they fill the limit.

    Nothing is thrown out for what comes later: in passes that are shuffled anew nothing is needed sooner than anything else.

    Args:
        limit: Bytes; 0 keeps nothing.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.used = limit, 0
        self._arrays: dict[Hashable, Array] = {}

    def __reduce__(self) -> tuple[type[Kept], tuple[int]]:
        return Kept, (self.limit,)  # another process reads for itself

    def __call__(self, key: Hashable, read: Callable[[], Read]) -> Read:
        """What `read` gives, or gave for the same key; the caller may change it."""
        if key in self._arrays:
            return cast(Read, self._arrays[key].copy())
        array = read()
        if self.used + array.nbytes <= self.limit:
            self._arrays[key] = array.copy()
            self.used += array.nbytes
        return array
