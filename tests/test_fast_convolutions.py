"""Prepared convolutions give what PyTorch's give, at any size, for any number of channels and images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gesso.networks import products
from gesso.synthesis.fast import convolutions, strips, winograd
from gesso.synthesis.fast.convolutions import Convolution, Doubling, FewChannels, Resizing
from gesso.synthesis.fast.strips import Mode
from gesso.synthesis.fast.winograd import Winograd

SIZES = st.tuples(st.integers(2, 19), st.integers(2, 19))
CHANNELS = st.integers(1, 9)
SOME = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
MODES = st.sampled_from(["zeros", "reflect"])
BATCHES = st.integers(1, 3)


def assert_close(found: Tensor, wanted: Tensor, within: float = 1e-5) -> None:
    """Relative to the largest value."""
    assert found.shape == wanted.shape
    assert (found.double() - wanted).abs().max() <= within * wanted.abs().max()


@pytest.fixture(params=["whole", "strips", "groups"], autouse=True)
def in_strips(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test runs with and without strips, and in every way of computing them."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "whole":
            patch.setattr(strips, "STRIP", 2000)
            patch.setattr(convolutions, "SUMMANDS_FROM", 1)
            patch.setattr(convolutions, "GROUPED", 0 if request.param == "strips" else 10**6)
            patch.setattr(convolutions, "SUMMANDS", 18)
        yield


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def plain(x: Tensor, weight: Tensor, bias: Tensor | None, mode: str, padding: int, stride: int = 1) -> Tensor:
    """In float64."""
    padded = F.pad(x.double(), (padding,) * 4, mode="reflect" if mode == "reflect" else "constant")
    return F.conv2d(padded, weight.double(), None if bias is None else bias.double(), stride)


@SOME
@given(
    SIZES,
    CHANNELS,
    CHANNELS,
    BATCHES,
    MODES,
    st.booleans(),
    st.booleans(),
)
def test_winograd_is_the_convolution(
    size: tuple[int, int],
    channels: int,
    out: int,
    batch: int,
    mode: Mode,
    biased: bool,
    kept: bool,
) -> None:
    x, weight, bias = draw(batch, channels, *size), draw(out, channels, 3, 3), draw(out) if biased else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "TRANSFORMED", 16 * channels * 4 * 7)  # so that there are several strips
        patch.setattr(winograd, "TRANSFORMED_WIDE", 16 * channels * 4 * 7)
        patch.setattr(winograd, "SUMMANDS", 4)  # and several groups of channels
        if not kept:
            patch.setattr(winograd, "KEPT", 0)
        found = Winograd(weight, bias, mode)(x.to(memory_format=torch.channels_last))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_close(found, plain(x, weight, bias, mode, 1))


@SOME
@given(SIZES, CHANNELS, CHANNELS, BATCHES, MODES, st.booleans(), st.booleans())
def test_of_few_pixels_weights_are_read_as_they_are(
    size: tuple[int, int], channels: int, out: int, batch: int, mode: Mode, biased: bool, given: bool
) -> None:
    x, weight, bias = draw(batch, channels, *size), draw(out, channels, 3, 3), draw(out) if biased else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolutions, "WINOGRAD_FROM", 1)
        patch.setattr(winograd, "KEPT", 0)
        patch.setattr(convolutions, "FEW_PIXELS", 2000)
        patch.setattr(Winograd, "__call__", None)
        convolution = Convolution(weight, bias, padding=1, mode=mode)
        place = torch.empty(batch, *size, out).permute(0, 3, 1, 2) if given else None
        found = convolution(x.to(memory_format=torch.channels_last), place)
    assert found.is_contiguous(memory_format=torch.channels_last) and (place is None or found is place)
    assert_close(found, plain(x, weight, bias, mode, 1))


def test_winograd_slices_weights_that_are_too_large_to_keep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winograd, "KEPT", 0)
    monkeypatch.setattr(winograd, "SLICE", 16 * 4 * 32 * 64)
    monkeypatch.setattr(winograd, "SUMMANDS", 20)
    x, weight, bias = draw(2, 32, 9, 13), draw(200, 32, 3, 3), draw(200)
    prepared = Winograd(weight, bias, "reflect")
    assert not prepared.kept
    assert_close(prepared(x), plain(x, weight, bias, "reflect", 1))


@pytest.fixture(params=[True, False], ids=["oneDNN", "torch"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Who multiplies."""
    if request.param and products.LINEAR is None:
        pytest.skip("this PyTorch has no products of oneDNN")
    monkeypatch.setattr(products, "_pays", lambda: request.param)
    return bool(request.param)


def rounding(ours: Callable[[Tensor], Tensor], x: Tensor, weight: Tensor, stride: int = 1) -> float:
    """Root mean square of the rounding, as a multiple of that of PyTorch's convolution behind zeros."""
    wanted = plain(x, weight, None, "zeros", 1, stride)
    found = [(y - wanted).pow(2).mean().sqrt() for y in (ours(x), F.conv2d(x, weight, stride=stride, padding=1))]
    return float(found[0] / found[1])


def test_winograd_rounds_little_more_than_direct_summation(onednn: bool) -> None:
    x, weight = draw(1, 512, 32, 32).relu(), draw(128, 512, 3, 3)
    assert rounding(Winograd(weight, None, "zeros"), x, weight) < (3 if onednn else 2.2)


def test_products_of_large_weights_round_little_more_than_direct_summation(
    onednn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolutions, "WINOGRAD_FROM", 10**6)
    monkeypatch.setattr(convolutions, "GROUPED", 0)
    monkeypatch.setattr(strips, "STRIP", 2**30)  # products of single pixels round otherwise
    x, weight = draw(1, 512, 16, 16).relu(), draw(128, 512, 3, 3)
    assert rounding(Convolution(weight, stride=2, padding=1), x, weight, 2) < (3 if onednn else 2)


@pytest.mark.parametrize("kind", [Doubling, Resizing])
def test_memory_that_is_used_again_has_no_history(kind: type) -> None:
    weight = draw(8, 8, 3, 3)
    kind(weight)(draw(1, 8, 6, 6).requires_grad_())
    assert not kind(weight)(draw(1, 8, 6, 6)).requires_grad


@SOME
@given(SIZES, CHANNELS, CHANNELS, BATCHES, MODES, st.sampled_from([1, 2]))
def test_any_convolution(size: tuple[int, int], channels: int, out: int, batch: int, mode: Mode, stride: int) -> None:
    x, weight, bias = draw(batch, channels, *size), draw(out, channels, 3, 3), draw(out)
    found = Convolution(weight, bias, stride=stride, padding=1, mode=mode)(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_close(found, plain(x, weight, bias, mode, 1, stride))


@pytest.mark.parametrize("mode", ["zeros", "reflect"])
@pytest.mark.parametrize("size", [(32, 17), (8, 8)])
def test_wide_convolutions_go_through_winograd_where_there_are_enough_tiles(size: tuple[int, int], mode: Mode) -> None:
    x, weight, bias = draw(1, 256, *size), draw(256, 256, 3, 3), draw(256)
    prepared = Convolution(weight, bias, padding=1, mode=mode)
    assert prepared.winograd is not None
    assert_close(prepared(x), plain(x, weight, bias, mode, 1))


@SOME
@given(SIZES, CHANNELS, CHANNELS, BATCHES, st.booleans())
def test_doubling_is_the_transposed_convolution(
    size: tuple[int, int], channels: int, out: int, batch: int, biased: bool
) -> None:
    x, weight, bias = draw(batch, channels, *size), draw(channels, out, 3, 3), draw(out) if biased else None
    found = Doubling(weight, bias)(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    doubles = x.double(), weight.double(), None if bias is None else bias.double()
    assert_close(found, F.conv_transpose2d(*doubles, stride=2, padding=1, output_padding=1))


@SOME
@given(SIZES, CHANNELS, CHANNELS, BATCHES, st.booleans())
def test_resizing_is_the_convolution_of_the_resized(
    size: tuple[int, int], channels: int, out: int, batch: int, biased: bool
) -> None:
    x, weight, bias = draw(batch, channels, *size), draw(out, channels, 3, 3), draw(out) if biased else None
    found = Resizing(weight, bias)(x)
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert_close(found, plain(F.interpolate(x, scale_factor=2), weight, bias, "reflect", 1))


@pytest.mark.parametrize("size", [(8, 12), (9, 13)])
@pytest.mark.parametrize("kind", [Convolution, Doubling, Winograd])
def test_memory_that_is_handed_in_is_filled(kind: type, size: tuple[int, int]) -> None:
    x, weight = draw(1, 8, *size), draw(8, 8, 3, 3)
    prepared = Winograd(weight, None, "zeros") if kind is Winograd else kind(weight)
    wanted = prepared(x)
    out = torch.full_like(wanted, torch.nan)
    assert prepared(x, out) is out
    assert torch.equal(out, wanted)


@SOME
@given(st.tuples(st.integers(4, 30), st.integers(4, 30)), CHANNELS, st.integers(1, 4), BATCHES, st.booleans())
def test_few_channels_are_the_convolution(
    size: tuple[int, int], channels: int, out: int, batch: int, biased: bool
) -> None:
    x, weight, bias = draw(batch, channels, *size), draw(out, channels, 7, 7), draw(out) if biased else None
    assert_close(FewChannels(weight, bias)(x), plain(x, weight, bias, "reflect", 3))
