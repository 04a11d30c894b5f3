"""Threads that help a thread to compute, and what happens when many threads of a server compute one after the other."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

import torch

SOFT = 1  # omp_pause_soft of the OpenMP standard: what was set stays


def release_workers() -> None:
    """Give back the threads that help this one to compute, if there may be any; the next layer starts new ones.

    libgomp, which PyTorch computes with on Linux, keeps a team for each thread that ever computed. As soon as the teams of a
    process have more members than there are cores, they sleep between layers instead of waiting awake: the published pix2pixHD
    then takes 3.6 s instead of 2.5 for 1024x512, on two cores. It takes a fraction of a millisecond, and some where
    other programs hold the cores. Where there is another library, nothing happens.
    """
    pause = _pausing(torch._C.__file__) if torch.get_num_threads() > 1 else None
    if pause is not None:
        pause(SOFT)


@functools.cache
def _pausing(library: str) -> Callable[[int], int] | None:
    """What releases the team of the calling thread, in the libgomp that a library is bound to; None where it is no libgomp."""
    if sys.platform != "linux":
        return None
    try:
        bound = ctypes.CDLL(library)
        bound.GOACC_parallel_keyed  # noqa: B018  # other OpenMP libraries have no OpenACC
        return bound.omp_pause_resource_all  # missing before OpenMP 5
    except (OSError, AttributeError):
        return None
