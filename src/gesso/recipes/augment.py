"""DiffAugment: what the discriminator sees is changed at random, so that it cannot learn few photographs by heart.

Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training" (arXiv 2006.10738), section 3 and appendix:
every picture that goes into D, photograph or generated, in D's loss or in G's, is changed by functions that gradients pass
through. Written from the paper. Here the discriminator sees a layout beside the picture, so:

- colour changes touch the picture alone (layouts have no colour);
- translation and cutout move and blank layout and picture alike, so that both still say the same.

The photograph and the generated picture of one step get the same random numbers, because feature matching compares their
features place by place. (The paper draws them independently; its losses compare no features.) So a training step does

    batch, _, height, width = image.shape
    augmentation = draw(config.diffaugment, batch, height, width, image.device)  # once per part of a step
    scores = discriminator(augmentation(torch.cat([semantics, image], dim=1)))  # likewise for the generated picture

With an empty policy `draw` uses up no random number and the augmentation gives back its very argument.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

POLICIES = ("color", "translation", "cutout")  # the paper's names
SHIFT = 1 / 8  # largest translation, share of each side
HOLE = 1 / 2  # sides of the cutout, share of the picture's
_NUMBERS = 7  # random numbers per picture: three for colours, two for the shift, two for the hole
Box = tuple[int, int, int, int]


def policies(text: str) -> tuple[str, ...]:
    """The names in a comma list such as "color,translation,cutout", in the order in which they are applied.

    "colour" is taken for "color".

    Raises:
        ValueError: A name is not known.
    """
    names = [name.strip().replace("colour", "color") for name in text.split(",") if name.strip()]
    if unknown := [name for name in names if name not in POLICIES]:
        raise ValueError(
            f"{unknown[0]!r} is no policy of DiffAugment; give a comma list of {', '.join(POLICIES)}, or nothing"
        )
    return tuple(name for name in POLICIES if name in names)


@dataclass(frozen=True)
class Augmentation:
    """Random changes, drawn: the same call changes every picture of the batch in the same way again.

    Attributes:
        colours: (B, 3) factors of brightness (added, -0.5..0.5), saturation (0..2) and contrast (0.5..1.5), or None.
        shifts: Rows down and columns to the right that each picture is moved by; empty for none.
        holes: (top, left, bottom, right) of what is blanked in each picture; empty for none.
    """

    colours: Tensor | None = None
    shifts: tuple[tuple[int, int], ...] = ()
    holes: tuple[Box, ...] = ()

    def __call__(self, x: Tensor, image_channels: int = 3) -> Tensor:
        """Change what a discriminator is about to see; differentiable.

        Args:
            x: (B, C, H, W), the picture in the last channels, in [-1, 1], the semantics, if any, before it.
            image_channels: How many of the last channels are the picture.

        Returns:
            (B, C, H, W). What comes in from outside, and the hole, is 0: no class, mid-grey.
        """
        if self.colours is not None:
            image = _coloured(x[:, -image_channels:], self.colours)
            x = torch.cat([x[:, :-image_channels], image], dim=1)
        if self.shifts:
            moved = [
                F.pad(one, (right, -right, down, -down)) for one, (down, right) in zip(x, self.shifts, strict=True)
            ]
            x = torch.stack(moved)
        return x * self._mask(x) if self.holes else x

    def _mask(self, x: Tensor) -> Tensor:
        mask = x.new_ones(len(x), 1, *x.shape[2:])
        for one, (top, left, bottom, right) in zip(mask, self.holes, strict=True):
            one[:, top:bottom, left:right] = 0
        return mask  # (B, 1, H, W)


def draw(policy: str, batch: int, height: int, width: int, device: torch.device | str = "cpu") -> Augmentation:
    """Random changes for a batch, from torch's global generator on the CPU: alike on every device.

    Args:
        policy: Comma list of "color", "translation", "cutout"; empty for no change, which draws nothing.
        batch: Pictures in the batch.
        height: Pixels of what the augmentation will be applied to.
        width: Pixels, likewise.
        device: Where that will lie.

    Raises:
        ValueError: A name of the policy is not known.
    """
    wanted = policies(policy)
    if not wanted:
        return Augmentation()
    with torch.device("cpu"):
        numbers = torch.rand(batch, _NUMBERS)
        colours = numbers[:, :3] * torch.tensor([1.0, 2.0, 1.0]) + torch.tensor([-0.5, 0.0, 0.5])
    places = numbers[:, 3:].tolist()
    return Augmentation(
        colours.to(device) if "color" in wanted else None,
        tuple((_shift(a, height), _shift(b, width)) for a, b, _, _ in places) if "translation" in wanted else (),
        tuple(_hole(c, d, height, width) for _, _, c, d in places) if "cutout" in wanted else (),
    )


def _coloured(image: Tensor, numbers: Tensor) -> Tensor:
    """Brightness, then saturation about each pixel's grey, then contrast about each picture's mean."""
    brightness, saturation, contrast = numbers.to(image.dtype).reshape(-1, 3, 1, 1, 1).unbind(1)  # (B, 1, 1, 1) each
    image = image + brightness
    grey = image.mean(1, keepdim=True)  # (B, 1, H, W)
    image = grey + (image - grey) * saturation
    mean = image.mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return mean + (image - mean) * contrast


def _shift(number: float, side: int) -> int:
    """Whole pixels from -side/8 to side/8, each as likely."""
    most = int(side * SHIFT + 0.5)
    return int(number * (2 * most + 1)) - most


def _hole(down: float, right: float, height: int, width: int) -> Box:
    """A box of half the sides around a pixel anywhere; what lies outside the picture is cut off."""
    high, wide = int(height * HOLE + 0.5), int(width * HOLE + 0.5)
    top, left = int(down * (height + 1 - high % 2)) - high // 2, int(right * (width + 1 - wide % 2)) - wide // 2
    return max(top, 0), max(left, 0), min(top + high, height), min(left + wide, width)
