"""Which device to compute on."""

from __future__ import annotations

import torch

from gesso.errors import ConfigError


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
