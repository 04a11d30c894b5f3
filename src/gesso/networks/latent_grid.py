"""Where SPADE's generator begins when it begins from z: a coarse grid of features (figure 12), for any size of photograph."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from gesso.errors import ConfigError, StyleError


class LatentGrid(nn.Module):
    """z -> features on the grid that the network was trained with, resized to the grid that is asked for.

    Args:
        latent: Numbers in z.
        channels: Of the features.
        grid: Rows and columns in training; None if only their product is known: then the first grid asked for decides.
        cells: Rows times columns, where there is no grid; else 0.

    Attributes:
        grid: Rows and columns, None until they are known.

    Raises:
        ConfigError: Neither grid nor cells, or both in contradiction.
    """

    def __init__(self, latent: int, channels: int, grid: tuple[int, int] | None, cells: int = 0) -> None:
        super().__init__()
        self.latent = latent
        self.grid = (grid[0], grid[1]) if grid else None
        self.cells = math.prod(self.grid) if self.grid else cells
        if self.cells < 1 or cells not in (0, self.cells):
            raise ConfigError(
                "A generator that begins from z needs latent_grid, rows and columns of its coarsest block at the training size, "
                f"such as (4, 8), or latent_cells, their product: latent_grid={grid} and latent_cells={cells} came."
            )
        self.linear = nn.Linear(latent, channels * self.cells)

    def forward(self, style: Tensor | None, batch: int, rows: int, columns: int) -> Tensor:
        """From z (B, latent) to (B, channels, rows, columns).

        Raises:
            StyleError: z is missing or of another shape.
        """
        if style is None or style.shape != (batch, self.latent):
            came = "none came" if style is None else f"{tuple(style.shape)} came"
            raise StyleError(
                f"This generator begins from a style z of shape ({batch}, {self.latent}), but {came}: draw it from a standard "
                "normal distribution, or let the encoder make it from a photograph."
            )
        self.grid = self.grid or closest_grid(self.cells, rows / columns)
        x = self.linear(style).view(batch, -1, *self.grid)  # (B, channels, rows and columns of training)
        if self.grid == (rows, columns):
            return x
        return F.interpolate(x, (rows, columns), mode="bilinear", align_corners=False)  # (B, channels, rows, columns)


def closest_grid(cells: int, aspect: float) -> tuple[int, int]:
    """Rows and columns with that product, rows over columns as near to `aspect` as can be; the wider one of two."""
    grids = [(rows, cells // rows) for rows in range(1, cells + 1) if cells % rows == 0]
    return min(grids, key=lambda grid: round(abs(math.log(grid[0] / grid[1] / aspect)), 9))
