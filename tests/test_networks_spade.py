"""SPADE's networks against closed-form answers: what SPADE claims, spectral norm, sizes, the latent grid, initial weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.devices import forward_memory
from gesso.errors import ConfigError, LabelError, StyleError
from gesso.networks import frugal, spade
from gesso.networks.frugal import checkpoint_activations
from gesso.networks.latent_grid import LatentGrid, closest_grid
from gesso.networks.spade import (
    SPADE,
    Concatenation,
    MultiscaleDiscriminator,
    SpadeBlock,
    SpadeGenerator,
    StyleEncoder,
    initialise,
)
from gesso.networks.spade_sizes import HALVINGS, padded, smallest_normalised
from gesso.networks.spectral import SpectralConv2d

LABELS = 4
UPSAMPLINGS = {"normal": 32, "more": 64, "most": 128}


@pytest.fixture(autouse=True)
def fixed_random_numbers(one_thread: None) -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def uniform(*label: int, height: int = 6, width: int = 8) -> Tensor:
    """One-hot semantics of pictures that show one class everywhere."""
    planes = F.one_hot(torch.tensor(label), LABELS).double()
    return planes[:, :, None, None].expand(-1, -1, height, width)


def patchwork(batch: int, height: int, width: int) -> Tensor:
    """One-hot semantics of pictures of 8x8 patches."""
    label = torch.randint(LABELS, (batch, height // 8, width // 8)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    return F.one_hot(label, LABELS).permute(0, 3, 1, 2).float()


def lively(network: nn.Module) -> nn.Module:
    """Initial weights that show: with the paper's gain, modulation and photograph are almost zero."""
    initialise(network, gain=1.0)
    for module in network.modules():
        if isinstance(bias := getattr(module, "bias", None), nn.Parameter):
            nn.init.normal_(bias, 0.0, 0.1)
    return network


def generator(**changes: Any) -> SpadeGenerator:
    network = SpadeGenerator(**{"in_channels": LABELS, "width": 2, "hidden": 8, "norm": "batch"} | changes)
    lively(network)
    return network


# --- what SPADE claims (section 3.1, figure 3) ---


def test_instance_norm_after_a_convolution_washes_a_uniform_label_away() -> None:
    """Each channel of the convolution is constant, so what is left after the norm is zero, whatever the label."""
    washing = nn.Sequential(nn.Conv2d(LABELS, 5, 3), nn.InstanceNorm2d(5)).double()
    for label in range(LABELS):
        assert washing(uniform(label)).abs().max() <= 1e-9


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_spade_keeps_a_uniform_label(norm: str) -> None:
    layer, x = lively(SPADE(5, LABELS, norm)).double(), torch.randn(1, 5, 6, 8, dtype=torch.float64)
    outputs = [layer(x, uniform(label)) for label in range(LABELS)]
    for first in range(LABELS):
        for second in range(first):
            assert (outputs[first] - outputs[second]).square().mean().sqrt() > 0.1


def test_a_generator_shows_a_uniform_label() -> None:
    network = generator(norm="instance").double()
    photographs = [network(uniform(label, height=32, width=64)) for label in range(LABELS)]
    assert all((photographs[0] - other).abs().max() > 0.05 for other in photographs[1:])


def constant_modulation(norm: str) -> tuple[SPADE, Tensor, Tensor]:
    """A layer whose scale and shift know of the label alone, and these, (LABELS, C) each."""
    layer = lively(SPADE(5, LABELS, norm, kernel=1)).double()
    hidden = F.relu(layer.shared(uniform(*range(LABELS), height=1, width=1)))
    return layer, layer.gamma(hidden).flatten(1), layer.beta(hidden).flatten(1)


def test_constant_modulation_is_conditional_batch_norm() -> None:
    layer, gamma, beta = constant_modulation("batch")
    label, x = [2, 0, 2, 3], torch.randn(4, 5, 6, 8, dtype=torch.float64)
    variance, mean = torch.var_mean(x, (0, 2, 3), correction=0, keepdim=True)
    expected = (x - mean) / torch.sqrt(variance + 1e-5) * (1 + gamma[label, :, None, None]) + beta[label, :, None, None]
    torch.testing.assert_close(layer(x, uniform(*label)), expected)


def test_constant_modulation_of_one_picture_is_adaptive_instance_norm() -> None:
    """AdaIN: the picture's own mean and deviation are replaced by those that the style asks for."""
    layer, gamma, beta = constant_modulation("batch")
    x = 3 * torch.randn(1, 5, 6, 8, dtype=torch.float64) + 2
    y = layer(x, uniform(1))
    deviation, mean = torch.std_mean(y, (0, 2, 3), correction=0)
    torch.testing.assert_close(mean, beta[1])
    torch.testing.assert_close(deviation, (1 + gamma[1]).abs(), rtol=1e-5, atol=0)


def test_batch_norm_of_one_picture_is_instance_norm() -> None:
    one, other = lively(SPADE(5, LABELS, "batch")), lively(SPADE(5, LABELS, "instance"))
    other.load_state_dict({k: t for k, t in one.state_dict().items() if not k.startswith("norm.")})
    x, semantics = torch.randn(1, 5, 16, 8), patchwork(1, 32, 16)
    torch.testing.assert_close(one(x, semantics), other(x, semantics))


def test_semantics_of_any_size_stay_one_hot() -> None:
    seen: list[Tensor] = []
    layer = SPADE(5, LABELS)
    layer.shared.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    layer(torch.randn(2, 5, 7, 9), patchwork(2, 32, 16))
    assert seen[0].shape == (2, LABELS, 7, 9)
    assert torch.equal(seen[0].sum(1), torch.ones(2, 7, 9))
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}


def test_concatenation_shows_the_layout_beside_what_is_normalised() -> None:
    layer, x, semantics = Concatenation(5, LABELS, "instance"), torch.randn(2, 5, 16, 8), patchwork(2, 16, 8)
    y = layer(x, semantics)
    assert layer.out_channels == y.shape[1] == 5 + LABELS
    torch.testing.assert_close(y[:, :5], F.instance_norm(x))
    assert torch.equal(y[:, 5:], semantics)
    assert {name for name, _ in layer.named_parameters()} == {"norm.weight", "norm.bias"}


@pytest.mark.parametrize("channels", [(6, 6), (6, 3), (3, 6)])
def test_the_shortcut_is_learned_where_the_channels_change(channels: tuple[int, int]) -> None:
    block = SpadeBlock(*channels, partial(SPADE, semantic_channels=LABELS))
    assert block(torch.randn(2, channels[0], 8, 8), patchwork(2, 16, 16)).shape == (2, channels[1], 8, 8)
    assert hasattr(block, "shortcut") == (channels[0] != channels[1])
    assert block.first.out_channels == min(channels)
    # What the main path adds, replaced by nothing:
    block.second = nn.Conv2d(min(channels), channels[1], 1)
    for parameter in block.second.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(2, channels[0], 8, 8)
    if channels[0] == channels[1]:
        assert torch.equal(block(x, patchwork(2, 8, 8)), x)


# --- spectral norm ---


def spectrum(conv: SpectralConv2d) -> float:
    return float(torch.linalg.svdvals(conv.weight.detach().flatten(1))[0])


def test_spectral_norm_becomes_one() -> None:
    conv = SpectralConv2d(6, 9, 3, dtype=torch.float64)
    nn.init.normal_(conv.weight)
    for _ in range(500):
        conv.normalised()
    torch.testing.assert_close(conv.normalised(), conv.weight / spectrum(conv), rtol=1e-9, atol=0)
    x = torch.randn(1, 6, 5, 5, dtype=torch.float64)
    assert conv.bias is not None
    expected = F.conv2d(x, conv.weight / spectrum(conv), conv.bias)
    torch.testing.assert_close(conv.eval()(x), expected)


@pytest.mark.parametrize("initialised", [False, True])
def test_a_fresh_layer_makes_sense_in_eval_mode(initialised: bool) -> None:
    conv = SpectralConv2d(64, 128, 3).eval()
    if initialised:
        initialise(conv)
    ratio = (conv.normalised() / conv.weight).detach().mean().item() * spectrum(conv)
    assert 1 <= ratio <= 1.1
    assert conv.u.norm().item() == pytest.approx(1)
    assert conv.v.norm().item() == pytest.approx(1)


def test_one_power_iteration_for_each_forward_in_train_mode_and_none_in_eval() -> None:
    conv, x = SpectralConv2d(3, 4, 3), torch.randn(1, 3, 6, 6)
    nn.init.normal_(conv.weight)
    matrix, u = conv.weight.detach().flatten(1), conv.u.clone()
    conv(x)
    v = F.normalize(matrix.t() @ u, dim=0)
    torch.testing.assert_close(conv.v, v)
    torch.testing.assert_close(conv.u, F.normalize(matrix @ v, dim=0))
    now = conv.u.clone(), conv.v.clone()
    conv.eval()(x)
    assert torch.equal(conv.u, now[0])
    assert torch.equal(conv.v, now[1])


def test_gradients_of_spectral_norm_take_the_vectors_as_constant() -> None:
    conv = SpectralConv2d(2, 3, 3).double().eval()

    def convolved(x: Tensor, weight: Tensor) -> Tensor:
        return torch.func.functional_call(conv, {"weight": weight}, (x,))

    x = torch.randn(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(convolved, (x, conv.weight.detach().clone().requires_grad_()))


def test_two_forwards_before_a_backward_pass() -> None:
    """As where a discriminator sees two batches: the second power iteration does not spoil the first graph."""
    conv, x = SpectralConv2d(2, 3, 3).double(), torch.randn(1, 2, 4, 5, dtype=torch.float64)
    first = conv(x)
    u, v = conv.u.clone(), conv.v.clone()
    conv(x)
    (ours,) = torch.autograd.grad(first.square().sum(), conv.weight)
    matrix = conv.weight.flatten(1)
    by_hand = F.conv2d(x, conv.weight / (u @ matrix @ v), conv.bias)
    (expected,) = torch.autograd.grad(by_hand.square().sum(), conv.weight)
    torch.testing.assert_close(ours, expected)


# --- generators: sizes and beginnings ---


@pytest.mark.parametrize("conditioning", ["spade", "concat"])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_output_sizes_are_free(upsampling: str, conditioning: str) -> None:
    multiple = UPSAMPLINGS[upsampling]
    network = generator(upsampling=upsampling, conditioning=conditioning).eval()
    assert network.multiple == network.smallest == multiple
    for rows, columns in ((1, 1), (1, 2), (3, 2)) if upsampling == "normal" else ((1, 2),):
        layout = patchwork(1, rows * multiple, columns * multiple)
        with torch.no_grad():
            photograph = network(layout)
        assert photograph.shape == (1, 3, rows * multiple, columns * multiple)
        assert photograph.abs().max() < 1


@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_sizes_in_numbers_are_those_of_the_generators(upsampling: str) -> None:
    multiple = generator(upsampling=upsampling).multiple
    assert multiple == 2 ** HALVINGS[upsampling]
    assert padded((1, multiple + 1), upsampling) == (multiple, 2 * multiple)


def test_most_has_one_block_more_and_half_the_width_at_the_end() -> None:
    last = {name: generator(upsampling=name).head[1].in_channels for name in UPSAMPLINGS}
    blocks = {name: len(generator(upsampling=name).blocks) for name in UPSAMPLINGS}
    assert last == {"normal": 2, "more": 2, "most": 1}
    assert blocks == {"normal": 7, "more": 7, "most": 8}


@pytest.mark.parametrize("size", [(33, 64), (32, 48), (16, 32), (0, 32)])
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(
        LabelError, match=rf"{size[0]}x{size[1]} cannot be halved 5 times.*multiples of 32.*gesso\.load"
    ):
        generator()(torch.zeros(1, LABELS, *size))


def test_a_single_value_cannot_be_normalised() -> None:
    layout = patchwork(2, 32, 32)
    with pytest.raises(LabelError, match=r"single pixel.*instance norm.*32x64"):
        generator(norm="instance").eval()(layout)
    for norm in ("batch", "sync_batch"):
        network = generator(norm=norm)
        with pytest.raises(LabelError, match=rf"single pixel.*{norm} norm.*batch of 2"):
            network(layout[:1])
        assert network(layout).shape == (2, 3, 32, 32)
        assert network.eval()(layout[:1]).shape == (1, 3, 32, 32)


def test_a_generator_begins_from_the_downsampled_layout() -> None:
    network, layout = generator(), patchwork(2, 64, 96)
    seen: list[Tensor] = []
    network.blocks[0].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    network(layout)
    torch.testing.assert_close(seen[0], network.start(layout[:, :, ::32, ::32]))


def test_a_generator_begins_from_z() -> None:
    network = generator(latent=6, latent_grid=(1, 2))
    layout, z = patchwork(2, 32, 64), torch.randn(2, 6)
    assert network(layout, z).shape == (2, 3, 32, 64)
    assert (network(layout, z) - network(layout, -z)).abs().max() > 1e-3
    same_layout = layout[:1].expand(2, -1, -1, -1)
    network.eval()
    assert (network(same_layout, z)[0] - network(same_layout, z)[1]).abs().max() > 1e-3


@pytest.mark.parametrize("style", [None, torch.zeros(2, 5), torch.zeros(1, 6), torch.zeros(2, 6, 1, 1)])
def test_a_missing_or_wrong_z_is_refused(style: Tensor | None) -> None:
    network = generator(latent=6, latent_grid=(1, 2))
    came = "none came" if style is None else str(tuple(style.shape))
    with pytest.raises(StyleError) as caught:
        network(patchwork(2, 32, 64), style)
    assert "(2, 6)" in str(caught.value)
    assert came in str(caught.value)


def test_z_without_use_is_refused() -> None:
    with pytest.raises(StyleError, match="takes no style"):
        generator()(patchwork(1, 32, 64), torch.zeros(1, 6))


def test_the_latent_grid_is_resized() -> None:
    grid = LatentGrid(6, 5, (2, 3))
    z = torch.randn(2, 6)
    same = grid(z, 2, 2, 3)
    assert torch.equal(same, grid.linear(z).view(2, 5, 2, 3))
    larger = grid(z, 2, 4, 6)
    assert torch.equal(larger, F.interpolate(same, (4, 6), mode="bilinear", align_corners=False))
    assert grid.grid == (2, 3)


def test_the_first_layout_decides_on_an_unknown_grid() -> None:
    network = generator(latent=6, latent_cells=8).eval()
    assert network.latent_grid is None
    z = torch.randn(1, 6)
    first = network(patchwork(1, 64, 128), z)  # 2 rows, 4 columns
    assert network.latent_grid == (2, 4)
    assert network(patchwork(1, 128, 64), z).shape == (1, 3, 128, 64)
    assert network.latent_grid == (2, 4)
    known = generator(latent=6, latent_grid=(2, 4)).eval()
    known.load_state_dict(network.state_dict())
    torch.manual_seed(0)
    layout = patchwork(1, 64, 128)
    assert torch.equal(known(layout, z), network(layout, z))
    assert first.shape == (1, 3, 64, 128)


@pytest.mark.parametrize(
    ("cells", "aspect", "grid"),
    [(8, 0.5, (2, 4)), (8, 2.0, (4, 2)), (8, 1.0, (2, 4)), (7, 1.0, (1, 7)), (1, 3.0, (1, 1))],
)
def test_closest_grid(cells: int, aspect: float, grid: tuple[int, int]) -> None:
    found = closest_grid(cells, aspect)
    assert math.prod(found) == cells
    assert found == grid


@pytest.mark.parametrize("grid", [{}, {"latent_grid": (0, 2)}, {"latent_grid": (1, 2), "latent_cells": 3}])
def test_a_generator_from_z_without_its_grid_is_refused(grid: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"latent_grid.*latent_cells"):
        generator(latent=6, **grid)


def test_kernel_hidden_and_norm_reach_every_spade_layer() -> None:
    network = generator(kernel=5, hidden=6, norm="sync_batch")
    layers = [m for m in network.modules() if isinstance(m, SPADE)]
    assert len(layers) == 18
    for layer in layers:
        assert layer.shared.kernel_size == layer.gamma.kernel_size == layer.beta.kernel_size == (5, 5)
        assert layer.shared.out_channels == 6
        assert isinstance(layer.norm, spade.NORMS["sync_batch"])  # type: ignore[arg-type]
    convs = [m for m in network.modules() if isinstance(m, SpectralConv2d)]
    assert len(convs) == 18
    assert not [m for m in generator(spectral=False).modules() if isinstance(m, SpectralConv2d)]


# --- discriminators and encoder ---


@pytest.mark.parametrize("kind", ["patch", "resnet", "spade"])
@pytest.mark.parametrize("norm", ["instance", "batch", "sync_batch", "none"])
@pytest.mark.parametrize("spectral", [True, False])
def test_discriminators(kind: str, norm: str, spectral: bool) -> None:
    network = lively(
        MultiscaleDiscriminator(
            in_channels=LABELS + 3, width=4, layers=2, norm=norm, spectral=spectral, kind=kind, semantic_channels=LABELS
        )
    )
    layout, image = patchwork(2, 32, 64), torch.randn(2, 3, 32, 64)
    outputs = network(torch.cat([layout, image], dim=1))
    assert [len(layers) for layers in outputs] == [4, 4]
    assert [layers[-1].shape[1] for layers in outputs] == [1, 1]
    areas = [[t.shape[2] * t.shape[3] for t in layers] for layers in outputs]
    assert all(fine > coarse for fine, coarse in zip(*areas, strict=True)), "finest first"
    assert any(isinstance(m, SpectralConv2d) for m in network.modules()) == spectral
    loss = sum(t.square().mean() for layers in outputs for t in layers)
    assert isinstance(loss, Tensor)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    turned = network(torch.cat([layout.flip(0), image], dim=1))
    assert (turned[0][-1] - outputs[0][-1]).abs().max() > 1e-4, "scores depend on the layout"


def test_patch_discriminators_have_the_sizes_of_pix2pixhd() -> None:
    outputs = MultiscaleDiscriminator(in_channels=5, width=4)(torch.randn(1, 5, 64, 96))
    sizes = [[tuple(t.shape[2:]) for t in layers] for layers in outputs]
    assert sizes[0] == [(33, 49), (17, 25), (9, 13), (10, 14), (11, 15)]
    assert sizes[1] == [(17, 25), (9, 13), (5, 7), (6, 8), (7, 9)]


@pytest.mark.parametrize("kind", ["patch", "resnet", "spade"])
@pytest.mark.parametrize("layers", [1, 2, 4])
@pytest.mark.parametrize("scales", [1, 3, 4, 6])
def test_a_single_pixel_in_a_discriminator_is_refused(kind: str, layers: int, scales: int) -> None:
    """What the numbers say about sizes is what norms see; where it is one pixel, instance norm is refused in words."""
    shape = {"kind": kind, "layers": layers, "scales": scales, "width": 1, "in_channels": 3, "semantic_channels": 1}
    for size in ((32, 16), (17, 33), (8, 8), (9, 1)):
        seen: list[tuple[int, int]] = []
        batch_norm = MultiscaleDiscriminator(**shape, norm="batch")
        for module in batch_norm.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(tuple(inputs[0].shape[2:])))
        batch_norm(torch.zeros(2, 3, *size))
        smallest = smallest_normalised(kind, layers, scales, size)
        assert smallest == min(seen, key=math.prod)
        network = MultiscaleDiscriminator(**shape, norm="instance")
        if smallest != (1, 1):
            assert len(network(torch.zeros(1, 3, *size))) == scales
            continue
        fewer = "-layers, larger" if kind == "resnet" else "give less of --discriminator-scales, larger"
        with pytest.raises(ConfigError, match=rf"{kind} with .*{size[0]}x{size[1]} to a single pixel.*{fewer}"):
            network(torch.zeros(1, 3, *size))


def test_the_spade_discriminator_modulates_by_the_layout_alone() -> None:
    network = lively(MultiscaleDiscriminator(in_channels=LABELS + 3, width=4, kind="spade", semantic_channels=LABELS))
    layers = [m for m in network.modules() if isinstance(m, SPADE)]
    assert len(layers) == 6
    assert {layer.shared.in_channels for layer in layers} == {LABELS}


@pytest.mark.parametrize("semantic_channels", [0, -1, 7])
def test_a_spade_discriminator_needs_to_know_its_semantics(semantic_channels: int) -> None:
    with pytest.raises(ConfigError, match=rf"semantic_channels={semantic_channels}.*1 to 6"):
        MultiscaleDiscriminator(in_channels=7, kind="spade", semantic_channels=semantic_channels)


@pytest.mark.parametrize(("downs", "side"), [(6, 256), (5, 128), (3, 32)])
def test_the_encoder_looks_at_squares(downs: int, side: int) -> None:
    network = lively(StyleEncoder(width=2, latent=7, downs=downs)).eval()
    image = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        mean, log_variance = network(image)
        squares = network(F.interpolate(image, (side, side), mode="bilinear"))
    assert mean.shape == log_variance.shape == (2, 7)
    assert torch.equal(mean, squares[0])
    assert torch.equal(log_variance, squares[1])


# --- initial weights ---


def test_initial_weights() -> None:
    network = SpadeGenerator(in_channels=20, width=8, latent=64, latent_grid=(2, 4), norm="batch")
    initialise(network)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach()
            fan_out, fan_in = weight.shape[0] * weight[0, 0].numel(), weight[0].numel()
            expected = 0.02 * math.sqrt(2 / (fan_in + fan_out))
            if weight.numel() > 5000:
                assert weight.std().item() == pytest.approx(expected, rel=0.05), name
            assert module.bias is None or not module.bias.any(), name


def test_initial_weights_are_those_of_the_generator_of_random_numbers() -> None:
    one, other = (
        initialise(SpadeGenerator(in_channels=LABELS, width=1), generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_affine_norms_begin_around_one() -> None:
    network = initialise(SpadeGenerator(in_channels=LABELS, width=8, norm="batch", conditioning="concat"), gain=0.02)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    weights = torch.cat([norm.weight.detach() for norm in norms])
    assert weights.mean().item() == pytest.approx(1, abs=0.01)
    assert weights.std().item() == pytest.approx(0.02, rel=0.2)
    assert not any(norm.bias.any() for norm in norms)


# --- memory ---


Networks = dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]]
NETWORKS: Networks = {
    "generator": lambda: (generator(), (patchwork(2, 64, 64),)),
    "from z": lambda: (
        generator(latent=5, latent_grid=(2, 2), norm="sync_batch"),
        (patchwork(2, 64, 64), torch.randn(2, 5)),
    ),
    "concat": lambda: (generator(conditioning="concat"), (patchwork(2, 64, 64),)),
    "instance": lambda: (generator(norm="instance"), (patchwork(2, 64, 64),)),
    **{
        kind: lambda kind=kind: (  # type: ignore[misc]
            lively(
                MultiscaleDiscriminator(
                    in_channels=7, width=4, kind=kind, semantic_channels=LABELS, norm="batch", layers=2
                )
            ),
            (torch.cat([patchwork(2, 64, 64), torch.randn(2, 3, 64, 64)], dim=1),),
        )
        for kind in ("patch", "resnet", "spade")
    },
    "encoder": lambda: (lively(StyleEncoder(width=4, latent=5, downs=4)), (torch.rand(2, 3, 64, 64),)),
}


def flat(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [t for part in output for t in flat(part)]


@pytest.mark.parametrize("name", NETWORKS)
def test_strips_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither do forwards in place; also in train mode, where each is one power iteration."""
    network, inputs = NETWORKS[name]()
    network.double()
    inputs = tuple(x.double() for x in inputs)
    for mode in (True, False):
        network.train(mode)
        before = {k: t.clone() for k, t in network.state_dict().items()}
        plain = [t.detach() for t in flat(network(*inputs))]
        after = {k: t.clone() for k, t in network.state_dict().items()}
        network.load_state_dict(before)
        given = tuple(x.clone() for x in inputs)
        with monkeypatch.context() as patch, torch.no_grad():
            patch.setattr(frugal, "LARGE", 0)
            patch.setattr(frugal, "STRIP", 1)
            patch.setattr(frugal, "SHARED", 8)
            ours = flat(network(*given))
        torch.testing.assert_close(ours, plain, rtol=0, atol=1e-11)
        torch.testing.assert_close(network.state_dict(), after, rtol=0, atol=1e-11)
        assert all(torch.equal(a, b) for a, b in zip(given, inputs, strict=True)), "what is handed in stays as it is"


@pytest.mark.parametrize("name", NETWORKS)
def test_activations_computed_again_change_nothing(name: str) -> None:
    """Neither gradients nor state, even where another forward comes between a forward and its backward pass."""
    network, inputs = NETWORKS[name]()
    network.double().train()
    inputs = tuple(x.double() for x in inputs)
    before = {k: t.clone() for k, t in network.state_dict().items()}
    found = []
    for again in (False, True):
        network.load_state_dict(before)
        checkpoint_activations(network, again)
        network.zero_grad()
        loss = torch.stack([t.square().mean() for t in flat(network(*inputs))]).sum()
        with torch.no_grad():
            network(*(x.flip(-1) for x in inputs))
        loss.backward()
        gradients = [p.grad.clone() for p in network.parameters() if p.grad is not None]
        found.append((gradients, {k: t.clone() for k, t in network.state_dict().items()}))
    assert found[0][0]
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)


def test_a_generator_keeps_less_where_activations_are_computed_again() -> None:
    network, layout = generator(hidden=32), patchwork(2, 64, 128)
    kept = []
    for again in (False, True):
        checkpoint_activations(network, again)
        total: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (total.__setitem__(t.untyped_storage()._cdata, t.untyped_storage().nbytes()), t)[1],  # noqa: B023
            lambda t: t,
        ):
            network(layout).mean()
        kept.append(sum(total.values()))
    assert kept[1] < 0.25 * kept[0]


def test_memory_is_rehearsed_without_touching_the_network() -> None:
    network = generator(latent=5, latent_grid=(2, 4), hidden=16)
    before = {k: t.clone() for k, t in network.state_dict().items()}
    need = forward_memory(network, [(1, LABELS, 64, 128), (1, 5)])
    larger = forward_memory(network, [(1, LABELS, 128, 256), (1, 5)])
    assert 3 * need < larger < 5 * need
    assert all(torch.equal(before[k], t) for k, t in network.state_dict().items())
    assert forward_memory(StyleEncoder(width=4, latent=5).eval(), [(1, 3, 64, 128)]) > 3 * 256 * 256 * 4
