"""Training steps of pix2pixHD and SPADE, straightforward and frozen: the whole graph, feature matching, two Adams, no VGG."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

Outputs = list[list[Tensor]]
FEATURES = 10.0  # weight of feature matching


def pix2pixhd_adams(generator: nn.Module, discriminator: nn.Module) -> list[Optimizer]:
    return [Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (generator, discriminator)]


def spade_adams(generator: nn.Module, discriminator: nn.Module) -> list[Optimizer]:
    """Two learning rates (TTUR)."""
    pairs = ((generator, 1e-4), (discriminator, 4e-4))
    return [Adam(network.parameters(), lr=rate, betas=(0.0, 0.9)) for network, rate in pairs]


def matching(judged: Outputs, wanted: Outputs) -> Tensor:
    """Mean over scales of the sums over layers of mean absolute differences, scores left out."""
    total = torch.zeros((), dtype=judged[0][0].dtype, device=judged[0][0].device)
    for ours, theirs in zip(judged, wanted, strict=True):
        for fake, real in zip(ours[:-1], theirs[:-1], strict=True):
            total = total + F.l1_loss(fake, real.detach()) / len(judged)
    return total


def pix2pixhd(
    generator: nn.Module, discriminator: nn.Module, adams: Sequence[Optimizer], semantics: Tensor, image: Tensor
) -> dict[str, Tensor]:
    """One forward of everything, then the generator's backward and update, then the discriminator's."""
    fake = generator(semantics)
    judged_detached = discriminator(torch.cat([semantics, fake.detach()], dim=1))
    judged_real = discriminator(torch.cat([semantics, image], dim=1))
    judged = discriminator(torch.cat([semantics, fake], dim=1))
    losses = {
        "G_gan": sum(F.mse_loss(scale[-1], torch.ones_like(scale[-1])) for scale in judged),
        "G_features": FEATURES * matching(judged, judged_real),
        "D_real": sum(F.mse_loss(scale[-1], torch.ones_like(scale[-1])) for scale in judged_real),
        "D_fake": sum(F.mse_loss(scale[-1], torch.zeros_like(scale[-1])) for scale in judged_detached),
    }
    adams[0].zero_grad()
    (losses["G_gan"] + losses["G_features"]).backward()
    adams[0].step()
    adams[1].zero_grad()  # what the generator's loss left there
    (0.5 * (losses["D_real"] + losses["D_fake"])).backward()
    adams[1].step()
    return {name: loss.detach() for name, loss in losses.items()}


def both(discriminator: nn.Module, semantics: Tensor, fake: Tensor, image: Tensor) -> tuple[Outputs, Outputs]:
    """What the discriminators give for generated pictures and for photographs, from one call."""
    pairs = [torch.cat([semantics, picture], dim=1) for picture in (fake, image)]
    outputs = discriminator(torch.cat(pairs))
    fakes = [[layer[: len(image)] for layer in scale] for scale in outputs]
    reals = [[layer[len(image) :] for layer in scale] for scale in outputs]
    return fakes, reals


def spade(
    generator: nn.Module, discriminator: nn.Module, adams: Sequence[Optimizer], semantics: Tensor, image: Tensor
) -> dict[str, Tensor]:
    """The generator's update, then new pictures of the updated generator, then the discriminator's update."""
    judged, real = both(discriminator, semantics, generator(semantics), image)
    losses = {
        "G_gan": -sum(scale[-1].mean() for scale in judged) / len(judged),
        "G_features": FEATURES * matching(judged, real),
    }
    adams[0].zero_grad()
    (losses["G_gan"] + losses["G_features"]).backward()
    adams[0].step()
    with torch.no_grad():
        fake = generator(semantics)
    judged, real = both(discriminator, semantics, fake, image)
    losses["D_real"] = sum(F.relu(1 - scale[-1]).mean() for scale in real) / len(real)
    losses["D_fake"] = sum(F.relu(1 + scale[-1]).mean() for scale in judged) / len(judged)
    adams[1].zero_grad()  # what the generator's loss left there
    (losses["D_real"] + losses["D_fake"]).backward()
    adams[1].step()
    return {name: loss.detach() for name, loss in losses.items()}
