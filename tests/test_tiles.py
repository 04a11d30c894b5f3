"""Photographs that are computed some rows at a time are those of the whole network, and leave nothing on the disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from gesso.errors import ConfigError, LabelError
from gesso.networks.indexed import Indexed
from gesso.networks.pix2pix import UNetGenerator
from gesso.synthesis.fast import sheets, tiles
from gesso.synthesis.fast.sheets import Desk, Sheet, Sums
from gesso.synthesis.fast.tiles import Tiles
from gesso.synthesis.synthesizer import load
from support import refused
from test_fast_pix2pixhd import CLASSES, GENERATORS, layout, network
from test_fast_spade import VARIANTS, z
from test_fast_spade import layout as spade_layout
from test_fast_spade import network as spade
from whole_styled import write_pix2pix_model, write_spade_model

pytestmark = pytest.mark.usefixtures("one_thread")
SOME = settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(params=["on the disk", "in memory"])
def anywhere(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "on the disk":
        monkeypatch.setattr(sheets, "SMALL", 0)


@torch.inference_mode()
def gap(generator: Any, rows: int, semantics: Indexed | Tensor, style: Tensor | None = None) -> float:
    """From the network in float64, as a share of the largest value, less what rounding does to the network itself."""
    dense = semantics.dense() if isinstance(semantics, Indexed) else semantics
    wanted = generator(dense, style)
    exact = generator.double()(dense.double(), None if style is None else style.double())
    found = Tiles(generator.float(), rows)(semantics, style)
    rounding = float((wanted - exact).abs().max())
    difference = float((found - exact).abs().max())
    return max(0.0, difference - 3 * rounding) / float(exact.abs().max())


@pytest.mark.parametrize("name", GENERATORS)
def test_pix2pixhd(name: str, anywhere: None) -> None:
    made, arguments = GENERATORS[name]
    assert gap(network(made, **arguments), 8, layout("blocks", (48, 56))) <= 1e-5


@SOME
@given(st.integers(2, 14), st.integers(2, 14), st.integers(1, 70))
def test_any_size_in_any_number_of_rows(height: int, width: int, rows: int) -> None:
    assert gap(network(), rows, layout("blocks", (4 * height, 4 * width))) <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_spade(variant: str, anywhere: None) -> None:
    generator, semantics = spade(**VARIANTS[variant]), spade_layout("blocks", (1, 64, 96))
    assert gap(generator, 16, semantics, z(generator, 1)) <= 1e-5


@pytest.mark.parametrize("upsampling", ["more", "most"])
@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_spade_of_all_depths(upsampling: str, rows: int) -> None:
    size = (1, 128, 256) if upsampling == "most" else (1, 64, 192)
    assert gap(spade(upsampling=upsampling), rows, spade_layout("noise", size)) <= 1e-5


def test_pictures_instead_of_codes_and_styles() -> None:
    styled = network(channels=CLASSES + 2)
    style = torch.randn(1, 2, 32, 48, generator=torch.Generator().manual_seed(0))
    assert gap(styled, 8, layout("blocks", (32, 48)), style) <= 1e-5
    assert gap(network(), 8, torch.randn(1, CLASSES, 32, 48)) <= 1e-5
    assert gap(spade(), 16, torch.randn(1, 5, 64, 96)) <= 1e-5


def test_what_cannot_be_computed_is_refused() -> None:
    with pytest.raises(ConfigError, match="no way to compute UNetGenerator"):
        Tiles(UNetGenerator(in_channels=3, width=4, downs=5).eval(), 64)
    with pytest.raises(LabelError, match="multiples of 4"):
        Tiles(network(), 64)(layout("blocks", (30, 32)))
    with pytest.raises(LabelError, match="halved"):
        Tiles(spade(), 64)(spade_layout("blocks", (1, 60, 64)))


# --------------------------------------------------------------------------------------------------------------- disk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sheets, "SMALL", 0)
    return tmp_path


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_on_the_disk(folder: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []
    create: Callable[..., Any] = tempfile.TemporaryFile

    def noticed(*args: Any, **kwargs: Any) -> Any:
        opened.append(create(*args, **kwargs))
        return opened[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", noticed)
    Tiles(network(), 8)(layout("blocks", (32, 48)))
    assert len(opened) > 8 and all(file.closed for file in opened) and not list(folder.iterdir())
    add, calls = Sums.add, iter(range(20))

    def interrupted(self: Sums, pixels: Tensor) -> None:
        if next(calls) == 13:
            raise error
        add(self, pixels)

    monkeypatch.setattr(Sums, "add", interrupted)
    opened.clear()
    with pytest.raises(error):
        Tiles(network(), 8)(layout("blocks", (32, 48)))
    assert opened and all(file.closed for file in opened) and not list(folder.iterdir())


def test_files_are_closed_as_soon_as_nobody_reads_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, most, make, close = 0, 0, Sheet.__init__, Sheet.close

    def made(self: Sheet, *arguments: Any) -> None:
        nonlocal live, most
        make(self, *arguments)
        live += 1
        most = max(most, live)

    def closed(self: Sheet) -> None:
        nonlocal live
        live -= 1
        close(self)

    monkeypatch.setattr(Sheet, "__init__", made)
    monkeypatch.setattr(Sheet, "close", closed)
    Tiles(network(blocks=4), 8)(layout("blocks", (32, 48)))
    assert most == 3 and live == 1  # the last is closed with the desk


def test_a_full_disk_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "temporary_bytes", lambda: 10)
    with pytest.raises(ConfigError, match=r"temporary files, but only 0\.0 GiB are free: make room"):
        Tiles(network(), 8)(layout("blocks", (32, 48)))
    with pytest.raises(ConfigError, match="temporary files"):
        Tiles(spade(), 8)(spade_layout("blocks", (1, 64, 96)))
    with Desk(8, 8) as desk:
        sheet = desk.sheet((8, 8), 3)
        sheet._file.close()  # type: ignore[union-attr]
        sheet._file = open("/dev/full", "r+b", buffering=0)  # type: ignore[assignment]
        with pytest.raises(ConfigError, match=r"could not be written .*No space left.*TMPDIR"):
            sheet.write(0, torch.ones(8, 8, 3))
        sheet.close()


def test_sheets_hold_what_was_written(folder: Path) -> None:
    values = torch.randn(9, 7, 5)
    with ExitStack() as files:
        sheet = Sheet((9, 7), 5, files)
        sheet.write(4, values[4:])
        sheet.write(0, values[:4].permute(1, 0, 2).contiguous().permute(1, 0, 2))
        assert torch.equal(sheet.read(0, 9), values) and torch.equal(sheet.read(3, 6), values[3:6])


def test_sums_of_parts_are_those_of_the_whole() -> None:
    values = torch.randn(40, 7, 5, generator=torch.Generator().manual_seed(0)) * 3 + 100
    sums = Sums()
    for part in values.split([1, 20, 19]):
        sums.add(part)
    flat = values.double().view(-1, 5)
    np.testing.assert_allclose(sums.mean, flat.mean(dim=0), rtol=1e-9)
    np.testing.assert_allclose(sums.variance, flat.var(dim=0, correction=0), rtol=1e-6)


# --------------------------------------------------------------------------------------------------- as people meet it


@pytest.mark.parametrize("size", [(61, 107), (17, 5), (64, 96)])
def test_photographs_in_tiles_are_the_same(size: tuple[int, int], tiny_model: Path) -> None:
    whole, tiled = load(tiny_model, "cpu"), load(tiny_model, tiles=16)
    label = np.random.default_rng(0).integers(11, size=(size[0] // 5 + 1, size[1] // 5 + 1))
    label = label.repeat(5, axis=0).repeat(5, axis=1)[: size[0], : size[1]]
    wanted, found = whole(label), tiled(label)
    assert found.shape == wanted.shape and np.abs(found.astype(int) - wanted).max() <= 1
    assert tiled.record() == whole.record()


def test_spade_photographs_in_tiles_are_the_same(tmp_path: Path) -> None:
    path = write_spade_model(tmp_path / "spade.safetensors")
    label = np.zeros((70, 100), dtype=np.int64)
    label[20:50, 30:60] = 1
    wanted, found = load(path, "cpu")(label, seed=3), load(path, tiles=7)(label, seed=3)
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_memory_is_not_asked_for(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gesso.devices.available_memory", lambda *_: 1000)
    label = np.zeros((64, 64), dtype=np.int64)
    label[:30] = 1
    with pytest.raises(ConfigError, match="are free on cpu"):
        load(tiny_model, "cpu")(label)
    assert load(tiny_model, tiles=16)(label).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"tiles": 0}, "--tiles 0: give the rows"),
        ({"tiles": 8, "device": "cuda"}, "Tiles are computed on the CPU"),
        ({"tiles": 8, "runtime": "plain"}, "The runtime plain computes whole photographs"),
        ({"tiles": 8, "runtime": "onnx"}, "The runtime onnx computes whole photographs"),
    ],
)
def test_tiles_that_cannot_be(arguments: dict[str, Any], said: str, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tiny_model, **arguments)


def test_pix2pix_has_no_tiles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no way to compute UNetGenerator"):
        load(write_pix2pix_model(tmp_path / "pix2pix.safetensors"), tiles=64)


def test_the_flag(gesso: Any, tiny_model: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    """Of gesso generate."""
    common = ("generate", tiny_model, tiny_dataset, "--device", "cpu", "--limit", 1)
    for out, flags in ((tmp_path / "whole", ()), (tmp_path / "tiled", ("--tiles", 16))):
        assert gesso(*common, "--out", out, *flags).code == 0
    (wanted,), (found,) = ([*(tmp_path / name).glob("*.png")] for name in ("whole", "tiled"))
    gap = np.asarray(Image.open(wanted)).astype(int) - np.asarray(Image.open(found))
    assert np.abs(gap).max() <= 1 and wanted.name == found.name
    ended = gesso(*common, "--tiles", 16, "--runtime", "compile")
    refused(ended, "The runtime compile computes whole photographs")
