"""Averaged weights, and the measurements that are made anew for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gesso.averaging import follow, settled
from gesso.errors import ConfigError
from gesso.networks import pix2pixhd
from gesso.networks.spectral import SpectralConv2d
from gesso.networks.sync_norm import SyncBatchNorm2d
from gesso.recipes import spade


def small(norm: type[nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm(4), nn.ReLU(), nn.Conv2d(4, 2, 3, bias=False), norm(2))


def batches() -> list[Tensor]:
    torch.manual_seed(2)
    return [3 + 2 * torch.randn(4, 3, 9, 11) for _ in range(3)]


def through(networks: Mapping[str, nn.Module], batch: Tensor) -> Any:
    return networks["generator"](batch)


def test_parameters_are_averaged_and_buffers_taken_over() -> None:
    kept, current = small(), small()
    with torch.no_grad():
        for tensor in (*current.parameters(), current[1].running_mean, current[1].num_batches_tracked):
            tensor.add_(1)
    before = [p.clone() for p in kept.parameters()]
    follow(kept, current, 0.25)
    for old, new in zip(before, kept.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old + 0.25)
    assert torch.equal(kept[1].running_mean, torch.ones(4))
    assert kept[1].num_batches_tracked == 1


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, SyncBatchNorm2d])
def test_statistics_are_means_over_the_batches(norm: type[nn.Module]) -> None:
    network = small(norm).eval()
    network[1].running_mean.fill_(77.0)  # of other weights
    found = settled({"generator": network}, batches, through)["generator"]
    means, variances = zip(*(first_layer(network, batch) for batch in batches()), strict=True)
    torch.testing.assert_close(found[1].running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(found[1].running_var, torch.stack(variances).mean(0))
    assert (network[1].running_mean == 77).all(), "the averaged network itself stays as it is"
    assert not any(m.training for m in found.modules())
    assert found[1].momentum == network[1].momentum


def first_layer(network: nn.Sequential, batch: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        values = network[0](batch).transpose(0, 1).flatten(1)
    return values.mean(1), values.var(1)


def test_a_channel_that_never_varies_is_not_blown_up() -> None:
    """One photograph, always the same, at a grid of 1x1: 0 behind the norm as in training; others stay moderate."""
    norm, seen = nn.BatchNorm2d(3, affine=False), torch.tensor([[0.5, -1.0, 2.0]] * 2).view(2, 3, 1, 1)
    found = settled({"generator": norm}, lambda: [seen, seen], through)["generator"]
    with torch.no_grad():
        torch.testing.assert_close(found(seen), torch.zeros_like(seen))
        torch.testing.assert_close(found(seen + 1), torch.ones_like(seen), rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, SyncBatchNorm2d])
def test_a_single_value_per_channel_is_refused_in_words(norm: type[nn.Module]) -> None:
    one_pixel = torch.zeros(1, 3, 5, 5)  # 3x3 behind the first convolution, 1x1 behind the second
    with pytest.raises(ConfigError, match=r"a single value per channel to normalise.*--generator-downs.*--batch above"):
        settled({"generator": small(norm)}, lambda: [one_pixel], through)
    two = settled({"generator": small(norm)}, lambda: [one_pixel.expand(2, -1, -1, -1)], through)["generator"]
    assert not any(module._forward_pre_hooks for module in two.modules())


def test_spectral_norm_fits_the_averaged_weights() -> None:
    torch.manual_seed(3)
    conv = SpectralConv2d(3, 8, 3)
    with torch.no_grad():
        conv.weight.copy_(torch.randn_like(conv.weight))  # u and v are those of the weights before
    found = settled({"generator": conv}, lambda: batches() * 10, through)["generator"]
    largest = torch.linalg.svdvals(found.normalised().detach().flatten(1))[0]
    assert largest == pytest.approx(1, abs=5e-3)
    assert torch.linalg.svdvals(conv.eval().normalised().detach().flatten(1))[0] > 1.05


def test_networks_that_measure_nothing_are_the_same() -> None:
    generator = pix2pixhd.GlobalGenerator(in_channels=2, width=2, downs=1, blocks=1)
    given = {"generator": generator}

    def never() -> list[Tensor]:
        raise AssertionError("there is nothing to measure")

    assert settled(given, never, through) is given


class Spy(nn.Module):
    """Stands in for a generator, and keeps what it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, semantics: Tensor, style: Tensor) -> Tensor:
        self.seen.append(style)
        return semantics[:, :3]


class Encoder(nn.Module):
    """Gives the same posterior for all photographs: mean 3, variance 4."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mean = torch.full((len(image), 500), 3.0)
        return mean, torch.full_like(mean, 4.0).log()


@pytest.mark.parametrize("encoder", [False, True])
def test_measurements_are_made_in_the_styles_of_training(encoder: bool) -> None:
    """SPADE's statistics depend on z: means alone, or one z for all, would be too narrow."""
    config = spade.Config(latent=500, style_encoder=encoder, crop=(64, 64), norm="sync_batch", batch=2)
    networks: dict[str, nn.Module] = {"generator": Spy(), **({"encoder": Encoder()} if encoder else {})}
    batch = {"semantics": torch.zeros(2, 4, 64, 64), "image": torch.zeros(2, 3, 64, 64)}
    torch.manual_seed(0)
    for _ in range(3):
        spade.generate(config, networks, batch)
    z = torch.cat(networks["generator"].seen)  # type: ignore[arg-type]
    assert len(torch.unique(z, dim=0)) == 6
    assert z.mean() == pytest.approx(3 if encoder else 0, abs=0.2)
    assert z.std() == pytest.approx(2 if encoder else 1, abs=0.1)
