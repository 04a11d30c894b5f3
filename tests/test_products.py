"""Matrix products by oneDNN and by torch.mm."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from gesso.networks import products
from gesso.networks.products import product

SIDES = st.integers(1, 40)
needs_onednn = pytest.mark.skipif(products.LINEAR is None, reason="this PyTorch has no products of oneDNN")


@pytest.fixture(params=[pytest.param(True, id="oneDNN", marks=needs_onednn), pytest.param(False, id="torch")])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_pays", lambda: request.param)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Tensor]]:
    """What oneDNN was asked for, on a processor on which it pays."""
    asked: list[tuple[Tensor, Tensor]] = []

    def noted(one: Tensor, other: Tensor, *others: Any) -> Tensor:
        asked.append((one, other))
        found: Tensor = linear(one, other, *others)
        return found

    linear: Callable[..., Tensor] | None = products.LINEAR
    if linear is None:
        pytest.skip("this PyTorch has no products of oneDNN")
    monkeypatch.setattr(products, "LINEAR", noted)
    monkeypatch.setattr(products, "_pays", lambda: True)
    return asked


def drawn(rows: int, columns: int, how: str = "whole") -> Tensor:
    """Random numbers in an order in memory."""
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + 100 * columns))
    if how == "transposed":
        return matrix.t().contiguous().t()
    return torch.cat([matrix, matrix], dim=1)[:, :columns] if how == "strided" else matrix


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("other", ["whole", "transposed", "strided"])
@pytest.mark.parametrize("one", ["whole", "transposed", "strided"])
def test_products_are_those_of_float64(one: str, other: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(SIDES, SIDES, SIDES)
    def check(rows: int, columns: int, summands: int) -> None:
        left, right = drawn(rows, summands, one), drawn(columns, summands, other)
        found = product(left, right)
        assert found.shape == (rows, columns)
        assert_close(found.double(), left.double() @ right.double().t(), rtol=1e-5, atol=1e-5)

    check()


@pytest.mark.usefixtures("library")
def test_what_is_multiplied_stays_and_every_product_is_new() -> None:
    one, other = drawn(8, 8), drawn(8, 8)
    first = product(one, other)
    kept = first.clone()
    second = product(other, one)
    assert torch.equal(first, kept) and first.data_ptr() != second.data_ptr()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 0, 3), (4, 3, 0)])
def test_products_of_nothing(shape: tuple[int, int, int]) -> None:
    rows, columns, summands = shape
    found = product(torch.ones(rows, summands), torch.ones(columns, summands))
    assert found.shape == (rows, columns) and not found.any()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("shapes", [((2, 3), (4, 5)), ((3,), (4, 3)), ((1, 2, 3), (4, 3))])
def test_what_does_not_fit_is_refused_by_both(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(AssertionError):
        product(*map(torch.ones, shapes))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("how", ["whole", "transposed", "strided"])
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("alike", [True, False], ids=["sum", "weighted"])
def test_gradients_are_those_of_float64(wanted: tuple[bool, bool], how: str, alike: bool) -> None:
    found = [drawn(5, 7, how).detach(), drawn(6, 7, how).detach()]
    true = [matrix.double() for matrix in found]
    factors = torch.ones(()).expand(5, 6) if alike else drawn(5, 6)
    for matrices in (found, true):
        for matrix, grad in zip(matrices, wanted, strict=True):
            matrix.requires_grad_(grad)
    (product(*found) * factors).sum().backward()
    ((true[0] @ true[1].t()) * factors).sum().backward()
    for matrix, other, grad in zip(found, true, wanted, strict=True):
        assert (matrix.grad is not None) == grad
        if matrix.grad is not None and other.grad is not None:
            assert_close(matrix.grad.double(), other.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("library")
def test_gradients_have_gradients() -> None:
    found = [drawn(5, 7).requires_grad_(), drawn(6, 7).requires_grad_()]
    true = [matrix.detach().double().requires_grad_() for matrix in found]
    second = []
    for one, other in (found, true):
        (of_one,) = torch.autograd.grad(product(one, other).square().sum(), one, create_graph=True)
        second.append(torch.autograd.grad(of_one.square().sum(), (one, other)))
    for ours, theirs in zip(*second, strict=True):
        assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-3)


def test_onednn_multiplies_and_takes_gradients(calls: list[tuple[Tensor, Tensor]]) -> None:
    one, other = drawn(5, 7).requires_grad_(), drawn(6, 7).requires_grad_()
    product(one, other).sum().backward()
    assert len(calls) == 3


def test_what_onednn_is_not_asked_for(calls: list[tuple[Tensor, Tensor]]) -> None:
    one, other = drawn(5, 7), drawn(6, 7)
    assert torch.equal(product(one.double(), other.double()), one.double() @ other.double().t())
    with torch.autocast("cpu", torch.bfloat16):
        assert product(one, other).dtype == torch.bfloat16
    assert product(one.to("meta"), other.to("meta")).shape == (5, 6)
    assert_close(torch.compile(product, backend="eager", fullgraph=True)(one, other), one @ other.t())
    assert not calls


@pytest.mark.filterwarnings("ignore:TF32")
def test_onednn_switched_off_is_not_used(calls: list[tuple[Tensor, Tensor]]) -> None:
    with torch.backends.mkldnn.flags(enabled=False):
        assert product(torch.ones(2, 3), torch.ones(4, 3)).tolist() == [[3.0] * 4] * 2
    assert not calls


@needs_onednn
@pytest.mark.parametrize(
    ("maker", "capability", "pays"),
    [
        ("vendor_id\t: AuthenticAMD\n", "AVX512", True),
        ("vendor_id\t: AuthenticAMD\n", "AVX2", False),
        ("vendor_id\t: GenuineIntel\n", "AVX512", False),
        ("", "DEFAULT", False),
    ],
)
def test_it_pays_on_processors_of_amd_with_wide_vectors(
    maker: str, capability: str, pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(maker)
    monkeypatch.setattr(products, "CPUINFO", file)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert products._pays.__wrapped__() is pays


def test_where_there_is_no_onednn_it_does_not_pay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "CPUINFO", tmp_path / "nothing")
    monkeypatch.setattr(products.platform, "processor", lambda: "AMD64 Family 26, AuthenticAMD")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert products._pays.__wrapped__() is (products.LINEAR is not None)
    monkeypatch.setattr(products, "LINEAR", None)
    assert products._pays.__wrapped__() is False


@pytest.mark.usefixtures("library")
def test_arithmetic_is_counted_with_that_of_gradients() -> None:
    one, other = drawn(5, 7).requires_grad_(), drawn(6, 7).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        product(one, other).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 5 * 6 * 7
