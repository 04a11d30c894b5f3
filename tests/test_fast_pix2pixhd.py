"""The engine for pix2pixHD's generators gives what the networks give, for every layout that they are not noise for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from gesso.errors import LabelError
from gesso.labels import Semantics
from gesso.networks.indexed import Indexed, indexed
from gesso.networks.pix2pixhd import CoarseToFineGenerator, GlobalGenerator, initialise, shrink
from gesso.synthesis.fast import fast, pix2pixhd
from gesso.synthesis.fast.norms import Norm, statistics, weighted_statistics
from gesso.synthesis.fast.pix2pixhd import FastPix2pixHD, Generator, join, shrunk

CLASSES = 5
WITHIN = 1e-5  # of the largest value


def network(kind: type[Generator] = GlobalGenerator, channels: int = CLASSES, **arguments: object) -> Generator:
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # for the biases
        made = kind(in_channels=channels, **{"width": 8, "downs": 2, "blocks": 2, **arguments})  # type: ignore[arg-type]
    initialise(made, random)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=random)
            module.running_var.uniform_(0.1, 1, generator=random)
            module.bias.data.normal_(0, 0.1, generator=random)
    return made.eval()


def codes(kind: str, size: tuple[int, int], batch: int = 1) -> Tensor:
    height, width = size
    random = torch.Generator().manual_seed(height * width)
    noise = torch.randint(0, CLASSES, (batch, height, width), generator=random)
    rows, columns = torch.arange(height).unsqueeze(1), torch.arange(width)
    return {
        "noise": noise,
        "blocks": noise[:, rows // 9, columns // 9],
        "stripes": (columns // 5 % CLASSES).expand(batch, height, width),
        "one pixel": (noise[:, :1, :1] + ((rows == height // 2) & (columns == 3))) % CLASSES,
    }[kind].contiguous()


def layout(kind: str, size: tuple[int, int], batch: int = 1) -> Indexed:
    return Indexed(codes(kind, size, batch), torch.eye(CLASSES))


@torch.no_grad()
def assert_same(generator: Generator, semantics: Indexed, style: Tensor | None = None) -> None:
    """With codes and with dense semantics, the engine is as near to the plain network as rounding allows."""
    dense = semantics.dense()
    wanted = generator(dense, style)
    exact = generator.double()(dense.double(), None if style is None else style.double())
    engine = FastPix2pixHD(generator.float())
    largest = exact.abs().max()
    bound = WITHIN * largest + 3 * (wanted - exact).abs().max()  # where the plain network's own rounding is larger
    for found in (engine(semantics, style), engine(dense, style)):
        assert found.shape == wanted.shape
        assert (found - exact).abs().max() <= bound
        assert bound < 1e-3 * largest  # or the comparison would say nothing


GENERATORS = {
    "global": (GlobalGenerator, {}),
    "global, resize": (GlobalGenerator, {"doubling": "resize"}),
    "global, batch norm": (GlobalGenerator, {"norm": "batch"}),
    "without blocks": (GlobalGenerator, {"blocks": 0}),
    "one enhancer": (CoarseToFineGenerator, {"enhancer_blocks": 1}),
    "two enhancers": (CoarseToFineGenerator, {"enhancers": 2, "enhancer_blocks": 1, "downs": 1}),
    "batch norm, resize": (CoarseToFineGenerator, {"norm": "batch", "doubling": "resize"}),
}


@pytest.mark.parametrize("kind", ["noise", "blocks", "stripes", "one pixel"])
@pytest.mark.parametrize("name", GENERATORS)
def test_engine_gives_what_the_network_gives(name: str, kind: str) -> None:
    made, arguments = GENERATORS[name]
    assert_same(network(made, **arguments), layout(kind, (32, 48)))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 12), st.integers(2, 12), st.integers(1, 3), st.sampled_from(["noise", "stripes"]))
def test_any_size_that_the_network_takes(height: int, width: int, batch: int, kind: str) -> None:
    assert_same(network(), layout(kind, (4 * height, 4 * width), batch))


def test_winograd_and_reused_memory_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pix2pixhd, "REUSED_FROM", 0)
    assert_same(network(width=64, blocks=1), layout("blocks", (64, 80)))
    assert_same(network(CoarseToFineGenerator, width=32, enhancer_blocks=2), layout("blocks", (64, 80), 2))


def test_constant_layouts_agree_where_batch_norm_does_not_divide_noise() -> None:
    semantics = Indexed(torch.full((1, 32, 32), 2), torch.eye(CLASSES))
    assert_same(network(norm="batch"), semantics)
    assert FastPix2pixHD(network())(semantics).isfinite().all()


@pytest.mark.parametrize("kind", [GlobalGenerator, CoarseToFineGenerator])
def test_real_layouts(kind: type[Generator], cityscapes_sample: Path) -> None:
    label = sorted((cityscapes_sample / "test_label").glob("*.png"))[0]
    instance = cityscapes_sample / "test_inst" / label.name.replace("labelIds", "instanceIds")
    batch = {
        name: torch.from_numpy(np.asarray(Image.open(path).resize((256, 128), Image.Resampling.NEAREST)).astype(int))[
            None
        ]
        for name, path in (("label", label), ("instance", instance))
    }
    batch["label"][(batch["label"] < 0) | (batch["label"] > 34)] = 34
    semantics = Semantics(classes=35, boundary=True)
    found = indexed(semantics, batch)
    assert found is not None
    assert torch.equal(found.dense(), semantics.encode(batch))
    assert_same(network(kind, channels=36), found)


@pytest.mark.parametrize("per", ["object", "pixel"])
def test_style_maps_are_appended(per: str) -> None:
    semantics = layout("blocks", (32, 40), 2)
    random = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, 32, 40, generator=random)
    constant = torch.randn(CLASSES, 3, generator=random)[(semantics.codes + 1) % CLASSES].permute(0, 3, 1, 2)
    style = pixels if per == "pixel" else constant
    joined = join(semantics, style)
    assert isinstance(joined, Indexed) == (per == "object")
    dense = joined.dense() if isinstance(joined, Indexed) else joined
    assert torch.equal(dense, torch.cat([semantics.dense(), style], dim=1))
    assert_same(network(channels=CLASSES + 3), semantics, style)


@pytest.mark.parametrize("kind", ["noise", "blocks", "stripes"])
def test_pooled_codes_are_pooled_semantics(kind: str) -> None:
    semantics = layout(kind, (22, 34), 2)
    pooled = shrunk(semantics)
    assert isinstance(pooled, Indexed)
    torch.testing.assert_close(pooled.dense(), shrink(semantics.dense()))


def test_what_comes_in_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pix2pixhd, "REUSED_FROM", 0)
    semantics = layout("noise", (32, 32), 2)
    dense, vectors = semantics.dense(), semantics.vectors.clone()
    engine = FastPix2pixHD(network())
    first = engine(dense)
    assert torch.equal(dense, semantics.dense())
    assert torch.equal(engine(dense), first)
    engine(semantics)
    assert torch.equal(semantics.vectors, vectors)


def test_sizes_are_refused_as_the_network_refuses_them() -> None:
    generator = network()
    for size in ((30, 32), (4, 32)):
        semantics = layout("noise", size)
        with pytest.raises(LabelError) as plainly:
            generator(semantics.dense())
        with pytest.raises(LabelError) as quickly:
            FastPix2pixHD(generator)(semantics)
        assert str(quickly.value) == str(plainly.value)


def test_networks_in_training_have_no_engine() -> None:
    assert fast(network().train()) is None
    assert isinstance(fast(network()), FastPix2pixHD)


def test_statistics_of_pixels_and_of_rows_that_stand_for_them() -> None:
    random = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 7, generator=random) + 100  # a mean that costs digits
    index = torch.randint(0, 50, (30000,), generator=random)
    pixels = rows[index]
    variance, mean = torch.var_mean(pixels.double(), dim=0, correction=0)
    for found in (statistics(pixels), weighted_statistics(rows, torch.bincount(index, minlength=50))):
        torch.testing.assert_close(found[0], mean, rtol=1e-8, atol=0)
        torch.testing.assert_close(found[1], variance, rtol=1e-5, atol=0)


def test_instance_norm_of_pixels() -> None:
    x = torch.randn(1, 6, 40, 50, generator=torch.Generator().manual_seed(0)) * 3 + 1
    pixels = x[0].flatten(1).t().contiguous()
    found = Norm(torch.nn.InstanceNorm2d(6), torch.ones(6)).of(pixels).apply_(pixels, rectify=True)
    torch.testing.assert_close(found.t().view_as(x), F.instance_norm(x).relu(), rtol=1e-5, atol=1e-6)


def test_styles_that_share_a_hash_value_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    semantics = layout("blocks", (24, 32))
    style = torch.randn(3, CLASSES)[:, semantics.codes].movedim(0, 1).clone()
    style[..., :12] *= 2  # objects of one class differ
    assert isinstance(join(semantics, style), Indexed)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.zeros(4, dtype=torch.int64))
    joined = join(semantics, style)
    assert isinstance(joined, Tensor) and torch.equal(joined, torch.cat([semantics.dense(), style], dim=1))


def test_styles_of_another_precision() -> None:
    semantics = layout("blocks", (24, 32))
    style = torch.ones(1, 3, 24, 32, dtype=torch.float64)
    joined = join(semantics, style)
    assert isinstance(joined, Indexed) and joined.shape == (1, CLASSES + 3, 24, 32)
