"""pix2pix's networks: sizes, counts, what a score sees, where noise comes in, and what a picture depends on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import LabelError, StyleError
from gesso.labels import Semantics
from gesso.networks.pix2pix import (
    Double,
    Normalise,
    PatchDiscriminator,
    UNetGenerator,
    initialise,
    receptive_field,
)
from gesso.recipes import pix2pix

NORMS = ["batch", "instance", "none"]


def unet(**changes: Any) -> UNetGenerator:
    return UNetGenerator(**({"in_channels": 3, "width": 4, "downs": 6, "dropout": 0.0} | changes))


def lively(network: nn.Module) -> nn.Module:
    """Weights, biases and statistics that differ everywhere, so that nothing cancels by chance."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith(("running_var", "norm.weight")):
                tensor.uniform_(0.5, 1.5, generator=generator)
            elif tensor.is_floating_point():
                tensor.normal_(0, 0.25, generator=generator)
    return network


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


# --- the generator's form ---


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("downs", "height", "width"), [(1, 2, 6), (2, 8, 4), (3, 8, 24), (5, 32, 64), (7, 128, 256)])
def test_photographs_have_the_size_of_the_layout(downs: int, height: int, width: int, norm: str, skips: bool) -> None:
    network = unet(in_channels=5, downs=downs, norm=norm, width=2, skips=skips, out_channels=4)
    made = network(picture(2, 5, height, width))
    assert made.shape == (2, 4, height, width)
    assert made.abs().max() <= 1


def test_published_parameter_counts() -> None:
    """Totals that the official code prints for its networks at full width."""
    with torch.device("meta"):
        assert count(UNetGenerator(in_channels=3)) == 54_413_955  # unet_256
        assert count(UNetGenerator(in_channels=3, downs=7)) == 41_828_995  # unet_128
        assert count(PatchDiscriminator(in_channels=6)) == 2_768_705  # 70x70
        assert count(PatchDiscriminator(in_channels=6, layers=0)) == 9_024  # pixel


def test_widths_are_the_papers() -> None:
    """Appendix 6.1.1: C64-C128-C256-C512-C512-C512-C512-C512; skip connections double what the decoder takes."""
    with torch.device("meta"):
        network, plain = UNetGenerator(in_channels=3), UNetGenerator(in_channels=3, skips=False)
    assert [down.conv.out_channels for down in network.down] == [64, 128, 256, 512, 512, 512, 512, 512]
    assert [up.conv.out_channels for up in network.up] == [512, 512, 512, 512, 256, 128, 64, 3]
    assert [up.conv.in_channels for up in network.up] == [512, 1024, 1024, 1024, 1024, 512, 256, 128]
    assert [up.conv.in_channels for up in plain.up] == [512, 512, 512, 512, 512, 256, 128, 64]


def test_outermost_and_innermost_layers_have_no_norm() -> None:
    network = unet(norm="batch")
    assert [isinstance(down.norm, Normalise) for down in network.down] == [False, True, True, True, True, False]
    assert [isinstance(up.norm, Normalise) for up in network.up] == [True, True, True, True, True, False]


@pytest.mark.parametrize(("norm", "inner"), [("batch", False), ("instance", True), ("none", False)])
def test_biases_are_the_official_ones(norm: str, inner: bool) -> None:
    network, judge, pixel = (
        unet(norm=norm),
        *(PatchDiscriminator(in_channels=6, width=4, layers=n, norm=norm) for n in (3, 0)),
    )
    ups = [up.conv.bias is not None for up in network.up]
    assert [down.conv.bias is not None for down in network.down] == [inner] * 6
    assert ups == [inner] * 5 + [True]
    convs = [[m.bias is not None for m in d.modules() if isinstance(m, nn.Conv2d)] for d in (judge, pixel)]
    assert convs == [[True, inner, inner, inner, True], [True, inner, inner]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(0, 130), st.integers(0, 130))
def test_sizes_that_cannot_be_halved_are_refused(downs: int, height: int, width: int) -> None:
    network = unet(downs=downs, width=1, norm="none")
    assert network.multiple == network.smallest == 2**downs
    fits = height > 0 and width > 0 and height % 2**downs == 0 and width % 2**downs == 0
    if fits:
        assert network(torch.zeros(1, 3, height, width)).shape == (1, 3, height, width)
        return
    with pytest.raises(
        LabelError, match=rf"{height}x{width} cannot be halved {downs} times: .*multiples of {2**downs}\."
    ):
        network(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("norm", NORMS)
def test_one_picture_down_to_a_single_pixel_trains(norm: str) -> None:
    """128x128 with 7 halvings and a batch of 1: the innermost layer, of one pixel, has no norm that could fail."""
    network = initialise(unet(downs=7, norm=norm, dropout=0.5)).train()
    network(picture(1, 3, 128, 128)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_skip_connections_carry_what_the_encoder_decoder_lacks() -> None:
    """With an innermost layer that lets nothing through, a U-Net still sees its input, an encoder-decoder does not."""
    for skips in (True, False):
        network = lively(unet(skips=skips, norm="none")).eval()
        network.down[-1].conv.weight.data.zero_()
        ones, others = (network(picture(1, 3, 64, 64, seed=seed)) for seed in (1, 2))
        assert torch.equal(ones, others) == (not skips)


def test_decoder_mirrors_the_encoder() -> None:
    """Written out for three levels: what goes over a skip connection comes before what comes from below."""
    network = lively(unet(downs=3, norm="none"))
    x = picture(2, 3, 16, 8)
    a = network.down[0].conv(x)
    b = network.down[1].conv(F.leaky_relu(a, 0.2))
    c = network.down[2].conv(F.leaky_relu(b, 0.2))
    d = network.up[0].conv(F.relu(c))
    e = network.up[1].conv(F.relu(torch.cat([b, d], 1)))
    f = network.up[2].conv(F.relu(torch.cat([a, e], 1)))
    torch.testing.assert_close(network(x), f.tanh())


# --- statistics and noise ---


def test_resizing_makes_every_pixel_of_a_flat_map_alike_and_transposing_does_not() -> None:
    flat = torch.full((1, 4, 6, 8), 0.7)
    for doubling, alike in (("resize", True), ("transposed", False)):
        double = lively(Double(4, 3, nn.Identity(), bias=True, doubling=doubling))  # type: ignore[arg-type]
        inner = double(flat)[..., 2:-2, 2:-2]
        assert double(flat).shape == (1, 3, 12, 16)
        assert (inner.amax((2, 3)) - inner.amin((2, 3)) < 1e-5).all() == alike


def test_resizing_in_figures() -> None:
    """One pixel, all weights one: 3x3 around each pixel of its 2x2 copies, mirrored at the border."""
    double = Double(1, 1, nn.Identity(), bias=False, doubling="resize")
    nn.init.ones_(double.conv.weight)  # type: ignore[arg-type]
    assert torch.equal(double(torch.full((1, 1, 1, 1), 2.0)), torch.full((1, 1, 2, 2), 18.0))
    rising = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    assert double(rising)[0, 0, 0].tolist() == [9.0, 12.0, 15.0, 18.0]


@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_a_generator_that_resizes(norm: str, skips: bool) -> None:
    network = unet(downs=5, norm=norm, skips=skips, doubling="resize")
    assert not any(isinstance(module, nn.ConvTranspose2d) for module in network.modules())
    found = lively(network)(picture(2, 3, 32, 64))
    assert found.shape == (2, 3, 32, 64) and found.isfinite().all() and found.std() > 0
    found.mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_files_without_the_choice_keep_their_description_and_others_say_it() -> None:
    published, resizing = (
        pix2pix.build(pix2pix.Config(generator_width=2, generator_downs=2, doubling=doubling), Semantics(classes=3))
        for doubling in ("transposed", "resize")
    )
    assert "doubling" not in published.descriptions["generator"]["arguments"]
    assert resizing.descriptions["generator"]["arguments"]["doubling"] == "resize"
    assert all(config.doubling == "transposed" for config in pix2pix.PRESETS.values())


def test_batch_norm_of_one_picture_is_instance_norm() -> None:
    """Section 3.3: with a batch of 1, batch norm "has been termed instance normalization"."""
    norm = Normalise(6).train()
    x = 3 + 2 * picture(1, 6, 5, 7)
    torch.testing.assert_close(norm(x), F.instance_norm(x))
    lively(norm)
    wanted = F.instance_norm(x) * norm.weight.reshape(1, -1, 1, 1) + norm.bias.reshape(1, -1, 1, 1)
    torch.testing.assert_close(norm(x), wanted)


def test_statistics_of_a_picture_are_published_batch_norm_at_batch_1() -> None:
    network = lively(unet(statistics="picture", norm="batch"))
    x = picture(1, 3, 64, 128)
    published = network.train()(x)
    torch.testing.assert_close(network.eval()(x), published)
    running = unet(statistics="running", norm="batch")
    running.load_state_dict(network.state_dict(), strict=True)
    assert (running.eval()(x) - published).abs().max() > 0.01
    torch.testing.assert_close(running.train()(x), published)


@pytest.mark.parametrize(("norm", "statistics"), [("batch", "picture"), ("batch", "running"), ("instance", "running")])
def test_a_picture_does_not_depend_on_others_of_its_batch(norm: str, statistics: str) -> None:
    network = lively(unet(norm=norm, statistics=statistics)).eval()
    network.double()  # in float32 sums differ with the batch's size
    x = torch.cat([picture(1, 3, 64, 64, seed=1), 9 * picture(2, 3, 64, 64, seed=2) - 4]).double()
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-9, atol=1e-9)


def test_in_training_a_picture_depends_on_others_of_its_batch() -> None:
    network = lively(unet(norm="batch", statistics="picture")).train()
    x = torch.cat([picture(1, 3, 64, 64, seed=1), 9 * picture(1, 3, 64, 64, seed=2) - 4])
    assert (network(x)[:1] - network(x[:1])).abs().max() > 0.01


@pytest.mark.parametrize(("downs", "sides"), [(8, [4, 8, 16]), (7, [4, 8]), (6, [4]), (5, []), (1, [])])
def test_dropout_is_where_the_official_code_has_it(
    downs: int, sides: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind all but the innermost of the blocks at the full width of 8 times the first."""
    dropped: list[int] = []

    def note(x: Tensor, p: float, training: bool) -> Tensor:
        assert (p, training) == (0.5, True)
        dropped.append(x.shape[-1])
        return x

    network = unet(downs=downs, width=1, dropout=0.5).train()
    monkeypatch.setattr(F, "dropout", note)
    network(picture(2, 3, 2**downs, 2**downs))
    assert dropped == sides
    assert network.noisy == bool(sides)


def test_noise_at_synthesis_is_asked_for() -> None:
    network = lively(unet(norm="instance", dropout=0.5, downs=7)).eval()
    x = picture(1, 3, 128, 128)

    def made(seed: int) -> Tensor:
        torch.manual_seed(seed)
        with torch.no_grad():
            return network(x)

    assert network.noise is False
    assert torch.equal(made(1), made(2))
    quiet = made(1)
    network.noise = True
    assert torch.equal(made(1), made(1))
    assert not torch.equal(made(1), made(2))
    assert not torch.equal(made(1), quiet)
    network.noise = False
    assert torch.equal(made(3), quiet)


def test_without_dropout_there_is_no_noise() -> None:
    network = lively(unet(dropout=0.0, norm="instance", downs=7)).train()
    network.noise = True
    x = picture(1, 3, 128, 128)
    assert torch.equal(network(x), network(x))
    assert not network.noisy


def test_noise_channels_are_part_of_the_input() -> None:
    network = lively(unet(in_channels=5, noise_channels=2, norm="none")).eval()
    joined = lively(unet(in_channels=7, norm="none")).eval()
    layout, noise = picture(2, 5, 64, 64), picture(2, 2, 64, 64, seed=3)
    torch.testing.assert_close(network(layout, noise), joined(torch.cat([layout, noise], 1)))
    assert network.noisy
    assert not joined.noisy


@pytest.mark.parametrize(("channels", "style"), [(2, None), (2, 3), (0, 1)])
def test_noise_of_other_channels_is_refused(channels: int, style: int | None) -> None:
    network = unet(noise_channels=channels)
    noise = None if style is None else torch.zeros(1, style, 64, 64)
    with pytest.raises(StyleError, match=rf"takes {channels} channels of noise, not {style or 0}"):
        network(torch.zeros(1, 3, 64, 64), noise)


def test_a_map_without_channels_is_no_noise() -> None:
    network = lively(unet()).eval()
    x = picture(1, 3, 64, 64)
    assert torch.equal(network(x, torch.zeros(1, 0, 64, 64)), network(x))


# --- the discriminator ---


@pytest.mark.parametrize(("layers", "side"), [(0, 1), (1, 16), (2, 34), (3, 70), (4, 142), (5, 286)])
def test_receptive_field_is_the_gradients_footprint(layers: int, side: int) -> None:
    """The name of a PatchGAN is the side of what one score depends on (section 3.2.2)."""
    assert receptive_field(layers) == side
    network = PatchDiscriminator(in_channels=1, width=1, layers=layers, norm="none").double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.25)  # positive, so that no path cancels another
    size = 2 * (side + 2**layers)
    x = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True)
    scores = network(x)
    middle = scores.shape[-1] // 2
    (gradient,) = torch.autograd.grad(scores[0, 0, middle, middle], x)
    rows, columns = (gradient[0, 0] != 0).any(1).nonzero(), (gradient[0, 0] != 0).any(0).nonzero()
    assert 0 < int(rows.min()) and int(rows.max()) < size - 1, "the patch reaches the border: it may be cut off"
    for places in (rows, columns):
        assert int(places.max() - places.min()) + 1 == len(places) == side


def test_each_pixel_is_judged_alone_by_the_pixelgan() -> None:
    network = lively(PatchDiscriminator(in_channels=4, width=3, layers=0, norm="none"))
    x = picture(2, 4, 5, 7)
    one = network(x[:1, :, 2:3, 3:4])
    torch.testing.assert_close(network(x)[:1, :, 2:3, 3:4], one)


@pytest.mark.parametrize(("layers", "side"), [(0, 256), (1, 126), (3, 30), (5, 6)])
def test_score_maps_of_256_pixels(layers: int, side: int) -> None:
    with torch.device("meta"):
        scores = PatchDiscriminator(in_channels=6, width=2, layers=layers)(torch.empty(1, 6, 256, 256))
    assert scores.shape == (1, 1, side, side)


@pytest.mark.parametrize("layers", [0, 1, 3, 5])
def test_pictures_too_small_for_a_score_are_refused(layers: int) -> None:
    network = PatchDiscriminator(in_channels=2, width=1, layers=layers, norm="none")
    least = network.smallest
    assert network(torch.zeros(1, 2, least, least + 1)).shape[2:] == ((1, 1) if layers else (1, 2))
    with pytest.raises(LabelError, match=rf"pictures of {least}x{least} or more, not {least}x{least - 1}"):
        network(torch.zeros(1, 2, least, least - 1))


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_smallest_pictures_train(norm: str) -> None:
    """Norms fail at a single pixel; a picture that is large enough for a score never comes to that."""
    network = PatchDiscriminator(in_channels=2, width=2, layers=3, norm=norm).train()
    least = network.smallest
    assert network(picture(1, 2, least, least)).isfinite().all()


def test_first_and_last_layer_have_no_norm() -> None:
    layers = PatchDiscriminator(in_channels=6, width=4, layers=3).layers
    assert [type(layer).__name__ for layer in layers] == [
        "Conv2d", "LeakyReLU", *(["Conv2d", "Normalise", "LeakyReLU"] * 3), "Conv2d",
    ]  # fmt: skip
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels, c.stride[0]) for c in convs] == [
        (6, 4, 2), (4, 8, 2), (8, 16, 2), (16, 32, 1), (32, 1, 1),
    ]  # fmt: skip


def test_widths_of_the_largest_patch() -> None:
    """Appendix 6.1.2, 286x286: C64-C128-C256-C512-C512-C512."""
    with torch.device("meta"):
        layers = PatchDiscriminator(in_channels=6, layers=5).layers
    assert [m.out_channels for m in layers if isinstance(m, nn.Conv2d)] == [64, 128, 256, 512, 512, 512, 1]


# --- initial weights ---


@pytest.mark.parametrize("norm", NORMS)
def test_initial_weights_are_the_published_ones(norm: str) -> None:
    for network in (unet(width=16, norm=norm), PatchDiscriminator(in_channels=6, width=32, norm=norm)):
        lively(network)
        initialise(network, torch.Generator().manual_seed(1))
        convs = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        weights = torch.cat([m.weight.flatten() for m in convs])
        assert weights.mean().item() == pytest.approx(0, abs=3e-4)
        assert weights.std().item() == pytest.approx(0.02, rel=0.02)
        scales = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        assert bool(scales) == (norm == "batch")
        if scales:
            spread = torch.cat([m.weight for m in scales])
            assert spread.mean().item() == pytest.approx(1, abs=0.005)
            assert spread.std().item() == pytest.approx(0.02, rel=0.2)
        assert all(not m.bias.any() for m in [*convs, *scales] if m.bias is not None)


def test_initial_weights_can_be_drawn_again() -> None:
    ones, others = (initialise(unet(), torch.Generator().manual_seed(5)).state_dict() for _ in range(2))
    assert all(torch.equal(tensor, others[name]) for name, tensor in ones.items())
