"""pix2pixHD's networks against closed-form answers: pooling, sizes, orders, initial weights, budgets."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gesso.labels import Semantics
from gesso.networks.pix2pixhd import (
    CoarseToFineGenerator,
    GlobalGenerator,
    InstanceEncoder,
    MultiscaleDiscriminator,
    PatchDiscriminator,
    ResidualBlock,
    initialise,
    pool_instances,
    shrink,
)
from gesso.recipes import pix2pixhd as recipe

NORMS = ("instance", "batch")


@pytest.fixture(autouse=True)
def fixed_random_numbers() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- instance-wise average pooling ---


def pooled_by_loops(features: Tensor, instance: Tensor) -> Tensor:
    pooled = torch.zeros_like(features)
    for image, ids, out in zip(features, instance, pooled, strict=True):
        for key in set(ids.flatten().tolist()):
            out[:, ids == key] = image[:, ids == key].mean(dim=1, keepdim=True)
    return pooled


IDS = st.one_of(st.integers(-2, 3), st.sampled_from([-32519, 33017, 2**31, -(2**40), 2**62]))


@settings(max_examples=50, deadline=None)
@given(data=st.data(), batch=st.integers(1, 3), height=st.integers(1, 4), width=st.integers(1, 5))
def test_pooling_is_the_mean_over_each_object_of_each_image(
    data: st.DataObject, batch: int, height: int, width: int
) -> None:
    """Also with ids that are absent in some images, negative or large."""
    size = batch * height * width
    ids = data.draw(st.lists(IDS, min_size=size, max_size=size))
    instance = torch.tensor(ids).reshape(batch, height, width)
    features = noise(batch, 3, height, width)
    expected = pooled_by_loops(features, instance)
    torch.testing.assert_close(pool_instances(features, instance), expected)
    assert torch.equal(pool_instances(features, instance.unsqueeze(1)), pool_instances(features, instance))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_pooling_takes_any_integers(dtype: torch.dtype) -> None:
    features, instance = noise(2, 2, 4, 4), torch.arange(32).reshape(2, 4, 4) % 5
    torch.testing.assert_close(pool_instances(features, instance.to(dtype)), pooled_by_loops(features, instance))


def test_an_id_in_two_images_is_two_objects() -> None:
    features = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2)
    assert torch.equal(pool_instances(features, torch.full((2, 2, 2), 7)), features)


def test_gradient_of_pooling_is_the_mean_of_the_gradients() -> None:
    features, weight = noise(2, 3, 4, 5).requires_grad_(), noise(2, 3, 4, 5, seed=1)
    instance = torch.arange(40).reshape(2, 4, 5) % 3
    (pool_instances(features, instance) * weight).sum().backward()
    assert features.grad is not None
    torch.testing.assert_close(features.grad, pooled_by_loops(weight, instance))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_keeps_the_number_format_and_sums_exactly(dtype: torch.dtype) -> None:
    """Half a million equal numbers: a sum in float32 would drift."""
    features = torch.full((1, 1, 512, 1024), 0.1, dtype=dtype)
    assert torch.equal(pool_instances(features, torch.zeros(1, 512, 1024, dtype=torch.int64)), features)


# --- image pyramid ---


def test_shrink_is_a_mean_of_three_by_three_inside_and_of_fewer_at_borders() -> None:
    image = torch.arange(24.0).reshape(1, 1, 4, 6)
    # Rows are centred at 0 and 2, columns at 0, 2, 4; what lies beyond the border does not count.
    rows, columns = [(0, 1), (1, 2, 3)], [(0, 1), (1, 2, 3), (3, 4, 5)]
    expected = [[sum(6.0 * r + c for r in rs for c in cs) / (len(rs) * len(cs)) for cs in columns] for rs in rows]
    assert torch.equal(shrink(image), torch.tensor([[expected]]))


def test_shrink_keeps_constants_and_rounds_odd_sizes_up() -> None:
    assert torch.equal(shrink(torch.ones(2, 3, 5, 7)), torch.ones(2, 3, 3, 4))


# --- generators and encoder ---


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("downs", "multiple"), [(1, 2), (2, 4), (3, 8)])
def test_global_generator_keeps_the_size(downs: int, multiple: int, norm: str) -> None:
    network = GlobalGenerator(in_channels=4, width=2, downs=downs, blocks=1, norm=norm)
    assert network.multiple == multiple
    image = network(torch.randn(2, 4, 3 * multiple, 5 * multiple))
    assert image.shape == (2, 3, 3 * multiple, 5 * multiple)
    assert image.abs().max() <= 1


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("enhancers", [0, 1, 2, 3])
def test_coarse_to_fine_generator_keeps_the_size(enhancers: int, norm: str) -> None:
    network = CoarseToFineGenerator(
        in_channels=4, out_channels=2, width=2, downs=1, blocks=1, enhancers=enhancers, enhancer_blocks=1, norm=norm
    )
    multiple = 2 ** (1 + enhancers)
    assert network.multiple == multiple
    assert network(torch.randn(1, 4, 2 * multiple, 3 * multiple)).shape == (1, 2, 2 * multiple, 3 * multiple)


def test_without_enhancers_it_is_the_global_generator() -> None:
    arguments = {"in_channels": 4, "width": 2, "downs": 2, "blocks": 1}
    plain, nested = GlobalGenerator(**arguments), CoarseToFineGenerator(**arguments, enhancers=0)  # type: ignore[arg-type]
    nested.load_state_dict(plain.state_dict())
    semantics = torch.randn(1, 4, 16, 16)
    assert torch.equal(nested(semantics), plain(semantics))


def test_the_global_network_sees_the_shrunken_layout() -> None:
    """With an enhancer that adds nothing of its own before its blocks, features of the coarse layout come through."""
    network = CoarseToFineGenerator(in_channels=4, width=2, downs=1, blocks=1, enhancers=2, enhancer_blocks=0).double()
    for enhancer in network.enhancers:
        for parameter in enhancer.down.parameters():
            nn.init.zeros_(parameter)  # constant, so zero behind the normalisation
    semantics = noise(1, 4, 32, 48)
    x = network.trunk(shrink(shrink(semantics)))
    for enhancer in network.enhancers:
        x = enhancer.up(x)
    torch.testing.assert_close(network(semantics), network.head(x))


@pytest.mark.parametrize("enhancers", [0, 1])
def test_resized_doubling_makes_no_difference_between_even_and_odd_pixels(enhancers: int) -> None:
    """Of constant features a transposed convolution makes a checkerboard, since its outputs have 1, 2, 2 or 4 terms."""
    contrast = {}
    for doubling in ("transposed", "resize"):
        network = initialise(
            CoarseToFineGenerator(
                in_channels=4, width=4, downs=2, blocks=1, enhancers=enhancers, norm="batch", doubling=doubling
            )
        ).eval()
        up, channels = (network.enhancers[0].up, 8) if enhancers else (network.trunk.up, 16)
        inside = up(torch.ones(1, channels, 12, 12)).detach()[0, :, 8:-8, 8:-8]
        contrast[doubling] = float((inside - inside.mean((1, 2), keepdim=True)).abs().max() / inside.abs().max())
    assert contrast["transposed"] > 0.1
    assert contrast["resize"] < 1e-5


def test_resized_doubling_keeps_the_size() -> None:
    network = GlobalGenerator(in_channels=4, width=2, downs=3, blocks=1, doubling="resize")
    assert network(torch.randn(2, 4, 24, 40)).shape == (2, 3, 24, 40)


@pytest.mark.parametrize(("height", "width"), [(24, 33), (23, 32), (20, 32), (1, 1)])
def test_odd_sizes_are_refused(height: int, width: int) -> None:
    semantics = torch.zeros(1, 4, height, width)
    message = rf"{height}x{width} cannot be halved 3 times: .* multiples of 8, at least \d+\. Pad or resize"
    with pytest.raises(ValueError, match=message):
        GlobalGenerator(in_channels=4, width=2, downs=3, blocks=0)(semantics)
    with pytest.raises(ValueError, match=message):
        CoarseToFineGenerator(in_channels=4, width=2, downs=2, blocks=0, enhancers=1)(semantics)
    with pytest.raises(ValueError, match=message):
        InstanceEncoder(in_channels=4, width=2, downs=3)(semantics, torch.zeros(1, height, width, dtype=torch.int64))


def test_sizes_too_small_for_reflection_are_refused() -> None:
    network = GlobalGenerator(in_channels=4, width=2, downs=3, blocks=1)
    assert network(torch.zeros(1, 4, 16, 24)).shape == (1, 3, 16, 24)
    with pytest.raises(ValueError, match="multiples of 8, at least 16"):
        network(torch.zeros(1, 4, 8, 24))


@pytest.mark.parametrize("network", [GlobalGenerator, CoarseToFineGenerator])
def test_style_is_appended_to_the_semantics(network: type[nn.Module]) -> None:
    generator = network(in_channels=5, width=2, downs=2, blocks=1).double()
    semantics, style = noise(1, 3, 16, 16), noise(1, 2, 16, 16, seed=1)
    assert torch.equal(generator(semantics, style), generator(torch.cat([semantics, style], dim=1)))


def test_encoder_is_constant_on_objects_and_bounded() -> None:
    encoder = InstanceEncoder(features=2, width=4, downs=2).double()
    image, instance = noise(2, 3, 16, 24), torch.arange(16).reshape(1, 16, 1).expand(2, 16, 24) // 4
    with torch.no_grad():
        style, dense = encoder(image, instance), encoder.head(encoder.trunk(image))
    assert style.shape == (2, 2, 16, 24)
    assert style.abs().max() <= 1
    torch.testing.assert_close(style, pooled_by_loops(style, instance))
    torch.testing.assert_close(style[1, :, 5, 7], dense[1, :, 4:8].mean(dim=(1, 2)))


@pytest.mark.parametrize("norm", NORMS)
def test_residual_block_without_second_convolution_is_the_identity(norm: str) -> None:
    block = ResidualBlock(4, norm)
    nn.init.zeros_(block.second.weight)  # its bias is cancelled by the normalisation
    x = torch.randn(2, 4, 6, 6)
    torch.testing.assert_close(block(x), x)


def test_residual_block_has_no_activation_after_the_addition() -> None:
    assert ResidualBlock(4)(torch.randn(2, 4, 6, 6)).min() < 0


# --- discriminators ---


def test_sizes_of_the_discriminators_maps() -> None:
    outputs = MultiscaleDiscriminator(in_channels=4, width=2, layers=3, scales=2)(torch.randn(1, 4, 64, 96))
    fine, coarse = ([tuple(y.shape) for y in layers] for layers in outputs)
    assert fine == [(1, 2, 33, 49), (1, 4, 17, 25), (1, 8, 9, 13), (1, 16, 10, 14), (1, 1, 11, 15)]
    assert coarse == [(1, 2, 17, 25), (1, 4, 9, 13), (1, 8, 5, 7), (1, 16, 6, 8), (1, 1, 7, 9)]


@pytest.mark.parametrize("scales", [1, 2, 3])
def test_finest_scale_first(scales: int) -> None:
    """The scale that is kept first is the coarsest and answers last; without weights it answers its bias."""
    network = MultiscaleDiscriminator(in_channels=4, width=2, layers=2, scales=scales)
    for parameter in network.scales[0].parameters():
        nn.init.zeros_(parameter)
    nn.init.constant_(network.scales[0].layers[-1][0].bias, 0.25)
    outputs = network(torch.randn(1, 4, 64, 64))
    assert len(outputs) == scales
    assert torch.equal(outputs[-1][-1], torch.full_like(outputs[-1][-1], 0.25))
    assert all(layers[-1].std() > 0 for layers in outputs[:-1])
    heights = [layers[-1].shape[-2] for layers in outputs]
    assert heights == sorted(heights, reverse=True)


def test_one_more_scale_leaves_the_others_at_their_resolution() -> None:
    """Section 3.2: discriminators trained at 1024x512 go on at 2048x1024, where a new one sees the finest image."""
    two = MultiscaleDiscriminator(in_channels=4, width=2, layers=2, scales=2).double()
    three = MultiscaleDiscriminator(in_channels=4, width=2, layers=2, scales=3).double()
    three.load_state_dict(three.state_dict() | two.state_dict())
    image = noise(1, 4, 64, 64)
    torch.testing.assert_close(three(image)[1:], two(shrink(image)))


def test_features_are_taken_after_the_activation() -> None:
    """LeakyReLU(0.2): with inputs of zero mean and unit variance nothing is far below zero but the scores may be."""
    layers = PatchDiscriminator(4, 8, 2, "instance")(torch.randn(1, 4, 64, 64))
    for features in layers[1:-1]:
        negative, positive = features[features < 0], features[features > 0]
        undone = torch.cat([negative / 0.2, positive])
        assert abs(undone.mean().item()) < 0.01
        assert undone.std().item() == pytest.approx(1.0, abs=0.01)


def test_widths_double_up_to_512() -> None:
    with torch.device("meta"):
        network = PatchDiscriminator(39, 64, 5, "instance")
    assert [layer[0].out_channels for layer in network.layers] == [64, 128, 256, 512, 512, 512, 1]


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70), (4, 142)])
def test_a_score_judges_a_patch(layers: int, field: int) -> None:
    """Without normalisation, which sees the whole image, a score depends on a square of 70 pixels for three layers."""
    network = PatchDiscriminator(1, 1, layers, "instance").double()
    for layer in network.layers:
        if len(layer) == 3:
            layer[1] = nn.Identity()
        nn.init.ones_(layer[0].weight)
        nn.init.zeros_(layer[0].bias)
    image = torch.ones(1, 1, 256, 256, dtype=torch.float64).requires_grad_()
    scores = network(image)[-1]
    scores[0, 0, scores.shape[-2] // 2, scores.shape[-1] // 2].backward()
    assert image.grad is not None
    touched = image.grad[0, 0].nonzero()
    assert (touched.max(dim=0).values - touched.min(dim=0).values + 1).tolist() == [field, field]


# --- initial weights ---


def convolutions(network: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def seeded(norm: str = "batch") -> nn.Module:
    torch.manual_seed(3)
    return CoarseToFineGenerator(in_channels=8, width=8, downs=2, blocks=2, norm=norm)


def test_initial_weights_have_the_papers_spread() -> None:
    network = initialise(seeded())
    convs = convolutions(network)
    assert any(isinstance(c, nn.ConvTranspose2d) for c in convs)
    for conv in convs:
        weights = conv.weight.detach().flatten()
        bound = 5 / math.sqrt(len(weights))  # five standard errors
        assert abs(weights.mean().item()) < 0.02 * bound
        assert abs(weights.std().item() / 0.02 - 1) < bound
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    gains = torch.cat([m.weight.detach() for m in norms])
    assert abs(gains.mean().item() - 1) < 0.02 * 5 / math.sqrt(len(gains))
    assert abs(gains.std().item() / 0.02 - 1) < 5 / math.sqrt(len(gains))
    assert all((m.bias == 0).all() for m in norms)


def test_biases_of_convolutions_keep_torchs_values() -> None:
    for before, after in zip(convolutions(seeded()), convolutions(initialise(seeded())), strict=True):
        assert before.bias is not None
        assert after.bias is not None
        assert torch.equal(before.bias, after.bias)
        assert before.bias.abs().max() > 0
        assert not torch.equal(before.weight, after.weight)


def test_initial_weights_follow_the_given_generator() -> None:
    def drawn(seed: int, of_the_global_one: int) -> dict[str, Tensor]:
        network = seeded()
        torch.manual_seed(of_the_global_one)
        return initialise(network, torch.Generator().manual_seed(seed)).state_dict()

    first, second, other = drawn(9, 1), drawn(9, 2), drawn(10, 1)
    assert all(torch.equal(first[n], second[n]) for n in first)
    assert not torch.equal(first["head.1.weight"], other["head.1.weight"])


# --- budgets ---


@pytest.mark.parametrize("channels", [12, 36], ids=["camvid", "cityscapes"])
def test_small_preset_keeps_its_budget(channels: int) -> None:
    """At most 3.8 M parameters with an encoder of width 8, and 6 G multiply-adds at 128x256; style included."""
    config = recipe.PRESETS["pix2pixhd-small"]
    with torch.device("meta"):
        players = recipe.build(config, Semantics(classes=channels + 3))
        encoder = InstanceEncoder(width=8)
        semantics = torch.empty(1, channels + 3, 128, 256)
    generator = players.trained["generator"]
    assert sum(p.numel() for n in (generator, encoder) for p in n.parameters()) <= 3_800_000
    with FlopCounterMode(display=False) as counter:
        generator(semantics)
    assert 0 < counter.get_total_flops() / 2 <= 6e9
