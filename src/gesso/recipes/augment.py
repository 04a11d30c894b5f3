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

POLICIES = ("color", "translation", "cutout")  # the paper's names
SHIFT = 1 / 8  # largest translation, share of each side
HOLE = 1 / 2  # sides of the cutout, share of the picture's
_NUMBERS = 7  # random numbers per picture: three for colours, two for the shift, two for the hole


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
        colours: (B, 3): brightness to add, -0.5..0.5, factor of the saturation, 0..2, and of the contrast, 0.5..1.5; or None.
        shifts: (B, 2) int64: rows down and columns to the right that each picture is moved by; or None.
        holes: (B, 4) int64: first row, row behind the last, first column and column behind the last of what is blanked; or None.
    """

    colours: Tensor | None = None
    shifts: Tensor | None = None
    holes: Tensor | None = None

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
        if self.shifts is not None:
            x = _moved(_moved(x, self.shifts[:, 0], 2), self.shifts[:, 1], 3)
        if self.holes is not None:
            first_row, last_row, first_column, last_column = self.holes.reshape(-1, 4, 1, 1, 1).unbind(1)
            rows, columns = _places(x, 2), _places(x, 3)
            outside = (rows < first_row) | (rows >= last_row) | (columns < first_column) | (columns >= last_column)
            x = x * outside.to(x.dtype)  # (B, 1, H, W)
        return x


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
        shifts = torch.stack([_shift(numbers[:, 3], height), _shift(numbers[:, 4], width)], dim=1)
        holes = torch.cat([_hole(numbers[:, 5], height), _hole(numbers[:, 6], width)], dim=1)
    found = (("color", colours), ("translation", shifts), ("cutout", holes))
    return Augmentation(*(values.to(device) if name in wanted else None for name, values in found))


def _coloured(image: Tensor, numbers: Tensor) -> Tensor:
    """Brightness, then saturation about each pixel's grey, then contrast about each picture's mean."""
    brightness, saturation, contrast = numbers.to(image.dtype).reshape(-1, 3, 1, 1, 1).unbind(1)  # (B, 1, 1, 1) each
    image = image + brightness
    grey = image.mean(1, keepdim=True)  # (B, 1, H, W)
    image = grey + (image - grey) * saturation
    mean = image.mean((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return mean + (image - mean) * contrast


def _places(x: Tensor, axis: int) -> Tensor:
    """0, 1, 2, ... along an axis of (B, C, H, W), with axes of length 1 for the others."""
    return torch.arange(x.shape[axis], device=x.device).reshape([-1 if n == axis else 1 for n in range(4)])


def _moved(x: Tensor, by: Tensor, axis: int) -> Tensor:
    """Each picture moved along an axis by its own number of pixels, with 0 where nothing comes from."""
    source, side = _places(x, axis) - by.reshape(-1, 1, 1, 1), x.shape[axis]
    there = (source >= 0) & (source < side)
    return x.gather(axis, (source % side).expand(x.shape)) * there.to(x.dtype)


def _shift(numbers: Tensor, side: int) -> Tensor:
    """Whole pixels from -side/8 to side/8, each as likely, of numbers in 0..1."""
    most = int(side * SHIFT + 0.5)
    return (numbers * (2 * most + 1)).long() - most


def _hole(numbers: Tensor, side: int) -> Tensor:
    """(B, 2): first and behind the last of half a side's pixels around any pixel; what lies outside the picture is cut off."""
    length = int(side * HOLE + 0.5)
    first = (numbers * (side + 1 - length % 2)).long() - length // 2
    return torch.stack([first, first + length], dim=1).clamp(0, side)
