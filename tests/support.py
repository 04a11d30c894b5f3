"""What tests share: the folder of shared data, and the reference tensors of the official code.

`GESSO_SHARED` names the folder with `data/` and `golden/`; by default it lies beside the clone. On a machine without it the
tests that need it skip and say so; where `CI` is set they fail instead, so that nothing passes there by not running.

A golden folder holds items, each `NAME.safetensors` + `NAME.json`. `GESSO_GOLDEN` names another one (it wins over
`GESSO_SHARED`); items or tensors may be absent there, a folder without any item may not be used. Tests take everything from
the files: configurations, tensors, tolerances.
"""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from safetensors.torch import load_file
from torch import Tensor, nn

SHARED = Path(os.environ.get("GESSO_SHARED", Path(__file__).parents[2] / "shared"))


def shared_folder(name: str) -> Path:
    folder = SHARED / name
    if folder.is_dir():
        return folder
    reason = f"{folder} is absent; set GESSO_SHARED to the folder that holds data/ and golden/"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


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

    def agree(self, meta: dict[str, Any], key: str, ours: Tensor, tensors: dict[str, Tensor]) -> None:
        """Float32: within 20 times the official code's own rounding error, at least 1e-6; a tensor may be absent."""
        if key not in tensors:
            return
        theirs = tensors[key]
        ours = ours[: len(theirs)]  # some items keep the first sample of a batch alone
        bound = max(20 * meta.get("fp64_check", {}).get(key, {}).get("max_abs", 0.0), 1e-6)
        assert ours.shape == theirs.shape, f"{key}: {tuple(ours.shape)} instead of {tuple(theirs.shape)}"
        gap = (ours.double() - theirs.double()).abs().max().item()
        assert gap <= bound, f"{meta['item']} {key}: differs by {gap:.2e}, allowed {bound:.2e}"
        self.count(meta["item"])


def golden_folder() -> Path:
    named = os.environ.get("GESSO_GOLDEN")
    if not named:
        return shared_folder("golden")
    folder = Path(named)
    if not any(folder.glob("*.json")):
        pytest.fail(f"GESSO_GOLDEN names {folder}, which holds no item (NAME.json + NAME.safetensors)")
    return folder


def weights(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state dict stored behind a prefix, in float32 (float16 storage is exact)."""
    return {
        k.removeprefix(prefix): v.float() if v.is_floating_point() else v
        for k, v in tensors.items()
        if k.startswith(prefix)
    }


class PlainEngine:
    """What a training step needs of Fabric, without Fabric."""

    def backward(self, tensor: Tensor) -> None:
        tensor.backward()

    def no_backward_sync(self, module: nn.Module, enabled: bool = True) -> AbstractContextManager[None]:
        return nullcontext()

    def autocast(self) -> AbstractContextManager[None]:
        return nullcontext()


class Ended(NamedTuple):
    """How a command of gesso ended."""

    code: int
    out: str
    err: str


def refused(ended: Ended, *said: object) -> None:
    """Exit code 1 and one paragraph on stderr that says all of this."""
    assert ended.code == 1, ended
    assert ended.err.startswith("gesso: "), ended.err
    assert ended.err.count("\n") == 1
    assert "Traceback" not in ended.err
    for words in said:
        assert str(words) in ended.err
