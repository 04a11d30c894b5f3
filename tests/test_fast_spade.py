"""SPADE's engine for synthesis gives what the plain network gives, for every layout."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.modules.module import register_module_forward_pre_hook

from gesso.errors import GessoError
from gesso.labels import Semantics
from gesso.networks import indexed as codes_of
from gesso.networks.indexed import Indexed, indexed
from gesso.networks.spade import SpadeGenerator, initialise
from gesso.synthesis.fast import convolutions, fast
from gesso.synthesis.fast import spade as module
from gesso.synthesis.fast.spade import FastSpadeGenerator
from test_indexed import CODES, KINDS, painted, real

pytestmark = pytest.mark.usefixtures("one_thread")
SMALL = {"width": 4, "hidden": 6, "in_channels": 5}


def network(**arguments: Any) -> SpadeGenerator:
    """With weights that are larger than the initial ones, so that each layer matters, and statistics that are not 0 and 1."""
    torch.manual_seed(4)
    generator = initialise(SpadeGenerator(**SMALL | arguments), gain=0.5).eval().requires_grad_(False)
    for name, buffer in generator.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_(0.5, 1.5)
    return generator


def layout(kind: str = "blocks", size: tuple[int, int, int] = (1, 64, 96), seed: int = 0) -> Indexed:
    return Indexed(painted(kind, size, seed), torch.randn(CODES, 5, generator=torch.Generator().manual_seed(seed)))


def engine(generator: SpadeGenerator) -> FastSpadeGenerator:
    found = fast(generator)
    assert isinstance(found, FastSpadeGenerator)
    return found


def z(generator: SpadeGenerator, batch: int, seed: int = 0) -> Tensor | None:
    if generator.latent_grid is None:
        return None
    return torch.randn(batch, 3, generator=torch.Generator().manual_seed(seed))


def agree(ours: Tensor, plain: Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == plain.shape and ours.dtype == plain.dtype
    assert ((ours - plain).abs().max() / plain.abs().max()).item() <= tolerance


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "from z": {"latent": 3, "latent_grid": (2, 3)},
    "from z of another size": {"latent": 3, "latent_grid": (2, 2)},
    "batch norm": {"norm": "batch"},
    "synchronised": {"norm": "sync_batch"},
    "without norm": {"norm": "none"},
    "pointwise": {"kernel": 1},
    "wide kernel": {"kernel": 5},
    "without spectral norm": {"spectral": False},
    "many hidden": {"hidden": 40},
    "one photograph channel": {"out_channels": 1},
}


@pytest.mark.parametrize("kind", ["noise", "blocks", "one pixel"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant(variant: str, kind: str) -> None:
    generator, semantics = network(**VARIANTS[variant]), layout(kind, (2, 64, 96))
    style = z(generator, 2)
    agree(engine(generator)(semantics, style), generator(semantics.dense(), style))


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.sampled_from(["normal", "more"]),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(0, 99),
)
@example("one pixel", "most", 1, 1, 2, 0)
@example("blocks", "normal", 2, 1, 5, 1)
def test_every_layout(kind: str, upsampling: str, batch: int, rows: int, columns: int, seed: int) -> None:
    # in float64, because a coarsest grid of two pixels, normalised, multiplies the rounding of either network by hundreds
    generator = network(upsampling=upsampling).double()
    size = (batch, rows * generator.multiple, (columns + (rows * columns == 1)) * generator.multiple)
    semantics = layout(kind, size, seed)
    semantics = semantics.with_vectors(semantics.vectors.double())
    agree(FastSpadeGenerator(generator)(semantics), generator(semantics.dense()), 1e-10)


@pytest.mark.parametrize("folder", ["camvid", "cityscapes_sample"])
@pytest.mark.parametrize("pays", [True, False, None])
def test_real_layouts(
    folder: str, pays: bool | None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    semantics, batch = real(request.getfixturevalue(folder), "train", 64, 128)
    if pays is not None:
        monkeypatch.setattr(codes_of.Patterns, "pay", lambda *_: pays)
    generator, found = network(in_channels=semantics.channels, width=8), indexed(semantics, batch)
    assert found is not None
    agree(engine(generator)(found), generator(semantics.encode(batch)))


@pytest.mark.parametrize("few", [0, 10**6])
def test_convolutions_of_every_size(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolutions, "WINOGRAD_FROM", 1)
    monkeypatch.setattr(convolutions, "TILES_FROM", few)
    monkeypatch.setattr(module, "CHUNK", 2**9)
    generator, semantics = network(width=16), layout()
    agree(engine(generator)(semantics), generator(semantics.dense()))


def test_codes_that_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    generator, semantics = network(), layout("noise")
    monkeypatch.setattr(codes_of._Windows, "hashed", lambda windows: torch.zeros_like(windows.starts))
    agree(engine(generator)(semantics), generator(semantics.dense()))


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever scales and offsets are computed."""
    calls: list[int] = []
    compute: Callable[..., Any] = module.Modulation.table

    def counting(self: Any, semantics: Indexed) -> Any:
        calls.append(1)
        return compute(self, semantics)

    monkeypatch.setattr(module.Modulation, "table", counting)
    return calls


def test_another_style_computes_no_scales_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, generator = counted(monkeypatch), network(latent=3, latent_grid=(2, 3))
    semantics, other = layout(), layout(seed=1)
    ours = engine(generator)
    for seed in range(3):
        agree(ours(semantics, z(generator, 1, seed)), generator(semantics.dense(), z(generator, 1, seed)))
    layers = len(calls)
    assert layers == sum(2 + block.learned for block in generator.blocks)
    agree(ours(other, z(generator, 1)), generator(other.dense(), z(generator, 1)))
    ours(semantics, z(generator, 1))
    assert len(calls) == 2 * layers, "the layout before the last is still known"
    repeated = Indexed(semantics.codes.expand(2, -1, -1), semantics.vectors)
    agree(ours(repeated, z(generator, 2)), generator(repeated.dense(), z(generator, 2)))
    assert len(calls) == 2 * layers, "one layout in two styles"


def test_what_a_layout_shows_decides_not_where_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, generator, semantics = counted(monkeypatch), network(), layout()
    ours = engine(generator)
    ours(semantics)
    ours(Indexed(semantics.codes.clone(), semantics.vectors.clone()))
    layers = len(calls)
    semantics.codes[0, :9, :9] = 3
    for sign in (1, -1):
        semantics = Indexed(semantics.codes, semantics.vectors.mul_(sign))
        agree(ours(semantics), generator(semantics.dense()))
    assert len(calls) == 3 * layers


@pytest.mark.parametrize(("room", "kept"), [(0, 0), (4_000_000, 1), (10_000_000, 3)])
def test_memory_for_layouts_is_bounded(room: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", room)
    generator = network()
    ours = engine(generator)
    for seed in range(module.LAYOUTS + 2):
        semantics = layout(seed=seed)
        agree(ours(semantics), generator(semantics.dense()))
        held = {id(one): one.nbytes for one in tensors(ours.layouts)}
        assert sum(held.values()) <= 1.01 * room and len(ours.layouts) == min(kept, seed + 1)


def tensors(root: Any) -> list[Tensor]:
    """All that can be reached from what an engine keeps."""
    found, seen, waiting = [], set(), [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, torch.nn.Module | module.Modulation):
            continue
        seen.add(id(one))
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list | tuple):
            waiting += one
        else:
            waiting += vars(one).values() if hasattr(one, "__dict__") else []
    return found


@pytest.mark.parametrize(
    ("arguments", "size", "style"),
    [
        ({}, (1, 64, 80), None),
        ({}, (1, 32, 32), None),
        ({}, (1, 64, 96), (1, 3)),
        ({"latent": 3, "latent_grid": (2, 3)}, (1, 64, 96), None),
        ({"latent": 3, "latent_grid": (2, 3)}, (1, 64, 96), (2, 3)),
    ],
)
def test_refuses_what_the_plain_network_refuses(
    arguments: dict[str, Any], size: tuple[int, int, int], style: tuple[int, int] | None
) -> None:
    generator, semantics = network(**arguments), layout("constant", size)
    vector = None if style is None else torch.zeros(style)
    with pytest.raises(GessoError) as plain:
        generator(semantics.dense(), vector)
    with pytest.raises(GessoError) as ours:
        engine(generator)(semantics, vector)
    assert type(ours.value) is type(plain.value) and str(ours.value) == str(plain.value)


def test_dense_semantics_and_training_mode_are_the_networks_own() -> None:
    generator, semantics = network(norm="batch"), layout()
    ours = engine(generator)
    assert torch.equal(ours(semantics.dense()), generator(semantics.dense()))
    generator.train()
    before = generator.blocks[0].first_norm.norm.running_mean.clone()
    ours(semantics)
    assert not torch.equal(generator.blocks[0].first_norm.norm.running_mean, before)


def test_networks_without_an_engine() -> None:
    assert fast(network(conditioning="concat")) is None and fast(network(conditioning="input")) is None
    assert fast(network(kernel=2)) is None
    assert fast(network().train()) is None and fast(network().double()) is None
    assert fast(torch.nn.Conv2d(1, 1, 1).eval()) is None


@pytest.mark.parametrize("mean", [0.0, 3.0, 300.0])
def test_statistics(mean: float) -> None:
    x = torch.randn(120, 130, 3, generator=torch.Generator().manual_seed(1)) + mean
    expected = x.double().flatten(0, 1)
    average, variance = module._statistics(x)
    assert (average - expected.mean(0)).abs().max() <= 3e-7 * (1 + mean)
    assert (variance / expected.var(0, correction=0) - 1).abs().max() <= 1e-5


def test_what_encode_gives_and_its_codes() -> None:
    semantics = Semantics(classes=4, dont_care=True)
    batch = {"label": painted("rows", (1, 64, 64)).clamp(max=4)}
    found, generator = indexed(semantics, batch), network()
    assert found is not None
    agree(engine(generator)(found), generator(semantics.encode(batch)))


def test_hooks_see_every_block_and_can_stop_it() -> None:
    """The editor gives up photographs that nobody waits for."""
    generator = network()
    compute, semantics = engine(generator), layout()
    seen: list[str] = []
    with register_module_forward_pre_hook(lambda layer, _: seen.append(type(layer).__name__)):
        before = compute(semantics)
    assert seen.count("Block") == len(generator.blocks) and seen.count("_Convolution") > len(generator.blocks)

    layers = len(seen)

    def stop(*_: object) -> None:
        seen.append("again")
        if len(seen) == layers + 5:
            raise KeyboardInterrupt

    with register_module_forward_pre_hook(stop), pytest.raises(KeyboardInterrupt):
        compute(semantics)
    assert torch.equal(compute(semantics), before)
