"""How small pictures get inside SPADE's networks, in numbers alone: grids of generators, and what discriminators normalise."""

from __future__ import annotations

from gesso.errors import ConfigError, LabelError

HALVINGS = {"normal": 5, "more": 6, "most": 7}  # from the picture to the generator's coarsest grid
Size = tuple[int, int]


def coarsest_grid(size: Size, upsampling: str) -> Size:
    """Rows and columns that a generator begins with, for pictures that are padded to what it can double."""
    step = 2 ** HALVINGS[upsampling]
    return -(-size[0] // step), -(-size[1] // step)


def padded(size: Size, upsampling: str) -> Size:
    """Height and width of such pictures once they are padded."""
    rows, columns = coarsest_grid(size, upsampling)
    return rows * 2 ** HALVINGS[upsampling], columns * 2 ** HALVINGS[upsampling]


def halved(size: Size, times: int) -> Size:
    """Rows and columns of a layout that is halved so often.

    Raises:
        LabelError: It cannot be.
    """
    (height, width), step = size, 2**times
    if not height or not width or height % step or width % step:
        raise LabelError(
            f"A layout of {height}x{width} cannot be halved {times} times: height and width must be multiples of {step}. Pad or "
            "resize it (in training with --resize, --height and --width), or use gesso.load(), which pads and crops."
        )
    return height // step, width // step


def smallest_normalised(kind: str, layers: int, scales: int, size: Size) -> Size:
    """Rows and columns of the smallest grid that is normalised in any of several discriminators.

    Args:
        kind: "patch", "resnet" or "spade".
        layers: Layers of stride 2 in each.
        scales: How many there are.
        size: Height and width of the pictures that the finest one sees.
    """

    def side(length: int) -> int:
        for _ in range(scales - 1):
            length = -(-length // 2)
        for _ in range(layers):
            length = -(-length // 2) if kind == "resnet" else length // 2 + 1
        # A patch discriminator of one such layer has a single norm, behind a layer of stride 1 that adds a row.
        return length + (kind != "resnet" and layers == 1)

    return side(size[0]), side(size[1])


def refuse_single_pixels(kind: str, layers: int, scales: int, norm: str, size: Size) -> None:
    """Refuse discriminators of which one would have nothing to normalise.

    Args:
        kind: "patch", "resnet" or "spade".
        layers: Layers of stride 2 in each.
        scales: How many there are.
        norm: "instance", "batch", "sync_batch" or "none". All but the first do with pixels of several pictures, or with any.
        size: Height and width of the pictures that the finest one sees.

    Raises:
        ConfigError: Instance norm would see a single pixel.
    """
    if norm == "instance" and smallest_normalised(kind, layers, scales, size) == (1, 1):
        fewer = "--discriminator-scales or --discriminator-layers" if kind == "resnet" else "--discriminator-scales"
        raise ConfigError(
            f"Discriminators of kind {kind} with --discriminator-scales {scales} and --discriminator-layers {layers} shrink "
            f"pictures of {size[0]}x{size[1]} to a single pixel, where --discriminator-norm instance has nothing to normalise: "
            f"give less of {fewer}, larger pictures, or --discriminator-norm batch."
        )
