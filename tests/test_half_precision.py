"""Model files whose floating tensors are stored as float16: half as large, as strict, and loaded as float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from gesso.checkpoints import load_model, read_info, save_half, save_model
from gesso.errors import ModelFileError
from gesso.synthesis.synthesizer import load
from styled import CAR, clusters, scene, write_scenes, write_styled_model


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_styled_model(tmp_path / "whole.safetensors", styles=clusters())


@pytest.fixture
def half(whole: Path, tmp_path: Path) -> Path:
    save_half(whole, tmp_path / "half.safetensors")
    return tmp_path / "half.safetensors"


def content(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


def test_every_floating_tensor_is_halved_and_nothing_else(whole: Path, half: Path) -> None:
    before, after = content(whole)[0], content(half)[0]
    assert after.keys() == before.keys()
    assert {t.dtype for t in before.values()} == {torch.float32, torch.int64, torch.uint8}
    for name, tensor in before.items():
        assert torch.equal(after[name], tensor.half() if tensor.is_floating_point() else tensor), name
    weights = sum(t.nbytes for t in before.values() if t.is_floating_point())
    assert whole.stat().st_size - half.stat().st_size == pytest.approx(weights / 2, abs=200)
    assert (read_info(whole).stored_as, read_info(half).stored_as) == ("float32", "float16")


def test_it_is_loaded_as_float32_with_a_hash_of_what_is_stored(whole: Path, half: Path, tmp_path: Path) -> None:
    first, second = load_model(whole), load_model(half)
    for name, network in second.networks.items():
        rounded = first.networks[name].state_dict()
        for key, tensor in network.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor, rounded[key].half().float()), key
    assert second.styles[f"{CAR}.centres"].dtype == torch.float32
    assert second.hash != first.hash
    save_half(half, tmp_path / "again.safetensors")
    assert load_model(tmp_path / "again.safetensors").hash == second.hash, "halving twice changes nothing"


def test_pictures_hardly_differ(whole: Path, half: Path) -> None:
    label, instance = scene()
    first, second = (load(path, "cpu")(label, instance, seed=3).astype(int) for path in (whole, half))
    assert 0 < np.abs(first - second).max() <= 2


def test_who_writes_it_again_keeps_it_so(half: Path, tmp_path: Path, gesso: Any) -> None:
    found = tmp_path / "found.safetensors"
    data = write_scenes(tmp_path / "scenes")
    ended = gesso(
        *("styles", half, "--data", data, "--split", "val", "--modes", 1, "--minimum-area", 1),
        *("--out", found, "--device", "cpu"),
    )
    assert ended.code == 0, ended.err
    assert read_info(found).stored_as == "float16"
    assert {t.dtype for t in content(found)[0].values() if t.is_floating_point()} == {torch.float16}
    assert load_model(found).styles.keys() != load_model(half).styles.keys()


@pytest.mark.parametrize(
    ("value", "said"), [(65520.0, "reaches 65520"), (-1e6, "reaches 1e.06"), (np.nan, "reaches nan")]
)
def test_values_beyond_its_range_are_refused_by_name(whole: Path, tmp_path: Path, value: float, said: str) -> None:
    model, out = load_model(whole), tmp_path / "half.safetensors"
    model.networks["generator"].get_parameter("head.1.bias")[1] = value
    save_model(whole, model.networks, model.info, model.styles)
    out.write_text("earlier")
    with pytest.raises(ModelFileError, match=rf"tensor generator\.head\.1\.bias {said}, and float16 ends at 65504"):
        save_half(whole, out)
    assert out.read_text() == "earlier"


def test_the_largest_value_is_kept(whole: Path, tmp_path: Path) -> None:
    model = load_model(whole)
    model.networks["generator"].get_parameter("head.1.bias")[1] = -65504.0
    save_model(whole, model.networks, model.info, model.styles)
    save_half(whole, tmp_path / "half.safetensors")
    again = load_model(tmp_path / "half.safetensors")
    assert again.networks["generator"].get_parameter("head.1.bias")[1] == -65504.0


def test_what_the_file_says_must_be_what_it_holds(whole: Path, half: Path, tmp_path: Path) -> None:
    tensors, said = content(half)
    edited = tmp_path / "edited.safetensors"
    save_file({**tensors, "generator.head.1.bias": torch.zeros(3)}, edited, metadata=said)
    with pytest.raises(
        ModelFileError, match=r"stored as float16, but its tensor generator\.head\.1\.bias is torch\.float32"
    ):
        load_model(edited)
    save_file({**tensors, f"styles.{CAR}.centres": torch.zeros(4, 3)}, edited, metadata=said)
    with pytest.raises(ModelFileError, match=rf"its tensor styles\.{CAR}\.centres is torch\.float32"):
        load_model(edited)
    save_file(tensors, edited, metadata={**said, "stored_as": json.dumps("float32")})
    with pytest.raises(ModelFileError, match=r"of torch\.float16, its network needs .* of torch\.float32"):
        load_model(edited)
    save_file(tensors, edited, metadata={**said, "stored_as": json.dumps("bfloat16")})
    with pytest.raises(
        ModelFileError, match=r"field stored_as of the model file: Input should be 'float32' or 'float16'"
    ):
        load_model(edited)
    save_file({**tensors, "generator.head.1.bias": torch.zeros(4).half()}, edited, metadata=said)
    with pytest.raises(ModelFileError, match=r"generator\.head\.1\.bias has shape \(4,\)"):
        load_model(edited)
    del tensors["generator.head.1.bias"]
    save_file(tensors, edited, metadata=said)
    with pytest.raises(ModelFileError, match=r"missing: generator\.head\.1\.bias"):
        load_model(edited)


def test_files_from_before_are_float32(whole: Path, tmp_path: Path) -> None:
    tensors, said = content(whole)
    older = tmp_path / "older.safetensors"
    save_file(tensors, older, metadata={key: value for key, value in said.items() if key != "stored_as"})
    assert load_model(older).hash == load_model(whole).hash
