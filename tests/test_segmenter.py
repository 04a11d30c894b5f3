"""Segmenters as files, and as readers of photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gesso.checkpoints import load_model
from gesso.data.spaces import published
from gesso.errors import DataError, ModelFileError, TrainingError
from gesso.evaluate.features import NetworkFeatures
from gesso.networks.segmenter import Segmenter, initialise
from gesso.synthesis.segmenter import (
    PhotoSegmenter,
    SegmenterInfo,
    TrainedSegmenter,
    load_segmenter,
    save_segmenter,
    weights_digest,
)

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = published("toy")
INFO = SegmenterInfo(label_space=SPACE, width=4, steps=3, origin="toy train", photographs=7, size=(32, 64))


def network(seed: int = 0) -> Segmenter:
    """Random weights, batch norm included, so that it finds several classes in noise."""
    made, generator = Segmenter(classes=len(SPACE), width=4), torch.Generator().manual_seed(seed)
    initialise(made, generator)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
            nn.init.normal_(module.running_mean, 0, 0.1, generator=generator)
    return made.eval()


def photographs(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "segmenter.safetensors"
    save_segmenter(path, network(), INFO)
    return path


# --- reading photographs ---


def test_finds_what_its_network_scores_highest(file: Path) -> None:
    pictures = photographs(2, 32, 64)
    image = torch.from_numpy(pictures).movedim(-1, 1) / 127.5 - 1
    with torch.no_grad():
        expected = network()(image).argmax(1).numpy()
    found = load_segmenter(file)(pictures)
    assert (found.dtype, found.shape) == (np.int32, (2, 32, 64))
    assert len(np.unique(expected)) > 2
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (20, 33), (32, 64), (65, 31)])
def test_any_size_is_padded_by_reflection_and_cropped(file: Path, size: tuple[int, int]) -> None:
    picture = photographs(*size)
    high, wide = (-(-side // 32) * 32 for side in size)
    mode = "symmetric" if 1 in size else "reflect"  # one pixel has nothing to be mirrored at
    padded = np.pad(picture, ((0, high - size[0]), (0, wide - size[1]), (0, 0)), mode=mode)
    read = load_segmenter(file)
    found = read(picture)
    assert found.shape == size
    np.testing.assert_array_equal(found, read(padded)[: size[0], : size[1]])


def test_a_photograph_does_not_depend_on_its_batch(file: Path) -> None:
    pictures, read = photographs(3, 40, 70), load_segmenter(file)
    for picture, found in zip(pictures, read(pictures), strict=True):
        np.testing.assert_array_equal(read(picture), found)
    assert read(pictures[:0]).shape == (0, 40, 70)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.full((8, 8, 3), np.nan), np.zeros((1, 2, 8, 8, 3))],
)
def test_what_is_no_photograph_is_refused(file: Path, wrong: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"reads photographs \(H, W, 3\) or .* of uint8; these are "):
        load_segmenter(file)(wrong)


def test_its_features_see_pictures(file: Path) -> None:
    inner = load_segmenter(file).features()
    features = NetworkFeatures(inner[0], "segmenter", inner[1])
    found = features(photographs(2, 32, 64))
    assert found.shape == (2, inner[1]) == (2, 84)
    assert abs(found[0] - found[1]).max() > 1e-3


def test_a_segmenter_without_features_says_so() -> None:
    class Elsewhere(PhotoSegmenter):
        def _read(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels[0]

    assert Elsewhere("one from elsewhere", "a hub", SPACE, "0" * 64).features() is None


def test_weights_are_frozen_and_nothing_is_uncovered(file: Path) -> None:
    read = load_segmenter(file)
    assert not any(p.requires_grad for p in read.network.parameters())
    assert not read.network.training
    assert read.uncovered == ()


# --- names and digests ---


def test_name_origin_and_hash(file: Path) -> None:
    read = load_segmenter(file)
    assert read.name == f"compact U-Net trained on toy train {read.hash[:8]}"
    assert read.origin == "toy train, 7 photographs"
    assert read.label_space == SPACE
    assert read.info == INFO


def test_no_other_network_is_named(file: Path) -> None:
    read = load_segmenter(file)
    for name in ("fcn", "psp", "deeplab", "segformer", "inception"):
        assert name not in f"{read.name} {read.origin}".lower()


def test_the_hash_is_of_weights_and_classes_not_of_dates(file: Path) -> None:
    again = INFO.model_copy(update={"created": "2001-01-01T00:00:00+00:00", "scores": {"mean_iou": 0.5}})
    assert TrainedSegmenter(network(), again).hash == load_segmenter(file).hash
    assert TrainedSegmenter(network(1), INFO).hash != load_segmenter(file).hash
    renamed = SPACE.model_copy(update={"classes": SPACE.classes[::-1]})
    assert (
        TrainedSegmenter(network(), INFO.model_copy(update={"label_space": renamed})).hash != load_segmenter(file).hash
    )


def test_a_digest_sees_names_shapes_types_and_content() -> None:
    one = torch.arange(4.0)
    variants = [{"a": one}, {"b": one}, {"a": one.view(2, 2)}, {"a": one.int()}, {"a": one + 1}]
    assert len({weights_digest(tensors) for tensors in variants}) == len(variants)
    assert weights_digest({"a": one}, "said") != weights_digest({"a": one})
    assert weights_digest({"a": one, "b": one}) == weights_digest({"b": one, "a": one})


# --- files ---


def test_a_file_comes_back_as_it_was(file: Path) -> None:
    found = load_segmenter(file).network.state_dict()
    for name, tensor in network().state_dict().items():
        assert torch.equal(found[name], tensor)


def test_a_full_disk_leaves_the_earlier_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gesso.synthesis.segmenter.save_file", full)
    with pytest.raises(TrainingError, match="No space left"):
        save_segmenter(file, network(1), INFO)
    assert file.read_bytes() == before


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no segmenter .*none\.safetensors.*--save-segmenter"):
        load_segmenter(tmp_path / "none.safetensors")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no segmenter"):
        load_segmenter(tmp_path)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff" * 100])
def test_file_that_is_no_safetensors(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=r"other\.safetensors cannot be read as safetensors"):
        load_segmenter(path)


def test_cut_off_file(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ModelFileError, match="cut off, damaged"):
        load_segmenter(file)


def test_a_model_file_is_told_apart_both_ways(tiny_model: Path, file: Path) -> None:
    with pytest.raises(
        ModelFileError, match=r"gesso model file, which makes photographs: gesso generate .*--segmenter"
    ):
        load_segmenter(tiny_model)
    with pytest.raises(ModelFileError, match="not a gesso model"):
        load_model(file)


def test_other_safetensors(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match=r"other\.safetensors is safetensors, but no segmenter of gesso"):
        load_segmenter(tmp_path / "other.safetensors")


def rewritten(file: Path, **changed: object) -> Path:
    document = json.loads(INFO.model_dump_json()) | changed
    save_file(load_file(file), file, metadata={"segmenter": json.dumps(document)})
    return file


def test_newer_format(file: Path) -> None:
    with pytest.raises(ModelFileError, match="format version 99, this gesso reads up to 1: update gesso"):
        load_segmenter(rewritten(file, format_version=99, invented="field"))


def test_damaged_description(file: Path) -> None:
    with pytest.raises(ModelFileError, match=r"segmenter\.safetensors: what .* says of itself cannot be read: steps"):
        load_segmenter(rewritten(file, steps="many"))


@pytest.mark.parametrize("text", ["{", "[]", "{}", "3"])
def test_description_that_is_none(file: Path, text: str) -> None:
    save_file(load_file(file), file, metadata={"segmenter": text})
    with pytest.raises(ModelFileError, match="it is no JSON with a format_version"):
        load_segmenter(file)


def test_tensors_of_another_network(file: Path) -> None:
    with pytest.raises(ModelFileError, match=r"does not hold the tensors .*: classify\.bias"):
        few = SPACE.model_copy(update={"classes": SPACE.classes[:3]})
        load_segmenter(rewritten(file, label_space=few.model_dump(mode="json")))


def test_a_missing_tensor_is_named(file: Path) -> None:
    tensors = load_file(file)
    del tensors["encoder.halve.0.0.weight"]
    save_file(tensors, file, metadata={"segmenter": INFO.model_dump_json()})
    with pytest.raises(ModelFileError, match=r"encoder\.halve\.0\.0\.weight missing"):
        load_segmenter(file)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(file: Path, value: float) -> None:
    """It would find class 0 everywhere."""
    tensors = load_file(file)
    tensors["classify.bias"][2] = value
    save_file(tensors, file, metadata={"segmenter": INFO.model_dump_json()})
    with pytest.raises(ModelFileError, match=r"segmenter\.safetensors .* not all numbers: classify\.bias and 0 other"):
        load_segmenter(file)


def test_files_from_before_scores_said_what_they_were_taken_on(file: Path) -> None:
    document = {"scores": {"mean_iou": 0.5}, "held_out": 4, "data_digest": "of other times"}
    before = json.loads(INFO.model_dump_json()) | document
    del before["held_out_origin"], before["held_out_digest"]
    save_file(load_file(file), file, metadata={"segmenter": json.dumps(before)})
    info = load_segmenter(file).info
    assert info is not None
    assert (info.scores, info.held_out_origin, info.held_out_digest) == ({"mean_iou": 0.5}, "", "")
