"""Layouts to photographs: any size, the network's own numbers, nothing random left behind."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import gesso
from gesso import labels
from gesso.checkpoints import Model, load_model
from gesso.errors import ConfigError, DataError, LabelError, ModelFileError, StyleError
from gesso.labels import LabelSpace
from gesso.pictures import to_uint8
from gesso.synthesis.style import Style
from gesso.synthesis.synthesizer import Synthesizer, load, read_record, save_png
from styled import write_styled_model
from support import picture_model
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
Ints = npt.NDArray[np.int64]


@pytest.fixture
def synth(tiny_model: Path) -> Synthesizer:
    return load(tiny_model, "cpu")


@pytest.fixture
def space(synth: Synthesizer) -> LabelSpace:
    assert synth.label_space is not None
    return synth.label_space


def layout(height: int, width: int, seed: int = 0, batch: tuple[int, ...] = ()) -> Ints:
    """Patches of all 11 toy classes and of ignored pixels."""
    rows, columns = -(-height // 4), -(-width // 4)
    patches = np.random.default_rng(seed).integers(12, size=(*batch, rows, columns))
    return patches.repeat(4, axis=-2).repeat(4, axis=-1)[..., :height, :width]


def by_hand(tiny_model: Path, label: Ints, space: LabelSpace) -> npt.NDArray[np.uint8]:
    """The network on the encoded layout, and nothing else."""
    instance = labels.components(label, space)
    semantics = labels.encode(
        torch.from_numpy(label)[None],
        torch.from_numpy(instance)[None],
        classes=len(space),
        dont_care=True,
        boundary=True,
    )
    with torch.no_grad():
        image = load_model(tiny_model).networks["generator"](semantics)[0]
    return ((image + 1) * 127.5).clamp(0, 255).round().byte().permute(1, 2, 0).numpy()


# -------------------------------------------------------------------------------------------------------------- sizes


def test_exact_multiples_equal_the_network(tiny_model: Path, synth: Synthesizer, space: LabelSpace) -> None:
    label = layout(32, 64)
    assert np.array_equal(synth(label), by_hand(tiny_model, label, space))


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (5, 3), (30, 61), (33, 64), (64, 9)])
def test_any_size(synth: Synthesizer, size: tuple[int, int]) -> None:
    image = synth(layout(*size))
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8


def test_other_sizes_are_padded_by_reflection_and_cropped(
    tiny_model: Path, synth: Synthesizer, space: LabelSpace
) -> None:
    label = layout(30, 61)
    padded = np.pad(label, [(0, 2), (0, 3)], mode="reflect")
    # objects are found before the padding, which is why boundaries are compared away from it
    assert np.array_equal(synth(label, labels.components(label, space)), synth(label))
    plain = np.zeros_like(label)
    padded_plain = np.zeros_like(padded)
    assert np.array_equal(synth(label, plain), synth(padded, padded_plain)[:30, :61])


def test_a_batch_equals_its_layouts_one_by_one(synth: Synthesizer) -> None:
    stack = layout(30, 61, batch=(3,))
    images = synth(stack)
    assert images.shape == (3, 30, 61, 3)
    for label, image in zip(stack, images, strict=True):
        assert np.array_equal(synth(label), image)


class Sociable(torch.nn.Module):
    """A stand-in for a network whose pictures are darker in company; it draws noise besides."""

    multiple = 4

    def forward(self, semantics: torch.Tensor, *style: torch.Tensor) -> torch.Tensor:
        assert all(len(one) == len(semantics) for one in style)
        return torch.rand_like(semantics[:, :3]) / len(semantics)


@pytest.mark.parametrize("kind", [None, "features", "z", "noise"])
def test_whatever_the_style_no_picture_depends_on_its_batch(tiny_model: Path, tmp_path: Path, kind: str | None) -> None:
    write = {"features": write_styled_model, "z": write_spade_model, "noise": write_pix2pix_model}
    model = load_model(write[kind](tmp_path / "model.safetensors") if kind else tiny_model)
    synth = Synthesizer(Model({**model.networks, "generator": Sociable()}, model.info, model.hash, model.styles))
    assert synth.style_kind == kind
    stack = layout(30, 61, batch=(3,))
    for label, image in zip(stack, synth(stack, seed=4), strict=True):
        assert np.array_equal(synth(label, seed=4), image)


def test_the_same_call_gives_the_same_photograph(synth: Synthesizer) -> None:
    label = layout(32, 64)
    first = synth(label, seed=3)
    torch.rand(5)
    assert np.array_equal(synth(label, seed=3), first)
    assert first.std() > 5  # a picture, not a plane


def test_kinds_of_integers(synth: Synthesizer) -> None:
    label = layout(8, 12)
    for kind in (np.uint8, np.int16, np.int32, np.uint64):
        assert np.array_equal(synth(label.astype(kind)), synth(label))
    assert np.array_equal(synth(label.tolist()), synth(label))
    assert np.array_equal(synth(torch.from_numpy(label)), synth(label))


# ----------------------------------------------------------------------------------------------------------- instances


def test_missing_instances_are_components_and_that_is_said_once(
    synth: Synthesizer, space: LabelSpace, caplog: pytest.LogCaptureFixture
) -> None:
    label = layout(32, 64)
    with caplog.at_level(logging.WARNING):
        derived = [synth(label) for _ in range(3)]
    assert [record.name for record in caplog.records] == ["gesso.synthesis.synthesizer"]
    assert "touching objects of a class count as one" in caplog.text
    assert np.array_equal(derived[0], synth(label, labels.components(label, space)))


def test_given_instances_are_used(synth: Synthesizer, space: LabelSpace, caplog: pytest.LogCaptureFixture) -> None:
    label = np.full((32, 64), space.index("car"))
    halves = np.zeros_like(label)
    halves[:, 32:] = 1
    with caplog.at_level(logging.WARNING):
        one, two = synth(label, np.zeros_like(label)), synth(label, halves)
    assert not caplog.records
    assert not np.array_equal(one, two)
    assert np.array_equal(synth(label, halves * 7 + 3), two)  # ids are opaque


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("index", [12, 255, -1])
def test_an_index_out_of_range_is_named_with_its_place(synth: Synthesizer, index: int) -> None:
    label = layout(32, 64)
    label[7, 9] = index
    with pytest.raises(
        LabelError,
        match=rf"Index {index} at \(7, 9\) \(row, column\) is not in toy.*0\.\.10, ignored pixels 11.*to_indices",
    ):
        synth(np.stack([layout(32, 64), label]))


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (np.zeros((4, 4)), r"float64 of shape \(4, 4\)"),
        (np.zeros((4, 4, 4, 3), np.uint8), r"shape \(4, 4, 4, 3\)"),
        (np.zeros(4, np.uint8), r"shape \(4,\)"),
        (np.zeros((0, 4), np.uint8), r"shape \(0, 4\)"),
    ],
)
def test_what_is_no_layout_is_refused(synth: Synthesizer, label: Any, said: str) -> None:
    with pytest.raises(LabelError, match=rf"A layout is \(H, W\) or \(B, H, W\) integers; .*{said} came"):
        synth(label)


def test_instances_of_another_shape_are_refused(synth: Synthesizer) -> None:
    with pytest.raises(LabelError, match=r"instance map has shape \(4, 5\), the label map \(4, 4\)"):
        synth(layout(4, 4), layout(4, 5))


def test_a_style_is_refused_by_a_model_without(synth: Synthesizer) -> None:
    for style in (Style(), [Style()], "sunny"):
        with pytest.raises(StyleError, match=r"This model has no style.*--instance-features"):
            synth(layout(4, 4), style=style)  # type: ignore[arg-type]


def test_what_cannot_be_loaded(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no file"):
        gesso.load(tmp_path / "none.safetensors")
    (tmp_path / "half.safetensors").write_bytes(tiny_model.read_bytes()[:9000])
    with pytest.raises(ModelFileError, match="cut off or damaged"):
        gesso.load(tmp_path / "half.safetensors")
    with pytest.raises(ConfigError, match="'abacus' is not available"):
        gesso.load(tiny_model, device="abacus")


# ------------------------------------------------------------------------------------------------------ photo to photo


def test_pictures_with_one_channel(tmp_path: Path) -> None:
    model = load(picture_model(1, tmp_path))
    assert model.label_space is None
    gray = np.random.default_rng(0).integers(0, 65536, (17, 22), dtype=np.uint16)
    image = model(gray)
    assert image.shape == (17, 22, 3)
    assert np.array_equal(model(gray[..., None]), image)
    assert np.array_equal(model((gray / 65535).astype(np.float64)), image)
    assert model(np.stack([gray, gray])[..., None]).shape == (2, 17, 22, 3)


def test_pictures_equal_the_network(tmp_path: Path) -> None:
    path = picture_model(3, tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    source = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)[None] / 255 * 2 - 1
    with torch.no_grad():
        wanted = to_uint8(load_model(path).networks["generator"](source))[0]
    assert np.abs(load(path)(picture).astype(int) - wanted).max() <= 1


def test_pictures_that_do_not_fit(tmp_path: Path) -> None:
    model = load(picture_model(3, tmp_path))
    with pytest.raises(DataError, match=r"takes pictures \(H, W, 3\).*shape \(8, 8\) came"):
        model(np.zeros((8, 8), np.uint8))
    with pytest.raises(DataError, match=r"shape \(8, 8, 4\) came"):
        model(np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(DataError, match=r"float64 values 0.0\.\.255.0; allowed: 0\.\.1"):
        model(np.linspace(0, 255, 8 * 8 * 3).reshape(8, 8, 3))
    with pytest.raises(DataError, match=r"int16 values -5\.\.-5; allowed: 0\.\.32767"):
        model(np.full((8, 8, 3), -5, np.int16))
    with pytest.raises(DataError, match="nan"):
        model(np.full((8, 8, 3), np.nan))


# ---------------------------------------------------------------------------------------------- randomness and records


class Noisy(torch.nn.Module):
    """A stand-in for a network that draws noise when it is used."""

    multiple = 4

    def forward(self, semantics: torch.Tensor) -> torch.Tensor:
        return torch.rand(semantics.shape[0], 3, *semantics.shape[2:]) * 2 - 1


def test_randomness_comes_from_the_seed_alone_and_leaves_no_trace(tiny_model: Path) -> None:
    model = load_model(tiny_model)
    synth = Synthesizer(Model({"generator": Noisy()}, model.info, model.hash))
    label = layout(16, 16)
    torch.manual_seed(11)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    first = synth(label, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[arg-type]
    torch.rand(3)
    assert np.array_equal(synth(label, seed=1), first)
    assert not np.array_equal(synth(label, seed=2), first)


def test_png_record(synth: Synthesizer, tmp_path: Path) -> None:
    image = synth(layout(9, 11), seed=5)
    save_png(tmp_path / "photograph.png", image, synth.record(5))
    assert read_record(tmp_path / "photograph.png") == {
        "model": synth.hash,
        "seed": 5,
        "style": None,
        "gesso_version": version("gesso"),
    }
    with Image.open(tmp_path / "photograph.png") as stored:
        assert np.array_equal(np.asarray(stored), image)


def test_a_picture_from_elsewhere_has_no_record(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "other.png")
    assert read_record(tmp_path / "other.png") is None
