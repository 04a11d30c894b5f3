"""What makes training steps fast changes no result: codes, matrix products, fused Adam, closed-form gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam

from gesso import checkpoints
from gesso.batches import with_semantics
from gesso.labels import Semantics
from gesso.networks import coarse, pix2pixhd
from gesso.networks.frugal import checkpoint_activations
from gesso.networks.indexed import Indexed, dense
from gesso.networks.pix2pixhd import GlobalGenerator
from gesso.networks.spade import SpadeGenerator, initialise
from gesso.networks.spectral import SpectralConv2d
from gesso.recipes import RECIPES
from gesso.recipes.adam import adam
from gesso.recipes.protocol import Recipe
from support import PlainEngine
from test_indexed import KINDS, painted, real

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 20
SEMANTICS = Semantics(classes=6, dont_care=True, boundary=True)
NARROW: dict[str, dict[str, Any]] = {
    "spade": {"generator_width": 2, "hidden": 4, "discriminator_width": 4, "ttur": False, "norm": "sync_batch"},
    "pix2pixhd": {
        "generator_width": 2,
        "generator_downs": 2,
        "generator_blocks": 2,
        "discriminator_width": 4,
    },
}


# ------------------------------------------------------------------------------------------------------- convolutions


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_matrix_product_is_the_convolution(data: st.DataObject) -> None:
    kernel, stride, batch = (data.draw(st.integers(1, most)) for most in (4, 2, 3))
    padding = data.draw(st.integers(0, kernel - 1))
    size = [data.draw(st.integers(max(1, kernel - 2 * padding), 9)) for _ in range(2)]
    ours = coarse.Conv2d(2, 3, kernel, stride=stride, padding=padding, bias=data.draw(st.booleans())).double()
    x = torch.randn(batch, 2, *size, dtype=torch.float64, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse, "WEIGHTS", 0)
        patch.setattr(coarse, "PIXELS", 1000)
        assert ours.is_coarse(x) and not ours.eval().is_coarse(x)
        found = ours.train()(x)
    plain = F.conv2d(x, ours.weight, ours.bias, stride, padding)
    torch.testing.assert_close(found, plain)
    weights, learned = torch.randn_like(plain), [x, *ours.parameters()]
    for gradient, wanted in zip(
        *(torch.autograd.grad((y * weights).sum(), learned) for y in (found, plain)), strict=True
    ):
        torch.testing.assert_close(gradient, wanted)


def test_products_are_for_coarse_pictures_of_wide_layers() -> None:
    wide, narrow = coarse.Conv2d(1024, 512, 3, padding=1, device="meta"), coarse.Conv2d(8, 8, 3, padding=1)
    assert not wide.is_coarse(torch.empty(1, 1024, 8, 8, device="meta")), "rehearsals see convolutions"
    wide = wide.to_empty(device="cpu")
    assert wide.is_coarse(torch.empty(1, 1024, 8, 8)) and wide.is_coarse(torch.empty(4, 1024, 8, 8))
    assert not wide.is_coarse(torch.empty(5, 1024, 8, 8))
    assert not wide.is_coarse(torch.empty(1, 1024, 8, 8, dtype=torch.bfloat16))
    assert not narrow.is_coarse(torch.empty(1, 8, 8, 8))
    with torch.autocast("cpu", torch.bfloat16):
        assert not wide.is_coarse(torch.empty(1, 1024, 8, 8))


@pytest.mark.parametrize("product", [True, False])
def test_gradients_of_spectral_norm_in_training(product: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two forwards before a backward pass, each with vectors of its own; gradcheck makes sure of the gradient in eval mode."""
    monkeypatch.setattr(coarse, "WEIGHTS", 0 if product else 2**62)
    torch.manual_seed(0)
    conv, x = SpectralConv2d(3, 4, 3, padding=1).double(), torch.randn(2, 3, 5, 6, dtype=torch.float64)
    x.requires_grad_()
    found, wanted = [], []
    for _ in range(2):
        found.append(conv(x))
        u, v = conv.u.clone(), conv.v.clone()
        weight = conv.weight / torch.dot(u, torch.mv(conv.weight.flatten(1), v))
        wanted.append(F.conv2d(x, weight, conv.bias, padding=1))
    learned = [x, *conv.parameters()]
    gradients = [torch.autograd.grad(sum(y.sin().sum() for y in side), learned) for side in (found, wanted)]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


# --------------------------------------------------------------------------------------------------------------- Adam


def quadratic(optimizer: Any, parameters: list[nn.Parameter], steps: int) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        sum(((p - i) ** 2).sum() for i, p in enumerate(parameters)).backward()
        optimizer.step()


def plain_adam(parameters: list[nn.Parameter], rate: float, betas: tuple[float, float]) -> Adam:
    return Adam(parameters, lr=rate, betas=betas, fused=False, foreach=False)


@pytest.mark.parametrize("makes", [(plain_adam, adam), (adam, plain_adam), (adam, adam)])
def test_states_of_fused_and_plain_adam_are_exchangeable(makes: tuple[Any, Any]) -> None:
    def fresh() -> list[nn.Parameter]:
        torch.manual_seed(0)
        return [nn.Parameter(torch.randn(3, 4, dtype=torch.float64)) for _ in range(3)]

    names, wanted, parameters = ["a", "b", "c"], fresh(), fresh()
    quadratic(plain_adam(wanted, 0.1, (0.5, 0.9)), wanted, 7)
    first = makes[0](parameters, 0.1, (0.5, 0.9))
    quadratic(first, parameters, 3)
    tensors = checkpoints.optimizer_tensors({"side": first}, {"side": names})
    second = makes[1](parameters, 0.1, (0.5, 0.9))
    checkpoints.restore_optimizer("side", second, names, {name: t.clone() for name, t in tensors.items()})
    quadratic(second, parameters, 4)
    for ours, theirs in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert second.param_groups[0]["fused"] is (makes[1] is adam)


def test_adam_is_not_fused_where_torch_has_no_such_kernel() -> None:
    assert adam([nn.Parameter(torch.empty(2, device="meta"))], 0.1, (0.5, 0.9)).param_groups[0]["fused"] is None


# -------------------------------------------------------------------------------------------------------------- codes


def layout(kind: str, size: tuple[int, int, int], camvid: Path) -> tuple[Semantics, dict[str, Any]]:
    if kind == "real":
        return real(camvid, "train", *size[1:], count=size[0])
    return SEMANTICS, {"label": painted(kind, size), "instance": painted(kind, size, seed=3)}


def test_codes_are_of_what_the_generator_sees() -> None:
    label, bent = painted("blocks", (2, 8, 12)), painted("blocks", (2, 8, 12), seed=1)
    batch = {"label": label, "instance": label, "name": ["a", "b"]}
    found = with_semantics(batch, SEMANTICS, codes=True)
    assert torch.equal(dense(found["codes"]), found["semantics"])
    found = with_semantics(batch | {"seen_label": bent, "seen_instance": bent}, SEMANTICS, codes=True)
    assert torch.equal(dense(found["codes"]), found["seen"]) and not torch.equal(found["seen"], found["semantics"])
    assert "codes" not in with_semantics(batch, SEMANTICS)
    pictures = {"source": torch.zeros(2, 3, 8, 12), "name": ["a", "b"]}
    assert "codes" not in with_semantics(pictures, Semantics(classes=0, source_channels=3), codes=True)


def test_recipes_say_whether_codes_pay() -> None:
    assert {name: recipe.reads_codes(recipe.Config(**NARROW.get(name, {}))) for name, recipe in RECIPES.items()} == {
        "pix2pix": False,
        "pix2pixhd": True,
        "spade": True,
    }
    spade = RECIPES["spade"]
    assert not spade.reads_codes(spade.Config(conditioning="concat"))
    wide = RECIPES["pix2pixhd"]
    assert not wide.reads_codes(wide.Config(instance_features=True)) and not wide.reads_codes(wide.Config(enhancers=1))


@pytest.mark.parametrize("kind", [*(kind for kind in KINDS if kind != "constant"), "real"])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("few", [0.35, 1.0])
def test_pix2pixhd_on_codes(kind: str, norm: str, few: float, camvid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs and gradients of the global generator, with activations kept and computed again.

    Not of constant layouts, which leave every channel constant: there six norms blow any rounding up by 300 each.
    """
    torch.manual_seed(0)
    monkeypatch.setattr(pix2pixhd, "FEW", few)
    semantics, batch = layout(kind, (2, 12, 20), camvid)
    found = with_semantics(batch, semantics, codes=True)
    generator = GlobalGenerator(in_channels=semantics.channels, width=4, downs=2, blocks=1, norm=norm).double()
    results = []
    for seen, again in ((found["semantics"], False), (found["codes"], False), (found["codes"], True)):
        checkpoint_activations(generator, again)
        picture = generator(doubled(seen))
        gradients = torch.autograd.grad(picture.sin().sum(), list(generator.parameters()))
        results.append([picture.detach(), *gradients])
    for plain, *others in zip(*results, strict=True):
        for other in others:
            torch.testing.assert_close(other, plain, rtol=1e-6, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(generator.eval()(doubled(found["codes"])), generator(doubled(found["semantics"])))


def test_pix2pixhd_on_codes_that_cannot_be_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Indexed, "patterns", lambda *_, **__: None)
    generator = GlobalGenerator(in_channels=SEMANTICS.channels, width=2, downs=1, blocks=1)
    label = painted("blocks", (1, 8, 8))
    found = with_semantics({"label": label, "instance": label}, SEMANTICS, codes=True)
    assert torch.equal(generator(found["codes"]), generator(found["semantics"]))


GENERATORS: dict[str, Callable[[int], nn.Module]] = {
    "spade": lambda channels: initialise(
        SpadeGenerator(in_channels=channels, width=2, hidden=8, norm="batch"), gain=1.0
    ),
    "pix2pixhd": lambda channels: GlobalGenerator(in_channels=channels, width=4, downs=2, blocks=1, norm="batch"),
}


@pytest.mark.parametrize("kind", ["noise", "blocks", "real"])
@pytest.mark.parametrize("name", list(GENERATORS))
def test_generators_on_codes_in_bfloat16(name: str, kind: str, camvid: Path) -> None:
    """As near to float32 as planes are, forward and backward, at an odd number of coarse pixels."""
    torch.manual_seed(0)
    semantics, batch = layout(kind, (2, 32, 96), camvid)
    found = with_semantics(batch, semantics, codes=True)
    generator = GENERATORS[name](semantics.channels)
    results: dict[str, list[Tensor]] = {}
    for side, seen, lower in (
        ("exact", found["semantics"], False),
        ("planes", found["semantics"], True),
        ("codes", found["codes"], True),
    ):
        again = GENERATORS[name](semantics.channels)
        again.load_state_dict(generator.state_dict())
        with torch.autocast("cpu", torch.bfloat16, enabled=lower):
            picture = again(seen).float()
        picture.square().sum().backward()  # type: ignore[no-untyped-call]
        gradient = torch.cat([p.grad.flatten() for p in again.parameters() if p.grad is not None])
        results[side] = [picture.detach(), gradient]
    for exact, planes, codes in zip(*results.values(), strict=True):
        assert (codes - exact).norm() < 2 * (planes - exact).norm() + 1e-2 * exact.norm()


# -------------------------------------------------------------------------------------------------------------- steps


def curves(recipe: Recipe, semantics: Semantics, data: dict[str, Any], fast: bool, **changes: Any) -> Tensor:
    """Losses (steps, names) in float64, the same data at each step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coarse, "WEIGHTS", 0 if fast else 2**62)
        if not fast:
            patch.setattr(f"{recipe.__name__}.adam", plain_adam)  # type: ignore[attr-defined]
            patch.setattr(SpectralConv2d, "normalised", normalised)
        config = recipe.Config(**{**NARROW[recipe.NAME], **changes})
        torch.manual_seed(0)
        players = recipe.build(config, semantics)
        for network in players.trained.values():
            network.double()
        optimizers = recipe.optimizers(config, players)
        parts = []
        for part in range(config.accumulate):
            some = slice(part, None, config.accumulate)
            few = {name: value[some] for name, value in data.items()}
            found = with_semantics(few | {"name": []}, semantics, codes=fast and recipe.reads_codes(config))
            parts.append({name: doubled(value) for name, value in found.items()})
        found = []
        for step in range(STEPS):
            torch.manual_seed(step)
            losses = recipe.train_step(config, players, optimizers, parts, PlainEngine())
            found.append(torch.stack([losses[name] for name in sorted(losses) if name[:2] in ("G_", "D_")]))
    return torch.stack(found)


def doubled(value: Any) -> Any:
    if isinstance(value, Indexed):
        return value.with_vectors(value.vectors.double())
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value


def normalised(conv: SpectralConv2d) -> Tensor:
    """As the paper writes it."""
    if conv.training and not conv.frozen:
        with torch.no_grad():
            conv._iterate(conv.weight.flatten(1))
    return conv.weight / torch.dot(conv.u.clone(), torch.mv(conv.weight.flatten(1), conv.v.clone()))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "kind", "changes"),
    [
        ("spade", "real", {}),
        ("spade", "noise", {"norm": "instance"}),
        (
            "spade",
            "blocks",
            {"checkpoint_activations": True, "style_encoder": True, "crop": (32, 64), "encoder_downs": 1},
        ),
        ("spade", "one pixel", {"batch": 2, "accumulate": 2, "diffaugment": "translation"}),
        pytest.param("spade", "rows", {"discriminator_kind": "spade"}, marks=pytest.mark.slow),
        ("pix2pixhd", "real", {}),
        ("pix2pixhd", "noise", {"checkpoint_activations": True}),
        ("pix2pixhd", "blocks", {"batch": 2, "accumulate": 2, "instance_features": True, "encoder_downs": 2}),
        ("pix2pixhd", "columns", {"norm": "batch", "enhancers": 1}),
    ],
)
def test_losses_of_20_steps(name: str, kind: str, changes: dict[str, Any], camvid: Path) -> None:
    size = (2, 32, 96 if kind == "noise" else 64)
    semantics, batch = layout(kind, size, camvid)
    batch["image"] = torch.rand(2, 3, *size[1:], generator=torch.Generator().manual_seed(5)) * 2 - 1
    ours, plain = (curves(RECIPES[name], semantics, batch, fast, **changes) for fast in (True, False))
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-12)
    assert (plain[0] - plain[-1]).abs().max() > 1e-3, "something was learnt"
