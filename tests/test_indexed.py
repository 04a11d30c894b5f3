"""Semantics as codes: distinct neighbourhoods, and convolutions computed once for each of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gesso.data import layouts
from gesso.data.dataset import SemanticDataset
from gesso.data.preprocessing import Preprocessing
from gesso.data.spaces import published
from gesso.labels import Semantics
from gesso.networks import indexed as module
from gesso.networks.frugal import checkpoint_activations
from gesso.networks.indexed import Indexed, Patterns, dense, indexed, resized
from gesso.networks.spade import SPADE, SpadeGenerator, initialise
from gesso.recipes import spade as recipe
from support import PlainEngine

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = ("noise", "constant", "columns", "rows", "one pixel", "blocks")
CODES = 7


def painted(kind: str, size: tuple[int, int, int], seed: int = 0) -> Tensor:
    """A map of codes (B, H, W) of one kind."""
    batch, height, width = size
    random = torch.Generator().manual_seed(seed)
    codes = torch.zeros(size, dtype=torch.int64)
    if kind == "noise":
        return torch.randint(CODES, size, generator=random)
    if kind == "columns":
        return codes + torch.randint(CODES, (width,), generator=random)
    if kind == "rows":
        return codes + torch.randint(CODES, (height, 1), generator=random)
    if kind == "one pixel":
        codes[:, height // 2, -1] = CODES - 1
    elif kind == "blocks":
        coarse = torch.randint(CODES, (batch, -(-height // 4), -(-width // 4)), generator=random)
        codes = coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)[:, :height, :width].contiguous()
    return codes


def real(root: Path, split: str, height: int, width: int, count: int = 2) -> tuple[Semantics, dict[str, Tensor]]:
    listing = layouts.find(root, split)
    space = listing.space or published(layouts.find(root, split).convention)
    dataset = SemanticDataset(
        listing.samples[:count],
        space,
        Preprocessing(resize="fixed", height=height, width=width),
        training=False,
        instances=True,
    )
    batch = {key: torch.stack([item[key] for item in dataset]) for key in ("label", "instance")}
    return Semantics(classes=len(space), dont_care=True, boundary=True), batch


def dense_windows(codes: Tensor, kernel: int, stride: int, padding: int, mode: str) -> Tensor:
    """(B, H', W', kernel * kernel), -1 outside."""
    planes = codes.double().unsqueeze(1)
    planes = F.pad(planes, (padding,) * 4, **({"value": -1} if mode == "zeros" else {"mode": "reflect"}))
    windows = planes.unfold(2, kernel, stride).unfold(3, kernel, stride)[:, 0]
    return windows.flatten(3).long()


def near(ours: Tensor, theirs: Tensor, tolerance: float = 1e-6) -> None:
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    scale = theirs.abs().max().clamp(min=1e-30)
    assert ((ours - theirs).abs().max() / scale).item() <= tolerance


@st.composite
def neighbourhoods(draw: st.DrawFn) -> tuple[Tensor, int, int, int, str]:
    kernel = draw(st.sampled_from([1, 3, 4, 5, 7]))
    mode = draw(st.sampled_from(["zeros", "reflect"]))
    least = max(kernel, kernel // 2 + 1)
    size = (draw(st.integers(1, 3)), draw(st.integers(least, 13)), draw(st.integers(least, 13)))
    codes = painted(draw(st.sampled_from(KINDS)), size, draw(st.integers(0, 99)))
    return codes, kernel, draw(st.sampled_from([1, 2])), kernel // 2, mode


@settings(max_examples=80, deadline=None)
@given(neighbourhoods())
def test_patterns_are_the_distinct_windows(case: tuple[Tensor, int, int, int, str]) -> None:
    codes, kernel, stride, padding, mode = case
    found = Patterns.find(codes, kernel, stride, padding, mode)
    assert found is not None
    windows = dense_windows(codes, kernel, stride, padding, mode)
    members = torch.where(found.members == found.outside, -1, found.members)
    assert torch.equal(members[found.index], windows)
    assert len(found) == len(windows.flatten(0, 2).unique(dim=0)) and found.outside == codes.max() + 1


@settings(max_examples=80, deadline=None)
@given(neighbourhoods(), st.sampled_from([2, 40]))
def test_convolutions_of_patterns_and_their_gradients(case: tuple[Tensor, int, int, int, str], channels: int) -> None:
    codes, kernel, stride, padding, mode = case
    torch.manual_seed(int(codes.sum()))
    shapes = ((CODES, channels), (5, channels, kernel, kernel), (5,))
    tensors = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    vectors, weight, bias = tensors
    dense = vectors[codes].movedim(-1, 1)
    padded = F.pad(dense, (padding,) * 4, "constant" if mode == "zeros" else mode)
    plain = F.conv2d(padded, weight, bias, stride)
    ours = Indexed(codes, vectors).convolved(weight, bias, stride, padding, mode)
    assert ours is not None and ours.shape == plain.shape
    near(ours.dense(), plain)
    weights = torch.randn_like(plain)
    expected = torch.autograd.grad((plain * weights).sum(), tensors)
    for gradient, other in zip(torch.autograd.grad((ours.dense() * weights).sum(), tensors), expected, strict=True):
        near(gradient, other, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_other_precisions(kind: str, dtype: torch.dtype) -> None:
    codes = painted(kind, (2, 9, 10))
    vectors, weight = torch.randn(CODES, 6, dtype=dtype), torch.randn(4, 6, 3, 3, dtype=dtype)
    plain = F.conv2d(vectors[codes].movedim(-1, 1).double(), weight.double(), padding=1)
    ours = Indexed(codes, vectors).convolved(weight, None, padding=1)
    assert ours is not None and ours.vectors.dtype == dtype
    near(ours.dense().double(), plain, 1e-6 if dtype == torch.float32 else 0.03)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_bfloat16(kind: str) -> None:
    """Under autocast they are as near to those in float64 as the dense ones are."""
    codes, vectors = painted(kind, (2, 9, 10)), torch.randn(CODES, 6)
    gradients = {}
    for way in ("codes", "dense", "exact"):
        torch.manual_seed(1)
        convolution = torch.nn.Conv2d(6, 8, 3, padding=1)
        x = vectors.clone()
        if way == "exact":
            convolution, x = convolution.double(), x.double()
        x.requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=way != "exact"):
            if way == "codes":
                found = Indexed(codes, x).convolved(convolution.weight.bfloat16(), convolution.bias, padding=1)
                assert found is not None
                y = found.dense()
            else:
                y = convolution(x[codes].movedim(-1, 1))
        (y.double() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
        assert x.grad is not None and convolution.weight.grad is not None
        gradients[way] = [x.grad.double(), convolution.weight.grad.double()]
    for ours, plain, exact in zip(*gradients.values(), strict=True):
        assert (ours - exact).abs().max() <= 2 * (plain - exact).abs().max() + 0.01 * exact.abs().max()


def test_lookups_and_products_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, vectors = painted("noise", (1, 20, 20)), torch.randn(CODES, 6)
    weight, patterns = torch.randn(4, 6, 3, 3), Patterns.find(codes, 3, padding=1)
    assert patterns is not None
    results = []
    for cost in (0.0, math.inf):
        monkeypatch.setattr(module, "SUM", cost)
        results.append(patterns.convolved(vectors, weight))
    near(*results)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(KINDS), st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(1, 20))
@example("noise", 7, 9, 3, 30)
def test_resized_like_interpolate(kind: str, height: int, width: int, rows: int, columns: int) -> None:
    ours = Indexed(painted(kind, (2, height, width)), torch.randn(CODES, 3))
    plain = F.interpolate(ours.dense(), (rows, columns), mode="nearest")
    assert torch.equal(ours.resized((rows, columns)).dense(), plain)
    assert ours.resized((height, width)) is ours


SEMANTICS = (
    {"classes": 6},
    {"classes": 6, "dont_care": True},
    {"classes": 6, "boundary": True},
    {"classes": 6, "dont_care": True, "boundary": True},
    {"classes": 6, "colours": tuple((i, 255 - i, 40 * i) for i in range(7))},
    {"classes": 6, "colours": tuple((i, 255 - i, 40 * i) for i in range(7)), "boundary": True},
)


@pytest.mark.parametrize("arguments", SEMANTICS)
def test_indexed_is_what_encode_gives(arguments: dict[str, object]) -> None:
    semantics = Semantics.model_validate(arguments)
    batch = {"label": painted("blocks", (2, 9, 11)), "instance": painted("blocks", (2, 9, 11), seed=1)}
    ours, plain = indexed(semantics, batch), semantics.encode(batch)
    assert ours is not None and torch.equal(ours.dense(), plain) and ours.dense().stride() == plain.stride()
    assert ours.shape == plain.shape and len(ours) == 2


def test_pictures_have_no_codes() -> None:
    assert indexed(Semantics(source_channels=3), {"source": torch.zeros(1, 3, 4, 4)}) is None


@pytest.mark.parametrize("folder", ["camvid", "cityscapes_sample"])
def test_real_layouts(folder: str, request: pytest.FixtureRequest) -> None:
    semantics, batch = real(request.getfixturevalue(folder), "train", 48, 96)
    ours, plain = indexed(semantics, batch), semantics.encode(batch)
    assert ours is not None and torch.equal(ours.dense(), plain)
    torch.manual_seed(3)
    first, second = torch.randn(8, semantics.channels, 3, 3), torch.randn(6, 8, 3, 3)
    hidden = ours.convolved(first, torch.ones(8), padding=1)
    assert hidden is not None
    result = hidden.with_vectors(hidden.vectors.relu()).convolved(second, None, padding=1)
    assert result is not None
    expected = F.conv2d(F.conv2d(plain, first, torch.ones(8), padding=1).relu(), second, padding=1)
    near(result.dense(), expected)
    assert len(result.vectors) < 0.7 * result.codes.numel(), "a street scene repeats itself"


def test_what_is_found_is_found_once() -> None:
    ours = Indexed(painted("blocks", (1, 16, 16)), torch.randn(CODES, 3))
    small = ours.resized((8, 8))
    assert small.codes is ours.with_vectors(torch.zeros(CODES, 1)).resized((8, 8)).codes
    patterns = small.patterns(3, padding=1)
    assert patterns is not None and patterns is ours.resized((8, 8)).patterns(3, padding=1)
    assert patterns is not small.patterns(3, padding=1, mode="reflect")
    hidden = [small.convolved(torch.randn(4, 3, 3, 3), None, padding=1) for _ in range(2)]
    assert hidden[0] and hidden[1] and hidden[0].patterns(3) is hidden[1].patterns(3)


@pytest.mark.parametrize("hashing", [lambda w: torch.zeros_like(w.starts), lambda w: w.column(0).long()])
def test_a_collision_is_noticed(hashing: object, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = painted("noise", (1, 12, 12))
    monkeypatch.setattr(module._Windows, "hashed", hashing)
    assert Patterns.find(codes, 3, padding=1) is None
    assert Indexed(codes, torch.randn(CODES, 2)).convolved(torch.randn(4, 2, 3, 3), None, padding=1) is None
    assert Patterns.find(painted("constant", (1, 12, 12)), 3) is not None, "nothing to be told apart"


def test_too_many_patterns_are_not_worth_it() -> None:
    noise = painted("noise", (1, 24, 24))
    assert Patterns.find(noise, 5, padding=2, at_most=0.5) is None
    found = Patterns.find(noise, 5, padding=2)
    assert found is not None and len(found) == noise.numel()
    exactly = len(found) / noise.numel()
    assert Patterns.find(noise, 5, padding=2, at_most=exactly) is not None


def test_keys_that_are_hard_to_tell_apart() -> None:
    keys = torch.arange(3000) << 40
    first = module._first_of_equals(keys, math.inf)
    assert first is not None and torch.equal(first, torch.arange(3000))
    assert module._first_of_equals(keys, 2999) is None


# ---------------------------------------------------------------------------------------------------- networks on codes


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(1, 2),
    st.sampled_from([(8, 8), (9, 13), (16, 6)]),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([True, False, None]),
)
def test_spade_on_codes_and_its_gradients(
    kind: str, batch: int, size: tuple[int, int], kernel: int, pays: bool | None
) -> None:
    torch.manual_seed(1)
    layer = initialise(SPADE(4, 3, "instance", kernel, 6), gain=1.0).double()
    codes, vectors = painted(kind, (batch, 16, 18)), torch.randn(CODES, 3, dtype=torch.float64)
    semantics, x = Indexed(codes, vectors), torch.randn(batch, 4, *size, dtype=torch.float64, requires_grad=True)
    learned, weights = [x, *layer.parameters()], torch.randn_like(x)
    with pytest.MonkeyPatch.context() as patch:
        if pays is not None:
            patch.setattr(Patterns, "pay", lambda *_: pays)
        ours = layer(x, semantics)
        with torch.no_grad():
            assert torch.allclose(layer(x, semantics), ours, rtol=0, atol=1e-12)
    plain = layer(x, semantics.dense())
    near(ours, plain, 1e-12)
    expected = torch.autograd.grad((plain * weights).sum(), learned)
    for gradient, other in zip(torch.autograd.grad((ours * weights).sum(), learned), expected, strict=True):
        near(gradient, other, 1e-11)


def test_spade_on_codes_that_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module._Windows, "hashed", lambda windows: torch.zeros_like(windows.starts))
    layer, semantics = initialise(SPADE(4, 3), gain=1.0), Indexed(painted("noise", (1, 8, 8)), torch.randn(CODES, 3))
    x = torch.randn(1, 4, 8, 8)
    near(layer(x, semantics), layer(x, semantics.dense()))


@pytest.mark.parametrize("conditioning", ["spade", "concat", "input"])
def test_generators_on_codes(conditioning: str) -> None:
    torch.manual_seed(2)
    generator = SpadeGenerator(in_channels=3, width=2, hidden=4, conditioning=conditioning)
    generator = initialise(generator, gain=0.5).double().eval()
    semantics = Indexed(painted("blocks", (2, 64, 96)), torch.randn(CODES, 3, dtype=torch.float64))
    plain = generator(semantics.dense())
    near(generator(semantics), plain, 1e-11)
    checkpoint_activations(generator)
    again = generator(semantics)
    near(again, plain, 1e-11)
    gradients = [torch.autograd.grad(y.square().sum(), list(generator.parameters())) for y in (again, plain)]
    near(*(torch.cat([gradient.flatten() for gradient in each]) for each in gradients), 1e-11)


def test_dense_and_resized_take_both_kinds() -> None:
    semantics = Indexed(painted("blocks", (1, 8, 8)), torch.randn(CODES, 3))
    small = resized(semantics, (4, 4))
    assert isinstance(small, Indexed) and torch.equal(dense(small), dense(resized(dense(semantics), (4, 4))))
    assert dense(plain := semantics.dense()) is plain and resized(plain, plain.shape[2:]) is plain


@pytest.mark.long
@pytest.mark.parametrize("arguments", [{}, {"checkpoint_activations": True}, {"norm": "sync_batch"}])
def test_losses_of_training_on_codes(arguments: dict[str, object], camvid: Path) -> None:
    semantics, batch = real(camvid, "train", 64, 64)
    found = indexed(semantics, batch)
    assert found is not None
    codes, image = found.with_vectors(found.vectors.double()), torch.rand(2, 3, 64, 64, dtype=torch.float64) * 2 - 1
    small = {"generator_width": 2, "hidden": 4, "discriminator_width": 4, "batch": 2, "ttur": True, "lambda_l1": 0.0}
    config = recipe.Config.model_validate({**recipe.PRESETS["spade-small"].model_dump(), **small, **arguments})
    curves = []
    for part in ({}, {"codes": codes}):
        torch.manual_seed(0)
        players = recipe.build(config, semantics)
        for network in players.trained.values():
            network.double()
        optimizers = recipe.optimizers(config, players)
        parts = [{"semantics": codes.dense(), "image": image, **part}]
        steps = [recipe.train_step(config, players, optimizers, parts, PlainEngine()) for _ in range(4)]
        curves.append(torch.stack([step[name] for step in steps for name in sorted(step)]))
    assert torch.allclose(*curves, rtol=1e-6, atol=1e-9)
