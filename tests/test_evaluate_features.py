"""Pictures to vectors: what is refused, what a kept vector goes by, and that pictures never pile up."""

from __future__ import annotations

import io
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from gesso.errors import DataError, TrainingError
from gesso.evaluate import features
from gesso.evaluate.features import (
    FeatureExtractor,
    NetworkFeatures,
    extract,
    features_key,
    kept_features,
    to_tensor,
)
from gesso.synthesis.segmenter import weights_digest


class Means:
    """Mean colour: three numbers a picture."""

    name = "mean colour"
    dimension = 3

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return pictures.mean((1, 2)).astype(np.float32)


class Broken(Means):
    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        return np.full((len(pictures), 3), np.nan, np.float32)


EXTRACTOR: FeatureExtractor = Means()


def photographs(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 6, 8, 3), dtype=np.uint8)


def test_batches_of_any_size_in_their_order() -> None:
    whole = photographs(7)
    found = extract([whole[:3], whole[3:4], whole[4:]], EXTRACTOR)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, whole.mean((1, 2)), rtol=1e-6)


def test_pictures_do_not_pile_up() -> None:
    def batches(count: int) -> Iterator[np.ndarray]:
        for _ in range(count):
            yield np.zeros((4, 64, 64, 3), np.uint8)

    def peak(count: int) -> int:
        tracemalloc.start()
        extract(batches(count), EXTRACTOR)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    assert peak(60) < 1.3 * peak(3)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (np.full((2, 4, 4, 3), np.nan), "float64 of shape (2, 4, 4, 3), some of them not finite (NaN)"),
        (np.zeros((2, 4, 4, 3), np.float32), "float32 of shape (2, 4, 4, 3);"),
        (np.zeros((4, 4, 3), np.uint8), "uint8 of shape (4, 4, 3);"),
        (np.zeros((2, 4, 4), np.uint8), "uint8 of shape (2, 4, 4);"),
    ],
)
def test_what_is_no_batch_of_pictures(batch: np.ndarray, said: str) -> None:
    with pytest.raises(DataError) as caught:
        extract([photographs(2), batch], EXTRACTOR, "results of model A")
    assert f"results of model A came as {said}" in str(caught.value)


def test_no_picture_and_broken_vectors() -> None:
    with pytest.raises(DataError, match="photographs: there is no picture"):
        extract([], EXTRACTOR, "photographs")
    with pytest.raises(
        DataError, match=r"results: the vectors of 5 pictures are not finite, the first that of picture 1"
    ):
        extract([photographs(5)], Broken(), "results")


# --- networks ---


class Pool(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.9)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, image: Tensor) -> Tensor:
        return self.drop(image.mean((2, 3)) * self.scale)


def test_a_network_sees_minus_one_to_one_in_evaluation_mode() -> None:
    levels = np.array([0, 255, 51], np.uint8) + np.zeros((2, 4, 4, 3), np.uint8)
    assert to_tensor(levels)[0, :, 0, 0].tolist() == pytest.approx([-1, 1, -0.6])
    network = NetworkFeatures(Pool().train(), "pooled", 3)
    np.testing.assert_allclose(network(levels), [[-1, 1, -0.6]] * 2, rtol=1e-6)


def test_the_name_tells_weights_apart() -> None:
    first, same, other = Pool(), Pool(), Pool()
    other.scale.data[1] = 2
    names = [NetworkFeatures(network, "pooled", 3).name for network in (first, same, other)]
    assert names[0] == names[1] == f"pooled {weights_digest(first.state_dict())[:8]}"
    assert names[0] != names[2]
    renamed = nn.ParameterDict({"other": first.scale})
    assert weights_digest(renamed.state_dict()) != weights_digest({"scale": first.scale})


# --- kept vectors ---


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for number, path in enumerate(paths):
        path.write_bytes(bytes(range(100 + number)) * 60)
    return paths


def test_the_key_goes_by_everything_that_changes_vectors(files: list[Path]) -> None:
    key = features_key(files, {"height": 4, "width": 8}, "E")
    assert features_key(files, {"width": 8, "height": 4}, "E") == key
    keys = [
        features_key(files[:2], {"height": 4, "width": 8}, "E"),
        features_key(files[::-1], {"height": 4, "width": 8}, "E"),
        features_key(files, {"height": 5, "width": 8}, "E"),
        features_key(files, {"height": 4, "width": 8}, "F"),
    ]
    content = files[1].read_bytes()
    for place in (0, 700, len(content) - 1):  # of the same size, as raw pictures are
        files[1].write_bytes(content[:place] + b"!" + content[place + 1 :])
        keys.append(features_key(files, {"height": 4, "width": 8}, "E"))
    files[1].write_bytes(content)
    os.utime(files[1], (0, 0))
    assert features_key(files, {"height": 4, "width": 8}, "E") == key
    files[1].write_bytes(content + content)
    keys.append(features_key(files, {"height": 4, "width": 8}, "E"))
    assert len({key, *keys}) == 9


@pytest.mark.parametrize("ending", ["npy", "bmp", "ppm", "tif"])
def test_the_key_sees_a_pixel_of_a_raw_picture(tmp_path: Path, ending: str) -> None:
    path, pixels, keys = tmp_path / f"a.{ending}", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), []
    for row in (0, 5, 63):
        pixels[row, 7, 1] += 1
        if ending == "npy":
            np.save(path, pixels)
        else:
            Image.fromarray(pixels).save(path)
        keys.append(features_key([path], {}, "E"))
    assert len(set(keys)) == 3


def test_reading_large_data_is_shown(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(large: int) -> str:
        monkeypatch.setattr(features, "LARGE", large)
        console = Console(file=(text := io.StringIO()), force_terminal=True, width=100)
        assert features_key(files, {}, "E", console) == features_key(files, {}, "E")
        return text.getvalue()

    total = sum(path.stat().st_size for path in files)
    assert "reading the files" in shown(total)
    assert "reading the files" not in shown(total + 1)


def test_the_key_of_a_missing_file(files: list[Path]) -> None:
    files[2].unlink()
    with pytest.raises(DataError, match=r"c\.png cannot be read: No such file"):
        features_key(files, {}, "E")


def test_vectors_are_computed_once(tmp_path: Path) -> None:
    calls = []

    def compute() -> np.ndarray:
        calls.append(1)
        return np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1]

    first, kept = kept_features(tmp_path / "new", "k", compute)
    assert not kept
    again, kept = kept_features(tmp_path / "new", "k", compute)
    assert kept
    assert len(calls) == 1
    assert first.tolist() == again.tolist() == [[2, 1, 0], [5, 4, 3]]
    kept_features(tmp_path / "new", "other", compute)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_file_is_made_anew(tmp_path: Path, damage: str) -> None:
    kept_features(tmp_path, "k", lambda: np.ones((4, 3), np.float32))
    path = tmp_path / "k.safetensors"
    path.write_bytes({"cut": path.read_bytes()[:-5], "text": b"<html>", "empty": b""}[damage])
    found, kept = kept_features(tmp_path, "k", lambda: np.zeros((4, 3), np.float32))
    assert not kept
    assert found.sum() == 0
    assert kept_features(tmp_path, "k", lambda: np.ones((4, 3), np.float32))[1]


def test_vectors_that_are_not_finite_are_not_trusted(tmp_path: Path) -> None:
    kept_features(tmp_path, "k", lambda: np.full((4, 3), np.nan, np.float32))
    found, kept = kept_features(tmp_path, "k", lambda: np.ones((4, 3), np.float32))
    assert not kept
    assert found.sum() == 12


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(TrainingError, match="file"):
        kept_features(tmp_path / "file", "k", lambda: np.ones((4, 3), np.float32))
