"""Matrix products by oneDNN and by torch.mm."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from gesso.networks import products
from gesso.networks.products import product

SIDES = st.integers(1, 40)


@pytest.fixture(params=["oneDNN", "torch"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(products, "_linear", lambda: None)
    elif products._linear() is None:
        pytest.skip("PyTorch has no oneDNN on this processor")


def as_given(matrix: torch.Tensor, how: str) -> torch.Tensor:
    """The same numbers, in another order in memory."""
    if how == "transposed":
        return matrix.t().contiguous().t()
    return torch.cat([matrix, matrix], dim=1)[:, : matrix.shape[1]] if how == "strided" else matrix


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("other", ["whole", "transposed", "strided"])
@pytest.mark.parametrize("one", ["whole", "transposed", "strided"])
def test_products_are_those_of_float64(one: str, other: str) -> None:
    @settings(max_examples=30, deadline=None)
    @given(SIDES, SIDES, SIDES)
    def check(rows: int, columns: int, summands: int) -> None:
        generator = torch.Generator().manual_seed(rows)
        left, right = (torch.randn(side, summands, generator=generator) for side in (rows, columns))
        found = product(as_given(left, one), as_given(right, other))
        assert found.shape == (rows, columns)
        assert_close(found.double(), left.double() @ right.double().t(), rtol=1e-5, atol=1e-5)

    check()


@pytest.mark.usefixtures("library")
def test_what_is_multiplied_stays_and_every_product_is_new() -> None:
    one, other = torch.randn(8, 8), torch.randn(8, 8)
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


def test_other_number_formats_go_to_torch() -> None:
    one, other = torch.randn(4, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert torch.equal(product(one, other), one @ other.t())


@pytest.mark.filterwarnings("ignore:TF32")
def test_onednn_switched_off_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("oneDNN was asked")

    monkeypatch.setattr(products, "_linear", lambda: refused)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    with torch.backends.mkldnn.flags(enabled=False):
        assert product(torch.ones(2, 3), torch.ones(4, 3)).tolist() == [[3.0] * 4] * 2


def test_without_the_operation_torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    products._linear.cache_clear()
    monkeypatch.setattr(products.platform, "machine", lambda: "arm64")
    try:
        assert products._linear() is None
        assert product(torch.ones(2, 3), torch.ones(4, 3)).tolist() == [[3.0] * 4] * 2
    finally:
        products._linear.cache_clear()


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_gradients_are_those_of_float64(wanted: tuple[bool, bool]) -> None:
    given = [torch.randn(side, 7, generator=torch.Generator().manual_seed(side)) for side in (5, 6)]
    found, true = ([matrix.clone().to(dtype) for matrix in given] for dtype in (torch.float32, torch.float64))
    for matrices in (found, true):
        for matrix, grad in zip(matrices, wanted, strict=True):
            matrix.requires_grad_(grad)
    factors = torch.randn(5, 6)
    (product(*found) * factors).sum().backward()
    ((true[0] @ true[1].t()) * factors).sum().backward()
    for matrix, other in zip(found, true, strict=True):
        assert (matrix.grad is None) == (other.grad is None)
        if matrix.grad is not None and other.grad is not None:
            assert_close(matrix.grad.double(), other.grad, rtol=1e-5, atol=1e-5)


def test_autocast_multiplies_in_its_own_format() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert product(torch.ones(2, 3), torch.ones(4, 3)).dtype == torch.bfloat16
