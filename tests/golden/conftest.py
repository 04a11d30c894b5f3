"""Reference tensors of the official code, read from a folder of `NAME.safetensors` + `NAME.json`.

`GESSO_GOLDEN` names the folder (it wins over `GESSO_SHARED`); items or tensors may be absent there, a folder without any item
may not be. Tests take everything from the files: configurations, tensors, tolerances. What was compared is printed at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import shared_folder
from safetensors.torch import load_file
from torch import Tensor

Item = tuple[dict[str, Any], dict[str, Tensor]]
COMPARED: dict[str, int] = {}


class Golden:
    """One golden folder; `golden(name)` gives an item, `golden.agree` compares with the tolerance of the files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Item:
        path = self.folder / f"{name}.json"
        if not path.exists():
            pytest.skip(f"{path.name} is not in {self.folder}")
        tensors = self.folder / f"{name}.safetensors"
        return json.loads(path.read_text()), load_file(tensors) if tensors.exists() else {}

    @staticmethod
    def count(item: str, tensors: int = 1) -> None:
        COMPARED[item] = COMPARED.get(item, 0) + tensors

    def agree(self, meta: dict[str, Any], key: str, ours: Tensor, theirs: Tensor) -> None:
        """Float32: within 20 times the official code's own rounding error, at least 1e-6."""
        bound = max(20 * meta.get("fp64_check", {}).get(key, {}).get("max_abs", 0.0), 1e-6)
        assert ours.shape == theirs.shape, f"{key}: {tuple(ours.shape)} instead of {tuple(theirs.shape)}"
        gap = (ours.double() - theirs.double()).abs().max().item()
        assert gap <= bound, f"{meta['item']} {key}: differs by {gap:.2e}, allowed {bound:.2e}"
        self.count(meta["item"])


@pytest.fixture(scope="session")
def golden() -> Golden:
    named = os.environ.get("GESSO_GOLDEN")
    if not named:
        return Golden(shared_folder("golden"))
    folder = Path(named)
    if not any(folder.glob("*.json")):
        pytest.fail(f"GESSO_GOLDEN names {folder}, which holds no item (NAME.json + NAME.safetensors)")
    return Golden(folder)


def weights(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state dict stored behind a prefix, in float32 (float16 storage is exact)."""
    return {
        k.removeprefix(prefix): v.float() if v.is_floating_point() else v
        for k, v in tensors.items()
        if k.startswith(prefix)
    }


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if COMPARED:
        listed = ", ".join(f"{item} {count}" for item, count in sorted(COMPARED.items()))
        terminalreporter.write_line(f"golden: {len(COMPARED)} items, {sum(COMPARED.values())} values compared: {listed}")


Loader = Callable[[str], Item]
