"""Golden tests notice where an expectation is not found: looked up under another name than it has, nothing is compared."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from support import Golden

LAYERS, GENERATORS, DISCRIMINATORS, STEP = "A7a_spade_layers", "A7b_spade_G", "A7c_spade_D", "A8_spade_step"
AFTER = "buffers_after_train_forward"


@pytest.fixture(autouse=True)
def whole_folder() -> None:
    if os.environ.get("GESSO_GOLDEN"):
        pytest.skip(
            "this is about the tests, for which the shared folder will do: another one may lack what is taken away here"
        )


def module(name: str) -> ModuleType:
    """A test module beside this one, which pytest does not let be imported by name."""
    spec = importlib.util.spec_from_file_location(f"quiet_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def with_changes(golden: Golden, folder: Path, item: str, changes: dict[str, Any]) -> Golden:
    """The same golden folder but for parts of one item's JSON."""
    meta, _ = golden(item)
    for file in golden.folder.iterdir():
        if file.name != f"{item}.json":
            (folder / file.name).symlink_to(file)
    (folder / f"{item}.json").write_text(json.dumps(meta | changes))
    return Golden(folder)


@pytest.mark.parametrize(
    ("test", "item", "kinds"),
    [
        ("test_gradients_and_buffers_of_layers_and_blocks", LAYERS, ["grad_l2_train_mode"]),
        ("test_gradients_and_buffers_of_layers_and_blocks", LAYERS, [AFTER]),
        pytest.param(
            "test_generators_in_float64",
            GENERATORS,
            ["full_output_checksum", "trace_eval", AFTER],
            marks=pytest.mark.slow,
        ),
        ("test_encoder_in_float64", GENERATORS, [AFTER]),
        ("test_discriminator_buffers", DISCRIMINATORS, ["D_buffers_after_train_forward"]),
    ],
)
def test_figures_of_networks(golden: Golden, tmp_path: Path, test: str, item: str, kinds: list[str]) -> None:
    changed = with_changes(golden, tmp_path, item, {kind: {"columns": {}} for kind in kinds})
    with pytest.raises(pytest.fail.Exception, match=f"{item}: nothing was compared of {', '.join(kinds)}$"):
        getattr(module("test_spade"), test)(changed)


def test_only_another_folder_may_lack_a_kind(golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = with_changes(golden, tmp_path, DISCRIMINATORS, {"grad_l2_discriminator_step": {}})
    test = module("test_spade").test_discriminator_step
    with pytest.raises(pytest.fail.Exception, match=r"nothing was compared of grad_l2_discriminator_step$"):
        test(changed)
    monkeypatch.setenv("GESSO_GOLDEN", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=r"holds no grad_l2_discriminator_step$"):
        test(changed)


def test_buffers_of_the_step(golden: Golden, tmp_path: Path) -> None:
    side = golden(STEP)[0]["netD"]
    changed = with_changes(golden, tmp_path, STEP, {"netD": side | {"buffers_after": {"columns": []}}})
    with pytest.raises(AssertionError, match="netD"):
        module("test_spade_step").test_step_in_float64(changed)
